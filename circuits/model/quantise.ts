/**
 * From a float network to integers, and the integers' reference arithmetic: what `evaluate` computes is what
 * the server serves and what the circuit proves, bit for bit. See architecture.ts for the formulas.
 *
 * One power-of-two step per layer and one scale per layer: simple to prove, at a small cost in accuracy that
 * calibration keeps small. The public bit widths and shifts reveal the rough size of the hidden parameters
 * and activations, nothing finer.
 */
import { VouchError } from '../../protocols/errors.ts';
import {
  type Architecture,
  architectureDocument,
  EXACT,
  type LayerShape,
  layerBounds,
  outputRanges,
  parseArchitecture,
  ROUNDING,
} from './architecture.ts';
import { classNames, type Dictionary, preprocessingOf } from './dictionary.ts';
import type { FloatModel } from './graph.ts';
import type { DenseLayer } from './network.ts';
import { answerFrom, scaleFrom } from './numbers.ts';
import { featureRanges, type Preprocessing, type Range } from './preprocessing.ts';
import { quantiseTensors } from './quantise-tensors.ts';
import { tensorValues } from './tensors.ts';
import { quantiseTrees, type TreeParameters, treeSums } from './trees.ts';

/** The hidden half of a model, per layer. */
export interface Parameters {
  readonly layers: readonly LayerParameters[];
  readonly trees?: TreeParameters | undefined;
}

export interface LayerParameters {
  /** outputs x inputs, row-major */
  readonly weights: Int32Array;
  readonly bias: Int32Array;
}

export interface QuantisedModel {
  readonly architecture: Architecture;
  readonly parameters: Parameters;
}

/** What a model's data are: a dictionary, or columns and class names alone, which give a model of version 1. */
export type DataOfModel =
  | { readonly dictionary: Dictionary }
  | { readonly preprocessing: Preprocessing; readonly classes: readonly string[] };

export type QuantiseOptions = DataOfModel & {
  /** of a weight, 2 to 8; default: WEIGHT_BITS */
  readonly bits?: number | undefined;
  /** features of rows like those to come (training rows), which decide the shifts */
  readonly calibration: readonly ArrayLike<number>[];
  /** of trees: whether their shapes are public, instead of being filled up */
  readonly topology?: boolean | undefined;
};

/** of a weight, unless fewer are asked for: each costs a constraint */
const WEIGHT_BITS = 8;
/** A hidden value is scaled so that its greatest one while calibrating fits this many bits. */
const ACTIVATION_BITS = 8;
/** Of the 2^24, what a layer's weights leave to its bias and rounding. */
const BIAS_ROOM = 2 ** 20;

/**
 * Quantises a network. Throws `bad-input` when the network does not fit the preprocessing or the classes,
 * or when a bound that has to hold for every parameter of the chosen widths reaches 2^24.
 */
export function quantise(network: FloatModel, options: QuantiseOptions): QuantisedModel {
  const { calibration, bits = WEIGHT_BITS } = options;
  const dictionary = 'dictionary' in options ? options.dictionary : undefined;
  const { preprocessing, classes } =
    'dictionary' in options
      ? { preprocessing: preprocessingOf(options.dictionary), classes: classNames(options.dictionary) }
      : options;
  let ranges: readonly Range[] = featureRanges(preprocessing);
  const label = dictionary?.label.number;
  if ((network.decision === 'number') !== (label !== undefined))
    throw new VouchError(
      'bad-input',
      'model: expected one output without a Sigmoid exactly where the label of the dictionary is a number',
    );
  /** `perUnit`: by how much the output rises with one unit of the label */
  const numberEnd = (perUnit: number) =>
    label && { number: { label, scale: scaleFrom(perUnit * Number(label.step)) } };
  const rest = {
    preprocessing,
    rounding: ROUNDING,
    decision: network.decision,
    classes: [...classes],
  } as const;
  if (network.inputs !== ranges.length) {
    throw new VouchError(
      'bad-input',
      `model: it takes ${network.inputs} features, the preprocessing gives ${ranges.length}`,
    );
  }
  if ('trees' in network) {
    if (!dictionary) throw new RangeError('quantise: expected a dictionary for trees');
    const { shape, parameters, scale } = quantiseTrees(network, ranges, options);
    const document = architectureDocument({
      version: 2,
      dictionary,
      ...rest,
      layers: [],
      trees: shape,
      ...numberEnd(scale),
    });
    return { architecture: parseArchitecture(document), parameters: { layers: [], trees: parameters } };
  }
  if (calibration.length === 0) throw new RangeError('quantise: expected at least one calibration row');
  if ('operations' in network) {
    if (!dictionary) throw new RangeError('quantise: expected a dictionary for tensors');
    const { operations, parameters, exponent } = quantiseTensors(network, {
      bits,
      ranges,
      exponent: 0,
      calibration,
    });
    const document = architectureDocument({
      version: 2,
      dictionary,
      ...rest,
      layers: [],
      tensors: operations,
      ...numberEnd(2 ** exponent),
    });
    return { architecture: parseArchitecture(document), parameters: { layers: parameters } };
  }
  const shapes: LayerShape[] = [];
  const parameters: LayerParameters[] = [];
  let rows = calibration.map((row) => Int32Array.from(row));
  // What one integer step of this layer's inputs is worth in the float network.
  let unit = 1;
  network.layers.forEach((layer, l) => {
    const scale =
      label && l === network.layers.length - 1 ? endScale(layer, bits, unit) : weightScale(layer, bits);
    const weights = Int32Array.from(layer.weights, (w) => Math.round(w * scale));
    const exactBias = Array.from(layer.bias, (b) => Math.round((b * scale) / unit));
    const biasBits = bitsFor(exactBias, l);
    const values = { weights, bias: Int32Array.from(exactBias) };
    const sums = rows.map((row) => accumulate(layer, values, row));
    const hidden = l < network.layers.length - 1;
    const widths = { weightBits: bits, biasBits, shift: hidden ? calibratedShift(sums) : 0 };
    // The next layer's bound holds for all parameters, so many wide units need a coarser step than calibration asks for.
    while (
      hidden &&
      nextWeightSums(layer.outputs, layerBounds(widths, ranges).output, bits) > EXACT - BIAS_ROOM
    ) {
      widths.shift++;
    }
    const bounds = layerBounds(widths, ranges);
    if (bounds.accumulator >= EXACT) {
      throw new VouchError(
        'bad-input',
        `model: layer ${l + 1}: a sum may reach ${bounds.accumulator}, beyond the 2^24 that float32 holds exactly; ` +
          'use fewer inputs or smaller feature ranges',
      );
    }
    const shape: LayerShape = { inputs: layer.inputs, outputs: layer.outputs, ...widths, ...bounds };
    shapes.push(shape);
    parameters.push(values);
    if (!hidden) {
      unit /= scale;
      return;
    }
    rows = sums.map((row) => row.map((a) => requantise(a, shape.shift)));
    unit = (unit * 2 ** shape.shift) / scale;
    ranges = outputRanges(shape);
  });
  const architecture = parseArchitecture(
    architectureDocument({
      version: dictionary ? 2 : 1,
      dictionary,
      ...rest,
      layers: shapes,
      ...numberEnd(1 / unit),
    }),
  );
  return { architecture, parameters: { layers: parameters } };
}

/** The least shift, 1 or more, after which the greatest of these sums fits its bits. */
function calibratedShift(rows: readonly Int32Array[]): number {
  const greatest = rows.reduce((most, row) => row.reduce((a, b) => Math.max(a, b), most), 1);
  return Math.max(1, Math.ceil(Math.log2((greatest + 1) / 2 ** ACTIVATION_BITS)));
}

const nextWeightSums = (inputs: number, greatest: number, bits: number): number =>
  inputs * greatest * 2 ** (bits - 1);

/**
 * The greatest scale at which every weight fits its width; a power of two where all weights are integers at it: those of a
 * model that was quantised so before stay what they were.
 */
function weightScale({ weights }: DenseLayer, bits: number): number {
  const own = ownScale(weights, bits);
  if (own !== undefined) return own;
  const greatest = weights.reduce((a, w) => Math.max(a, Math.abs(w)), 0);
  return greatest > 0 ? (2 ** (bits - 1) - 1) / greatest : 1;
}

/** Of a last layer whose output is a number: a bias far beyond the weights makes them coarser. */
function endScale(layer: DenseLayer, bits: number, unit: number): number {
  const furthest = layer.bias.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  return Math.min(weightScale(layer, bits), furthest > 0 ? (unit * (2 ** 22 - 1)) / furthest : Infinity);
}

function ownScale(weights: DenseLayer['weights'], bits: number): number | undefined {
  let [low, high] = [0, 0];
  for (const w of weights) {
    low = Math.min(low, w);
    high = Math.max(high, w);
  }
  if (low === high) return undefined;
  const most = 2 ** (bits - 1);
  // The greatest k with -low 2^k <= 2^(bits-1) and high 2^k < 2^(bits-1).
  let power = Math.floor(Math.log2(most / Math.max(-low, high)));
  if (high * 2 ** power > most - 1) power--;
  const scale = 2 ** power;
  return weights.every((w) => Number.isInteger(w * scale)) ? scale : undefined;
}

/** Bits of a signed bias, in steps of 4 from 8, so that the public width says little about it. */
function bitsFor(bias: readonly number[], layer: number): number {
  const greatest = bias.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  for (let bits = 8; bits <= 24; bits += 4) if (greatest < 2 ** (bits - 1)) return bits;
  throw new VouchError(
    'bad-input',
    `model: layer ${layer + 1}: a bias is too large beside the weights to be quantised`,
  );
}

export interface Answer {
  /** index of the class; a number in steps where the answer is one */
  readonly decision: number;
  /** one per class; with decision `sign` [0, a], with `number` [a]; of `tensor` the outputs */
  readonly logits: Int32Array;
}

/** The reference integer arithmetic. `features` has to be in the architecture's ranges (RangeError). */
export function evaluate({ architecture, parameters }: QuantisedModel, features: ArrayLike<number>): Answer {
  const ranges = featureRanges(architecture.preprocessing);
  if (features.length !== ranges.length) {
    throw new RangeError(`evaluate: expected ${ranges.length} features, got ${features.length}`);
  }
  let values: Int32Array = Int32Array.from(features);
  ranges.forEach(({ low, high }, i) => {
    const x = features[i]!;
    if (!Number.isInteger(x) || x < low || x > high) {
      throw new RangeError(`evaluate: feature ${i}: expected an integer in ${low}..${high}, got ${x}`);
    }
  });
  const { tensors } = architecture;
  if (tensors) values = tensorValues(tensors, parameters.layers, values).at(-1)!;
  if (architecture.trees) values = treeSums(architecture.trees, parameters.trees!, ranges, values);
  architecture.layers.forEach((shape, l) => {
    values = accumulate(shape, parameters.layers[l]!, values);
    if (shape.shift > 0) values = values.map((a) => requantise(a, shape.shift));
  });
  return answerOf(architecture, values);
}

/** The answer that the last layer's accumulators stand for. */
export function answerOf({ decision, number }: Architecture, accumulators: Int32Array): Answer {
  if (number) return { decision: answerFrom(accumulators[0]!, number), logits: accumulators };
  if (decision === 'tensor') return { decision: 0, logits: accumulators };
  const logits = decision === 'sign' ? Int32Array.of(0, accumulators[0]!) : accumulators;
  return { decision: argmax(logits), logits };
}

/** Rows of features anywhere in their ranges, to compare an implementation with `evaluate`. */
export function randomFeatures({ preprocessing }: Architecture, rows: number): Int32Array[] {
  const ranges = featureRanges(preprocessing);
  return Array.from({ length: rows }, () =>
    Int32Array.from(ranges, ({ low, high }) => low + Math.floor(Math.random() * (high - low + 1))),
  );
}

export const decideMany = (model: QuantisedModel, rows: readonly ArrayLike<number>[]): number[] =>
  rows.map((features) => evaluate(model, features).decision);

/** The index of the greatest value, the lowest on a tie. */
function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

/** W x + b, below 2^24 in absolute value by the architecture's bound. */
function accumulate(
  { inputs, outputs }: { inputs: number; outputs: number },
  { weights, bias }: LayerParameters,
  x: Int32Array,
): Int32Array {
  const sums = new Int32Array(outputs);
  for (let j = 0; j < outputs; j++) {
    let sum = bias[j]!;
    for (let i = 0; i < inputs; i++) sum += weights[j * inputs + i]! * x[i]!;
    sums[j] = sum;
  }
  return sums;
}

/** max(0, floor((a + 2^(k-1)) * 2^-k)), 1 <= k; an arithmetic shift is a floor. */
const requantise = (a: number, k: number): number => Math.max(0, (a + 2 ** (k - 1)) >> k);
