/**
 * The vendor's part: from labelled rows, and anybody's ONNX file, to a committed model with a test set. What the
 * vendor keeps lies in `.vouch/models`. The demonstration's own model comes from its trainer and takes the same way.
 */
import { type CommittedModel, decodeSecret, encodeSecret, randomSalt } from '../../circuits/model/commit.ts';
import { networkFromOnnx } from '../../circuits/model/graph.ts';
import { readOnnx } from '../../circuits/model/onnx.ts';
import { preprocess } from '../../circuits/model/preprocessing.ts';
import { decideMany, quantise } from '../../circuits/model/quantise.ts';
import { rowCounts, type TestSet } from '../../circuits/model/test-set.ts';
import { equal } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { readIfThere, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';
import { CREDIT_CLASSES, type CreditRow, creditPreprocessing, split } from './credit-data.ts';
import { testSetOf, usefulThreshold } from './test-sets.ts';

/** Seed of the split into rows to train on and rows to test with. */
const SPLIT_SEED = 1;
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
  /** test rows that the quantised model classifies correctly: the vendor's count, not a proof */
  readonly correct: number;
  /** what a constant answer scores */
  readonly baseline: number;
  /** a threshold worth proving */
  readonly threshold: number;
}

/** Throws `bad-file` when there is too little to train on and to test with. */
export function checkRows(rows: readonly CreditRow[]): void {
  const { test } = split(rows, SPLIT_SEED);
  const both = CREDIT_CLASSES.every((_, label) => test.some((row) => row.label === label));
  if (rows.length >= MIN_ROWS && both) return;
  throw new VouchError(
    'bad-file',
    `data: expected at least ${MIN_ROWS} rows, of both classes, got ${rows.length}`,
  );
}

/**
 * 70 % of the rows to train on, the others to test with, and how the former say a row becomes features. Throws as
 * `checkRows` does.
 */
export function partition(rows: readonly CreditRow[]) {
  checkRows(rows);
  const { train: training, test } = split(rows, SPLIT_SEED);
  const preprocessing = creditPreprocessing(training);
  return {
    test,
    preprocessing,
    labels: training.map(({ label }) => label),
    features: training.map(({ cells }) => preprocess(preprocessing, cells)),
  };
}

/**
 * Quantises and commits to an ONNX file for rows of this format; its features are those of
 * `creditPreprocessing` over the training rows. Throws `bad-file`, `bad-input`.
 */
export async function commitOnnx(
  name: string,
  onnx: Uint8Array,
  rows: readonly CreditRow[],
): Promise<VendorModel> {
  const { test, preprocessing, features } = partition(rows);
  const quantised = quantise(networkFromOnnx(readOnnx(onnx)), {
    preprocessing,
    classes: CREDIT_CLASSES,
    calibration: features,
  });
  const model = await withSalt(name, { ...quantised, salt: randomSalt() });
  const testSet = testSetOf(test, model.architecture);
  await writeWhole(folder('models', `${name}.onnx`), onnx);
  await writeWhole(
    testFile(name),
    test.map(({ cells, label }) => `${[...cells, label + 1].join(' ')}\n`).join(''),
  );
  return {
    model,
    testSet,
    examples: test.map(({ cells }) => cells),
    calibrated: features.length,
    correct: decideMany(model, testSet.features).filter((got, i) => got === testSet.labels[i]).length,
    baseline: rowCounts(testSet).constant,
    threshold: usefulThreshold(testSet),
  };
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
