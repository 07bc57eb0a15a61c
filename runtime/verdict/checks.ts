/** How a list of checks is printed, wherever one is: what came of each, its name, and what was compared. */
import type { Check } from '../../protocols/attestation/checklist.ts';

export type PrintedCheck = Pick<Check, 'id' | 'status' | 'detail'>;

/** What came of judging one thing. */
export interface Judgement {
  readonly accepted: boolean;
  readonly checks: readonly PrintedCheck[];
  readonly claims: unknown;
  /** of a proof that was accepted: what it proves, in a sentence */
  readonly proved?: string | undefined;
  /** of a proof that was not: what it says, in a sentence */
  readonly claimed?: string | undefined;
}

const STATUS_WIDTH = 'skipped'.length;
const LEAST_ID_WIDTH = 26;

/** One line a check, in columns. */
export function checkLines(checks: readonly PrintedCheck[]): string[] {
  const width = Math.max(LEAST_ID_WIDTH, ...checks.map(({ id }) => id.length));
  return checks.map(({ id, status, detail }) =>
    `${status.padEnd(STATUS_WIDTH)}  ${id.padEnd(width)}  ${detail}`.trimEnd(),
  );
}

/** The ids of what was not compared, because there was nothing to compare it with. */
export const skippedChecks = (checks: readonly PrintedCheck[]): string[] =>
  checks.filter(({ status }) => status === 'skipped').map(({ id }) => id);

/** The same in a line, which stands under every verdict. */
export const notChecked = (checks: readonly PrintedCheck[]): string =>
  `not checked: ${skippedChecks(checks).join(', ') || 'nothing was left out'}`;

/** How many of them passed, and how many were skipped, in a few words. */
export function checkCount(checks: readonly PrintedCheck[]): string {
  const count = (wanted: Check['status']) => checks.filter(({ status }) => status === wanted).length;
  const skipped = count('skipped');
  return `${count('pass')} of ${checks.length} checks passed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

/** The one form of a verdict in words: every check, the verdict, what was not checked, and what is proved. */
export const verdictLines = ({ accepted, checks, proved }: Judgement): string[] => [
  ...checkLines(checks),
  `verdict: ${accepted ? 'accept' : 'reject'}`,
  notChecked(checks),
  ...(proved === undefined ? [] : [proved]),
];
