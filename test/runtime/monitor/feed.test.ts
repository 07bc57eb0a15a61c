import { createFeed } from '../../../runtime/monitor/feed.ts';
import type { Observation } from '../../../runtime/monitor/observation.ts';
import { assert, suite } from '../../harness.ts';
import { transition } from './monitor-fixture.ts';

const test = suite('monitor feed');

test('a full feed drops the newest and says how many', async () => {
  const feed = createFeed(2);
  for (let seq = 1; seq <= 5; seq++) feed.push(transition(seq, 'idle'));
  feed.end();
  const taken: Observation[] = [];
  for await (const observation of feed) taken.push(observation);
  assert.equal(taken, [
    transition(1, 'idle'),
    transition(2, 'idle'),
    { type: 'dropped', at: 2_000, reason: 'overflow', count: 3 },
  ]);
});

test('a feed wakes its waiting reader', async () => {
  const feed = createFeed();
  const iterator = feed[Symbol.asyncIterator]();
  const next = iterator.next();
  feed.push(transition(1, 'idle'));
  assert.equal((await next).value, transition(1, 'idle'));
  const last = iterator.next();
  feed.end();
  assert.ok((await last).done);
});

test.run();
