/**
 * The ledger of a distributed proof's sums: what nobody has, who has what until when, and what is done. Pure: no clock but
 * the `now` (ms, monotonic) that is passed in, no network, no witness. It decides what is outstanding; messages only carry.
 *
 * Pieces are cut when a node asks, by guided self-scheduling (Polychronopoulos and Kuck, 1987) for unequal nodes: some
 * of what the node would do until the whole fleet is predicted to be ready, so that they shrink towards the end. A node has
 * one piece in work and one that waits. Who would be ready later with one cell of the grid than the rest with everything
 * gets none. When nothing is left to give, an idle node gets a copy of what would be ready last. Past its deadline a piece
 * goes to whoever is idle, as often as it takes; the first checked result wins.
 *
 * Not guaranteed: that rates are true. A node that is slower than it says costs what it held, once, until its deadline;
 * after that it gets copies only, until a result of its comes.
 */
import { aloneMs, cutFor, firstCell, fleetEnd, idealMs, type Work } from './cutting.ts';
import { createHands, type Load, type NodeOffer, type Outlook } from './hands.ts';
import { createRegions } from './regions.ts';
import {
  ALL_BITS,
  type Extent,
  efficiency,
  openedBytes,
  type Part,
  type PartShape,
  type Piece,
  type Rectangle,
} from './work.ts';

export type { Load, NodeOffer } from './hands.ts';

/** Pieces that a node may hold, unless its link is so slow that more are needed to keep it busy. */
const PIECES_IN_HAND = 2;
/** Of what a node would do until everything is done, what it is given at a time: rates may be wrong by nearly a factor of two. */
const SHARE = 0.6;
/**
 * The same for a node beside others, of whom each would take so long for what it takes `ownMs` for. The fewer can make up
 * for wrong rates the more it is given: each further piece has buckets of its own.
 */
export const shareOf = (ownMs: number, others: readonly { readonly ms: number }[]): number => {
  // Who would never be done helps nobody.
  const able = others.filter(({ ms }) => ms < Number.POSITIVE_INFINITY);
  const help = ownMs > 0 ? able.reduce((sum, { ms }) => sum + ownMs / ms, 0) : 1;
  return 1 - (1 - SHARE) * Math.min(1, help);
};
/** A piece should take at least this long, or it is not worth its trip. */
const LEAST_PIECE_MS = 40;
/** Windows are cut as well where rows alone would share the sum less efficiently than this. */
const WINDOWS_BELOW = 0.85;
/** A copy is made of a piece that is not late when this node needs this much less than the holder still does. */
const CLEARLY_EARLIER = 1 / 2;
/** By how much the rest is thought to need longer than for one large sum, because it has buckets for each piece. */
const BUCKETS = 1.2;
/** Two ends that differ by less than this part are the same. */
const TOLERANCE = 0.02;

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
  /** by default as many as a message can name (protocols/msm.ts) */
  readonly maxPieceRows?: number;
  /** A piece is late after what waits before it, `factor` times its own time, and this. */
  readonly deadlineFactor?: number;
  readonly deadlineSlackMs?: number;
}

const sumOf = (nodes: readonly NodeOffer[]) =>
  nodes.reduce((sum, { rates: { g1, g2 } }) => ({ g1: sum.g1 + g1, g2: sum.g2 + g2 }), { g1: 0, g2: 0 });

/** Would so many nodes share this vector's sums badly by rows alone? */
const sharesWindows = (shape: PartShape, nodes: number): boolean =>
  efficiency(shape.work(0, shape.rows).g1 / shape.sums.g1, nodes) < WINDOWS_BELOW;

export function createLedger(options: LedgerOptions) {
  const { maxPieceBytes, maxPieceRows = 2 ** 20, deadlineFactor = 3, deadlineSlackMs = 1000 } = options;
  const shapes = new Map<Part, PartShape>();
  /** parts that will come: their work counts, but cannot be given out */
  const announced = new Map<Part, PartShape>();
  let closed = false;
  const regions = createRegions();
  /** What somebody has refused stays as it was cut, because the refusal is of just this piece. `open`: nobody has it. */
  const refused = new Map<string, { readonly piece: Piece; readonly by: Set<string>; open: boolean }>();
  const out = new Map<string, { readonly piece: Piece; readonly holders: Set<string> }>();
  const done = new Map<string, { readonly piece: Piece; readonly node: string }>();

  const shapeOf = (part: Part): PartShape => shapes.get(part)!;
  const isOpen = ({ open }: { readonly open: boolean }) => open;
  const hands = createHands(shapeOf);
  /** Is everybody who has it past his deadline? */
  const isOverdue = ({ piece, holders }: { piece: Piece; holders: Set<string> }, now: number) =>
    [...holders].every((node) => hands.isLate(node, piece.id, now));

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
    if (hands.missed(id) || hands.holdsLate(id, now)) return false;
    const cellBytes = openedBytes({ count: Math.max(0, ...[...shapes.values()].map(firstCell)) });
    return hands.size(id) > 0 || (elsewhere?.pieces ?? 0) > 0 || freeBytes >= cellBytes;
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
    hands.add(offer.id, holding);
    return { piece, node: offer.id, copy, predictedMs: end - now, computeMs: ownMs, deadline };
  };
  const release = (pieceId: string, node: string): boolean => {
    const held = out.get(pieceId);
    if (!held?.holders.delete(node)) return false;
    hands.remove(node, pieceId);
    if (held.holders.size > 0) return true;
    out.delete(pieceId);
    const entry = refused.get(pieceId);
    if (entry && entry.by.size > 0) entry.open = true;
    else regions.putBack(held.piece);
    return true;
  };
  const refusedBy = (pieceId: string, node: string) => refused.get(pieceId)?.by.has(node) ?? false;

  /** What an idle node does best when nothing is left to give: what would be ready last, if it is clearly earlier. */
  const copyFor = ({ offer, predict }: Outlook, now: number): Piece | undefined => {
    const last = [...out.values()]
      .filter(({ piece, holders }) => !holders.has(offer.id) && !refusedBy(piece.id, offer.id))
      .filter(({ piece }) => openedBytes(piece) <= offer.freeBytes)
      .map(({ piece, holders }) => ({
        piece,
        end: Math.min(
          ...[...holders].map((node) =>
            hands.isDoubted(node, piece.id)
              ? Number.POSITIVE_INFINITY
              : hands.endsOf(node, now).get(piece.id)!,
          ),
        ),
      }))
      .sort((a, b) => b.end - a.end)[0];
    if (!last) return undefined;
    return predict(last.piece).end - now < CLEARLY_EARLIER * (last.end - now) ? last.piece : undefined;
  };

  const nothingOpen = () => regions.all().length === 0 && ![...refused.values()].some(isOpen);

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
      const missed = hands.missed(node.id);
      if (node.standing === 'none' || hands.holdsLate(node.id, now)) return undefined;
      const own = hands.outlook(node, now);
      const inHand = hands.size(node.id) + (node.elsewhere?.pieces ?? 0);
      const carefully = node.standing !== 'full' || missed;
      if (inHand > 0 && carefully) return undefined;
      if (inHand >= PIECES_IN_HAND && own.freeAt - now > 2 * node.roundTripMs) return undefined;

      const overdue = [...out.values()].filter((held) => isOverdue(held, now));
      if (overdue.length === 0 && nothingOpen()) {
        const copy = announced.size === 0 && inHand === 0 ? copyFor(own, now) : undefined;
        return copy && give(own, copy, now);
      }
      const others = fleet.filter((other) => other.id !== node.id && counts(other, now));
      const rest = others.map((other) => hands.outlook(other, now));
      const work = left(now);
      const timed = ({ offer, freeAt }: Outlook) => ({ freeAt, ms: aloneMs(work, offer) });
      const [ownTime, restTimes] = [timed(own), rest.map(timed)];
      const restEnd = fleetEnd(restTimes);
      const inTime = (piece: Rectangle, limit: number) =>
        own.predict(piece).end - now <= (limit - now) * (1 + TOLERANCE);
      /** Is nobody else done with it before? Somebody has to do it. */
      const isFirst = (piece: Rectangle, able: (other: Outlook) => boolean = () => true) =>
        rest.every((other) => !able(other) || inTime(piece, other.predict(piece).end));
      const isWorth = (piece: Rectangle): boolean => {
        const shape = shapeOf(piece.part);
        const soon = (cost: number) => inTime(piece, now + (restEnd - now) * Math.max(1, cost));
        const cost = own.predict(piece).ownMs / idealMs(shape, piece, node);
        if (soon(Math.min(cost, BUCKETS))) return true;
        // Bases that nobody has yet have to be fetched by the rest, too.
        const fetched = rest.map((other) => other.predict(piece).sendMs / idealMs(shape, piece, other.offer));
        if (soon(Math.min(...fetched))) return true;
        return piece.count <= shape.cellRows && isFirst(piece);
      };
      /** As it is cut already. */
      const takes = (piece: Piece): boolean =>
        openedBytes(piece) <= node.freeBytes &&
        !refusedBy(piece.id, node.id) &&
        (isWorth(piece) ||
          isFirst(
            piece,
            ({ offer }) => !refusedBy(piece.id, offer.id) && openedBytes(piece) <= offer.freeBytes,
          ));

      // What is overdue has been waited for longest.
      for (const { piece, holders } of overdue) {
        if (takes(piece)) return give(own, piece, now);
        // Where nobody is left who could hold it as it is, it is cut anew.
        if (rest.length === 0 && inHand === 0 && openedBytes(piece) > node.freeBytes)
          for (const holder of [...holders]) release(piece.id, holder);
      }
      if ((node.standing === 'copies' || missed) && others.length > 0) return undefined;
      for (const { piece, open } of refused.values()) if (open && takes(piece)) return give(own, piece, now);
      const share = shareOf(ownTime.ms, restTimes) * (fleetEnd([...restTimes, ownTime]) - own.freeAt);
      // Beside nobody who would ever be done no crumb stays behind, because a sum costs a little more than its points.
      const alone = restTimes.every(({ ms }) => ms === Number.POSITIVE_INFINITY);
      const budgetMs = Math.max(share * (alone ? 1 + TOLERANCE : 1), LEAST_PIECE_MS);
      const rows = Math.min(maxPieceRows, Math.floor(node.freeBytes / openedBytes({ count: 1 })));
      // Each node does what it is best at against the others; the wires first where it makes no difference.
      const together = { ...node, rates: sumOf([node, ...others]) };
      const disadvantage = (shape: PartShape) => {
        const whole = { part: shape.part, from: 0, count: shape.rows, bits: ALL_BITS };
        return idealMs(shape, whole, node) / idealMs(shape, whole, together);
      };
      for (const shape of [...shapes.values()].sort((a, b) => disadvantage(a) - disadvantage(b))) {
        const windows = sharesWindows(shape, others.length + 1);
        const demand = { budgetMs, room: maxPieceBytes, rows, windows, isWorth };
        const cut = cutFor(own, shape, regions.all(), demand);
        if (cut) return give(own, regions.cut(cut.region, cut.from, cut.to, cut.bitCount), now);
      }
      return undefined;
    },

    /** Is this node expected to answer for this piece? A result from anyone else is refused. */
    expects: (pieceId: string, node: string): boolean => out.get(pieceId)?.holders.has(node) ?? false,
    /** A checked result. False when the piece is done already or is not this node's. */
    complete(pieceId: string, node: string, now: number): boolean {
      const held = out.get(pieceId);
      if (!held?.holders.has(node)) return false;
      for (const holder of held.holders) hands.remove(holder, pieceId);
      out.delete(pieceId);
      refused.delete(pieceId);
      done.set(pieceId, { piece: held.piece, node });
      hands.answered(node, now);
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
      for (const { piece } of hands.of(node)) release(piece.id, node);
      hands.forget(node);
    },
    /**
     * What a node's heartbeat names, which could have named what was sent before `sentBefore`. What it does not name an idle
     * node may copy; what it does not name for `patienceMs` more has not arrived, is open again, and is returned.
     */
    holds(node: string, pieceIds: ReadonlySet<string>, sentBefore: number, patienceMs = 2000): Piece[] {
      const lost = hands.unnamed(node, pieceIds, sentBefore, patienceMs);
      for (const { id } of lost) release(id, node);
      return lost;
    },
    /** Who has passed a deadline since the last call, each piece of each node once. */
    late: hands.late,
    /** What a node has of this job. */
    load(node: string, now: number): Load {
      const ends = [...hands.endsOf(node, now).values()];
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
      const open = [...refused.values()].filter(isOpen);
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
    isDone: (): boolean => closed && out.size === 0 && nothingOpen(),
    /** Pieces that are done, by whom. */
    results: (): readonly { readonly piece: Piece; readonly node: string }[] => [...done.values()],
    /** Pieces and who has them. What is not cut yet counts as one for each rectangle: `total` grows. */
    counts(): { total: number; done: number; workers: { id: string; assigned: number; done: number }[] } {
      const open = [...refused.values()].filter(isOpen).length;
      const workers = new Map<string, { id: string; assigned: number; done: number }>();
      const row = (id: string) => workers.get(id) ?? workers.set(id, { id, assigned: 0, done: 0 }).get(id)!;
      for (const id of hands.nodes()) if (hands.size(id) > 0) row(id).assigned = hands.size(id);
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
