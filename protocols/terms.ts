/**
 * What a vendor lets be asked of a model: part of the manifest that it signs, enforced by the coordinator and by each
 * key-broker on its own. A proof tells one bit; enough bits with moving thresholds and small test sets would tell the
 * weights, so the terms bound both what one proof may ask and how many there may be.
 */
import { z } from 'zod';
import { Digest } from './envelope.ts';
import { VouchError } from './errors.ts';

/** How many proofs; absent: as many as one likes. */
const Budget = z.strictObject({
  perDay: z.int().min(0).optional().describe('within 24 hours'),
  ever: z.int().min(0).optional().describe('under this name of the model'),
});

/** What an answer holds besides the class that was decided on. */
export const ANSWER_KINDS = ['decision', 'rounded', 'exact'] as const;
export type AnswerKind = (typeof ANSWER_KINDS)[number];

export const Terms = z.strictObject({
  minimumRows: z.int().min(1).max(65_536).describe('rows of a test set at least'),
  thresholdStep: z
    .int()
    .min(1)
    .max(100)
    .describe('thresholds are multiples of so many percent of the rows, rounded up to whole rows'),
  testSets: z
    .array(Digest)
    .min(1)
    .max(1024)
    .optional()
    .describe('the test sets that a proof may be about, as blobs; absent: any'),
  requester: Budget.describe('proofs for one requester'),
  all: Budget.describe('proofs for all requesters together'),
  trivial: z
    .boolean()
    .optional()
    .describe('whether a threshold may be asked that a constant answer reaches; absent: no'),
  inference: z.boolean().optional().describe('whether the answer to a single row may be proved; absent: no'),
  answers: z
    .enum([...ANSWER_KINDS, 'text'])
    .describe(
      'what answers hold: the decision only, rounded scores, or the exact logits; `text` where the commitment is a hash, and only there',
    ),
});
export type Terms = z.infer<typeof Terms>;

/** The terms of a vendor that says nothing. */
export const DEFAULT_TERMS: Terms = {
  minimumRows: 100,
  thresholdStep: 1,
  requester: { perDay: 20, ever: 200 },
  all: { perDay: 200 },
  inference: true,
  answers: 'decision',
};

/** The terms of a model whose commitment is a hash: no circuit computes it, so there is nothing that could be proved. */
export const TEXT_TERMS: Terms = {
  minimumRows: 1,
  thresholdStep: 1,
  requester: { perDay: 0, ever: 0 },
  all: { perDay: 0, ever: 0 },
  answers: 'text',
};

/** Whole rows that so many percent of them are. */
const rowsOf = (percent: number, rows: number): number => Math.ceil((percent * rows) / 100);

/** The least threshold of at least `least` rows that the terms allow; `rows` at most. */
export function nextThreshold({ thresholdStep }: Terms, rows: number, least: number): number {
  for (let percent = thresholdStep; percent < 100; percent += thresholdStep) {
    const threshold = rowsOf(percent, rows);
    if (threshold >= least) return threshold;
  }
  return rows;
}

/** What a statement says of itself, before anything that it names is looked at. */
export interface Asked {
  readonly rows: number;
  readonly threshold: number;
  /** digest of the test set; undefined: the row is hidden */
  readonly testSet?: string | undefined;
  /** steps from the label within which an answer that is a number counts */
  readonly within?: number | undefined;
}

/** Throws `terms-refused` for a statement that the vendor's terms do not allow. */
export function checkStatement(terms: Terms, { rows, threshold, testSet }: Asked): void {
  if (rows < terms.minimumRows)
    throw refused(`expected a test set of at least ${terms.minimumRows} rows, got ${rows}`);
  const next = nextThreshold(terms, rows, threshold);
  if (next !== threshold) {
    throw refused(
      `expected a threshold in steps of ${terms.thresholdStep} % of ${rows} rows, got ${threshold}; the next is ${next}`,
    );
  }
  if (terms.testSets !== undefined && (testSet === undefined || !terms.testSets.includes(testSet)))
    throw refused('expected one of the test sets that the vendor has registered, got another');
}

/**
 * Throws `terms-refused` where the vendor does not let answers to single rows be proved. Each tells what the answer tells, so
 * that of numbers (`exact`) is proved only where answers are exact as well.
 */
export function checkInference({ inference, answers }: Terms, exact: boolean): void {
  if (!inference) throw refused('expected a statement about a test set: single answers are not to be proved');
  if (exact && answers !== 'exact')
    throw refused('expected a statement about a class: exact numbers are no part of the answers');
}

/** What the rows of a test set are like. */
export interface RowCounts {
  readonly rows: number;
  /** that differ in a feature from all the others */
  readonly distinct: number;
  /** the row that occurs most often: where it is for the first and the last time, from 1, and how often */
  readonly commonest: { readonly first: number; readonly last: number; readonly times: number };
  /** what the best constant answer scores */
  readonly constant: number;
}

/**
 * Throws `terms-refused` for rows that would tell more than their number suggests: one that repeats weighs more than a
 * step of the threshold, and a threshold that a constant answer reaches tells nothing of the model's quality, but much of
 * single rows.
 */
export function checkTestRows(
  terms: Terms,
  { rows, distinct, commonest, constant }: RowCounts,
  threshold: number,
): void {
  if (distinct < terms.minimumRows)
    throw refused(`expected at least ${terms.minimumRows} different rows, got ${distinct} among ${rows}`);
  const most = Math.max(1, Math.floor((terms.thresholdStep * rows) / 100));
  if (commonest.times > most) {
    const { first, last, times } = commonest;
    throw refused(
      `expected the same row at most ${most} times, got ${times} times the row ${first} (row ${last} is one of them)`,
    );
  }
  if (threshold <= constant && !terms.trivial) {
    throw refused(
      `expected a threshold above ${constant} of ${rows} rows, which is what a constant answer scores, got ${threshold}`,
    );
  }
}

/** A proof that was granted: to whom, and when. */
export interface Granted {
  readonly job: string;
  readonly requester: string;
  /** milliseconds since 1970 */
  readonly time: number;
}

const DAY_MS = 86_400_000;

/** What was granted of one model: all of the last day, and before that only how many to whom. */
export interface Spent {
  readonly recent: readonly Granted[];
  /** proofs before those of `recent`, by requester */
  readonly before: Readonly<Record<string, number>>;
}
export const NOTHING_SPENT: Spent = { recent: [], before: {} };

/** What is spent after one more proof was granted. A job that was granted within a day is the same proof again. */
export function addGranted(spent: Spent, granted: Granted): Spent {
  const { recent, before } = agedTo(spent, granted.time);
  return { recent: recent.some(({ job }) => job === granted.job) ? recent : [...recent, granted], before };
}

/** Throws `terms-refused` when one more proof would be too many. */
export function checkBudget(terms: Terms, spent: Spent, { job, requester, time }: Granted): void {
  const { recent, before } = agedTo(spent, time);
  if (recent.some((each) => each.job === job)) return;
  const used = (mine: (name: string) => boolean) => {
    const perDay = recent.filter((each) => mine(each.requester)).length;
    const earlier = Object.entries(before).filter(([name]) => mine(name));
    return { perDay, ever: earlier.reduce((sum, [, count]) => sum + count, perDay) };
  };
  for (const [whose, budget, { perDay, ever }] of [
    [requester, terms.requester, used((name) => name === requester)],
    ['all requesters', terms.all, used(() => true)],
  ] as const) {
    if (budget.perDay !== undefined && perDay >= budget.perDay)
      throw refused(`${whose}: expected at most ${budget.perDay} proofs within a day; ask again tomorrow`);
    if (budget.ever !== undefined && ever >= budget.ever)
      throw refused(
        `${whose}: expected at most ${budget.ever} proofs of this model, all of them are used up`,
      );
  }
}

/** What is older than a day by `now` is only counted. */
function agedTo(spent: Spent, now: number): Spent {
  const recent: Granted[] = [];
  const before = new Map(Object.entries(spent.before));
  for (const each of spent.recent) {
    if (now - each.time < DAY_MS) recent.push(each);
    else before.set(each.requester, (before.get(each.requester) ?? 0) + 1);
  }
  return { recent, before: Object.fromEntries(before) };
}

const refused = (why: string): VouchError => new VouchError('terms-refused', `terms of the model: ${why}`);
