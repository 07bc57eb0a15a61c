/** Test-set files: labelled rows in the demonstration's data format, as the features of an architecture. */
import type { Architecture } from '../../circuits/model/architecture.ts';
import { preprocess } from '../../circuits/model/preprocessing.ts';
import type { TestSet } from '../../circuits/model/test-set.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
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

/** What the best constant answer scores: the rows of the commonest class. */
export const baselineOf = ({ labels }: TestSet): number =>
  Math.max(...labels.map((label) => labels.filter((other) => other === label).length));

/** The threshold that is worth a proof lies this far above what a constant answer scores. */
const MARGIN = 0.03;
export const usefulThreshold = (testSet: TestSet): number =>
  Math.min(testSet.labels.length, baselineOf(testSet) + Math.ceil(MARGIN * testSet.labels.length));
