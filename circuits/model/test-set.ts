/**
 * The test set of a quality proof: rows of integer features and what is right for them, a class or a number. It is public.
 *
 * Canonical bytes: the JSON text `{"features":[[...],...],"labels":[...],"version":1}`, without white space,
 * integers in decimal. Of a model whose answers are numbers `{"features":[[...]],"outputs":[[...]],"version":2}`: one row,
 * and what the model gives for it; of a row that is hidden the latter alone, `{"outputs":[[...]],"version":3}`.
 */
import { z } from 'zod';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import type { RowCounts } from '../../protocols/terms.ts';
import { type Architecture, outputBound, outputsOf } from './architecture.ts';
import { bestConstant } from './numbers.ts';
import { featureRanges, type Preprocessing } from './preprocessing.ts';

export interface TestSet {
  /** one row of features each, as `preprocess` gives them */
  readonly features: readonly ArrayLike<number>[];
  /** the right class of each row, or the right number, in steps */
  readonly labels: readonly number[];
  /**
   * how many steps from its label an answer that is a number counts as right: a part of what is asked, and not of the canonical
   * bytes; absent where answers are classes
   */
  readonly within?: number | undefined;
  /** of a model whose answers are numbers: what it gives for each row, in integers; there is one label, 0, then */
  readonly outputs?: readonly ArrayLike<number>[] | undefined;
}

/** An answer to one row: a class, a number in steps, or what a model gives whose answers are tensors. */
export type OneAnswer = number | ArrayLike<number>;

/** A row and the answer to it, as a circuit has them. */
export const answeredRow = (features: ArrayLike<number>, answer: OneAnswer): TestSet =>
  typeof answer === 'number'
    ? { features: [features], labels: [answer] }
    : { features: [features], labels: [0], outputs: [answer] };

/** Whether an answer to a row counts. */
export const isRight = ({ within = 0 }: Pick<TestSet, 'within'>, answer: number, label: number): boolean =>
  Math.abs(answer - label) <= within;

/** How many answers, one for each row, count. */
export const countRight = (testSet: TestSet, answers: readonly number[]): number =>
  answers.filter((answer, row) => isRight(testSet, answer, testSet.labels[row]!)).length;

export const MAX_ROWS = 65_536;
/** 64 MiB */
const MAX_BYTES = 64 * 1024 * 1024;

const TestSetFile = z.strictObject({
  version: z.literal(1),
  features: z.array(z.array(z.int())).max(MAX_ROWS),
  labels: z.array(z.int()).max(MAX_ROWS),
});

/** Of a model whose answers are numbers. */
const TensorsFile = z.strictObject({
  version: z.literal(2),
  features: z.array(z.array(z.int())).length(1),
  outputs: z.array(z.array(z.int())).length(1),
});

/** What is said of a hidden row. */
const OutputsFile = TensorsFile.omit({ features: true }).extend({ version: z.literal(3) });

/** The numbers of an answer without the row that they are for. */
export const encodeOutputs = (outputs: ArrayLike<number>): Uint8Array =>
  new TextEncoder().encode(JSON.stringify({ outputs: [Array.from(outputs)], version: 3 }));

/** Throws `bad-file` unless the bytes are such numbers, of this architecture. */
export function decodeOutputs(architecture: Architecture, bytes: Uint8Array): Int32Array {
  return decoded(bytes, (value) => {
    const outputs = Int32Array.from(OutputsFile.parse(value).outputs[0]!);
    checkAnswer(architecture, outputs);
    return outputs;
  });
}

export function encodeTestSet({ features, labels, outputs }: TestSet): Uint8Array {
  if (outputs) {
    const rows = {
      features: features.map((row) => Array.from(row)),
      outputs: outputs.map((o) => Array.from(o)),
    };
    return new TextEncoder().encode(JSON.stringify({ ...rows, version: 2 }));
  }
  const file = { features: features.map((row) => Array.from(row)), labels: [...labels], version: 1 };
  return new TextEncoder().encode(JSON.stringify(file));
}

/** Throws `bad-file` unless the bytes are a test set for this architecture. */
export function decodeTestSet(architecture: Architecture, bytes: Uint8Array): TestSet {
  return decoded(bytes, (value) => {
    const file = architecture.decision === 'tensor' ? TensorsFile.parse(value) : TestSetFile.parse(value);
    const testSet: TestSet = {
      features: file.features.map((row) => Int32Array.from(row)),
      ...('labels' in file
        ? { labels: file.labels }
        : { labels: [0], outputs: file.outputs.map((row) => Int32Array.from(row)) }),
    };
    checkTestSet(architecture, testSet);
    return testSet;
  });
}

function decoded<T>(bytes: Uint8Array, read: (value: unknown) => T): T {
  if (bytes.length > MAX_BYTES)
    throw new VouchError('bad-file', `test set: ${bytes.length} bytes, more than ${MAX_BYTES}`);
  try {
    return read(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)));
  } catch (error) {
    if (error instanceof VouchError) throw new VouchError('bad-file', error.message);
    const reason = error instanceof z.ZodError ? error.issues[0]!.message : messageOf(error);
    throw new VouchError('bad-file', `test set: truncated, or not a test set (${reason})`);
  }
}

/**
 * Throws `bad-input` when the test set does not fit the architecture: every row has to be one that the preprocessing
 * makes of some cells. Rows of all categories at once, or of none, would probe single weights.
 */
export function checkTestSet(architecture: Architecture, testSet: TestSet): void {
  const { features, labels, within, outputs } = testSet;
  checkOutputs(architecture, outputs);
  if (labels.length === 0 || labels.length > MAX_ROWS)
    throw bad(`expected 1 to ${MAX_ROWS} rows, got ${labels.length}`);
  if (features.length !== labels.length) {
    throw bad(`expected ${labels.length} rows of features, got ${features.length}`);
  }
  const { number } = architecture;
  const { low, high } = number?.label ?? { low: 0, high: architecture.classes.length - 1 };
  if (within !== undefined && !(number && Number.isInteger(within) && within >= 0 && within <= high - low))
    throw bad(
      number
        ? `within: expected 0 to ${high - low} steps, got ${within}`
        : 'within: the model answers classes and no numbers',
    );
  const ranges = featureRanges(architecture.preprocessing);
  const groups = categoryGroups(architecture.preprocessing);
  features.forEach((row, r) => {
    if (row.length !== ranges.length)
      throw bad(`row ${r + 1}: expected ${ranges.length} features, got ${row.length}`);
    ranges.forEach((range, i) => {
      const x = row[i]!;
      if (!Number.isInteger(x) || x < range.low || x > range.high) {
        throw bad(
          `row ${r + 1}, feature ${i + 1}: expected an integer in ${range.low}..${range.high}, got ${x}`,
        );
      }
    });
    for (const { name, from, to } of groups) {
      let hot = 0;
      for (let i = from; i < to; i++) hot += row[i]!;
      if (hot !== 1) {
        throw bad(
          `row ${r + 1}: expected exactly one category of "${name}" (features ${from + 1} to ${to}), got ${hot}`,
        );
      }
    }
    const label = labels[r]!;
    if (!Number.isInteger(label) || label < low || label > high)
      throw bad(`row ${r + 1}: expected a label in ${low}..${high}, got ${label}`);
  });
}

/** Throws `bad-input` for what is no class, no number in the range of the label, and not what a model of tensors can give. */
export function checkAnswer(architecture: Architecture, answer: OneAnswer): void {
  checkOutputs(architecture, typeof answer === 'number' ? undefined : [answer]);
  if (typeof answer !== 'number') return;
  const { number, classes } = architecture;
  const { low, high } = number?.label ?? { low: 0, high: classes.length - 1 };
  if (!Number.isInteger(answer) || answer < low || answer > high)
    throw new VouchError('bad-input', `answer: expected one in ${low}..${high}, got ${answer}`);
}

function checkOutputs(architecture: Architecture, outputs: TestSet['outputs']): void {
  if ((architecture.decision === 'tensor') !== (outputs !== undefined))
    throw bad('expected outputs where the answers of the model are numbers, and nowhere else');
  if (!outputs) return;
  const [count, bound] = [outputsOf(architecture), outputBound(architecture)];
  const [row] = outputs;
  if (outputs.length !== 1 || row!.length !== count) throw bad(`expected one row of ${count} outputs`);
  for (const value of Array.from(row!))
    if (!Number.isInteger(value) || Math.abs(value) > bound)
      throw bad(`expected outputs that are integers from ${-bound} to ${bound}, got ${value}`);
}

/** Where the features of each column of categories lie: from the first up to the last, less than `to`. */
function categoryGroups({ columns }: Preprocessing): Array<{ name: string; from: number; to: number }> {
  let at = 0;
  return columns.flatMap((column) => {
    const from = at;
    at += column.kind === 'category' ? column.categories.length : 1;
    return column.kind === 'category' ? [{ name: column.name, from, to: at }] : [];
  });
}

/** How many rows there are, how many of them differ, and what the best constant answer scores. */
export function rowCounts({ features, labels, within = 0 }: TestSet): RowCounts {
  const seen = new Map<string, { first: number; last: number; times: number }>();
  features.forEach((row, r) => {
    const key = Array.from(row).join();
    const known = seen.get(key);
    seen.set(key, { first: known?.first ?? r + 1, last: r + 1, times: (known?.times ?? 0) + 1 });
  });
  let commonest = { first: 0, last: 0, times: 0 };
  for (const each of seen.values()) if (each.times > commonest.times) commonest = each;
  return {
    rows: labels.length,
    distinct: seen.size,
    commonest,
    constant: bestConstant(labels, within),
  };
}

const bad = (message: string): VouchError => new VouchError('bad-input', `test set: ${message}`);
