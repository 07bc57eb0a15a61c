/**
 * The distributed part of a proof: seals each shard to a worker, hands it out by the credit that workers announce,
 * and checks what comes back, until every shard has a point. The ledger (runtime/msm/shards/plan.ts) knows what is
 * outstanding; the queues only carry, and may be lost at any time.
 *
 * A result counts when it answers a message of this very dispatch (its cause and epoch), comes on the subject that
 * only its worker may publish to, opens with that message's key and is a point of the group. That it is the *right*
 * point is not known here: the proof shows it (runtime/msm/shards/sums.ts).
 *
 * In memory: the scalars, which the caller holds, and one sealed shard for each that is on its way to the server.
 */
import type { ProofJobEvent } from '../../actors/proof-job.ts';
import { SECTION_GROUP } from '../../circuits/groth16/engine.ts';
import { checkPoint } from '../../circuits/groth16/point.ts';
import { decodeHeader, ENVELOPE_HEADER, encodeHeader } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { decodeShardAnswer, Shard, ShardRefused, ShardResult, shardContext } from '../../protocols/msm.ts';
import { SEALING_INFO, sealTo } from '../../protocols/sealing.ts';
import { filters, subjects } from '../../protocols/subjects.ts';
import type { Log } from '../home/log.ts';
import type { Ledger, PlannedShard } from '../msm/shards/plan.ts';
import { type PartialSum, type SectionScalars, scalarsOf } from '../msm/shards/sums.ts';
import type { Bus, Received } from '../nats/bus.ts';
import type { Fleet } from './fleet.ts';

/** How often the ledger is looked at when nothing happens. */
const TICK_MS = 500;
/** An idle worker gets a second copy of a shard that has been out for this long. */
const STRAGGLER_MS = 15_000;
/** How long nobody may be there to work. */
const LONELY_MS = 60_000;
/** Shards in a row that could not be sent. */
const MAX_UNSENT = 20;
/** How often everybody may refuse all that is left. */
const MAX_REFUSALS = 5;

export interface Dispatch {
  readonly job: string;
  /** who stored the key that the shards are of */
  readonly client: string;
  /** the lease's; what another epoch sent is ignored */
  readonly epoch: number;
  readonly ledger: Ledger;
  readonly scalars: SectionScalars;
  readonly signal: AbortSignal;
  onNews(news: Extract<ProofJobEvent, { worker: string; code?: string }>): void;
}
export interface Dispatcher {
  readonly bus: Bus;
  readonly source: string;
  readonly log: Log;
  readonly fleet: Fleet;
}

interface Sent {
  readonly shard: PlannedShard;
  readonly worker: string;
  openReply(reply: Uint8Array): Promise<Uint8Array>;
}

/**
 * Resolves with one checked point per shard. Throws `cancelled` when aborted, `not-ready` when no worker is there
 * for a minute, `shard-rejected` when all workers keep refusing, and what the bus throws when it keeps failing.
 */
export async function dispatch(dispatcher: Dispatcher, work: Dispatch): Promise<Map<string, PartialSum>> {
  const { bus, source, log, fleet } = dispatcher;
  const { job, client, epoch, ledger, scalars, signal, onNews } = work;
  const results = new Map<string, PartialSum>();
  /** by the id of the shard's message; holds no more than the ledger has assigned */
  const out = new Map<string, Sent>();
  const { promise: finished, resolve, reject } = Promise.withResolvers<void>();
  let unsent = 0;
  let refusals = 0;
  let aloneSince = performance.now();

  const forget = (test: (sent: Sent) => boolean) => {
    for (const [message, sent] of out) if (test(sent)) out.delete(message);
  };
  const send = async (shard: PlannedShard, worker: string, message: string) => {
    const { id, section, count, chunks, offset } = shard;
    const subject = subjects.shard(worker, job, id);
    const { sealed, openReply } = await sealTo(fleet.sealingKey(worker), scalarsOf(scalars, shard), {
      info: SEALING_INFO.shard,
      aad: shardContext(job, id, worker, epoch),
    });
    // The worker may have gone while this was sealed.
    if (signal.aborted || !ledger.expects(id, worker)) return;
    out.set(message, { shard, worker, openReply });
    const body: Shard = {
      job,
      shard: id,
      worker,
      section,
      count,
      writer: client,
      chunks: [...chunks],
      offset,
    };
    const header = encodeHeader(Shard, { subject, source, epoch, body, id: message });
    await bus.append(subject, sealed, {
      headers: { [ENVELOPE_HEADER]: header },
      msgId: message,
      signal,
    });
    unsent = 0;
    onNews({ type: 'shard.assigned', worker, section });
  };
  const step = () => {
    if (ledger.isDone()) return resolve();
    if (signal.aborted || bus.state !== 'connected') return;
    for (const { shard, worker } of ledger.assign(fleet.ready(), performance.now(), STRAGGLER_MS)) {
      const message = crypto.randomUUID();
      send(shard, worker, message).catch((error: unknown) => {
        out.delete(message);
        ledger.release(shard.id, worker);
        if (signal.aborted) return;
        log(`${source}: shard ${shard.id} did not reach ${worker}: ${messageOf(error)}`);
        unsent += 1;
        if (unsent >= MAX_UNSENT) reject(error);
      });
    }
  };
  const tick = () => {
    const now = performance.now();
    const workers = fleet.ready();
    if (workers.length > 0 || bus.state !== 'connected') aloneSince = now;
    else if (now - aloneSince > LONELY_MS)
      return reject(new VouchError('not-ready', 'no MSM worker is there; start one: vouch start worker'));
    step();
    if (!ledger.stuck(workers)) return;
    refusals += 1;
    if (refusals > MAX_REFUSALS)
      return reject(new VouchError('shard-rejected', 'every worker refuses the shards that are left'));
    ledger.forgive();
  };
  const receive = async ({ subject, headers, data }: Received) => {
    const text = headers[ENVELOPE_HEADER];
    const refused = text?.includes(`"type":"${ShardRefused.type}"`) ?? false;
    const result = decodeHeader<{ job: string; shard: string; worker: string; code?: string }>(
      refused ? ShardRefused : ShardResult,
      subject,
      text,
    );
    const { shard: id, worker } = result.body;
    const cause = result.cause ?? '';
    const sent = out.get(cause);
    // NATS rights say that the worker in the subject sent it; the cause says which of our messages it answers.
    if (
      subject !== subjects.shardResult(worker, job, id) ||
      result.body.job !== job ||
      result.epoch !== epoch ||
      sent?.worker !== worker ||
      sent.shard.id !== id ||
      !ledger.expects(id, worker)
    )
      return;
    out.delete(cause);
    const { shard } = sent;
    const { section } = shard;
    if (refused) {
      ledger.refuse(id, worker);
      if (result.body.code === 'seal-rejected') fleet.reattest(worker);
      onNews({ type: 'shard.refused', worker, section });
      return step();
    }
    try {
      const { millis, point } = decodeShardAnswer(await sent.openReply(data));
      checkPoint(SECTION_GROUP[section], point, `shard ${id}`);
      if (!ledger.complete(id, worker)) return;
      results.set(id, { shard, point, worker, millis });
      forget((other) => other.shard.id === id);
      onNews({ type: 'shard.done', worker, section });
    } catch (error) {
      // Only the worker itself could publish that.
      log(`${source}: ${worker} answered wrongly and gets no more work: ${messageOf(error)}`);
      onNews({ type: 'shard.refused', worker, section });
      fleet.ban(worker);
    }
    step();
  };

  const stops = [
    bus.onState((state) => {
      if (state !== 'disconnected') return;
      // Results may pass unheard from here on, and the queues may be gone when we are back.
      out.clear();
      ledger.reset();
    }),
    fleet.onChange(({ type, worker }) => {
      if (type === 'gone') {
        forget((sent) => sent.worker === worker);
        ledger.gone(worker);
      }
      step();
    }),
  ];
  const subscription = bus.subscribe(filters.shardResultsOf(job), (received) =>
    receive(received).catch((error: unknown) =>
      log(`${source}: a result was not understood: ${messageOf(error)}`),
    ),
  );
  const abort = () => reject(new VouchError('cancelled', `job ${job} was stopped`));
  signal.addEventListener('abort', abort, { once: true });
  const timer = setInterval(tick, TICK_MS);
  try {
    // The first result must find us listening. Where NATS is away, a reconnect does the same.
    await bus.flush().catch(() => {});
    if (signal.aborted) abort();
    step();
    await finished;
    return results;
  } finally {
    clearInterval(timer);
    signal.removeEventListener('abort', abort);
    subscription.unsubscribe();
    for (const stop of stops) stop();
  }
}
