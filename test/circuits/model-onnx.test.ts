import { networkFromOnnx, readGraph } from '../../circuits/model/graph.ts';
import { onnxFromNetwork } from '../../circuits/model/network.ts';
import { type OnnxTensor, readOnnx } from '../../circuits/model/onnx.ts';
import { writeOnnx } from '../../circuits/model/onnx-writer.ts';
import { VouchError } from '../../protocols/errors.ts';
import { seededRandom } from '../../runtime/models/random.ts';
import { assert, suite } from '../harness.ts';
import { smallNetwork } from './model-fixture.ts';
import { graph, node, refuses, tensor, W } from './onnx-fixture.ts';

const test = suite('ONNX');

test('attributes of every kind are read or kept by their kind', () => {
  const g = graph([
    node('Relu', ['x'], 'y', [
      ['names', ['a', 'b']],
      ['rates', Float64Array.of(0.5, 2)],
      ['alpha', 0.25],
    ]),
  ]);
  const { attributes } = readOnnx(writeOnnx(g)).nodes[0]!;
  assert.equal(attributes.get('names'), ['a', 'b']);
  assert.equal(attributes.get('rates'), [0.5, 2]);
  assert.is(attributes.get('alpha'), 0.25);
  // ModelProto { opset_import { version: 13 } graph { node { op_type: "If" attribute { name: "g" type: GRAPH } } } }
  const graphAttribute = Uint8Array.of(
    0x42,
    2,
    0x10,
    13,
    0x3a,
    14,
    0x0a,
    12,
    0x22,
    2,
    0x49,
    0x66,
    0x2a,
    6,
    0x0a,
    1,
    0x67,
    0xa0,
    1,
    5,
  );
  const read = readOnnx(graphAttribute);
  assert.equal(read.nodes[0]!.attributes.get('g'), { unread: 'graph' });
  assert.ok(
    readGraph(read).problems.some(({ op, reason }) => op === 'If' && /depends on the input/.test(reason)),
  );
});

test('booleans, half precision and strings are read', () => {
  const file = (type: number, data: number[]) => {
    // graph { node { op_type: "A" } initializer { dims: 2 data_type name: "t" raw_data } }
    const t = [0x08, 2, 0x10, type, 0x42, 1, 0x74, 0x4a, data.length, ...data];
    const g = [0x0a, 3, 0x22, 1, 0x41, 0x2a, t.length, ...t];
    return readOnnx(Uint8Array.of(0x42, 2, 0x10, 13, 0x3a, g.length, ...g)).initializers.get('t')!;
  };
  assert.equal(file(9, [1, 0]), { dims: [2], type: 'bool', values: Float64Array.of(1, 0) });
  assert.equal(file(10, [0x00, 0x3c, 0x00, 0xc1]), {
    dims: [2],
    type: 'float16',
    values: Float64Array.of(1, -2.5),
  });
  const texts: OnnxTensor = {
    dims: [2],
    type: 'string',
    values: Float64Array.of(0, 1),
    strings: ['bad', 'good'],
  };
  const g = readOnnx(writeOnnx(graph([node('Relu', ['x'], 'y')], { t: texts })));
  assert.equal(g.initializers.get('t'), texts);
});

test('a pointer of Git LFS is called one', () => {
  const pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n';
  refuses(() => readOnnx(new TextEncoder().encode(pointer)), 'bad-file', /pointer of Git LFS.*git lfs pull/);
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

test.run();
