/**
 * What a coordinator remembers of a worker beyond its boots: how fast it really is against what it says, and whether it
 * answers in time. Who is late gets less, then only second copies, then nothing but a test now and then; every answer in
 * time makes up for one that was late. Pure: the time is passed in.
 *
 * A worker may say any rate and any time that it took. What it gains by lying is a shard or two that come late.
 */
import { STANDINGS, type Standing } from '../../protocols/msm.ts';
import type { Rates } from '../msm/shards/work.ts';

/** How far one measurement may be from what was expected and still be believed. */
const MAX_STEP = 4;
/** By what factor a link is believed to be slower after one shard that was long on its way. */
const LEAST_LINK_STEP = 1 / 2;
/** A rate that was measured at the start may be off by this much, and no more. */
const MAX_FACTOR = 64;
/** How many times as long a worker may be waited for that had what it had not named. */
const MAX_PATIENCE = 64;
/** How many are remembered: those of the fleet, and some that were here. */
const MAX_RECORDS = 4096;
const FIRST_TEST_MS = 5_000;
const LAST_TEST_MS = 10 * 60_000;
/** A late worker more or less says nothing. */
const MAX_LATE = 4;
/** Until something was measured: a local network. */
const FIRST_LINK = { bytesPerSecond: 100e6, roundTripMs: 5 };

interface Entry {
  /** real rate over the one that it says */
  factor: number;
  late: number;
  patience: number;
  bytesPerSecond: number;
  roundTripMs: number;
  /** when a worker that gets nothing may be tested again */
  nextTest: number;
  testEveryMs: number;
}

/** One shard that came back right and in time, all in milliseconds. */
export interface Punctual {
  readonly predictedMs: number;
  /** as the worker says */
  readonly computeMs: number;
  /** between sending and receiving; undefined when it had others in hand */
  readonly elapsedMs: number | undefined;
  readonly bytes: number;
}

export function createTrackRecords() {
  const entries = new Map<string, Entry>();
  const of = (worker: string): Entry => {
    const known = entries.get(worker);
    if (known) return known;
    for (const oldest of entries.keys()) if (entries.size >= MAX_RECORDS) entries.delete(oldest);
    const entry = { factor: 1, late: 0, patience: 1, ...FIRST_LINK, nextTest: 0, testEveryMs: FIRST_TEST_MS };
    entries.set(worker, entry);
    return entry;
  };
  const standing = (worker: string): Standing => STANDINGS[Math.min(of(worker).late, STANDINGS.length - 1)]!;
  return {
    standing,
    /** shards that it did not answer in time, less those that it did since */
    late: (worker: string): number => of(worker).late,
    /** What it says it does, corrected by what it did. */
    rates(worker: string, said: Rates): Rates {
      const { factor } = of(worker);
      return { g1: said.g1 * factor, g2: said.g2 * factor };
    },
    link(worker: string): { bytesPerSecond: number; roundTripMs: number } {
      const { bytesPerSecond, roundTripMs } = of(worker);
      return { bytesPerSecond, roundTripMs };
    },
    punctual(worker: string, { predictedMs, computeMs, elapsedMs, bytes }: Punctual): void {
      const entry = of(worker);
      entry.late = Math.max(0, entry.late - 1);
      entry.testEveryMs = FIRST_TEST_MS;
      if (predictedMs > 1) entry.factor = correctedFactor(entry.factor, predictedMs, computeMs, 1 / 2);
      if (elapsedMs === undefined) return;
      const onTheWay = Math.max(elapsedMs - computeMs, 0.1);
      entry.roundTripMs = Math.min(entry.roundTripMs * 1.1, (entry.roundTripMs + onTheWay) / 2);
      const measured = bytes / (onTheWay / 1000);
      // A link is at least as fast: whoever was busy, here or there, made the way longer as well.
      const factor = clamp(Math.sqrt(measured / entry.bytesPerSecond), LEAST_LINK_STEP, MAX_STEP);
      entry.bytesPerSecond = clamp(entry.bytesPerSecond * factor, 1e4, 1e10);
    },
    /** How many times as long as others it may go on without naming what was sent to it. */
    patience: (worker: string): number => of(worker).patience,
    /** What was taken for lost had arrived: it reads later than it tells. */
    hadArrived(worker: string): void {
      const entry = of(worker);
      entry.patience = Math.min(4 * entry.patience, MAX_PATIENCE);
    },
    /** Returns its standing from now on. */
    missed(worker: string, now: number): Standing {
      const entry = of(worker);
      entry.late = Math.min(entry.late + 1, MAX_LATE);
      if (entry.late > 1) {
        entry.nextTest = now + entry.testEveryMs;
        entry.testEveryMs = Math.min(entry.testEveryMs * 2, LAST_TEST_MS);
      }
      return standing(worker);
    },
    /** Whether it gets copies only or nothing, and is to be tested now. */
    testDue: (worker: string, now: number): boolean => of(worker).late > 1 && now >= of(worker).nextTest,
    /** A test is out: the next one is later. */
    tested(worker: string, now: number): void {
      const entry = of(worker);
      entry.nextTest = now + entry.testEveryMs;
    },
    /** It came back right and in time. */
    passed(worker: string): Standing {
      const entry = of(worker);
      entry.late = 1;
      entry.testEveryMs = FIRST_TEST_MS;
      return standing(worker);
    },
  };
}
export type TrackRecords = ReturnType<typeof createTrackRecords>;

/**
 * Real rate over the one that was measured, after one more sum. Only a part of the difference counts, as an exponent of it, because
 * a single sum may be an odd one; and neither one sum nor all of them move it further than their bounds.
 */
export function correctedFactor(
  factor: number,
  predictedMs: number,
  computeMs: number,
  part: number,
): number {
  const step = clamp(predictedMs / Math.max(computeMs, 1), 1 / MAX_STEP, MAX_STEP);
  return clamp(factor * step ** part, 1 / MAX_FACTOR, MAX_FACTOR);
}

const clamp = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);
