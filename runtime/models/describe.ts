/**
 * A draft of a dictionary from a table, to be edited: what a machine can see of it. Few different texts are a category,
 * whole numbers within a narrow range an integer, other numbers bins; a label of many different numbers is a number. It sees neither what a class means nor which is which.
 */
import { type Dictionary, parseDictionary } from '../../circuits/model/dictionary.ts';
import type { NumberLabel } from '../../circuits/model/numbers.ts';
import type { Column } from '../../circuits/model/preprocessing.ts';
import { VouchError } from '../../protocols/errors.ts';
import { readTable } from './table.ts';

const MAX_CATEGORIES = 64;
const MAX_CLASSES = 32;
const NARROW = 15;
const BINS = 16;
const NUMBER = /^-?[0-9]{1,15}(\.[0-9]{1,9})?$/;
const WHOLE = /^-?[0-9]{1,7}$/;
const MISSING = ['', '?'];

/** `label`: the name of the label's column. Throws `bad-file` for a table that has no such column, or no header. */
export function describeTable(text: string, label: string): Dictionary {
  const [header, ...rows] = readTable(text);
  const names = header!.cells;
  const at = names.indexOf(label);
  if (at < 0 || new Set(names).size < names.length)
    throw new VouchError(
      'bad-file',
      `data, line 1: expected a header of different names with ${JSON.stringify(label)} among them, got ${names.join(', ').slice(0, 500)}`,
    );
  if (rows.length === 0) throw new VouchError('bad-file', 'data: a header and no rows');
  const uneven = rows.find(({ cells }) => cells.length !== names.length);
  if (uneven)
    throw new VouchError(
      'bad-file',
      `data, line ${uneven.line}: expected ${names.length} columns, got ${uneven.cells.length}`,
    );
  const cellsOf = (c: number): string[] => rows.map(({ cells }) => cells[c]!);
  const values = cellsOf(at);
  const classes = [...new Set(values)].sort();
  const number = classes.length > MAX_CLASSES ? describeNumber(classes) : undefined;
  if (!number && (classes.length < 2 || classes.length > MAX_CLASSES))
    throw new VouchError(
      'bad-file',
      `data: column ${JSON.stringify(label)} has ${classes.length} different values; expected 2 to ${MAX_CLASSES}, one per class, or numbers alone`,
    );
  return parseDictionary({
    version: 1,
    columns: names.flatMap((name, c) => (c === at ? [] : [describeColumn(name, cellsOf(c))])),
    label: number
      ? { name: label, number }
      : { name: label, classes: classes.map((value) => ({ name: value, value })) },
    split: { seed: 1, train: 70 },
  });
}

/** Labels as numbers of the coarsest step of a power of ten that all are multiples of, and that 2^24 steps suffice for. */
function describeNumber(cells: readonly string[]): NumberLabel | undefined {
  if (!cells.every((cell) => NUMBER.test(cell))) return undefined;
  const digits = cells.reduce((most, cell) => Math.max(most, cell.split('.')[1]?.length ?? 0), 0);
  const numbers = cells.map(Number);
  const [least, most] = [numbers.reduce((a, b) => Math.min(a, b)), numbers.reduce((a, b) => Math.max(a, b))];
  const scale = 10 ** digits;
  const [low, high] = [Math.floor(least * scale), Math.ceil(most * scale)];
  if (Math.max(-low, high) >= 2 ** 24) return undefined;
  return { low, high, step: digits === 0 ? '1' : `0.${'1'.padStart(digits, '0')}` };
}

function describeColumn(name: string, cells: readonly string[]): Column {
  const values = [...new Set(cells.filter((cell) => !MISSING.includes(cell)))];
  if (values.length === 0) throw new VouchError('bad-file', `data: column ${JSON.stringify(name)} is empty`);
  if (!values.every((value) => NUMBER.test(value))) {
    if (values.length > MAX_CATEGORIES)
      throw new VouchError(
        'bad-file',
        `data: column ${JSON.stringify(name)} has ${values.length} different texts; expected at most ${MAX_CATEGORIES} categories, or numbers; leave it out of the table`,
      );
    return { kind: 'category', name, categories: values.sort() };
  }
  const numbers = values.map(Number);
  const low = Math.floor(numbers.reduce((a, b) => Math.min(a, b)));
  const high = Math.ceil(numbers.reduce((a, b) => Math.max(a, b)));
  if (values.every((value) => WHOLE.test(value)) && high - low <= NARROW)
    return { kind: 'integer', name, low, high: Math.max(high, low + 1) };
  return { kind: 'bins', name, low, high: Math.max(high, low + 1), bins: BINS };
}
