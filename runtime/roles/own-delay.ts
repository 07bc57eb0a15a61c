/**
 * How late a process is itself: what a timer that should come regularly came too late, added up. A coordinator whose host has
 * no time for it finds every worker late, because it reads their answers late. Pure: the time is passed in.
 */

/** Of the time that was waited, what a process may itself have been late and still call others late. */
const OWN_PART = 1 / 4;

export function createOwnDelay(everyMs: number) {
  let [last, total]: [number | undefined, number] = [undefined, 0];
  return {
    /** The timer came. */
    tick(now: number): void {
      if (last !== undefined) total += Math.max(0, now - last - everyMs);
      last = now;
    },
    /** Milliseconds so far. */
    total: (): number => total,
    /** Was this process so late itself, since its delay was `before`, that `waitedMs` say nothing of others? */
    excuses: (waitedMs: number, before: number): boolean => total - before > OWN_PART * waitedMs,
  };
}
