/** Input and output tensors of a model as numbers by name, and as the integers that a proof is about. */
import { VouchError } from '../../protocols/errors.ts';
import type { Architecture, TensorNames } from './architecture.ts';

/** Numbers of each input by its name, in row-major order. */
export type TensorSample = Readonly<Record<string, ArrayLike<number>>>;

type Shapes = { readonly name: string; readonly dims: readonly number[] };

/** Throws `bad-input`, which names the input, for a sample of other inputs or other shapes. */
export function demandShapes(inputs: readonly Shapes[], sample: TensorSample): void {
  const unknown = Object.keys(sample).find((name) => !inputs.some((input) => input.name === name));
  if (unknown !== undefined)
    throw new VouchError(
      'bad-input',
      `input ${JSON.stringify(unknown.slice(0, 60))} is unknown; expected ${inputs.map(({ name }) => name).join(', ')}`,
    );
  for (const { name, dims } of inputs) {
    const size = dims.reduce((a, b) => a * b, 1);
    const values = Object.hasOwn(sample, name) ? sample[name] : undefined;
    if (values?.length !== size)
      throw new VouchError(
        'bad-input',
        `input ${JSON.stringify(name)}: expected ${size} numbers, of the shape [${dims.join(', ')}], got ${values?.length ?? 'nothing'}`,
      );
  }
}

/** Numbers as the features of a model. Throws `bad-input`, which names the input. */
export function integersOf(
  { inputs, exponent }: Pick<TensorNames, 'inputs' | 'exponent'>,
  sample: TensorSample,
): Int32Array {
  demandShapes(inputs, sample);
  return Int32Array.from(
    inputs.flatMap(({ name, low, high }) =>
      Array.from(sample[name]!, (x, i) => {
        const steps = x * 2 ** exponent;
        // The very end of the range is a step too far, and is rounded down.
        const rounded = steps <= high + 1 ? Math.min(Math.round(steps), high) : Math.round(steps);
        if (!(rounded >= low && rounded <= high))
          throw new VouchError(
            'bad-input',
            `input ${JSON.stringify(name)}, number ${i + 1}: expected one from ${low * 2 ** -exponent} to ${high * 2 ** -exponent}, got ${x}`,
          );
        return rounded;
      }),
    ),
  );
}

/** What a model's integers stand for, output by output. */
export function numbersOf({ named }: Architecture, outputs: ArrayLike<number>): Record<string, number[]> {
  let at = 0;
  return Object.fromEntries(
    named!.outputs.map(({ name, dims }) => {
      const size = dims.reduce((a, b) => a * b, 1);
      at += size;
      return [
        name,
        Array.from({ length: size }, (_, i) => outputs[at - size + i]! * 2 ** -named!.outputExponent),
      ];
    }),
  );
}
