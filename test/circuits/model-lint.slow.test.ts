/** 10^5 damaged ONNX files through lint: our own writer's, real exports, and ONNX's own cases where they are there. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { preprocessingOf } from '../../circuits/model/dictionary.ts';
import { onnxFromNetwork } from '../../circuits/model/network.ts';
import { writeOnnx } from '../../circuits/model/onnx-writer.ts';
import { boost, onnxFromTrees } from '../../runtime/demo/boosting.ts';
import { sampleData } from '../../runtime/demo/sample.ts';
import { train, trainLogistic } from '../../runtime/demo/trainer.ts';
import { CREDIT, readCreditData } from '../../runtime/models/credit-data.ts';
import { testSetFor } from '../../runtime/models/test-sets.ts';
import { partition } from '../../runtime/models/vendor.ts';
import { suite } from '../harness.ts';
import { lintMutants } from './lint-mutants.ts';

const test = suite('lint of damaged files', { timeoutMs: 570_000 });

const MUTANTS = 100_000;
const EXPORTS = new URL('../../../shared/data/exports/', import.meta.url);
const CASES = new URL('../../../shared/data/onnx/', import.meta.url);

const held = partition(readCreditData(sampleData(1)), CREDIT);
const training = { features: held.features, labels: held.labels };
const own = new Map(
  Object.entries({
    logistic: onnxFromNetwork(trainLogistic(training, 2, { epochs: 1 })),
    mlp: onnxFromNetwork(train(training, 2, { epochs: 1 })),
    trees: onnxFromTrees(boost(training, { trees: 4 })),
  }).map(([name, graph]) => [name, writeOnnx(graph)] as const),
);

test('our own files, with rows: a few rows, so that most of the time is the reading', () => {
  const calibration = held.features.slice(0, 5);
  const rows = { calibration, testSet: testSetFor(held.test.slice(0, 5), preprocessingOf(CREDIT)) };
  lintMutants(own, { mutants: MUTANTS / 4, seed: 1, data: { dictionary: CREDIT, rows } });
});

test('our own files, without rows', () => {
  lintMutants(own, { mutants: MUTANTS / 4, seed: 2 });
});

test('exports of scikit-learn, XGBoost and torch, and cases of ONNX', (t) => {
  if (!existsSync(EXPORTS) || !existsSync(CASES)) t.skip('no ../shared/data');
  const read = (folder: URL, names: string[]) =>
    names.map((name) => [name, new Uint8Array(readFileSync(new URL(name, folder)))] as const);
  const files = new Map([
    ...read(
      EXPORTS,
      readdirSync(EXPORTS).filter((name) => name.endsWith('.onnx')),
    ),
    ...read(
      CASES,
      readdirSync(CASES)
        .filter((name) => name.startsWith('test_'))
        .map((name) => `${name}/model.onnx`),
    ),
  ]);
  lintMutants(files, { mutants: MUTANTS / 2, seed: 3 });
});

test.run();
