/**
 * The data dictionary: what the columns of a table mean, and what its classes are called, or in which steps its numbers are
 * told. It says how a row becomes the features that a model sees (preprocessing.ts) and how a label becomes a class or a whole
 * number of steps, so that two people who hold the same dictionary speak of the same thing. It is part of a model's architecture, and its digest is part of what a proof says.
 *
 * Classes stand in the order of the model's outputs. A label cell is a class where it is the class's name or one of the
 * values that the dictionary gives for it; which of them is right for a table, only its owner knows. So whoever
 * relies on a proof compares the model's dictionary with one of his own.
 *
 * Digest: SHA-256 of the deterministic CBOR (RFC 8949, section 4.2.1) of exactly the fields below.
 */
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { encode, rfc8949EncodeOptions } from 'cborg';
import { z } from 'zod';
import { VouchError } from '../../protocols/errors.ts';
import { decimalOf, NumberLabel, numberProblem, stepsOf } from './numbers.ts';
import { Column, checkColumns, type Preprocessing } from './preprocessing.ts';

const ClassName = z.string().min(1).max(64);

export const Dictionary = z.strictObject({
  version: z.literal(1),
  columns: z.array(Column).min(1).max(4096).describe('in the order of a table without a header'),
  label: z.strictObject({
    name: z.string().min(1).max(128).describe('of the column; the last one of a table without a header'),
    classes: z
      .array(
        z.strictObject({
          name: ClassName.describe('what an answer says'),
          value: z.string().max(128).describe('what a table says; often the same'),
        }),
      )
      .min(2)
      .max(1024)
      .optional()
      .describe("in the order of the model's outputs; absent where the label is a number"),
    number: NumberLabel.optional().describe('instead of classes'),
  }),
  split: z
    .strictObject({
      seed: z
        .int()
        .min(0)
        .max(2 ** 32 - 1),
      train: z.int().min(1).max(99).describe('percent of the rows of each class to train on'),
    })
    .describe('which rows are trained on and which tested with'),
});
export type Dictionary = z.infer<typeof Dictionary>;

/** Checks a dictionary from outside. Throws `bad-input`, which names the member. */
export function parseDictionary(value: unknown): Dictionary {
  const result = Dictionary.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0]!;
    throw bad(issue.path.join('.') || 'value', issue.message);
  }
  const dictionary = result.data;
  const { columns, label } = dictionary;
  checkColumns(columns, bad);
  if (columns.some(({ name }) => name === label.name))
    throw bad(
      'label.name',
      `the label ${JSON.stringify(label.name)} is a column as well: the model would see it`,
    );
  if ((label.classes === undefined) === (label.number === undefined))
    throw bad('label', 'expected either classes or number');
  const problem = label.number && numberProblem(label.number);
  if (problem) throw bad('label.number', problem);
  // A cell may be a name or a value, so no text may mean two classes.
  const meaning = new Map<string, number>();
  label.classes?.forEach(({ name, value }, c) => {
    for (const text of new Set([name, value])) {
      if (meaning.has(text)) throw bad('label.classes', `${JSON.stringify(text)} stands for two classes`);
      meaning.set(text, c);
    }
  });
  return dictionary;
}

export const dictionaryDigest = (dictionary: Dictionary): string =>
  bytesToHex(sha256(encode(dictionary, rfc8949EncodeOptions)));

/** None where the label is a number. */
export const classNames = ({ label }: Pick<Dictionary, 'label'>): string[] =>
  label.classes?.map(({ name }) => name) ?? [];

export const preprocessingOf = ({ columns }: Pick<Dictionary, 'columns'>): Preprocessing => ({ columns });

/** What a label cell says: a class, by name or value, or a number of steps. Throws `bad-input`. */
export function labelOf({ label }: Pick<Dictionary, 'label'>, cell: string): number {
  if (label.number) return stepsOf(label.name, label.number, cell);
  const classes = label.classes ?? [];
  const found = classes.findIndex(({ name, value }) => cell === name || cell === value);
  if (found >= 0) return found;
  const expected = classes
    .map(({ name, value }) => (name === value ? name : `${value} (${name})`))
    .join(' or ');
  throw new VouchError(
    'bad-input',
    `column ${JSON.stringify(label.name)}: expected ${expected}, got ${JSON.stringify(cell.slice(0, 40))}`,
  );
}

/** A label as a table has it. */
export const labelCell = ({ label }: Pick<Dictionary, 'label'>, value: number): string =>
  label.number ? decimalOf(value, label.number) : label.classes![value]!.value;

/** What labels and answers are, in a few words. */
export function labelText({ label }: Pick<Dictionary, 'label'>): string {
  if (!label.number) return classNames({ label }).join(', ');
  const { low, high, step } = label.number;
  return `a number from ${decimalOf(low, { step })} to ${decimalOf(high, { step })} in steps of ${step}`;
}

/** One name per feature, in feature order: what a table of features has as its header. */
export const featureNames = ({ columns }: Pick<Dictionary, 'columns'>): string[] =>
  columns.flatMap((column) =>
    column.kind === 'category' ? column.categories.map((each) => `${column.name}=${each}`) : [column.name],
  );

/** In which way two dictionaries differ that have to be one, in a sentence; undefined: they say the same. */
export function differenceOf(mine: Dictionary, theirs: Dictionary): string | undefined {
  const [own, other] = [mine, theirs].map(
    ({ label }) =>
      label.classes?.map(({ name, value }) => `${value} (${name})`).join(', ') ?? labelText({ label }),
  );
  if (own !== other)
    return mine.label.classes && theirs.label.classes
      ? `the classes here are ${own}, in this order; the model's are ${other}`
      : `the label here is ${own}; the model's is ${other}`;
  if (mine.label.name !== theirs.label.name)
    return `the label here is ${JSON.stringify(mine.label.name)}, the model's is ${JSON.stringify(theirs.label.name)}`;
  const text = (value: unknown): string => bytesToHex(encode(value, rfc8949EncodeOptions));
  const at = mine.columns.findIndex((column, i) => text(column) !== text(theirs.columns[i] ?? null));
  if (at >= 0 || mine.columns.length !== theirs.columns.length) {
    const name = (mine.columns[at] ?? theirs.columns[mine.columns.length])!.name;
    return `column ${JSON.stringify(name)} is not the same in both`;
  }
  return undefined;
}

const bad = (member: string, message: string): VouchError =>
  new VouchError('bad-input', `dictionary: ${member}: ${message}`);
