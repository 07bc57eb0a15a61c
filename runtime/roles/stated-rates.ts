/**
 * What a worker says of its rates: as it has measured itself when it started, corrected by what its sums take. Pure. Only sums over
 * H count, because all scalars of H are uniform, as those are that rates are measured with.
 *
 * A coordinator chooses sums and scalars, so it can make a worker say too much or too little, within the bounds of `correctedFactor`.
 */
import type { Shard } from '../../protocols/msm.ts';
import { type Rates, sumMs, widthOf } from '../msm/shards/work.ts';
import { correctedFactor } from './track-record.ts';

/** Shorter sums say little of a rate: threads, messages and the clock are in them. */
const TELLING_MS = 10;
/** Of the difference, as an exponent: less than a coordinator takes, which corrects what it hears as well. */
const CORRECTED_PART = 1 / 4;

export function createStatedRates(measured: Rates) {
  let factor = 1;
  const said = (): Rates => ({ g1: measured.g1 * factor, g2: measured.g2 * factor });
  return {
    said,
    /** The sums of a shard took so many milliseconds. */
    summed({ bases, bits }: Pick<Shard, 'bases' | 'bits'>, ms: number): void {
      const [only, ...others] = bases;
      if (only?.section !== 'H' || others.length > 0) return;
      const expectedMs = sumMs(only.count, widthOf(bits), said().g1);
      if (Math.min(expectedMs, ms) >= TELLING_MS)
        factor = correctedFactor(factor, expectedMs, ms, CORRECTED_PART);
    },
  };
}
export type StatedRates = ReturnType<typeof createStatedRates>;
