import { existsSync, readFileSync } from 'node:fs';
import { classNames, preprocessingOf } from '../../../circuits/model/dictionary.ts';
import { networkFromOnnx } from '../../../circuits/model/graph.ts';
import { onnxFromNetwork } from '../../../circuits/model/network.ts';
import { readOnnx } from '../../../circuits/model/onnx.ts';
import { writeOnnx } from '../../../circuits/model/onnx-writer.ts';
import { preprocess } from '../../../circuits/model/preprocessing.ts';
import { decideMany, quantise } from '../../../circuits/model/quantise.ts';
import { sampleData } from '../../../runtime/demo/sample.ts';
import { train } from '../../../runtime/demo/trainer.ts';
import { CREDIT, readCreditData } from '../../../runtime/models/credit-data.ts';
import { split } from '../../../runtime/models/labelled-rows.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('demonstration model');
const GERMAN = new URL('../../../../shared/data/german.data', import.meta.url);

/** Data to quantised model as the demonstration makes it; correct answers on the 300 rows it never saw. */
function correctOf(text: string, seed: number): number {
  const { train: seen, test: held } = split(readCreditData(text), CREDIT);
  const preprocessing = preprocessingOf(CREDIT);
  const features = seen.map(({ cells }) => preprocess(preprocessing, cells));
  const network = train({ features, labels: seen.map(({ label }) => label) }, classNames(CREDIT).length, {
    seed,
  });
  const model = quantise(networkFromOnnx(readOnnx(writeOnnx(onnxFromNetwork(network)))), {
    dictionary: CREDIT,
    calibration: features,
  });
  const decisions = decideMany(
    model,
    held.map(({ cells }) => preprocess(preprocessing, cells)),
  );
  return decisions.filter((decision, i) => decision === held[i]!.label).length;
}

/** 210 of the 300 test rows are good risks. */
const CONSTANT = 210;
const MARGIN = 9;

test('on the sample it beats a constant answer by far', () => {
  const correct = correctOf(sampleData(1), 1);
  assert.ok(correct >= CONSTANT + 5 * MARGIN, `${correct} of 300`);
});

test('on German Credit it beats a constant answer by 3 points, whatever seed it is trained with', (t) => {
  if (!existsSync(GERMAN)) t.skip('no ../shared/data/german.data');
  const text = readFileSync(GERMAN, 'utf8');
  for (const seed of [1, 2, 3]) {
    const correct = correctOf(text, seed);
    assert.ok(correct >= CONSTANT + MARGIN, `${correct} of 300 with seed ${seed}`);
  }
});

test('training is deterministic', () => {
  const features = Array.from({ length: 40 }, (_, r) => Int32Array.of(r % 5, r % 3, r % 2));
  const labels = features.map((row) => (row[0]! > 2 ? 1 : 0));
  const options = { hidden: 3, epochs: 5 };
  assert.equal(train({ features, labels }, 2, options), train({ features, labels }, 2, options));
  assert.not.equal(
    train({ features, labels }, 2, { ...options, seed: 2 }),
    train({ features, labels }, 2, options),
  );
  assert.throws(
    () => train({ features, labels: [0] }, 2),
    (error: unknown) => error instanceof RangeError,
  );
});

test.run();
