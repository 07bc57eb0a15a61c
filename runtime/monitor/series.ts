/**
 * A day in minutes: how much was answered, proved and summed, and what went wrong. Pure, without a clock, bounded: a minute
 * of which nothing was heard has no entry, which is not the same as a zero. Counts of inferences are what runners say of
 * themselves; points count only when a coordinator has taken the shard, so no worker adds to them by what it says.
 */

/** One minute. */
export interface Minute {
  /** minutes since 1970 by the clock of the observations */
  readonly minute: number;
  readonly inferences: number;
  readonly proofs: number;
  /** base points of shards that were taken */
  readonly points: number;
  /** actors and jobs that failed, requests that did */
  readonly errors: number;
}
export type Counted = keyof Omit<Minute, 'minute'>;

export const MINUTES_KEPT = 24 * 60;
/** What a minute can be given at once: more is no count but somebody's joke. */
const MOST = 1e12;

export const minuteOf = (at: number): number => Math.floor(at / 60_000);

const emptyMinute = (minute: number): Minute => ({ minute, inferences: 0, proofs: 0, points: 0, errors: 0 });

/** Notes in `minutes`, which is in order, that something was heard then, and what it adds. */
export function count(minutes: Minute[], at: number, what: Partial<Record<Counted, number>> = {}): void {
  const minute = minuteOf(at);
  const newest = minutes.at(-1)?.minute ?? minute;
  if (!Number.isSafeInteger(minute) || minute <= newest - MINUTES_KEPT) return;
  let place = minutes.length;
  while (place > 0 && minutes[place - 1]!.minute > minute) place -= 1;
  const known = place > 0 && minutes[place - 1]!.minute === minute;
  if (known) place -= 1;
  const before = known ? minutes[place]! : emptyMinute(minute);
  const added = Object.entries(what).filter(([, more]) => more > 0 && Number.isFinite(more));
  if (known && added.length === 0) return;
  const sum = (name: Counted, more: number) => Math.min(before[name] + Math.min(more, MOST), MOST);
  const after = {
    ...before,
    ...Object.fromEntries(added.map(([name, more]) => [name, sum(name as Counted, more)])),
  };
  minutes.splice(place, known ? 1 : 0, after);
  const first = minutes.findIndex((one) => one.minute > minutes.at(-1)!.minute - MINUTES_KEPT);
  if (first > 0) minutes.splice(0, first);
}

/** For a chart: times in seconds, and a rate for each minute; null where nothing was heard. */
export interface Line {
  readonly times: readonly number[];
  readonly values: readonly (number | null)[];
}

/**
 * `per`: what a minute's count is divided by, 60 for "a second", 1/60 for "an hour". `window`: so many minutes back are taken
 * together, for what happens seldom.
 */
export function lineOf(
  minutes: readonly Minute[],
  name: Counted,
  { per, window = 1 }: { readonly per: number; readonly window?: number },
): Line {
  const times: number[] = [];
  const values: (number | null)[] = [];
  let sum = 0;
  let first = 0;
  minutes.forEach((one, index) => {
    const last = minutes[index - 1]?.minute;
    if (last !== undefined && one.minute > last + 1) {
      times.push((last + 1) * 60);
      values.push(null);
    }
    sum += one[name];
    for (; minutes[first]!.minute <= one.minute - window; first++) sum -= minutes[first]![name];
    times.push(one.minute * 60);
    values.push(sum / window / per);
  });
  return { times, values };
}

export const totalOf = (minutes: readonly Minute[], name: Counted): number =>
  minutes.reduce((sum, one) => sum + one[name], 0);
