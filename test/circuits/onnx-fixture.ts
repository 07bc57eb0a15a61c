/** Small ONNX graphs for tests, and what is expected of them. */
import { networkFromOnnx } from '../../circuits/model/graph.ts';
import type { DenseNetwork } from '../../circuits/model/network.ts';
import {
  type OnnxAttribute,
  type OnnxGraph,
  type OnnxNode,
  type OnnxTensor,
  readOnnx,
} from '../../circuits/model/onnx.ts';
import { writeOnnx } from '../../circuits/model/onnx-writer.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert } from '../harness.ts';

export const tensor = (
  dims: number[],
  values: number[],
  type: 'float32' | 'int64' = 'float32',
): OnnxTensor => ({
  dims,
  type,
  values: Float64Array.from(values),
});
export const node = (
  operator: string,
  inputs: string[],
  output: string,
  attributes: [string, OnnxAttribute][] = [],
): OnnxNode => ({
  name: '',
  operator,
  inputs,
  outputs: [output],
  attributes: new Map(attributes),
});
export function graph(
  nodes: OnnxNode[],
  constants: Record<string, OnnxTensor> = {},
  input = [undefined, 2] as (number | undefined)[],
): OnnxGraph {
  return {
    name: 'test',
    opsets: new Map([
      ['', 13],
      ['ai.onnx.ml', 3],
    ]),
    nodes,
    initializers: new Map(Object.entries(constants)),
    inputs: [{ name: 'x', dims: input }],
    outputs: [{ name: nodes.at(-1)!.outputs[0]!, dims: [] }],
  };
}
export const read = (g: OnnxGraph): DenseNetwork =>
  networkFromOnnx(readOnnx(writeOnnx(g)), { tensors: false });
export const refuses = (run: () => unknown, code: string, text: RegExp): void => {
  assert.throws(run, (error: unknown) => {
    assert.instance(error, VouchError);
    assert.is((error as VouchError).code, code);
    assert.match((error as VouchError).message, text);
    return true;
  });
};
export const float32 = (values: ArrayLike<number>): number[] => [...Float32Array.from(values)];

/** W is 3 outputs x 2 inputs */
export const W = [1, 2, 3, 4, 5, 6];
export const W_TRANSPOSED = [1, 3, 5, 2, 4, 6];
export const B = [10, 20, 30];
export const expectLayer = (network: DenseNetwork, weights: number[], bias: number[]): void => {
  assert.is(network.layers.length, 1);
  assert.is(network.layers[0]!.inputs, 2);
  assert.is(network.layers[0]!.outputs, 3);
  assert.equal([...network.layers[0]!.weights], weights);
  assert.equal([...network.layers[0]!.bias], bias);
};

/** The float network's last sums for one row. */
export function forward({ layers }: DenseNetwork, row: ArrayLike<number>): number[] {
  let x = Array.from(row);
  for (const { inputs, outputs, weights, bias, relu } of layers)
    x = Array.from({ length: outputs }, (_, j) => {
      let sum = bias[j]!;
      for (let i = 0; i < inputs; i++) sum += weights[j * inputs + i]! * x[i]!;
      return relu ? Math.max(0, sum) : sum;
    });
  return x;
}
