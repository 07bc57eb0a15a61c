/**
 * `npm pack` runs this first: JavaScript and types of the four parts go to dist/, because Node does not strip
 * types under node_modules. dist/ mirrors the repository, so that a file finds its neighbours there as it does
 * here; what is not TypeScript (circuits, the server's configuration) is copied.
 *
 * The prover is also bundled, for Node and for browsers: without dependencies, and with the code of its threads inside,
 * so that whoever bundles it again needs to know nothing of them.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { clientBundle, monitorFiles, toolchainModule, verifierHtml } from './bundle.mjs';
import { compileCommands } from './compiled-commands.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const DIST = join(ROOT, 'dist');
const PARTS = ['protocols', 'circuits', 'actors', 'runtime'];
/** Of the prover, what only its GPU and its exports need; asked for on demand. */
const ON_DEMAND = ['snarkjs', 'webgpu'];

rmSync(DIST, { recursive: true, force: true });
const tsc = join(ROOT, 'node_modules/.bin/tsc');
const { status } = spawnSync(tsc, ['-p', 'tsconfig.build.json'], { cwd: ROOT, stdio: ['ignore', 2, 2] });
if (status !== 0) process.exit(1);
for (const part of PARTS) {
  // Node's own folder is a checkout's alone.
  const isAsset = (path) => !/\.(ts|mjs)$/.test(path) && path !== join(ROOT, 'runtime/node');
  cpSync(join(ROOT, part), join(DIST, part), { recursive: true, filter: isAsset });
}
cpSync(join(ROOT, 'nats.conf'), join(DIST, 'nats.conf'));

// tsc rewrites imports, not the addresses of workers and pages.
const stale = readdirSync(DIST, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.js'))
  .filter((path) => /new URL\(\s*['"`][^'"`$]+\.ts['"`]/.test(readFileSync(join(DIST, path), 'utf8')));
if (stale.length > 0) {
  console.error(`pack: these still name a .ts file: ${stale.join(', ')}`);
  process.exit(1);
}

// `vouch/verify` reads no disk: the templates are in it. And the verifier of people is one file.
writeFileSync(join(DIST, 'runtime/verifier/toolchain.js'), await toolchainModule());
writeFileSync(join(DIST, 'verifier.html'), await verifierHtml());
// Pages are bundled; what they were made of is of no use there.
mkdirSync(join(DIST, 'monitor'));
for (const [path, make] of Object.entries(monitorFiles))
  writeFileSync(join(DIST, 'monitor', `${path}.gz`), gzipSync(await make(), { level: 9 }));
for (const page of ['verifier/page', 'verifier/thread', 'monitor/page'])
  for (const ending of ['js', 'd.ts']) rmSync(join(DIST, `runtime/${page}.${ending}`));
rmSync(join(DIST, 'runtime/monitor/pages'), { recursive: true });

const common = {
  bundle: true,
  target: 'es2022',
  legalComments: 'eof',
  logLevel: 'error',
  absWorkingDir: ROOT,
};

// One module of a package of 37 MB that has all curves; the package is not asked for.
const CURVE = 'wasmcurves/build/bn128_wasm.js';
const threads = join(DIST, 'runtime/msm/threads');
await build({
  ...common,
  stdin: { contents: `export { default } from '${CURVE}';`, resolveDir: ROOT },
  format: 'esm',
  outfile: join(threads, 'bn128.js'),
});
const fallback = join(threads, 'fallback.js');
writeFileSync(fallback, readFileSync(fallback, 'utf8').replace(`'${CURVE}'`, "'./bn128.js'"));

/** A thread's code as text. */
async function script(path, platform) {
  const { outputFiles } = await build({
    ...common,
    entryPoints: [join(ROOT, 'runtime', path)],
    platform,
    format: platform === 'node' ? 'cjs' : 'esm',
    target: platform === 'node' ? 'node24' : common.target,
    minify: true,
    write: false,
  });
  return outputFiles[0].text;
}
const sources = {
  node: await script('msm/threads/worker.ts', 'node'),
  web: await script('msm/threads/web-worker.ts', 'browser'),
  nodeWitness: await script('prove/witness-thread.ts', 'node'),
  webWitness: await script('msm/threads/web-witness.ts', 'browser'),
};
const carrying = (...names) => ({
  name: 'threads',
  setup: ({ onLoad }) =>
    onLoad({ filter: /msm\/threads\/sources\.ts$/ }, () => {
      const own = Object.fromEntries(names.map((name) => [name, sources[name]]));
      return { contents: `export const THREAD_SOURCES = ${JSON.stringify(own)};` };
    }),
});
/** Node's way to start a thread, which nobody asks for where another is given. */
const withoutNode = {
  name: 'without-node',
  setup: ({ onLoad }) =>
    onLoad({ filter: /msm\/threads\/node-thread\.ts$/ }, () => ({
      contents: 'export const startNodeThread = undefined;',
    })),
};
await build({
  ...common,
  entryPoints: { 'prover-node': join(ROOT, 'runtime/prove/prover.ts') },
  platform: 'node',
  format: 'esm',
  // What is loaded on demand is a file of its own.
  splitting: true,
  external: ON_DEMAND,
  plugins: [carrying('node', 'nodeWitness')],
  outdir: join(DIST, 'runtime/prove'),
});
await build({
  ...common,
  entryPoints: { 'prover-web': join(ROOT, 'runtime/msm/web-prover.ts') },
  platform: 'browser',
  format: 'esm',
  plugins: [carrying('web', 'webWitness'), withoutNode],
  outdir: join(DIST, 'runtime/prove'),
});

const compiled = join(DIST, 'runtime/compiled');
mkdirSync(compiled);
const commands = await compileCommands(join(DIST, 'runtime/commands/cli.js'), compiled);
for (const { name, text } of commands.files) writeFileSync(join(compiled, name), text);

writeFileSync(
  join(DIST, 'runtime/prove/index.js'),
  "// The version first: what the rest needs, an older Node does not have.\nimport './node-version.js';\nexport * from './prover-node.js';\n",
);
cpSync(join(ROOT, 'runtime/prove/package-types.d.ts'), join(DIST, 'runtime/prove/index.d.ts'));
await build({ ...clientBundle(), outfile: join(DIST, 'runtime/client/client-web.js') });
