/**
 * What the monitor's page judges itself: evidence that the monitor asked for, and receipts and proofs of the viewer's own. On the
 * other side: whoever made the files, or answers for an enclave. Nothing that is opened may leave the page.
 */
import { readFileSync } from 'node:fs';
import type { Page } from 'playwright-core';
import { fromBase64url, hex } from '../../../protocols/encoding.ts';
import { decodeReceiptBundle } from '../../../protocols/receipt.ts';
import { barriers, drop } from '../../chromium.ts';
import { assert, suite } from '../../harness.ts';
import type { PageQuestion } from '../../protocols/composite-page.ts';
import { conversation, NOW, publish, savedProof } from '../../protocols/document-scenario.ts';
import { noLookUps, opened, shoot } from './page-fixture.ts';

const test = suite('monitor page: verdicts', { timeoutMs: 180_000 });

const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const open = (page: Page, files: Record<string, Uint8Array>, input = 'input[type=file] >> nth=0') =>
  page.setInputFiles(
    input,
    Object.entries(files).map(([name, bytes]) => ({ name, mimeType: '', buffer: Buffer.from(bytes) })),
  );
/** Everything that the page asks for; what is opened must be in none of it. */
function requestsOf(page: Page): string[] {
  const asked: string[] = [];
  page.on('request', (request) => asked.push(`${request.method()} ${new URL(request.url()).pathname}`));
  return asked;
}
const status = (page: Page, check: string, of = 'main') =>
  page
    .locator(`${of} tr`, { has: page.locator('th', { hasText: new RegExp(`^${check}$`) }) })
    .locator('.came')
    .textContent();

test('evidence of each enclave is checked in the page, SIMULATED and expiry in plain sight', async (t) => {
  const { runner, evidenceNonce, policy } = await conversation();
  const composite = JSON.parse(
    readFileSync(new URL('../../vectors/composite-receipt.json', import.meta.url), 'utf8'),
  ) as PageQuestion;
  const hardware = decodeReceiptBundle(fromBase64url(composite.bundle)).evidence;
  const at = NOW.getTime() + 20_000;
  const lookUps = {
    ...noLookUps,
    models: async () => [],
    evidence: async () => [
      { model: 'credit', enclave: 'enclave-1', nonce: hex(evidenceNonce), at, document: runner.document },
      { model: 'replayed', enclave: 'enclave-2', nonce: '00'.repeat(32), at, document: runner.document },
      {
        model: 'hard',
        enclave: hardware.enclave,
        nonce: hardware.nonce,
        at: Date.parse(composite.now),
        document: hardware,
      },
      {
        model: 'hostile',
        enclave: 'x',
        nonce: '00',
        at,
        document: { version: 2, cpu: '<img src=x onerror=alert(1)>' },
      },
      { model: 'silent', nonce: '00', at, error: 'no responder' },
    ],
  };
  const { page, complaints } = await opened(t, { hash: '#/evidence', lookUps });
  const of = (model: string) => `section[aria-label^="${model}"]`;
  await page.locator(`${of('hard')} [data-expiry]`).waitFor();
  await page.locator(`${of('replayed')} [data-verdict]`).waitFor();

  assert.is(await page.locator(`${of('credit')} .stamp`).textContent(), 'SIMULATED');
  assert.is(
    await page.locator(`${of('credit')} [data-verdict]`).getAttribute('data-verdict'),
    'reject',
    'strict',
  );
  assert.is(await status(page, 'binding.nonce', of('credit')), 'pass');
  assert.is(await status(page, 'binding.nonce', of('replayed')), 'fail');
  assert.is(await page.locator(`${of('hard')} .stamp`).count(), 0);
  assert.ok((await page.locator(`${of('hard')} table >> nth=0 >> tbody tr`).count()) >= 2);
  assert.match(
    (await page.locator(`${of('hard')} [data-expiry]`).textContent())!,
    /ends in \d+ days|is over since/,
  );
  assert.is(await page.locator(`${of('hostile')} [data-verdict]`).getAttribute('data-verdict'), 'reject');
  assert.is(await page.locator('main img').count(), 0);
  assert.match((await page.locator(of('silent')).textContent())!, 'no responder');
  assert.equal(await barriers(page), []);
  await shoot(page, 'evidence');

  // A policy of one's own, that pins this simulated root; and a file that would like to be the enclave's answer.
  await open(page, { 'policy.json': json(policy), 'evidence of the enclave': json(hardware) }, '#own');
  await page.locator(`${of('credit')} [data-verdict=accept]`).waitFor();
  assert.is(await page.locator(`${of('credit')} .stamp`).textContent(), 'SIMULATED', 'accepted or not');
  assert.is(await page.locator(`${of('replayed')} [data-verdict]`).getAttribute('data-verdict'), 'reject');
  assert.equal(complaints, []);
});

test('receipts are listed, filtered and verified in the page, and leave it for nowhere', async (t) => {
  const { bundle, policy } = await conversation();
  const { page, complaints } = await opened(t, { hash: '#/receipts' });
  const asked = requestsOf(page);
  const damaged = bundle.slice();
  damaged[damaged.length - 40]! ^= 1;
  await open(page, {
    'good.cose': bundle,
    'also-good.cose': bundle,
    'damaged.cose': damaged,
    '<img src=x onerror=alert(1)> verdict: accept': new TextEncoder().encode('{}'),
    'policy.json': json({ ...policy, maxAgeSeconds: undefined }),
  });
  await page.locator('#receipt-count').waitFor();
  const accepted = await page.locator('#receipts [data-verdict=accept]').count();
  assert.match((await page.locator('#receipt-count').textContent())!, `${accepted} of`);
  assert.ok(await page.locator('#receipts .stamp').first().isVisible());
  await page.getByRole('button', { name: 'good.cose', exact: true }).click();
  assert.is(await status(page, 'receipt.signature', '#receipt-checks'), 'pass');
  assert.is(
    await page
      .locator('#receipts tbody tr', { hasText: 'good.cose' })
      .first()
      .locator('bdi')
      .last()
      .textContent(),
    'enclave-1',
  );
  await shoot(page, 'receipts');
  await page.getByLabel('Name, id or enclave has').fill('also');
  assert.is(await page.locator('#receipts tbody tr').count(), 1);
  await page.getByLabel('Name, id or enclave has').fill('');
  await page.locator('label', { hasText: 'Verdict' }).getByRole('combobox').selectOption('reject');
  for (const word of await page.locator('#receipts [data-verdict]').allTextContents())
    assert.is(word, 'verdict: reject');
  assert.is(await page.locator('main img').count(), 0);
  assert.equal(await barriers(page), []);
  assert.equal(
    asked.filter((request) => !/^GET \/(judge\.js|events)$/.test(request)),
    [],
    'nothing else is asked for',
  );
  assert.equal(complaints, []);
});

test('a proof that is opened says what it proves; one of another job is refused', async (t) => {
  const record = savedProof();
  const proof = json(await publish({ ...record, time: NOW.toISOString() }));
  const { page, complaints } = await opened(t, { hash: `#/proof/${record.job}` });
  await open(page, { 'proof.json': proof });
  await page.locator('section.verdict').waitFor();
  assert.is(await status(page, 'proof.groth16'), 'pass');
  assert.is(await status(page, 'proof.job'), 'pass');
  await page.evaluate((other) => {
    location.hash = `#/proof/${other}`;
  }, 'f'.repeat(64));
  await page.getByText('Of this job nothing was heard').waitFor();
  await drop(page, { 'proof.json': Buffer.from(proof).toString() });
  await page.locator('section.verdict').waitFor();
  assert.is(await status(page, 'proof.job'), 'fail');
  await drop(page, {});
  await page.getByText('expected a file or a folder, got something else').waitFor();
  assert.equal(complaints, []);
});

test.run();
