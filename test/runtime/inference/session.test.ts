import { classNames, preprocessingOf } from '../../../circuits/model/dictionary.ts';
import { preprocess } from '../../../circuits/model/preprocessing.ts';
import { evaluate, type QuantisedModel, quantise, randomFeatures } from '../../../circuits/model/quantise.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { sampleData } from '../../../runtime/demo/sample.ts';
import { train } from '../../../runtime/demo/trainer.ts';
import { serveModel } from '../../../runtime/inference/session.ts';
import { CREDIT, readCreditData } from '../../../runtime/models/credit-data.ts';
import { split } from '../../../runtime/models/labelled-rows.ts';
import { smallModel } from '../../circuits/model-fixture.ts';
import { assert, suite, type TestContext } from '../../harness.ts';

const test = suite('inference');

async function compare(t: TestContext, model: QuantisedModel, rows: Int32Array[]): Promise<void> {
  const served = await serveModel(model);
  t.defer(() => served.close());
  assert.is(served.provider, 'wasm');
  const answers = await served.answer(rows);
  for (const [r, row] of rows.entries()) assert.equal(answers[r], evaluate(model, row), `row ${r}`);
}

test('serves the demonstration model bit for bit, on every test row', async (t) => {
  const { train: seen, test: held } = split(readCreditData(sampleData(1)), CREDIT);
  const preprocessing = preprocessingOf(CREDIT);
  const features = seen.map(({ cells }) => preprocess(preprocessing, cells));
  const network = train({ features, labels: seen.map(({ label }) => label) }, classNames(CREDIT).length);
  const model = quantise(network, { dictionary: CREDIT, calibration: features });
  await compare(
    t,
    model,
    held.map(({ cells }) => preprocess(preprocessing, cells)),
  );
});

test('serves every shape bit for bit, on random rows', async (t) => {
  for (const shape of [
    { units: [3, 3, 3, 4], seed: 2 },
    { units: [4, 3, 1], decision: 'sign', seed: 3 },
    { units: [4, 3], seed: 4 },
  ] as const) {
    const model = smallModel(shape);
    await compare(t, model, randomFeatures(model.architecture, 500));
  }
});

test('serves exactly at the edge of what float32 holds', async (t) => {
  // Greatest weights on the greatest features: accumulators close to 2^24, of both signs and all remainders.
  const columns = Array.from({ length: 4 }, (_, i) => ({
    kind: 'integer' as const,
    name: `x${i}`,
    low: -32_000,
    high: 32_000,
  }));
  const layer = (inputs: number, outputs: number, relu: boolean) => ({
    inputs,
    outputs,
    weights: Float64Array.from({ length: inputs * outputs }, (_, i) => (i % 3 === 0 ? -1 : 1 - i / 1000)),
    bias: Float64Array.from({ length: outputs }, (_, j) => j / 7),
    relu,
  });
  const model = quantise(
    { inputs: 4, layers: [layer(4, 3, true), layer(3, 2, false)], decision: 'argmax' },
    {
      preprocessing: { columns },
      classes: ['a', 'b'],
      calibration: [Int32Array.of(300, 300, 300, 300)].map((row) => row.map((x) => x * 100)),
    },
  );
  assert.ok(model.architecture.layers[0]!.accumulator > 2 ** 23);
  const corners = Array.from({ length: 81 }, (_, n) =>
    Int32Array.from({ length: 4 }, (_, i) => ((Math.floor(n / 3 ** i) % 3) - 1) * 32_000 + (n % 3) - 1).map(
      (x) => Math.max(-32_000, Math.min(32_000, x)),
    ),
  );
  await compare(t, model, [...corners, ...randomFeatures(model.architecture, 500)]);
});

test('refuses rows that do not fit, and goes on serving', async (t) => {
  const model = smallModel({ units: [4, 3, 2] });
  const served = await serveModel(model);
  t.defer(() => served.close());
  const good = Int32Array.of(1, 2, 3, 4);
  for (const rows of [
    [],
    [Int32Array.of(1, 2, 3)],
    [good, Int32Array.of(1, 2, 3, 13)],
    [Float64Array.of(1, 2, 3, 0.5)],
  ]) {
    try {
      await served.answer(rows);
    } catch (error) {
      assert.ok(error instanceof VouchError && error.code === 'bad-input');
      continue;
    }
    assert.unreachable('a bad row was served');
  }
  const answers = await Promise.all(Array.from({ length: 20 }, () => served.answer([good])));
  for (const [answer] of answers) assert.equal(answer, evaluate(model, good));
});

test.run();
