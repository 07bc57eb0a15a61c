/**
 * What of a proof's sums nobody has been given yet, as rectangles of rows and bits. Pure. Each (row, bit) of a part is in
 * one rectangle at most: what is cut out leaves it, and what is put back was cut out before.
 */
import { type Extent, type Part, type PartShape, type Piece, pieceOf } from './work.ts';

export interface Region {
  readonly part: Part;
  /** rows [from, to) */
  readonly from: number;
  readonly to: number;
  readonly bits: Extent;
}

export function createRegions() {
  let open: Region[] = [];

  /** Joins neighbours with the same bits, so that what came back in pieces can be given out as one. */
  const join = () => {
    const joined: Region[] = [];
    const sorted = open.toSorted(
      (a, b) =>
        (a.part < b.part ? -1 : a.part > b.part ? 1 : 0) ||
        a.bits.from - b.bits.from ||
        a.bits.count - b.bits.count ||
        a.from - b.from,
    );
    for (const region of sorted) {
      const last = joined.at(-1);
      const sameBits =
        last?.part === region.part &&
        last.bits.from === region.bits.from &&
        last.bits.count === region.bits.count;
      if (last && sameBits && last.to === region.from) joined[joined.length - 1] = { ...last, to: region.to };
      else joined.push(region);
    }
    open = joined;
  };

  return {
    all: (): readonly Region[] => open,
    add(region: Region): void {
      open.push(region);
      join();
    },
    putBack({ part, from, count, bits }: Piece): void {
      open.push({ part, from, to: from + count, bits });
      join();
    },
    /** Cuts out rows [from, to) of a region, its lowest `bitCount` bits. */
    cut(region: Region, from: number, to: number, bitCount: number): Piece {
      const at = open.indexOf(region);
      const { part, bits } = region;
      if (at < 0 || from < region.from || to > region.to || from >= to || bitCount > bits.count)
        throw new RangeError('cut: expected rows and bits of an open region');
      const left: Region[] = [];
      if (from > region.from) left.push({ ...region, to: from });
      if (to < region.to) left.push({ ...region, from: to });
      if (bitCount < bits.count) {
        const above = { from: bits.from + bitCount, count: bits.count - bitCount };
        left.push({ part, from, to, bits: above });
      }
      open.splice(at, 1, ...left);
      return pieceOf(part, from, to - from, { from: bits.from, count: bitCount });
    },
    clear(): void {
      open = [];
    },
  };
}
export type Regions = ReturnType<typeof createRegions>;

/**
 * The largest end of a range that begins at `from`, on the grid and at most `limit`, for which `fits` holds; undefined
 * when not even one cell does. `fits` never holds for a range when it does not hold for a shorter one.
 */
export function largestEnd(
  { rows, cellRows }: Pick<PartShape, 'rows' | 'cellRows'>,
  from: number,
  limit: number,
  fits: (to: number) => boolean,
): number | undefined {
  const endOf = (cells: number) => Math.min(from + cells * cellRows, rows, limit);
  let low = 0;
  let high = Math.ceil((limit - from) / cellRows);
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (fits(endOf(middle))) low = middle;
    else high = middle - 1;
  }
  return low === 0 ? undefined : endOf(low);
}
