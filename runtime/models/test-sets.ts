/** Test-set files: labelled rows as features of an architecture, read by the dictionary of whoever reads them. */
import type { Architecture } from '../../circuits/model/architecture.ts';
import { type Dictionary, parseDictionary } from '../../circuits/model/dictionary.ts';
import { rowCounts, type TestSet } from '../../circuits/model/test-set.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { DEFAULT_TERMS, nextThreshold, type Terms } from '../../protocols/terms.ts';
import { readText } from '../home/files.ts';
import { compareDictionary } from '../verdict/labels.ts';
import { type LabelledRow, readLabelled } from './labelled-rows.ts';

export { compareDictionary } from '../verdict/labels.ts';
export { dictionaryOf, testSetFor, testSetOf } from './labelled-rows.ts';

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

/** Throws `bad-input` unless a dictionary of one's own, where there is one, says what the model's says. */
export function demandSameDictionary(own: Dictionary | undefined, architecture: Architecture): void {
  if (!own) return;
  const { same, detail } = compareDictionary(own, architecture);
  if (!same) throw new VouchError('bad-input', `dictionary: expected that of the model; ${detail}`);
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
