/**
 * Public preprocessing: how the cells of one row become the integers that a model sees. It is part of the
 * architecture digest, so a verifier applies exactly what the model's owner committed to.
 *
 * Everything is exact integer or rational arithmetic, so that another language gets the same integers:
 *   category  one feature per category, in the listed order: 1 for the cell's own, 0 for the others
 *   bins      v = the cell as an exact decimal; floor((v - low) * bins / (high - low)), clamped to 0..bins-1
 *   integer   the cell itself, which must be an integer in low..high
 * Features come in column order. A cell is compared as written, without trimming.
 */
import { z } from 'zod';
import { VouchError } from '../../protocols/errors.ts';

const Name = z.string().min(1).max(128);
const SafeInteger = z.int();

export const Column = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('category'),
    name: Name,
    categories: z.array(z.string().max(128)).min(1).max(1024),
  }),
  z.strictObject({
    kind: z.literal('bins'),
    name: Name,
    low: SafeInteger,
    high: SafeInteger,
    bins: z.int().min(2).max(256),
  }),
  z.strictObject({ kind: z.literal('integer'), name: Name, low: SafeInteger, high: SafeInteger }),
]);
export type Column = z.infer<typeof Column>;

export const Preprocessing = z.strictObject({ columns: z.array(Column).min(1).max(4096) });
export type Preprocessing = z.infer<typeof Preprocessing>;

/** The least and greatest value of one feature. */
export interface Range {
  readonly low: number;
  readonly high: number;
}

/** One range per feature, in feature order. */
export const featureRanges = (spec: Preprocessing): Range[] => spec.columns.flatMap(columnRanges);

function columnRanges(column: Column): Range[] {
  switch (column.kind) {
    case 'category':
      return column.categories.map(() => ({ low: 0, high: 1 }));
    case 'bins':
      return [{ low: 0, high: column.bins - 1 }];
    case 'integer':
      return [{ low: column.low, high: column.high }];
  }
}

/** The features of one row of cells, in column order. Throws `bad-input`, which names the column. */
export function preprocess(spec: Preprocessing, cells: readonly string[]): Int32Array {
  if (cells.length !== spec.columns.length) {
    throw new VouchError('bad-input', `row: expected ${spec.columns.length} cells, got ${cells.length}`);
  }
  const features: number[] = [];
  spec.columns.forEach((column, i) => {
    const cell = cells[i]!;
    switch (column.kind) {
      case 'category': {
        const hot = column.categories.indexOf(cell);
        if (hot < 0) throw badCell(column, `one of ${list(column.categories)}`, cell);
        for (let c = 0; c < column.categories.length; c++) features.push(c === hot ? 1 : 0);
        break;
      }
      case 'bins':
        features.push(bin(column, cell));
        break;
      case 'integer': {
        const value = /^-?[0-9]{1,10}$/.test(cell) ? Number(cell) : Number.NaN;
        if (!(value >= column.low && value <= column.high)) {
          throw badCell(column, `an integer in ${column.low}..${column.high}`, cell);
        }
        features.push(value);
        break;
      }
    }
  });
  return Int32Array.from(features);
}

/**
 * The cells of a row given as an object, for JSON input: strings and finite numbers by column name.
 * Throws `bad-input` for a missing, unknown or oddly typed field.
 */
export function cellsOf(spec: Preprocessing, record: Readonly<Record<string, unknown>>): string[] {
  const names = new Set(spec.columns.map((column) => column.name));
  for (const key of Object.keys(record)) {
    if (!names.has(key)) {
      throw new VouchError('bad-input', `field ${preview(key)} is unknown; expected ${list([...names])}`);
    }
  }
  return spec.columns.map((column) => {
    const value = Object.hasOwn(record, column.name) ? record[column.name] : undefined;
    if (typeof value === 'string') return value;
    if (typeof value === 'number' && Number.isFinite(value)) return String(value);
    throw badCell(column, 'a string or a number', value === undefined ? 'nothing' : typeof value);
  });
}

const DECIMAL = /^(-?)([0-9]{1,15})(?:\.([0-9]{1,9}))?$/;

function bin(column: Column & { kind: 'bins' }, cell: string): number {
  const parts = DECIMAL.exec(cell);
  if (!parts) throw badCell(column, 'a decimal number', cell);
  const [, sign, whole = '', fraction = ''] = parts;
  const unit = 10n ** BigInt(fraction.length);
  const value = BigInt(whole + fraction) * (sign ? -1n : 1n);
  const above = value - BigInt(column.low) * unit;
  if (above <= 0n) return 0;
  const index = (above * BigInt(column.bins)) / (BigInt(column.high - column.low) * unit);
  return index >= BigInt(column.bins) ? column.bins - 1 : Number(index);
}

function badCell(column: Column, expected: string, got: string): VouchError {
  return new VouchError('bad-input', `column "${column.name}": expected ${expected}, got ${preview(got)}`);
}

const preview = (text: string): string => JSON.stringify(text.slice(0, 40));

const list = (items: readonly string[]): string =>
  items.length > 12 ? `${items.slice(0, 12).join(', ')}, … (${items.length})` : items.join(', ');
