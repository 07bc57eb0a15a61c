/** Lint of models of tensors: what they take and give, what a proof costs, every problem; and what is wrong use. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { circuitCost } from '../../circuits/model/cost.ts';
import { hiddenCost } from '../../circuits/model/cost-hidden.ts';
import { lintTensors } from '../../circuits/model/lint-tensors.ts';
import { writeOnnx } from '../../circuits/model/onnx-writer.ts';
import { widestRows } from '../../circuits/model/outline.ts';
import { quantiseTensorModel } from '../../circuits/model/tensor-model.ts';
import { lintCommand } from '../../runtime/commands/model-lint.ts';
import { assert, suite } from '../harness.ts';
import { useHome } from '../runtime/home/home-fixture.ts';
import { temporaryFolder } from '../runtime/nats/nats-fixture.ts';
import { caseNames, haveCases, readCase, tensorCase } from './onnx-cases.ts';
import { graph, node, tensor } from './onnx-fixture.ts';
import { residual, residualSamples } from './tensors-fixture.ts';

const test = suite('lint of tensors');

test('what it takes and gives, and what a proof of one answer costs, are those of the published model', () => {
  const samples = residualSamples(8);
  const report = lintTensors(residual(), samples);
  const { architecture, error } = quantiseTensorModel(residual(), samples);
  assert.ok(report.provable);
  assert.equal(report.problems, []);
  assert.equal(report.named, architecture.named);
  const { proof } = report;
  assert.is(proof!.distance, error);
  assert.is(proof!.constraints, circuitCost(architecture, widestRows(architecture, 1)).constraints);
  const { constraints, domain } = hiddenCost(architecture);
  assert.equal(proof!.hidden, { constraints, domain });
  assert.ok(report.tensors!.some(({ from }) => from.length === 2));
  const coarse = lintTensors(residual(), samples, 4);
  assert.ok(coarse.proof!.constraints < proof!.constraints && coarse.proof!.distance > error);
});

test('every problem is told, and samples of other inputs are wrong use', () => {
  const g = graph([node('Tanh', ['x'], 'h'), node('Gelu', ['h'], 'y')], {});
  const report = lintTensors(g, [{ x: [1] }]);
  assert.not.ok(report.provable);
  assert.equal(
    report.problems.map(({ node: at, op }) => [at, op]),
    [
      [0, 'Tanh'],
      [1, 'Gelu'],
    ],
  );
  assert.throws(() => lintTensors(residual(), [{ z: [1] }]), /input "z" is unknown; expected x, gate/);
  assert.throws(() => lintTensors(residual(), [{ x: [1], gate: [1, 2] }]), /input "x": expected 8 numbers/);
  // No circuit holds the one, no format the other.
  const wide = graph([node('MatMul', ['x', 'w'], 'y')], { w: tensor([3, 2], [1, 2, 3, 4, 5, 6]) });
  const large = lintTensors({ ...wide, inputs: [{ name: 'x', dims: [1, 3] }] }, [{ x: [1e9, 1, 1] }]);
  assert.not.ok(large.provable);
  assert.match(large.problems[0]!.reason, /expected numbers below 2\^24/);
});

test('of each of the cases of ONNX it says whether it is provable, and no refusal is without a problem', (t) => {
  if (!haveCases()) t.skip('no ../shared/data/onnx');
  const provable = caseNames().filter((name) => {
    const { graph: g, sample } = readCase(name);
    const report = lintTensors(g, [sample()]);
    assert.is(report.provable, tensorCase(name).problems === undefined, name);
    assert.is(report.provable, report.problems.length === 0, name);
    return report.provable;
  });
  assert.ok(provable.length >= 22, `${provable.length}`);
});

test('the command prints it, and refuses what belongs to a table', async (t) => {
  useHome();
  const here = await temporaryFolder(t);
  const file = join(here, 'block.onnx');
  const tensors = join(here, 'samples.json');
  writeFileSync(file, writeOnnx(residual()));
  writeFileSync(tensors, JSON.stringify(residualSamples(3)));
  const lint = async (more: object, given = tensors): Promise<string> => {
    const lines: unknown[] = [];
    const done = await lintCommand(
      file,
      { tensors: given, json: false, ...more },
      (line) => void lines.push(line),
    );
    assert.ok(done);
    return lines.join('\n');
  };
  const said = await lint({});
  assert.match(said, /input {4}gate \[1, 2, 1\], from -\d+ to [\d.]+ in steps of /);
  assert.match(said, /output {3}block \[1, 2, 4\]/);
  assert.match(said, /takes \d+ and \d+/);
  assert.match(said, /proof {4}of one answer: at most \d+ constraints/);
  assert.match(said, /hidden {3}at most \d+ constraints[\s\S]*off by[\s\S]*over 3 samples\nprovable$/);
  for (const more of [
    { data: 'x.csv' },
    { dictionary: 'd.json' },
    { rows: 3 },
    { within: '2' },
    { reveal: true },
  ])
    assert.match(
      await lint(more).then(String, (reason: Error) => reason.message),
      /^lint: --\w+: tensors have no table and no trees; leave it out$/,
    );
  const nothing = join(here, 'nothing.json');
  writeFileSync(nothing, '[]');
  assert.match(
    await lint({}, nothing).then(String, (reason: Error) => reason.message),
    /samples: expected at least one/,
  );
});

test.run();
