/** Test-set files: labelled rows as features of an architecture, read by the dictionary of whoever reads them. */
import type { Architecture } from '../../circuits/model/architecture.ts';
import { type Dictionary, differenceOf, parseDictionary } from '../../circuits/model/dictionary.ts';
import { type Preprocessing, preprocess } from '../../circuits/model/preprocessing.ts';
import { rowCounts, type TestSet } from '../../circuits/model/test-set.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { DEFAULT_TERMS, nextThreshold, type Terms } from '../../protocols/terms.ts';
import { readText } from '../home/files.ts';
import { type LabelledRow, readLabelled } from './labelled-rows.ts';

const MAX_BYTES = 64 * 1024 * 1024;
const MAX_DICTIONARY_BYTES = 4 * 1024 * 1024;

/** The rows of a labelled file. Throws `bad-file`, which names the file, the line and the column. */
export function readRows(file: string, dictionary: Dictionary): LabelledRow[] {
  const text = readText(file, 'data', MAX_BYTES);
  try {
    return readLabelled(text, dictionary);
  } catch (error) {
    throw new VouchError('bad-file', `${file}: ${messageOf(error)}`);
  }
}

/** A dictionary from a file. Throws `bad-file`, which names the file and the member. */
export function readDictionary(file: string): Dictionary {
  const text = readText(file, 'dictionary', MAX_DICTIONARY_BYTES);
  try {
    return parseDictionary(JSON.parse(text));
  } catch (error) {
    throw new VouchError('bad-file', `${file}: ${messageOf(error)}`);
  }
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

/** Whether somebody's own dictionary says what the model's says, and in which way it does not. */
export function compareDictionary(
  own: Dictionary,
  architecture: Architecture,
): { same: boolean; detail: string } {
  if (!architecture.dictionary)
    return { same: false, detail: 'the model has no dictionary (its architecture is of version 1)' };
  const difference = differenceOf(own, architecture.dictionary);
  if (difference) return { same: false, detail: difference };
  return {
    same: true,
    detail: `columns, classes and their order are those of the model: ${own.label.classes.map(({ name }) => name).join(', ')}`,
  };
}

/** Throws `bad-input` unless a dictionary of one's own, where there is one, says what the model's says. */
export function demandSameDictionary(own: Dictionary | undefined, architecture: Architecture): void {
  if (!own) return;
  const { same, detail } = compareDictionary(own, architecture);
  if (!same) throw new VouchError('bad-input', `dictionary: expected that of the model; ${detail}`);
}

export const testSetOf = (rows: readonly LabelledRow[], { preprocessing }: Architecture): TestSet =>
  testSetFor(rows, preprocessing);

export function testSetFor(rows: readonly LabelledRow[], preprocessing: Preprocessing): TestSet {
  return {
    features: rows.map(({ cells }) => preprocess(preprocessing, cells)),
    labels: rows.map(({ label }) => label),
  };
}

/** The threshold that is worth a proof lies this far above what a constant answer scores. */
const MARGIN = 0.03;
export function usefulThreshold(testSet: TestSet, terms: Terms = DEFAULT_TERMS): number {
  const { rows, constant } = rowCounts(testSet);
  return nextThreshold(terms, rows, constant + Math.ceil(MARGIN * rows));
}

/** Throws `bad-input` for a threshold that a constant answer reaches, unless that is allowed. */
export function demandUseful(testSet: TestSet, threshold: number, allowed: boolean): void {
  const { rows, constant } = rowCounts(testSet);
  if (threshold > constant || allowed) return;
  throw new VouchError(
    'bad-input',
    `threshold: a constant answer scores ${constant} of ${rows} rows, so at least ${threshold} would say nothing of the model; expected more, or --allow-trivial`,
  );
}
