/** Scenarios: folders that say what the code says, models as good as expected, and copies that run. */
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { featureNames } from '../../../circuits/model/dictionary.ts';
import { readOnnx } from '../../../circuits/model/onnx.ts';
import { writeOnnx } from '../../../circuits/model/onnx-writer.ts';
import { rowCounts } from '../../../circuits/model/test-set.ts';
import { runCommand } from '../../../runtime/commands/scenario.ts';
import { boost, decideByTrees, onnxFromTrees } from '../../../runtime/demo/boosting.ts';
import {
  differenceFrom,
  KINDS,
  readScenario,
  rowsOf,
  scenarioNames,
  thresholdOf,
  trainModel,
} from '../../../runtime/demo/scenario.ts';
import { CREDIT } from '../../../runtime/models/credit-data.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { useHome } from '../home/home-fixture.ts';

const test = suite('scenarios', { timeoutMs: 60_000 });
const DATA = fileURLToPath(new URL('../../../../shared/data', import.meta.url));

function temporary(t: TestContext): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'vouch-scenario-'));
  t.defer(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

test('there are two, each with all its files, which fit each other', () => {
  assert.equal(scenarioNames(), ['credit-risk', 'marketing']);
  assert.equal(readScenario('credit-risk').dictionary, CREDIT);
  for (const name of scenarioNames()) {
    const { folder, dictionary, expected, settings } = readScenario(name);
    assert.equal(
      readFileSync(path.join(folder, 'features.txt'), 'utf8').trim().split('\n'),
      featureNames(dictionary),
    );
    assert.ok(expected && settings.testRows >= 100);
  }
});

/** Within one point of the float model, above what a constant answer scores, and at least the threshold. */
function checkModels(name: string, place: string | undefined): void {
  const scenario = readScenario(name);
  const rows = rowsOf(scenario, place);
  const tested = rows.testSet.labels.length;
  assert.is(tested, scenario.settings.testRows);
  const threshold = thresholdOf(scenario, rows);
  assert.ok(threshold > rowCounts(rows.testSet).constant, 'the threshold says something');
  for (const kind of KINDS) {
    const model = trainModel(scenario, rows, kind);
    assert.is(differenceFrom(scenario, rows, model), undefined, `${name}, ${kind}`);
    const { float, integers } = model.outcome;
    assert.ok(float >= threshold, `${name}, ${kind}: ${float}`);
    assert.ok(
      integers! >= threshold && Math.abs(float - integers!) <= tested / 100,
      `${name}, ${kind}: ${integers}`,
    );
  }
}

for (const name of ['credit-risk', 'marketing']) {
  test(`${name}, on generated rows: as expected, and integers within one point`, () => {
    const { rows, source } = rowsOf(readScenario(name), undefined);
    assert.match(source, /^GENERATED, seed \d+$/);
    assert.ok(rows.length >= 1000);
    checkModels(name, undefined);
  });
  test(`${name}, on the real rows: as expected, and integers within one point`, (t) => {
    if (!existsSync(DATA)) t.skip('no ../shared/data');
    checkModels(name, DATA);
  });
}

test('boosted trees: what the file says is what was trained, and the same data give the same trees', () => {
  const scenario = readScenario('credit-risk');
  const { training, testSet } = rowsOf(scenario, undefined);
  const trees = boost(training, { trees: 20, depth: 2 });
  assert.equal(trees, boost(training, { trees: 20, depth: 2 }));
  const graph = readOnnx(writeOnnx(onnxFromTrees(trees)));
  const { attributes, operator } = graph.nodes[0]!;
  assert.is(operator, 'ai.onnx.ml.TreeEnsembleClassifier');
  const ids = attributes.get('nodes_treeids') as number[];
  assert.is(new Set(ids).size, 20);
  // The file, walked as the operator is defined.
  const of = (name: string) => attributes.get(name) as number[];
  const modes = attributes.get('nodes_modes') as unknown as string[];
  const weights = new Map(
    of('class_nodeids').map((node, i) => [`${of('class_treeids')[i]}.${node}`, of('class_weights')[i]!]),
  );
  const at = new Map(ids.map((tree, i) => [`${tree}.${of('nodes_nodeids')[i]}`, i]));
  const decisions = testSet.features.map((row) => {
    let sum = of('base_values')[0]!;
    for (let tree = 0; tree < 20; tree++) {
      let node = 0;
      for (let i = at.get(`${tree}.0`)!; modes[i] !== 'LEAF'; i = at.get(`${tree}.${node}`)!)
        node =
          row[of('nodes_featureids')[i]!]! <= of('nodes_values')[i]!
            ? of('nodes_truenodeids')[i]!
            : of('nodes_falsenodeids')[i]!;
      sum += weights.get(`${tree}.${node}`)!;
    }
    return sum > 0 ? 1 : 0;
  });
  assert.equal(decisions, decideByTrees(trees, testSet.features));
  const correct = decisions.filter((decision, r) => decision === testSet.labels[r]).length;
  assert.ok(correct > rowCounts(testSet).constant, `${correct}`);
});

test('a copied folder runs under its own name; what is wrong in it is named', async (t) => {
  useHome();
  const folder = path.join(temporary(t), 'mine');
  cpSync(readScenario('credit-risk').folder, folder, { recursive: true });
  const printed: unknown[] = [];
  const context = { print: (value: unknown) => void printed.push(value), say: () => {}, signal: t.signal };
  const run = (options: { data?: string } = {}) =>
    runCommand(folder, { ...options, prove: 'none', json: true, out: path.join(folder, 'out') }, context);
  assert.ok(await run());
  assert.is((printed[0] as { name: string }).name, 'mine');
  assert.ok(existsSync(path.join(folder, 'out', 'mlp.onnx')));
  const failure = async (options?: { data?: string }): Promise<string> =>
    run(options).then(
      (same) => `ended ${same}`,
      (error: Error) => error.message,
    );
  assert.match(await failure({ data: path.join(folder, 'none.data') }), /none\.data: there is no such file/);
  const settings = path.join(folder, 'scenario.json');
  const text = readFileSync(settings, 'utf8');
  writeFileSync(path.join(folder, 'expected.json'), '{"generated": {"mlp": {"float": 1}}}');
  assert.is(await failure(), 'ended false', 'another outcome than the folder says');
  for (const [changed, reason] of [
    [text.replace('"credit"', '"tea"'), /scenario\.json: generated/],
    [text.slice(0, 50), /scenario\.json: expected JSON/],
    [text.replace('"generated": "credit",', ''), /expected --data FILE, nothing stands in for german\.data/],
  ] as const) {
    writeFileSync(settings, changed);
    assert.match(await failure(), reason);
  }
  assert.throws(() => readScenario('nobody'), /expected credit-risk, marketing or the folder of a scenario/);
});

test.run();
