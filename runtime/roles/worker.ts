/**
 * An MSM worker of class `attested`: it opens the shards sealed to it, multiplies, and seals one point back to
 * whoever sealed the shard. Scalars live in this file's closures, for the length of one shard; base points are
 * public and are kept by digest.
 *
 * Its keys live for one boot, so what was sealed to an earlier boot cannot be opened: such a shard is handed back at
 * once, before anything is fetched for it, and the coordinator, which knows of the new boot, takes no notice.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { msmWorkerCounts, msmWorkerMachine, type ShardRef } from '../../actors/msm-worker.ts';
import { SECTION_GROUP } from '../../circuits/groth16/engine.ts';
import { elementBytes, R } from '../../circuits/groth16/field.ts';
import { G1, G2, writeG1, writeG2 } from '../../circuits/groth16/point.ts';
import { isHardware } from '../../protocols/attestation/document.ts';
import { SCALAR_BYTES } from '../../protocols/bn254.ts';
import { ControlReply, ControlRequest, EvidenceReply, EvidenceRequest } from '../../protocols/enclave.ts';
import { concat, equal } from '../../protocols/encoding.ts';
import { decodeHeader, ENVELOPE_HEADER, encodeHeader, type Message } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import {
  encodeShardAnswer,
  pointBytes,
  Shard,
  ShardRefused,
  ShardResult,
  shardContext,
} from '../../protocols/msm.ts';
import { canHold, type OpenedRequest, SEALING_INFO } from '../../protocols/sealing.ts';
import { STREAMS, shardConsumer } from '../../protocols/streams.ts';
import { subjects } from '../../protocols/subjects.ts';
import { createIdentity, freshNonce } from '../attest/identity.ts';
import type { Provider } from '../attest/provider.ts';
import { getChunk } from '../nats/blobs.ts';
import type { PulledMessage } from '../nats/bus.ts';
import { answer } from '../nats/service.ts';
import { type EngineName, type HostEngine, openHostEngine } from '../prove/host-engine.ts';
import { type StartRole, statesTagged } from './host.ts';

/** One shard in work, one waiting. */
const CREDIT = 2;
const PULL_MS = 5_000;
/** A queue that is not there yet, or not any more, is looked for this often. */
const NO_QUEUE_MS = 250;
/** A third of the consumer's ack wait (runtime/nats/provision.ts). */
const WORKING_MS = 10_000;
const CACHE_BYTES = 512 * 1024 * 1024;

interface Held {
  readonly message: PulledMessage;
  readonly shard: Message<Shard>;
  readonly heartbeat: NodeJS.Timeout;
  bases?: Uint8Array;
  opened?: OpenedRequest;
}
/** The states in which it takes shards. */
const WORKING = statesTagged(msmWorkerMachine, 'up');

export type ShardEngine = Pick<HostEngine, 'msm' | 'close'> & { readonly label?: string };

export interface WorkerOptions {
  /** threads of this worker's pool, default 1 */
  readonly threads?: number | undefined;
  /** who multiplies: by name, `auto` by default, or as given; closed with the worker */
  readonly engine?: EngineName | ShardEngine | undefined;
  /** that points may take of a GPU; by default what its capability says */
  readonly gpuBytes?: number | undefined;
  /** default: one of this installation's own */
  readonly provider?: Provider | undefined;
}

export const workerRole =
  ({ threads = 1, engine = 'auto', gpuBytes, provider }: WorkerOptions = {}): StartRole =>
  async (context) => {
    const { id, bus, log, source, effect } = context;
    const multiplier: ShardEngine =
      typeof engine === 'string' ? await openHostEngine({ engine, threads, gpuBytes, log }) : engine;
    context.onStop(() => multiplier.close());
    const identity = await createIdentity('worker', id, { provider });
    const chunks = createChunkCache(CACHE_BYTES);
    let held: Held | undefined;

    const current = (ref: ShardRef): Held => {
      if (!held || held.shard.body.shard !== ref.shard || held.shard.body.job !== ref.job) {
        throw new VouchError('internal', `shard ${ref.shard} of ${ref.job} is not the one in hand`);
      }
      return held;
    };
    const letGo = () => {
      clearInterval(held?.heartbeat);
      held?.opened?.plaintext.fill(0);
      held = undefined;
    };
    context.onStop(letGo);
    /** The next message of this worker's queue; the coordinator makes the queue once it knows the worker. */
    const nextMessage = async (signal: AbortSignal): Promise<PulledMessage | undefined> => {
      try {
        return await bus.next(STREAMS.shards.name, shardConsumer(id), { expiresMs: PULL_MS, signal });
      } catch (error) {
        if (!(error instanceof VouchError && error.code === 'no-responder')) throw error;
        await sleep(NO_QUEUE_MS);
        return undefined;
      }
    };
    const resultSubject = ({ body }: Message<Shard>) => subjects.shardResult(id, body.job, body.shard);

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
        }),
        pull: effect('pull', async ({ signal }) => {
          for (;;) {
            const message = await nextMessage(signal);
            if (signal.aborted) {
              message?.nak();
              throw new VouchError('cancelled', 'no longer taking shards');
            }
            if (!message) continue;
            try {
              const shard = decodeHeader(Shard, message.subject, message.headers[ENVELOPE_HEADER]);
              const { job, shard: name, section, count, worker } = shard.body;
              if (worker !== id || message.subject !== subjects.shard(id, job, name)) {
                throw new VouchError('bad-message', 'msm.shard: it is addressed to another worker');
              }
              held = { message, shard, heartbeat: setInterval(() => message.working(), WORKING_MS) };
              return { job, shard: name, section, count };
            } catch (error) {
              // Nobody can make sense of it: not worth another delivery.
              log(`${source}: dropped a shard: ${messageOf(error)}`);
              message.term();
            }
          }
        }),
        // A shard is a request of its coordinator's: what is wrong with one is no reason to stop.
        fetchBases: effect(
          'fetchBases',
          async ({ input }) => {
            const work = current(input);
            const { job, shard, writer, chunks: digests, offset, count, section } = work.shard.body;
            if (!canHold(work.message.data, count * SCALAR_BYTES)) {
              throw new VouchError(
                'bad-message',
                `msm.shard: expected ${count} sealed scalars, got ${work.message.data.byteLength} bytes`,
              );
            }
            work.opened = await identity.sealing.openOnce(work.message.data, {
              info: SEALING_INFO.shard,
              aad: shardContext(job, shard, id, work.shard.epoch ?? 0),
            });
            const { byteLength } = work.opened.plaintext;
            if (byteLength !== count * SCALAR_BYTES) {
              throw new VouchError(
                'bad-message',
                `msm.shard: expected ${count} scalars, got ${byteLength} bytes`,
              );
            }
            const parts = await Promise.all(
              digests.map((digest) =>
                chunks.get(digest, () => getChunk(bus, { shelf: 'keys', writer }, digest)),
              ),
            );
            const bytes = count * pointBytes(section);
            const all = concat(...parts);
            if (offset + bytes > all.byteLength) {
              throw new VouchError(
                'bad-message',
                `msm.shard: its chunks hold ${all.byteLength} bytes, expected ${offset + bytes}`,
              );
            }
            work.bases = all.subarray(offset, offset + bytes);
          },
          { ofRequest: true },
        ),
        compute: effect(
          'compute',
          async ({ input, signal }) => {
            const { message, shard, bases, opened } = current(input);
            const { job, shard: name, section } = shard.body;
            if (!bases || !opened)
              throw new VouchError('internal', `shard ${name} of ${job} was not fetched`);
            const began = performance.now();
            const point = await multiplier.msm(SECTION_GROUP[section], bases, opened.plaintext, { signal });
            const millis = Math.round(performance.now() - began);
            const subject = resultSubject(shard);
            const header = encodeHeader(ShardResult, {
              subject,
              source,
              cause: shard.id,
              epoch: shard.epoch,
              body: { job, shard: name, worker: id, section },
            });
            await bus.append(subject, await opened.sealReply(encodeShardAnswer(millis, point)), {
              headers: { [ENVELOPE_HEADER]: header },
              msgId: `${shard.id}.result`,
              retryMs: 10_000,
              signal,
            });
            // The result is stored: the shard is done, and a second delivery would change nothing.
            await message.ack().catch((error: unknown) => log(`${source}: ${messageOf(error)}`));
            letGo();
          },
          { ofRequest: true },
        ),
      },
      actions: {
        refuseShard: (_, { code, job, shard: name }) => {
          if (!held) return;
          const { message, shard } = held;
          letGo();
          const subject = resultSubject(shard);
          const header = encodeHeader(ShardRefused, {
            subject,
            source,
            cause: shard.id,
            epoch: shard.epoch,
            body: { job, shard: name, worker: id, code },
          });
          log(`${source}: shard ${name} of ${job} handed back: ${code}`);
          message.term();
          void bus
            .append(subject, new Uint8Array(), {
              headers: { [ENVELOPE_HEADER]: header },
              msgId: `${shard.id}.refused`,
              // Unheard, the coordinator would go on waiting for us.
              retryMs: 60_000,
            })
            .catch((error: unknown) => log(`${source}: ${messageOf(error)}`));
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
          credit: WORKING.has(state) ? CREDIT : 0,
          resident: chunks.resident(),
        },
      }),
    });
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
    return { actor, drain: { type: 'worker.drain' } };
  };

/** A small sum whose value is known: 1*G + 2*(2G) + (r-1)*(3G) = (1 + 4 - 3)*G. */
function knownSum(group: 'G1' | 'G2'): [Uint8Array, Uint8Array, Uint8Array] {
  const write = (k: bigint) => (group === 'G1' ? writeG1(G1.BASE.multiply(k)) : writeG2(G2.BASE.multiply(k)));
  const scalars = [1n, 2n, R - 1n].map(elementBytes);
  return [concat(write(1n), write(2n), write(3n)), concat(...scalars), write(2n)];
}

/** Chunks by digest, the least recently used dropped above `maxBytes`; concurrent requests share one fetch. */
function createChunkCache(maxBytes: number) {
  const entries = new Map<string, Promise<Uint8Array>>();
  const sizes = new Map<string, number>();
  let total = 0;
  const drop = (digest: string) => {
    entries.delete(digest);
    total -= sizes.get(digest) ?? 0;
    sizes.delete(digest);
  };
  return {
    get(digest: string, fetch: () => Promise<Uint8Array>): Promise<Uint8Array> {
      const known = entries.get(digest);
      const entry = known ?? fetch();
      entries.delete(digest);
      entries.set(digest, entry);
      if (!known) {
        entry.then(
          (bytes) => {
            sizes.set(digest, bytes.byteLength);
            total += bytes.byteLength;
            for (const oldest of entries.keys()) {
              if (total <= maxBytes || oldest === digest) break;
              drop(oldest);
            }
          },
          () => drop(digest),
        );
      }
      return entry;
    },
    /** The newest 1024 digests that are here in full, by their first 16 hex digits. */
    resident: (): string[] => [...sizes.keys()].slice(-1024).map((digest) => digest.slice(0, 16)),
  };
}
