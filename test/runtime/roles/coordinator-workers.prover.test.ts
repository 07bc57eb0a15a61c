/** Workers that lie, break or do not qualify: the proof comes out all the same, and they get no more work. */
import { fromPromise } from 'xstate';
import { msmWorkerCounts, msmWorkerMachine, type ShardRef } from '../../../actors/msm-worker.ts';
import { SECTION_GROUP } from '../../../circuits/groth16/engine.ts';
import { addPoints, G1, G2, type Group, writeG1, writeG2 } from '../../../circuits/groth16/point.ts';
import {
  createSimulatedPlatform,
  createSimulatedRoot,
} from '../../../protocols/attestation/formats/simulated.ts';
import { EvidenceReply, EvidenceRequest } from '../../../protocols/enclave.ts';
import { concat, randomBytes } from '../../../protocols/encoding.ts';
import { decodeHeader, ENVELOPE_HEADER, encodeHeader } from '../../../protocols/envelope.ts';
import {
  encodeShardAnswer,
  pointBytes,
  Shard,
  ShardResult,
  shardContext,
  unpackScalars,
} from '../../../protocols/msm.ts';
import { SEALING_INFO } from '../../../protocols/sealing.ts';
import { filters, subjects } from '../../../protocols/subjects.ts';
import { createIdentity } from '../../../runtime/attest/identity.ts';
import { simulatedProvider } from '../../../runtime/attest/simulated-provider.ts';
import { createPool } from '../../../runtime/msm/threads/pool.ts';
import { getChunk } from '../../../runtime/nats/blobs.ts';
import type { Received } from '../../../runtime/nats/bus.ts';
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
      // Rates are measured with more points than a shard has here.
      const paidFor = scalars.byteLength > 3 * 32 && scalars.byteLength < 1024 * 32;
      return paidFor ? falsify(group, right) : right;
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
    // Slow after its first shard, which are four sums, or it would do it all alone.
    if (lies++ >= 4) await joined;
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
    ['w1'],
  );
  assert.equal(record.convicted, ['bad'], 'what it got wrong, the coordinator computed itself');
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
  // A point outside of the subgroup shows when all are added up: that worker may have done all the rest.
  const honest = record.workers.some(({ id, shards }) => id === 'w1' && shards > 0);
  assert.ok(honest || record.convicted?.includes('bad-2'), JSON.stringify(record.workers));
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

test('results of an older epoch, for another message, by somebody else or not sealed change nothing', async (t) => {
  const fixture = await startProving(t);
  await fixture.process('coordinator', 'c1');
  const worker = await handWorker(fixture, 'hand');
  const stranger = await handWorker(fixture, 'stranger', 0);
  const request = await fixture.ask();
  let forged = 0;
  for (let done = 0, total = 1; done < total; done++) {
    const work = await worker.next();
    if (done < 3) {
      const wrong = falsifiedSums(work);
      await worker.send(work, wrong, { epoch: work.epoch - 1 });
      await worker.send(work, wrong, { cause: crypto.randomUUID() });
      await worker.send(work, wrong, { shard: 'wires-999-1' });
      await stranger.send(work, wrong, {});
      forged += 4;
      // Whoever runs the server can send that in anybody's name, but cannot seal.
      await worker.send({ ...work, seal: async (bytes) => bytes }, wrong, {});
    }
    await worker.send(work, work.points, {});
    // Each result twice: the second one is nobody's any more.
    await worker.send(work, falsifiedSums(work), {});
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
  readonly id: string;
  readonly epoch: number;
  readonly body: Shard;
  readonly points: readonly Uint8Array[];
  seal(point: Uint8Array): Promise<Uint8Array>;
}

const falsifiedSums = ({ body, points }: Work): Uint8Array[] =>
  body.bases.map(({ section }, i) => plusGenerator(SECTION_GROUP[section], points[i]!));

/** A worker with real evidence and heartbeats whose shards a test takes and answers by hand. */
async function handWorker(fixture: ProofFixture, id: string, credit = 2 ** 24) {
  const identity = await createIdentity('worker', id);
  const pool = await createPool({ threads: 1 });
  const waiting: Received[] = [];
  const inHand: string[] = [];
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
    context.bus.subscribe(filters.shardsOf(id), (received) => {
      inHand.push(decodeHeader(Shard, received.subject, received.headers[ENVELOPE_HEADER]).id);
      waiting.push(received);
    });
    const actor = context.run({
      kind: 'worker',
      id,
      machine,
      input: { id },
      countsOf: msmWorkerCounts,
      offer: () => ({
        worker: {
          class: 'attested',
          engine: 'by hand',
          credit,
          inHand: inHand.slice(-64),
          rates: { g1: 10_000, g2: 3_000 },
          resident: [],
        },
      }),
    });
    return { actor, drain: { type: 'worker.drain' } };
  });
  return {
    async next(): Promise<Work> {
      await until(() => waiting.length > 0);
      const { subject, headers, data } = waiting.shift()!;
      const shard = decodeHeader(Shard, subject, headers[ENVELOPE_HEADER]);
      const { job, shard: name, count, writer, bases } = shard.body;
      const epoch = shard.epoch ?? 0;
      const opened = await identity.sealing.open(data, {
        info: SEALING_INFO.shard,
        aad: shardContext(job, name, id, epoch),
      });
      const scalars = unpackScalars(opened.plaintext, shard.body);
      const points = await Promise.all(
        bases.map(async ({ section, count: own, chunks, offset }) => {
          const parts = await Promise.all(
            chunks.map((digest) => getChunk(bus, { shelf: 'keys', writer }, digest)),
          );
          const range = concat(...parts).subarray(offset, offset + own * pointBytes(section));
          return pool.msm(SECTION_GROUP[section], range, scalars.subarray((count - own) * 32));
        }),
      );
      return { id: shard.id, epoch, body: shard.body, points, seal: opened.sealReply };
    },
    async send(
      { id: cause, epoch, body, seal }: Work,
      points: readonly Uint8Array[],
      changes: { epoch?: number; cause?: string; shard?: string },
    ): Promise<void> {
      const shard = changes.shard ?? body.shard;
      const subject = subjects.shardResult(id, body.job, shard);
      const header = encodeHeader(ShardResult, {
        subject,
        source: `worker.${id}`,
        cause: changes.cause ?? cause,
        epoch: changes.epoch ?? epoch,
        body: { job: body.job, shard, worker: id },
      });
      bus.publish(subject, await seal(encodeShardAnswer(0, points)), {
        headers: { [ENVELOPE_HEADER]: header },
      });
      await bus.flush();
    },
  };
}
