/**
 * The demonstration's data: credit applications in the format of UCI's Statlog German Credit file (`german.data`: 20
 * attributes and a label). Attributes and categories as in the data set's own description (`german.doc`, H. Hofmann, CC BY
 * 4.0). Numbers fall into 16 equal bins over the range of the 700 rows of that file that the split trains on; what lies
 * beyond belongs to the bin at the end.
 */
import { type Dictionary, parseDictionary } from '../../circuits/model/dictionary.ts';
import type { Column } from '../../circuits/model/preprocessing.ts';
import { type LabelledRow, readLabelled } from './labelled-rows.ts';

/** Documented categories that never occur in the file (A47, A95) are legal. */
const codes = (name: string, prefix: string, from: number, to: number): Column => ({
  kind: 'category',
  name,
  categories: Array.from({ length: to - from + 1 }, (_, i) => `${prefix}${from + i}`),
});
const number = (name: string, low: number, high: number): Column => ({
  kind: 'bins',
  name,
  low,
  high,
  bins: 16,
});

export const CREDIT: Dictionary = parseDictionary({
  version: 1,
  columns: [
    codes('checking-account', 'A1', 1, 4),
    number('duration-months', 4, 72),
    codes('credit-history', 'A3', 0, 4),
    codes('purpose', 'A4', 0, 10),
    number('credit-amount', 276, 15_945),
    codes('savings-account', 'A6', 1, 5),
    codes('employment-since', 'A7', 1, 5),
    number('instalment-rate-percent', 1, 4),
    codes('personal-status', 'A9', 1, 5),
    codes('other-debtors', 'A10', 1, 3),
    number('residence-since', 1, 4),
    codes('property', 'A12', 1, 4),
    number('age-years', 20, 75),
    codes('other-instalment-plans', 'A14', 1, 3),
    codes('housing', 'A15', 1, 3),
    number('existing-credits', 1, 4),
    codes('job', 'A17', 1, 4),
    number('dependants', 1, 2),
    codes('telephone', 'A19', 1, 2),
    codes('foreign-worker', 'A20', 1, 2),
  ],
  label: {
    name: 'label',
    classes: [
      { name: 'good', value: '1' },
      { name: 'bad', value: '2' },
    ],
  },
  split: { seed: 1, train: 70 },
});

/** Reads a labelled file of this format. Throws `bad-file`, which names the line and the column. */
export const readCreditData = (text: string): LabelledRow[] => readLabelled(text, CREDIT);
