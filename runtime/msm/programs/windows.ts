/** How wide the windows of a sum are, by the count of its additions, and which tables beside its points go with them. Pure. */

/** Wider windows' buckets outgrow the cache; narrower ones save nothing. */
const WINDOW_BITS = { min: 4, max: 16 };

/**
 * Bits per window with the fewest additions: one per point in each window and two per bucket of each set. With `levels`
 * tables so many windows share a set of buckets.
 */
export function windowBits(count: number, levels = 1): number {
  const cost = (bits: number) =>
    windowCount(bits) * count + Math.ceil(windowCount(bits) / levels) * 2 * 2 ** (bits - 1);
  let best = WINDOW_BITS.min;
  for (let bits = best + 1; bits <= WINDOW_BITS.max; bits++) if (cost(bits) < cost(best)) best = bits;
  return best;
}
/** Scalars are below 2^253.6; the highest digit has no sign and may not pass 2^(bits - 1). */
export const windowCount = (bits: number): number => Math.ceil((254.6 - bits) / bits) + 1;

/**
 * Tables beside a key's points: level l has 2^(bits sets l) times each point, so that windows of `sets` sets share
 * buckets: window w is set w modulo `sets` of level w / `sets`.
 */
export interface Tables {
  readonly levels: number;
  readonly bits: number;
  readonly sets: number;
}
/** Tables for sums of `count` points, at most `wanted`; fewer where the windows divide better. */
export const tablesOf = (count: number, wanted: number): Tables => {
  const bits = windowBits(count, wanted);
  const sets = Math.ceil(windowCount(bits) / wanted);
  return { levels: Math.ceil(windowCount(bits) / sets), bits, sets };
};
