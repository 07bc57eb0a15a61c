/** A network of tensors in integers as the ONNX graph that is served (served.ts says why float32 is exact). */
import type { OnnxAttribute, OnnxNode, OnnxTensor } from './onnx.ts';
import { writeOnnx } from './onnx-writer.ts';
import { type Laid, type LinearParameters, laidOut, type TensorOperation } from './tensors.ts';

export function servedTensors(
  operations: readonly TensorOperation[],
  parameters: readonly LinearParameters[],
  names: { readonly input: string; readonly output: string; readonly inputs: number },
): Uint8Array {
  const initializers = new Map<string, OnnxTensor>();
  const nodes: OnnxNode[] = [];
  const values = [names.input];
  const constant = (
    name: string,
    dims: number[],
    list: ArrayLike<number>,
    type: OnnxTensor['type'] = 'float32',
  ) => {
    initializers.set(name, { dims, type, values: Float64Array.from(list) });
    return name;
  };
  const add = (
    operator: string,
    output: string,
    inputs: readonly string[],
    attributes: [string, OnnxAttribute][] = [],
  ): string => {
    nodes.push({
      name: output,
      operator,
      inputs: [...inputs],
      outputs: [output],
      attributes: new Map(attributes),
    });
    return output;
  };
  const laid = laidOut(operations, names.inputs);
  const sizes = [names.inputs, ...laid.map(({ size }) => size)];
  /** Elements of a value; those that are not there are 0. */
  const gathered = (of: number, from: Int32Array, name: string, factor = 1, absent = 0): string => {
    const whole = from.length === sizes[of] && from.every((at, e) => at === e);
    let value = values[of]!;
    if (!whole) {
      const at = constant(
        `${name}at`,
        [from.length],
        from.map((at) => Math.max(0, at)),
        'int64',
      );
      value = add('Gather', `${name}from`, [value, at], [['axis', 1]]);
    }
    const holes = from.includes(-1);
    if (holes || factor !== 1) {
      const factors = holes
        ? constant(
            `${name}by`,
            [from.length],
            Array.from(from, (at) => (at < 0 ? 0 : factor)),
          )
        : constant(`${name}by`, [1], [factor]);
      value = add('Mul', `${name}times`, [value, factors]);
    }
    if (holes && absent !== 0) {
      const rest = constant(
        `${name}rest`,
        [from.length],
        Array.from(from, (at) => (at < 0 ? absent : 0)),
      );
      value = add('Add', `${name}filled`, [value, rest]);
    }
    return value;
  };
  let convs = 0;
  laid.forEach((each, i) => {
    const name = i === laid.length - 1 ? names.output : `value${i + 1}`;
    values.push(served(each, i, name));
  });

  function served(each: Laid, i: number, name: string): string {
    const { size } = each;
    switch (each.kind) {
      case 'conv': {
        const { of, groups, channels, outputs, image, kernel, strides, dilations, before, places } =
          each.operation;
        const { weights, bias } = parameters[convs++]!;
        const shaped = (suffix: string, dims: number[]): string =>
          constant(`${suffix}${i}`, [dims.length], dims, 'int64');
        const after = image.map((size, axis) => {
          const reach = (kernel[axis]! - 1) * dilations[axis]! + 1;
          return (places[axis]! - 1) * strides[axis]! + reach - before[axis]! - size;
        });
        const inputs = [
          add('Reshape', `image${i}`, [values[of]!, shaped('imageShape', [-1, groups * channels, ...image])]),
          constant(`kernel${i}`, [outputs, channels, ...kernel], weights),
          constant(`bias${i}`, [outputs], bias),
        ];
        // What no window reaches at the end is not there for the served graph.
        const tail = after.map((n) => Math.max(0, n));
        const conv = add('Conv', `conv${i}`, inputs, [
          ['kernel_shape', [...kernel]],
          ['strides', [...strides]],
          ['dilations', [...dilations]],
          ['pads', [...before, ...tail]],
          ['group', groups],
        ]);
        return add('Reshape', name, [conv, shaped('flat', [-1, size])]);
      }
      case 'sum': {
        const { from, offset, operation } = each;
        let value: string | undefined;
        const parts = operation.parts.map(({ of, factor }, p) =>
          gathered(of, from[p]!, `part${i}_${p}`, factor),
        );
        for (const [p, part] of parts.entries())
          value = value === undefined ? part : add('Add', `sum${i}_${p}`, [value, part]);
        if (offset.some((c) => c !== 0))
          value = add('Add', `offset${i}`, [value!, constant(`added${i}`, [size], offset)]);
        return add('Identity', name, [value!]);
      }
      case 'rescale': {
        const { of, shift, low, cap } = each.operation;
        let value = values[of]!;
        if (shift > 0) {
          value = add('Add', `rounded${i}`, [value, constant(`half${i}`, [1], [2 ** (shift - 1)])]);
          value = add('Mul', `scaled${i}`, [value, constant(`scale${i}`, [1], [2 ** -shift])]);
          value = add('Floor', `floor${i}`, [value]);
        }
        if (low !== undefined) {
          const ends = [constant(`low${i}`, [], [low])];
          if (cap !== undefined) ends.push(constant(`high${i}`, [], [low + 2 ** cap - 1]));
          value = add('Clip', `cut${i}`, [value, ...ends]);
        }
        return add('Identity', name, [value]);
      }
      case 'max': {
        const { from, operation } = each;
        const parts = from.map((part, p) => gathered(operation.of, part, `of${i}_${p}`, 1, -(2 ** 24)));
        return add('Max', name, parts);
      }
      case 'product': {
        const { from, operation } = each;
        const parts = operation.parts.map(({ of }, p) => gathered(of, from[p]!, `factor${i}_${p}`));
        return add('Mul', name, parts);
      }
    }
  }

  return writeOnnx({
    name: 'served',
    opsets: new Map([['', 13]]),
    nodes,
    initializers,
    inputs: [{ name: names.input, dims: [undefined, names.inputs] }],
    outputs: [{ name: names.output, dims: [undefined, sizes.at(-1)!] }],
  });
}
