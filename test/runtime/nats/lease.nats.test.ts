import { BUCKETS } from '../../../protocols/streams.ts';
import { acquire, type LeaseClock } from '../../../runtime/nats/lease.ts';
import { assert, suite } from '../../harness.ts';
import { bytes, codeOf, pause, startFixture } from './nats-fixture.ts';

const test = suite('leases', { timeoutMs: 60_000 });

/** A clock that moves only when told; sleepers wake in order. */
function handClock(): LeaseClock & { advance(ms: number): Promise<void> } {
  let now = 0;
  const sleepers = new Set<{ until: number; wake: () => void }>();
  return {
    now: () => now,
    sleep: (ms, signal) =>
      new Promise((done, fail) => {
        const sleeper = { until: now + ms, wake: done };
        sleepers.add(sleeper);
        signal.addEventListener('abort', () => {
          sleepers.delete(sleeper);
          fail(signal.reason);
        });
      }),
    async advance(ms) {
      now += ms;
      for (const sleeper of [...sleepers]) {
        if (sleeper.until > now) continue;
        sleepers.delete(sleeper);
        sleeper.wake();
      }
      // What was woken talks to a real server.
      await pause(30);
    },
  };
}

test('one holder at a time; the next one after release has a greater epoch', async (t) => {
  const nats = await startFixture(t);
  const [one, two] = [await nats.bus('coordinator', 'c1'), await nats.bus('coordinator', 'c2')];
  const first = await acquire(one, { key: 'job', holder: 'coordinator.c1', lengthMs: 3000 });
  let taken = false;
  const waiting = acquire(two, { key: 'job', holder: 'coordinator.c2', lengthMs: 3000 }).then((lease) => {
    taken = true;
    return lease;
  });
  await pause(700);
  assert.not(taken);
  await first.release();
  const second = await waiting;
  assert.ok(second.epoch > first.epoch);
  assert.ok(first.lost.aborted);
  assert.not(second.lost.aborted);
  await second.release();
});

test('a holder that renews keeps it; one that falls silent loses it after its length', async (t) => {
  const nats = await startFixture(t);
  const [one, two] = [await nats.bus('coordinator', 'c1'), await nats.bus('coordinator', 'c2')];
  const [holderClock, observerClock] = [handClock(), handClock()];
  const first = await acquire(one, { key: 'job', holder: 'c1', lengthMs: 900, clock: holderClock });
  let second: Awaited<ReturnType<typeof acquire>> | undefined;
  const waiting = acquire(two, { key: 'job', holder: 'c2', lengthMs: 900, clock: observerClock }).then(
    (lease) => {
      second = lease;
    },
  );
  await pause(100);
  for (let i = 0; i < 12; i++) {
    await holderClock.advance(300);
    await observerClock.advance(300);
  }
  assert.is(second, undefined, 'renewed every 300 of 900 ms');
  // The holder stops; its clock does not move, so it does not even know.
  for (let i = 0; i < 12 && second === undefined; i++) await observerClock.advance(100);
  await waiting;
  assert.ok(second!.epoch > first.epoch);
  // It wakes up, tries to renew, and learns that it has lost.
  assert.not(first.lost.aborted);
  await holderClock.advance(300);
  assert.ok(first.lost.aborted);
  assert.is((first.lost.reason as { code: string }).code, 'stale-epoch');
  const entry = await two.bucket(BUCKETS.leases).get('job');
  await first.release();
  assert.is(
    (await two.bucket(BUCKETS.leases).get('job'))?.revision,
    entry?.revision,
    'a loser deletes nothing',
  );
});

test('a holder that cannot renew in time gives up by its own clock', async (t) => {
  const nats = await startFixture(t);
  const bus = await nats.bus('coordinator', 'c1');
  const lease = await acquire(bus, { key: 'job', holder: 'c1', lengthMs: 500 });
  const lost = new Promise<void>((done) => lease.lost.addEventListener('abort', () => done()));
  await bus.close();
  await lost;
  assert.is((lease.lost.reason as { code: string }).code, 'stale-epoch');
});

test('survives a restart of the server shorter than its length', async (t) => {
  const nats = await startFixture(t);
  const bus = await nats.bus('coordinator', 'c1');
  const lease = await acquire(bus, { key: 'job', holder: 'c1', lengthMs: 20_000 });
  const away = new Promise<void>((resolve) => bus.onState((state) => state === 'disconnected' && resolve()));
  process.kill(nats.server.pid, 'SIGKILL');
  await away;
  while (bus.state !== 'connected') await pause(50);
  // It has been renewed since, if a third of its length is over.
  await pause(7_000);
  assert.not(lease.lost.aborted);
  await lease.release();
  assert.is(await bus.bucket(BUCKETS.leases).get('job'), undefined);
});

test('cancelling, a bad key, and unreadable contents', async (t) => {
  const nats = await startFixture(t);
  const bus = await nats.bus('coordinator', 'c1');
  const held = await acquire(bus, { key: 'job', holder: 'c1', lengthMs: 5000 });
  const abort = new AbortController();
  const waiting = codeOf(acquire(bus, { key: 'job', holder: 'c2', signal: abort.signal }));
  await pause(50);
  abort.abort();
  assert.is(await waiting, 'cancelled');
  await held.release();
  assert.is(await codeOf(acquire(bus, { key: 'a.b', holder: 'c1' })), 'bad-token');
  await bus.bucket(BUCKETS.leases).put('odd', bytes('not json'));
  const lease = await acquire(bus, { key: 'odd', holder: 'c1', lengthMs: 300 });
  await lease.release();
});

test('a lease in the own name is of an earlier run: taken over at once, and that run notices', async (t) => {
  const nats = await startFixture(t);
  const [before, after] = [await nats.bus('coordinator', 'c1'), await nats.bus('coordinator', 'c1')];
  const first = await acquire(before, { key: 'job', holder: 'c1', lengthMs: 3000 });
  const began = performance.now();
  const second = await acquire(after, { key: 'job', holder: 'c1', lengthMs: 3000 });
  assert.ok(performance.now() - began < 1000);
  assert.ok(second.epoch > first.epoch);
  await new Promise((lost) => first.lost.addEventListener('abort', lost));
  assert.is((first.lost.reason as { code: string }).code, 'stale-epoch');
  assert.not(second.lost.aborted);
  await second.release();
});

test.run();
