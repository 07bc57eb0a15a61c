/** Test-set files: labelled rows in the demonstration's data format, as the features of an architecture. */
import type { Architecture } from '../../circuits/model/architecture.ts';
import { preprocess } from '../../circuits/model/preprocessing.ts';
import { rowCounts, type TestSet } from '../../circuits/model/test-set.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { DEFAULT_TERMS, nextThreshold, type Terms } from '../../protocols/terms.ts';
import { readText } from '../home/files.ts';
import { type CreditRow, readCreditData } from './credit-data.ts';

const MAX_BYTES = 64 * 1024 * 1024;

/** The rows of a labelled file. Throws `bad-file`, which names the file, the line and the column. */
export function readRows(file: string): CreditRow[] {
  const text = readText(file, 'data', MAX_BYTES);
  try {
    return readCreditData(text);
  } catch (error) {
    throw new VouchError('bad-file', `${file}: ${messageOf(error)}`);
  }
}

export function testSetOf(rows: readonly CreditRow[], { preprocessing }: Architecture): TestSet {
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
