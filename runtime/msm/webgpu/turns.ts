/**
 * Whose turn it is on a device that proofs share with an inference runner. An inference goes first: while one is under way
 * proof work gets its part of the time and no more, and what was submitted before is all that an inference waits for. Proof
 * work takes whatever is idle.
 *
 * Who says that an inference is under way may say so for ever: then proof work has its part, which is all that such a lie can
 * take from it.
 */
import { VouchError } from '../../../protocols/errors.ts';

/** What a queue asks before it submits. */
export interface Turns {
  /** What a submit should take, in milliseconds. */
  readonly targetMs: number;
  /** Resolves when something may be submitted; whoever has it says when the device is done with it. Rejects with `cancelled`. */
  begin(signal?: AbortSignal): Promise<() => void>;
}

/** How a device's time went lately, each a part of it between 0 and 1. They overlap where both were under way. */
export interface Split {
  readonly proofs: number;
  readonly inferences: number;
}

export interface SharedTurns extends Turns {
  /** Who else is there: whether anybody shares the device, and whether an inference is under way. */
  hear(others: { readonly present: boolean; readonly busy: boolean }): void;
  readonly present: boolean;
  /** Is called when somebody came to share the device. */
  onPresent(tell: () => void): void;
  /** of the last ten seconds */
  split(): Split;
  /** Milliseconds that proof work has waited for inferences so far. */
  readonly waitedMs: number;
}

/** A submit on a device of one's own: long enough that what lies between two is nothing. */
const ALONE_MS = 40;
/** On a device that is shared, where an inference waits for one. */
const SHARED_MS = 10;
/** A split is of so much time, looked at so often at most. */
const SPLIT_MS = 10_000;
const SAMPLE_MS = 500;

/** Nobody else is there. */
export const ALONE: Turns = { targetMs: ALONE_MS, begin: async () => () => {} };

export interface TurnsOptions {
  /** Part of the time that proof work may take while inferences are under way: 0 none of it, 1 never waits. */
  readonly share: number;
  /** milliseconds of a clock that only goes forward */
  readonly now?: () => number;
}

export function createTurns({ share, now = () => performance.now() }: TurnsOptions): SharedTurns {
  let present = false;
  let busy = false;
  let waitedMs = 0;
  /** Submits of proof work on the device. */
  let flying = 0;
  /** What proof work may still take of the time of inferences, in milliseconds; at most what one submit takes. */
  let credit = 0;
  let submitMs = SHARED_MS;
  const joined = new Set<() => void>();
  let changed = Promise.withResolvers<void>();
  let at = now();
  const total = { proofs: 0, inferences: 0 };
  const samples: { readonly at: number; readonly proofs: number; readonly inferences: number }[] = [];

  /** Books the time since it was last called. */
  const tick = () => {
    const then = at;
    at = now();
    if (flying > 0) total.proofs += at - then;
    if (!busy) return;
    total.inferences += at - then;
    credit = Math.min(submitMs, credit + share * (at - then));
  };
  const wake = () => {
    changed.resolve();
    changed = Promise.withResolvers();
  };
  /** Milliseconds until proof work may submit: 0 now, infinite until something changes. */
  const untilTurn = (): number => {
    if (!present || share >= 1) return 0;
    // One at a time, so that an inference that comes now waits for one.
    if (flying > 0) return Number.POSITIVE_INFINITY;
    if (!busy || credit >= submitMs) return 0;
    return share > 0 ? (submitMs - credit) / share : Number.POSITIVE_INFINITY;
  };
  const end = (took: number, charged: number) => {
    tick();
    flying--;
    if (charged > 0) credit += charged - took;
    if (present) submitMs = Math.max(1, took);
    wake();
  };

  return {
    get targetMs() {
      return present && share < 1 ? SHARED_MS : ALONE_MS;
    },
    get present() {
      return present;
    },
    get waitedMs() {
      return waitedMs;
    },

    async begin(signal) {
      for (;;) {
        if (signal?.aborted) throw new VouchError('cancelled', 'the computation was cancelled');
        tick();
        const ms = untilTurn();
        if (ms === 0) break;
        const asked = now();
        await change(changed.promise, ms, signal);
        if (busy) waitedMs += now() - asked;
      }
      const began = now();
      // What it will take, as far as that is known; corrected when it is over.
      const charged = busy ? submitMs : 0;
      credit -= charged;
      flying++;
      let ended = false;
      return () => {
        if (!ended) end(now() - began, charged);
        ended = true;
      };
    },

    hear(others) {
      tick();
      const came = others.present && !present;
      ({ present } = others);
      busy = others.present && others.busy;
      wake();
      if (came) for (const tell of joined) tell();
    },

    onPresent(tell) {
      joined.add(tell);
      if (present) tell();
    },

    split() {
      tick();
      const last = samples.at(-1);
      if (!last || at - last.at >= SAMPLE_MS) samples.push({ at, ...total });
      while (samples.length > 2 && at - samples[1]!.at >= SPLIT_MS) samples.shift();
      const first = samples[0]!;
      const part = (of: 'proofs' | 'inferences') =>
        at > first.at ? Math.min(1, (total[of] - first[of]) / (at - first.at)) : 0;
      return { proofs: part('proofs'), inferences: part('inferences') };
    },
  };
}

/** Resolves when something has changed, so many milliseconds are over, or somebody has lost patience. */
async function change(changed: Promise<void>, ms: number, signal: AbortSignal | undefined): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const over = () => resolve();
  // A timer takes no more than 2^31 ms.
  const timer = ms < 2 ** 31 ? setTimeout(over, Math.ceil(ms)) : undefined;
  signal?.addEventListener('abort', over);
  changed.then(over);
  await promise;
  signal?.removeEventListener('abort', over);
  clearTimeout(timer);
}
