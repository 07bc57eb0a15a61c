import { existsSync, readFileSync } from 'node:fs';
import { type DenseNetwork, networkFromOnnx, onnxFromNetwork } from '../../circuits/model/network.ts';
import {
  type OnnxAttribute,
  type OnnxGraph,
  type OnnxNode,
  type OnnxTensor,
  readOnnx,
  writeOnnx,
} from '../../circuits/model/onnx.ts';
import { VouchError } from '../../protocols/errors.ts';
import { seededRandom } from '../../runtime/models/random.ts';
import { assert, suite } from '../harness.ts';
import { smallNetwork } from './model-fixture.ts';

const test = suite('ONNX');
const CASES = new URL('../../../shared/data/onnx/', import.meta.url);

const tensor = (dims: number[], values: number[], type: 'float32' | 'int64' = 'float32'): OnnxTensor => ({
  dims,
  type,
  values: Float64Array.from(values),
});
const node = (
  operator: string,
  inputs: string[],
  output: string,
  attributes: [string, OnnxAttribute][] = [],
): OnnxNode => ({
  name: '',
  operator,
  inputs,
  outputs: [output],
  attributes: new Map(attributes),
});
function graph(
  nodes: OnnxNode[],
  constants: Record<string, OnnxTensor> = {},
  input = [undefined, 2] as (number | undefined)[],
): OnnxGraph {
  return {
    name: 'test',
    opset: 13,
    nodes,
    initializers: new Map(Object.entries(constants)),
    inputs: [{ name: 'x', dims: input }],
    outputs: [{ name: nodes.at(-1)!.outputs[0]!, dims: [] }],
  };
}
const read = (g: OnnxGraph): DenseNetwork => networkFromOnnx(readOnnx(writeOnnx(g)));
const refuses = (run: () => unknown, code: string, text: RegExp): void => {
  assert.throws(run, (error: unknown) => {
    assert.instance(error, VouchError);
    assert.is((error as VouchError).code, code);
    assert.match((error as VouchError).message, text);
    return true;
  });
};
const float32 = (values: ArrayLike<number>): number[] => [...Float32Array.from(values)];

/** W is 3 outputs x 2 inputs */
const W = [1, 2, 3, 4, 5, 6];
const W_TRANSPOSED = [1, 3, 5, 2, 4, 6];
const B = [10, 20, 30];
const expectLayer = (network: DenseNetwork, weights: number[], bias: number[]): void => {
  assert.is(network.layers.length, 1);
  assert.is(network.layers[0]!.inputs, 2);
  assert.is(network.layers[0]!.outputs, 3);
  assert.equal([...network.layers[0]!.weights], weights);
  assert.equal([...network.layers[0]!.bias], bias);
};

test('a written network is read back, in float32', () => {
  for (const decision of ['argmax', 'sign'] as const) {
    const network = smallNetwork({ units: [5, 4, 3, decision === 'sign' ? 1 : 2], decision });
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

test('what is not supported is refused by name', () => {
  const constants = {
    w: tensor([3, 2], W),
    b: tensor([3], B),
    v: tensor([2, 3], W),
    bad: tensor([3, 2], [1, 2, 3, 4, 5, Number.NaN]),
    shape: tensor([3], [1, 1, 2], 'int64'),
  };
  const gemm = (input: string, w: string, output: string): OnnxNode =>
    node('Gemm', [input, w], output, [['transB', 1]]);
  const cases: [OnnxNode[], RegExp][] = [
    [[node('Conv', ['x', 'w'], 'y')], /operator Conv/],
    [[gemm('x', 'w', 'h'), node('Tanh', ['h'], 'y')], /operator Tanh/],
    [[gemm('x', 'w', 'h'), gemm('h', 'v', 'y')], /no Relu between/],
    [[gemm('x', 'w', 'h'), node('Relu', ['h'], 'y')], /Relu after the last layer/],
    [[node('Relu', ['x'], 'y')], /no layer before/],
    [[node('Softmax', ['x'], 'y')], /at least one dense layer/],
    [[gemm('x', 'w', 'h'), node('ArgMax', ['h'], 'y')], /ArgMax: its axis/],
    [
      [
        gemm('x', 'w', 'h'),
        node('ArgMax', ['h'], 'y', [
          ['axis', 1],
          ['select_last_index', 1],
        ]),
      ],
      /lowest index/,
    ],
    [
      [gemm('x', 'w', 'h'), node('Softmax', ['h'], 's', [['axis', 1]]), node('Relu', ['s'], 'y')],
      /after Softmax/,
    ],
    [[gemm('x', 'v', 'y')], /takes 3 values|holds 2 features/],
    [[gemm('x', 'bad', 'y')], /not a finite number/],
    [
      [
        node('Gemm', ['x', 'w'], 'y', [
          ['transA', 1],
          ['transB', 1],
        ]),
      ],
      /transA/,
    ],
    [[node('Gemm', ['w', 'x'], 'y')], /first input/],
    [[node('MatMul', ['x', 'nowhere'], 'y')], /has to be a constant/],
    [[gemm('x', 'w', 'h'), gemm('x', 'w', 'y')], /branches/],
    [[node('Add', ['x', 'b'], 'y')], /only the bias of a dense layer/],
    [[node('Reshape', ['x', 'shape'], 'h'), gemm('h', 'w', 'y')], /Reshape/],
    [[node('Flatten', ['x'], 'h', [['axis', 0]]), gemm('h', 'w', 'y')], /axis = 1/],
  ];
  for (const [nodes, text] of cases) refuses(() => read(graph(nodes, constants)), 'bad-input', text);
  const single = { w: tensor([1, 2], [1, 2]) };
  refuses(() => read(graph([gemm('x', 'w', 'y')], single)), 'bad-input', /Sigmoid/);
  refuses(
    () =>
      read(
        graph(
          [gemm('x', 'w', 'h'), node('Sigmoid', ['h'], 's'), node('ArgMax', ['s'], 'y', [['axis', 1]])],
          single,
        ),
      ),
    'bad-input',
    /not a classifier/,
  );
  assert.is(read(graph([gemm('x', 'w', 'h'), node('Sigmoid', ['h'], 'y')], single)).decision, 'sign');
  refuses(
    () => read(graph([gemm('x', 'w', 'y')], constants, [undefined, 5])),
    'bad-input',
    /holds 5 features/,
  );
});

test('a truncated or damaged file is one clear error', () => {
  const file = writeOnnx(onnxFromNetwork(smallNetwork({ units: [3, 2, 2] })));
  const attempt = (bytes: Uint8Array): VouchError | undefined => {
    try {
      networkFromOnnx(readOnnx(bytes));
      return undefined;
    } catch (error) {
      assert.instance(error, VouchError, String(error));
      return error as VouchError;
    }
  };
  assert.is(attempt(file), undefined);
  for (let length = 0; length < file.length; length++)
    assert.ok(attempt(file.subarray(0, length)), `${length} bytes`);
  const random = seededRandom(1);
  for (let i = 0; i < 3000; i++) {
    const damaged = file.slice();
    for (let flips = 1 + random.below(3); flips > 0; flips--)
      damaged[random.below(damaged.length)] = random.below(256);
    attempt(damaged);
    attempt(Uint8Array.from({ length: random.below(200) }, () => random.below(256)));
  }
  refuses(
    () => readOnnx(new TextEncoder().encode('A11 6 A34 A43 1169')),
    'bad-file',
    /^ONNX: truncated, or not an ONNX file/,
  );
});

test('a tensor that is not what its shape says is refused before memory is taken for it', () => {
  const file = (t: OnnxTensor): Uint8Array => writeOnnx(graph([node('Gemm', ['x', 'w'], 'y')], { w: t }));
  refuses(
    () => readOnnx(file(tensor([3, 3], W))),
    'bad-file',
    /expected 9 values for the shape \[3,3\], got 6/,
  );
  refuses(() => readOnnx(file(tensor([2 ** 40, 2 ** 12], []))), 'bad-file', /got 0/);
  refuses(() => readOnnx(file(tensor([-1, -6], W))), 'bad-file', /negative/);
});

/** The value in the field 9 (raw_data) of a TensorProto with dims in field 1, as the suite writes them. */
function outputTensor(bytes: Uint8Array): number[] {
  let at = 0;
  let raw: Uint8Array | undefined;
  while (at < bytes.length) {
    const key = bytes[at++]!;
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++]!;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) break;
    }
    if ((key & 7) !== 2) continue;
    if (key >> 3 === 9) raw = bytes.slice(at, at + value);
    at += value;
  }
  return [...new Float32Array(raw!.buffer)];
}

test("ONNX's own conformance cases of PyTorch's Linear", (t) => {
  if (!existsSync(CASES)) t.skip('no ../shared/data/onnx');
  for (const name of ['test_Linear', 'test_Linear_no_bias']) {
    const file = (path: string): Uint8Array =>
      Uint8Array.from(readFileSync(new URL(`${name}/${path}`, CASES)));
    const network = networkFromOnnx(readOnnx(file('model.onnx')));
    const { weights, bias, inputs, outputs } = network.layers[0]!;
    const x = outputTensor(file('test_data_set_0/input_0.pb'));
    const expected = outputTensor(file('test_data_set_0/output_0.pb'));
    assert.is(expected.length, (x.length / inputs) * outputs);
    expected.forEach((value, at) => {
      const [row, j] = [Math.floor(at / outputs), at % outputs];
      let sum = bias[j]!;
      for (let i = 0; i < inputs; i++) sum += weights[j * inputs + i]! * x[row * inputs + i]!;
      assert.ok(Math.abs(sum - value) < 1e-4, `${name}, output ${at}: ${sum} and ${value}`);
    });
  }
  for (const name of ['test_Conv2d', 'test_MaxPool2d', 'test_Tanh', 'test_GLU']) {
    refuses(
      () => networkFromOnnx(readOnnx(readFileSync(new URL(`${name}/model.onnx`, CASES)))),
      'bad-input',
      /operator \w+/,
    );
  }
});

test.run();
