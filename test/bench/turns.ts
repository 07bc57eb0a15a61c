/** Two programs measured in turns on the same files, so that what else the machine does meets both. */
import { type BenchContext, RUNS } from './result.ts';
import { median, timed } from './statistics.ts';

/** Medians of `RUNS` runs of each in turns, after one of each that does not count; each pair's results are checked. */
export async function alternate<A, B>(
  name: string,
  ours: () => Promise<A>,
  theirs: () => Promise<B>,
  check: (ours: A, theirs: B) => boolean | Promise<boolean>,
  { say, signal }: BenchContext,
): Promise<{ ours: number; theirs: number }> {
  const samples = { ours: [] as number[], theirs: [] as number[] };
  for (let run = 0; run <= RUNS; run++) {
    signal.throwIfAborted();
    const mine = await timed(ours);
    const its = await timed(theirs);
    if (!(await check(mine.value, its.value))) throw new Error(`${name}: the result is wrong`);
    if (run === 0) continue;
    samples.ours.push(mine.ms);
    samples.theirs.push(its.ms);
  }
  const result = { ours: median(samples.ours), theirs: median(samples.theirs) };
  say(`${name}: ${result.ours.toFixed(0)} ms, ${result.theirs.toFixed(0)} ms`);
  return result;
}
