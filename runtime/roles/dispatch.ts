/**
 * The distributed part of all proofs of a coordinator: seals each shard to a worker, hands it out as the ledgers say
 * (runtime/msm/shards/ledger.ts), and checks what comes back, until every shard of a proof has its points.
 *
 * Shards and results are plain messages on the worker's own subjects, which may be lost at any time: a shard that its
 * worker's heartbeat does not name, or that is late, goes to somebody else, as often as it takes. Jobs share the workers:
 * whose client was served least comes first.
 *
 * A result counts when it answers a message of this very dispatch (its cause and epoch), comes on the subject that only its
 * worker may publish to, and opens with that message's key; the first that does is the worker's answer. What does not open
 * may be anybody's who runs the server, so it neither counts nor convicts. An answer that is not as many points of their curves
 * as it should be convicts its worker. That these are the *right* points is not known here: the proof shows it
 * (runtime/msm/shards/sums.ts). A worker that was late too often is tested with a shard whose result is known.
 *
 * The coordinator itself may be one of the nodes (own-node.ts): what it sums does not travel, and is believed.
 *
 * In memory: the scalars, which the caller holds, and one sealed shard for each that is on its way to the server.
 *
 * One file, although it is long: sending, receiving, giving out and taking back all work on the one table of what is out.
 */
import type { ProofJobEvent } from '../../actors/proof-job.ts';
import { SECTION_GROUP } from '../../circuits/groth16/engine.ts';
import { firstOffCurve } from '../../circuits/groth16/point.ts';
import type { KeyShape, ProvingKey } from '../../circuits/groth16/zkey.ts';
import { SCALAR_BYTES } from '../../protocols/bn254.ts';
import { ControlReply } from '../../protocols/enclave.ts';
import { equal } from '../../protocols/encoding.ts';
import { decodeHeader, ENVELOPE_HEADER, encodeHeader } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import {
  decodeShardAnswer,
  packedBytes,
  packScalars,
  pointBytes,
  Shard,
  ShardRefused,
  ShardResult,
  ShardsDropped,
  shardContext,
  travelsWhole,
} from '../../protocols/msm.ts';
import type { ShardEnd, ShardNews } from '../../protocols/proof.ts';
import { SEAL_OVERHEAD_BYTES, SEALING_INFO, sealTo } from '../../protocols/sealing.ts';
import { filters, subjects } from '../../protocols/subjects.ts';
import type { Log } from '../home/log.ts';
import { createFairShare } from '../msm/shards/fair.ts';
import { createLedger, type Ledger, type NodeOffer } from '../msm/shards/ledger.ts';
import { type PartialSum, pointRanges } from '../msm/shards/sums.ts';
import {
  cellRowsOf,
  openedBytes,
  type Part,
  type PartShape,
  type Piece,
  quotientShape,
  wiresShape,
} from '../msm/shards/work.ts';
import type { Manifest } from '../nats/blobs.ts';
import type { Bus, Received } from '../nats/bus.ts';
import { ask } from '../nats/service.ts';
import type { Fleet, Node } from './fleet.ts';
import { createOwnDelay } from './own-delay.ts';
import type { OwnNode } from './own-node.ts';
import { createShardNews, type ShardNewsBoard } from './shard-news.ts';

/** How often the ledgers are looked at when nothing happens. */
const TICK_MS = 250;
/** What a heartbeat does not name although it was sent so long ago, beyond the time that it travels, did not arrive. */
const LOST_AFTER_MS = 2_000;
/** Messages that were taken for lost, of which it is remembered in case that they are answered after all. */
const MAX_LOST = 4_096;
/** How long nobody may be there to work. */
const LONELY_MS = 60_000;
/** Shards in a row that could not be sent. */
const MAX_UNSENT = 20;
/** How often everybody may refuse all that is left. */
const MAX_REFUSALS = 5;
/** Beside its own time, what a test may take. */
const TEST_SLACK_MS = 2_000;
const NOTHING_RESIDENT: Node['resident'] = new Map();
/** Room in a message for headers. */
const HEADER_BYTES = 64 * 1024;

export interface DispatchedJob {
  readonly job: string;
  /** who stored the key that the shards are of, and is served */
  readonly client: string;
  /** the lease's; what another epoch sent is ignored */
  readonly epoch: number;
  readonly key: KeyShape & Pick<ProvingKey, 'range'>;
  readonly manifest: Manifest;
  /** Do the constraints make this wire a bit? */
  isBit(wire: number): boolean;
  /** The sums of a piece of these scalars, one for each of its `pointRanges`, made here; left out where nothing is. */
  readonly sumHere?: ((piece: Piece, scalars: Uint8Array) => Promise<readonly Uint8Array[]>) | undefined;
  /** scalars of a shard at most; by default as many as the server takes */
  readonly maxRows?: number | undefined;
  onNews(news: Extract<ProofJobEvent, { worker: string; code?: string }>): void;
}

/** The shards of one proof. */
export interface Distribution {
  /** The scalars of a part are there: its shards leave from now on. The caller wipes them, after `finished` or `stop`. */
  add(part: Part, scalars: Uint8Array): void;
  /**
   * Resolves with checked points for every shard of both parts. Rejects with `cancelled` when stopped, `not-ready` when no
   * worker is there for a minute, `shard-rejected` when all workers keep refusing, and what the bus throws when it keeps
   * failing.
   */
  readonly finished: Promise<readonly PartialSum[]>;
  counts(): ReturnType<Ledger['counts']> & { readonly shards: ShardNews[] };
  /** Tells the workers that nobody needs their shards any more. */
  stop(): void;
}

interface Sent {
  readonly work: Work;
  readonly piece: Piece;
  readonly worker: string;
  readonly bytes: number;
  readonly predictedMs: number;
  readonly sentAt: number;
  /** how late this process had been until then (own-delay.ts) */
  readonly ownDelay: number;
  /** it had nothing else to do */
  readonly idle: boolean;
  /** what a test has to answer, and until when */
  readonly test?: { readonly points: readonly Uint8Array[]; readonly deadline: number } | undefined;
  openReply?: (reply: Uint8Array) => Promise<Uint8Array>;
  /** the opening of the answer that came before, when there was one */
  opening?: Promise<unknown>;
}

/** One job with its ledger. */
interface Work extends DispatchedJob {
  readonly ledger: Ledger;
  readonly news: ShardNewsBoard;
  readonly scalars: Map<Part, Uint8Array>;
  readonly shapes: Readonly<Record<Part, PartShape>>;
  readonly results: Map<string, PartialSum>;
  /** by what a worker says that it holds */
  readonly held: WeakMap<Node['resident'], readonly boolean[]>;
  unsent: number;
  refusals: number;
  aloneSince: number;
  settle(error?: unknown): void;
}

export interface DispatcherOptions {
  readonly bus: Bus;
  readonly source: string;
  readonly log: Log;
  readonly fleet: Fleet;
  /** Who sums here; left out where nothing is. */
  readonly own?: OwnNode | undefined;
}

export interface Dispatcher {
  open(job: DispatchedJob): Distribution;
  close(): void;
}

export function createDispatcher({ bus, source, log, fleet, own }: DispatcherOptions): Dispatcher {
  const works = new Map<string, Work>();
  /** by the id of the shard's message */
  const out = new Map<string, Sent>();
  /** by the id of a message that was taken for lost: to whom it was sent */
  const lost = new Map<string, string>();
  const share = createFairShare();
  const ownDelay = createOwnDelay(TICK_MS);
  /** A piece is being summed here. */
  let summing = false;

  const forget = (message: string, end: ShardEnd = 'lost'): Sent | undefined => {
    const sent = out.get(message);
    if (!sent) return undefined;
    out.delete(message);
    sent.work.news.ended(message, end, performance.now());
    fleet.carry(sent.worker, -openedBytes(sent.piece));
    return sent;
  };
  /** Those are needed no more: their workers are told. */
  const drop = (test: (sent: Sent) => boolean) => {
    const byWorker = new Map<string, string[]>();
    for (const [message, sent] of out) {
      if (!test(sent)) continue;
      forget(message, 'dropped');
      byWorker.set(sent.worker, [...(byWorker.get(sent.worker) ?? []), message]);
    }
    for (const [worker, shards] of byWorker) tellDropped(worker, shards);
  };
  const tellDropped = (worker: string, shards: readonly string[]) => {
    const subject = subjects.control('worker', worker, 'drop');
    const body = { shards: shards.slice(0, 1024) };
    ask(bus, [ShardsDropped, ControlReply], { subject, source, body }).catch(
      // It computes for nothing, and finds out by itself.
      () => {},
    );
  };
  /** What was taken for lost had arrived: it is somebody else's now, and this worker is waited for longer from here on. */
  const findLost = (worker: string, messages: Iterable<string>) => {
    const found = [...messages].filter((message) => lost.get(message) === worker);
    if (found.length === 0) return;
    for (const message of found) lost.delete(message);
    fleet.records.hadArrived(worker);
    tellDropped(worker, found);
  };

  /** Where the base points of some rows lie: which chunks of the key, by number, and from which byte of the first on. */
  const placesOf = ({ key, manifest }: Work, piece: Pick<Piece, 'part' | 'from' | 'count'>) => {
    const chunkBytes = manifest.chunks[0]?.size ?? 1;
    return pointRanges(key, piece).map(({ section, from, count }) => {
      const start = key.range(section).offset + from * pointBytes(section);
      const first = Math.floor(start / chunkBytes);
      const last = Math.floor((start + count * pointBytes(section) - 1) / chunkBytes);
      return { section, count, first, last, offset: start - first * chunkBytes };
    });
  };
  const basesOf = (work: Work, piece: Piece) =>
    placesOf(work, piece).map(({ section, count, first, last, offset }) => {
      const chunks = work.manifest.chunks.slice(first, last + 1).map(({ sha256 }) => sha256);
      return { section, count, chunks, offset };
    });
  const formOf = ({ isBit }: Work, { part, from, count, bits }: Piece) => {
    let wide = count;
    if (part === 'wires') for (let row = from; row < from + count; row++) if (isBit(row)) wide--;
    return { count, wide, bits };
  };

  /** Base points of all its sums. */
  const pointsOf = ({ key }: Work, piece: Piece): number =>
    pointRanges(key, piece).reduce((sum, { count }) => sum + count, 0);

  const send = (work: Work, piece: Piece, node: Node, computeMs: number, test?: Sent['test']): void => {
    const message = crypto.randomUUID();
    const { job, client, epoch, ledger } = work;
    const form = formOf(work, piece);
    const bytes = packedBytes(form) + SEAL_OVERHEAD_BYTES;
    const idle = ![...out.values()].some(({ worker }) => worker === node.id);
    const sent: Sent = {
      work,
      piece,
      worker: node.id,
      bytes,
      predictedMs: computeMs,
      sentAt: performance.now(),
      ownDelay: ownDelay.total(),
      idle,
      test,
    };
    out.set(message, sent);
    fleet.carry(node.id, openedBytes(piece));
    const told = {
      shard: piece.id,
      worker: node.id,
      points: pointsOf(work, piece),
      bytes,
      predictedMs: computeMs,
    };
    if (!test) work.news.sent(message, told, sent.sentAt);
    const seal = async () => {
      const scalars = work.scalars
        .get(piece.part)!
        .subarray(piece.from * SCALAR_BYTES, (piece.from + piece.count) * SCALAR_BYTES);
      const whole = travelsWhole(form);
      const packed = whole ? scalars : packScalars(scalars, (index) => !work.isBit(piece.from + index), form);
      const { sealed, openReply } = await sealTo(fleet.sealingKey(node.id), packed, {
        info: SEALING_INFO.shard,
        aad: shardContext(job, piece.id, node.id, epoch),
      }).finally(() => whole || packed.fill(0));
      // The worker may have gone while this was sealed.
      if (out.get(message) !== sent) return;
      sent.openReply = openReply;
      const subject = subjects.shard(node.id, job, piece.id);
      const body: Shard = {
        job,
        shard: piece.id,
        worker: node.id,
        ...form,
        writer: client,
        bases: basesOf(work, piece),
      };
      const header = encodeHeader(Shard, { subject, source, epoch, body, id: message });
      bus.publish(subject, sealed, { headers: { [ENVELOPE_HEADER]: header } });
      work.unsent = 0;
      if (!test) work.onNews({ type: 'shard.assigned', worker: node.id, total: ledger.counts().total });
    };
    seal().catch((error: unknown) => {
      forget(message);
      if (works.get(work.job) !== work) return;
      if (!test) ledger.release(piece.id, node.id);
      log(`${source}: shard ${piece.id} did not reach ${node.id}: ${messageOf(error)}`);
      work.unsent += 1;
      if (work.unsent >= MAX_UNSENT) work.settle(error);
    });
  };

  /** A piece's sums are there and checked as far as they are: what others still have of it is in vain. */
  const take = (work: Work, sum: PartialSum) => {
    work.results.set(sum.piece.id, sum);
    drop((other) => other.work === work && other.piece.id === sum.piece.id && !other.test);
    work.onNews({ type: 'shard.done', worker: sum.worker === own?.id ? own.name : sum.worker });
  };
  const sumHere = (work: Work, piece: Piece, predictedMs: number) => {
    const worker = own!.id;
    const began = performance.now();
    summing = true;
    const message = crypto.randomUUID();
    const told = { shard: piece.id, worker: own!.name, points: pointsOf(work, piece), bytes: 0, predictedMs };
    work.news.sent(message, told, began);
    work.onNews({ type: 'shard.assigned', worker: own!.name, total: work.ledger.counts().total });
    work.sumHere!(piece, work.scalars.get(piece.part)!)
      .then(
        (points) => {
          const now = performance.now();
          work.news.ended(message, 'done', now);
          work.news.computed(message, now - began);
          if (works.get(work.job) !== work || !work.ledger.complete(piece.id, worker, now)) return;
          const millis = Math.round(now - began);
          fleet.records.punctual(worker, {
            predictedMs,
            computeMs: now - began,
            elapsedMs: undefined,
            bytes: 0,
          });
          take(work, { piece, points, worker, millis });
        },
        (error: unknown) => {
          work.news.ended(message, 'lost', performance.now());
          if (works.get(work.job) !== work) return;
          work.ledger.release(piece.id, worker);
          log(`${source}: shard ${piece.id} was not summed here: ${messageOf(error)}`);
          work.unsent += 1;
          if (work.unsent >= MAX_UNSENT) work.settle(error);
        },
      )
      .finally(() => {
        summing = false;
        pump();
      });
  };

  /** Which chunks of a key a worker has, by number; its answer changes with its heartbeat, which brings another set. */
  const heldChunks = ({ manifest, held }: Work, resident: Node['resident']): readonly boolean[] => {
    const known = held.get(resident);
    if (known) return known;
    let following = 0;
    const chunks = manifest.chunks.map(({ sha256 }) => {
      following = Math.max(following - 1, (resident.get(sha256.slice(0, 16)) ?? -1) + 1);
      return following > 0;
    });
    held.set(resident, chunks);
    return chunks;
  };
  /** Has a worker all base points of these rows? */
  const residentIn = (work: Work, resident: Node['resident']) => {
    const held = heldChunks(work, resident);
    return (part: Part, from: number, count: number): boolean =>
      placesOf(work, { part, from, count }).every(({ first, last }) => {
        for (let chunk = first; chunk <= last; chunk++) if (!held[chunk]) return false;
        return true;
      });
  };
  const offerTo = (work: Work, node: Node, now: number): NodeOffer => {
    let [pieces, ms] = [0, 0];
    for (const other of works.values()) {
      if (other === work) continue;
      const load = other.ledger.load(node.id, now);
      pieces += load.pieces;
      ms += load.ms;
    }
    const elsewhere = { pieces, ms };
    if (node.id === own?.id) {
      elsewhere.ms += own.busyMs();
      return { ...node, elsewhere, resident: () => true };
    }
    return { ...node, elsewhere, resident: residentIn(work, node.resident) };
  };

  /** Who may get something now. With nobody left who is trusted, whoever is due for a test gets real shards, one at a time. */
  const usable = (now: number): Node[] => {
    const nodes = fleet.ready();
    if (nodes.some(({ standing }) => standing !== 'none')) return nodes;
    return nodes.map((node) =>
      fleet.records.testDue(node.id, now) ? { ...node, standing: 'less' as const } : node,
    );
  };

  /** This process, as the ledgers see it. */
  const ownNodes = (): Node[] => {
    const rates = own?.rates();
    if (!own || !rates) return [];
    return [
      {
        id: own.id,
        rates: fleet.records.rates(own.id, rates),
        bytesPerSecond: Number.POSITIVE_INFINITY,
        roundTripMs: 0,
        freeBytes: Number.MAX_SAFE_INTEGER,
        standing: 'full',
        resident: NOTHING_RESIDENT,
      },
    ];
  };
  const nodesFor = ({ sumHere }: Work, nodes: readonly Node[]): readonly Node[] =>
    sumHere ? nodes : nodes.filter(({ id }) => id !== own?.id);
  const isBusyHere = () => summing || !own || own.busyMs() > 0;

  /** Who may get something, and as each job sees them. Good until something is given, which changes what they hold. */
  const look = () => {
    const now = performance.now();
    const nodes = [...ownNodes(), ...usable(now)];
    const offers = new Map<Work, NodeOffer[]>();
    const offersFor = (work: Work) => {
      const known = offers.get(work) ?? nodesFor(work, nodes).map((node) => offerTo(work, node, now));
      offers.set(work, known);
      return known;
    };
    return { now, nodes, offersFor };
  };

  /** Gives out what there is to give, a shard to each in turn. */
  const pump = () => {
    if (bus.state !== 'connected' || works.size === 0) return;
    let seen = look();
    /** Gives this worker a shard of the job whose turn it is, or of the next that has one for it. */
    const giveTo = (id: string): boolean => {
      const node = seen.nodes.find((node) => node.id === id);
      if (!node || (id === own?.id && isBusyHere())) return false;
      for (const job of share.order()) {
        const work = works.get(job);
        if (!work) continue;
        const offers = seen.offersFor(work);
        const offer = offers.find((offer) => offer.id === id);
        const given = offer && work.ledger.next(offer, offers, seen.now);
        if (!given) continue;
        share.served(job, given.computeMs);
        if (id === own?.id) sumHere(work, given.piece, given.computeMs);
        else send(work, given.piece, node, given.computeMs);
        seen = look();
        return true;
      }
      return false;
    };
    for (let gave = true; gave; ) {
      gave = false;
      for (const { id } of seen.nodes) if (giveTo(id)) gave = true;
    }
    for (const work of [...works.values()]) if (work.ledger.isDone()) work.settle();
  };

  const reportLate = (worker: string, what: string, now: number, sent: Sent | undefined) => {
    // It may have answered in time, and we have no time to read it.
    if (sent && ownDelay.excuses(now - sent.sentAt, sent.ownDelay))
      return log(`${source}: no answer of ${worker} for ${what} was read in time; this host is overloaded`);
    const standing = fleet.records.missed(worker, now);
    log(
      `${source}: ${worker} did not answer for ${what} in time; it gets ${standing === 'none' ? 'nothing' : standing}`,
    );
    fleet.tell(worker);
  };
  /** A worker that gets little or nothing gets a shard whose result is known, to show that it is itself again. */
  const testWorkers = (now: number) => {
    for (const node of fleet.ready()) {
      if (!fleet.records.testDue(node.id, now)) continue;
      if ([...out.values()].some(({ worker, test }) => worker === node.id && test)) continue;
      for (const work of works.values()) {
        const known = [...work.results.values()]
          .filter(({ worker }) => worker !== node.id)
          .sort((a, b) => a.piece.count - b.piece.count)[0];
        if (!known) continue;
        const { g1, g2 } = work.shapes[known.piece.part].work(
          known.piece.from,
          known.piece.from + known.piece.count,
          known.piece.bits,
        );
        const ms = 1000 * (g1 / node.rates.g1 + g2 / node.rates.g2);
        fleet.records.tested(node.id, now);
        send(work, known.piece, node, ms, { points: known.points, deadline: now + TEST_SLACK_MS + 3 * ms });
        break;
      }
    }
  };
  const tick = () => {
    const now = performance.now();
    ownDelay.tick(now);
    const nodes = fleet.ready();
    for (const work of [...works.values()]) {
      const lateOnes = new Map(work.ledger.late(now).map(({ node, piece }) => [node, piece]));
      for (const [worker, piece] of lateOnes) {
        // A host that is late itself says so of nobody.
        if (worker === own?.id) continue;
        const late = [...out.values()].find(
          (sent) => sent.work === work && sent.worker === worker && sent.piece.id === piece.id,
        );
        reportLate(worker, `shard ${piece.id} of ${work.job}`, now, late);
      }
      const here = nodesFor(work, ownNodes());
      if (here.length > 0 || nodes.some(({ standing }) => standing !== 'none') || bus.state !== 'connected')
        work.aloneSince = now;
      else if (now - work.aloneSince > LONELY_MS)
        work.settle(
          new VouchError(
            'not-ready',
            nodes.length === 0
              ? 'no MSM worker is there; start one: vouch start worker'
              : 'no MSM worker answers; start another one: vouch start worker',
          ),
        );
      if (!work.ledger.stuck([...here, ...nodes].map((node) => offerTo(work, node, now)))) continue;
      work.refusals += 1;
      if (work.refusals > MAX_REFUSALS)
        work.settle(new VouchError('shard-rejected', 'every worker refuses the shards that are left'));
      else work.ledger.forgive();
    }
    for (const [message, sent] of [...out]) {
      if (!sent.test || now <= sent.test.deadline) continue;
      forget(message);
      reportLate(sent.worker, 'a test', now, sent);
    }
    testWorkers(now);
    pump();
  };

  const receive = async (work: Work, { subject, headers, data }: Received) => {
    const text = headers[ENVELOPE_HEADER];
    const refused = text?.includes(`"type":"${ShardRefused.type}"`) ?? false;
    const result = decodeHeader<{ job: string; shard: string; worker: string; code?: string }>(
      refused ? ShardRefused : ShardResult,
      subject,
      text,
    );
    const { shard: id, worker, job } = result.body;
    const cause = result.cause ?? '';
    const sent = out.get(cause);
    if (subject === subjects.shardResult(worker, job, id)) findLost(worker, [cause]);
    // NATS rights say that the worker in the subject sent it; the cause says which of our messages it answers.
    if (
      subject !== subjects.shardResult(worker, job, id) ||
      job !== work.job ||
      result.epoch !== work.epoch ||
      sent?.work !== work ||
      sent.worker !== worker ||
      sent.piece.id !== id ||
      !sent.openReply
    )
      return;
    const { ledger } = work;
    const { piece, test, openReply } = sent;
    if (refused) {
      forget(cause, 'refused');
      if (result.body.code === 'seal-rejected') fleet.reattest(worker);
      if (test) return;
      // Busy with somebody else's: not a word about this shard.
      if (result.body.code === 'busy' || result.body.code === 'not-ready') ledger.release(id, worker);
      else ledger.refuse(id, worker);
      work.onNews({ type: 'shard.refused', worker });
      // Not at once: it would be as busy.
      return;
    }
    const elapsedMs = performance.now() - sent.sentAt;
    // One after the other, so that the first answer is the one that came first.
    const opening = (sent.opening ?? Promise.resolve()).then(() => openReply(data));
    sent.opening = opening.catch(() => {});
    const answer = await opening.catch((error: unknown) =>
      log(`${source}: an answer for ${id} in the name of ${worker} does not open: ${messageOf(error)}`),
    );
    // A second answer is nobody's.
    if (!answer || !forget(cause, 'done')) return;
    try {
      const ranges = pointRanges(work.key, piece);
      const { millis, points } = decodeShardAnswer(
        answer,
        ranges.map(({ section }) => section),
      );
      for (const [i, { section }] of ranges.entries())
        if (firstOffCurve(SECTION_GROUP[section], points[i]!) >= 0)
          throw new VouchError(
            'shard-rejected',
            `shard ${id}: its sum over ${section} is no point of the curve`,
          );
      if (test) {
        if (!points.every((point, i) => equal(point, test.points[i]!)))
          throw new VouchError('shard-rejected', `shard ${id}: another worker's result differs`);
        log(`${source}: ${worker} has passed its test, and gets ${fleet.records.passed(worker)}`);
        fleet.tell(worker);
        return pump();
      }
      if (!ledger.complete(id, worker, performance.now())) return;
      work.news.computed(cause, millis);
      fleet.records.punctual(worker, {
        predictedMs: sent.predictedMs,
        computeMs: millis,
        elapsedMs: sent.idle ? elapsedMs : undefined,
        bytes: sent.bytes,
      });
      take(work, { piece, points, worker, millis });
    } catch (error) {
      // Only the worker itself could seal that.
      log(`${source}: ${worker} answered wrongly and gets no more work: ${messageOf(error)}`);
      work.onNews({ type: 'shard.refused', worker });
      fleet.ban(worker, work.job);
    }
    pump();
  };

  const stops = [
    own?.onIdle(() => pump()) ?? (() => {}),
    bus.onState((state) => {
      if (state !== 'disconnected') return;
      // Results may pass unheard from here on, and shards may be lost.
      for (const message of [...out.keys()]) forget(message);
      for (const { ledger } of works.values()) ledger.reset();
    }),
    fleet.onChange((event) => {
      const { worker } = event;
      if (event.type === 'gone') {
        for (const [message, sent] of [...out]) if (sent.worker === worker) forget(message);
        for (const { ledger } of works.values()) ledger.gone(worker);
      }
      if (event.type === 'heard') {
        const now = performance.now();
        const { bytesPerSecond } = fleet.records.link(worker);
        findLost(worker, event.inHand);
        const patienceMs = LOST_AFTER_MS * fleet.records.patience(worker);
        const sentBefore = now - patienceMs - (2_000 * bytesTo(worker)) / bytesPerSecond;
        for (const { ledger } of works.values())
          for (const { id } of ledger.holds(worker, piecesOf(event.inHand), sentBefore, patienceMs)) {
            log(`${source}: shard ${id} did not arrive at ${worker}`);
            for (const [message, sent] of [...out]) {
              if (sent.worker !== worker || sent.piece.id !== id || sent.test) continue;
              forget(message);
              lost.set(message, worker);
            }
          }
        for (const oldest of lost.keys()) if (lost.size > MAX_LOST) lost.delete(oldest);
      }
      pump();
    }),
  ];
  const bytesTo = (worker: string): number =>
    [...out.values()].reduce((sum, sent) => sum + (sent.worker === worker ? sent.bytes : 0), 0);
  const piecesOf = (messages: ReadonlySet<string>): ReadonlySet<string> =>
    new Set([...messages].flatMap((message) => out.get(message)?.piece.id ?? []));
  const timer = setInterval(tick, TICK_MS);
  timer.unref();

  return {
    open(job) {
      const { promise: finished, resolve, reject } = Promise.withResolvers<readonly PartialSum[]>();
      // Whoever waits hears of it; a job that is stopped before has nobody who waits.
      finished.catch(() => {});
      const { variables: rows, publics, domainSize } = job.key;
      const { isBit, maxRows = Number.POSITIVE_INFINITY } = job;
      const room = bus.server.maxPayload - HEADER_BYTES - SEAL_OVERHEAD_BYTES;
      const maxPieceBytes = Math.min(maxRows * SCALAR_BYTES, room);
      const cellRows = (length: number) => Math.min(maxRows, cellRowsOf(length));
      const shapes = {
        wires: wiresShape({ rows, cellRows: cellRows(rows), privateFrom: publics + 1, isBit }),
        quotient: quotientShape({ rows: domainSize, cellRows: cellRows(domainSize) }),
      };
      const ledger = createLedger({ maxPieceBytes });
      const subscription = bus.subscribe(filters.shardResultsOf(job.job), (received) =>
        receive(work, received).catch((error: unknown) =>
          log(`${source}: a result was not understood: ${messageOf(error)}`),
        ),
      );
      const work: Work = {
        ...job,
        ledger,
        news: createShardNews(performance.now()),
        shapes,
        scalars: new Map(),
        results: new Map(),
        held: new WeakMap(),
        unsent: 0,
        refusals: 0,
        aloneSince: performance.now(),
        settle(error) {
          if (works.get(job.job) !== work) return;
          works.delete(job.job);
          subscription.unsubscribe();
          drop((sent) => sent.work === work);
          share.leave(job.job);
          if (error === undefined) resolve([...work.results.values()]);
          else reject(error);
        },
      };
      works.set(job.job, work);
      share.enter({ id: job.job, tenant: job.client });
      ledger.announce(shapes.wires);
      ledger.announce(shapes.quotient);
      return {
        add(part, scalars) {
          if (works.get(work.job) !== work) return;
          work.scalars.set(part, scalars);
          ledger.add(shapes[part]);
          if (work.scalars.size === Object.keys(shapes).length) ledger.close();
          // The first result must find us listening. Where NATS is away, a reconnect does the same.
          bus
            .flush()
            .catch(() => {})
            .then(pump);
        },
        finished,
        counts: () => ({ ...ledger.counts(), shards: work.news.tell() }),
        stop: () => work.settle(new VouchError('cancelled', `job ${job.job} was stopped`)),
      };
    },
    close() {
      clearInterval(timer);
      for (const stop of stops) stop();
      for (const work of [...works.values()])
        work.settle(new VouchError('cancelled', `job ${work.job} was stopped`));
    },
  };
}
