/**
 * Which of the fields multiplies faster here. Pure: how a field is tried comes from outside (trial.ts).
 *
 * An engine runs code slowly until it has compiled it well, and another process may hold the core, so a short time says
 * little: each field has many windows, in turns, and its best call counts. The field that wins nearly everywhere needs
 * few of them; only when it seems to lose does the race take all. A race goes on when it is run again, so that what a
 * busy start decided wrongly does not last as long as its process.
 */
import type { Field } from './field.ts';

export type FieldKind = Field['name'];

/** A short window of time: multiplications a millisecond in each of its calls, in order; at least one. */
export type Window = () => readonly number[];

/**
 * Windows of each field: at least; where the usual winner does not lead clearly; before it loses while its code was never
 * seen compiled, because busy cores compile late; and at least on every later run.
 */
const ROUNDS = { usual: 3, unclear: 12, late: 100, later: 1 };
/** How much faster than the others the usual winner must be to end the race. */
const CLEARLY = 1.5;
/** How much faster than its first calls a field becomes, at least, once its code is compiled well. */
const COMPILED = 1.5;
/** Calls that are made before anything is compiled well; more than one, because one may be interrupted. */
const FIRST_CALLS = 3;

export interface FieldRace {
  /** Runs windows and says who leads: the first of those that never ran faster than another. */
  run(): FieldKind;
  /** The best calls so far. */
  readonly rates: Readonly<Partial<Record<FieldKind, number>>>;
}

/** `contenders`: at least one, the usual winner first. */
export function createFieldRace(
  contenders: ReadonlyArray<{ readonly kind: FieldKind; readonly window: Window }>,
): FieldRace {
  const entries = contenders.map(({ kind, window }) => ({ kind, window, first: 0, best: 0 }));
  const [usual, ...others] = entries;
  if (!usual) throw new RangeError('a race needs a contender');
  let rounds = 0;
  const round = () => {
    for (const entry of entries) {
      const rates = entry.window();
      if (rounds === 0) entry.first = Math.max(...rates.slice(0, FIRST_CALLS));
      entry.best = Math.max(entry.best, ...rates);
    }
    rounds++;
  };
  type Entry = (typeof entries)[number];
  const isCompiled = ({ best, first }: Entry) => best > COMPILED * first;
  const isClear = () => others.every((other) => usual.best > CLEARLY * other.best && isCompiled(other));
  const leader = () => entries.reduce((a, b) => (b.best > a.best ? b : a));
  return {
    run() {
      const least = rounds === 0 ? ROUNDS.usual : ROUNDS.later;
      for (let window = 0; window < least; window++) round();
      while (rounds < ROUNDS.unclear && !isClear()) round();
      while (rounds < ROUNDS.late && leader() !== usual && !isCompiled(usual)) round();
      return leader().kind;
    },
    get rates() {
      return Object.fromEntries(entries.map(({ kind, best }) => [kind, best]));
    },
  };
}
