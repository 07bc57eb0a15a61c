/** The end of a quality circuit about a model that answers numbers, as circom source (emit.ts says what it states). */
import { type NumberEnd, outputsWithin } from './numbers.ts';
import type { TestSet } from './test-set.ts';

export interface NumberOutput {
  /** on a row's output, in absolute value */
  readonly bound: (row: number) => number;
  /** of a signed difference of two numbers within the bound and 1 */
  readonly bits: (row: number) => number;
  /** the signal, in the row `r` */
  readonly output: string;
}

/** Which rows are right where answers are numbers: those whose only output lies between two integers of the row. */
export function numberHead(
  number: NumberEnd,
  { labels, within = 0 }: TestSet,
  { bound, bits, output }: NumberOutput,
): string[] {
  const rows = labels.length;
  const between = labels.map((label, r) => outputsWithin(label, within, number, bound(r)));
  return [
    `var low[${rows}] = [${between.map(({ low }) => low)}];`,
    `var high[${rows}] = [${between.map(({ high }) => high)}];`,
    `var withinBits[${rows}] = [${labels.map((_, r) => bits(r))}];`,
    `component within[${rows}];`,
    `for (var r = 0; r < ${rows}; r++) {`,
    '    within[r] = Within(withinBits[r]);',
    `    within[r].in <== ${output};`,
    '    within[r].low <== low[r];',
    '    within[r].high <== high[r];',
    '    atLeast.right[r] <== within[r].right;',
    '}',
  ];
}
