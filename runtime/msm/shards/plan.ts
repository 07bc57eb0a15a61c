/**
 * The plan of a distributed MSM: which ranges of which section become shards, and the ledger that says which
 * worker has which. Pure: no clock but the one passed in, no network. What it emits depends on the key's shape
 * and on the workers alone, never on the witness (DESIGN, "what a shard reveals").
 *
 * DistMSM (ASPLOS 2024) splits over bucket ranges as well; at the sizes of one quality proof point ranges keep
 * every worker busy and need no second reduction, so windows and buckets stay inside a shard.
 */
import { pointBytes, SECTIONS, type Section } from '../../../protocols/msm.ts';

/** Where a section lies inside the key's blob. */
export interface SectionLayout {
  readonly section: Section;
  /** byte offset of the first point in the blob */
  readonly offset: number;
  /** number of points */
  readonly count: number;
}

export interface PlannedShard {
  readonly id: string;
  readonly section: Section;
  /** first point, number of points */
  readonly from: number;
  readonly count: number;
  /** the blob's chunks that hold the base points, and where the first point begins in the first of them */
  readonly chunks: readonly string[];
  readonly offset: number;
}

/**
 * Relative cost of one point. A G2 addition is about three G1 additions. The scalars of A, B1, B2 and C are a circuit's
 * wires, here nine in ten of them 0 or 1, those of H are uniform: measured 1.9, 5.5 (B2) and 19 microseconds a point
 * at 2^16. Constants, because a plan that followed the wires would show them.
 */
const POINT_COST: Record<Section, number> = { A: 1, B1: 1, B2: 3, C: 1, H: 10 };

/** The work of all sections, in points of A. */
export const workOf = (sections: readonly SectionLayout[]): number =>
  sections.reduce((sum, { section, count }) => sum + count * POINT_COST[section], 0);

/**
 * Cuts the five sections into shards of about `pointsPerShard` points of A's worth of work, dearest first.
 * `chunks` are the digests of the blob's chunks, each `chunkBytes` long but for the last.
 */
export function planShards(
  sections: readonly SectionLayout[],
  blob: { readonly chunks: readonly string[]; readonly chunkBytes: number },
  pointsPerShard: number,
): PlannedShard[] {
  if (!(pointsPerShard >= 1))
    throw new RangeError(`pointsPerShard: expected at least 1, got ${pointsPerShard}`);
  const shards: PlannedShard[] = [];
  for (const { section, offset, count } of sections) {
    const pieces = Math.max(1, Math.ceil((count * POINT_COST[section]) / pointsPerShard));
    for (let i = 0; i < pieces; i++) {
      const from = Math.floor((count * i) / pieces);
      const to = Math.floor((count * (i + 1)) / pieces);
      if (to === from) continue;
      const start = offset + from * pointBytes(section);
      const end = offset + to * pointBytes(section);
      const first = Math.floor(start / blob.chunkBytes);
      const last = Math.floor((end - 1) / blob.chunkBytes);
      shards.push({
        id: `${section}-${i}`,
        section,
        from,
        count: to - from,
        chunks: blob.chunks.slice(first, last + 1),
        offset: start - first * blob.chunkBytes,
      });
    }
  }
  return shards.sort(
    (a, b) => cost(b) - cost(a) || SECTIONS.indexOf(a.section) - SECTIONS.indexOf(b.section),
  );
}

/** Work in points of A. */
export const cost = (shard: PlannedShard): number => shard.count * POINT_COST[shard.section];

export interface Assignment {
  readonly shard: PlannedShard;
  readonly worker: string;
}

export interface WorkerOffer {
  readonly id: string;
  /** shards that this worker is ready to hold at a time */
  readonly credit: number;
  /** 16-digit prefixes of the chunk digests it holds */
  readonly resident: ReadonlySet<string>;
}

/**
 * The ledger decides what is outstanding, not the queue: every shard is pending, assigned to one or two
 * workers, or done. The first checked result of a shard wins; later ones are ignored.
 */
export function createLedger(shards: readonly PlannedShard[]) {
  const byId = new Map(shards.map((shard) => [shard.id, shard]));
  const pending: PlannedShard[] = [...shards];
  const assigned = new Map<string, Map<string, number>>(); // shard that is out -> worker -> since (ms)
  const done = new Map<string, string>(); // shard -> worker
  const refusedBy = new Map<string, Set<string>>();

  /** shards out per worker, those that another has done meanwhile not counted */
  const loads = new Map<string, number>();
  const load = (worker: string) => loads.get(worker) ?? 0;
  const carry = (worker: string, change: 1 | -1) => {
    const now = load(worker) + change;
    if (now === 0) loads.delete(worker);
    else loads.set(worker, now);
  };
  const take = (offer: WorkerOffer, candidates: readonly PlannedShard[]): PlannedShard | undefined => {
    const allowed = candidates.filter((shard) => !refusedBy.get(shard.id)?.has(offer.id));
    const hit = allowed.find((shard) =>
      shard.chunks.every((digest) => offer.resident.has(digest.slice(0, 16))),
    );
    return hit ?? allowed[0];
  };
  const giveBack = (shardId: string, worker: string) => {
    const holders = assigned.get(shardId);
    if (!holders?.delete(worker)) return;
    carry(worker, -1);
    if (holders.size > 0) return;
    assigned.delete(shardId);
    const shard = byId.get(shardId);
    if (shard) pending.unshift(shard);
  };

  return {
    /**
     * What to send now. A worker gets shards up to its credit, resident ones first. When nothing is pending, an
     * idle worker gets a second copy of the shard that has been out longest, if that is over `stragglerMs`.
     */
    assign(workers: readonly WorkerOffer[], now: number, stragglerMs: number): Assignment[] {
      const out: Assignment[] = [];
      const give = (worker: string, shard: PlannedShard) => {
        const holders = assigned.get(shard.id) ?? new Map<string, number>();
        assigned.set(shard.id, holders.set(worker, now));
        carry(worker, 1);
        out.push({ shard, worker });
      };
      // One each in turn, so that the first worker does not take everything.
      for (let round = 1; pending.length > 0; round++) {
        let gave = false;
        for (const offer of workers) {
          if (load(offer.id) >= Math.min(offer.credit, round)) continue;
          const shard = take(offer, pending);
          if (!shard) continue;
          pending.splice(pending.indexOf(shard), 1);
          give(offer.id, shard);
          gave = true;
        }
        if (!gave && round >= Math.max(0, ...workers.map((offer) => offer.credit))) break;
      }
      if (pending.length > 0) return out;
      for (const offer of workers) {
        if (offer.credit < 1 || load(offer.id) > 0) continue;
        const late = [...assigned]
          .filter(([, holders]) => holders.size === 1 && !holders.has(offer.id))
          .map(([id, holders]) => ({ shard: byId.get(id)!, since: Math.min(...holders.values()) }))
          .filter(({ since }) => now - since > stragglerMs)
          .sort((a, b) => a.since - b.since);
        const shard = take(
          offer,
          late.map((entry) => entry.shard),
        );
        if (shard) give(offer.id, shard);
      }
      return out;
    },
    /** Is this worker expected to answer for this shard? A result from anyone else is refused. */
    expects: (shardId: string, worker: string): boolean => assigned.get(shardId)?.has(worker) ?? false,
    /** A checked result. False when the shard was done already or never given to that worker. */
    complete(shardId: string, worker: string): boolean {
      const holders = assigned.get(shardId);
      if (!holders?.has(worker)) return false;
      for (const holder of holders.keys()) carry(holder, -1);
      assigned.delete(shardId);
      done.set(shardId, worker);
      return true;
    },
    /** The shard did not reach the worker. */
    release: giveBack,
    /** The worker could not do it: somebody else gets it. */
    refuse(shardId: string, worker: string): void {
      const set = refusedBy.get(shardId) ?? new Set();
      refusedBy.set(shardId, set.add(worker));
      giveBack(shardId, worker);
    },
    /** A worker that is gone holds nothing; its refusals are forgotten, because it may come back. */
    gone(worker: string): void {
      for (const set of refusedBy.values()) set.delete(worker);
      for (const id of [...assigned.keys()]) giveBack(id, worker);
    },
    /** The queue was lost (server restart): everything that is not done is pending again. */
    reset(): void {
      for (const [id, holders] of [...assigned])
        for (const worker of [...holders.keys()]) giveBack(id, worker);
    },
    /** Is nothing out, although somebody has credit: has everybody who is here refused all that is left? */
    stuck: (workers: readonly WorkerOffer[]): boolean =>
      done.size < byId.size && assigned.size === 0 && workers.some(({ credit }) => credit > 0),
    /** Whoever refused may be asked again. */
    forgive: (): void => refusedBy.clear(),
    isDone: (): boolean => done.size === byId.size,
    counts(): { total: number; done: number; workers: { id: string; assigned: number; done: number }[] } {
      const workers = new Map<string, { id: string; assigned: number; done: number }>();
      const row = (id: string) => workers.get(id) ?? workers.set(id, { id, assigned: 0, done: 0 }).get(id)!;
      for (const [worker, out] of loads) row(worker).assigned = out;
      for (const worker of done.values()) row(worker).done++;
      return {
        total: byId.size,
        done: done.size,
        workers: [...workers.values()].sort((a, b) => (a.id < b.id ? -1 : 1)),
      };
    },
  };
}
export type Ledger = ReturnType<typeof createLedger>;
