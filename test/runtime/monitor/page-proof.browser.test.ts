/**
 * A finished proof in the monitor's page, over a real server and with nothing but the monitor's own rights. On the other side: an
 * operator of NATS, who puts into the stream what he likes.
 */
import { readFileSync } from 'node:fs';
import type { Page } from 'playwright-core';
import { z } from 'zod';
import { hex } from '../../../protocols/encoding.ts';
import { encodeMessage, messageType } from '../../../protocols/envelope.ts';
import { jobOf, ProofProgress, type ProofRecord, PublishedProof } from '../../../protocols/proof.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { startMonitorRole } from '../../../runtime/roles/monitor.ts';
import { verificationKeyDigest } from '../../../runtime/verdict/published-proof.ts';
import { barriers } from '../../chromium.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { fixed, NOW, policies, publication, publish, savedProof } from '../../protocols/document-scenario.ts';
import { startFixture } from '../nats/nats-fixture.ts';
import { at, opened, shoot } from './page-fixture.ts';

const test = suite('monitor page: a finished proof', { timeoutMs: 180_000 });

const ROWS = 'none,9500,0,2\nlow,4000,1,1\nhigh,1200.50,3,1\nlow,8000,-2,2\nnone,700,0,1\nhigh,10000,3,1\n';

/** The saved record as an answer to another request, under a job of its own. */
function recordOf(name: string): ProofRecord {
  const record = { ...savedProof(), time: NOW.toISOString() };
  const nonce = hex(fixed(name));
  return { ...record, nonce, job: jobOf(nonce, record.statement) };
}

/** As the type of a proof would not have it: an operator has no types. */
const Anything = messageType(PublishedProof.type, PublishedProof.version, z.unknown());

/** What a viewer brings along: policy, rows and manifest; and the key that he trusts. */
async function belongings() {
  const { published } = await publication();
  const file = (name: string, text: string) => ({ name, mimeType: '', buffer: Buffer.from(text) });
  return {
    trustKey: verificationKeyDigest(savedProof().verificationKey),
    files: [
      file('prover.json', JSON.stringify((await policies()).prover)),
      file('rows.csv', ROWS),
      file('manifest.json', JSON.stringify({ manifest: published.manifest, signature: published.signature })),
    ],
  };
}

/** A page of a monitor that has heard that these jobs were finished. `stored`: what the stream holds, by job. */
async function watching(t: TestContext, stored: ReadonlyMap<string, unknown>) {
  const nats = await startFixture(t);
  const coordinator = await nats.bus('coordinator', 'c1');
  const monitor = await startMonitorRole({ bus: await nats.bus('monitor', 'm1') });
  t.defer(() => monitor.close());
  for (const [job, body] of stored) {
    const subject = subjects.proof('me', job);
    await coordinator.append(subject, encodeMessage(Anything, { subject, source: 'coordinator.c1', body }));
  }
  const { page, complaints } = await opened(t, { url: monitor.url });
  for (const job of stored.keys()) {
    const subject = subjects.progress('me', job);
    const body = {
      job,
      phase: 'published' as const,
      done: 4,
      total: 4,
      workers: [],
      phases: { witnessing: 900 },
    };
    coordinator.publish(
      subject,
      encodeMessage(ProofProgress, { subject, source: 'coordinator.c1', epoch: 1, body }),
    );
  }
  const visit = async (job: string) => {
    await at(page, `#/proof/${job}`, `Proof ${job}`);
    await page.locator('#whose-word, #no-proof:not(:text("Asking…"))').waitFor();
  };
  return { page, complaints, visit };
}

const status = (page: Page, check: string) =>
  page
    .locator('section.verdict tr', { has: page.locator('th', { hasText: new RegExp(`^${check}$`) }) })
    .locator('.came')
    .textContent();
const verdict = (page: Page, word: string) => page.locator(`section.verdict [data-verdict=${word}]`);

test('it has its statement in words, its verdict and what was not compared, and is the file that vouch verify takes', async (t) => {
  const record = recordOf('shown');
  const published = await publish(record);
  const { page, complaints, visit } = await watching(t, new Map([[record.job, published]]));
  await visit(record.job);
  await verdict(page, 'reject').waitFor();
  assert.match(
    (await page.locator('#whose-word').textContent())!,
    'came to this page through this monitor alone',
  );
  const claimed = (await page.locator('[data-claimed]').textContent())!;
  assert.match(claimed, /^It says, and this verdict does not: the hidden model .* at least 5 of the 6 rows/);
  assert.match(claimed, 'by a key whose maker could forge it');
  assert.is(await page.locator('[data-proved]').count(), 0);
  for (const [check, came] of Object.entries({
    'proof.job': 'pass',
    'proof.groth16': 'pass',
    'proof.maker-signature': 'pass',
    'proof.model-commitment': 'skipped',
    'proof.test-set': 'fail',
    'proof.key': 'fail',
  }))
    assert.is(await status(page, check), came, check);
  assert.match((await page.locator('[data-failed]').textContent())!, /proof\.test-set.*proof\.key/);
  assert.match(
    (await page.locator('section.verdict').textContent())!,
    /not checked: .*proof\.model-commitment/,
  );
  assert.equal(await barriers(page), []);
  await page.getByText('Every check').click();
  await shoot(page, 'proof-verdict', 'section[aria-label="The proof itself"]');

  await page.setViewportSize({ width: 390, height: 844 });
  assert.is(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0, 'on a phone');
  await page.setViewportSize({ width: 1280, height: 800 });

  const [download] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('link', { name: 'Download the proof' }).click(),
  ]);
  assert.is(download.suggestedFilename(), `${record.job}.json`);
  assert.equal(
    JSON.parse(readFileSync((await download.path())!, 'utf8')),
    JSON.parse(JSON.stringify(published)),
  );

  // With what a viewer has himself, the very same bytes are accepted; a key is trusted only where he names it.
  const { files, trustKey } = await belongings();
  await page.getByLabel('What belongs to it').setInputFiles(files);
  await page.locator('[data-failed]', { hasText: /^failed: proof\.key$/ }).waitFor();
  const named = page.getByLabel('Digest of the verification key that you trust');
  await named.fill('0'.repeat(64));
  await page.locator('[data-failed]', { hasText: /^failed: proof\.key$/ }).waitFor();
  await named.fill(trustKey);
  await verdict(page, 'accept').waitFor();
  assert.match((await page.locator('[data-proved]').textContent())!, /^proved: the hidden model/);
  assert.is(await page.locator('[data-claimed]').count(), 0);
  assert.equal(complaints, []);
});

test('what an operator has changed in the stream is not accepted, whatever a viewer brings along', async (t) => {
  const [raised, point, others, forged] = ['raised', 'point', 'others', 'forged'].map(recordOf) as [
    ProofRecord,
    ProofRecord,
    ProofRecord,
    ProofRecord,
  ];
  const signed = await publish(raised);
  const whole = await publish(point);
  const { pi_a: first, pi_c: last } = point.proof;
  const stored = {
    'a threshold that nobody proved': {
      job: raised.job,
      fails: ['proof.job', 'proof.public-signals', 'proof.maker-signature'],
      body: {
        ...signed,
        record: { ...raised, statement: { ...raised.statement, threshold: 6 } },
      },
    },
    'another point': {
      job: point.job,
      fails: ['proof.groth16', 'proof.maker-signature'],
      body: { ...whole, record: { ...point, proof: { ...point.proof, pi_a: last, pi_c: first } } },
    },
    'a proof of another job': {
      job: others.job,
      fails: ['proof.job'],
      body: await publish(recordOf('elsewhere')),
    },
    'a key of his own, under a signature that a coordinator might have made': {
      job: forged.job,
      fails: ['proof.groth16', 'proof.key'],
      body: await publish({ ...forged, verificationKey: { ...forged.verificationKey, vk_alpha_1: first } }),
    },
  };
  const byJob = new Map(Object.values(stored).map(({ job, body }) => [job, body]));
  const { page, complaints, visit } = await watching(t, byJob);
  const { files, trustKey } = await belongings();
  for (const [what, { job, fails }] of Object.entries(stored)) {
    await visit(job);
    await page.getByLabel('Digest of the verification key that you trust').fill(trustKey);
    await page.getByLabel('What belongs to it').setInputFiles(files);
    await page.getByText('rows.csv').waitFor();
    assert.is(await verdict(page, 'accept').count(), 0, what);
    assert.is(await verdict(page, 'reject').count(), 1, what);
    for (const check of fails) assert.is(await status(page, check), 'fail', `${what}: ${check}`);
  }
  assert.equal(complaints, []);
});

test('what is no proof, what is about one answer and what nobody stored is a sentence', async (t) => {
  const record = recordOf('answer');
  const {
    statement: _,
    threshold,
    rows,
    testSet,
    ...rest
  } = record.statement as Extract<ProofRecord['statement'], { statement: 'quality' }>;
  const answer = { ...rest, statement: 'inference', decision: 1, input: testSet };
  const stored = new Map<string, unknown>([
    ['a'.repeat(64), { record: '<img src=x onerror=alert(1)>', signature: 'verdict: accept' }],
    ['b'.repeat(64), { ...(await publish(record)), record: { ...record, statement: answer } }],
    ['c'.repeat(64), null],
  ]);
  const { page, complaints, visit } = await watching(t, stored);
  for (const [job, sentence] of [
    ['a'.repeat(64), /^What NATS has of this job cannot be shown: .*record/],
    ['b'.repeat(64), /^It is about one answer, which the monitor shows to nobody\.$/],
    ['c'.repeat(64), /^What NATS has of this job cannot be shown: /],
  ] as const) {
    await visit(job);
    assert.match((await page.locator('#no-proof').textContent())!, sentence);
    assert.is(await page.locator('section.verdict').count(), 0);
    assert.is(await page.locator('main img').count(), 0);
  }
  assert.equal(complaints, []);
});

test.run();
