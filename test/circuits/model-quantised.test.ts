/** Models that were quantised before: QDQ and QOperator read by their definitions, their own integers kept, and what changes said. */

import { parseDictionary } from '../../circuits/model/dictionary.ts';
import { readGraph } from '../../circuits/model/graph.ts';
import { lintModel } from '../../circuits/model/lint.ts';
import type { OnnxGraph, OnnxTensor } from '../../circuits/model/onnx.ts';
import { readOnnx } from '../../circuits/model/onnx.ts';
import { writeOnnx } from '../../circuits/model/onnx-writer.ts';
import { quantise } from '../../circuits/model/quantise.ts';
import { assert, suite } from '../harness.ts';
import { forward, graph, node, read, refuses, tensor } from './onnx-fixture.ts';

const test = suite('quantised models');

const typed = (type: 'int8' | 'uint8', dims: number[], values: number[]): OnnxTensor => ({
  ...tensor(dims, values),
  type,
});
const scalar = (value: number): OnnxTensor => tensor([], [value]);
const WEIGHTS = [-128, 64, 3, 127, -1, 20];

/** x (2 features) -> 3 units -> 2 scores; weights int8 in steps of `step`, hidden values uint8 in steps of 1/4. */
const qdq = (step: number, { relu = true } = {}): OnnxGraph =>
  graph(
    [
      node('QuantizeLinear', ['x', 'one', 'zero'], 'xq'),
      node('DequantizeLinear', ['xq', 'one', 'zero'], 'xd'),
      node('DequantizeLinear', ['w', 'step', 'middle'], 'wd'),
      node('MatMul', ['xd', 'wd'], 'h'),
      ...(relu ? [node('Relu', ['h'], 'r')] : []),
      node('QuantizeLinear', [relu ? 'r' : 'h', 'quarter', 'zero'], 'rq'),
      node('DequantizeLinear', ['rq', 'quarter', 'zero'], 'rd'),
      node('MatMul', ['rd', 'v'], 'o'),
      node('Softmax', ['o'], 'y', [['axis', 1]]),
    ],
    {
      one: scalar(1),
      quarter: scalar(0.25),
      step: scalar(step),
      zero: typed('uint8', [], [0]),
      middle: typed('int8', [], [0]),
      w: typed('int8', [2, 3], WEIGHTS),
      v: tensor([3, 2], [1, 2, -1, 0.5, 0.25, 3]),
    },
  );

const DICTIONARY = parseDictionary({
  version: 1,
  columns: ['a', 'b'].map((name) => ({ kind: 'integer', name, low: 0, high: 15 })),
  label: { name: 'y', classes: ['no', 'yes'].map((name) => ({ name, value: name })) },
  split: { seed: 1, train: 70 },
});
const rows = Array.from({ length: 40 }, (_, i) => Int32Array.of(i % 16, (i * 7) % 16));

test('QDQ: weights are the numbers that they stand for, and the lower cut at zero is a ReLU', () => {
  const network = read(qdq(1 / 32));
  assert.is(network.layers.length, 2);
  const [first] = network.layers;
  assert.equal(
    [...first!.weights],
    [-128, 127, 64, -1, 3, 20].map((q) => q / 32),
  );
  assert.ok(first!.relu);
  // Without a Relu of its own the cut at the zero point is one.
  const folded = read(qdq(1 / 32, { relu: false }));
  for (const row of rows) assert.equal(forward(folded, row), forward(network, row));
});

test('scales that are powers of two are kept: the integers are those of the file', () => {
  const integersOf = (step: number): number[] => {
    const { parameters } = quantise(read(qdq(step)), { dictionary: DICTIONARY, calibration: rows });
    return [...parameters.layers[0]!.weights];
  };
  assert.equal(integersOf(1 / 32), [-128, 127, 64, -1, 3, 20]);
  assert.equal(integersOf(2 ** -9), [-128, 127, 64, -1, 3, 20]);
  assert.not.equal(
    integersOf(0.03),
    [-128, 127, 64, -1, 3, 20],
    '-128 is one step too far for the usual scale',
  );
  const testSet = { features: rows, labels: rows.map((_, i) => i % 2) };
  const notes = (step: number) =>
    lintModel(readOnnx(writeOnnx(qdq(step))), {
      dictionary: DICTIONARY,
      rows: { calibration: rows, testSet },
    }).notes.join('\n');
  assert.match(notes(1 / 32), /keep their scales, which are powers of two/);
  assert.match(notes(0.03), /\(0\.0\d+\) is no power of two: they are quantised again/);
  assert.match(
    notes(1 / 32),
    /rounded by steps of the compiler's own, not by 0\.25; the file cuts them off at about 63\.8/,
  );
});

test('QOperator: the same network as QDQ', () => {
  const g = graph(
    [
      node('QuantizeLinear', ['x', 'one', 'zero'], 'xq'),
      node('QLinearMatMul', ['xq', 'one', 'zero', 'w', 'step', 'middle', 'quarter', 'zero'], 'rq'),
      node('DequantizeLinear', ['rq', 'quarter', 'zero'], 'rd'),
      node('MatMul', ['rd', 'v'], 'o'),
      node('Softmax', ['o'], 'y', [['axis', 1]]),
    ],
    Object.fromEntries(qdq(1 / 32).initializers),
  );
  const [network, expected] = [read(g), read(qdq(1 / 32))];
  for (const row of rows) assert.equal(forward(network, row), forward(expected, row));
});

test('QLinearConv with a bias in steps of both, MatMulInteger and ConvInteger with zero points', () => {
  const conv = graph(
    [
      node('QLinearConv', ['x', 'half', 'three', 'k', 'scales', 'zeros', 'one', 'three', 'bias'], 'c'),
      node('DequantizeLinear', ['c', 'one', 'three'], 'd'),
      node('Flatten', ['d'], 'f'),
      node('Softmax', ['f'], 'y', [['axis', 1]]),
    ],
    {
      half: scalar(0.5),
      one: scalar(1),
      three: typed('int8', [], [3]),
      k: typed('int8', [2, 1, 2], [1, 2, 3, 4]),
      scales: tensor([2], [2, 4]),
      zeros: typed('int8', [2], [0, 1]),
      bias: tensor([2], [5, 6]),
    },
    [undefined, 1, 2],
  );
  // Channel 0: 2 (1 a + 2 b) + 5 * 0.5 * 2; channel 1: 4 (2 a + 3 b) + 6 * 0.5 * 4; a = (x - 3) / 2.
  const { network, problems } = readGraph(readOnnx(writeOnnx(conv)), { tensors: false });
  assert.equal(problems, []);
  const [x0, x1] = [7, 11];
  const [a, b] = [(x0 - 3) / 2, (x1 - 3) / 2];
  const expected = [2 * (a + 2 * b) + 5, 4 * (2 * a + 3 * b) + 12];
  // Two classes become one sum, the second less the first.
  assert.equal(forward(network!, [x0, x1]), [expected[1]! - expected[0]!]);
  const integer = graph([node('MatMulInteger', ['x', 'm', 'one', 'two'], 'y')], {
    m: typed('int8', [2, 3], [1, 2, 3, 4, 5, 6]),
    one: typed('uint8', [], [1]),
    two: typed('int8', [], [2]),
  });
  assert.equal(forward(read(integer), [3, 4]), [2 * -1 + 3 * 2, 0 + 3 * 3, 2 * 1 + 3 * 4]);
});

test('what cannot be kept is refused in a sentence', () => {
  const bad = (change: Record<string, OnnxTensor>) => () =>
    read({ ...qdq(1), initializers: new Map([...qdq(1).initializers, ...Object.entries(change)]) });
  refuses(bad({ step: scalar(0) }), 'bad-input', /scale of its input is not above 0/);
  refuses(
    bad({ step: tensor([4], [1, 1, 1, 1]), middle: typed('int8', [4], [0, 0, 0, 0]) }),
    'bad-input',
    /4 steps for 3 channels/,
  );
  refuses(bad({ step: tensor([1, 2], [1, 1]) }), 'bad-input', /expected one, or one for each channel/);
  refuses(
    () => read(graph([node('DynamicQuantizeLinear', ['x'], 'y')])),
    'bad-input',
    /takes its scale from each input/,
  );
});

test.run();
