/**
 * An MSM worker of class `attested`: it opens the shards sealed to it, multiplies, and seals one point back to
 * whoever sealed the shard. While it multiplies one, the next are opened and their base points fetched. Scalars live in
 * this file's closures, for as long as a shard is in hand; base points are public and are kept by digest, the newest in
 * memory and within a budget on disk, where they survive a restart and are checked each time that they are read.
 *
 * Shards and results are plain messages, which may be lost: the heartbeat names what is in hand, and the coordinator asks
 * again, here or elsewhere, for what it misses.
 *
 * Its keys live for one boot, so what was sealed to an earlier boot cannot be opened: such a shard is handed back at
 * once, before anything is fetched for it, and the coordinator, which knows of the new boot, takes no notice.
 */
import { msmWorkerCounts, msmWorkerMachine, type ShardRef } from '../../actors/msm-worker.ts';
import { SECTION_GROUP } from '../../circuits/groth16/engine.ts';
import { elementBytes, R } from '../../circuits/groth16/field.ts';
import { G1, G2, writeG1, writeG2 } from '../../circuits/groth16/point.ts';
import { isHardware } from '../../protocols/attestation/document.ts';
import { SCALAR_BYTES } from '../../protocols/bn254.ts';
import { ControlReply, ControlRequest, EvidenceReply, EvidenceRequest } from '../../protocols/enclave.ts';
import { concat, equal } from '../../protocols/encoding.ts';
import {
  decodeHeader,
  ENVELOPE_HEADER,
  encodeHeader,
  type Message,
  type MessageType,
} from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import {
  encodeShardAnswer,
  packedBytes,
  Shard,
  ShardRefused,
  ShardResult,
  ShardsDropped,
  type Standing,
  shardContext,
  travelsWhole,
  unpackScalars,
  WorkerStanding,
} from '../../protocols/msm.ts';
import { canHold, type OpenedRequest, SEALING_INFO } from '../../protocols/sealing.ts';
import { filters, subjects } from '../../protocols/subjects.ts';
import { createIdentity, freshNonce } from '../attest/identity.ts';
import type { Provider } from '../attest/provider.ts';
import { type HeldRuns, holdNothing } from '../msm/runs.ts';
import { getChunk } from '../nats/blobs.ts';
import type { Received } from '../nats/bus.ts';
import { answer } from '../nats/service.ts';
import { workerChunks } from '../prove/cache.ts';
import { type EngineName, type HostEngine, openHostEngine, ratesOf } from '../prove/host-engine.ts';
import { createChunkCache } from './chunk-cache.ts';
import { type GpuSharing, gpuTurns, gpuUse } from './gpu-turns.ts';
import { type StartRole, statesTagged } from './host.ts';
import { createStatedRates, type StatedRates } from './stated-rates.ts';

/** Scalars that it holds at once, opened, 32 bytes each: a shard in work, others waiting. One of 2^20 is half of it. */
const CAPACITY_BYTES = 64 * 1024 * 1024;
/** Of base points in memory as they came, where the engine keeps its own and where not; what is on disk has a budget of its own. */
const CACHE_BYTES = { beside: 64 * 1024 * 1024, alone: 512 * 1024 * 1024 };
/** As many as a heartbeat names. */
const MAX_IN_HAND = 64;

/** What a shard needs to be computed. Secret. */
interface Opened extends Pick<OpenedRequest, 'sealReply'> {
  /** 32 bytes each */
  readonly scalars: Uint8Array;
  /** the shard's `bases` */
  readonly held: HeldRuns;
}

interface InHand {
  readonly shard: Message<Shard>;
  /** of its scalars, opened */
  readonly bytes: number;
  readonly opened: Promise<Opened>;
}
/** Said while nothing was measured; it has no credit then. */
const UNKNOWN_RATES = { g1: 1, g2: 1 };
/** The states in which it takes shards. */
const WORKING = statesTagged(msmWorkerMachine, 'up');

export type ShardEngine = Pick<HostEngine, 'msm' | 'close' | 'hold'> &
  Partial<Pick<HostEngine, 'label' | 'gpuMemory'>>;

export interface WorkerOptions {
  /** threads of this worker's pool, default 1 */
  readonly threads?: number | undefined;
  /** who multiplies: by name, `auto` by default, or as given; closed with the worker */
  readonly engine?: EngineName | ShardEngine | undefined;
  /** that points may take of a GPU; by default what its capability says */
  readonly gpuBytes?: number | undefined;
  /** where inferences run on the same GPU */
  readonly sharing?: GpuSharing | undefined;
  /** that base points may take of the disk; default 8 GiB, 0 keeps none */
  readonly diskBytes?: number | undefined;
  /** default: one of this installation's own */
  readonly provider?: Provider | undefined;
}

export const workerRole =
  ({ threads = 1, engine = 'auto', gpuBytes, sharing, diskBytes, provider }: WorkerOptions = {}): StartRole =>
  async (context) => {
    const { id, bus, log, source, effect } = context;
    const turns =
      typeof engine === 'string' && engine !== 'wasm' ? await gpuTurns(context, sharing) : undefined;
    const multiplier: ShardEngine =
      typeof engine === 'string' ? await openHostEngine({ engine, threads, gpuBytes, turns, log }) : engine;
    context.onStop(() => multiplier.close());
    const hold = multiplier.hold ?? holdNothing(multiplier);
    const identity = await createIdentity('worker', id, { provider });
    const kept =
      diskBytes === 0 ? undefined : workerChunks(diskBytes, (reason) => log(`${source}: ${reason}`));
    const chunks = createChunkCache(
      multiplier.hold ? CACHE_BYTES.beside : CACHE_BYTES.alone,
      (await kept?.digests()) ?? [],
    );
    /** in the order in which they came; the machine has the first one, when it has one */
    const hand: InHand[] = [];
    let current: InHand | undefined;
    let rates: StatedRates | undefined;
    let arrived = Promise.withResolvers<void>();

    const inWork = (ref: ShardRef): InHand => {
      if (current?.shard.body.shard !== ref.shard || current.shard.body.job !== ref.job)
        throw new VouchError('internal', `shard ${ref.shard} of ${ref.job} is not the one in hand`);
      return current;
    };
    const letGo = (gone: InHand) => {
      const at = hand.indexOf(gone);
      if (at >= 0) hand.splice(at, 1);
      if (current === gone) current = undefined;
      gone.opened.then(
        ({ scalars, held }) => {
          scalars.fill(0);
          held.release();
        },
        () => {},
      );
    };
    context.onStop(() => {
      for (const held of [...hand]) letGo(held);
    });

    /** Opens the scalars, then has the base points here. */
    const openShard = async (shard: Message<Shard>, sealed: Uint8Array): Promise<Opened> => {
      const { job, shard: name, writer, bases } = shard.body;
      const expected = packedBytes(shard.body);
      if (!canHold(sealed, expected))
        throw new VouchError(
          'bad-message',
          `msm.shard: expected ${expected} sealed bytes of scalars, got ${sealed.byteLength}`,
        );
      const request = await identity.sealing.openOnce(sealed, {
        info: SEALING_INFO.shard,
        aad: shardContext(job, name, id, shard.epoch ?? 0),
      });
      let scalars = request.plaintext;
      if (!travelsWhole(shard.body))
        try {
          scalars = unpackScalars(request.plaintext, shard.body);
        } finally {
          // The scalars are all that is needed of it.
          request.plaintext.fill(0);
        }
      for (const { chunks: digests } of bases) chunks.inOrder(digests);
      const runs = bases.map(({ section, count, chunks: digests, offset }) => ({
        group: SECTION_GROUP[section],
        count,
        offset,
        chunks: digests.map((digest) => ({
          name: digest,
          read: () => chunks.get(digest, () => getChunk(bus, { shelf: 'keys', writer }, digest, { kept })),
        })),
      }));
      const held = await hold(runs, shard.body.count).catch((error: unknown) => {
        scalars.fill(0);
        throw error;
      });
      return { sealReply: request.sealReply, scalars, held };
    };

    const reply = <Body extends { job: string; shard: string }>(
      kind: MessageType<Body>,
      shard: Message<Shard>,
      body: Body,
      sealed: Uint8Array = new Uint8Array(),
    ) => {
      const subject = subjects.shardResult(id, body.job, body.shard);
      const header = encodeHeader(kind, { subject, source, cause: shard.id, epoch: shard.epoch, body });
      // While the connection is lost it waits; whoever misses it asks somebody else meanwhile.
      bus.publish(subject, sealed, { headers: { [ENVELOPE_HEADER]: header } });
    };
    const refuse = (shard: Message<Shard>, code: string) => {
      const { job, shard: name } = shard.body;
      log(`${source}: shard ${name} of ${job} handed back: ${code}`);
      reply(ShardRefused, shard, { job, shard: name, worker: id, code });
    };
    /** A shard was sent: taken when there is room for it. */
    const receive = ({ subject, headers, data }: Received) => {
      try {
        const shard = decodeHeader(Shard, subject, headers[ENVELOPE_HEADER]);
        const { job, shard: name, worker } = shard.body;
        if (worker !== id || subject !== subjects.shard(id, job, name))
          throw new VouchError('bad-message', 'msm.shard: it is addressed to another worker');
        if (!WORKING.has(String(actor.getSnapshot().value))) return refuse(shard, 'not-ready');
        const bytes = hand.reduce((sum, held) => sum + held.bytes, 0);
        // One that is larger than all there is room for is taken alone.
        const own = shard.body.count * SCALAR_BYTES;
        if (hand.length >= MAX_IN_HAND || (hand.length > 0 && bytes + own > CAPACITY_BYTES))
          return refuse(shard, 'busy');
        const opened = openShard(shard, data);
        // Heard when its turn comes.
        opened.catch(() => {});
        hand.push({ shard, bytes: own, opened });
        arrived.resolve();
      } catch (error) {
        // Nobody can make sense of it.
        log(`${source}: dropped a shard: ${messageOf(error)}`);
      }
    };

    const machine = msmWorkerMachine.provide({
      actors: {
        // Evidence is made once before anybody asks for it: a platform that cannot is found here.
        join: effect('join', async () => ({
          hardware: isHardware(await identity.evidence(freshNonce())),
        })),
        selfTest: effect('selfTest', async () => {
          for (const group of ['G1', 'G2'] as const) {
            const [bases, scalars, expected] = knownSum(group);
            if (!equal(await multiplier.msm(group, bases, scalars), expected)) {
              throw new VouchError('shard-rejected', `self-test: the ${group} engine computes wrongly`);
            }
          }
          rates ??= createStatedRates(await ratesOf(multiplier));
        }),
        pull: effect('pull', async ({ signal }) => {
          signal.addEventListener('abort', () => arrived.resolve(), { once: true });
          while (hand.length === 0) {
            arrived = Promise.withResolvers();
            await arrived.promise;
            if (signal.aborted) throw new VouchError('cancelled', 'no longer taking shards');
          }
          current = hand[0]!;
          const { job, shard, bases } = current.shard.body;
          return { job, shard, points: bases.reduce((sum, { count }) => sum + count, 0) };
        }),
        // A shard is a request of its coordinator's: what is wrong with one is no reason to stop.
        fetchBases: effect<void, ShardRef>(
          'fetchBases',
          async ({ input }) => {
            await inWork(input).opened;
          },
          { ofRequest: true },
        ),
        compute: effect(
          'compute',
          async ({ input, signal }) => {
            const work = inWork(input);
            const { sealReply, scalars, held } = await work.opened;
            const { job, shard: name } = work.shard.body;
            const began = performance.now();
            const sums = await held.sums(scalars, { signal });
            const took = performance.now() - began;
            const millis = Math.round(took);
            rates?.summed(work.shard.body, took);
            const sealed = await sealReply(encodeShardAnswer(millis, sums));
            if (signal.aborted) return;
            reply(ShardResult, work.shard, { job, shard: name, worker: id }, sealed);
            letGo(work);
          },
          { ofRequest: true },
        ),
      },
      actions: {
        refuseShard: (_, { code }) => {
          if (!current) return;
          refuse(current.shard, code);
          letGo(current);
        },
        dropShard: () => {
          if (current) letGo(current);
        },
      },
    });
    const actor = context.run({
      kind: 'worker',
      id,
      machine,
      input: { id },
      countsOf: msmWorkerCounts,
      offer: (state) => ({
        worker: {
          class: 'attested',
          engine: multiplier.label ?? 'by hand',
          credit: rates && WORKING.has(state) ? CAPACITY_BYTES : 0,
          inHand: hand.map(({ shard }) => shard.id),
          rates: rates?.said() ?? UNKNOWN_RATES,
          resident: chunks.resident(),
          gpu: turns && multiplier.gpuMemory && gpuUse(turns, multiplier.gpuMemory()),
        },
      }),
    });
    // What waits when it takes no more is somebody else's at once.
    actor.subscribe((snapshot) => {
      if (WORKING.has(String(snapshot.value))) return;
      for (const held of hand.filter((held) => held !== current)) {
        refuse(held.shard, 'not-ready');
        letGo(held);
      }
    });
    bus.subscribe(filters.shardsOf(id), receive);
    answer(
      bus,
      [EvidenceRequest, EvidenceReply],
      { subject: subjects.control('worker', id, 'attest'), source, log },
      async ({ body }) => ({
        document: await identity.evidence(body.nonce),
      }),
    );
    // Only a coordinator may say so: NATS' rights.
    answer(
      bus,
      [ControlRequest, ControlReply],
      { subject: subjects.control('worker', id, 'suspend'), source, log },
      () => {
        context.fail(
          'suspended',
          new VouchError('shard-rejected', 'a coordinator has found a result of this worker to be wrong'),
        );
        actor.send({ type: 'worker.suspend' });
        return { state: String(actor.getSnapshot().value) };
      },
    );
    answer(
      bus,
      [ShardsDropped, ControlReply],
      { subject: subjects.control('worker', id, 'drop'), source, log },
      ({ body }) => {
        const dropped = new Set(body.shards);
        for (const held of [...hand]) {
          if (!dropped.has(held.shard.id)) continue;
          if (held === current) actor.send({ type: 'shard.dropped' });
          else letGo(held);
        }
        return { state: String(actor.getSnapshot().value) };
      },
    );
    answer(
      bus,
      [WorkerStanding, ControlReply],
      { subject: subjects.control('worker', id, 'standing'), source, log },
      ({ body: { standing, late }, source: from }) => {
        log(`${source}: ${from} gives this worker ${STANDING_WORDS[standing]} (${late} shards late)`);
        return { state: String(actor.getSnapshot().value) };
      },
    );
    return { actor, drain: { type: 'worker.drain' } };
  };

const STANDING_WORDS: Record<Standing, string> = {
  full: 'as much as it can do',
  less: 'one shard at a time',
  copies: 'only copies of what others have, too',
  none: 'a test now and then, until one comes back right and in time',
};

/** A small sum whose value is known: 1*G + 2*(2G) + (r-1)*(3G) = (1 + 4 - 3)*G. */
function knownSum(group: 'G1' | 'G2'): [Uint8Array, Uint8Array, Uint8Array] {
  const write = (k: bigint) => (group === 'G1' ? writeG1(G1.BASE.multiply(k)) : writeG2(G2.BASE.multiply(k)));
  const scalars = [1n, 2n, R - 1n].map(elementBytes);
  return [concat(write(1n), write(2n), write(3n)), concat(...scalars), write(2n)];
}
