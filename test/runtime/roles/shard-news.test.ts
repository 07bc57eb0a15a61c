/** What is told of shards: bounded, told again, never undone, no finer than a hundredth of a second. */
import { MAX_NEWS, MAX_SHARD_NEWS, ProofProgress } from '../../../protocols/proof.ts';
import { createShardNews } from '../../../runtime/roles/shard-news.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('shard news');

const shard = (name: string, worker = 'w1') => ({
  shard: name,
  worker,
  points: 8,
  bytes: 100.5,
  predictedMs: 123,
});

test('a shard is told when it goes, when it comes back, and a few times more', () => {
  const news = createShardNews(1_000);
  news.sent('m1', shard('wires-0-8'), 1_004);
  const given = { shard: 'wires-0-8', worker: 'w1', points: 8, bytes: 101, predictedMs: 120, sentMs: 0 };
  assert.equal(news.tell(), [given]);
  assert.equal(news.tell(), [given], 'a message may be lost');
  news.ended('m1', 'done', 1_316);
  news.computed('m1', 287.3);
  assert.equal(news.tell(), [{ ...given, end: 'done', endMs: 320, computeMs: 290 }]);
  news.ended('m1', 'lost', 9_999);
  news.ended('nobody', 'lost', 9_999);
  assert.is(news.tell()[0]!.end, 'done', 'an end is for good');
});

test('a second copy is one as long as somebody has the first', () => {
  const news = createShardNews(0);
  news.sent('m1', shard('a'), 10);
  news.sent('m2', shard('a', 'w2'), 20);
  news.ended('m1', 'refused', 30);
  news.ended('m2', 'lost', 30);
  news.sent('m3', shard('a'), 40);
  assert.equal(
    news.tell().map(({ worker, copy = false, end }) => [worker, copy, end]),
    [
      ['w1', false, 'refused'],
      ['w2', true, 'lost'],
      ['w1', false, undefined],
    ],
  );
});

test('a worker whose rates say that it is never done does not end the telling', () => {
  const news = createShardNews(0);
  news.sent('m1', { ...shard('a'), predictedMs: Number.POSITIVE_INFINITY }, 10);
  const shards = news.tell();
  assert.is(shards[0]!.predictedMs, MAX_NEWS);
  const body = { job: 'j', phase: 'dispatching', done: 0, total: 1, workers: [], phases: {}, shards };
  assert.ok(ProofProgress.schema.safeParse(body).success);
});

test('however many change, what is told is bounded, and is a message', () => {
  const news = createShardNews(0);
  for (let i = 0; i < 1_000; i++) news.sent(`m${i}`, shard(`s${i}`), i);
  const first = news.tell();
  assert.is(first.length, MAX_SHARD_NEWS);
  assert.is(first.at(-1)!.shard, 's999');
  // What was crowded out while it was held is told when it ends.
  news.ended('m0', 'done', 2_000);
  const then = news.tell();
  assert.ok(then.length <= 17, `${then.length}`);
  assert.equal([then.at(-1)!.shard, then.at(-1)!.end], ['s0', 'done']);
  const body = { job: 'j', phase: 'dispatching', done: 0, total: 1, workers: [], phases: {}, shards: first };
  assert.ok(ProofProgress.schema.safeParse(body).success);
});

test.run();
