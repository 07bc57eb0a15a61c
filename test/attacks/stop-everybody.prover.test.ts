/**
 * Attacker: a client with ordinary credentials and a genuine key for another circuit. He asks for what takes long to
 * compile, and leaves. He wants the coordinator to go on working for nobody, so that the next in the queue waits.
 *
 * And what a requester learns when no proof comes: with a key that passes every check, a false statement and any other
 * failure look the same to him.
 */
import { existsSync, readdirSync } from 'node:fs';
import { emitQualityCircuit } from '../../circuits/model/emit.ts';
import { decideMany } from '../../circuits/model/quantise.ts';
import { encodeTestSet, rowCounts, type TestSet } from '../../circuits/model/test-set.ts';
import type { VouchError } from '../../protocols/errors.ts';
import { cancelProof, type ProofTicket, requestProof } from '../../runtime/client/proof-request.ts';
import { folder } from '../../runtime/home/home.ts';
import { putBlob } from '../../runtime/nats/blobs.ts';
import { circuitToolchain } from '../../runtime/prove/circuit-compiler.ts';
import { coordinatorRole } from '../../runtime/roles/coordinator.ts';
import { rowsFor } from '../circuits/model-fixture.ts';
import { assert, suite } from '../harness.ts';
import { logOf, requesters, until } from '../runtime/home/home-fixture.ts';
import { smallSubject, startProving } from '../runtime/roles/proof-fixture.ts';

const test = suite('attack: stop everybody, with a key', { timeoutMs: 120_000 });

test('a client that leaves while its circuit is compiled takes the compiler along; the next is served', async (t) => {
  const fixture = await startProving(t);
  const { policies, statement } = fixture;
  const { model, shardPoints, zkey, powers } = await smallSubject();
  await fixture.process('worker', 'w1');
  const options = { requesters: await requesters(), workerPolicy: policies.worker, shardPoints };
  await fixture.role('coordinator', 'c1', coordinatorRole(options));
  let testSet: TestSet;
  do {
    const features = rowsFor(model, 12);
    testSet = { features, labels: decideMany(model, features) };
  } while (rowCounts(testSet).constant === 12 || rowCounts(testSet).distinct < 12);
  const circuit = emitQualityCircuit(model.architecture, testSet, await circuitToolchain());
  const mallory = await fixture.bus('client', 'mallory');
  let ticket: ProofTicket | undefined;
  const asked = requestProof(
    mallory,
    'client.mallory',
    {
      ...statement,
      threshold: 12,
      rows: 12,
      testSet: (await putBlob(mallory, 'testSets', encodeTestSet(testSet))).digest,
      circuit: circuit.digest,
      key: (await putBlob(mallory, 'keys', zkey)).digest,
      powers: (await putBlob(mallory, 'keys', powers)).digest,
    },
    {
      onTicket: (made) => {
        ticket = made;
      },
      signal: t.signal,
    },
  );
  asked.catch(() => {});
  const building = () =>
    existsSync(folder('cache', 'circuits')) &&
    readdirSync(folder('cache', 'circuits')).some((name) => name.startsWith('.build-'));
  const children = () => process.getActiveResourcesInfo().filter((name) => name === 'ProcessWrap').length;
  const before = children();
  await until(() => building() && children() > before);
  assert.is(await cancelProof(mallory, 'client.mallory', ticket!), true);
  await until(() => !building() && children() === before);
  assert.not.ok(existsSync(folder('cache', 'circuits', circuit.digest)), 'it was not compiled to the end');
  await asked.then(
    () => assert.unreachable('it was published'),
    (error: VouchError) => assert.is(error.code, 'cancelled'),
  );
  await until(async () => (await fixture.openRequests()) === 0);
  const next = await fixture.ask();
  assert.is((await next.done).record.job, next.job);
});

test('why no proof was made is for the log alone, once the model is computed with', async (t) => {
  const fixture = await startProving(t);
  const { statement } = fixture;
  await fixture.process('coordinator', 'c2');
  const request = await fixture.ask({ threshold: statement.rows });
  await request.done.then(
    () => assert.unreachable('it was published'),
    (error: VouchError) => {
      assert.is(error.code, 'proof-refused');
      assert.not.match(error.message, /correctly|rows/);
    },
  );
  const told = JSON.stringify(request.heard.map(({ body }) => body));
  assert.not.match(told, /statement-false|witness-rejected|proof-rejected/);
  const reason = 'the model does not answer 8 of 8 rows correctly';
  await until(async () => (await logOf('coordinator', 'c2')).includes(reason));
});

test.run();
