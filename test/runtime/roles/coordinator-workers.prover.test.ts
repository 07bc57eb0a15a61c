/** Workers that lie, break or do not qualify: the proof comes out all the same, and they get no more work. */
import { fromPromise } from 'xstate';
import { msmWorkerCounts, msmWorkerMachine, type ShardRef } from '../../../actors/msm-worker.ts';
import { SECTION_GROUP } from '../../../circuits/groth16/engine.ts';
import {
  addPoints,
  G1,
  G2,
  type Group,
  POINT_BYTES,
  writeG1,
  writeG2,
} from '../../../circuits/groth16/point.ts';
import {
  createSimulatedPlatform,
  createSimulatedRoot,
} from '../../../protocols/attestation/formats/simulated.ts';
import { EvidenceReply, EvidenceRequest } from '../../../protocols/enclave.ts';
import { concat, randomBytes } from '../../../protocols/encoding.ts';
import { decodeHeader, ENVELOPE_HEADER, encodeHeader } from '../../../protocols/envelope.ts';
import { encodeShardAnswer, pointBytes, Shard, ShardResult, shardContext } from '../../../protocols/msm.ts';
import { SEALING_INFO } from '../../../protocols/sealing.ts';
import { STREAMS, shardConsumer } from '../../../protocols/streams.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { createIdentity } from '../../../runtime/attest/identity.ts';
import { simulatedProvider } from '../../../runtime/attest/simulated-provider.ts';
import { createPool } from '../../../runtime/msm/threads/pool.ts';
import { getChunk } from '../../../runtime/nats/blobs.ts';
import type { PulledMessage } from '../../../runtime/nats/bus.ts';
import { answer } from '../../../runtime/nats/service.ts';
import { type ShardEngine, workerRole } from '../../../runtime/roles/worker.ts';
import { strayPoint } from '../../circuits/stray-point.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { until } from '../home/home-fixture.ts';
import { type ProofFixture, startProving } from './proof-fixture.ts';

const test = suite('coordinator and workers', { timeoutMs: 90_000 });

/** A worker's engine that answers right in its self-test and falsifies what it is paid for. */
async function falsified(
  falsify: (group: Group, right: Uint8Array) => Uint8Array | Promise<Uint8Array>,
): Promise<ShardEngine> {
  const pool = await createPool({ threads: 1 });
  return {
    close: () => pool.close(),
    msm: async (group, bases, scalars, options) => {
      const right = await pool.msm(group, bases, scalars, options);
      return scalars.byteLength > 3 * 32 ? falsify(group, right) : right;
    },
  };
}

const plusGenerator = (group: Group, point: Uint8Array): Uint8Array =>
  addPoints(group, [point, group === 'G1' ? writeG1(G1.BASE) : writeG2(G2.BASE)]);

/** Both keep at it until the bad one has answered; then an honest one joins. */
async function besideAnHonestOne(t: TestContext, engine: ShardEngine) {
  const fixture = await startProving(t);
  await Promise.all([
    fixture.process('coordinator', 'c1'),
    fixture.role('worker', 'bad', workerRole({ engine })),
  ]);
  const request = await fixture.ask();
  const answered = request.when(({ phase, done }) => phase === 'dispatching' && done > 0);
  return { fixture, request, answered };
}

test('a worker whose points are valid but wrong is convicted; the proof is the right one; it gets no more work', async (t) => {
  const { promise: joined, resolve: join } = Promise.withResolvers<void>();
  let lies = 0;
  const engine = await falsified(async (group, right) => {
    // Slow after its first lie, or it would do it all alone.
    if (lies++ > 0) await joined;
    return plusGenerator(group, right);
  });
  const { fixture, request, answered } = await besideAnHonestOne(t, engine);
  await answered;
  await fixture.process('worker', 'w1');
  await request.when(({ workers }) => workers.some(({ id, done }) => id === 'w1' && done > 0));
  join();
  const { record } = await fixture.check(request);
  assert.equal(
    record.workers.map(({ id }) => id),
    ['c1', 'w1'],
    'what it got wrong, the coordinator computed itself',
  );
  const next = await fixture.ask();
  const { record: second } = await fixture.check(next);
  assert.equal(
    second.workers.map(({ id }) => id),
    ['w1'],
  );
  assert.not(
    next.heard.some(({ body }) => body.workers.some(({ id }) => id === 'bad')),
    'not even assigned',
  );
});

const breakages: Record<string, (group: Group, right: Uint8Array) => Uint8Array> = {
  garbage: (_, { length }) => randomBytes(length).fill(0x2a, 31, 32),
  'a point off the curve': (_, right) => Uint8Array.from(right, (byte, i) => (i === 0 ? byte ^ 1 : byte)),
  'a point outside of the subgroup of G2': (group, right) => (group === 'G2' ? strayPoint() : right),
  'two points': (_, right) => concat(right, right),
  nothing: () => new Uint8Array(),
};
test('results that are no point of their group are refused; the shards go to another, the workers get no more', async (t) => {
  const fixture = await startProving(t);
  await fixture.process('coordinator', 'c1');
  const broken = await Promise.all(
    Object.entries(breakages).map(async ([what, falsify], i) => {
      const { promise: answered, resolve } = Promise.withResolvers<void>();
      const engine = await falsified((group, right) => {
        const point = falsify(group, right);
        if (point !== right) resolve();
        return point;
      });
      await fixture.role('worker', `bad-${i}`, workerRole({ engine }));
      return { what, id: `bad-${i}`, answered };
    }),
  );
  const request = await fixture.ask();
  await Promise.all(broken.map(({ answered }) => answered));
  await fixture.process('worker', 'w1');
  const { record } = await fixture.check(request);
  assert.ok(record.workers.some(({ id, shards }) => id === 'w1' && shards > 0));
  const next = await fixture.ask();
  await fixture.check(next);
  for (const { what, id } of broken)
    assert.not(
      next.heard.some(({ body }) => body.workers.some((worker) => worker.id === id)),
      what,
    );
});

test('a worker that fails at every shard hands it back, and others do them', async (t) => {
  const engine = await falsified(() => {
    throw new Error('the device is on fire');
  });
  const { fixture, request } = await besideAnHonestOne(t, engine);
  await until(async () => request.heard.some(({ body }) => body.workers.some(({ id }) => id === 'bad')));
  await fixture.process('worker', 'w1');
  const { record } = await fixture.check(request);
  assert.equal(
    record.workers.map(({ id }) => id),
    ['w1'],
  );
});

test('a worker whose evidence does not satisfy the policy gets nothing', async (t) => {
  const fixture = await startProving(t);
  const provider = simulatedProvider(
    await createSimulatedPlatform(await createSimulatedRoot(randomBytes(32))),
  );
  await Promise.all([
    fixture.process('coordinator', 'c1'),
    fixture.role('worker', 'stranger', workerRole({ provider })),
    fixture.role('worker', 'debug', workerRole({ provider: simulatedProvider(await debugPlatform()) })),
  ]);
  const request = await fixture.ask();
  await request.when(({ phase }) => phase === 'dispatching');
  await fixture.process('worker', 'w1');
  const { record } = await fixture.check(request);
  assert.equal(
    record.workers.map(({ id }) => id),
    ['w1'],
  );
  assert.not(request.heard.some(({ body }) => body.workers.some(({ id }) => id !== 'w1')));
});

test('results of an older epoch, for another message, or by somebody else change nothing', async (t) => {
  const fixture = await startProving(t);
  await fixture.process('coordinator', 'c1');
  const worker = await handWorker(fixture, 'hand');
  const stranger = await handWorker(fixture, 'stranger', 0);
  const request = await fixture.ask();
  let forged = 0;
  for (let done = 0, total = 1; done < total; done++) {
    const work = await worker.next(t.signal);
    if (done < 3) {
      const wrong = plusGenerator(SECTION_GROUP[work.body.section], work.point);
      await worker.send(work, wrong, { epoch: work.epoch - 1 });
      await worker.send(work, wrong, { cause: crypto.randomUUID() });
      await worker.send(work, wrong, { shard: 'A-999' });
      await stranger.send(work, wrong, {});
      forged += 4;
    }
    await worker.send(work, work.point, {});
    // Each result twice: the second one is nobody's any more.
    await worker.send(work, plusGenerator(SECTION_GROUP[work.body.section], work.point), {});
    const news = await request.when((progress) => progress.done === done + 1);
    total = news.total;
  }
  const { record } = await fixture.check(request);
  assert.is(forged, 12);
  assert.equal(
    record.workers.map(({ id }) => id),
    ['hand'],
    'nobody was convicted, so nothing wrong went in',
  );
});

test.run();

const debugPlatform = async () => {
  const { simulatedRoot } = await import('../../../runtime/attest/simulated-root.ts');
  return createSimulatedPlatform(await simulatedRoot(), { debug: true });
};

interface Work {
  readonly message: PulledMessage;
  readonly id: string;
  readonly epoch: number;
  readonly body: Shard;
  readonly point: Uint8Array;
  seal(point: Uint8Array): Promise<Uint8Array>;
}

/** A worker with real evidence and heartbeats whose shards a test takes and answers by hand. */
async function handWorker(fixture: ProofFixture, id: string, credit = 1) {
  const identity = await createIdentity('worker', id);
  const pool = await createPool({ threads: 1 });
  const { bus } = await fixture.role('worker', id, async (context) => {
    context.onStop(() => pool.close());
    const machine = msmWorkerMachine.provide({
      actors: {
        join: fromPromise<{ hardware: boolean }, { id: string }>(async () => ({ hardware: false })),
        selfTest: fromPromise(async () => {}),
        pull: fromPromise<ShardRef, { id: string }>(() => new Promise(() => {})),
      },
    });
    const place = {
      subject: subjects.control('worker', id, 'attest'),
      source: context.source,
      log: context.log,
    };
    answer(context.bus, [EvidenceRequest, EvidenceReply], place, async ({ body }) => ({
      document: await identity.evidence(body.nonce),
    }));
    const actor = context.run({
      kind: 'worker',
      id,
      machine,
      input: { id },
      countsOf: msmWorkerCounts,
      offer: () => ({ worker: { class: 'attested', engine: 'by hand', credit, resident: [] } }),
    });
    return { actor, drain: { type: 'worker.drain' } };
  });
  return {
    async next(signal: AbortSignal): Promise<Work> {
      for (;;) {
        signal.throwIfAborted();
        const message = await bus
          .next(STREAMS.shards.name, shardConsumer(id), { expiresMs: 1_000 })
          .catch(() => new Promise<undefined>((resume) => setTimeout(resume, 100)));
        if (!message) continue;
        const shard = decodeHeader(Shard, message.subject, message.headers[ENVELOPE_HEADER]);
        const { job, shard: name, section, count, writer, chunks, offset } = shard.body;
        const epoch = shard.epoch ?? 0;
        const opened = await identity.sealing.open(message.data, {
          info: SEALING_INFO.shard,
          aad: shardContext(job, name, id, epoch),
        });
        const parts = await Promise.all(
          chunks.map((digest) => getChunk(bus, { shelf: 'keys', writer }, digest)),
        );
        const bases = concat(...parts).subarray(offset, offset + count * pointBytes(section));
        const point = await pool.msm(SECTION_GROUP[section], bases, opened.plaintext);
        assert.is(point.byteLength, POINT_BYTES[SECTION_GROUP[section]]);
        await message.ack();
        return { message, id: shard.id, epoch, body: shard.body, point, seal: opened.sealReply };
      }
    },
    async send(
      { id: cause, epoch, body, seal }: Work,
      point: Uint8Array,
      changes: { epoch?: number; cause?: string; shard?: string },
    ): Promise<void> {
      const shard = changes.shard ?? body.shard;
      const subject = subjects.shardResult(id, body.job, shard);
      const header = encodeHeader(ShardResult, {
        subject,
        source: `worker.${id}`,
        cause: changes.cause ?? cause,
        epoch: changes.epoch ?? epoch,
        body: { job: body.job, shard, worker: id, section: body.section },
      });
      await bus.append(subject, await seal(encodeShardAnswer(0, point)), {
        headers: { [ENVELOPE_HEADER]: header },
      });
    },
  };
}
