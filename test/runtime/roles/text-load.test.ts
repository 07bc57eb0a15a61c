import { createTextLoad } from '../../../runtime/roles/text-load.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('load of a runner that answers in text');

test('streams, those that wait, tokens of the last ten seconds, and the median of first tokens', () => {
  let now = 5_000;
  const load = createTextLoad(() => now);
  assert.equal(load.counts(), { streams: 0, waiting: 0, tokensPerSecond: 0 });
  const [slow, fast] = [load.begin(), load.begin()];
  now += 10;
  fast.said(50);
  assert.equal(load.counts(), { streams: 2, waiting: 1, tokensPerSecond: 5, firstTokenMs: 10 });
  now += 3_000;
  slow.said(100);
  slow.said(50);
  assert.equal(load.counts(), { streams: 2, waiting: 0, tokensPerSecond: 20, firstTokenMs: 3_010 });
  slow[Symbol.dispose]();
  slow[Symbol.dispose]();
  now += 8_000;
  assert.equal(load.counts(), { streams: 1, waiting: 0, tokensPerSecond: 15, firstTokenMs: 3_010 });
  now += 10_000;
  assert.equal(load.counts().tokensPerSecond, 0);
  // The median of the latest sixteen.
  for (let i = 0; i < 16; i++) {
    using answering = load.begin();
    now += 20 + i;
    answering.said(1);
  }
  assert.is(load.counts().firstTokenMs, 28);
});

test.run();
