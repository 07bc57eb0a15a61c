import { createFairShare } from '../../../../runtime/msm/shards/fair.ts';
import { assert, suite } from '../../../harness.ts';

const test = suite('msm fair share');

/** Gives pieces of one unit until every job has had what it wants; what each was given, in order. */
function play(
  share: ReturnType<typeof createFairShare>,
  wants: Record<string, number>,
  pieces: number,
): string[] {
  const left = { ...wants };
  const given: string[] = [];
  for (let i = 0; i < pieces; i++) {
    const job = share.order().find((id) => (left[id] ?? 0) > 0);
    if (job === undefined) break;
    left[job] = left[job]! - 1;
    share.served(job, 1);
    if (left[job] === 0) share.leave(job);
    given.push(job);
  }
  return given;
}
const countOf = (given: readonly string[], job: string) => given.filter((each) => each === job).length;

test('a short job beside a long one of somebody else, or of the same tenant, waits for one piece at most', () => {
  for (const tenant of ['a', 'b']) {
    const share = createFairShare();
    share.enter({ id: 'long', tenant: 'a' });
    play(share, { long: 1e9 }, 500);
    share.enter({ id: 'short', tenant });
    const given = play(share, { long: 1e9, short: 5 }, 20);
    assert.ok(given.lastIndexOf('short') <= 10, given.join(' '));
    assert.ok(given.indexOf('short') <= 1);
  }
});

test('tenants share by weight, however many jobs each has', () => {
  const share = createFairShare();
  for (let i = 0; i < 7; i++) share.enter({ id: `many${i}`, tenant: 'a' });
  share.enter({ id: 'one', tenant: 'b', weight: 3 });
  const wants = Object.fromEntries(
    ['one', ...Array.from({ length: 7 }, (_, i) => `many${i}`)].map((id) => [id, 1e9]),
  );
  const given = play(share, wants, 400);
  assert.ok(Math.abs(countOf(given, 'one') - 300) <= 2);
});

test('a priority goes first among the jobs of its tenant, and takes nothing from others', () => {
  const share = createFairShare();
  share.enter({ id: 'low', tenant: 'a' });
  share.enter({ id: 'high', tenant: 'a', priority: 9 });
  share.enter({ id: 'other', tenant: 'b' });
  const given = play(share, { low: 1e9, high: 50, other: 1e9 }, 100);
  assert.is(countOf(given, 'high'), 50);
  assert.is(countOf(given, 'low'), 0);
  assert.is(countOf(given, 'other'), 50);
});

test('who was away has saved nothing up, and who leaves is not forgiven what he took ahead', () => {
  const share = createFairShare();
  share.enter({ id: 'a1', tenant: 'a' });
  share.enter({ id: 'b1', tenant: 'b' });
  play(share, { a1: 1e9, b1: 1 }, 1000);
  share.enter({ id: 'b2', tenant: 'b' });
  const back = play(share, { a1: 1e9, b2: 1e9 }, 100);
  assert.ok(Math.abs(countOf(back, 'b2') - 50) <= 1);
  // One large piece ahead of b, then the job is left and another one entered.
  share.served('a1', 100);
  share.leave('a1');
  share.enter({ id: 'a2', tenant: 'a' });
  const after = play(share, { a2: 1e9, b2: 1e9 }, 100);
  assert.ok(countOf(after, 'a2') <= 1, after.join(' '));
});

test('what is not a job is ignored, and a weight has to be positive', () => {
  const share = createFairShare();
  share.served('nobody', 1);
  share.leave('nobody');
  assert.equal(share.order(), []);
  assert.throws(() => share.enter({ id: 'x', tenant: 'a', weight: 0 }), RangeError);
  share.enter({ id: 'x', tenant: '__proto__' });
  assert.throws(() => share.enter({ id: 'x', tenant: 'b' }), RangeError);
  assert.equal(share.order(), ['x']);
});

test.run();
