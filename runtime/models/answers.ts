/**
 * What a proof of one answer is about, as people write it: the row that a model was asked, or its input tensors, and the class,
 * number or tensors that it gave. `what` names a text in an error.
 */
import type { Architecture } from '../../circuits/model/architecture.ts';
import { preprocess } from '../../circuits/model/preprocessing.ts';
import { integersOf, type TensorSample } from '../../circuits/model/tensor-values.ts';
import { answeredRow, type TestSet } from '../../circuits/model/test-set.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { readApplications } from './applications.ts';

/** The cells of one row. Throws `bad-input` for several. */
export function rowIn(text: string, { preprocessing }: Architecture, what: string): string[] {
  const rows = readApplications(text, preprocessing);
  if (rows.length === 1) return rows[0]!;
  throw new VouchError(
    'bad-input',
    `${what}: expected one row, got ${rows.length}; a proof is about one answer`,
  );
}

/** What a model was asked, as its features: a row, or its input tensors. Throws `bad-input`. */
export function featuresIn(text: string, architecture: Architecture, what: string): Int32Array {
  const { named, preprocessing } = architecture;
  return named
    ? integersOf(named, tensorsIn(text, what))
    : preprocess(preprocessing, rowIn(text, architecture, what));
}

/** The tensors of one answer. Throws `bad-file`. */
export function tensorsIn(text: string, what: string): TensorSample {
  const samples = tensorSamplesIn(text, what);
  if (samples.length === 1) return samples[0]!;
  throw new VouchError('bad-file', `${what}: expected the tensors of one answer, got ${samples.length}`);
}

/** JSON: numbers by name, nested as their shapes are or in a flat list; one object, or a list of them. Throws `bad-file`. */
export function tensorSamplesIn(text: string, what: string): TensorSample[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new VouchError('bad-file', `${what}: expected JSON (${messageOf(error)})`);
  }
  const bad = () =>
    new VouchError('bad-file', `${what}: expected an object with a list of numbers for each tensor, by name`);
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
export function outputsIn(text: string, { named }: Architecture, what: string): Int32Array {
  const stated = tensorsIn(text, what);
  return Int32Array.from(
    named!.outputs.flatMap(({ name, dims }) => {
      const size = dims.reduce((a, b) => a * b, 1);
      const values = Object.hasOwn(stated, name) ? stated[name] : undefined;
      if (values?.length !== size)
        throw new VouchError(
          'bad-input',
          `${what}: expected ${size} numbers of output ${JSON.stringify(name)}, got ${values?.length ?? 'nothing'}`,
        );
      return Array.from(values, (x, i) => {
        const integer = x * 2 ** named!.outputExponent;
        if (Number.isSafeInteger(integer)) return integer;
        throw new VouchError(
          'bad-input',
          `${what}: output ${JSON.stringify(name)}, number ${i + 1}: ${x} is no multiple of the model's step 2^${-named!.outputExponent}`,
        );
      });
    }),
  );
}

/** What a proof of one shown answer is about: `decision` is what it says itself; where it is about tensors, `outputs` says it. Throws `bad-input`. */
export function answered(
  architecture: Architecture,
  features: Int32Array,
  { decision, outputs }: { decision?: number | undefined; outputs?: (() => Int32Array) | undefined },
): TestSet {
  if (architecture.decision !== 'tensor') return answeredRow(features, decision ?? -1);
  if (outputs === undefined)
    throw new VouchError('bad-input', 'expected --output FILE: the numbers that the proof is to be about');
  return answeredRow(features, outputs());
}
