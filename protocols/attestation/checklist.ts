/**
 * The named checks of a verification. It fails closed: every required check starts as `skipped`, and only
 * when each of them was recorded as passed, and none failed, is the verdict `accept`.
 */
import { type ErrorCode, VouchError } from '../errors.ts';

export interface Check {
  readonly id: string;
  readonly status: 'pass' | 'fail' | 'skipped';
  /** why it failed, for programs */
  readonly code?: ErrorCode;
  /** one clause for people; never a secret */
  readonly detail: string;
}

export type Verdict = 'accept' | 'reject';

/** Records one check and returns whether it passed. */
export type Recorder = (id: string, passed: boolean, code: ErrorCode, detail: string) => boolean;

export interface Checklist {
  readonly record: Recorder;
  /** Adds checks that must pass, too. */
  require(ids: readonly string[]): void;
  /** Shows a check that was not asked for; it does not count. */
  omit(id: string, why: string): void;
  /** `label` goes in front of every detail. */
  result(label: string): { verdict: Verdict; checks: Check[] };
}

export function createChecklist(required: readonly string[]): Checklist {
  const checks = new Map<string, Check>();
  const optional = new Set<string>();
  const require = (ids: readonly string[]) => {
    for (const id of ids) checks.set(id, { id, status: 'skipped', detail: 'an earlier check failed' });
  };
  require(required);
  return {
    require,
    record: (id, passed, code, detail) => {
      // A check that failed once stays failed.
      if (checks.get(id)?.status !== 'fail') {
        checks.set(id, passed ? { id, status: 'pass', detail } : { id, status: 'fail', code, detail });
      }
      return passed;
    },
    omit: (id, why) => {
      optional.add(id);
      checks.set(id, { id, status: 'skipped', detail: why });
    },
    result: (label) => {
      const all = [...checks.values()];
      const counted = all.filter(({ id, status }) => status === 'fail' || !optional.has(id));
      const accepted = counted.length > 0 && counted.every(({ status }) => status === 'pass');
      return {
        verdict: accepted ? 'accept' : 'reject',
        checks: all.map((check) => ({ ...check, detail: label + check.detail })),
      };
    },
  };
}

/**
 * The checks of several pieces of one kind, of which one or more are refused, as one: failed where any has failed, and
 * the same in whatever order they came.
 */
export function refused(
  results: readonly { readonly verdict: Verdict; readonly checks: readonly Check[] }[],
): { verdict: 'reject'; checks: Check[] } {
  const rank = { fail: 0, pass: 1, skipped: 2 } as const;
  const all = results
    .filter(({ verdict }) => verdict === 'reject')
    .flatMap(({ checks }) => checks)
    .toSorted((a, b) => rank[a.status] - rank[b.status]);
  const ids = [...new Set(results.flatMap(({ checks }) => checks.map(({ id }) => id)))];
  return { verdict: 'reject', checks: ids.flatMap((id) => all.find((one) => one.id === id) ?? []) };
}

/**
 * Makes a recorder of steps that may throw: `id` passes with the words of `done`, or fails with the error's own. Only
 * coded errors are findings; any other is a defect and is thrown on.
 */
export const attempting =
  (record: Recorder) =>
  <T>(id: string, work: () => T, done: (value: T) => string): T | undefined => {
    try {
      const value = work();
      record(id, true, 'evidence-rejected', done(value));
      return value;
    } catch (error) {
      if (!(error instanceof VouchError)) throw error;
      record(id, false, 'evidence-rejected', error.message);
      return undefined;
    }
  };
