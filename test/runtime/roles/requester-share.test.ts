/** What one requester may have of a coordinator: jobs at once, and time within an hour. */
import type { VouchError } from '../../../protocols/errors.ts';
import { createShares } from '../../../runtime/roles/requester-share.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('share of a requester');
const MINUTE = 60_000;

function clocked() {
  let time = 1_000_000;
  const shares = createShares({ jobs: 2, millis: 30 * MINUTE }, () => time);
  const refused = (who: string): string => {
    try {
      shares.open(who);
    } catch (error) {
      assert.is((error as VouchError).code, 'busy');
      return (error as VouchError).message;
    }
    return 'opened';
  };
  const pass = (millis: number) => {
    time += millis;
  };
  return { shares, refused, pass };
}

test('so many at once, and nobody pays for another', () => {
  const { shares, refused } = clocked();
  const end = shares.open('a');
  shares.open('a');
  assert.match(refused('a'), /2 proofs are being made for it, at most 2 at once/);
  shares.open('b');
  end();
  shares.open('a');
});

test('so much time within an hour, however it ended', () => {
  const { shares, refused, pass } = clocked();
  for (const minutes of [20, 10]) {
    const end = shares.open('a');
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

test('whoever floods with names fills no memory', () => {
  const { shares, refused } = clocked();
  shares.open('a');
  shares.open('a');
  for (let i = 0; i < 5000; i++) shares.open(`name-${i}`)();
  assert.match(refused('a'), /at most 2 at once/, 'what is open is not forgotten');
});

test.run();
