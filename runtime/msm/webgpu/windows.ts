/**
 * How scalars are cut into windows, for the least work: `windows` of `bits`, `sets` bucket sets, `levels` multiples per
 * point, the one at level l being 2^(bits * sets * l) P. More levels are memory for fewer buckets; with as many as there are
 * windows all share one bucket set.
 */

export interface Windows {
  readonly bits: number;
  readonly windows: number;
  readonly sets: number;
  readonly levels: number;
}

/** Scalars are below 2^254, and the highest window must take a carry without making one. */
const SCALAR_BITS = 255;
const MIN_BITS = 3;
const MAX_BITS = 20;
/** Additions per bucket in the reduction; one more bucket is about as much work as two points. */
const REDUCTION = 2;

export interface WindowLimits {
  /** multiples per point that the table may have, at least 1 */
  readonly levels: number;
  /** buckets of all sets */
  readonly buckets: number;
}

export function planWindows(count: number, limits: WindowLimits): Windows {
  let best: (Windows & { work: number }) | undefined;
  for (let bits = MIN_BITS; bits <= MAX_BITS; bits++) {
    const windows = Math.ceil(SCALAR_BITS / bits);
    const sets = Math.ceil(windows / Math.min(windows, limits.levels));
    const levels = Math.ceil(windows / sets);
    const buckets = sets * 2 ** (bits - 1);
    if (buckets > limits.buckets) continue;
    const work = count * windows + REDUCTION * buckets;
    if (!best || work < best.work) best = { bits, windows, sets, levels, work };
  }
  if (!best) throw new RangeError(`no windows fit into ${limits.buckets} buckets`);
  const { work: _, ...windows } = best;
  return windows;
}

/** Buckets of all sets. */
export const bucketsOf = ({ bits, sets }: Windows): number => sets * 2 ** (bits - 1);
