/**
 * What is made of our sources for browsers, the same in a checkout and in what `npm pack` ships. `npm run build:verifier`
 * writes the verifier: one HTML file whose Content-Security-Policy names its own script and style by their digests.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** The toolchain as a module that holds it. */
export async function toolchainModule() {
  const { circuitToolchain } = await import('./prove/circuit-compiler.ts');
  const { compiler, templates } = await circuitToolchain();
  const held = JSON.stringify([...templates]);
  return `const toolchain = { compiler: ${JSON.stringify(compiler)}, templates: new Map(${held}) };\nexport const circuitToolchain = async () => toolchain;\n`;
}

/** What needs a disk, without it. */
const withoutDisk = (toolchain) => ({
  name: 'without-disk',
  setup: ({ onLoad, onResolve }) => {
    // nkeys.js asks Node for two classes that a browser has by itself.
    onResolve({ filter: /^util$/ }, () => ({ path: 'util', namespace: 'browser' }));
    onLoad({ filter: /^util$/, namespace: 'browser' }, () => ({
      contents: 'export const { TextEncoder, TextDecoder } = globalThis;',
    }));
    onLoad({ filter: /verifier\/toolchain\.ts$/ }, () => ({ contents: toolchain }));
    onLoad({ filter: /prove\/snarkjs\.ts$/ }, ({ path }) => ({
      contents:
        "import { groth16 } from 'snarkjs';\nexport const verifyWithSnarkjs = (key, signals, proof) => groth16.verify(key, [...signals], proof);",
      resolveDir: dirname(path),
    }));
  },
});

/** What a client in a page has instead of Node: WebSockets, no folder of collateral, no second prover. */
export const clientInBrowser = {
  name: 'client-in-browser',
  setup: ({ onLoad, onResolve }) => {
    const own = {
      // Asked for only where the page has no `crypto` of its own.
      crypto: 'export {};',
      util: 'export const { TextEncoder, TextDecoder } = globalThis;',
      'node:timers/promises':
        'export const setTimeout = (ms, value) => new Promise((done) => globalThis.setTimeout(done, ms, value));',
    };
    onResolve({ filter: /^(util|crypto|node:timers\/promises)$/ }, ({ path }) => ({
      path,
      namespace: 'browser',
    }));
    onLoad({ filter: /.*/, namespace: 'browser' }, ({ path }) => ({ contents: own[path] }));
    onLoad({ filter: /attest\/collateral\.ts$/ }, () => ({
      contents: 'export const collateralFor = () => undefined;',
    }));
    onLoad({ filter: /prove\/snarkjs\.ts$/ }, () => ({
      contents: 'export const verifyWithSnarkjs = undefined;',
    }));
  },
};

/** `vouch/client` for pages, as one module. */
export const clientBundle = (entry = 'runtime/client/index.ts') => ({
  bundle: true,
  format: 'esm',
  platform: 'browser',
  target: 'es2022',
  legalComments: 'eof',
  logLevel: 'error',
  absWorkingDir: ROOT,
  entryPoints: [join(ROOT, entry)],
  // The same library for WebSockets, by the same authors, with the same functions.
  alias: { nats: 'nats.ws' },
  plugins: [clientInBrowser],
});

const hashOf = (text) => `sha256-${createHash('sha256').update(text).digest('base64')}`;

/** One of our sources with all that it imports, for a browser. */
async function bundled(entry, options = {}) {
  const { outputFiles } = await build({
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    charset: 'utf8',
    legalComments: 'none',
    logLevel: 'error',
    absWorkingDir: ROOT,
    entryPoints: [join(ROOT, entry)],
    write: false,
    ...options,
  });
  return outputFiles[0].text;
}

/** What the monitor serves beside its document, by path; each is made when it is asked for. */
export const monitorFiles = {
  '/page.js': () => bundled('runtime/monitor/page.ts'),
  '/judge.js': async () =>
    bundled('runtime/verifier/thread.ts', { plugins: [withoutDisk(await toolchainModule())] }),
  '/chart.css': async () =>
    readFileSync(fileURLToPath(import.meta.resolve('uplot/dist/uPlot.min.css')), 'utf8'),
};

/** The verifier as one HTML file; the same sources give the same bytes. */
export async function verifierHtml() {
  const { verifierDocument, verifierParts, verifierPolicy } = await import('./verifier/document.ts');
  const text = await bundled('runtime/verifier/page.ts', { plugins: [withoutDisk(await toolchainModule())] });
  // A parser of HTML looks for the end of a script by these letters alone.
  const script = text.replaceAll(/<\/(script)/gi, '<\\/$1').replaceAll('<!--', '<\\!--');
  const parts = verifierParts(script);
  return verifierDocument(
    parts,
    verifierPolicy({ script: hashOf(parts.script), style: hashOf(parts.style) }),
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const path = join(ROOT, 'dist/verifier.html');
  const html = await verifierHtml();
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, html);
  console.log(
    `${path}\n${Buffer.byteLength(html)} bytes, SHA-256 ${createHash('sha256').update(html).digest('hex')}`,
  );
}
