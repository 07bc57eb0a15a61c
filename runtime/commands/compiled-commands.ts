/**
 * The proving commands as JavaScript in two files, so that a short proof does not look for a hundred modules, strip and
 * link them first. A clone's launcher (runtime/vouch.mjs) starts this program after such a command and takes what it wrote
 * for the next one, for as long as no source has changed; in the package they are made when it is packed.
 *
 *   node compiled-commands.ts FOLDER MADE
 *
 * writes FOLDER/<digest>/ and then FOLDER/commands.json, which names that folder, for whom it was made, the sources with
 * their sizes and times, and the flags of V8 that a rehearsal found right (prove/fused-vectors.ts).
 */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { keepWithin } from '../home/bounded-folder.ts';
import { writeWhole } from '../home/files.ts';
import { PACKAGE_ROOT } from '../home/home.ts';
import { rightFlags } from '../prove/fused-vectors.ts';

/** Of all commands, what snarkjs's twins need. Others are loaded from their sources. */
const PROVING = /^\.\/(commands|groth16|circuit-files)\.[jt]s$|node-thread\.[jt]s$/;
const MAX_BYTES = 32 * 2 ** 20;

export interface CompiledCommands {
  readonly files: ReadonlyArray<{ readonly name: string; readonly text: string }>;
  /** Absolute paths of our own sources. */
  readonly sources: readonly string[];
}

/** `cli`: the program, a TypeScript or JavaScript file; `folder`: where the files will lie, or as deep as that. */
export async function compileCommands(cli: string, folder: string): Promise<CompiledCommands> {
  const root = path.resolve(path.dirname(cli), '../..');
  const ending = path.extname(cli);
  const { outputFiles, metafile } = await build({
    bundle: true,
    write: false,
    metafile: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    logLevel: 'silent',
    absWorkingDir: root,
    outdir: folder,
    entryPoints: { cli, worker: path.join(root, `runtime/msm/threads/worker${ending}`) },
    // Packages of CommonJS ask for Node's modules in their own way.
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
    plugins: [
      {
        name: 'in-place',
        setup({ onLoad, onResolve }) {
          onResolve({ filter: /./ }, ({ kind, path: name, resolveDir }) => {
            if (kind !== 'dynamic-import' || PROVING.test(name) || name.startsWith('node:')) return undefined;
            const place = path.relative(folder, path.resolve(resolveDir, name));
            return { external: true, path: name.startsWith('.') ? place : name };
          });
          // A file finds its neighbours where it lay. The one that starts threads finds them beside itself.
          onLoad({ filter: /\.[jt]s$/ }, ({ path: file }) => {
            if (file.includes('/node_modules/') || /node-thread\.[jt]s$/.test(file)) return undefined;
            const place = JSON.stringify(path.relative(folder, file));
            const contents = readFileSync(file, 'utf8')
              .replaceAll('import.meta.url', `new URL(${place}, import.meta.url).href`)
              .replaceAll(
                /import\.meta\.(dirname|filename)/g,
                (_, part: 'dirname' | 'filename') =>
                  `new URL(${part === 'dirname' ? JSON.stringify(path.dirname(path.relative(folder, file))) : place}, import.meta.url).pathname`,
              );
            return { contents, loader: ending === '.ts' ? 'ts' : 'js' };
          });
        },
      },
    ],
  });
  return {
    files: outputFiles.map(({ path: file, text }) => ({ name: path.basename(file), text })),
    sources: Object.keys(metafile.inputs)
      .filter((name) => !name.includes('node_modules/'))
      .map((name) => path.resolve(root, name)),
  };
}

/** Changes when the file does, as far as the system can tell. */
const stampOf = (file: string): string => {
  const { size, ctimeMs } = statSync(file);
  return `${size} ${ctimeMs}`;
};

async function keepCommands(folder: string, made: string): Promise<void> {
  const began = Date.now();
  const cli = path.join(PACKAGE_ROOT, 'runtime/commands/cli.ts');
  const { files, sources } = await compileCommands(cli, path.join(folder, 'x'.repeat(16)));
  // npm writes the second when packages change.
  const all = [
    ...sources,
    ...['package-lock.json', 'node_modules/.package-lock.json'].map((name) => path.join(PACKAGE_ROOT, name)),
  ];
  const stamps = all.map((file) => [file, stampOf(file)] as const);
  if (all.some((file) => statSync(file).ctimeMs >= began)) return;
  const hash = createHash('sha256');
  for (const { text } of files) hash.update(text);
  const name = hash.digest('hex').slice(0, 16);
  for (const { name: file, text } of files) await writeWhole(path.join(folder, name, file), text);
  await writeWhole(
    path.join(folder, 'commands.json'),
    JSON.stringify({ name, made, stamps, flags: rightFlags() }),
  );
  await keepWithin(folder, MAX_BYTES);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [folder, made] = process.argv.slice(2);
  await keepCommands(folder!, made!);
}
