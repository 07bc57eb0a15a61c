/**
 * GENERATED data for the scenario `marketing`: 6000 invented calls in the format of Bank Marketing's file with coded
 * categories. They describe nobody, and what a model learns from them says nothing about banks.
 *
 * Categories are drawn with the weights below, numbers as low + (high - low) * u^skew. What a call is worth is the sum of the
 * effects of its cells, of one interaction (a long call weighs more where an earlier one sold something) and of noise; the best
 * ninth is labelled 1.
 */
import { seededRandom } from '../models/random.ts';

const ROWS = 6000;
const SOLD = 680;
const NOISE = 0.35;

type Draw =
  | { readonly cells: Readonly<Record<string, readonly [weight: number, effect: number]>> }
  | {
      readonly low: number;
      readonly high: number;
      readonly skew: number;
      readonly effect: number;
      readonly digits: number;
    };

/** Equal weights and no effect. */
const even = (from: number, to: number): Draw => ({
  cells: Object.fromEntries(
    Array.from({ length: to - from + 1 }, (_, i) => [String(from + i), [1, 0] as const]),
  ),
});
const number = (low: number, high: number, skew: number, effect: number, digits = 0): Draw => ({
  low,
  high,
  skew,
  effect,
  digits,
});

/** By column, in order. */
const DRAWS: readonly Draw[] = [
  number(17, 98, 1.6, 0.2),
  { cells: { '1.': [10, 0], '2': [9, -0.2], '5': [3, 0.5], '8': [4, 0.4], '9': [1, 0], '10': [7, 0] } },
  even(-1, 2),
  even(-1, 6),
  { cells: { '-1': [9, -0.3], '0': [33, 0] } },
  even(-1, 1),
  even(-1, 1),
  { cells: { '0': [15, -0.5], '1': [26, 0.3] } },
  {
    cells: {
      '3': [1, 1],
      '5': [14, -0.6],
      '6': [5, 0],
      '7': [7, 0],
      '8': [6, 0],
      '10': [1, 0.8],
      '11': [4, 0],
    },
  },
  even(1, 5),
  number(0, 3000, 4, 6),
  number(1, 20, 4, -0.6),
  { cells: { '999': [40, 0], '3': [1, 1.2], '6': [1, 1] } },
  { cells: { '0': [36, 0], '1': [5, 0.2], '2': [1, 0.4] } },
  { cells: { '-1': [36, 0], '0': [4, 0], '1': [2, 1.5] } },
  number(-3.4, 1.4, 0.7, -0.8, 1),
  number(92.2, 94.7, 1, 0, 3),
  number(-50.8, -26.9, 1, 0.1, 1),
  number(0.63, 5.04, 0.6, -1, 3),
  number(4963.6, 5228.1, 0.7, -0.6, 1),
];
const DURATION = 10;
const OUTCOME = 14;
const LONG_AFTER_SUCCESS = 2;

/** The text of the file for a seed, an unsigned 32-bit integer. */
export function bankSample(seed: number): string {
  const random = seededRandom(seed);
  const rows = Array.from({ length: ROWS }, () => {
    let worth = NOISE * random.normal();
    let duration = 0;
    let succeeded = false;
    const cells = DRAWS.map((draw, c) => {
      if ('cells' in draw) {
        const [cell, effect] = pick(draw.cells, random.uniform());
        worth += effect;
        if (c === OUTCOME) succeeded = cell === '1';
        return cell;
      }
      const position = random.uniform() ** draw.skew;
      worth += draw.effect * position;
      if (c === DURATION) duration = position;
      return (draw.low + (draw.high - draw.low) * position).toFixed(draw.digits);
    });
    if (succeeded) worth += LONG_AFTER_SUCCESS * duration;
    return { cells, worth };
  });
  const limit = rows.map(({ worth }) => worth).sort((a, b) => b - a)[SOLD]!;
  return rows.map(({ cells, worth }) => `${cells.join(',')},${worth > limit ? 1 : 0}\n`).join('');
}

/** The cell that u, uniform in [0, 1), falls on, and its effect. */
function pick(
  cells: Readonly<Record<string, readonly [weight: number, effect: number]>>,
  u: number,
): [string, number] {
  const all = Object.entries(cells);
  let rest = u * all.reduce((sum, [, [weight]]) => sum + weight, 0);
  for (const [cell, [weight, effect]] of all) {
    rest -= weight;
    if (rest < 0) return [cell, effect];
  }
  const [cell, [, effect]] = all.at(-1)!;
  return [cell, effect];
}
