/** What a proof of one answer is about: a row that a person has, and the class or number that the model answers. */
import type { Architecture } from '../../circuits/model/architecture.ts';
import { labelOf } from '../../circuits/model/dictionary.ts';
import { preprocess } from '../../circuits/model/preprocessing.ts';
import { integersOf, type TensorSample } from '../../circuits/model/tensor-model.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { readText } from '../home/files.ts';
import { readApplications } from './applications.ts';

const MAX_BYTES = 1024 * 1024;
const MAX_TENSOR_BYTES = 16 * 1024 * 1024;

/** The cells of the one row of a file. Throws `bad-input` for several. */
export function readRow(file: string, { preprocessing }: Architecture): string[] {
  const rows = readApplications(readText(file, 'row', MAX_BYTES), preprocessing);
  if (rows.length === 1) return rows[0]!;
  throw new VouchError(
    'bad-input',
    `${file}: expected one row, got ${rows.length}; a proof is about one answer`,
  );
}

/** What a file says that a model was asked, as its features: a row, or its input tensors. Throws `bad-input`. */
export function readFeatures(file: string, architecture: Architecture): Int32Array {
  const { named, preprocessing } = architecture;
  return named
    ? integersOf(named, readTensors(file))
    : preprocess(preprocessing, readRow(file, architecture));
}

/** The tensors of a JSON file: numbers by name, nested as their shapes are or in a flat list. Throws `bad-file`. */
export function readTensors(file: string): TensorSample {
  const samples = readTensorSamples(file);
  if (samples.length === 1) return samples[0]!;
  throw new VouchError('bad-file', `${file}: expected the tensors of one answer, got ${samples.length}`);
}

/** One object, or a list of them. Throws `bad-file`. */
export function readTensorSamples(file: string): TensorSample[] {
  let value: unknown;
  try {
    value = JSON.parse(readText(file, 'tensors', MAX_TENSOR_BYTES));
  } catch (error) {
    if (error instanceof VouchError) throw error;
    throw new VouchError('bad-file', `${file}: expected JSON (${messageOf(error)})`);
  }
  const bad = () =>
    new VouchError('bad-file', `${file}: expected an object with a list of numbers for each tensor, by name`);
  return (Array.isArray(value) ? value : [value]).map((sample: unknown) => {
    if (typeof sample !== 'object' || sample === null || Array.isArray(sample)) throw bad();
    return Object.fromEntries(
      Object.entries(sample).map(([name, tensor]) => {
        const numbers = [tensor].flat(Number.POSITIVE_INFINITY);
        if (!numbers.every((x) => typeof x === 'number' && Number.isFinite(x))) throw bad();
        return [name, numbers as number[]];
      }),
    );
  });
}

/** Output tensors in the model's integers. Throws `bad-input` for a number that is none of its steps. */
export function statedOutputs(file: string, { named }: Architecture): Int32Array {
  const stated = readTensors(file);
  return Int32Array.from(
    named!.outputs.flatMap(({ name, dims }) => {
      const size = dims.reduce((a, b) => a * b, 1);
      const values = Object.hasOwn(stated, name) ? stated[name] : undefined;
      if (values?.length !== size)
        throw new VouchError(
          'bad-input',
          `${file}: expected ${size} numbers of output ${JSON.stringify(name)}, got ${values?.length ?? 'nothing'}`,
        );
      return Array.from(values, (x, i) => {
        const integer = x * 2 ** named!.outputExponent;
        if (Number.isSafeInteger(integer)) return integer;
        throw new VouchError(
          'bad-input',
          `${file}: output ${JSON.stringify(name)}, number ${i + 1}: ${x} is no multiple of the model's step 2^${-named!.outputExponent}`,
        );
      });
    }),
  );
}

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
