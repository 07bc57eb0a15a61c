/** Ensembles of trees: put on the features' grid exactly, padded without changing an answer, written and read back. */
import { existsSync, readFileSync } from 'node:fs';
import { parseArchitecture } from '../../circuits/model/architecture.ts';
import { commit, decodeSecret, encodeSecret, randomSalt } from '../../circuits/model/commit.ts';
import { preprocessingOf } from '../../circuits/model/dictionary.ts';
import { ensembleSums, isLeaf, onGrid } from '../../circuits/model/ensemble.ts';
import { lintModel } from '../../circuits/model/lint.ts';
import { readOnnx } from '../../circuits/model/onnx.ts';
import { featureRanges } from '../../circuits/model/preprocessing.ts';
import { evaluate, quantise } from '../../circuits/model/quantise.ts';
import { candidatesOf, heldBy, parseTopology } from '../../circuits/model/trees.ts';
import { CREDIT, readCreditData } from '../../runtime/models/credit-data.ts';
import { testSetFor } from '../../runtime/models/test-sets.ts';
import { partition } from '../../runtime/models/vendor.ts';
import { assert, suite } from '../harness.ts';
import { refuses } from './onnx-fixture.ts';
import { CANDIDATES, onGridSums, SMALL, smallEnsemble, smallRows, smallTrees } from './trees-fixture.ts';

const test = suite('trees');
const RANGES = featureRanges(preprocessingOf(SMALL));
const EXPORTS = new URL('../../../shared/data/exports/', import.meta.url);
const GERMAN = new URL('../../../shared/data/german.data', import.meta.url);

test('on the grid, padded or not, every row comes to the same leaf', () => {
  assert.is(candidatesOf(RANGES).length, CANDIDATES);
  for (let seed = 1; seed <= 60; seed++) {
    const options = { seed, trees: 1 + (seed % 4), depth: 1 + (seed % 3), outputs: seed % 5 === 0 ? 3 : 1 };
    const ensemble = smallEnsemble(options);
    const grid = onGrid(ensemble, RANGES);
    for (const row of smallRows(40, seed)) {
      const exact = [...ensembleSums(ensemble, row)];
      assert.equal(onGridSums(grid, ensemble, row), exact, `seed ${seed}`);
    }
    if (grid.every(isLeaf)) continue;
    const [padded, bare] = [smallTrees(options), smallTrees({ ...options, topology: true })];
    for (const row of smallRows(40, seed))
      assert.equal(evaluate(padded, row), evaluate(bare, row), `seed ${seed}`);
  }
});

test('what holds of a row: a candidate of each feature above its least value, and all below that one', () => {
  const candidates = candidatesOf(RANGES);
  for (const row of smallRows(20)) {
    const held = heldBy(RANGES, row);
    candidates.forEach(({ feature, from }, s) => {
      const last = held.find((h) => candidates[h]!.feature === feature);
      assert.is(last !== undefined && s <= last, row[feature]! >= from);
    });
  }
});

test('too many thresholds are refused with the column to change', () => {
  const columns = [{ kind: 'integer' as const, name: 'amount', low: 0, high: 5000 }, ...SMALL.columns];
  const ensemble = { ...smallEnsemble(), inputs: 6 };
  refuses(
    () => quantise(ensemble, { dictionary: { ...SMALL, columns }, calibration: [] }),
    'bad-input',
    /5012 possible thresholds, more than 4096, 5000 of them in feature 1; give wide columns the kind bins/,
  );
});

test('architecture and secret come back as they were, and nothing else does', () => {
  for (const topology of [false, true])
    for (const outputs of [1, 3]) {
      const model = smallTrees({ topology, outputs, trees: 4, depth: 3, seed: 4 });
      const { architecture } = model;
      const document = {
        version: 2,
        dictionary: architecture.dictionary,
        operations: [architecture.trees],
        rounding: architecture.rounding,
        decision: architecture.decision,
      };
      assert.equal(parseArchitecture(structuredClone(document)), architecture);
      const secret = encodeSecret(model);
      assert.equal(decodeSecret(architecture, secret), model);
      const other = { ...model, salt: randomSalt() };
      assert.not.equal(commit(model), commit(other));
      const trees = architecture.trees!;
      for (const change of [
        { accumulator: trees.accumulator - 1 },
        { targets: trees.targets.map(() => [5]) },
        { inputs: 4 },
        { topology: trees.targets.map(() => '10') },
        { topology: ['100'] },
        { topology: undefined, depth: 10, targets: Array.from({ length: 4096 }, () => [0]) },
        { topology: trees.targets.map(() => '1111000001') },
      ])
        assert.throws(
          () => parseArchitecture({ ...document, operations: [{ ...trees, ...change }] }),
          (error: { code?: string }) => error.code === 'bad-input',
          JSON.stringify(change),
        );
      assert.throws(
        () => parseArchitecture({ ...document, operations: [trees, trees] }),
        /or trees or operations on tensors alone/,
      );
      // A split beyond all candidates fits its bits, and is none.
      const splits = model.parameters.trees!.splits.with(0, 15);
      const beyond = { ...model, parameters: { layers: [], trees: { ...model.parameters.trees!, splits } } };
      assert.throws(
        () => decodeSecret(architecture, encodeSecret(beyond)),
        /a split beyond the 12 candidates/,
      );
    }
  assert.throws(() => parseTopology('1'), /ends too early/);
  assert.throws(() => parseTopology('0'), /is no tree/);
});

test('100 trees of depth 3 on 300 rows of German Credit: within the bar, and as right as the file itself', (t) => {
  if (!existsSync(EXPORTS) || !existsSync(GERMAN)) t.skip('no ../shared/data');
  const { test: held, features } = partition(readCreditData(readFileSync(GERMAN, 'utf8')), CREDIT);
  const rows = { calibration: features, testSet: testSetFor(held, preprocessingOf(CREDIT)) };
  for (const name of ['xgb100d3', 'skl_gbdt100', 'skl_dtree']) {
    const g = readOnnx(readFileSync(new URL(`${name}.onnx`, EXPORTS)));
    const { problems, trees, proof } = lintModel(g, { dictionary: CREDIT, rows });
    assert.equal(problems, [], name);
    assert.is(trees!.candidates, 161);
    assert.ok(Math.abs(proof!.correct.integers - proof!.correct.float) <= 1, name);
    assert.ok(proof!.constraints <= 360_000, `${name}: ${proof!.constraints}`);
    const bare = lintModel(g, { dictionary: CREDIT, rows, topology: true });
    assert.ok(bare.proof!.constraints <= proof!.constraints, name);
    assert.is(bare.proof!.correct.integers, proof!.correct.integers);
  }
});

test.run();
