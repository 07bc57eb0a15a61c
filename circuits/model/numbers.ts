/**
 * Models that answer a number. A label is a whole number of public steps; so is an answer, and whether it is within so many
 * steps of a label is decided on integers.
 *
 *   answer = floor(a * steps / outputs + 1/2), then not less than `low` and not more than `high`
 *
 * where a is the model's only output, and `outputs` of it are worth `steps` steps of the label: a fraction, because weights
 * of a few bits have a scale of their own. For one label the answers that are near enough are those of the outputs between
 * two integers, which everybody can compute (`outputsWithin`): that is what a circuit compares with.
 */
import { z } from 'zod';
import { VouchError } from '../../protocols/errors.ts';
import { parseDecimal, preprocess } from './preprocessing.ts';

/** float32 represents every integer up to this exactly. */
const EXACT = 2 ** 24;

export const NumberLabel = z.strictObject({
  low: z.int().describe('in steps; lower answers become this one'),
  high: z.int().describe('in steps; higher answers become this one'),
  step: z
    .string()
    .regex(/^[0-9]{1,9}(\.[0-9]{1,9})?$/, 'expected a decimal such as 0.01')
    .describe('what labels and answers are whole multiples of'),
});
export type NumberLabel = z.infer<typeof NumberLabel>;

/** `outputs` of a model's output are worth `steps` steps of its label. */
export const OutputScale = z.strictObject({
  outputs: z.int().min(1).max(EXACT),
  steps: z.int().min(1).max(EXACT),
});
export type OutputScale = z.infer<typeof OutputScale>;

/** What turns an output into an answer. */
export interface NumberEnd {
  readonly label: NumberLabel;
  readonly scale: OutputScale;
}

/** A cell of the label's column in steps. Throws `bad-input`, which names the column. */
export const stepsOf = (name: string, label: NumberLabel, cell: string): number =>
  preprocess({ columns: [{ kind: 'decimal', name, ...label }] }, [cell])[0]!;

/** So many steps as a decimal: 1234 of 0.01 are 12.34. */
export function decimalOf(steps: number, { step }: Pick<NumberLabel, 'step'>): string {
  const [whole = '', fraction = ''] = step.split('.');
  const units = BigInt(steps) * BigInt(whole + fraction);
  const digits = (units < 0n ? -units : units).toString().padStart(fraction.length + 1, '0');
  const at = digits.length - fraction.length;
  const sign = units < 0n ? '-' : '';
  return fraction === '' ? `${sign}${digits}` : `${sign}${digits.slice(0, at)}.${digits.slice(at)}`;
}

/** A distance that a person names, in steps. Throws `bad-input` where it is no whole number of them. */
export function distanceOf(text: string, { low, high, step }: NumberLabel, field: string): number {
  const given = parseDecimal(text);
  const unit = parseDecimal(step)!;
  const [above, below] = given ? [given.value * unit.unit, given.unit * unit.value] : [-1n, 1n];
  if (above < 0n || above % below !== 0n || above / below > BigInt(high - low))
    throw new VouchError(
      'bad-input',
      `${field}: expected a multiple of ${step}, the step of the label, up to ${decimalOf(high - low, { step })}, got ${JSON.stringify(text.slice(0, 40))}`,
    );
  return Number(above / below);
}

const clamped = (steps: number, { low, high }: NumberLabel): number => Math.max(low, Math.min(high, steps));

/** floor(a / b) and ceil(a / b) for b > 0. */
const floor = (a: bigint, b: bigint): bigint => (a >= 0n ? a / b : -((b - 1n - a) / b));
const ceil = (a: bigint, b: bigint): bigint => -floor(-a, b);

/** The answer that an output stands for, in steps. */
export function answerFrom(output: number, { label, scale }: NumberEnd): number {
  const [p, q] = [BigInt(scale.outputs), BigInt(scale.steps)];
  return clamped(Number(floor(2n * BigInt(output) * q + p, 2n * p)), label);
}

/** The answer that a number in the label's own unit stands for: of a model in floating point. */
export function answerOfFloat(value: number, label: NumberLabel): number {
  return clamped(Math.floor(value / Number(label.step) + 0.5), label);
}

/**
 * The outputs from `low` to `high` whose answers are at most `within` steps from `right`, of all outputs from -bound to
 * bound; where there are none, low > high. Neither is further out than bound + 1.
 */
export function outputsWithin(
  right: number,
  within: number,
  { label, scale }: NumberEnd,
  bound: number,
): { readonly low: number; readonly high: number } {
  const [p, q] = [BigInt(scale.outputs), BigInt(scale.steps)];
  const least = BigInt(right - within);
  const most = BigInt(right + within);
  // Lower answers than the least become that one, so that it has no end below; and likewise above.
  const low = right - within <= label.low ? -bound : Number(ceil(p * (2n * least - 1n), 2n * q));
  const high = right + within >= label.high ? bound : Number(ceil(p * (2n * most + 1n), 2n * q)) - 1;
  return {
    low: Math.max(-bound, Math.min(bound + 1, low)),
    high: Math.min(bound, Math.max(-bound - 1, high)),
  };
}

/** Of a scale of more bits nobody would see the difference. */
const SCALE_BITS = 20;
/** of `outputs` at least: with fewer the answers would be off by their own rounding */
const LEAST_BITS = 12;

/** The scale of a model whose output gains so much with each step. Throws `bad-input` where that is too little. */
export function scaleFrom(perStep: number): OutputScale {
  let power = Math.max(0, Math.min(24, SCALE_BITS - Math.ceil(Math.log2(perStep))));
  let outputs = Math.round(perStep * 2 ** power);
  if (!(outputs >= 2 ** LEAST_BITS || power < 24) || outputs > EXACT)
    throw new VouchError(
      'bad-input',
      `model: ${outputs > EXACT ? "the label's step is too coarse" : "the label's step is finer than its integers can tell"}; use ${outputs > EXACT ? 'a smaller' : 'a larger'} step in the dictionary`,
    );
  while (power > 0 && outputs % 2 === 0) {
    outputs /= 2;
    power--;
  }
  return { outputs, steps: 2 ** power };
}

/** How many labels at most lie within so many steps of one constant answer. */
export function bestConstant(labels: readonly number[], within: number): number {
  const sorted = labels.toSorted((a, b) => a - b);
  let from = 0;
  return sorted.reduce((most, label, i) => {
    while (label - sorted[from]! > 2 * within) from++;
    return Math.max(most, i - from + 1);
  }, 0);
}

/** Mean distance in steps. */
export const meanDistance = (answers: readonly number[], labels: readonly number[]): number =>
  answers.reduce((sum, answer, row) => sum + Math.abs(answer - labels[row]!), 0) / labels.length;

/** The constant answer with the least mean distance. */
export const median = (labels: readonly number[]): number =>
  labels.toSorted((a, b) => a - b)[Math.floor(labels.length / 2)]!;

/** What is wrong with a label that is a number; undefined: nothing. */
export function numberProblem({ low, high, step }: NumberLabel): string | undefined {
  if (low >= high) return 'expected low < high';
  if (Math.max(-low, high) >= EXACT) return 'expected a range within 2^24 steps';
  return /[1-9]/.test(step) ? undefined : 'expected a step above 0';
}
