/**
 * The ledger of a distributed proof's sums: what nobody has, who has what until when, and what is done. Pure: no clock but
 * the `now` (ms, monotonic) that is passed in, no network, no witness. It decides what is outstanding; messages only carry.
 *
 * Pieces are cut when a node asks, by guided self-scheduling (Polychronopoulos and Kuck, 1987) for unequal nodes: half of
 * what the node would do until the whole fleet is predicted to be ready, so that they shrink towards the end. A node has
 * one piece in work and one that waits. Who would be ready later with one cell of the grid than the rest with everything
 * gets none. When nothing is left to give, an idle node gets a copy of what would be ready last. Past its deadline a piece
 * goes to whoever is idle, as often as it takes; the first checked result wins.
 *
 * Not guaranteed: that rates are true. A node that is slower than it says costs what it held, once, until its deadline;
 * after that it gets copies only, until a result of its comes.
 */
import { createRegions, largestEnd, type Region } from './regions.ts';
import {
  ALL_BITS,
  computeMs,
  type Extent,
  type Part,
  type PartShape,
  type Piece,
  type Rates,
  SCALAR_BITS,
  transferMs,
} from './work.ts';

/** Pieces of this job that a node may hold, unless its link is so slow that more are needed to keep it busy. */
const PIECES_IN_HAND = 2;
/** Of what a node would do until everything is done, what it is given at a time. Half: rates may be wrong by a factor of two. */
const SHARE = 1 / 2;
/** A piece should take at least this long, or it is not worth its trip. */
const LEAST_PIECE_MS = 40;
/** Bits of a piece, widest first; narrower ones only where the model gains this much by them. */
const BIT_COUNTS = [SCALAR_BITS, SCALAR_BITS / 2, SCALAR_BITS / 4, SCALAR_BITS / 8] as const;
const LEAST_GAIN = 1 / 8;
/** A copy is made of a piece that is not late when this node needs this much less than the holder still does. */
const CLEARLY_EARLIER = 1 / 2;
/** Two ends that differ by less than this part are the same. */
const TOLERANCE = 0.02;

/** What a node is trusted with: everything; one piece at a time; copies of what others have; nothing. */
export type Standing = 'full' | 'less' | 'copies' | 'none';

export interface NodeOffer {
  readonly id: string;
  /** as the node has measured them, corrected by what its pieces took */
  readonly rates: Rates;
  readonly bytesPerSecond: number;
  readonly roundTripMs: number;
  /** how many more bytes of sealed pieces it can hold now */
  readonly freeBytes: number;
  readonly standing: Standing;
  /** what it holds of other jobs, as their ledgers' `load` says */
  readonly elsewhere?: Load;
  /** Has it the bases of these rows? By default it has. */
  readonly resident?: (part: Part, from: number, count: number) => boolean;
}

export interface Load {
  readonly pieces: number;
  /** predicted, until they are done */
  readonly ms: number;
}

export interface Assignment {
  readonly piece: Piece;
  readonly node: string;
  /** Has somebody else got it as well? */
  readonly copy: boolean;
  /** until the result is here */
  readonly predictedMs: number;
  /** of it, what the node computes: against what it took, its rates are corrected */
  readonly computeMs: number;
  /** by the clock that `now` is read from */
  readonly deadline: number;
}

export interface LedgerOptions {
  /** of the scalars of one piece */
  readonly maxPieceBytes: number;
  /** A piece is late after what waits before it, `factor` times its own time, and this. */
  readonly deadlineFactor?: number;
  readonly deadlineSlackMs?: number;
}

interface Holding {
  readonly piece: Piece;
  readonly sentAt: number;
  /** when its last byte is there, as predicted */
  readonly arrivesAt: number;
  readonly computeMs: number;
  readonly backMs: number;
  readonly deadline: number;
  reported: boolean;
}

interface Hand {
  /** in the order in which they were given */
  readonly holdings: Map<string, Holding>;
  /** when its last result came */
  freeSince: number;
  /** It missed a deadline, and no result of its has come since. */
  missed: boolean;
}

/** When a fleet that works at `now` on something that takes node n `ms[n]` alone is done, each node free at `freeAt[n]`. */
function fleetEnd(nodes: readonly { readonly freeAt: number; readonly ms: number }[]): number {
  let [speed, done] = [0, 0];
  let end = Number.POSITIVE_INFINITY;
  for (const { freeAt, ms } of nodes.toSorted((a, b) => a.freeAt - b.freeAt)) {
    if (freeAt >= end) break;
    if (ms === Number.POSITIVE_INFINITY) continue;
    if (ms <= 0) return freeAt;
    speed += 1 / ms;
    done += freeAt / ms;
    end = (1 + done) / speed;
  }
  return end;
}

type Rectangle = Pick<Piece, 'part' | 'from' | 'count' | 'bits'>;
type Work = Rates & { readonly bytes: number };

const firstCell = ({ rows, cellRows }: PartShape) => Math.min(rows, cellRows);

/** How long one node would take for all of it, in pieces of the size that rates are measured at: computed or sent. */
function aloneMs({ g1, g2, bytes }: Work, { rates, bytesPerSecond }: NodeOffer): number {
  const inGroup = (points: number, rate: number) => (points === 0 ? 0 : (1000 * points) / rate);
  return Math.max(inGroup(g1, rates.g1) + inGroup(g2, rates.g2), (1000 * bytes) / bytesPerSecond);
}

/** Where a node could begin in a part: in what is cut up already first, and at the first bases of it that it has. */
function starts(
  regions: readonly Region[],
  { part, cellRows }: PartShape,
  { resident }: NodeOffer,
): { readonly region: Region; readonly from: number; readonly resident: boolean }[] {
  return regions
    .filter((region) => region.part === part)
    .toSorted((a, b) => a.bits.count - b.bits.count)
    .map((region) => {
      for (let from = region.from; resident && from < region.to; from += cellRows)
        if (resident(part, from, Math.min(cellRows, region.to - from)))
          return { region, from, resident: true };
      return { region, from: region.from, resident: false };
    })
    .toSorted((a, b) => Number(b.resident) - Number(a.resident));
}

export function createLedger(options: LedgerOptions) {
  const { maxPieceBytes, deadlineFactor = 3, deadlineSlackMs = 1000 } = options;
  const shapes = new Map<Part, PartShape>();
  /** parts that will come: their work counts, but cannot be given out */
  const announced = new Map<Part, PartShape>();
  let closed = false;
  const regions = createRegions();
  /** What somebody has refused stays as it was cut, because the refusal is of just this piece. `open`: nobody has it. */
  const refused = new Map<string, { readonly piece: Piece; readonly by: Set<string>; open: boolean }>();
  const out = new Map<string, { readonly piece: Piece; readonly holders: Set<string> }>();
  const done = new Map<string, { readonly piece: Piece; readonly node: string }>();
  const hands = new Map<string, Hand>();

  const shapeOf = (part: Part): PartShape => shapes.get(part)!;
  const bytesOf = ({ part, from, count, bits }: Rectangle) => shapeOf(part).bytes(from, from + count, bits);
  const handOf = (node: string): Hand => {
    const known = hands.get(node);
    if (known) return known;
    const hand = { holdings: new Map(), freeSince: Number.NEGATIVE_INFINITY, missed: false };
    hands.set(node, hand);
    return hand;
  };
  const isLate = ({ reported, deadline }: Holding, now: number) => reported || now > deadline;
  const holdsLate = (node: string, now: number) =>
    [...handOf(node).holdings.values()].some((holding) => isLate(holding, now));
  /** Is everybody who has it past his deadline? */
  const isOverdue = ({ piece, holders }: { piece: Piece; holders: Set<string> }, now: number) =>
    [...holders].every((node) => isLate(handOf(node).holdings.get(piece.id)!, now));

  /** When what a node has is predicted to be done, by piece: it computes one while the next is on its way. */
  const endsOf = (node: string, now: number): Map<string, number> => {
    const { holdings, freeSince } = handOf(node);
    const ends = new Map<string, number>();
    let free = freeSince;
    for (const [id, { arrivesAt, computeMs, backMs }] of holdings) {
      const end = Math.max(free, arrivesAt) + computeMs + backMs;
      // Whoever is overdue may be so as long again.
      const expected = end < now ? 2 * now - end : end;
      ends.set(id, expected);
      free = expected - backMs;
    }
    return ends;
  };
  /** A node with what it has, and how a piece would go that it was given now. */
  const outlookOf = (offer: NodeOffer, now: number) => {
    const ends = [...endsOf(offer.id, now).values()];
    const freeAt = Math.max(now, ...ends) + (offer.elsewhere?.ms ?? 0);
    const linkFreeAt = Math.max(
      now,
      ...[...handOf(offer.id).holdings.values()].map((held) => held.arrivesAt),
    );
    const backMs = offer.roundTripMs / 2;
    const predict = (piece: Rectangle) => {
      const shape = shapeOf(piece.part);
      const resident = offer.resident?.(piece.part, piece.from, piece.count) ?? true;
      const sendMs = transferMs(shape, piece, { bytesPerSecond: offer.bytesPerSecond, resident });
      const ownMs = computeMs(shape, piece, offer.rates);
      const arrivesAt = linkFreeAt + sendMs + backMs;
      const begins = Math.max(arrivesAt, freeAt);
      return { sendMs, ownMs, arrivesAt, backMs, begins, end: begins + ownMs + backMs };
    };
    return { offer, freeAt, predict };
  };
  type Outlook = ReturnType<typeof outlookOf>;

  /** What nobody is known to work on: what is open, what is overdue, and what will come. */
  const left = (now: number): Work => {
    const sum = { g1: 0, g2: 0, bytes: 0 };
    const count = (shape: PartShape, from: number, to: number, bits: Extent) => {
      const { g1, g2 } = shape.work(from, to, bits);
      sum.g1 += g1;
      sum.g2 += g2;
      sum.bytes += shape.bytes(from, to, bits);
    };
    const countPiece = (piece: Piece) =>
      count(shapeOf(piece.part), piece.from, piece.from + piece.count, piece.bits);
    for (const { part, from, to, bits } of regions.all()) count(shapeOf(part), from, to, bits);
    for (const { piece, open } of refused.values()) if (open) countPiece(piece);
    for (const held of out.values()) if (isOverdue(held, now)) countPiece(held.piece);
    for (const shape of announced.values()) count(shape, 0, shape.rows, ALL_BITS);
    return sum;
  };

  /** Will this node do its part of what is left? One that is late or has no room will not. */
  const counts = ({ id, standing, freeBytes, elsewhere }: NodeOffer, now: number): boolean => {
    if (standing !== 'full' && standing !== 'less') return false;
    const { missed, holdings } = handOf(id);
    if (missed || holdsLate(id, now)) return false;
    const cellBytes = Math.max(0, ...[...shapes.values()].map((shape) => shape.bytes(0, firstCell(shape))));
    return holdings.size > 0 || (elsewhere?.pieces ?? 0) > 0 || freeBytes >= cellBytes;
  };

  const give = ({ offer, predict }: Outlook, piece: Piece, now: number): Assignment => {
    const { ownMs, sendMs, arrivesAt, backMs, begins, end } = predict(piece);
    const deadline = begins + deadlineFactor * (ownMs + sendMs + backMs) + deadlineSlackMs;
    const held = out.get(piece.id) ?? { piece, holders: new Set<string>() };
    const copy = held.holders.size > 0;
    out.set(piece.id, held);
    held.holders.add(offer.id);
    const entry = refused.get(piece.id);
    if (entry) entry.open = false;
    const holding = { piece, sentAt: now, arrivesAt, computeMs: ownMs, backMs, deadline, reported: false };
    handOf(offer.id).holdings.set(piece.id, holding);
    return { piece, node: offer.id, copy, predictedMs: end - now, computeMs: ownMs, deadline };
  };
  const release = (pieceId: string, node: string): boolean => {
    const held = out.get(pieceId);
    if (!held?.holders.delete(node)) return false;
    handOf(node).holdings.delete(pieceId);
    if (held.holders.size > 0) return true;
    out.delete(pieceId);
    const entry = refused.get(pieceId);
    if (entry && entry.by.size > 0) entry.open = true;
    else regions.putBack(held.piece);
    return true;
  };
  const refusedBy = (pieceId: string, node: string) => refused.get(pieceId)?.by.has(node) ?? false;

  /** A new piece of `part`, or undefined where this node would only hold the others up. */
  const cutFor = (
    { offer, predict }: Outlook,
    part: Part,
    budgetMs: number,
    isWorth: (piece: Rectangle) => boolean,
  ): Piece | undefined => {
    const shape = shapeOf(part);
    const room = Math.min(maxPieceBytes, offer.freeBytes);
    for (const { region, from } of starts(regions.all(), shape, offer)) {
      const rectangle = (to: number, bitCount: number): Rectangle => ({
        part,
        from,
        count: to - from,
        bits: { from: region.bits.from, count: bitCount },
      });
      const takes = (piece: Rectangle) => {
        const { ownMs, sendMs } = predict(piece);
        return Math.max(ownMs, sendMs);
      };
      let best: { readonly to: number; readonly bitCount: number; readonly cost: number } | undefined;
      for (const bitCount of new Set(BIT_COUNTS.map((width) => Math.min(width, region.bits.count)))) {
        const fits = (to: number) => bytesOf(rectangle(to, bitCount)) <= room;
        const oneCell = Math.min(region.to, from + shape.cellRows);
        const to =
          largestEnd(
            shape,
            from,
            region.to,
            (end) => fits(end) && takes(rectangle(end, bitCount)) <= budgetMs,
          ) ?? largestEnd(shape, from, oneCell, fits);
        if (to === undefined) continue;
        const piece = rectangle(to, bitCount);
        const ideal = aloneMs({ ...shape.work(from, to, piece.bits), bytes: 0 }, offer);
        const cost = takes(piece) / ideal;
        if (!best || cost < best.cost * (1 - LEAST_GAIN)) best = { to, bitCount, cost };
      }
      if (!best) continue;
      const { bitCount } = best;
      const to = largestEnd(shape, from, best.to, (end) => isWorth(rectangle(end, bitCount)));
      if (to !== undefined) return regions.cut(region, from, to, bitCount);
    }
    return undefined;
  };

  /** What an idle node does best when nothing is left to give: what would be ready last, if it is clearly earlier. */
  const copyFor = ({ offer, predict }: Outlook, now: number): Piece | undefined => {
    const last = [...out.values()]
      .filter(({ piece, holders }) => !holders.has(offer.id) && !refusedBy(piece.id, offer.id))
      .filter(({ piece }) => bytesOf(piece) <= offer.freeBytes)
      .map(({ piece, holders }) => ({
        piece,
        end: Math.min(...[...holders].map((node) => endsOf(node, now).get(piece.id)!)),
      }))
      .sort((a, b) => b.end - a.end)[0];
    if (!last) return undefined;
    return predict(last.piece).end - now < CLEARLY_EARLIER * (last.end - now) ? last.piece : undefined;
  };

  return {
    /** A part whose scalars are there. Throws RangeError when not even a cell of it fits a piece. */
    add(shape: PartShape): void {
      if (shapes.has(shape.part) || closed)
        throw new RangeError(`${shape.part}: expected a part that is not there, before the ledger is closed`);
      const bytes = shape.bytes(0, firstCell(shape));
      if (bytes > maxPieceBytes)
        throw new RangeError(`cellRows: expected a cell of up to ${maxPieceBytes} bytes, got ${bytes}`);
      announced.delete(shape.part);
      shapes.set(shape.part, shape);
      regions.add({ part: shape.part, from: 0, to: shape.rows, bits: ALL_BITS });
    },
    /** A part that will come: pieces are as large as they may be with that much work ahead, and nothing is copied for want of it. */
    announce(shape: PartShape): void {
      if (!shapes.has(shape.part)) announced.set(shape.part, shape);
    },
    /** No part will follow. */
    close(): void {
      closed = true;
      announced.clear();
    },

    /**
     * One piece for this node, or nothing for now. `fleet`: everybody who may work, the node itself as well; who is
     * missing from it counts as somebody who will never come. Ask again after each piece, and whenever something changes.
     */
    next(node: NodeOffer, fleet: readonly NodeOffer[], now: number): Assignment | undefined {
      const { holdings, missed } = handOf(node.id);
      if (node.standing === 'none' || holdsLate(node.id, now)) return undefined;
      const own = outlookOf(node, now);
      const inHand = holdings.size + (node.elsewhere?.pieces ?? 0);
      const carefully = node.standing !== 'full' || missed;
      if (inHand > 0 && carefully) return undefined;
      if (inHand >= PIECES_IN_HAND && own.freeAt - now > 2 * node.roundTripMs) return undefined;

      const others = fleet.filter((other) => other.id !== node.id && counts(other, now));
      const rest = others.map((other) => outlookOf(other, now));
      const work = left(now);
      const timed = (outlooks: readonly Outlook[]) =>
        outlooks.map(({ offer, freeAt }) => ({ freeAt, ms: aloneMs(work, offer) }));
      const restEnd = fleetEnd(timed(rest));
      const budgetMs = Math.max(SHARE * (fleetEnd(timed([...rest, own])) - own.freeAt), LEAST_PIECE_MS);
      const isWorth = (piece: Rectangle): boolean => {
        const { end, ownMs } = own.predict(piece);
        const shape = shapeOf(piece.part);
        const ideal = aloneMs(
          { ...shape.work(piece.from, piece.from + piece.count, piece.bits), bytes: 0 },
          node,
        );
        // The rest would not do it without the buckets of such pieces, either.
        const theirEnd = now + (restEnd - now) * Math.max(1, ownMs / ideal);
        const inTime = (limit: number) => end - now <= (limit - now) * (1 + TOLERANCE);
        if (inTime(theirEnd)) return true;
        // Somebody has to do it: whoever is done with it first.
        return piece.count <= shape.cellRows && rest.every((other) => inTime(other.predict(piece).end));
      };
      const isFirst = (piece: Piece): boolean =>
        rest.every(
          (other) =>
            refusedBy(piece.id, other.offer.id) ||
            own.predict(piece).end - now <= (other.predict(piece).end - now) * (1 + TOLERANCE),
        );

      // What is overdue has been waited for longest.
      for (const held of [...out.values()].filter((held) => isOverdue(held, now))) {
        const { piece } = held;
        if (refusedBy(piece.id, node.id)) continue;
        if (bytesOf(piece) <= node.freeBytes) {
          if (isWorth(piece) || isFirst(piece)) return give(own, piece, now);
        } else if (rest.length === 0 && inHand === 0) {
          // Nobody is left who could hold it as it is: it is cut anew.
          for (const holder of [...held.holders]) release(piece.id, holder);
        }
      }
      if ((node.standing !== 'copies' && !missed) || others.length === 0) {
        for (const { piece, by, open } of refused.values())
          if (
            open &&
            !by.has(node.id) &&
            bytesOf(piece) <= node.freeBytes &&
            (isWorth(piece) || isFirst(piece))
          )
            return give(own, piece, now);
        const fleetRates = [node, ...others].reduce(
          (sum, { rates }) => ({ g1: sum.g1 + rates.g1, g2: sum.g2 + rates.g2 }),
          { g1: 0, g2: 0 },
        );
        const everybody = { ...node, rates: fleetRates };
        const advantage = (shape: PartShape) => {
          const all = { ...shape.work(0, shape.rows), bytes: 0 };
          return aloneMs(all, node) / aloneMs(all, everybody);
        };
        // Each node does what it is best at against the others; the wires first where it makes no difference.
        for (const shape of [...shapes.values()].sort((a, b) => advantage(a) - advantage(b))) {
          const piece = cutFor(own, shape.part, budgetMs, isWorth);
          if (piece) return give(own, piece, now);
        }
      }
      const nothingOpen =
        announced.size === 0 && regions.all().length === 0 && ![...refused.values()].some(({ open }) => open);
      const copy = nothingOpen && inHand === 0 ? copyFor(own, now) : undefined;
      return copy && give(own, copy, now);
    },

    /** Is this node expected to answer for this piece? A result from anyone else is refused. */
    expects: (pieceId: string, node: string): boolean => out.get(pieceId)?.holders.has(node) ?? false,
    /** A checked result. False when the piece is done already or is not this node's. */
    complete(pieceId: string, node: string, now: number): boolean {
      const held = out.get(pieceId);
      if (!held?.holders.has(node)) return false;
      for (const holder of held.holders) handOf(holder).holdings.delete(pieceId);
      out.delete(pieceId);
      refused.delete(pieceId);
      done.set(pieceId, { piece: held.piece, node });
      Object.assign(handOf(node), { freeSince: now, missed: false });
      return true;
    },
    /** The piece did not reach the node. */
    release: (pieceId: string, node: string): void => void release(pieceId, node),
    /** The node could not do it: somebody else gets it. */
    refuse(pieceId: string, node: string): void {
      const held = out.get(pieceId);
      if (!held?.holders.has(node)) return;
      const entry = refused.get(pieceId) ?? { piece: held.piece, by: new Set<string>(), open: false };
      refused.set(pieceId, entry);
      entry.by.add(node);
      release(pieceId, node);
    },
    /** A node that is gone holds nothing; its refusals and its lateness are forgotten, because it may come back. */
    gone(node: string): void {
      for (const { by } of refused.values()) by.delete(node);
      for (const pieceId of [...handOf(node).holdings.keys()]) release(pieceId, node);
      hands.delete(node);
    },
    /** What a node said at a time after `sentBefore` that it holds: what it was sent before and does not name, it has not. */
    holds(node: string, pieceIds: ReadonlySet<string>, sentBefore: number): Piece[] {
      const lost = [...handOf(node).holdings.values()].filter(
        ({ piece, sentAt }) => sentAt < sentBefore && !pieceIds.has(piece.id),
      );
      for (const { piece } of lost) release(piece.id, node);
      return lost.map(({ piece }) => piece);
    },
    /** Who has passed a deadline since the last call, each piece of each node once. */
    late(now: number): { readonly piece: Piece; readonly node: string }[] {
      const late: { piece: Piece; node: string }[] = [];
      for (const [node, hand] of hands)
        for (const holding of hand.holdings.values())
          if (!holding.reported && now > holding.deadline) {
            holding.reported = true;
            hand.missed = true;
            late.push({ piece: holding.piece, node });
          }
      return late;
    },
    /** What a node has of this job. */
    load(node: string, now: number): Load {
      const ends = [...endsOf(node, now).values()];
      return { pieces: ends.length, ms: Math.max(0, ...ends.map((end) => end - now)) };
    },
    /** The servers were lost with what they carried: everything that is not done is open again. */
    reset(): void {
      for (const { piece, holders } of [...out.values()])
        for (const node of [...holders]) release(piece.id, node);
    },
    /** Is nothing out, and has everybody who may work refused all that is left? */
    stuck: (fleet: readonly NodeOffer[]): boolean => {
      const usable = fleet.filter(({ standing }) => standing !== 'none');
      const open = [...refused.values()].filter((entry) => entry.open);
      return (
        out.size === 0 &&
        regions.all().length === 0 &&
        usable.length > 0 &&
        open.length > 0 &&
        open.every(({ by }) => usable.every(({ id }) => by.has(id)))
      );
    },
    /** Whoever refused may be asked again. */
    forgive(): void {
      for (const { piece, open } of refused.values()) if (open) regions.putBack(piece);
      refused.clear();
    },
    isDone: (): boolean =>
      closed &&
      out.size === 0 &&
      regions.all().length === 0 &&
      ![...refused.values()].some(({ open }) => open),
    /** Pieces that are done, by whom. */
    results: (): readonly { readonly piece: Piece; readonly node: string }[] => [...done.values()],
    /** Pieces and who has them. What is not cut yet counts as one for each rectangle: `total` grows. */
    counts(): { total: number; done: number; workers: { id: string; assigned: number; done: number }[] } {
      const open = [...refused.values()].filter((entry) => entry.open).length;
      const workers = new Map<string, { id: string; assigned: number; done: number }>();
      const row = (id: string) => workers.get(id) ?? workers.set(id, { id, assigned: 0, done: 0 }).get(id)!;
      for (const [id, { holdings }] of hands) if (holdings.size > 0) row(id).assigned = holdings.size;
      for (const { node } of done.values()) row(node).done++;
      return {
        total: done.size + out.size + open + regions.all().length + announced.size,
        done: done.size,
        workers: [...workers.values()].sort((a, b) => (a.id < b.id ? -1 : 1)),
      };
    },
  };
}
export type Ledger = ReturnType<typeof createLedger>;
