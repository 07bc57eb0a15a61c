/** Numbers as answers: steps, scales, and which outputs are near enough to a label. */
import { architectureDocument, parseArchitecture } from '../../circuits/model/architecture.ts';
import { labelOf, labelText, parseDictionary } from '../../circuits/model/dictionary.ts';
import { modelOf, readGraph } from '../../circuits/model/graph.ts';
import { lintModel } from '../../circuits/model/lint.ts';
import { onnxFromNetwork } from '../../circuits/model/network.ts';
import {
  answerFrom,
  answerOfFloat,
  bestConstant,
  decimalOf,
  distanceOf,
  type NumberEnd,
  type OutputScale,
  outputsWithin,
  scaleFrom,
} from '../../circuits/model/numbers.ts';
import { readOnnx } from '../../circuits/model/onnx.ts';
import { writeOnnx } from '../../circuits/model/onnx-writer.ts';
import { evaluate } from '../../circuits/model/quantise.ts';
import { checkTestSet, rowCounts } from '../../circuits/model/test-set.ts';
import { VouchError } from '../../protocols/errors.ts';
import { describeTable } from '../../runtime/models/describe.ts';
import { readLabelled, split, writeLabelled } from '../../runtime/models/labelled-rows.ts';
import { seededRandom } from '../../runtime/models/random.ts';
import { assert, suite } from '../harness.ts';
import { rowsFor, smallModel, smallNetwork } from './model-fixture.ts';
import { numbersDictionary, PRICE, smallNumbers } from './numbers-fixture.ts';
import { graph, node, tensor } from './onnx-fixture.ts';
import { listed } from './trees-fixture.ts';

const test = suite('numbers');

const refuses = (work: () => unknown, text: RegExp): void =>
  assert.throws(
    work,
    (error: unknown) => error instanceof VouchError && error.code === 'bad-input' && text.test(error.message),
  );

test('steps and decimals are exact both ways', () => {
  assert.is(labelOf(numbersDictionary(1), '-12.35'), -247);
  assert.is(decimalOf(-247, PRICE), '-12.35');
  assert.is(decimalOf(-1, { step: '0.05' }), '-0.05');
  assert.is(decimalOf(7, { step: '1' }), '7');
  assert.is(decimalOf(0, { step: '2.50' }), '0.00');
  assert.is(distanceOf('2.5', PRICE, '--within'), 50);
  for (const bad of ['0.02', '-1', 'x', '65.05', ''])
    refuses(() => distanceOf(bad, PRICE, '--within'), /--within: expected a multiple of 0.05/);
  refuses(() => labelOf(numbersDictionary(1), '45.1'), /column "price": expected between -400 and 900 steps/);
  assert.is(labelText(numbersDictionary(1)), 'a number from -20.00 to 45.00 in steps of 0.05');
});

test('an output is near enough exactly where its answer is, at both ends of every range', () => {
  const random = seededRandom(3);
  const bound = 60;
  for (let trial = 0; trial < 400; trial++) {
    const label = { low: -1 - random.below(20), high: random.below(20), step: '1' };
    const scale: OutputScale = { outputs: 1 + random.below(9), steps: 2 ** random.below(5) };
    const end: NumberEnd = { label, scale };
    const right = label.low + random.below(label.high - label.low + 1);
    const within = random.below(label.high - label.low + 1);
    const { low, high } = outputsWithin(right, within, end, bound);
    assert.ok(low >= -bound && low <= bound + 1 && high <= bound && high >= -bound - 1);
    for (let output = -bound; output <= bound; output++) {
      const near = Math.abs(answerFrom(output, end) - right) <= within;
      assert.is(output >= low && output <= high, near, JSON.stringify({ end, right, within, output }));
    }
  }
});

test('answers are rounded to the step, halves upwards, and stay in the range of the label', () => {
  const end: NumberEnd = { label: { low: -3, high: 3, step: '1' }, scale: { outputs: 10, steps: 1 } };
  assert.equal(
    [-100, -26, -25, -16, -15, -5, -4, 4, 5, 24, 25, 2 ** 24 - 1].map((a) => answerFrom(a, end)),
    [-3, -3, -2, -2, -1, 0, 0, 0, 1, 2, 3, 3],
  );
  assert.equal(
    [-9, -0.5, 0.49, 0.5, 9].map((y) => answerOfFloat(y, end.label)),
    [-3, 0, 0, 1, 3],
  );
});

test('a scale is the fraction that a step is worth, and too fine a step is refused', () => {
  assert.equal(scaleFrom(3), { outputs: 3, steps: 1 });
  assert.equal(scaleFrom(0.5), { outputs: 1, steps: 2 });
  for (const perStep of [0.001, 0.37, 1, 12.7, 4000.5, 2 ** 23]) {
    const { outputs, steps } = scaleFrom(perStep);
    assert.ok(Math.abs(outputs / steps / perStep - 1) < 2 ** -11, `${perStep}`);
  }
  refuses(() => scaleFrom(2 ** -13), /finer than its integers can tell/);
  refuses(() => scaleFrom(2 ** 25), /too coarse/);
});

test('a constant answer scores what its best value scores', () => {
  assert.is(bestConstant([1, 5, 6, 7, 20], 0), 1);
  assert.is(bestConstant([1, 5, 6, 7, 20], 1), 3);
  assert.is(bestConstant([1, 5, 6, 7, 20], 3), 4);
  assert.is(bestConstant([4, 4, 1, 4], 0), 3);
  assert.is(rowCounts({ features: [[1], [2]], labels: [3, 5], within: 1 }).constant, 2);
});

test('integers answer what the float network answers, as near as their bits allow', () => {
  for (const units of [
    [4, 1],
    [4, 5, 1],
  ]) {
    const wide = { low: -4000, high: 4000, step: '0.05' };
    const network = smallNetwork({ units, decision: 'number', seed: 7 });
    const model = smallNumbers({ units, seed: 7 }, wide);
    for (const row of rowsFor(model, 50)) {
      let x = Float64Array.from(row);
      for (const { inputs, outputs, weights, bias, relu } of network.layers)
        x = Float64Array.from({ length: outputs }, (_, j) => {
          let sum = bias[j]!;
          for (let i = 0; i < inputs; i++) sum += weights[j * inputs + i]! * x[i]!;
          return relu ? Math.max(0, sum) : sum;
        });
      const off = Math.abs(evaluate(model, row).decision - answerOfFloat(x[0]!, wide));
      assert.ok(off <= (units.length > 2 ? 40 : 5), `${units}: ${off} steps of 0.05`);
    }
  }
});

test('the architecture holds label and scale, and nothing else can be made of them', () => {
  const { architecture } = smallNumbers({ units: [3, 1] });
  const document = architectureDocument(architecture);
  assert.equal(parseArchitecture(structuredClone(document)), architecture);
  const { scale, ...rest } = document;
  refuses(() => parseArchitecture(rest), /decision: expected number and a scale/);
  refuses(() => parseArchitecture({ ...document, decision: 'sign' }), /decision: expected number/);
  refuses(() => parseArchitecture({ ...document, scale: { outputs: 0, steps: 1 } }), /scale.outputs/);
  const label = { name: 'y', classes: ['a', 'b'].map((name) => ({ name, value: name })) };
  const dictionary = { ...(document.dictionary as object), label };
  refuses(() => parseArchitecture({ ...document, dictionary }), /decision: expected number/);
  for (const bad of [
    { name: 'y' },
    { ...label, number: PRICE },
    { name: 'y', number: { ...PRICE, low: 900 } },
    { name: 'y', number: { ...PRICE, step: '0.00' } },
    { name: 'y', number: { ...PRICE, high: 2 ** 24 } },
  ])
    refuses(() => parseDictionary({ ...dictionary, label: bad }), /^dictionary: label/);
});

test('labels beyond the range, and a distance where answers are classes, are no test set', () => {
  const { architecture } = smallNumbers({ units: [3, 1] });
  const features = [Int32Array.of(1, 2, 3)];
  checkTestSet(architecture, { features, labels: [900], within: 1300 });
  refuses(() => checkTestSet(architecture, { features, labels: [901], within: 1 }), /label in -400..900/);
  refuses(
    () => checkTestSet(architecture, { features, labels: [0], within: 1301 }),
    /within: expected 0 to 1300/,
  );
  refuses(() => checkTestSet(architecture, { features, labels: [0], within: -1 }), /within: expected 0 to/);
  const classes = smallModel({ units: [3, 2] }).architecture;
  refuses(
    () => checkTestSet(classes, { features, labels: [0], within: 0 }),
    /answers classes and no numbers/,
  );
});

const LINEAR = graph(
  [
    node('ai.onnx.ml.LinearRegressor', ['x'], 'y', [
      ['coefficients', Float64Array.of(1.5, -2)],
      ['intercepts', Float64Array.of(10)],
      ['targets', 1],
    ]),
  ],
  {},
);

test('a linear regressor, a Gemm and trees with one output are read as numbers', () => {
  const gemm = graph([node('Gemm', ['x', 'w', 'b'], 'y')], {
    w: tensor([2, 1], [1.5, -2]),
    b: tensor([1], [10]),
  });
  for (const each of [LINEAR, gemm]) {
    const model = modelOf(readGraph(readOnnx(writeOnnx(each))));
    assert.is(model.decision, 'number');
    assert.ok('layers' in model && [...model.layers[0]!.weights].join() === '1.5,-2');
  }
  const tree = { mode: 'BRANCH_LEQ', feature: 0, at: 1.5, yes: [3.5], no: [-7] };
  const trees = graph(
    [
      node('ai.onnx.ml.TreeEnsembleRegressor', ['x'], 'y', [
        ...listed('target', [tree, tree]),
        ['base_values', Float64Array.of(100)],
        ['n_targets', 1],
      ]),
    ],
    {},
  );
  const model = modelOf(readGraph(readOnnx(writeOnnx(trees))));
  assert.ok(model.decision === 'number' && 'trees' in model && model.bias[0] === 100);
});

test('lint says how far numbers are off, and names a label that is of the other kind', () => {
  const dictionary = numbersDictionary(2);
  const features = rowsFor(smallNumbers({ units: [2, 1] }), 40);
  const labels = features.map((row) => Math.round((1.5 * row[0]! - 2 * row[1]! + 10) * 20));
  const rows = { calibration: features, testSet: { features, labels, within: 10 } };
  const { provable, proof } = lintModel(LINEAR, { dictionary, rows });
  assert.ok(provable);
  assert.is(proof!.correct.float, 40);
  assert.is(proof!.correct.integers, 40);
  assert.is(proof!.error!.float, 0);
  assert.ok(proof!.error!.integers < 0.2 && proof!.error!.constant > 5, JSON.stringify(proof!.error));
  assert.ok(proof!.correct.constant < 20);

  const classes = parseDictionary({
    ...dictionary,
    label: { name: 'y', classes: ['a', 'b'].map((name) => ({ name, value: name })) },
  });
  const reasons = (graph: typeof LINEAR, of: typeof dictionary) =>
    lintModel(graph, { dictionary: of }).problems.map(({ reason }) => reason);
  assert.match(reasons(LINEAR, classes)[0]!, /a number and no class; end the model with Sigmoid, or/);
  const classifier = onnxFromNetwork(smallNetwork({ units: [2, 2] }));
  assert.match(reasons(classifier, dictionary)[0]!, /the file decides between classes/);
});

test('a table of many different numbers is drafted as one, read, split and written', () => {
  const lines = Array.from({ length: 60 }, (_, i) => `${i % 5},${(i * 1.25 - 20).toFixed(2)}`);
  const text = `x,price\n${lines.join('\n')}\n`;
  const dictionary = describeTable(text, 'price');
  assert.equal(dictionary.label, { name: 'price', number: { low: -2000, high: 5375, step: '0.01' } });
  const rows = readLabelled(text, dictionary);
  assert.is(rows[3]!.label, -1625);
  const { train, test: held } = split(rows, dictionary);
  assert.equal([train.length, held.length], [42, 18]);
  assert.is(rows[3]!.label, -1625, 'the rows that were split are as they were');
  assert.equal(readLabelled(writeLabelled(rows, dictionary), dictionary), rows);
  // More labels than a call has room for arguments.
  const many = `x,price\n${Array.from({ length: 200_000 }, (_, i) => `${i % 5},${i}\n`).join('')}`;
  assert.equal(describeTable(many, 'price').label.number, { low: 0, high: 199_999, step: '1' });
});

test.run();
