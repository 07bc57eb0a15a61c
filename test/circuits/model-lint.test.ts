/** Lint: all problems at once, both lists where features differ, and what a model becomes. */
import { existsSync, readFileSync } from 'node:fs';
import { type Dictionary, parseDictionary, preprocessingOf } from '../../circuits/model/dictionary.ts';
import { lintModel } from '../../circuits/model/lint.ts';
import { onnxFromNetwork } from '../../circuits/model/network.ts';
import { readOnnx } from '../../circuits/model/onnx.ts';
import { writeOnnx } from '../../circuits/model/onnx-writer.ts';
import { lintCommand } from '../../runtime/commands/model-lint.ts';
import { CREDIT, readCreditData } from '../../runtime/models/credit-data.ts';
import { seededRandom } from '../../runtime/models/random.ts';
import { testSetFor } from '../../runtime/models/test-sets.ts';
import { partition } from '../../runtime/models/vendor.ts';
import { assert, suite } from '../harness.ts';
import { lintMutants } from './lint-mutants.ts';
import { smallNetwork } from './model-fixture.ts';
import { graph, node, tensor } from './onnx-fixture.ts';

const test = suite('lint');
const EXPORTS = new URL('../../../shared/data/exports/', import.meta.url);
const GERMAN = new URL('../../../shared/data/german.data', import.meta.url);

const NUMBERS: Dictionary = parseDictionary({
  version: 1,
  columns: ['a', 'b', 'c'].map((name) => ({ kind: 'integer', name, low: -3, high: 12 })),
  label: { name: 'y', classes: ['no', 'yes'].map((name) => ({ name, value: name })) },
  split: { seed: 1, train: 70 },
});
const integers = (rows: number) => {
  const random = seededRandom(9);
  return Array.from({ length: rows }, () => Int32Array.from({ length: 3 }, () => random.below(16) - 3));
};

test('a model that fits: layers, integers, exact costs, accuracy', () => {
  const g = readOnnx(writeOnnx(onnxFromNetwork(smallNetwork({ units: [3, 4, 2] }))));
  const features = integers(50);
  const testSet = { features, labels: features.map((_, i) => i % 2) };
  const report = lintModel(g, { dictionary: NUMBERS, rows: { calibration: integers(64), testSet } });
  assert.equal(report.problems, []);
  assert.ok(report.provable);
  assert.equal(report.layers, [
    { inputs: 3, outputs: 4 },
    { inputs: 4, outputs: 1 },
  ]);
  assert.is(report.integers!.length, 2);
  assert.is(report.proof!.rows, 50);
  assert.is(report.proof!.correct.constant, 25);
  assert.ok(Math.abs(report.proof!.correct.float - report.proof!.correct.integers) <= 2);
  assert.ok(report.proof!.constraints < report.proof!.domain);
  const coarse = lintModel(g, { dictionary: NUMBERS, bits: 4, rows: { calibration: integers(64), testSet } });
  assert.equal(
    coarse.integers!.map(({ weightBits }) => weightBits),
    [4, 4],
  );
  assert.ok(coarse.proof!.constraints < report.proof!.constraints);
});

test('features that do not match are both named, and so is every unsupported node', () => {
  const g = graph(
    [node('Gemm', ['x', 'w'], 'h', [['transB', 1]]), node('Tanh', ['h'], 't'), node('Gelu', ['t'], 'y')],
    { w: tensor([3, 2], [1, 2, 3, 4, 5, 6]) },
  );
  const report = lintModel(g, { dictionary: NUMBERS });
  assert.not.ok(report.provable);
  assert.equal(
    report.problems.map(({ node: at, op }) => [at, op]),
    [
      [1, 'Tanh'],
      [2, 'Gelu'],
    ],
  );
  const narrow = graph([node('Gemm', ['x', 'w'], 'y', [['transB', 1]])], { w: tensor([2, 2], [1, 2, 3, 4]) });
  assert.match(
    lintModel(narrow, { dictionary: NUMBERS }).problems[0]!.reason,
    /takes 2 features \(x\), the dictionary gives 3: a, b, c/,
  );
});

test('an output that an operator does not have is a problem, and names the node', () => {
  const gemm = { ...node('Gemm', ['x', 'w'], 'h', [['transB', 1]]), outputs: ['h', 'extra'] };
  const g = graph([gemm, node('Sigmoid', ['extra'], 'y')], { w: tensor([3, 2], [1, 2, 3, 4, 5, 6]) });
  const { provable, problems } = lintModel(g, { dictionary: NUMBERS });
  assert.not.ok(provable);
  assert.is(problems[0]!.node, 0);
  assert.match(problems[0]!.reason, /an output that its operator does not give/);
});

test('a circuit that no compiler can make is refused with its size', () => {
  const g = readOnnx(writeOnnx(onnxFromNetwork(smallNetwork({ units: [3, 80, 80, 2] }))));
  const features = integers(500);
  const testSet = { features, labels: features.map((_, i) => i % 2) };
  const report = lintModel(g, { dictionary: NUMBERS, rows: { calibration: integers(64), testSet } });
  assert.match(report.problems[0]!.reason, /about 500 rows has \d{7} constraints; at most 2097152/);
});

test('mutated files: no crash, and soon over', () => {
  const g = graph(
    [
      node('Slice', ['x', 's', 'e', 's'], 'a'),
      node('Gemm', ['a', 'w', 'b'], 'h', [['transB', 1]]),
      node('BatchNormalization', ['h', 'b', 'b', 'b', 'b'], 'n'),
      node('LeakyRelu', ['n'], 'r', [['alpha', 0.25]]),
      node('Concat', ['r', 'h'], 'c', [['axis', 1]]),
      node('Softmax', ['c'], 'y', [['axis', 1]]),
    ],
    {
      s: tensor([1], [1], 'int64'),
      e: tensor([1], [Number.POSITIVE_INFINITY], 'int64'),
      w: tensor([3, 1], [1, 2, 3]),
      b: tensor([3], [1, 2, 3]),
    },
  );
  const file = writeOnnx(g);
  assert.equal(lintModel(readOnnx(file)).problems, []);
  lintMutants(new Map([['graph', file]]), { mutants: 4000, seed: 4 });
});

test('exports on German Credit: within a point of their own numbers, and a logistic regression below 6,000 constraints', (t) => {
  if (!existsSync(EXPORTS) || !existsSync(GERMAN)) t.skip('no ../shared/data');
  const { test: held, features } = partition(readCreditData(readFileSync(GERMAN, 'utf8')), CREDIT);
  const rows = { calibration: features, testSet: testSetFor(held, preprocessingOf(CREDIT)) };
  for (const name of ['skl_logreg', 'skl_logreg_scaled', 'skl_mlp16', 't_mlp_bn', 't_mlp_leaky']) {
    const g = readOnnx(readFileSync(new URL(`${name}.onnx`, EXPORTS)));
    const { problems, proof } = lintModel(g, { dictionary: CREDIT, rows });
    assert.equal(problems, [], name);
    const { float, integers: got, constant } = proof!.correct;
    assert.ok(got >= float - 3 && got > constant, `${name}: ${got}, by its own numbers ${float}`);
    if (name.startsWith('skl_logreg')) assert.ok(proof!.constraints <= 6000, `${proof!.constraints}`);
  }
});

test('a graph that asks for more than any circuit holds is refused at once', () => {
  const wide = graph([node('Relu', ['x'], 'y')], {}, [undefined, 3, 1024, 1024]);
  const huge = graph([node('Expand', ['x', 's'], 'e'), node('Relu', ['e'], 'y')], {
    s: tensor([3], [2 ** 20, 1, 2], 'int64'),
  });
  for (const g of [wide, huge]) {
    const began = performance.now();
    assert.match(lintModel(g).problems[0]!.reason, /beyond any circuit/);
    assert.ok(performance.now() - began < 2000);
  }
});

test('the command: data without a dictionary is wrong use', async () => {
  const failure = async (options: { data?: string }): Promise<string> => {
    try {
      await lintCommand('none.onnx', { ...options, json: false }, () => {});
      return 'fine';
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.match(await failure({ data: 'rows.csv' }), /expected --dictionary FILE beside --data/);
  assert.match(await failure({}), /none\.onnx/);
});

test.run();
