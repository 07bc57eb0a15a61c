/** What one requester may have of a coordinator: jobs at once, and time within an hour. */
import type { VouchError } from '../../../protocols/errors.ts';
import { createBudget } from '../../../runtime/roles/budget.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('budget of a requester');
const MINUTE = 60_000;

function clocked() {
  let time = 1_000_000;
  const budget = createBudget({ jobs: 2, millis: 30 * MINUTE }, () => time);
  const refused = (who: string): string => {
    try {
      budget.open(who);
    } catch (error) {
      assert.is((error as VouchError).code, 'busy');
      return (error as VouchError).message;
    }
    return 'opened';
  };
  const pass = (millis: number) => {
    time += millis;
  };
  return { budget, refused, pass };
}

test('so many at once, and nobody pays for another', () => {
  const { budget, refused } = clocked();
  const end = budget.open('a');
  budget.open('a');
  assert.match(refused('a'), /2 proofs are being made for it, at most 2 at once/);
  budget.open('b');
  end();
  budget.open('a');
});

test('so much time within an hour, however it ended', () => {
  const { budget, refused, pass } = clocked();
  for (const minutes of [20, 10]) {
    const end = budget.open('a');
    pass(minutes * MINUTE);
    end();
  }
  assert.match(refused('a'), /had its share of this hour; ask again in 50 minutes/);
  assert.is(refused('b'), 'opened');
  pass(49 * MINUTE);
  assert.match(refused('a'), /share/);
  pass(2 * MINUTE);
  assert.is(refused('a'), 'opened');
});

test('who is not known is not limited, and whoever floods with names fills no memory', () => {
  const { budget, refused } = clocked();
  for (let i = 0; i < 10; i++) budget.open(undefined);
  budget.open('a');
  budget.open('a');
  for (let i = 0; i < 5000; i++) budget.open(`name-${i}`)();
  assert.match(refused('a'), /at most 2 at once/, 'what is open is not forgotten');
});

test.run();
