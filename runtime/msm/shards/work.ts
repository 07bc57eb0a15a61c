/**
 * What a piece of a proof's sums costs: additions, milliseconds on a node, bytes on the way to it. Pure. What it counts
 * follows from the key alone (how many rows, which wires the constraints make bits, which bases are the point at
 * infinity), never from a witness, because whoever sees the plan would see what it was made from.
 *
 * The sums have two parts. `wires` is the witness: one vector that serves A, B1, B2 and C (C for private wires only).
 * `quotient` is H. A piece is a rectangle: a range of rows times a range of the scalars' bits; a sum over bits [f, f+n)
 * is a sum with shorter scalars, which its receiver doubles f times.
 *
 * Pippenger's method, counted in additions: n points with scalars of b bits in windows of c take ceil(b/c) (n + 2^c),
 * with signed digits 2^(c-1) buckets a window and two additions a bucket (DistMSM, ASPLOS 2024, section 3). By this count
 * rows alone share one sum of 2^20 among 32 nodes with an efficiency of 68 %, rows and windows with 94 %. DistMSM's
 * third cut, ranges of buckets, gains nothing on top by this count and sends every scalar to every node of a window.
 */
import { POINT_BYTES, SCALAR_BYTES } from '../../../protocols/bn254.ts';
import { SCALAR_BITS } from '../../../protocols/msm.ts';

export type Part = 'wires' | 'quotient';

/** Points a second, scalars uniform, in each group. A group that nothing is known of is 0: no time is predicted then. */
export interface Rates {
  readonly g1: number;
  readonly g2: number;
}

export interface Extent {
  readonly from: number;
  readonly count: number;
}

/** The topmost two bits of a scalar are always 0. */
const FIELD_BITS = 254;
export const ALL_BITS: Extent = { from: 0, count: SCALAR_BITS };

export interface Piece {
  readonly id: string;
  readonly part: Part;
  /** first row, number of rows */
  readonly from: number;
  readonly count: number;
  /** which bits of the scalars: all of them, unless so many nodes share the sum that windows are cut as well */
  readonly bits: Extent;
}

/** A piece that has no name yet. */
export type Rectangle = Omit<Piece, 'id'>;

/** What a piece's scalars take of a node's memory, however few bytes of them travel. */
export const openedBytes = ({ count }: Pick<Rectangle, 'count'>): number => count * SCALAR_BYTES;

/** The same rectangle of the same part has the same name, whoever cuts it and when. */
export const pieceOf = (part: Part, from: number, count: number, bits: Extent = ALL_BITS): Piece => {
  const window = bits.count === SCALAR_BITS ? '' : `-${bits.from}-${bits.count}`;
  return { id: `${part}-${from}-${count}${window}`, part, from, count, bits };
};

/** Least additions of one sum of `points` with scalars of `bits`, over all window sizes. */
export function additions(points: number, bits: number): number {
  if (points <= 0 || bits <= 0) return 0;
  let least = Number.POSITIVE_INFINITY;
  for (let window = 1; window <= 26; window++)
    least = Math.min(least, Math.ceil(bits / window) * (points + 2 ** window));
  return least;
}

/**
 * How well `nodes` equal nodes share one sum, against one node alone: 1 would be perfect. `windows`: how many of the
 * nodes share each range of rows by windows; it divides `nodes`.
 */
export function efficiency(points: number, nodes: number, windows = 1, bits = FIELD_BITS): number {
  let slowest = Number.POSITIVE_INFINITY;
  for (let window = 1; window <= 26; window++) {
    const own = Math.ceil(Math.ceil(bits / window) / windows);
    slowest = Math.min(slowest, own * ((points * windows) / nodes + 2 ** window));
  }
  return additions(points, bits) / (nodes * slowest);
}

/** Rates are of sums of this many points; a smaller sum takes longer a point, a larger one less long. */
const RATED_POINTS = 2 ** 16;
const RATED_ADDITIONS = additions(RATED_POINTS, FIELD_BITS) / RATED_POINTS;

/** A sum of `points` over `bits` in points of a sum of the size that rates are of. */
export const ratedPoints = (points: number, bits: number = FIELD_BITS): number =>
  additions(points, Math.min(bits, FIELD_BITS)) / RATED_ADDITIONS;

/**
 * What every point costs, in points with a whole scalar, however short its scalar is: its base is read and converted (3 % of
 * a sum, docs/BENCHMARKS.md). A scalar that is a bit costs hardly more: half of them are added once, against some 20 times.
 */
const LEAST_COST = 1 / 32;
/** A point with scalars of so many bits, in points with whole ones. */
const costOf = (width: number): number => LEAST_COST + (1 - LEAST_COST) * (width / FIELD_BITS);
/** What points are worth of which so many have scalars of `width` bits, the others bits. */
export const worthOf = (wide: number, narrow: number, width: number): number =>
  costOf(width) * wide + LEAST_COST * narrow;

/** One vector of scalars with its bases. Ranges begin and end on the grid, or at the end. */
export interface PartShape {
  readonly part: Part;
  /** length of the vector */
  readonly rows: number;
  /**
   * The grid of this key: every piece begins and ends on multiples, or at the end, so that what a node holds of the
   * bases is still of use when the fleet has changed.
   */
  readonly cellRows: number;
  /** sums that are made of the vector, in each group */
  readonly sums: Rates;
  /** bytes of the bases of one row */
  readonly baseBytes: number;
  /** Points with a uniform scalar that rows [from, to) are worth, over all sums of a group. */
  work(from: number, to: number, bits?: Extent): Rates;
  /** Bytes of the scalars of rows [from, to). */
  bytes(from: number, to: number, bits?: Extent): number;
}

/** A cell of the grid: some thousandth of the vector, small enough for a slow node, large enough to be worth a trip. */
export const cellRowsOf = (rows: number): number =>
  Math.min(8192, Math.max(256, 2 ** Math.ceil(Math.log2(Math.max(1, rows) / 1024))));

export interface WiresOptions {
  readonly rows: number;
  /** first private wire: those before it have no base in C */
  readonly privateFrom: number;
  readonly cellRows?: number;
  /** Do the constraints make this wire a bit? By default none is. */
  readonly isBit?: (row: number) => boolean;
  /** Has this wire a base in B1 and B2 that is not the point at infinity? By default each has. */
  readonly inB?: (row: number) => boolean;
  /** The same in A. */
  readonly inA?: (row: number) => boolean;
}

/**
 * Sums over cells, so that a range costs two look-ups. `count` adds what a row has to `totals`, one after the other; the
 * result says how much of the n-th total a range has.
 */
function prefixSums(
  { rows, cellRows }: Pick<PartShape, 'rows' | 'cellRows'>,
  totals: number,
  count: (row: number, totals: Float64Array) => void,
) {
  const cells = Math.ceil(rows / cellRows);
  const sums = new Float64Array((cells + 1) * totals);
  const running = new Float64Array(totals);
  for (let cell = 0; cell < cells; cell++) {
    const end = Math.min(rows, (cell + 1) * cellRows);
    for (let row = cell * cellRows; row < end; row++) count(row, running);
    sums.set(running, (cell + 1) * totals);
  }
  const cellAt = (row: number): number => {
    if (row === rows) return cells;
    if (!(row >= 0 && row < rows) || row % cellRows !== 0)
      throw new RangeError(`row: expected a multiple of ${cellRows} up to ${rows}, got ${row}`);
    return row / cellRows;
  };
  return (index: number, from: number, to: number): number =>
    sums[cellAt(to) * totals + index]! - sums[cellAt(from) * totals + index]!;
}

const checkRows = (rows: number, cellRows: number) => {
  if (!Number.isSafeInteger(rows) || rows < 1) throw new RangeError(`rows: expected at least 1, got ${rows}`);
  if (!Number.isSafeInteger(cellRows) || cellRows < 1)
    throw new RangeError(`cellRows: expected at least 1, got ${cellRows}`);
};

/** The witness, with the four sums that it serves. Looks at every wire once. */
export function wiresShape(options: WiresOptions): PartShape {
  const { rows, privateFrom, isBit = () => false, inA = () => true, inB = () => true } = options;
  const cellRows = options.cellRows ?? cellRowsOf(rows);
  checkRows(rows, cellRows);
  // Bases in G1, bases in G2, rows: of wires that are not bits, then of those that are.
  const [G1, G2, ROWS, OF_BITS] = [0, 1, 2, 3];
  const sum = prefixSums({ rows, cellRows }, 6, (row, totals) => {
    const kind = isBit(row) ? OF_BITS : 0;
    const b = Number(inB(row));
    totals[kind + G1]! += Number(inA(row)) + b + Number(row >= privateFrom);
    totals[kind + G2]! += b;
    totals[kind + ROWS]! += 1;
  });
  return {
    part: 'wires',
    rows,
    cellRows,
    sums: { g1: 3, g2: 1 },
    baseBytes: 3 * POINT_BYTES.G1 + POINT_BYTES.G2,
    work: (from, to, bits = ALL_BITS) => {
      const inGroup = (group: number) =>
        worthOf(sum(group, from, to), sum(OF_BITS + group, from, to), widthOf(bits));
      return { g1: inGroup(G1), g2: inGroup(G2) };
    },
    // As protocols/msm.ts packs them: which are wide, the bits, the wide ones.
    bytes: (from, to, bits = ALL_BITS) => {
      const [wide, narrow] = [sum(ROWS, from, to), sum(OF_BITS + ROWS, from, to)];
      const map = narrow > 0 ? Math.ceil((to - from) / 8) : 0;
      return map + (bits.from === 0 ? Math.ceil(narrow / 8) : 0) + (wide * bits.count) / 8;
    },
  };
}

/** The quotient: H alone, every scalar uniform. */
export function quotientShape(options: { readonly rows: number; readonly cellRows?: number }): PartShape {
  const { rows } = options;
  const cellRows = options.cellRows ?? cellRowsOf(rows);
  checkRows(rows, cellRows);
  const sum = prefixSums({ rows, cellRows }, 1, (_, totals) => {
    totals[0]! += 1;
  });
  return {
    part: 'quotient',
    rows,
    cellRows,
    sums: { g1: 1, g2: 0 },
    baseBytes: POINT_BYTES.G1,
    work: (from, to, bits = ALL_BITS) => ({ g1: sum(0, from, to) * costOf(widthOf(bits)), g2: 0 }),
    bytes: (from, to, bits = ALL_BITS) => Math.ceil((sum(0, from, to) * bits.count) / 8),
  };
}

/** Bits of the range that a scalar of the field can have set. */
export const widthOf = ({ from, count }: Extent): number => Math.max(0, Math.min(count, FIELD_BITS - from));

/** How long one sum takes that is worth so many points with whole scalars, its own being `width` bits wide. */
export function sumMs(points: number, width: number, rate: number): number {
  if (points === 0 || width <= 0) return 0;
  // As many points with scalars of this width would be worth the same; the buckets of its windows come on top.
  const short = points / costOf(width);
  return (1000 * (LEAST_COST * short + (1 - LEAST_COST) * ratedPoints(short, width))) / rate;
}

/** How long a node computes a range: the additions that it takes, by the node's rates. */
export function computeMs(
  shape: PartShape,
  { from, count, bits }: Omit<Rectangle, 'part'>,
  rates: Rates,
): number {
  const width = widthOf(bits);
  const work = shape.work(from, from + count, bits);
  const inGroup = (points: number, sums: number, rate: number) =>
    sums === 0 ? 0 : sums * sumMs(points / sums, width, rate);
  return inGroup(work.g1, shape.sums.g1, rates.g1) + inGroup(work.g2, shape.sums.g2, rates.g2);
}

/** How long the scalars are on their way, and the bases where the node has none yet. */
export const transferMs = (
  shape: PartShape,
  { from, count, bits }: Omit<Rectangle, 'part'>,
  { bytesPerSecond, resident }: { readonly bytesPerSecond: number; readonly resident: boolean },
): number =>
  (1000 * (shape.bytes(from, from + count, bits) + (resident ? 0 : count * shape.baseBytes))) /
  bytesPerSecond;
