/** Chromium with WebGPU in software, and a server whose page is cross-origin isolated, so that threads share memory. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromium, type Page } from 'playwright-core';
import { chromiumPath } from '../../chromium.ts';
import type { TestContext } from '../../harness.ts';

const ARGS = [
  '--headless',
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
];

const pathOf = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** The page, its threads' code, and what they share, by address. */
async function bundle(): Promise<Map<string, Uint8Array>> {
  const { outputFiles } = await build({
    entryPoints: {
      page: pathOf('./prover-page.ts'),
      worker: pathOf('../../../runtime/msm/threads/web-worker.ts'),
    },
    bundle: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2024',
    // Node's way to start a thread is a file of its own, which nobody asks for where another is given.
    splitting: true,
    external: ['node:worker_threads'],
    outdir: '/',
    write: false,
    logLevel: 'silent',
  });
  return new Map(outputFiles.map(({ path, contents }) => [path, contents]));
}

/** Opens the page; `files` are served beside it. */
export async function openProverPage(
  t: TestContext,
  files: Readonly<Record<string, Uint8Array>> = {},
): Promise<Page> {
  const executablePath = chromiumPath();
  if (executablePath === undefined) t.skip('no Chromium was found; set $CHROMIUM to its path');
  const served = await bundle();
  served.set('/', new TextEncoder().encode('<!doctype html><script type="module" src="/page.js"></script>'));
  for (const [name, bytes] of Object.entries(files)) served.set(name, bytes);
  const server = createServer(({ url = '' }, response) => {
    const bytes = served.get(url);
    const type =
      url === '/' ? 'text/html' : url.endsWith('.js') ? 'text/javascript' : 'application/octet-stream';
    response.writeHead(bytes ? 200 : 404, {
      'Content-Type': type,
      'Cross-Origin-Opener-Policy': 'same-origin',
      'Cross-Origin-Embedder-Policy': 'require-corp',
    });
    response.end(bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.defer(() => server.close());
  const browser = await chromium.launch({ executablePath, args: ARGS });
  t.defer(() => browser.close());
  const page = await browser.newPage();
  page.on('pageerror', (error) => console.error('page:', error));
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await page.waitForFunction(() => 'answer' in globalThis);
  return page;
}
