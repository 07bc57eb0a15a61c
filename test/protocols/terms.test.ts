/** A vendor's terms: what one statement may ask, what rows it may be about, and how many proofs there may be. */
import type { VouchError } from '../../protocols/errors.ts';
import {
  addGranted,
  checkBudget,
  checkStatement,
  checkTestRows,
  DEFAULT_TERMS,
  type Granted,
  NOTHING_SPENT,
  nextThreshold,
  type RowCounts,
  type Spent,
  type Terms,
} from '../../protocols/terms.ts';
import { assert, suite } from '../harness.ts';

const test = suite('protocols/terms');

const TEST_SET = 'ab'.repeat(32);
const refused = (work: () => unknown, why: RegExp) =>
  assert.throws(work, (error: VouchError) => error.code === 'terms-refused' && why.test(error.message));

test('a statement has enough rows, a threshold on a step, and a registered test set', () => {
  const asked = { rows: 300, threshold: 219, testSet: TEST_SET };
  checkStatement(DEFAULT_TERMS, asked);
  checkStatement({ ...DEFAULT_TERMS, testSets: [TEST_SET] }, asked);
  refused(
    () => checkStatement(DEFAULT_TERMS, { ...asked, rows: 99, threshold: 80 }),
    /at least 100 rows, got 99/,
  );
  refused(
    () => checkStatement(DEFAULT_TERMS, { ...asked, threshold: 220 }),
    /steps of 1 % of 300 rows, got 220; the next is 222/,
  );
  refused(
    () => checkStatement({ ...DEFAULT_TERMS, testSets: ['cd'.repeat(32)] }, asked),
    /registered, got another/,
  );
});

test('between two thresholds that the terms allow lie as many rows as a step has', () => {
  for (const rows of [100, 101, 299, 300, 1000, 65_536]) {
    for (const thresholdStep of [1, 5, 7, 100]) {
      const terms: Terms = { ...DEFAULT_TERMS, thresholdStep };
      const allowed: number[] = [];
      for (let t = nextThreshold(terms, rows, 1); allowed.at(-1) !== t; t = nextThreshold(terms, rows, t + 1))
        allowed.push(t);
      assert.is(allowed.length, Math.ceil(100 / thresholdStep));
      for (const threshold of allowed) checkStatement(terms, { rows, threshold, testSet: TEST_SET });
      const gaps = allowed.slice(1, -1).map((t, i) => t - allowed[i]!);
      assert.ok(gaps.every((gap) => gap >= Math.floor((rows * thresholdStep) / 100)));
    }
  }
});

test('rows that repeat weigh less than a step, and a constant answer does not reach the threshold', () => {
  const counts: RowCounts = {
    rows: 300,
    distinct: 296,
    commonest: { first: 3, last: 17, times: 3 },
    constant: 210,
  };
  checkTestRows(DEFAULT_TERMS, counts, 219);
  refused(
    () => checkTestRows(DEFAULT_TERMS, { ...counts, commonest: { first: 3, last: 17, times: 4 } }, 219),
    /same row at most 3 times, got 4 times the row 3 \(row 17/,
  );
  refused(() => checkTestRows(DEFAULT_TERMS, { ...counts, distinct: 99 }, 219), /100 different rows, got 99/);
  refused(() => checkTestRows(DEFAULT_TERMS, counts, 210), /above 210 of 300 rows/);
});

const DAY = 86_400_000;
const grantedTo = (requester: string, job: number, time = 0): Granted => ({
  requester,
  job: `job-${job}`,
  time,
});
const spend = (terms: Terms, spent: Spent, granted: Granted): Spent => {
  checkBudget(terms, spent, granted);
  return addGranted(spent, granted);
};
const after = (terms: Terms, all: readonly Granted[]): Spent =>
  all.reduce((spent, each) => spend(terms, spent, each), NOTHING_SPENT);

test('a budget is per requester and for all, within a day and for ever', () => {
  const terms: Terms = {
    ...DEFAULT_TERMS,
    requester: { perDay: 2, ever: 3 },
    all: { perDay: 3, ever: 5 },
  };
  const two = after(terms, [grantedTo('a', 1), grantedTo('a', 2)]);
  refused(() => spend(terms, two, grantedTo('a', 3)), /a: .* 2 proofs within a day/);
  const three = spend(terms, two, grantedTo('b', 4));
  refused(() => spend(terms, three, grantedTo('c', 5)), /all requesters: .* 3 proofs within a day/);
  const later = spend(terms, three, grantedTo('a', 6, DAY));
  assert.equal(later.before, { a: 2, b: 1 });
  refused(() => spend(terms, later, grantedTo('a', 7, 2 * DAY)), /a: .* 3 proofs of this model/);
  const five = spend(terms, later, grantedTo('b', 8, 2 * DAY));
  refused(() => spend(terms, five, grantedTo('d', 9, 9 * DAY)), /all requesters: .* 5 proofs of this model/);
});

test('the same job is the same proof, and a requester called like a member of every object has a budget, too', () => {
  const terms: Terms = { ...DEFAULT_TERMS, requester: { ever: 1 }, all: {} };
  const once = spend(terms, NOTHING_SPENT, grantedTo('constructor', 1));
  assert.equal(spend(terms, once, grantedTo('constructor', 1, 1000)), once);
  refused(() => spend(terms, once, grantedTo('constructor', 2)), /constructor/);
  refused(() => spend(terms, once, grantedTo('constructor', 2, DAY)), /constructor/);
});

test.run();
