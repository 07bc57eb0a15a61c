/**
 * How a piece is cut for one node: where it begins, how many rows, and which bits of their scalars. Pure.
 */
import { SCALAR_BITS } from '../../../protocols/msm.ts';
import type { NodeOffer, Outlook } from './hands.ts';
import { largestEnd, type Region } from './regions.ts';
import type { PartShape, Rates, Rectangle } from './work.ts';

/** Bits of a piece, widest first; narrower ones only where the model gains this much by them. */
const BIT_COUNTS = [SCALAR_BITS, SCALAR_BITS / 2, SCALAR_BITS / 4, SCALAR_BITS / 8] as const;
const LEAST_GAIN = 1 / 32;

/** Something to be done, in points with uniform scalars and in bytes that travel. */
export type Work = Rates & { readonly bytes: number };

/** How long one node would take for all of it, in pieces of the size that rates are measured at: computed or sent. */
export function aloneMs(
  { g1, g2, bytes }: Work,
  { rates, bytesPerSecond }: Pick<NodeOffer, 'rates' | 'bytesPerSecond'>,
): number {
  const inGroup = (points: number, rate: number) => (points === 0 ? 0 : (1000 * points) / rate);
  return Math.max(inGroup(g1, rates.g1) + inGroup(g2, rates.g2), (1000 * bytes) / bytesPerSecond);
}

/** A rectangle's part of one large sum, without what comes on top: buckets, bases that are read again, its link. */
export function idealMs(shape: PartShape, { from, count, bits }: Rectangle, offer: NodeOffer): number {
  const { g1, g2 } = shape.work(from, from + count);
  return aloneMs({ g1, g2, bytes: 0 }, offer) * (bits.count / SCALAR_BITS);
}

/** When a fleet is done with something that takes its node n alone `ms[n]`, each node free at `freeAt[n]`. */
export function fleetEnd(nodes: readonly { readonly freeAt: number; readonly ms: number }[]): number {
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

export const firstCell = ({ rows, cellRows }: PartShape): number => Math.min(rows, cellRows);

/** Where a node could begin in a part, and how far it could go. */
interface Start {
  readonly region: Region;
  readonly from: number;
  readonly limit: number;
  readonly resident: boolean;
}

/** In what is cut up already first, and before all at bases that the node has: then it goes no further than they do. */
function starts(regions: readonly Region[], { part, cellRows }: PartShape, { resident }: NodeOffer): Start[] {
  const has = ({ to }: Region, from: number) =>
    resident !== undefined && from < to && resident(part, from, Math.min(cellRows, to - from));
  return regions
    .filter((region) => region.part === part)
    .toSorted((a, b) => a.bits.count - b.bits.count)
    .map((region): Start => {
      const whole = { region, from: region.from, limit: region.to, resident: false };
      if (!resident) return whole;
      if (resident(part, region.from, region.to - region.from)) return { ...whole, resident: true };
      let from = region.from;
      while (from < region.to && !has(region, from)) from += cellRows;
      if (from >= region.to) return whole;
      let limit = from;
      while (has(region, limit)) limit = Math.min(region.to, limit + cellRows);
      return { region, from, limit, resident: true };
    })
    .toSorted((a, b) => Number(b.resident) - Number(a.resident));
}

export interface Cut {
  readonly region: Region;
  readonly from: number;
  readonly to: number;
  readonly bitCount: number;
}

export interface CutDemand {
  /** about how long the piece may take */
  readonly budgetMs: number;
  /** bytes of its scalars, and rows, at most */
  readonly room: number;
  readonly rows: number;
  /** Are windows cut as well as rows? */
  readonly windows: boolean;
  /** Would this node do it before others would? Holds for every range of rows that is in one for which it holds. */
  isWorth(piece: Rectangle): boolean;
}

/** A piece of this shape for this node; undefined where nothing is open, fits, or is worth it. */
export function cutFor(
  { offer, predict }: Outlook,
  shape: PartShape,
  regions: readonly Region[],
  { budgetMs, room, rows, windows, isWorth }: CutDemand,
): Cut | undefined {
  const { part, cellRows } = shape;
  // Bases are fetched once, so that they do not count for how much is given at a time.
  const takes = (piece: Rectangle) => {
    const { ownMs, scalarsMs } = predict(piece);
    return Math.max(ownMs, scalarsMs);
  };
  for (const { region, from, limit } of starts(regions, shape, offer)) {
    const rectangle = (to: number, bitCount: number): Rectangle => ({
      part,
      from,
      count: to - from,
      bits: { from: region.bits.from, count: bitCount },
    });
    const fits = ({ from, count, bits }: Rectangle) =>
      count <= rows && shape.bytes(from, from + count, bits) <= room;
    const widths = new Set(
      BIT_COUNTS.map((width) => Math.min(windows ? width : SCALAR_BITS, region.bits.count)),
    );
    let best: { readonly to: number; readonly bitCount: number; readonly cost: number } | undefined;
    for (const bitCount of widths) {
      const isWithin = (to: number) => {
        const piece = rectangle(to, bitCount);
        return fits(piece) && takes(piece) <= budgetMs;
      };
      const oneCell = Math.min(limit, from + cellRows);
      const to =
        largestEnd(shape, from, limit, isWithin) ??
        largestEnd(shape, from, oneCell, (end) => fits(rectangle(end, bitCount)));
      if (to === undefined) continue;
      const piece = rectangle(to, bitCount);
      const { ownMs, sendMs } = predict(piece);
      const cost = Math.max(ownMs, sendMs) / idealMs(shape, piece, offer);
      if (!best || cost < best.cost * (1 - LEAST_GAIN)) best = { to, bitCount, cost };
    }
    if (!best) continue;
    const { bitCount } = best;
    const to = largestEnd(shape, from, best.to, (end) => isWorth(rectangle(end, bitCount)));
    if (to !== undefined) return { region, from, to, bitCount };
  }
  return undefined;
}
