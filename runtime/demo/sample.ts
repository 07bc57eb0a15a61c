/**
 * The demonstration's own data: 1000 invented credit applications in the format of `german.data`, made by the
 * seeded generator below, so that the demonstration needs no download. They describe nobody, and what a model
 * learns from them says nothing about credit.
 *
 * Per row, in column order: a category is drawn with the weights given, a number is low + (high - low) * u^skew
 * rounded down, u uniform. The risk is the sum of the effects of its cells, of numbers scaled to 0..1, of one
 * interaction (a long duration weighs more without a checking account) and of noise. The 300 riskiest rows
 * are labelled 2 (bad), the others 1 (good).
 */
import { CREDIT } from '../models/credit-data.ts';
import { seededRandom } from '../models/random.ts';

type Draw =
  /** one weight and one effect per category of the attribute, in its order */
  | { readonly weights: readonly number[]; readonly effects: readonly number[] }
  | { readonly low: number; readonly high: number; readonly skew: number; readonly effect: number };

/** By attribute, in column order. */
const DRAWS: readonly Draw[] = [
  { weights: [27, 27, 6, 40], effects: [1, 0.5, -0.2, -1] },
  { low: 4, high: 73, skew: 2, effect: 1.8 },
  { weights: [4, 5, 53, 9, 29], effects: [1, 0.9, 0, 0, -0.7] },
  {
    weights: [23, 10, 18, 28, 1, 2, 5, 0, 1, 10, 2],
    effects: [0.4, -0.8, 0, -0.3, 0, 0.3, 0.5, 0, -0.4, 0, 0],
  },
  { low: 250, high: 18_500, skew: 3, effect: 1.2 },
  { weights: [60, 10, 6, 5, 19], effects: [0.3, 0.2, -0.2, -0.7, -0.5] },
  { weights: [6, 17, 34, 18, 25], effects: [0.3, 0.4, 0, -0.5, -0.2] },
  { low: 1, high: 5, skew: 0.7, effect: 0.5 },
  { weights: [5, 31, 55, 9, 0], effects: [0.3, 0.2, -0.2, 0, 0] },
  { weights: [91, 4, 5], effects: [0, 0.4, -0.8] },
  { low: 1, high: 5, skew: 0.8, effect: 0 },
  { weights: [28, 23, 33, 16], effects: [-0.3, 0, 0, 0.4] },
  { low: 19, high: 75, skew: 1.7, effect: -0.7 },
  { weights: [14, 5, 81], effects: [0.4, 0.4, -0.1] },
  { weights: [18, 71, 11], effects: [0.3, -0.2, 0.2] },
  { low: 1, high: 5, skew: 2.5, effect: 0.2 },
  { weights: [2, 20, 63, 15], effects: [0, 0, 0, 0.1] },
  { low: 1, high: 3, skew: 2.6, effect: 0 },
  { weights: [60, 40], effects: [0, -0.2] },
  { weights: [96, 4], effects: [0, -0.9] },
];
const ROWS = 1000;
const BAD = 300;
const NOISE = 0.6;
const LONG_WITHOUT_ACCOUNT = 1.5;

/** The text of the sample file for a seed (an unsigned 32-bit integer). */
export function sampleData(seed: number): string {
  const random = seededRandom(seed);
  const rows = Array.from({ length: ROWS }, () => {
    let risk = NOISE * random.normal();
    let duration = 0;
    let account = '';
    const cells = DRAWS.map((draw, c) => {
      if ('weights' in draw) {
        const index = pick(draw.weights, random.uniform());
        risk += draw.effects[index]!;
        const cell = categoriesOf(c)[index]!;
        if (c === 0) account = cell;
        return cell;
      }
      const position = random.uniform() ** draw.skew;
      risk += draw.effect * position;
      if (c === 1) duration = position;
      return String(Math.floor(draw.low + (draw.high - draw.low) * position));
    });
    if (account === 'A11') risk += LONG_WITHOUT_ACCOUNT * duration;
    return { cells, risk };
  });
  const limit = rows.map(({ risk }) => risk).sort((a, b) => b - a)[BAD]!;
  return rows.map(({ cells, risk }) => `${cells.join(' ')} ${risk > limit ? 2 : 1}\n`).join('');
}

const categoriesOf = (c: number): readonly string[] => {
  const column = CREDIT.columns[c]!;
  return column.kind === 'category' ? column.categories : [];
};

/** The index that u, uniform in [0, 1), falls on. */
function pick(weights: readonly number[], u: number): number {
  let rest = u * weights.reduce((a, b) => a + b, 0);
  for (const [index, weight] of weights.entries()) {
    rest -= weight;
    if (rest < 0) return index;
  }
  return weights.length - 1;
}
