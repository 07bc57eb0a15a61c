/**
 * Which sums of a proof a host's threads make while its GPU makes the others. Pure: rates in, sections out.
 *
 * H stays on the GPU, where its scalars are made. Scalars count as uniform, although a witness often is not: sparse
 * ones make all sections but H cheaper, on both sides. What a key's proofs really take corrects the rates for that key.
 */
import { type Group, SECTION_GROUP, SECTIONS, type Section } from '../../circuits/groth16/engine.ts';
import { type KeyShape, sectionCounts } from '../../circuits/groth16/zkey.ts';
import { type Rates, ratedPoints } from './shards/work.ts';

/** The rate that sums of a section go by. */
const RATE_OF = { G1: 'g1', G2: 'g2' } as const satisfies Record<Group, keyof Rates>;

const MOVABLE = SECTIONS.filter((section) => section !== 'H');

/** The choice after which both sides are done first; of equal ones that with the least on the threads. */
export function sectionsForThreads(shape: KeyShape, gpu: Rates, threads: Rates): ReadonlySet<Section> {
  const counts = sectionCounts(shape);
  const seconds = (sections: readonly Section[], rates: Rates) =>
    sections.reduce((sum, section) => sum + counts[section] / rates[RATE_OF[SECTION_GROUP[section]]], 0);
  let best: { readonly chosen: readonly Section[]; readonly time: number; readonly own: number } | undefined;
  for (let mask = 0; mask < 2 ** MOVABLE.length; mask++) {
    const chosen = MOVABLE.filter((_, index) => (mask >> index) & 1);
    const own = seconds(chosen, threads);
    const rest = seconds(
      SECTIONS.filter((section) => !chosen.some((mine) => mine === section)),
      gpu,
    );
    const time = Math.max(own, rest);
    if (!best || time < best.time || (time === best.time && own < best.own)) best = { chosen, time, own };
  }
  return new Set(best?.chosen);
}

/** How long each side of a proof took. */
export interface Spent {
  readonly gpu: number;
  readonly threads: number;
}
export type SideRates = Readonly<Record<keyof Spent, Rates>>;

/**
 * Rates that explain half of how far a proof's times were from what these rates say: proofs are the real work, and a single
 * one may be an odd one. `chosen` were the threads' sections, times are in milliseconds; a side that had none learns nothing.
 */
export function correctedRates(
  shape: KeyShape,
  rates: SideRates,
  chosen: ReadonlySet<Section>,
  spent: Spent,
): SideRates {
  const counts = sectionCounts(shape);
  const corrected = (side: keyof Spent): Rates => {
    const own = SECTIONS.filter((section) => chosen.has(section) === (side === 'threads'));
    const expected = own.reduce(
      (sum, section) => sum + (1000 * counts[section]) / rates[side][RATE_OF[SECTION_GROUP[section]]],
      0,
    );
    const factor = expected > 0 && spent[side] > 0 ? Math.sqrt(expected / spent[side]) : 1;
    return { g1: rates[side].g1 * factor, g2: rates[side].g2 * factor };
  };
  return { gpu: corrected('gpu'), threads: corrected('threads') };
}

/** What measured rates end with: long enough to say something, short enough for a start. */
const ENOUGH_MS = 25;
const BITS = { first: 10, last: 18, step: 2 };

/** Sums of the last size, of which the fastest counts: others may have had the cores. */
const RUNS = 3;

/**
 * Multiplies ever more points until it takes a while; the rates are those of sums of 2^16 (shards/work.ts), however many that were.
 * `multiply` makes one sum of 2^bits points of the group and rejects when it is wrong.
 */
export async function measureRates(
  multiply: (group: Group, bits: number) => Promise<unknown>,
  now: () => number = () => performance.now(),
): Promise<Rates> {
  const timed = async (group: Group, bits: number): Promise<number> => {
    const began = now();
    await multiply(group, bits);
    return now() - began;
  };
  const measure = async (group: Group): Promise<number> => {
    for (let bits = BITS.first; ; bits += BITS.step) {
      // The first of each size may compile, upload and grow.
      await multiply(group, bits);
      let ms = await timed(group, bits);
      if (ms < ENOUGH_MS && bits + BITS.step <= BITS.last) continue;
      for (let run = 1; run < RUNS; run++) ms = Math.min(ms, await timed(group, bits));
      return (1000 * ratedPoints(2 ** bits)) / ms;
    }
  };
  return { g1: await measure('G1'), g2: await measure('G2') };
}
