/** What a proof of one answer is about, from files: a row or tensors that a person has, and what the model answers. */
import type { Architecture } from '../../circuits/model/architecture.ts';
import { labelOf } from '../../circuits/model/dictionary.ts';
import type { TensorSample } from '../../circuits/model/tensor-values.ts';
import { VouchError } from '../../protocols/errors.ts';
import { readText } from '../home/files.ts';
import { featuresIn, outputsIn, rowIn, tensorSamplesIn } from '../models/answers.ts';

const MAX_BYTES = 1024 * 1024;
const MAX_TENSOR_BYTES = 16 * 1024 * 1024;

/** The cells of the one row of a file. Throws `bad-input` for several. */
export const readRow = (file: string, architecture: Architecture): string[] =>
  rowIn(readText(file, 'row', MAX_BYTES), architecture, file);

/** What a file says that a model was asked, as its features: a row, or its input tensors. Throws `bad-input`. */
export const readFeatures = (file: string, architecture: Architecture): Int32Array =>
  featuresIn(
    architecture.named ? readText(file, 'tensors', MAX_TENSOR_BYTES) : readText(file, 'row', MAX_BYTES),
    architecture,
    file,
  );

/** One object of tensors, or a list of them. Throws `bad-file`. */
export const readTensorSamples = (file: string): TensorSample[] =>
  tensorSamplesIn(readText(file, 'tensors', MAX_TENSOR_BYTES), file);

/** Output tensors in the model's integers. Throws `bad-input` for a number that is none of its steps. */
export const statedOutputs = (file: string, architecture: Architecture): Int32Array =>
  outputsIn(readText(file, 'tensors', MAX_TENSOR_BYTES), architecture, file);

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
