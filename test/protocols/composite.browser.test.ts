/** A page in headless Chromium verifies a composite receipt with the code of protocols/, bundled without node:*. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { chromium, type Page as Tab } from 'playwright-core';
import { base64url } from '../../protocols/encoding.ts';
import { chromiumPath } from '../chromium.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { composite, receiptBy } from './composite-maker.ts';
import type { Page, PageQuestion } from './composite-page.ts';
import { pageQuestion } from './composite-vector.ts';

const CHROMIUM = chromiumPath();
const ARGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
];

const test = suite('composite receipt in a page', { timeoutMs: 60_000 });

/** The bundle; a node:* module anywhere in it fails the build. */
async function bundled(): Promise<string> {
  const result = await build({
    entryPoints: [fileURLToPath(new URL('./composite-page.ts', import.meta.url))],
    bundle: true,
    write: false,
    format: 'iife',
    platform: 'browser',
    target: 'es2024',
    logLevel: 'silent',
  });
  return result.outputFiles[0]!.text;
}

async function opened(t: TestContext): Promise<Tab> {
  if (CHROMIUM === undefined) t.skip('no Chromium was found; set $CHROMIUM to its path');
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGS });
  t.defer(() => browser.close());
  const script = await bundled();
  // WebCrypto needs a secure context, which loopback is.
  const server = createServer((request, response) => {
    const isScript = request.url === '/page.js';
    response.setHeader('Content-Type', isScript ? 'text/javascript' : 'text/html');
    response.end(isScript ? script : '<!doctype html><title>page</title><script src="/page.js"></script>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.defer(() => server.close());
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  return page;
}

const ask = (page: Tab, question: PageQuestion) =>
  page.evaluate(async (given) => {
    const { vouch } = globalThis as unknown as { vouch: Page };
    const { verdict, checks, claims } = await vouch.verify(given);
    return {
      verdict,
      label: claims?.label,
      failed: checks.filter((c) => c.status === 'fail').map((c) => c.id),
    };
  }, question);

test('a composite receipt verifies in a page, and a swapped GPU is refused there', async (t) => {
  const page = await opened(t);
  const made = await composite();
  const { bundle } = await receiptBy(made);
  const question = pageQuestion(made, bundle);
  assert.equal(await ask(page, question), { verdict: 'accept', label: 'HARDWARE', failed: [] });

  const other = await composite();
  const { bundle: swapped } = await receiptBy(made, { ...made.document, gpu: other.document.gpu });
  const refused = await ask(page, { ...question, bundle: base64url(swapped) });
  assert.equal([refused.verdict, refused.failed], ['reject', ['gpu.bound', 'gpu.nonce']]);
  // Nothing but the receipt: no collateral, and the roots of the real vendors.
  const alone = await ask(page, { ...question, files: [] });
  assert.is(alone.verdict, 'reject');
});

test('a page seals by X-Wing', async (t) => {
  const page = await opened(t);
  const sealed = await page.evaluate(() => (globalThis as unknown as { vouch: Page }).vouch.seal());
  assert.ok(sealed);
});

test.run();
