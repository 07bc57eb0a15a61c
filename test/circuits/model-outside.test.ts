/** Models from outside, where they are there: ONNX's own cases, and what people export. */
import { existsSync, readFileSync } from 'node:fs';
import { readGraph } from '../../circuits/model/graph.ts';
import { readOnnx } from '../../circuits/model/onnx.ts';
import { assert, suite } from '../harness.ts';
import { DOCUMENT, render } from './models-document.ts';
import { caseNames, haveCases, tensorCase } from './onnx-cases.ts';
import { forward } from './onnx-fixture.ts';

const test = suite('models from outside');

test("ONNX's own conformance cases: computed near what they expect, or refused with a reason", (t) => {
  if (!haveCases()) t.skip('no ../shared/data/onnx');
  let provable = 0;
  for (const name of caseNames()) {
    const made = tensorCase(name);
    if (made.problems) {
      assert.ok(made.problems.length > 0 && made.problems.every((line) => line.length > 20), name);
      continue;
    }
    provable++;
    assert.ok(made.same, `${name}: as many numbers as expected`);
    assert.ok(made.error < 0.015, `${name}: ${made.error}`);
  }
  assert.ok(provable >= 22, `${provable} provable`);
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
