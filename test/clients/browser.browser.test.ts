/**
 * `vouch/client` in a page, over a real nats-server's WebSocket: it verifies evidence, seals, verifies the receipt; and it trusts
 * neither a server that is another's, nor a vendor or code that it was not told to trust.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type BuildOptions, build } from 'esbuild';
import { chromium } from 'playwright-core';
import { evaluate } from '../../circuits/model/quantise.ts';
import { folder } from '../../runtime/home/home.ts';
import { credentials } from '../../runtime/installation/credentials.ts';
import { chromiumPath } from '../chromium.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { serving } from '../runtime/roles/serving-fixture.ts';
import type { Page, Question } from './client-page.ts';

const CHROMIUM = chromiumPath();
const test = suite('client in a page', { timeoutMs: 120_000 });
const ARGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
];

/** A page with the client; its policy lets it reach that WebSocket and nothing else. */
async function opened(t: TestContext, websocket: string) {
  const browser = await chromium.launch({ executablePath: CHROMIUM!, args: ARGS });
  t.defer(() => browser.close());
  const { clientBundle } = (await import(new URL('../../runtime/bundle.mjs', import.meta.url).href)) as {
    clientBundle(entry: string): BuildOptions;
  };
  const { outputFiles } = await build({ ...clientBundle('test/clients/client-page.ts'), write: false });
  const server = createServer((request, response) => {
    const isScript = request.url === '/page.js';
    response.setHeader('Content-Type', isScript ? 'text/javascript' : 'text/html');
    response.setHeader(
      'Content-Security-Policy',
      `default-src 'none'; script-src 'self'; connect-src ${websocket}`,
    );
    response.end(
      isScript
        ? outputFiles![0]!.text
        : '<!doctype html><title>page</title><script type="module" src="/page.js"></script>',
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.defer(() => server.close());
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await page.waitForFunction(() => 'vouch' in globalThis);
  const verdicts = (cases: Parameters<Page['verdicts']>[0]) =>
    page.evaluate((given) => (globalThis as unknown as { vouch: Page }).vouch.verdicts(given), cases);
  const ask = (question: Question) =>
    page.evaluate(
      (given) =>
        (globalThis as unknown as { vouch: Page }).vouch.decide(given).catch((error: Error) => String(error)),
      question,
    );
  return { ask, verdicts };
}

test('a page asks, and believes only what it has verified', async (t) => {
  if (CHROMIUM === undefined) t.skip('no Chromium was found; set $CHROMIUM to its path');
  const { websocket, policies, vendor, model } = await serving(t, {}, undefined, { websocketPort: 0 });
  assert.match(websocket!, /^ws:\/\/127\.0\.0\.1:\d+$/);
  const { ask } = await opened(t, websocket!);
  const question: Question = {
    url: websocket!,
    creds: await credentials('client', 'page', folder('creds')),
    policy: policies.inference,
    vendor,
    rows: [
      ['7', '-1', '4', '11'],
      ['0', '12', '-3', '5'],
    ],
  };
  const expected = [
    [7, -1, 4, 11],
    [0, 12, -3, 5],
  ].map((row) => ({
    decision: evaluate(model, row).decision,
    verdict: 'accept',
    label: 'SIMULATED',
    failed: [],
  }));
  assert.equal(await ask(question), expected);

  assert.match(String(await ask({ ...question, vendor: 'ab'.repeat(32) })), /vendor/);
  assert.match(
    String(await ask({ ...question, policy: { ...policies.inference, measurements: ['cd'.repeat(48)] } })),
    /rejected/,
  );
  const { vendor: _, ...anybody } = question;
  assert.match(String(await ask(anybody)), /expected a vendor/);
  // Somebody else's credentials are no credentials here.
  const [head, seed] = [
    question.creds.indexOf('BEGIN USER NKEY SEED'),
    /SU[A-Z2-7]{56}/.exec(question.creds)![0],
  ];
  assert.ok(head > 0);
  const other = await credentials('client', 'other', folder('creds'));
  const mixed = question.creds.replace(seed, /SU[A-Z2-7]{56}/.exec(other)![0]);
  assert.match(String(await ask({ ...question, creds: mixed })), /credentials|cannot connect/);
});

test("a page judges Ed25519 by the same vectors, in JavaScript and by the browser's WebCrypto", async (t) => {
  if (CHROMIUM === undefined) t.skip('no Chromium was found; set $CHROMIUM to its path');
  const { wycheproof, speccheck } = JSON.parse(
    readFileSync(new URL('../vectors/ed25519.json', import.meta.url), 'utf8'),
  ) as {
    wycheproof: [key: string, cases: [id: number, message: string, signature: string, result: string][]][];
    speccheck: [key: string, message: string, signature: string][];
  };
  const named = wycheproof.flatMap(([key, cases]) =>
    cases.map(([, message, signature, result]) => [key, message, signature, result === 'valid'] as const),
  );
  const cases = [...named, ...speccheck.map((each, i) => [...each, i === 3] as const)];
  const { verdicts } = await opened(t, 'ws://127.0.0.1:1');
  const got = await verdicts(cases.map(([key, message, signature]) => [key, message, signature]));
  const byWebCrypto = got.some(([, web]) => web !== undefined);
  for (const [i, [, , , holds]] of cases.entries())
    assert.equal(got[i], [holds, byWebCrypto ? holds : undefined], `case ${i}`);
  if (!byWebCrypto) t.skip('this Chromium has no Ed25519 in WebCrypto; JavaScript alone was judged');
});

test.run();
