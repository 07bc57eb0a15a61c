import { networkFromOnnx, readGraph } from '../../circuits/model/graph.ts';
import { onnxFromNetwork } from '../../circuits/model/network.ts';
import { type OnnxGraph, type OnnxNode, type OnnxTensor, readOnnx } from '../../circuits/model/onnx.ts';
import { writeOnnx } from '../../circuits/model/onnx-writer.ts';
import { seededRandom } from '../../runtime/models/random.ts';
import { assert, suite } from '../harness.ts';
import { smallNetwork } from './model-fixture.ts';
import {
  B,
  expectLayer,
  float32,
  forward,
  graph,
  node,
  read,
  refuses,
  tensor,
  W,
  W_TRANSPOSED,
} from './onnx-fixture.ts';

const test = suite('ONNX graphs');

test('a written network is read back, in float32; two classes become one sum', () => {
  for (const decision of ['argmax', 'sign'] as const) {
    const network = smallNetwork({ units: [5, 4, 3, decision === 'sign' ? 1 : 3], decision });
    const back = read(onnxFromNetwork(network));
    assert.is(back.decision, decision);
    assert.is(back.inputs, 5);
    assert.equal(
      back.layers,
      network.layers.map((layer) => ({
        ...layer,
        weights: Float64Array.from(float32(layer.weights)),
        bias: Float64Array.from(float32(layer.bias)),
      })),
    );
  }
  const two = smallNetwork({ units: [3, 2] });
  const { layers, decision } = read(onnxFromNetwork(two));
  const [w, b] = [float32(two.layers[0]!.weights), float32(two.layers[0]!.bias)];
  assert.is(decision, 'sign');
  assert.equal(
    [...layers[0]!.weights],
    [0, 1, 2].map((i) => w[3 + i]! - w[i]!),
  );
  assert.equal([...layers[0]!.bias], [b[1]! - b[0]!]);
});

test('a dense layer in every spelling', () => {
  const constants = {
    w: tensor([3, 2], W),
    wt: tensor([2, 3], W_TRANSPOSED),
    b: tensor([3], B),
    row: tensor([1, 3], B),
  };
  expectLayer(read(graph([node('Gemm', ['x', 'w', 'b'], 'y', [['transB', 1]])], constants)), W, B);
  expectLayer(read(graph([node('Gemm', ['x', 'wt', 'row'], 'y')], constants)), W, B);
  expectLayer(read(graph([node('Gemm', ['x', 'wt'], 'y')], constants)), W, [0, 0, 0]);
  expectLayer(read(graph([node('MatMul', ['x', 'wt'], 'm'), node('Add', ['m', 'b'], 'y')], constants)), W, B);
  expectLayer(
    read(graph([node('MatMul', ['x', 'wt'], 'm'), node('Add', ['row', 'm'], 'y')], constants)),
    W,
    B,
  );
  expectLayer(
    read(
      graph([node('Transpose', ['w'], 't', [['perm', [1, 0]]]), node('MatMul', ['x', 't'], 'y')], constants),
    ),
    W,
    [0, 0, 0],
  );
  expectLayer(
    read(
      graph([
        node('Constant', [], 'c', [['value', tensor([2, 3], W_TRANSPOSED)]]),
        node('MatMul', ['x', 'c'], 'y'),
      ]),
    ),
    W,
    [0, 0, 0],
  );
  const ends = [node('Softmax', ['i'], 's', [['axis', 1]]), node('ArgMax', ['s'], 'y', [['axis', -1]])];
  const around = [
    node('Flatten', ['x'], 'f'),
    node('Identity', ['f'], 'g'),
    node('Reshape', ['g', 'shape'], 'h'),
    node('Gemm', ['h', 'wt', 'b'], 'i'),
  ];
  expectLayer(
    read(graph([...around, ...ends], { ...constants, shape: tensor([2], [-1, 2], 'int64') })),
    W,
    B,
  );
});

test('alpha and beta scale the layer', () => {
  const file = writeOnnx(
    graph([node('Gemm', ['x', 'w', 'b'], 'y', [['transB', 1]])], { w: tensor([3, 2], W), b: tensor([3], B) }),
  );
  const g = readOnnx(file);
  const scaled = {
    ...g,
    nodes: g.nodes.map((n) => ({
      ...n,
      attributes: new Map([...n.attributes, ['alpha', 0.5], ['beta', 2]]),
    })),
  } as OnnxGraph;
  expectLayer(
    networkFromOnnx(scaled),
    W.map((w) => w / 2),
    B.map((b) => b * 2),
  );
});

const reasons = (g: OnnxGraph) => readGraph(readOnnx(writeOnnx(g)), { tensors: false }).problems;
const gemm = (input: string, w: string, output: string): OnnxNode =>
  node('Gemm', [input, w], output, [['transB', 1]]);

test('every problem is named, with its node and what to do', () => {
  const nodes = [
    gemm('x', 'w', 'h'),
    node('Tanh', ['h'], 't'),
    gemm('t', 'v', 'g'),
    node('Nonsense', ['g'], 'n'),
    node('LSTM', ['n'], 'l'),
    node('Erf', ['g'], 'y'),
  ];
  const problems = reasons(graph(nodes, { w: tensor([3, 2], W), v: tensor([4, 3], [...W, ...W]) }));
  assert.equal(
    problems.map(({ node: at, op }) => [at, op]),
    [
      [1, 'Tanh'],
      [3, 'Nonsense'],
      [4, 'LSTM'],
      [5, 'Erf'],
    ],
  );
  assert.ok(problems.every(({ reason, fix }) => reason.length > 10 && fix.length > 5));
  // What does not fit behind something unsupported is named as well.
  const behind = reasons(graph([node('Tanh', ['x'], 't'), gemm('t', 'v', 'y')], { v: tensor([2, 3], W) }));
  assert.equal(
    behind.map(({ node: at }) => at),
    [0, 1],
  );
  assert.match(behind[1]!.reason, /takes 3 values, what is before it gives 2/);
});

test('what cannot be proved is refused by name', () => {
  const constants = {
    w: tensor([3, 2], W),
    b: tensor([3], B),
    v: tensor([2, 3], W),
    bad: tensor([3, 2], [1, 2, 3, 4, 5, Number.NaN]),
    single: tensor([1, 2], [1, 2]),
  };
  const cases: [OnnxNode[], string, RegExp][] = [
    [[gemm('x', 'w', 'h'), node('ArgMax', ['h'], 'y')], 'ArgMax', /axis/],
    [
      [
        gemm('x', 'w', 'h'),
        node('ArgMax', ['h'], 'y', [
          ['axis', 1],
          ['select_last_index', 1],
        ]),
      ],
      'ArgMax',
      /lowest index/,
    ],
    [
      [gemm('x', 'w', 'h'), node('Softmax', ['h'], 's', [['axis', 1]]), node('Relu', ['s'], 'y')],
      'Softmax',
      /inside of the network needs a table/,
    ],
    [[gemm('x', 'v', 'y')], 'Gemm', /takes 3 values/],
    [[gemm('x', 'bad', 'y')], 'Gemm', /not a finite number/],
    [
      [
        node('Gemm', ['x', 'w'], 'y', [
          ['transA', 1],
          ['transB', 1],
        ]),
      ],
      'Gemm',
      /rows of the batch/,
    ],
    [[node('Gemm', ['w', 'x'], 'y')], 'Gemm', /depends on the input/],
    [[node('MatMul', ['x', 'nowhere'], 'y')], 'MatMul', /nothing gives its input "nowhere"/],
    [[node('Flatten', ['x'], 'h', [['axis', 0]]), gemm('h', 'w', 'y')], 'Flatten', /flattens the rows/],
    [
      [gemm('x', 'single', 'h'), node('Sigmoid', ['h'], 's'), node('ArgMax', ['s'], 'y', [['axis', 1]])],
      'ArgMax',
      /one value is not a classifier/,
    ],
    [[node('Mul', ['x', 'x'], 'y')], 'Mul', /product of two values/],
    [
      [node('Transpose', ['x'], 't'), node('ReduceSum', ['t'], 'y', [['axes', [1]]])],
      'ReduceSum',
      /rows of the batch/,
    ],
    [[node('Relu', ['y'], 'z'), node('Relu', ['z'], 'y')], 'Relu', /depends on itself/],
  ];
  for (const [nodes, op, text] of cases) {
    const problems = reasons(graph(nodes, constants));
    assert.ok(
      problems.some((problem) => problem.op === op && text.test(problem.reason)),
      `${op} ${text}: ${JSON.stringify(problems)}`,
    );
    refuses(() => read(graph(nodes, constants)), 'bad-input', /^ONNX model: /);
  }
  assert.is(read(graph([gemm('x', 'single', 'h'), node('Sigmoid', ['h'], 'y')], constants)).decision, 'sign');
});

test('a bias broadcasts by its shape: [3, 1] is no bias of three outputs', () => {
  const nodes = [node('MatMul', ['x', 'w'], 'm'), node('Add', ['m', 'b'], 'y')];
  const of = (dims: number[], values = B) => graph(nodes, { w: tensor([2, 3], W), b: tensor(dims, values) });
  assert.match(reasons(of([3, 1]))[0]!.reason, /3 values lies along the axis of the batch/);
  assert.match(reasons(of([2], [1, 2]))[0]!.reason, /do not fit each other/);
  for (const [dims, values] of [
    [[3], B],
    [[1, 3], B],
    [[1, 1], [7]],
    [[], [7]],
  ] as const)
    assert.equal([...forward(read(of([...dims], [...values])), [0, 0])], values.length === 3 ? B : [7, 7, 7]);
  const gemmed = graph([node('Gemm', ['x', 'w', 'b'], 'y')], { w: tensor([2, 3], W), b: tensor([3, 1], B) });
  assert.match(reasons(gemmed)[0]!.reason, /bias has the shape \[3, 1\]/);
});

test('several outputs of Sigmoid are multi-label, unless a class is asked of them', () => {
  const constants = { w: tensor([3, 2], W) };
  const nodes = [gemm('x', 'w', 'h'), node('Sigmoid', ['h'], 's')];
  assert.match(reasons(graph(nodes, constants))[0]!.reason, /multi-label/);
  const asked = graph([...nodes, node('ArgMax', ['s'], 'y', [['axis', 1]])], constants);
  assert.is(read(asked).decision, 'argmax');
});

test('operator sets are by domain, and unknown versions are named', () => {
  const g = graph([gemm('x', 'w', 'y')], { w: tensor([3, 2], W) });
  for (const version of [1, 5, 99]) {
    const [problem] = reasons({ ...g, opsets: new Map([['', version]]) });
    assert.match(problem!.reason, new RegExp(`version ${version} of ai.onnx; known are`));
  }
  assert.match(reasons({ ...g, opsets: new Map([['ai.onnx.ml', 3]]) })[0]!.reason, /imports no version/);
  const alone = graph([
    node('ai.onnx.ml.LinearClassifier', ['x'], 'label', [
      ['classlabels_ints', [0, 1]],
      ['coefficients', Float64Array.of(1, 2, -1, -2)],
      ['intercepts', Float64Array.of(0.5, -0.5)],
      ['post_transform', 'LOGISTIC'],
    ]),
  ]);
  const onlyMl = readGraph(readOnnx(writeOnnx({ ...alone, opsets: new Map([['ai.onnx.ml', 1]]) })));
  assert.equal(onlyMl.problems, []);
  assert.equal(onlyMl.classes, [0, 1]);
  assert.equal([...onlyMl.network!.layers[0]!.weights], [-2, -4]);
  assert.equal([...onlyMl.network!.layers[0]!.bias], [-1]);
});

test('a slice may go as far as INT64_MAX, and backwards', () => {
  const sliced = (values: number[][]) =>
    graph(
      [node('Slice', ['x', 's', 'e', 'a', 't'], 'h'), gemm('h', 'w', 'y')],
      {
        ...Object.fromEntries(
          ['s', 'e', 'a', 't'].map((name, i) => [name, tensor([1], values[i]!, 'int64')]),
        ),
        w: tensor([3, 2], W),
      },
      [undefined, 4],
    );
  const x = [10, 20, 30, 40];
  const [most, least] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  assert.equal(forward(read(sliced([[2], [most], [1], [1]])), x), [30 + 80, 90 + 160, 150 + 240]);
  assert.equal(forward(read(sliced([[1], [least], [1], [-1]])), x), [20 + 20, 60 + 40, 100 + 60]);
  assert.match(reasons(sliced([[1], [most], [0], [1]]))[0]!.reason, /rows of the batch/);
});

test("scikit-learn's end of a classifier is one comparison, with its names", () => {
  const texts: OnnxTensor = {
    dims: [2],
    type: 'string',
    values: Float64Array.of(0, 1),
    strings: ['bad', 'good'],
  };
  const nodes = [
    node('Cast', ['x'], 'c', [['to', 1]]),
    node('MatMul', ['c', 'w'], 'm'),
    node('Add', ['m', 'b'], 'a'),
    node('Sigmoid', ['a'], 's'),
    node('Sub', ['one', 's'], 'n'),
    node('Concat', ['n', 's'], 'p', [['axis', 1]]),
    node('ArgMax', ['p'], 'i', [['axis', 1]]),
    node('ai.onnx.ml.ArrayFeatureExtractor', ['classes', 'i'], 'f'),
    node('Reshape', ['f', 'shape'], 'label'),
    node('ai.onnx.ml.ZipMap', ['p'], 'map'),
  ];
  const constants = {
    w: tensor([2, 1], [3, -4]),
    b: tensor([1, 1], [0.5]),
    one: tensor([], [1]),
    classes: texts,
    shape: tensor([1], [-1], 'int64'),
  };
  const g = { ...graph(nodes, constants), outputs: ['label', 'map'].map((name) => ({ name, dims: [] })) };
  const { network, classes, problems } = readGraph(readOnnx(writeOnnx(g)));
  assert.equal(problems, []);
  assert.equal(classes, ['bad', 'good']);
  assert.is(network!.decision, 'sign');
  for (const [row, positive] of [
    [[1, 0], true],
    [[0, 1], false],
    [[1, 1], false],
  ] as const)
    assert.is(forward(network!, row)[0]! > 0, positive);
});

test('piecewise linear operators, branches and normalisation compute what ONNX says', () => {
  const random = seededRandom(3);
  const list = (n: number) => Array.from({ length: n }, () => Math.fround(random.normal()));
  const w = list(6);
  const h = (x: readonly number[]) => [0, 1, 2].map((j) => w[2 * j]! * x[0]! + w[2 * j + 1]! * x[1]!);
  const clip = (v: number, low: number, high: number) => Math.min(Math.max(v, low), high);
  const cases: [string, OnnxNode[], (h: number[]) => number[]][] = [
    [
      'LeakyRelu',
      [node('LeakyRelu', ['h'], 'y', [['alpha', 0.25]])],
      (v) => v.map((a) => (a > 0 ? a : a / 4)),
    ],
    ['Clip', [node('Clip', ['h', 'low', 'high'], 'y')], (v) => v.map((a) => clip(a, -0.5, 0.75))],
    [
      'HardSigmoid',
      [node('HardSigmoid', ['h'], 'y')],
      (v) => v.map((a) => clip(Math.fround(0.2) * a + 0.5, 0, 1)),
    ],
    ['Abs', [node('Abs', ['h'], 'y')], (v) => v.map(Math.abs)],
    ['Max', [node('Max', ['h', 'low'], 'y')], (v) => v.map((a) => Math.max(a, -0.5))],
    [
      'residual',
      [node('Relu', ['h'], 'r'), node('Relu', ['r'], 's'), node('Add', ['h', 's'], 'y')],
      (v) => v.map((a) => a + Math.max(0, a)),
    ],
    [
      'batch normalisation',
      [node('BatchNormalization', ['h', 's3', 'b3', 'm3', 'v3'], 'y', [['epsilon', 0.5]])],
      (v) => v.map((a, i) => ((i + 1) * (a - i)) / Math.sqrt(i + 1 + 0.5) + 2),
    ],
    [
      'split, scaled, concatenated and turned',
      [
        { ...node('Split', ['h', 'parts'], 'p', [['axis', 1]]), outputs: ['p', 'q'] },
        node('Mul', ['p', 'two'], 'p2'),
        node('Concat', ['q', 'p2'], 'y', [['axis', -1]]),
      ],
      ([a, b, c]) => [c!, 2 * a!, 2 * b!],
    ],
  ];
  const constants = {
    w: tensor([3, 2], w),
    low: tensor([], [-0.5]),
    high: tensor([], [0.75]),
    two: tensor([1], [2]),
    parts: tensor([2], [2, 1], 'int64'),
    s3: tensor([3], [1, 2, 3]),
    b3: tensor([3], [2, 2, 2]),
    m3: tensor([3], [0, 1, 2]),
    v3: tensor([3], [1, 2, 3]),
  };
  for (const [name, nodes, expected] of cases) {
    const network = read(graph([gemm('x', 'w', 'h'), ...nodes], constants));
    for (let i = 0; i < 20; i++) {
      const x = list(2).map((v) => 2 * v);
      forward(network, x).forEach((value, j) => {
        const want = expected(h(x))[j]!;
        assert.ok(Math.abs(value - want) < 1e-6, `${name}: ${value}, expected ${want}`);
      });
    }
  }
});

test('shapes that are computed from shapes fold', () => {
  const constants = {
    w: tensor([3, 2], W),
    i: tensor([], [0], 'int64'),
    two: tensor([1], [2], 'int64'),
    zero: tensor([1], [0], 'int64'),
  };
  const nodes = [
    node('Shape', ['x'], 's'),
    node('Gather', ['s', 'i'], 'n'),
    node('Unsqueeze', ['n', 'zero'], 'n1'),
    node('Concat', ['n1', 'two'], 'shape', [['axis', 0]]),
    node('Reshape', ['x', 'shape'], 'h'),
    gemm('h', 'w', 'y'),
  ];
  expectLayer(read(graph(nodes, constants)), W, [0, 0, 0]);
});

test.run();
