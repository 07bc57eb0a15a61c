/** A day in minutes: bounded, in order, and nobody's joke. */
import { emptyModel, reduce } from '../../../runtime/monitor/model.ts';
import type { Observation } from '../../../runtime/monitor/observation.ts';
import { count, lineOf, MINUTES_KEPT, type Minute, totalOf } from '../../../runtime/monitor/series.ts';
import { assert, suite } from '../../harness.ts';
import { beat, progress, transition } from './monitor-fixture.ts';

const test = suite('monitor series');
const MINUTE = 60_000;
const BEGIN = 30_000_000 * MINUTE;

test('a day is kept, whatever comes later or too late', () => {
  const minutes: Minute[] = [];
  for (let i = 0; i < 3_000; i++) count(minutes, BEGIN + i * MINUTE, { inferences: 2 });
  assert.is(minutes.length, MINUTES_KEPT);
  count(minutes, BEGIN + 2_990 * MINUTE, { errors: 1 });
  assert.is(minutes.at(-10)!.errors, 1, 'a late one finds its minute');
  for (const at of [BEGIN, Number.NaN, Number.POSITIVE_INFINITY, -1]) count(minutes, at, { errors: 1 });
  assert.is(totalOf(minutes, 'errors'), 1);
  assert.is(totalOf(minutes, 'inferences'), 2 * MINUTES_KEPT);
  count(minutes, BEGIN + 9_000 * MINUTE);
  assert.is(minutes.length, 1, 'a day of silence is no day');
});

test('a count is a number of its minute, at most as large as one can be', () => {
  const minutes: Minute[] = [];
  for (const more of [-5, Number.NaN, Number.POSITIVE_INFINITY, 1e308])
    count(minutes, BEGIN, { points: more });
  assert.is(totalOf(minutes, 'points'), 1e12);
});

test('a line has a hole where nothing was heard, and takes a window together', () => {
  const minutes: Minute[] = [];
  for (const i of [0, 1, 4]) count(minutes, BEGIN + i * MINUTE, { proofs: 1 });
  const { times, values } = lineOf(minutes, 'proofs', { per: 1 / 60 });
  assert.equal(
    times.map((time) => time / 60 - 30_000_000),
    [0, 1, 2, 4],
  );
  assert.equal(values, [60, 60, null, 60]);
  assert.equal(lineOf(minutes, 'proofs', { per: 1 / 60, window: 60 }).values, [1, 2, null, 3]);
});

const after = (...observations: Observation[]) => reduce(emptyModel, observations).minutes;
const served = (at: number, count: number, boot = 'b1') =>
  beat(4, BEGIN + at, {
    kind: 'runner',
    id: 'r1',
    boot,
    state: 'ready',
    counts: { served: count },
    worker: null,
  });

test('inferences are what a runner has counted on, not what it had before, nor what a lie says', () => {
  const minutes = after(
    served(0, 1_000),
    served(1_000, 1_007),
    served(1_000, 1_007),
    served(2_000, 3),
    served(3_000, 8, 'b2'),
    served(4_000, 10, 'b2'),
    // After an hour in silence nobody knows in which minute it was.
    served(60 * MINUTE, 90_000, 'b2'),
  );
  assert.is(totalOf(minutes, 'inferences'), 7 + 2);
});

test('a point counts once, when a coordinator has taken its shard, whatever its worker says', () => {
  const news = { shard: 'wires-0-8', worker: 'w1', points: 32, bytes: 1, sentMs: 0, predictedMs: 10 };
  const done = { ...news, end: 'done' as const, endMs: 20, computeMs: 10 };
  const told = (shards: (typeof news)[], at = 0) => progress('dispatching', BEGIN + at, { shards, total: 4 });
  const claims = beat(1, BEGIN, { counts: { points: 1e15, done: 1e6 } });
  const model = reduce(emptyModel, [
    claims,
    told([news]),
    told([{ ...done, computeMs: undefined } as never]),
    told([done]),
    told([done, news]),
    told([done], MINUTE),
  ]);
  assert.is(totalOf(model.minutes, 'points'), 32);
  assert.equal(model.jobs.get('j1')!.shards, [done]);
});

test('proofs and failures count once each, a repeat none', () => {
  const to = (state: string, seq: number) =>
    transition(seq, state, { kind: 'proof-job', id: 'j1', at: BEGIN + seq, from: 'publishing' });
  const minutes = after(
    to('published', 9),
    to('published', 9),
    transition(1, 'failed', { at: BEGIN, from: 'joining' }),
    transition(1, 'failed', { at: BEGIN, from: 'joining' }),
  );
  assert.equal([totalOf(minutes, 'proofs'), totalOf(minutes, 'errors')], [1, 1]);
});

test('the shards that are remembered are bounded, of a job and in all', () => {
  const news = (i: number) => ({
    shard: `wires-${i}`,
    worker: 'w',
    points: 1,
    bytes: 1,
    sentMs: i,
    predictedMs: 1,
  });
  const model = reduce(
    emptyModel,
    Array.from({ length: 12 }, (_, job) =>
      progress('dispatching', BEGIN + job, {
        job: `j${job}`,
        total: 5_000,
        shards: Array.from({ length: 2_000 }, (_, i) => news(i)),
      }),
    ),
  );
  const kept = [...model.jobs.values()].map(({ shards }) => shards.length);
  assert.equal(kept, [0, 0, 0, 0, ...Array(8).fill(1024)]);
  assert.is(model.jobs.get('j11')!.shards.at(-1)!.shard, 'wires-1999');
});

test.run();
