/**
 * A plain trainer for the demonstration and the scenarios: a multilayer perceptron with one hidden layer, or none, softmax
 * and cross entropy, Adam (Kingma and Ba 2015) on minibatches with decoupled weight decay. Seeded and deterministic.
 * It is not a training library: what it makes leaves as ONNX and is treated like anybody's file.
 */
import { classNames } from '../../circuits/model/dictionary.ts';
import { type DenseLayer, type DenseNetwork, onnxFromNetwork } from '../../circuits/model/network.ts';
import { writeOnnx } from '../../circuits/model/onnx-writer.ts';
import { CREDIT } from '../models/credit-data.ts';
import type { LabelledRow } from '../models/labelled-rows.ts';
import { type Random, seededRandom } from '../models/random.ts';
import { partition } from '../models/vendor.ts';

export interface TrainingOptions {
  readonly seed: number;
  readonly hidden: number;
  readonly epochs: number;
  readonly batch: number;
  readonly learningRate: number;
  /** fraction of each weight (not bias) lost per step, times the learning rate */
  readonly weightDecay: number;
  /** probability that a hidden unit is left out of a training step */
  readonly dropout: number;
}

const DEFAULT_TRAINING: TrainingOptions = {
  seed: 1,
  hidden: 8,
  epochs: 40,
  batch: 32,
  learningRate: 0.003,
  weightDecay: 0.1,
  dropout: 0.4,
};

export interface LabelledFeatures {
  readonly features: readonly ArrayLike<number>[];
  readonly labels: readonly number[];
}

/** Trains the demonstration's model and returns it as the bytes of an ONNX file. Throws `bad-file` for too few rows. */
export function trainOnnx(rows: readonly LabelledRow[]): Uint8Array {
  const { features, labels } = partition(rows, CREDIT);
  return writeOnnx(onnxFromNetwork(train({ features, labels }, classNames(CREDIT).length)));
}

/**
 * Trains on integer features. Each feature is divided by its greatest absolute value while training; the
 * division is folded into the first layer afterwards, so that the network takes the features as they are.
 */
export function train(
  data: LabelledFeatures,
  classes: number,
  options: Partial<TrainingOptions> = {},
): DenseNetwork {
  const o = { ...DEFAULT_TRAINING, ...options };
  const inputs = data.features[0]?.length ?? 0;
  if (inputs === 0 || data.features.length !== data.labels.length) {
    throw new RangeError(
      `train: expected one label per row, got ${data.features.length} rows, ${data.labels.length} labels`,
    );
  }
  const random = seededRandom(o.seed);
  const scale = featureScale(data.features, inputs);
  const rows = data.features.map((row) => Float64Array.from(row, (x, i) => x * scale[i]!));
  const hidden = trainable(inputs, o.hidden, random);
  const output = trainable(o.hidden, classes, random);
  const order = rows.map((_, i) => i);
  const z = new Float64Array(o.hidden);
  const h = new Float64Array(o.hidden);
  const kept = new Float64Array(o.hidden);
  const dh = new Float64Array(o.hidden);
  const p = new Float64Array(classes);
  let step = 0;
  const steps = o.epochs * Math.ceil(order.length / o.batch);
  for (let epoch = 0; epoch < o.epochs; epoch++) {
    random.shuffle(order);
    for (let start = 0; start < order.length; start += o.batch) {
      const batch = order.slice(start, start + o.batch);
      for (const r of batch) {
        const x = rows[r]!;
        forward(hidden, x, z);
        for (let j = 0; j < o.hidden; j++) {
          kept[j] = o.dropout > 0 && random.uniform() < o.dropout ? 0 : 1 / (1 - o.dropout);
          h[j] = Math.max(0, z[j]!) * kept[j]!;
        }
        forward(output, h, p);
        softmax(p);
        p[data.labels[r]!]! -= 1;
        backward(output, h, p, dh);
        for (let j = 0; j < o.hidden; j++) dh[j] = z[j]! > 0 ? dh[j]! * kept[j]! : 0;
        backward(hidden, x, dh, undefined);
      }
      step++;
      const rate = o.learningRate * (1 - step / (steps + 1));
      for (const layer of [hidden, output]) adam(layer, batch.length, step, rate, o.weightDecay);
    }
  }
  for (let j = 0; j < o.hidden; j++)
    for (let i = 0; i < inputs; i++) hidden.weights.value[j * inputs + i]! *= scale[i]!;
  return { inputs, layers: [dense(hidden, true), dense(output, false)], decision: 'argmax' };
}

interface Moments {
  readonly value: Float64Array;
  readonly gradient: Float64Array;
  readonly first: Float64Array;
  readonly second: Float64Array;
  readonly decays: boolean;
}

interface Trainable {
  readonly inputs: number;
  readonly outputs: number;
  readonly weights: Moments;
  readonly bias: Moments;
}

const moments = (size: number, decays: boolean): Moments => ({
  value: new Float64Array(size),
  gradient: new Float64Array(size),
  first: new Float64Array(size),
  second: new Float64Array(size),
  decays,
});

/** He initialisation. */
function trainable(inputs: number, outputs: number, random: Random): Trainable {
  const layer = { inputs, outputs, weights: moments(inputs * outputs, true), bias: moments(outputs, false) };
  const deviation = Math.sqrt(2 / inputs);
  for (let i = 0; i < layer.weights.value.length; i++) layer.weights.value[i] = random.normal() * deviation;
  return layer;
}

function featureScale(rows: readonly ArrayLike<number>[], inputs: number): Float64Array {
  const greatest = new Float64Array(inputs).fill(1);
  for (const row of rows)
    for (let i = 0; i < inputs; i++) greatest[i] = Math.max(greatest[i]!, Math.abs(row[i]!));
  return greatest.map((value) => 1 / value);
}

function forward({ inputs, outputs, weights, bias }: Trainable, x: Float64Array, y: Float64Array): void {
  for (let j = 0; j < outputs; j++) {
    let sum = bias.value[j]!;
    for (let i = 0; i < inputs; i++) sum += weights.value[j * inputs + i]! * x[i]!;
    y[j] = sum;
  }
}

/** Adds this row's gradient, and writes the gradient with respect to `x` into `dx` where it is wanted. */
function backward(layer: Trainable, x: Float64Array, dy: Float64Array, dx: Float64Array | undefined): void {
  const { inputs, outputs, weights, bias } = layer;
  dx?.fill(0);
  for (let j = 0; j < outputs; j++) {
    const g = dy[j]!;
    if (g === 0) continue;
    bias.gradient[j]! += g;
    for (let i = 0; i < inputs; i++) {
      weights.gradient[j * inputs + i]! += g * x[i]!;
      if (dx) dx[i]! += g * weights.value[j * inputs + i]!;
    }
  }
}

function softmax(z: Float64Array): void {
  const top = z.reduce((a, b) => Math.max(a, b));
  let sum = 0;
  for (let i = 0; i < z.length; i++) sum += z[i] = Math.exp(z[i]! - top);
  for (let i = 0; i < z.length; i++) z[i]! /= sum;
}

/** One Adam step with the usual decay rates 0.9 and 0.999; clears the gradients. */
function adam(layer: Trainable, rows: number, step: number, rate: number, decay: number): void {
  const correctFirst = 1 - 0.9 ** step;
  const correctSecond = 1 - 0.999 ** step;
  for (const { value, gradient, first, second, decays } of [layer.weights, layer.bias]) {
    for (let i = 0; i < value.length; i++) {
      const g = gradient[i]! / rows;
      gradient[i] = 0;
      first[i] = 0.9 * first[i]! + 0.1 * g;
      second[i] = 0.999 * second[i]! + 0.001 * g * g;
      const update = first[i]! / correctFirst / (Math.sqrt(second[i]! / correctSecond) + 1e-8);
      value[i]! -= rate * (update + (decays ? decay * value[i]! : 0));
    }
  }
}

const dense = (layer: Trainable, relu: boolean): DenseLayer => ({
  inputs: layer.inputs,
  outputs: layer.outputs,
  weights: layer.weights.value,
  bias: layer.bias.value,
  relu,
});

/**
 * A logistic regression, trained in the same way without a hidden layer. For two classes it leaves as one output and a
 * sigmoid, as exporters write it.
 */
export function trainLogistic(
  data: LabelledFeatures,
  classes: number,
  options: Partial<TrainingOptions> = {},
): DenseNetwork {
  const o = { ...DEFAULT_TRAINING, ...options };
  const inputs = data.features[0]?.length ?? 0;
  const random = seededRandom(o.seed);
  const scale = featureScale(data.features, inputs);
  const rows = data.features.map((row) => Float64Array.from(row, (x, i) => x * scale[i]!));
  const layer = trainable(inputs, classes, random);
  layer.weights.value.fill(0);
  const order = rows.map((_, i) => i);
  const p = new Float64Array(classes);
  let step = 0;
  const steps = o.epochs * Math.ceil(order.length / o.batch);
  for (let epoch = 0; epoch < o.epochs; epoch++) {
    random.shuffle(order);
    for (let start = 0; start < order.length; start += o.batch) {
      const batch = order.slice(start, start + o.batch);
      for (const r of batch) {
        forward(layer, rows[r]!, p);
        softmax(p);
        p[data.labels[r]!]! -= 1;
        backward(layer, rows[r]!, p, undefined);
      }
      step++;
      adam(layer, batch.length, step, o.learningRate * (1 - step / (steps + 1)), o.weightDecay);
    }
  }
  for (let j = 0; j < classes; j++)
    for (let i = 0; i < inputs; i++) layer.weights.value[j * inputs + i]! *= scale[i]!;
  if (classes > 2) return { inputs, layers: [dense(layer, false)], decision: 'argmax' };
  const { weights, bias } = dense(layer, false);
  const margin: DenseLayer = {
    inputs,
    outputs: 1,
    weights: Float64Array.from({ length: inputs }, (_, i) => weights[inputs + i]! - weights[i]!),
    bias: Float64Array.of(bias[1]! - bias[0]!),
    relu: false,
  };
  return { inputs, layers: [margin], decision: 'sign' };
}
