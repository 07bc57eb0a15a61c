/** Models from outside, where they are there: ONNX's own cases, and what people export. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { readGraph } from '../../circuits/model/graph.ts';
import { readOnnx } from '../../circuits/model/onnx.ts';
import { assert, suite } from '../harness.ts';
import { DOCUMENT, render } from './models-document.ts';
import { forward } from './onnx-fixture.ts';

const test = suite('models from outside');
const CASES = new URL('../../../shared/data/onnx/', import.meta.url);

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

/** A distribution, two inputs, and doubles, which are not compared here. */
const DIFFERENT = ['test_Softmax', 'test_operator_concat2', 'test_operator_addconstant'];

test("ONNX's own conformance cases: computed as expected, or refused with a reason", (t) => {
  if (!existsSync(CASES)) t.skip('no ../shared/data/onnx');
  let provable = 0;
  for (const name of readdirSync(CASES).filter((each) => each.startsWith('test_'))) {
    const file = (path: string): Uint8Array =>
      Uint8Array.from(readFileSync(new URL(`${name}/${path}`, CASES)));
    const { network, problems } = readGraph(readOnnx(file('model.onnx')), { tensors: false });
    assert.is(network === undefined, problems.length > 0, name);
    if (!network) continue;
    provable++;
    if (network.decision === 'sign' || DIFFERENT.includes(name)) continue;
    const x = outputTensor(file('test_data_set_0/input_0.pb'));
    const expected = outputTensor(file('test_data_set_0/output_0.pb'));
    const outputs = network.layers.at(-1)!.outputs;
    for (let row = 0; row < x.length / network.inputs; row++)
      forward(network, x.slice(row * network.inputs, (row + 1) * network.inputs)).forEach((value, j) => {
        const want = expected[row * outputs + j]!;
        assert.ok(Math.abs(value - want) < 1e-4, `${name}, row ${row}, output ${j}: ${value} and ${want}`);
      });
  }
  assert.ok(provable >= 19, `${provable} as classifiers`);
});

const EXPORTS = new URL('../../../shared/data/exports/', import.meta.url);
test('exports of scikit-learn and PyTorch decide on German Credit as well as they were trained to', (t) => {
  if (!existsSync(EXPORTS)) t.skip('no ../shared/data/exports');
  const rows = readFileSync(new URL('german-features-test.csv', EXPORTS), 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(',').map(Number));
  for (const name of ['skl_logreg', 'skl_logreg_scaled', 'skl_mlp16', 't_mlp_bn', 't_mlp_leaky']) {
    const { network, problems } = readGraph(readOnnx(readFileSync(new URL(`${name}.onnx`, EXPORTS))));
    assert.equal(problems, [], name);
    const right = rows.filter(
      (row) => (forward(network!, row.slice(0, 63))[0]! > 0 ? 1 : 0) === row[63],
    ).length;
    assert.ok(right > 205, `${name}: ${right} of ${rows.length}`);
  }
  const refused = (name: string) =>
    readGraph(readOnnx(readFileSync(new URL(`${name}.onnx`, EXPORTS)))).problems.map(({ op }) => op);
  assert.equal(refused('t_lstm'), ['LSTM']);
  assert.equal(refused('skl_nb'), ['Pow', 'ReduceLogSumExp', 'Exp']);
});

test('docs/MODELS.md says what is supported, and what is not (npm run models)', () => {
  const document = readFileSync(DOCUMENT, 'utf8');
  assert.ok(render(document) === document, 'docs/MODELS.md is stale; run: npm run models');
});

test.run();
