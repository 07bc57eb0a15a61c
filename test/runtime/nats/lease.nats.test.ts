import { BUCKETS } from '../../../protocols/streams.ts';
import { acquire, type Lease, type LeaseClock } from '../../../runtime/nats/lease.ts';
import { assert, suite } from '../../harness.ts';
import { bytes, codeOf, startFixture, until } from './nats-fixture.ts';

const test = suite('leases', { timeoutMs: 180_000 });

/** A clock that moves only when it is moved. Who uses it talks to a real server in between, as long as that takes. */
function handClock(): LeaseClock & { advance(ms: number): void; slept(times: number): Promise<void> } {
  let now = 0;
  let sleeps = 0;
  const sleepers = new Set<{ until: number; wake: () => void }>();
  return {
    now: () => now,
    sleep: (ms, signal) =>
      new Promise((done, fail) => {
        sleeps += 1;
        const sleeper = { until: now + ms, wake: done };
        sleepers.add(sleeper);
        signal.addEventListener('abort', () => {
          sleepers.delete(sleeper);
          fail(signal.reason);
        });
      }),
    advance(ms) {
      now += ms;
      for (const sleeper of [...sleepers]) {
        if (sleeper.until > now) continue;
        sleepers.delete(sleeper);
        sleeper.wake();
      }
    },
    /** Waits until its user has gone to sleep so many times. */
    slept: (times) => until(() => sleeps >= times),
  };
}

const lostBy = (lease: Lease): Promise<unknown> =>
  new Promise((done) => {
    if (lease.lost.aborted) done(lease.lost.reason);
    else lease.lost.addEventListener('abort', () => done(lease.lost.reason));
  });

test('one holder at a time; the next one after release has a greater epoch', async (t) => {
  const nats = await startFixture(t);
  const [one, two] = [await nats.bus('coordinator', 'c1'), await nats.bus('coordinator', 'c2')];
  const clock = handClock();
  const first = await acquire(one, {
    key: 'job',
    holder: 'coordinator.c1',
    lengthMs: 3000,
    clock: handClock(),
  });
  let taken = false;
  const waiting = acquire(two, { key: 'job', holder: 'coordinator.c2', lengthMs: 3000, clock }).then(
    (lease) => {
      taken = true;
      return lease;
    },
  );
  // It has looked, waited, and looked again.
  await clock.slept(1);
  clock.advance(500);
  await clock.slept(2);
  assert.not(taken);
  await first.release();
  clock.advance(500);
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
  let second: Lease | undefined;
  const waiting = acquire(two, { key: 'job', holder: 'c2', lengthMs: 900, clock: observerClock }).then(
    (lease) => {
      second = lease;
    },
  );
  await Promise.all([holderClock.slept(1), observerClock.slept(1)]);
  for (let i = 1; i <= 12; i++) {
    // A renewal sleeps once beside its request, in case that hangs, and once until the next is due.
    holderClock.advance(300);
    await holderClock.slept(1 + 2 * i);
    observerClock.advance(300);
    await Promise.race([observerClock.slept(1 + i), waiting]);
  }
  assert.is(second, undefined, 'renewed every 300 of 900 ms');
  // The holder stops; its clock does not move, so it does not even know.
  for (let i = 1; second === undefined; i++) {
    assert.ok(i <= 8, 'not after its length');
    observerClock.advance(150);
    await Promise.race([observerClock.slept(13 + i), waiting]);
  }
  assert.ok(second.epoch > first.epoch);
  // It wakes up, tries to renew, and learns that it has lost.
  assert.not(first.lost.aborted);
  holderClock.advance(300);
  assert.is(((await lostBy(first)) as { code: string }).code, 'stale-epoch');
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
  await bus.close();
  assert.is(((await lostBy(lease)) as { code: string }).code, 'stale-epoch');
});

test('survives a restart of the server shorter than its length', async (t) => {
  const nats = await startFixture(t);
  const bus = await nats.bus('coordinator', 'c1');
  const clock = handClock();
  const lease = await acquire(bus, { key: 'job', holder: 'c1', lengthMs: 20_000, clock });
  const away = new Promise<void>((resolve) => bus.onState((state) => state === 'disconnected' && resolve()));
  process.kill(nats.server.pid, 'SIGKILL');
  await away;
  await until(() => bus.state === 'connected');
  // A third of its length is over.
  clock.advance(7_000);
  await until(async () => (await bus.bucket(BUCKETS.leases).get('job'))!.revision > lease.epoch);
  assert.not(lease.lost.aborted);
  await lease.release();
  assert.is(await bus.bucket(BUCKETS.leases).get('job'), undefined);
});

test('cancelling, a bad key, and unreadable contents', async (t) => {
  const nats = await startFixture(t);
  const bus = await nats.bus('coordinator', 'c1');
  const clock = handClock();
  const held = await acquire(bus, { key: 'job', holder: 'c1', lengthMs: 5000, clock: handClock() });
  const abort = new AbortController();
  const waiting = codeOf(acquire(bus, { key: 'job', holder: 'c2', signal: abort.signal, clock }));
  await clock.slept(1);
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
  const [clock, still] = [handClock(), handClock()];
  const first = await acquire(before, { key: 'job', holder: 'c1', lengthMs: 3000, clock });
  // At once: its clock does not move.
  const second = await acquire(after, { key: 'job', holder: 'c1', lengthMs: 3000, clock: still });
  assert.ok(second.epoch > first.epoch);
  clock.advance(1000);
  assert.is(((await lostBy(first)) as { code: string }).code, 'stale-epoch');
  assert.not(second.lost.aborted);
  await second.release();
});

test.run();
