/** Test sets: rows that some cells become, and what their repeats and labels tell. */
import type { Architecture } from '../../circuits/model/architecture.ts';
import { preprocess } from '../../circuits/model/preprocessing.ts';
import { decodeTestSet, encodeTestSet, rowCounts, type TestSet } from '../../circuits/model/test-set.ts';
import type { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { smallModel } from './model-fixture.ts';

const test = suite('test set');

const architecture: Architecture = {
  ...smallModel({ units: [5, 2] }).architecture,
  preprocessing: {
    columns: [
      { kind: 'integer', name: 'age', low: 18, high: 99 },
      { kind: 'category', name: 'housing', categories: ['own', 'rent', 'free'] },
      { kind: 'bins', name: 'amount', low: 0, high: 1000, bins: 4 },
    ],
  },
};
const row = (...cells: string[]): number[] => [...preprocess(architecture.preprocessing, cells)];
const read = (testSet: TestSet) => decodeTestSet(architecture, encodeTestSet(testSet));
const refused = (features: number[], why: RegExp) =>
  assert.throws(
    () => read({ features: [row('30', 'own', '10'), features], labels: [0, 1] }),
    (error: VouchError) => error.code === 'bad-file' && why.test(error.message),
  );

test('a row that the preprocessing makes is taken, any other is refused by its column', () => {
  read({ features: [row('30', 'own', '10'), row('18', 'free', '1000')], labels: [0, 1] });
  refused([30, 1, 1, 1, 0], /row 2: expected exactly one category of "housing" \(features 2 to 4\), got 3/);
  refused([30, 0, 0, 0, 0], /row 2: expected exactly one category of "housing".*got 0/);
  refused([30, 2, 0, 0, 0], /row 2, feature 2: expected an integer in 0..1, got 2/);
  refused([17, 1, 0, 0, 0], /row 2, feature 1: expected an integer in 18..99/);
  refused([30, 1, 0, 0, 4], /row 2, feature 5: expected an integer in 0..3/);
  refused([30, 1, 0, 0], /row 2: expected 5 features, got 4/);
});

test('repeated rows are counted whatever their labels, and the constant answer takes the commonest class', () => {
  const [a, b] = [row('30', 'own', '10'), row('31', 'own', '10')];
  assert.equal(rowCounts({ features: [b, a, b, a, a], labels: [1, 0, 1, 1, 0] }), {
    rows: 5,
    distinct: 2,
    commonest: { first: 2, last: 5, times: 3 },
    constant: 3,
  });
});

test.run();
