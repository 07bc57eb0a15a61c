import { createTrackRecords } from '../../../runtime/roles/track-record.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('track record');
const SAID = { g1: 1000, g2: 300 };
const right = { predictedMs: 100, computeMs: 100, elapsedMs: undefined, bytes: 1000 };

test('who is late gets less, then copies, then nothing; an answer in time makes up for one', () => {
  const records = createTrackRecords();
  assert.is(records.standing('w'), 'full');
  assert.equal(
    Array.from({ length: 5 }, () => records.missed('w', 0)),
    ['less', 'copies', 'none', 'none', 'none'],
  );
  records.punctual('w', right);
  records.punctual('w', right);
  assert.is(records.standing('w'), 'copies');
  assert.is(records.standing('another'), 'full');
});

test('a test comes later each time, and one that is passed gives work again', () => {
  const records = createTrackRecords();
  assert.not(records.testDue('w', 1e9), 'nobody tests who is not late');
  let now = 0;
  for (let i = 0; i < 3; i++) records.missed('w', now);
  const waits: number[] = [];
  for (let i = 0; i < 12; i++) {
    const began = now;
    while (!records.testDue('w', now)) now += 1000;
    waits.push(now - began);
    records.tested('w', now);
    records.missed('w', now);
  }
  assert.equal(
    waits,
    waits.toSorted((a, b) => a - b),
  );
  assert.ok(waits[0]! >= 5_000 && waits.at(-1)! <= 600_000, waits.join());
  assert.is(records.passed('w'), 'less');
  assert.not(records.testDue('w', now + 1e9));
});

test('what a worker says of its rates is corrected by what it did, in bounds', () => {
  const records = createTrackRecords();
  for (let i = 0; i < 20; i++) records.punctual('slow', { ...right, computeMs: 200 });
  assert.ok(records.rates('slow', SAID).g1 < 600);
  for (let i = 0; i < 200; i++) records.punctual('boaster', { ...right, computeMs: 1e9 });
  assert.ok(records.rates('boaster', SAID).g1 >= SAID.g1 / 64);
  assert.equal(records.rates('new', SAID), SAID);
  for (let i = 0; i < 50; i++) records.punctual('far', { ...right, elapsedMs: 1100, bytes: 1e6 });
  assert.ok(records.link('far').bytesPerSecond < 2e6);
});

test('no more is remembered than there is room for', () => {
  const records = createTrackRecords();
  for (let i = 0; i < 10_000; i++) records.missed(`w${i}`, 0);
  assert.is(records.standing('w0'), 'full', 'forgotten');
  assert.is(records.standing('w9999'), 'less');
});

test('a worker that had what it had not named is waited for longer, up to a bound', () => {
  const records = createTrackRecords();
  assert.is(records.patience('w1'), 1);
  for (let i = 0; i < 2; i++) records.hadArrived('w1');
  assert.equal([records.patience('w1'), records.patience('w2')], [16, 1]);
  for (let i = 0; i < 9; i++) records.hadArrived('w1');
  assert.is(records.patience('w1'), 64);
});

test.run();
