/**
 * The demonstration's data: credit applications in the format of UCI's Statlog German Credit file
 * (`german.data`: 20 attributes and a label, separated by spaces, no header), or the same columns as CSV,
 * where a header is allowed. Attributes and categories as in the data set's own description (`german.doc`,
 * H. Hofmann, CC BY 4.0). `sampleData` makes a file of the same format, so that nothing has to be fetched.
 */

import type { Preprocessing } from '../../circuits/model/preprocessing.ts';
import { VouchError } from '../../protocols/errors.ts';
import { seededRandom } from './random.ts';

export interface CreditRow {
  /** the 20 attributes, as written */
  readonly cells: readonly string[];
  /** 0 = good risk (1 in the file), 1 = bad risk (2 in the file) */
  readonly label: number;
}

export const CREDIT_CLASSES = ['good', 'bad'] as const;

interface Attribute {
  readonly name: string;
  /** absent for the seven numeric attributes */
  readonly categories?: readonly string[];
}

const codes = (prefix: string, from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, i) => `${prefix}${from + i}`);

/** The attributes in column order. Documented categories that never occur in the file (A47, A95) are legal. */
export const CREDIT_ATTRIBUTES: readonly Attribute[] = [
  { name: 'checking-account', categories: codes('A1', 1, 4) },
  { name: 'duration-months' },
  { name: 'credit-history', categories: codes('A3', 0, 4) },
  { name: 'purpose', categories: codes('A4', 0, 10) },
  { name: 'credit-amount' },
  { name: 'savings-account', categories: codes('A6', 1, 5) },
  { name: 'employment-since', categories: codes('A7', 1, 5) },
  { name: 'instalment-rate-percent' },
  { name: 'personal-status', categories: codes('A9', 1, 5) },
  { name: 'other-debtors', categories: codes('A10', 1, 3) },
  { name: 'residence-since' },
  { name: 'property', categories: codes('A12', 1, 4) },
  { name: 'age-years' },
  { name: 'other-instalment-plans', categories: codes('A14', 1, 3) },
  { name: 'housing', categories: codes('A15', 1, 3) },
  { name: 'existing-credits' },
  { name: 'job', categories: codes('A17', 1, 4) },
  { name: 'dependants' },
  { name: 'telephone', categories: codes('A19', 1, 2) },
  { name: 'foreign-worker', categories: codes('A20', 1, 2) },
];
const COLUMNS = CREDIT_ATTRIBUTES.length + 1;
const NUMBER = /^[0-9]{1,9}$/;
/** 64 MiB, well above any file of this kind */
const MAX_CHARACTERS = 64 * 1024 * 1024;

/** Reads a labelled file. Throws `bad-file`, which names the line and the column. */
export function readCreditData(text: string): CreditRow[] {
  if (text.length > MAX_CHARACTERS)
    throw new VouchError('bad-file', 'credit data: the file is larger than 64 MiB');
  const lines = text.replace(/^\uFEFF/, '').split(/\r?\n/);
  const first = lines.findIndex((line) => line.trim() !== '');
  if (first < 0)
    throw new VouchError('bad-file', 'credit data: the file is empty; expected one applicant per line');
  const comma = lines[first]!.includes(',');
  const cellsOf = (line: string): string[] =>
    comma ? line.split(',').map((cell) => cell.trim()) : line.trim().split(/\s+/);
  const rows: CreditRow[] = [];
  for (let i = first; i < lines.length; i++) {
    if (lines[i]!.trim() === '') continue;
    const cells = cellsOf(lines[i]!);
    if (cells.length !== COLUMNS) {
      throw new VouchError(
        'bad-file',
        `credit data, line ${i + 1}: expected ${COLUMNS} columns (20 attributes and the label), got ${cells.length}`,
      );
    }
    if (i === first && comma && isHeader(cells)) continue;
    rows.push(readRow(cells, i + 1));
  }
  if (rows.length === 0) throw new VouchError('bad-file', 'credit data: a header and no rows');
  return rows;
}

/** A header names the label column, where data has 1 or 2, and the first attribute, where data has A11 to A14. */
const isHeader = (cells: string[]): boolean =>
  !/^[0-9.+-]/.test(cells[COLUMNS - 1]!) && !/^A[0-9]/.test(cells[0]!);

function readRow(cells: string[], line: number): CreditRow {
  CREDIT_ATTRIBUTES.forEach((attribute, c) => {
    const cell = cells[c]!;
    const { categories } = attribute;
    if (categories ? !categories.includes(cell) : !NUMBER.test(cell)) {
      const expected = categories
        ? `one of ${categories[0]} to ${categories.at(-1)}`
        : 'a number of up to 9 digits without sign or point';
      throw badCell(line, c, attribute.name, expected, cell);
    }
  });
  const label = cells[COLUMNS - 1]!;
  if (label !== '1' && label !== '2') throw badCell(line, COLUMNS - 1, 'label', '1 (good) or 2 (bad)', label);
  return { cells: cells.slice(0, -1), label: Number(label) - 1 };
}

function badCell(line: number, column: number, name: string, expected: string, got: string): VouchError {
  return new VouchError(
    'bad-file',
    `credit data, line ${line}, column ${column + 1} (${name}): expected ${expected}, got ${JSON.stringify(got.slice(0, 40))}`,
  );
}

/**
 * One-hot categories, and numbers in 16 equal bins over the range of the given rows (pass the training
 * rows only: the test rows must not shape what the model sees).
 */
export function creditPreprocessing(rows: readonly CreditRow[]): Preprocessing {
  return {
    columns: CREDIT_ATTRIBUTES.map(({ name, categories }, c) => {
      if (categories) return { kind: 'category', name, categories: [...categories] };
      let low = Number.POSITIVE_INFINITY;
      let high = Number.NEGATIVE_INFINITY;
      for (const { cells } of rows) {
        low = Math.min(low, Number(cells[c]));
        high = Math.max(high, Number(cells[c]));
      }
      if (!Number.isFinite(low)) throw new RangeError('creditPreprocessing: expected at least one row');
      return { kind: 'bins', name, low, high: Math.max(high, low + 1), bins: 16 };
    }),
  };
}

export interface Split {
  readonly train: CreditRow[];
  readonly test: CreditRow[];
}

/** Seeded, stratified: 70 % of each class trains, the rest tests (700 and 300 of German Credit's 1000). */
export function split(rows: readonly CreditRow[], seed: number): Split {
  const random = seededRandom(seed);
  const train: CreditRow[] = [];
  const test: CreditRow[] = [];
  for (let label = 0; label < CREDIT_CLASSES.length; label++) {
    const group = random.shuffle(rows.filter((row) => row.label === label));
    const cut = Math.round(group.length * 0.7);
    train.push(...group.slice(0, cut));
    test.push(...group.slice(cut));
  }
  return { train: random.shuffle(train), test: random.shuffle(test) };
}
