/**
 * Labelled rows as a dictionary describes them: read from a table, split into those to train on and those to test with,
 * and written again. A header names the columns, in any order; without one they are those of the dictionary, the label last.
 */
import type { Architecture } from '../../circuits/model/architecture.ts';
import { type Dictionary, labelCell, labelOf, preprocessingOf } from '../../circuits/model/dictionary.ts';
import { type Preprocessing, preprocess } from '../../circuits/model/preprocessing.ts';
import type { TestSet } from '../../circuits/model/test-set.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { seededRandom } from './random.ts';
import { csvLine, readTable } from './table.ts';

export interface LabelledRow {
  /** as written, in the dictionary's order */
  readonly cells: readonly string[];
  /** which of the dictionary's classes, or a number of its steps */
  readonly label: number;
}

/** Reads labelled rows; each cell is looked at. Throws `bad-file`, which names the line and the column. */
export function readLabelled(text: string, dictionary: Dictionary): LabelledRow[] {
  const [first, ...others] = readTable(text);
  const names = [...dictionary.columns.map(({ name }) => name), dictionary.label.name];
  const header = headerOf(first!.cells, names);
  const order = header ?? names.map((_, i) => i);
  const width = header ? first!.cells.length : names.length;
  const lines = header ? others : [first!, ...others];
  if (lines.length === 0) throw new VouchError('bad-file', 'data: a header and no rows');
  const spec = preprocessingOf(dictionary);
  return lines.map(({ line, cells }) => {
    const at = `data, line ${line}`;
    if (cells.length !== width)
      throw new VouchError(
        'bad-file',
        `${at}: expected ${width} columns (${names.length - 1} attributes and the label), got ${cells.length}`,
      );
    const picked = order.map((from) => cells[from]!);
    try {
      const row = { cells: picked.slice(0, -1), label: labelOf(dictionary, picked.at(-1)!) };
      preprocess(spec, row.cells);
      return row;
    } catch (error) {
      throw new VouchError('bad-file', `${at}: ${messageOf(error)}`);
    }
  });
}

/** Where each name stands in a header; undefined where the line is none. Throws where only some of the names are there. */
function headerOf(cells: readonly string[], names: readonly string[]): number[] | undefined {
  const order = names.map((name) => cells.indexOf(name));
  const missing = names.filter((_, i) => order[i]! < 0);
  if (missing.length === 0) return order;
  if (missing.length * 2 > names.length) return undefined;
  throw new VouchError(
    'bad-file',
    `data, line 1: the header lacks ${missing.join(', ')}; it has ${cells.join(', ').slice(0, 500)}`,
  );
}

export interface Split {
  readonly train: LabelledRow[];
  readonly test: LabelledRow[];
}

/**
 * Seeded, stratified: of each class so many percent train, the others test (700 and 300 of German Credit's 1000). Rows whose
 * label is a number are one group.
 */
export function split(
  rows: readonly LabelledRow[],
  { label, split: { seed, train: percent } }: Dictionary,
): Split {
  const random = seededRandom(seed);
  const train: LabelledRow[] = [];
  const test: LabelledRow[] = [];
  const groups = label.classes?.map((_, c) => rows.filter((row) => row.label === c)) ?? [[...rows]];
  for (const each of groups) {
    const group = random.shuffle(each);
    const cut = Math.round((group.length * percent) / 100);
    train.push(...group.slice(0, cut));
    test.push(...group.slice(cut));
  }
  return { train: random.shuffle(train), test: random.shuffle(test) };
}

const PLAIN = /^[^\s,;"]+$/;

/** Rows as a table that `readLabelled` reads: with spaces between where no cell has any, else comma-separated. */
export function writeLabelled(rows: readonly LabelledRow[], dictionary: Dictionary): string {
  const table = rows.map((row) => [...row.cells, labelCell(dictionary, row.label)]);
  const plain = table.every((cells) => cells.every((cell) => PLAIN.test(cell)));
  return table.map((cells) => (plain ? `${cells.join(' ')}\n` : csvLine(cells))).join('');
}

/**
 * What the model's own vendor says about its data. A model of version 1 has no dictionary: its labels are numbers from 1,
 * in the order of its classes, as German Credit has them.
 */
export function dictionaryOf({ dictionary, preprocessing, classes }: Architecture): Dictionary {
  if (dictionary) return dictionary;
  return {
    version: 1,
    columns: preprocessing.columns,
    label: { name: 'label', classes: classes.map((name, i) => ({ name, value: String(i + 1) })) },
    split: { seed: 1, train: 70 },
  };
}

export const testSetOf = (rows: readonly LabelledRow[], { preprocessing }: Architecture): TestSet =>
  testSetFor(rows, preprocessing);

export function testSetFor(rows: readonly LabelledRow[], preprocessing: Preprocessing): TestSet {
  return {
    features: rows.map(({ cells }) => preprocess(preprocessing, cells)),
    labels: rows.map(({ label }) => label),
  };
}
