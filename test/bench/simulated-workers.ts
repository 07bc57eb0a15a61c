/**
 * SIMULATED workers, many in one process, over a real server: they attest themselves, take sealed shards and answer right
 * (simulated-engine.ts) after the time that a stated rate takes, one shard after the other. They have no bases and no state
 * machine: they are not `runtime/roles/worker.ts`.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { SECTION_GROUP } from '../../circuits/groth16/engine.ts';
import { SCALAR_BYTES } from '../../protocols/bn254.ts';
import { ControlReply, EvidenceReply, EvidenceRequest } from '../../protocols/enclave.ts';
import { decodeHeader, ENVELOPE_HEADER, encodeHeader, encodeMessage } from '../../protocols/envelope.ts';
import {
  encodeShardAnswer,
  Shard,
  ShardResult,
  ShardsDropped,
  shardContext,
  unpackScalars,
  WorkerStanding,
} from '../../protocols/msm.ts';
import { SEALING_INFO } from '../../protocols/sealing.ts';
import { filters, subjects } from '../../protocols/subjects.ts';
import { Heartbeat } from '../../protocols/transition.ts';
import { createIdentity } from '../../runtime/attest/identity.ts';
import { credentials } from '../../runtime/installation/credentials.ts';
import { sumMs, widthOf, worthOf } from '../../runtime/msm/shards/work.ts';
import type { Received } from '../../runtime/nats/bus.ts';
import { connect } from '../../runtime/nats/connect.ts';
import { answer } from '../../runtime/nats/service.ts';
import { dotProduct, multipleOf, simulatedKey } from './simulated-engine.ts';

export interface SimulatedWorker {
  readonly id: string;
  /** points a second, scalars uniform, in each group */
  readonly g1: number;
  readonly g2: number;
}
export interface SimulatedWorkers {
  readonly url: string;
  readonly creds: string;
  readonly domain: number;
  readonly workers: readonly SimulatedWorker[];
}

const MEMORY_BYTES = 64 * 2 ** 20;
const BEAT_MS = 1000;
/** Long, because this machine has fewer cores than workers. */
const LEASE_MS = 20_000;

const { url, creds, domain, workers } = JSON.parse(process.argv[2]!) as SimulatedWorkers;
const key = simulatedKey(domain);
const log = (line: string) => void process.stderr.write(`${line}\n`);
for (const worker of workers) await start(worker);
process.send!('up');

async function start({ id, g1, g2 }: SimulatedWorker): Promise<void> {
  const source = `worker.${id}`;
  const bus = await connect({ url, creds: await credentials('worker', id, creds) });
  const identity = await createIdentity('worker', id, {});
  const boot = crypto.randomUUID();
  /** what it has, in the order in which it came; aborted when nobody needs it any more */
  const hand = new Map<string, AbortController>();
  let seq = 0;
  let before = Promise.resolve();

  const receive = async ({ subject, headers, data }: Received) => {
    const shard = decodeHeader(Shard, subject, headers[ENVELOPE_HEADER]);
    const { job, shard: name, count, bits, bases } = shard.body;
    const dropped = new AbortController();
    hand.set(shard.id, dropped);
    const turn = before;
    const { promise: done, resolve: free } = Promise.withResolvers<void>();
    before = done;
    try {
      await answerTo();
    } finally {
      hand.delete(shard.id);
      free();
    }

    async function answerTo() {
      const request = await identity.sealing.openOnce(data, {
        info: SEALING_INFO.shard,
        aad: shardContext(job, name, id, shard.epoch ?? 0),
      });
      const scalars = unpackScalars(request.plaintext, shard.body);
      let ms = 0;
      const known = new Map<number, ReturnType<typeof dotProduct>>();
      const sums = bases.map(({ section, count: own, chunks, offset }) => {
        const group = SECTION_GROUP[section];
        const dot =
          known.get(own) ??
          dotProduct(scalars.subarray((count - own) * SCALAR_BYTES), key.rowAt(section, chunks[0]!, offset));
        known.set(own, dot);
        const width = widthOf(bits);
        ms += sumMs(worthOf(dot.wide, own - dot.wide, width), width, group === 'G1' ? g1 : g2);
        return multipleOf(group, dot.product);
      });
      const sealed = await request.sealReply(encodeShardAnswer(Math.round(ms), sums));
      await turn;
      // The clock of the engine: what was late before it began is not its fault, what takes long in this process is.
      if (!dropped.signal.aborted) await sleep(ms, undefined, { signal: dropped.signal }).catch(() => {});
      if (dropped.signal.aborted) return;
      const place = subjects.shardResult(id, job, name);
      const body: ShardResult = { job, shard: name, worker: id };
      const header = encodeHeader(ShardResult, {
        subject: place,
        source,
        cause: shard.id,
        epoch: shard.epoch,
        body,
      });
      bus.publish(place, sealed, { headers: { [ENVELOPE_HEADER]: header } });
    }
  };
  const at = (verb: string) => ({ subject: subjects.control('worker', id, verb), source, log });
  answer(bus, [EvidenceRequest, EvidenceReply], at('attest'), async ({ body }) => ({
    document: await identity.evidence(body.nonce),
  }));
  answer(bus, [ShardsDropped, ControlReply], at('drop'), ({ body }) => {
    for (const message of body.shards) hand.get(message)?.abort();
    return { state: 'computing' };
  });
  answer(bus, [WorkerStanding, ControlReply], at('standing'), () => ({ state: 'computing' }));
  bus.subscribe(filters.shardsOf(id), (received) =>
    receive(received).catch((error: unknown) => log(`${source}: ${String(error)}`)),
  );
  const beat = () => {
    const subject = subjects.beat('worker', id);
    const body: Heartbeat = {
      kind: 'worker',
      id,
      boot,
      seq: ++seq,
      state: 'idle',
      leaseMs: LEASE_MS,
      counts: {},
      worker: {
        class: 'attested',
        engine: 'SIMULATED',
        credit: MEMORY_BYTES,
        inHand: [...hand.keys()],
        rates: { g1, g2 },
        resident: [],
      },
    };
    bus.publishLossy(subject, encodeMessage(Heartbeat, { subject, source, body }));
  };
  await bus.flush();
  beat();
  setInterval(beat, BEAT_MS);
}
