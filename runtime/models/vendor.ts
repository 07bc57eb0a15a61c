/**
 * The vendor's part: from labelled rows, and anybody's ONNX file, to a committed model with a test set. What the
 * vendor keeps lies in `.vouch/models`. The demonstration's own model comes from its trainer and takes the same way.
 */
import { classOrder, inClassOrder } from '../../circuits/model/class-order.ts';
import { type CommittedModel, decodeSecret, encodeSecret, randomSalt } from '../../circuits/model/commit.ts';
import {
  classNames,
  type Dictionary,
  featureNames,
  preprocessingOf,
} from '../../circuits/model/dictionary.ts';
import { type FloatModel, modelOf, readGraph } from '../../circuits/model/graph.ts';
import { meanDistance, median, type NumberLabel } from '../../circuits/model/numbers.ts';
import { readOnnx } from '../../circuits/model/onnx.ts';
import { preprocess } from '../../circuits/model/preprocessing.ts';
import { decideMany, type QuantiseOptions, quantise } from '../../circuits/model/quantise.ts';
import { quantiseTensorModel } from '../../circuits/model/tensor-model.ts';
import type { TensorSample } from '../../circuits/model/tensor-values.ts';
import { countRight, rowCounts, type TestSet } from '../../circuits/model/test-set.ts';
import { equal } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { readIfThere, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';
import { type LabelledRow, split, writeLabelled } from './labelled-rows.ts';
import { testSetOf, usefulThreshold } from './test-sets.ts';

const MIN_ROWS = 20;

/** Where the test rows of a model lie, as they were written. */
export const testFile = (model: string): string => folder('models', `${model}.test.data`);

export interface VendorModel {
  readonly model: CommittedModel;
  readonly testSet: TestSet;
  /** the test rows as a client has them */
  readonly examples: readonly (readonly string[])[];
  /** number of rows that decided the preprocessing and the quantisation's steps */
  readonly calibrated: number;
  /** test rows that the quantised model answers rightly, to the step where answers are numbers: the vendor's count, not a proof */
  readonly correct: number;
  /** what a constant answer scores */
  readonly baseline: number;
  /** how far answers that are numbers are off on average, and the best constant answer, in the label's unit */
  readonly error?: { readonly model: number; readonly constant: number };
  /** a threshold worth proving */
  readonly threshold: number;
}

/** What a vendor may choose of how a model becomes integers. */
export type QuantiseChoice = Pick<QuantiseOptions, 'bits' | 'topology'>;

/** Throws `bad-file` when there is too little to train on and to test with. */
export function checkRows(rows: readonly LabelledRow[], dictionary: Dictionary): void {
  const { test } = split(rows, dictionary);
  const lacking = classNames(dictionary).filter((_, label) => !test.some((row) => row.label === label));
  const same = dictionary.label.number && new Set(test.map(({ label }) => label)).size < 2;
  if (rows.length >= MIN_ROWS && lacking.length === 0 && !same) return;
  throw new VouchError(
    'bad-file',
    `data: expected at least ${MIN_ROWS} rows, with rows of ${dictionary.label.number ? 'different labels' : 'each class'} to test, got ${rows.length}${lacking.length > 0 ? ` and none of ${lacking.join(', ')}` : ''}`,
  );
}

/** The rows to train on, as features, and those to test with. Throws as `checkRows` does. */
export function partition(rows: readonly LabelledRow[], dictionary: Dictionary) {
  checkRows(rows, dictionary);
  const { train: training, test } = split(rows, dictionary);
  const preprocessing = preprocessingOf(dictionary);
  return {
    test,
    labels: training.map(({ label }) => label),
    features: training.map(({ cells }) => preprocess(preprocessing, cells)),
  };
}

/**
 * Quantises and commits to an ONNX file for rows that a dictionary describes. Throws `bad-file`, `bad-input`: among them
 * that the file calls its classes otherwise than the dictionary does.
 */
export async function commitOnnx(
  name: string,
  onnx: Uint8Array,
  rows: readonly LabelledRow[],
  dictionary: Dictionary,
  options: QuantiseChoice = {},
): Promise<VendorModel> {
  const { test, features } = partition(rows, dictionary);
  const quantised = quantise(networkFor(onnx, dictionary), { ...options, dictionary, calibration: features });
  const model = await withSalt(name, { ...quantised, salt: randomSalt() });
  const testSet = testSetOf(test, model.architecture);
  const answers = decideMany(model, testSet.features);
  const { number } = model.architecture;
  await writeWhole(folder('models', `${name}.onnx`), onnx);
  await writeWhole(testFile(name), writeLabelled(test, dictionary));
  return {
    model,
    testSet,
    examples: test.map(({ cells }) => cells),
    calibrated: features.length,
    correct: countRight(testSet, answers),
    ...(number ? { error: errorOf(answers, testSet.labels, number.label) } : {}),
    baseline: rowCounts(testSet).constant,
    threshold: usefulThreshold(testSet),
  };
}

function errorOf(answers: readonly number[], labels: readonly number[], { step }: NumberLabel) {
  const constant = median(labels);
  return {
    model: meanDistance(answers, labels) * Number(step),
    constant:
      meanDistance(
        labels.map(() => constant),
        labels,
      ) * Number(step),
  };
}

/** A committed model whose answers are numbers, and how far they were from the file's own on the samples. */
export async function commitTensors(
  name: string,
  onnx: Uint8Array,
  samples: readonly TensorSample[],
  bits?: number,
): Promise<{ readonly model: CommittedModel; readonly error: number }> {
  const { error, ...quantised } = quantiseTensorModel(readOnnx(onnx), samples, bits);
  const model = await withSalt(name, { ...quantised, salt: randomSalt() });
  await writeWhole(folder('models', `${name}.onnx`), onnx);
  return { model, error };
}

/** The network of a file, its outputs in the dictionary's order. Throws `bad-file`, `bad-input`. */
function networkFor(onnx: Uint8Array, dictionary: Dictionary): FloatModel {
  const reading = readGraph(readOnnx(onnx), { features: featureNames(dictionary).length });
  const network = modelOf(reading);
  const order = classOrder(reading.classes, dictionary, network.decision);
  if (typeof order === 'string') throw new VouchError('bad-input', `ONNX model: ${order}`);
  return inClassOrder(network, order);
}

/** The salt is kept with the vendor's copy of the model, so that the same model keeps its commitment. */
async function withSalt(name: string, model: CommittedModel): Promise<CommittedModel> {
  const file = folder('models', `${name}.secret`);
  const bytes = readIfThere(file, 'model');
  if (bytes !== undefined) {
    try {
      const kept = decodeSecret(model.architecture, bytes);
      if (equal(encodeSecret({ ...model, salt: kept.salt }), encodeSecret(kept)))
        return { ...model, salt: kept.salt };
    } catch {
      // Another architecture, or a damaged file: a new model then, with a salt of its own.
    }
  }
  await writeWhole(file, encodeSecret(model));
  return model;
}
