/**
 * The quantised model as the ONNX graph that is served: float32 tensors that hold integers below 2^24, so that
 * every runtime computes them exactly and in any order of summation. Per layer MatMul and Add; on hidden
 * layers also Mul by 2^-k, Floor and Relu, with the rounding constant 2^(k-1) inside the added bias. The
 * output holds the last layer's accumulators; `answerOf` of quantise.ts takes the class from them.
 *
 * It contains the hidden parameters: a secret.
 */
import type { OnnxNode, OnnxTensor } from './onnx.ts';
import { writeOnnx } from './onnx-writer.ts';
import type { QuantisedModel } from './quantise.ts';

export const SERVED_INPUT = 'features';
export const SERVED_OUTPUT = 'accumulators';

/** ONNX bytes: `features` (rows x inputs) to `accumulators` (rows x outputs of the last layer). */
export function servedGraph({ architecture, parameters }: QuantisedModel): Uint8Array {
  const { layers } = architecture;
  const initializers = new Map<string, OnnxTensor>();
  const nodes: OnnxNode[] = [];
  let current = SERVED_INPUT;
  const add = (operator: string, output: string, ...operands: string[]): void => {
    nodes.push({
      name: output,
      operator,
      inputs: [current, ...operands],
      outputs: [output],
      attributes: new Map(),
    });
    current = output;
  };
  const constant = (name: string, dims: number[], values: Float64Array): string => {
    initializers.set(name, { dims, type: 'float32', values });
    return name;
  };
  layers.forEach(({ inputs, outputs, shift }, l) => {
    const { weights, bias } = parameters.layers[l]!;
    const columns = Float64Array.from(
      weights,
      (_, at) => weights[(at % outputs) * inputs + Math.floor(at / outputs)]!,
    );
    const half = shift > 0 ? 2 ** (shift - 1) : 0;
    add('MatMul', `product${l}`, constant(`weights${l}`, [inputs, outputs], columns));
    const rounded = constant(
      `bias${l}`,
      [outputs],
      Float64Array.from(bias, (b) => b + half),
    );
    if (shift === 0) {
      add('Add', SERVED_OUTPUT, rounded);
      return;
    }
    add('Add', `sum${l}`, rounded);
    add('Mul', `scaled${l}`, constant(`scale${l}`, [1], Float64Array.of(2 ** -shift)));
    add('Floor', `floor${l}`);
    add('Relu', `hidden${l}`);
  });
  return writeOnnx({
    name: 'served',
    opsets: new Map([['', 13]]),
    nodes,
    initializers,
    inputs: [{ name: SERVED_INPUT, dims: [undefined, layers[0]!.inputs] }],
    outputs: [{ name: SERVED_OUTPUT, dims: [undefined, layers.at(-1)!.outputs] }],
  });
}
