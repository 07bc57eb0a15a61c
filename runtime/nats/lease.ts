/**
 * A lease on a job or a role, in the bucket `leases` (DESIGN, "Recovery"): the revision of the key is the epoch,
 * so a later holder always has a greater one. Nobody's wall clock is compared: a lease has expired for an
 * observer when its revision has not changed for its length on the observer's own monotonic clock. A lease in the
 * asker's own name is an earlier run's, because credentials are one per id: it is taken over at once.
 *
 * A lease does not stop a holder that was suspended and wakes up late: its work is refused by its epoch, and what
 * may happen once only is guarded where it is stored.
 */
import { z } from 'zod';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { BUCKETS } from '../../protocols/streams.ts';
import { token } from '../../protocols/subjects.ts';
import type { Bucket, Bus } from './bus.ts';

const LeaseValue = z.object({
  holder: z.string().max(130),
  lengthMs: z.int().min(1).max(3_600_000),
  /** tells two runs of the same holder apart */
  nonce: z.string().max(64),
});

/** What a lease needs of time; replaced in tests. */
export interface LeaseClock {
  /** milliseconds, monotonic */
  now(): number;
  /** Resolves after `ms`; rejects when aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export interface LeaseOptions {
  /** a subject token, for example a job's id */
  readonly key: string;
  /** who asks: `<role>.<id>` */
  readonly holder: string;
  /** A holder that is silent for this long has lost the lease. Renewed at a third of it. */
  readonly lengthMs?: number;
  readonly signal?: AbortSignal;
  readonly clock?: LeaseClock;
}

export interface Lease {
  /** Revision at which it was acquired: greater than any earlier holder's. */
  readonly epoch: number;
  /** Aborted when the lease is lost or released; `reason` then is a VouchError. */
  readonly lost: AbortSignal;
  /** Gives it up, so that the next one need not wait. */
  release(): Promise<void>;
}

const systemClock: LeaseClock = {
  now: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((done, fail) => {
      const stop = () => {
        clearTimeout(timer);
        fail(signal.reason);
      };
      // The signal may outlive many a sleep.
      const timer = setTimeout(() => {
        signal.removeEventListener('abort', stop);
        done();
      }, ms);
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop, { once: true });
    }),
};

/**
 * Waits until the lease is free or has expired and takes it. Throws `cancelled` when aborted, and what the bus
 * throws when NATS stays away.
 */
export async function acquire(bus: Bus, options: LeaseOptions): Promise<Lease> {
  const { holder, lengthMs = 6_000, clock = systemClock } = options;
  const key = token(options.key, 'lease key');
  const signal = options.signal ?? new AbortController().signal;
  const bucket = bus.bucket(BUCKETS.leases);
  const value = new TextEncoder().encode(JSON.stringify({ holder, lengthMs, nonce: crypto.randomUUID() }));

  let seen: { revision: number; since: number } | undefined;
  for (;;) {
    const entry = await bucket.get(key);
    const length = entry === undefined ? 0 : promisedTo(entry.value, holder, lengthMs);
    if (entry !== undefined && seen?.revision !== entry.revision)
      seen = { revision: entry.revision, since: clock.now() };
    const remaining = entry === undefined ? 0 : seen!.since + length - clock.now();
    if (remaining <= 0) {
      try {
        const epoch =
          entry === undefined
            ? await bucket.create(key, value)
            : await bucket.update(key, value, entry.revision);
        return hold(bucket, key, value, epoch, lengthMs, clock);
      } catch (error) {
        // Somebody was faster: look again.
        if (!(error instanceof VouchError && error.code === 'conflict')) throw error;
        continue;
      }
    }
    await clock.sleep(Math.min(remaining, lengthMs / 6), signal).catch(() => {
      throw new VouchError('cancelled', `lease ${key}: cancelled while somebody else holds it`);
    });
  }
}

/** For how long its holder may be silent, as seen by `asker`; unreadable contents count as a promise of `fallback`. */
function promisedTo(value: Uint8Array, asker: string, fallback: number): number {
  try {
    const { holder, lengthMs } = LeaseValue.parse(JSON.parse(new TextDecoder().decode(value)));
    return holder === asker ? 0 : lengthMs;
  } catch {
    return fallback;
  }
}

function hold(
  bucket: Bucket,
  key: string,
  value: Uint8Array,
  epoch: number,
  lengthMs: number,
  clock: LeaseClock,
): Lease {
  const end = new AbortController();
  const lose = (why: string) => end.abort(new VouchError('stale-epoch', `lease ${key}: lost, ${why}`));
  let revision = epoch;
  // Counted from before the request that renewed it; an observer counts from after.
  let renewed = clock.now();

  async function renew(): Promise<void> {
    const before = clock.now();
    try {
      revision = await bucket.update(key, value, revision);
      renewed = before;
    } catch (error) {
      if (!(error instanceof VouchError && error.code === 'conflict')) return;
      // An earlier renewal may have been stored although its acknowledgement never came.
      const entry = await bucket.get(key);
      if (entry !== undefined && sameBytes(entry.value, value)) revision = entry.revision;
      else lose('somebody else took it');
    }
  }

  const renewing = (async () => {
    while (!end.signal.aborted) {
      const due = renewed + lengthMs / 3 - clock.now();
      await clock.sleep(Math.max(due, lengthMs / 12), end.signal);
      const left = renewed + lengthMs - clock.now();
      if (left > 0) await Promise.race([renew(), clock.sleep(left, end.signal)]);
      if (clock.now() - renewed >= lengthMs) lose('it could not be renewed in time');
    }
  })().catch((error) => {
    if (!end.signal.aborted) lose(messageOf(error));
  });

  return {
    epoch,
    lost: end.signal,
    async release() {
      if (end.signal.aborted) return;
      end.abort(new VouchError('cancelled', `lease ${key}: released`));
      await renewing;
      // Where this fails, the lease expires by itself.
      await bucket.delete(key, revision).catch(() => {});
    },
  };
}

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i]);
