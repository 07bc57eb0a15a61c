/**
 * Public preprocessing: how the cells of one row become the integers that a model sees. It is part of the
 * architecture digest, so a verifier applies exactly what the model's owner committed to.
 *
 * Everything is exact integer or rational arithmetic, so that another language gets the same integers:
 *   category  one feature per category, in the listed order: 1 for the cell's own, 0 for the others
 *   bins      v = the cell as an exact decimal; floor((v - low) * bins / (high - low)), clamped to 0..bins-1
 *   integer   the cell itself, which must be an integer in low..high
 *   decimal   the cell in units of the public step, halves rounded up: floor(cell / step + 1/2), which must lie in
 *             low..high, themselves in units of the step
 * A cell that is empty or `?` is refused, or stands for the column's `missing`; a category that is not listed is refused,
 * or stands for the column's `unknown`.
 * Features come in column order. A cell is compared as written, without trimming.
 */
import { z } from 'zod';
import { VouchError } from '../../protocols/errors.ts';

const Name = z.string().min(1).max(128);
const SafeInteger = z.int();
/** the cell that an empty one, or `?`, stands for; absent: it is refused */
const Missing = z.string().max(128).optional();

export const Column = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('category'),
    name: Name,
    categories: z.array(z.string().max(128)).min(1).max(1024),
    missing: Missing,
    unknown: z.string().max(128).optional(),
  }),
  z.strictObject({
    kind: z.literal('bins'),
    name: Name,
    low: SafeInteger,
    high: SafeInteger,
    bins: z.int().min(2).max(256),
    missing: Missing,
  }),
  z.strictObject({
    kind: z.literal('integer'),
    name: Name,
    low: SafeInteger,
    high: SafeInteger,
    missing: Missing,
  }),
  z.strictObject({
    kind: z.literal('decimal'),
    name: Name,
    low: SafeInteger,
    high: SafeInteger,
    step: z.string().regex(/^[0-9]{1,9}(\.[0-9]{1,9})?$/, 'expected a decimal such as 0.01'),
    missing: Missing,
  }),
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
    case 'decimal':
      return [{ low: column.low, high: column.high }];
  }
}

const MAX_FEATURES = 4096;
/** A feature's range: float32 represents every integer up to this exactly. */
const MAX_FEATURE = 2 ** 24;

/** What the schema of columns cannot say. Throws what `bad` makes of a field and a message. */
export function checkColumns(
  columns: readonly Column[],
  bad: (field: string, message: string) => VouchError,
): void {
  const features = columns.reduce((sum, c) => sum + (c.kind === 'category' ? c.categories.length : 1), 0);
  if (features > MAX_FEATURES) throw bad('columns', `${features} features, more than ${MAX_FEATURES}`);
  if (new Set(columns.map(({ name }) => name)).size < columns.length)
    throw bad('columns', 'two columns have the same name');
  for (const column of columns) {
    const field = `column "${column.name}"`;
    if (column.kind === 'category') {
      if (new Set(column.categories).size < column.categories.length)
        throw bad(field, 'a category occurs twice');
      for (const stand of [column.missing, column.unknown])
        if (stand !== undefined && !column.categories.includes(stand))
          throw bad(field, `${preview(stand)} is not among its categories`);
      continue;
    }
    if (column.low >= column.high) throw bad(field, 'expected low < high');
    if (column.kind !== 'bins' && Math.max(-column.low, column.high) >= MAX_FEATURE)
      throw bad(field, 'expected a range within 2^24');
    if (column.kind === 'decimal' && !/[1-9]/.test(column.step)) throw bad(field, 'expected a step above 0');
    if (column.missing !== undefined) {
      try {
        preprocess({ columns: [column] }, [column.missing]);
      } catch {
        throw bad(field, `${preview(column.missing)} is no value of it`);
      }
    }
  }
}

/** The features of one row of cells, in column order. Throws `bad-input`, which names the column. */
export function preprocess(spec: Preprocessing, cells: readonly string[]): Int32Array {
  if (cells.length !== spec.columns.length) {
    throw new VouchError('bad-input', `row: expected ${spec.columns.length} cells, got ${cells.length}`);
  }
  const features: number[] = [];
  spec.columns.forEach((column, i) => {
    const written = cells[i]!;
    const cell = MISSING.has(written) && column.missing !== undefined ? column.missing : written;
    switch (column.kind) {
      case 'category': {
        const known = column.categories.indexOf(cell);
        const hot =
          known < 0 && column.unknown !== undefined ? column.categories.indexOf(column.unknown) : known;
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
      case 'decimal':
        features.push(steps(column, cell));
        break;
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

/** Cells that stand for a value that nobody knows. */
const MISSING: ReadonlySet<string> = new Set(['', '?']);

const DECIMAL = /^(-?)([0-9]{1,15})(?:\.([0-9]{1,9}))?$/;

/** A decimal as whole units of 10^-digits. */
export function parseDecimal(text: string): { value: bigint; unit: bigint } | undefined {
  const parts = DECIMAL.exec(text);
  if (!parts) return undefined;
  const [, sign, whole = '', fraction = ''] = parts;
  return { value: BigInt(whole + fraction) * (sign ? -1n : 1n), unit: 10n ** BigInt(fraction.length) };
}

function bin(column: Column & { kind: 'bins' }, cell: string): number {
  const parsed = parseDecimal(cell);
  if (!parsed) throw badCell(column, 'a decimal number', cell);
  const { value, unit } = parsed;
  const above = value - BigInt(column.low) * unit;
  if (above <= 0n) return 0;
  const index = (above * BigInt(column.bins)) / (BigInt(column.high - column.low) * unit);
  return index >= BigInt(column.bins) ? column.bins - 1 : Number(index);
}

/** floor(cell / step + 1/2), exactly. */
function steps(column: Column & { kind: 'decimal' }, cell: string): number {
  const parsed = parseDecimal(cell);
  if (!parsed) throw badCell(column, 'a decimal number', cell);
  const step = parseDecimal(column.step)!;
  const above = 2n * parsed.value * step.unit + parsed.unit * step.value;
  const below = 2n * parsed.unit * step.value;
  const floor = above >= 0n ? above / below : -((below - 1n - above) / below);
  if (floor < BigInt(column.low) || floor > BigInt(column.high))
    throw badCell(column, `between ${column.low} and ${column.high} steps of ${column.step}`, cell);
  return Number(floor);
}

function badCell(column: Column, expected: string, got: string): VouchError {
  return new VouchError('bad-input', `column "${column.name}": expected ${expected}, got ${preview(got)}`);
}

const preview = (text: string): string => JSON.stringify(text.slice(0, 40));

const list = (items: readonly string[]): string =>
  items.length > 12 ? `${items.slice(0, 12).join(', ')}, … (${items.length})` : items.join(', ');
