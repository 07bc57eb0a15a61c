/** What a proof of one answer is about: a row that a person has, and the class or number that the model answers. */
import type { Architecture } from '../../circuits/model/architecture.ts';
import { labelOf } from '../../circuits/model/dictionary.ts';
import { preprocess } from '../../circuits/model/preprocessing.ts';
import type { TestSet } from '../../circuits/model/test-set.ts';
import { VouchError } from '../../protocols/errors.ts';
import { readText } from '../home/files.ts';
import { readApplications } from './applications.ts';

const MAX_BYTES = 1024 * 1024;

/** The cells of the one row of a file. Throws `bad-input` for several. */
export function readRow(file: string, { preprocessing }: Architecture): string[] {
  const rows = readApplications(readText(file, 'row', MAX_BYTES), preprocessing);
  if (rows.length === 1) return rows[0]!;
  throw new VouchError(
    'bad-input',
    `${file}: expected one row, got ${rows.length}; a proof is about one answer`,
  );
}

/** A row and its class, as the circuit has them. */
export const answeredRow = (
  cells: readonly string[],
  decision: number,
  { preprocessing }: Architecture,
): TestSet => ({ features: [preprocess(preprocessing, cells)], labels: [decision] });

/** The place of a class among those of a model, or a number in steps. Throws `bad-input`. */
export function placeOf(name: string, { classes, dictionary }: Architecture): number {
  if (dictionary?.label.number) return labelOf(dictionary, name);
  const decision = classes.indexOf(name);
  if (decision >= 0) return decision;
  throw new VouchError(
    'bad-input',
    `--output: expected ${classes.join(' or ')}, got ${JSON.stringify(name)}`,
  );
}
