/**
 * The worker's machine through its real role: an engine that computes wrongly, one that loses its device, shards that
 * cannot be done, and a coordinator's word. Shards are made by hand; queues, seals and sums are real.
 */
import { SECTION_GROUP } from '../../../circuits/groth16/engine.ts';
import { elementBytes } from '../../../circuits/groth16/field.ts';
import { G1, writeG1 } from '../../../circuits/groth16/point.ts';
import { ControlReply, ControlRequest, EvidenceReply, EvidenceRequest } from '../../../protocols/enclave.ts';
import { concat, equal, fromBase64url, sha256Hex } from '../../../protocols/encoding.ts';
import { decodeHeader, ENVELOPE_HEADER, encodeHeader } from '../../../protocols/envelope.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { decodeShardAnswer, Shard, ShardRefused, ShardResult, shardContext } from '../../../protocols/msm.ts';
import { SEALING_INFO, sealTo } from '../../../protocols/sealing.ts';
import { filters, subjects } from '../../../protocols/subjects.ts';
import { freshNonce } from '../../../runtime/attest/identity.ts';
import type { Received } from '../../../runtime/nats/bus.ts';
import { ask } from '../../../runtime/nats/service.ts';
import { openHostEngine } from '../../../runtime/prove/host-engine.ts';
import { type RunningRole, untilUp } from '../../../runtime/roles/host.ts';
import { type ShardEngine, workerRole } from '../../../runtime/roles/worker.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { startHome, until } from '../home/home-fixture.ts';

const test = suite('worker role', { timeoutMs: 90_000 });
const JOB = 'job-1';
// 2 * G + 3 * (2 * G) = 8 * G
const POINTS = concat(writeG1(G1.BASE), writeG1(G1.BASE.multiply(2n)));
const BASES = { section: 'A' as const, count: 2, chunks: [sha256Hex(POINTS)], offset: 0 };
const stateOf = ({ actor }: RunningRole): string => String(actor.getSnapshot().value);

/** A worker whose engine is the real one with a fault, and a coordinator's end of its queue. */
async function hire(t: TestContext, spoil: (engine: ShardEngine) => ShardEngine = (engine) => engine) {
  const home = await startHome(t);
  const coordinator = await home.bus('coordinator', 'c1');
  const answers: Received[] = [];
  coordinator.subscribe(filters.shardResultsOf(JOB), (received) => void answers.push(received));
  await coordinator.flush();
  const real = await openHostEngine({ engine: 'wasm', threads: 1, log: home.say });
  const worker = await home.role('worker', 'w1', workerRole({ engine: spoil(real) }));

  const client = await home.bus('client', 'me');
  await client.append(subjects.key('me', sha256Hex(POINTS)), POINTS);
  const send = async (shard: string, changes: Partial<Shard> = {}) => {
    const place = { subject: subjects.control('worker', 'w1', 'attest'), source: 'coordinator.c1' };
    const { body: evidence } = await ask(coordinator, [EvidenceRequest, EvidenceReply], {
      ...place,
      body: { nonce: freshNonce() },
    });
    const key = fromBase64url(evidence.document.hpkeKey, 'key', 32);
    const scalars = concat(elementBytes(2n), elementBytes(3n));
    const { sealed, openReply } = await sealTo(key, scalars, {
      info: SEALING_INFO.shard,
      aad: shardContext(JOB, shard, 'w1', 1),
    });
    const body: Shard = {
      job: JOB,
      shard,
      worker: 'w1',
      writer: 'me',
      count: 2,
      wide: 2,
      bits: { from: 0, count: 256 },
      bases: [BASES],
      ...changes,
    };
    const subject = subjects.shard('w1', JOB, shard);
    const header = encodeHeader(Shard, { subject, source: 'coordinator.c1', epoch: 1, body });
    coordinator.publish(subject, sealed, { headers: { [ENVELOPE_HEADER]: header } });
    const subjectOfResult = subjects.shardResult('w1', JOB, shard);
    await until(() => answers.some(({ subject: from }) => from === subjectOfResult));
    const { headers, data } = answers.find(({ subject: from }) => from === subjectOfResult)!;
    const text = headers[ENVELOPE_HEADER];
    if (text?.includes(ShardRefused.type)) return decodeHeader(ShardRefused, subjectOfResult, text).body.code;
    decodeHeader(ShardResult, subjectOfResult, text);
    const { points } = decodeShardAnswer(await openReply(data), ['A']);
    return equal(points[0]!, writeG1(G1.BASE.multiply(8n))) ? 'right' : 'wrong';
  };
  const counts = () => worker.actor.getSnapshot().context as { done: number; refused: number };
  return { ...home, coordinator, worker, send, counts };
}

test('an engine that computes wrongly never takes a shard: suspended, with the reason', async (t) => {
  const { worker, log } = await hire(t, (engine) => ({
    ...engine,
    msm: async (group, bases, scalars, options) => {
      const sum = await engine.msm(group, bases, scalars, options);
      return SECTION_GROUP.A === group ? sum.map((byte) => byte ^ 1) : sum;
    },
  }));
  await until(() => stateOf(worker) === 'suspended');
  const why = worker.failure()!;
  assert.equal([why.code, why.message], ['shard-rejected', 'self-test: the G1 engine computes wrongly']);
  assert.ok(log.some((line) => line.includes('selfTest failed') && line.includes(why.errorId)));
  await untilUp(worker, 1_000).then(
    () => assert.unreachable('it is up'),
    (error: VouchError) => assert.match(error.message, /worker w1 did not come up: self-test/),
  );
});

test('a device that is lost in a shard: handed back with its code, tested again, then the next is done', async (t) => {
  let lost = false;
  const { worker, send, counts, log } = await hire(t, (engine) => ({
    ...engine,
    hold: undefined,
    msm: async (group, bases, scalars, options) => {
      // The self-test's have three scalars, and those that rates are measured with many.
      if (scalars.byteLength === 64 && !lost) {
        lost = true;
        throw new VouchError('device-lost', 'the GPU is gone (test)');
      }
      return engine.msm(group, bases, scalars, options);
    },
  }));
  await untilUp(worker, 30_000);
  assert.is(await send('one'), 'device-lost');
  // Until it is tested it takes nothing, and says so.
  const answers: string[] = [];
  await until(async () => answers[answers.push(await send(`again-${answers.length}`)) - 1] !== 'not-ready');
  assert.is(answers.at(-1), 'right');
  assert.equal([counts().done, counts().refused], [1, 1]);
  assert.is(worker.failure(), undefined);
  assert.ok(
    log.some((line) => line.includes('compute failed') && line.includes('the GPU is gone')),
    log.join('\n'),
  );
});

test('a shard that cannot be done is handed back with its code, and harms no other', async (t) => {
  const { worker, send, counts } = await hire(t);
  await untilUp(worker, 30_000);
  assert.is(await send('missing', { bases: [{ ...BASES, chunks: ['ab'.repeat(32)] }] }), 'bad-file');
  assert.is(await send('short', { count: 3, wide: 3 }), 'bad-message');
  assert.is(await send('beyond', { bases: [{ ...BASES, offset: 64 }] }), 'bad-message');
  assert.is(await send('right'), 'right');
  assert.equal([stateOf(worker), counts().done, counts().refused], ['idle', 1, 3]);
});

test('suspended by its coordinator it computes no more and says why; nobody else may say so', async (t) => {
  const { worker, coordinator, bus } = await hire(t);
  await untilUp(worker, 30_000);
  const subject = subjects.control('worker', 'w1', 'suspend');
  const stranger = await bus('client', 'stranger');
  const suspend = (from: typeof stranger, source: string) =>
    ask(from, [ControlRequest, ControlReply], { subject, source, body: {}, timeoutMs: 1_000 });
  await suspend(stranger, 'client.stranger').then(
    () => assert.unreachable('a client suspended a worker'),
    (error: VouchError) => assert.is(error.code, 'nats-credentials'),
  );
  assert.is(stateOf(worker), 'idle');
  assert.is((await suspend(coordinator, 'coordinator.c1')).body.state, 'suspended');
  assert.match(worker.failure()!.message, 'a coordinator has found a result of this worker to be wrong');
});

test.run();
