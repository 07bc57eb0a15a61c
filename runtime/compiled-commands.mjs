/**
 * The proving commands as JavaScript in two files, so that a short proof does not first look for a hundred modules, strip and
 * link them. In the package they are made when it is packed (runtime/pack.mjs). In a clone the launcher (runtime/vouch.mjs)
 * has them made after such a command, for the next one: `node compiled-commands.mjs FOLDER` writes FOLDER/<digest>/, and then
 * FOLDER/commands.json, which names it, for whom it was made, the sources with their sizes and times, and the flags of V8
 * that a rehearsal found right (prove/fused-vectors.ts).
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { cpus } from 'node:os';
import { basename, dirname, extname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** Of all commands, what snarkjs's twins need. Whatever else is loaded on demand is loaded from where it lies. */
const WITHIN = /^\.\/(commands|groth16|circuit-files)\.[jt]s$|\/node-thread\.[jt]s$|^node:/;
/** Finds the program of its threads beside itself, as the source does. */
const BESIDE = /\/node-thread\.[jt]s$/;
const MAX_BYTES = 32 * 2 ** 20;

const record = (folder) => join(folder, 'commands.json');
/** For whom compiled commands are right: flags depend on it. */
const madeFor = () => [process.version, process.arch, cpus()[0]?.model].join(' ');
/** Changes when the file does, as far as the system can tell. */
function stampOf(file) {
  const { size, ctimeMs } = statSync(file);
  return `${size} ${ctimeMs}`;
}

/** The program, and V8's flags for it; undefined unless it was made of the sources as they are now. */
export function findCompiled(folder) {
  try {
    const { name, made, stamps, flags } = JSON.parse(readFileSync(record(folder), 'utf8'));
    if (made !== madeFor() || !stamps.every(([file, stamp]) => stampOf(file) === stamp)) return undefined;
    return { program: join(folder, name, 'cli.js'), flags };
  } catch {
    return undefined;
  }
}

/** The files of the program `cli`, in TypeScript or JavaScript, and its sources. They will lie in `folder`. */
export async function compileCommands(cli, folder) {
  const { build } = await import('esbuild');
  const parts = resolve(dirname(cli), '../..');
  const ending = extname(cli);
  const from = (file) => JSON.stringify(relative(folder, file));
  const { outputFiles, metafile } = await build({
    bundle: true,
    write: false,
    metafile: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    legalComments: 'none',
    logLevel: 'silent',
    absWorkingDir: parts,
    outdir: folder,
    entryPoints: { cli, worker: join(parts, `runtime/msm/threads/worker${ending}`) },
    // Packages in CommonJS ask for Node's modules in their own way.
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
    plugins: [
      {
        name: 'in-place',
        setup({ onLoad, onResolve }) {
          onResolve({ filter: /./ }, ({ kind, path, resolveDir }) => {
            if (kind !== 'dynamic-import' || WITHIN.test(path)) return undefined;
            const place = relative(folder, resolve(resolveDir, path));
            return { external: true, path: path.startsWith('.') ? place : path };
          });
          // A file finds its neighbours from where it lay.
          onLoad({ filter: /\.[jt]s$/ }, ({ path }) => {
            if (path.includes('/node_modules/') || BESIDE.test(path)) return undefined;
            const url = `new URL(${from(path)}, import.meta.url)`;
            const contents = readFileSync(path, 'utf8')
              .replaceAll('import.meta.url', `${url}.href`)
              .replaceAll('import.meta.filename', `process.getBuiltinModule('url').fileURLToPath(${url})`)
              .replaceAll(
                'import.meta.dirname',
                `process.getBuiltinModule('url').fileURLToPath(new URL('.', ${url})).slice(0, -1)`,
              );
            return { contents, loader: ending === '.ts' ? 'ts' : 'js' };
          });
        },
      },
    ],
  });
  return {
    files: outputFiles.map(({ path, text }) => ({ name: basename(path), text })),
    sources: Object.keys(metafile.inputs)
      .filter((name) => !name.includes('node_modules/'))
      .map((name) => resolve(parts, name)),
  };
}

/** Of a clone. Nothing is kept of sources that were changed meanwhile. */
async function keepCommands(place) {
  mkdirSync(place, { recursive: true });
  // Modules lie where links lead.
  const folder = realpathSync(place);
  const { keepWithin } = await import('./home/bounded-folder.ts');
  const { writeWhole } = await import('./home/files.ts');
  const { rightFlags } = await import('./prove/fused-vectors.ts');
  const began = Date.now();
  const { files, sources } = await compileCommands(join(ROOT, 'runtime/commands/cli.ts'), join(folder, 'x'));
  // npm writes the second of them when packages change.
  const packages = ['package-lock.json', 'node_modules/.package-lock.json'].map((name) => join(ROOT, name));
  const own = fileURLToPath(import.meta.url);
  const stamps = [own, ...packages, ...sources].map((file) => [file, stampOf(file)]);
  if (stamps.some(([file]) => statSync(file).ctimeMs >= began)) return;
  const hash = createHash('sha256');
  for (const { text } of files) hash.update(text);
  const name = hash.digest('hex').slice(0, 16);
  for (const file of files) await writeWhole(join(folder, name, file.name), file.text);
  await writeWhole(record(folder), JSON.stringify({ name, made: madeFor(), stamps, flags: rightFlags() }));
  await keepWithin(folder, MAX_BYTES);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) await keepCommands(process.argv[2]);
