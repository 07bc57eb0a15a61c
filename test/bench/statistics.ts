/** Order statistics of measurements, and the clock. */

/** The sample at quantile `q` (0..1) by the nearest rank: always one that was measured. */
export function quantile(samples: readonly number[], q: number): number {
  if (samples.length === 0) throw new RangeError('quantile: expected at least one sample');
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)]!;
}

/** The sample in the middle; the mean of the two in the middle for an even number. */
export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const high = sorted[middle];
  if (high === undefined) throw new RangeError('median: expected at least one sample');
  return sorted.length % 2 === 1 ? high : (sorted[middle - 1]! + high) / 2;
}

/** Runs `work` and tells how many milliseconds it took. */
export async function timed<T>(work: () => Promise<T>): Promise<{ value: T; ms: number }> {
  const began = performance.now();
  const value = await work();
  return { value, ms: performance.now() - began };
}
