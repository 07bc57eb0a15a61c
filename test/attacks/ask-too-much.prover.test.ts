/**
 * Attacker: a client with ordinary credentials, who asks more than the vendor allows: thresholds that close in on the exact
 * accuracy, rows that tell of single rows, more proofs than his budget has, under another's name where his own is used up.
 * In the last two tests whoever operates the NATS server helps him: he forgets what was spent, and strips the signed request
 * from what a coordinator sends to a key-broker.
 */
import { encodeTestSet } from '../../circuits/model/test-set.ts';
import { encodeMessage, type RemoteError } from '../../protocols/envelope.ts';
import { ProofRequest, type QualityStatement } from '../../protocols/proof.ts';
import { BUCKETS } from '../../protocols/streams.ts';
import { subjects } from '../../protocols/subjects.ts';
import { DEFAULT_TERMS, type Terms } from '../../protocols/terms.ts';
import { createIdentity } from '../../runtime/attest/identity.ts';
import { awaitProof, questionOf, requestProof, signedBy } from '../../runtime/client/proof-request.ts';
import { obtainModel } from '../../runtime/models/obtain.ts';
import { putBlob } from '../../runtime/nats/blobs.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import {
  type ProofFixture,
  SMALL_TERMS,
  smallSubject,
  startProving,
} from '../runtime/roles/proof-fixture.ts';
import { edit, isOf, refusal, through } from './nats-proxy.ts';

const test = suite('attack: ask too much', { timeoutMs: 180_000 });

async function serving(t: TestContext, terms: Terms): Promise<ProofFixture> {
  const fixture = await startProving(t, undefined, { terms });
  await fixture.process('coordinator', 'c1');
  return fixture;
}
const outcome = async (fixture: ProofFixture, changes: Partial<QualityStatement>): Promise<string> =>
  (await fixture.ask(changes)).done.then(
    () => 'published',
    (error: RemoteError) => `${error.code}: ${error.message}`,
  );

test('of all thresholds two are answered, and rows that tell of themselves are not rows of a test set', async (t) => {
  // The model gets 7 of 8 right, and a constant answer 5 at most.
  const fixture = await serving(t, { ...SMALL_TERMS, thresholdStep: 25 });
  await fixture.process('worker', 'w1');
  const told: string[] = [];
  for (let threshold = 0; threshold <= 8; threshold++) told.push(await outcome(fixture, { threshold }));
  assert.equal(
    told.map((each) => each.split(':')[0]),
    [...Array(6).fill('terms-refused'), 'published', 'terms-refused', 'proof-refused'],
  );
  assert.match(told[0]!, /steps of 25 % of 8 rows, got 0; the next is 2/);
  assert.match(told[4]!, /above \d of 8 rows, which is what a constant answer scores, got 4/);

  const { testSet } = await smallSubject();
  const store = async (rows: typeof testSet) =>
    (await putBlob(fixture.client, 'testSets', encodeTestSet(rows))).digest;
  const one = { features: testSet.features.slice(0, 1), labels: testSet.labels.slice(0, 1) };
  assert.match(
    await outcome(fixture, { rows: 1, threshold: 1, testSet: await store(one) }),
    /^terms-refused: .*at least 8 rows, got 1/,
  );
  // The same row again and again, as half of the rows.
  const weighed = {
    ...testSet,
    features: testSet.features.map((row, i) => (i < 4 ? testSet.features[0]! : row)),
  };
  assert.match(
    await outcome(fixture, { threshold: 6, testSet: await store(weighed) }),
    /^terms-refused: .*8 different rows, got 5/,
  );
  const strict: Terms = { ...SMALL_TERMS, testSets: ['0'.repeat(64)] };
  const other = await serving(t, strict);
  assert.match(await outcome(other, {}), /^terms-refused: .*registered, got another/);
});

test('a budget that is used up stays so: with a new question, with a restarted coordinator, with the bucket wiped', async (t) => {
  const fixture = await serving(t, { ...SMALL_TERMS, requester: { perDay: 1 }, all: { ever: 2 } });
  const { observer, statement } = fixture;
  await fixture.process('worker', 'w1');
  // What is refused before the key is checked costs nothing.
  assert.match(await outcome(fixture, { key: '0'.repeat(64) }), /^bad-file/);
  await fixture.check(await fixture.ask());
  const used = /^terms-refused: .*test: expected at most 1 proofs within a day/;
  assert.match(await outcome(fixture, {}), used);
  await fixture.process('coordinator', 'c2');
  assert.match(await outcome(fixture, {}), used);
  // The operator forgets. The key-broker has its own records, and does not.
  await observer.api(`STREAM.PURGE.KV_${BUCKETS.budgets}`);
  assert.match(await outcome(fixture, {}), used);

  // Another client has a budget of his own, until that of all is used up.
  for (const [id, expected] of [
    ['second', 'published'],
    ['third', 'terms-refused'],
  ] as const) {
    const { testSet, zkey, powers } = await smallSubject();
    const bus = await fixture.bus('client', id);
    await putBlob(bus, 'testSets', encodeTestSet(testSet));
    await putBlob(bus, 'keys', zkey);
    await putBlob(bus, 'keys', powers);
    const got = await requestProof(bus, `client.${id}`, statement, { signal: t.signal }).then(
      () => 'published',
      (error: RemoteError) => error.code,
    );
    assert.is(got, expected, id);
  }
});

test('nobody asks under another’s name: his request again, his JWT without his key, no signature at all', async (t) => {
  const fixture = await serving(t, { ...DEFAULT_TERMS, minimumRows: 8 });
  const { client: victim, statement } = fixture;
  const mallory = await fixture.bus('client', 'mallory');
  const send = async (body: ProofRequest, raw?: Uint8Array) => {
    const subject = subjects.proofRequest('quality', mallory.id, body.job);
    const done = awaitProof(mallory, body, { signal: t.signal });
    const message = encodeMessage(ProofRequest, { subject, source: 'client.test', body });
    await mallory.append(subject, raw ?? message, { msgId: crypto.randomUUID() });
    return refusal(done);
  };
  const his = signedBy(victim, questionOf(statement));
  assert.match(await send(his), /^signature-rejected: .*the client of the subject, got another/);
  const own = signedBy(mallory, questionOf(statement));
  const borrowed = { ...own, requester: { ...own.requester, jwt: his.requester.jwt } };
  assert.match(await send(borrowed), /^signature-rejected: .*test has not signed this very request/);
  const changed = { ...own, cancel: '0'.repeat(64) };
  assert.match(await send(changed), /^signature-rejected: .*mallory has not signed/);
  const bare = signedBy(mallory, questionOf(statement));
  const { requester: _, ...unsigned } = bare;
  const subject = subjects.proofRequest('quality', mallory.id, bare.job);
  const envelope = JSON.parse(
    new TextDecoder().decode(encodeMessage(ProofRequest, { subject, source: 'client.test', body: bare })),
  );
  const raw = new TextEncoder().encode(JSON.stringify({ ...envelope, body: unsigned }));
  assert.match(await send(bare, raw), /^bad-message: proof.request.requester/);
});

test('a key-broker judges for itself, and a request that is stripped on its way gets nothing that is used', async (t) => {
  const fixture = await startProving(t, undefined, { terms: { ...DEFAULT_TERMS, minimumRows: 8 } });
  const { client, statement, server } = fixture;
  const identity = await createIdentity('coordinator', 'victim', {});
  let strip = false;
  const bus = await through(
    t,
    server.url,
    (message) => {
      if (strip && isOf(message, 'release.request', true))
        edit(message, (envelope) => {
          delete (envelope.body as { proof?: unknown }).proof;
        });
    },
    'coordinator',
  );
  const obtain = (request: ProofRequest) =>
    refusal(obtainModel(bus, 'coordinator.victim', identity, statement.model, request));
  const request = (changes: Partial<QualityStatement> = {}) =>
    signedBy(client, questionOf({ ...statement, ...changes }));
  const good = request();
  assert.match(await obtain(good), /^believed/);
  assert.match(await obtain(request({ rows: 7, threshold: 7 })), /^terms-refused: .*at least 8 rows/);
  assert.match(await obtain(request({ commitment: '1' })), /^commitment-mismatch/);
  const lowered = { ...good, statement: { ...statement, threshold: 0 } };
  assert.match(await obtain(lowered), /^signature-rejected/);
  strip = true;
  const stripped = await obtain(request());
  assert.match(stripped, /^key-rejected: .*its job is null/, stripped);
});

test.run();
