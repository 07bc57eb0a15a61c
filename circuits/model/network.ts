/**
 * The float network between an ONNX graph (graph.ts) and integers (quantise.ts): dense layers, ReLU between them,
 * a class at the end. And such a network written as a graph, for what is trained here.
 */
import type { OnnxAttribute, OnnxGraph, OnnxNode, OnnxTensor } from './onnx.ts';

/** y = W x + b, then ReLU where `relu` (all layers but the last). */
export interface DenseLayer {
  readonly inputs: number;
  readonly outputs: number;
  /** outputs x inputs, row-major */
  readonly weights: Float64Array;
  readonly bias: Float64Array;
  readonly relu: boolean;
}

/**
 * How the last layer's outputs become a class: `argmax` takes the greatest, the lowest index on a tie;
 * `sign` (one output, a sigmoid's argument) takes class 1 when it is above 0 and class 0 otherwise. With `number` there is one
 * output and no class: it is the answer (numbers.ts).
 */
export type Decision = 'argmax' | 'sign' | 'number';

export interface DenseNetwork {
  readonly inputs: number;
  readonly layers: readonly DenseLayer[];
  readonly decision: Decision;
}

/** A network as an exporter would write it: Gemm with transB, Relu, and Softmax or Sigmoid at the end. */
export function onnxFromNetwork(network: DenseNetwork): OnnxGraph {
  const initializers = new Map<string, OnnxTensor>();
  const nodes: OnnxNode[] = [];
  let current = 'input';
  const add = (
    operator: string,
    inputs: string[],
    output: string,
    attributes: [string, OnnxAttribute][] = [],
  ): void => {
    nodes.push({
      name: `${operator}_${nodes.length}`,
      operator,
      inputs,
      outputs: [output],
      attributes: new Map(attributes),
    });
    current = output;
  };
  network.layers.forEach((layer, l) => {
    const { inputs, outputs, weights, bias, relu } = layer;
    initializers.set(`weights_${l}`, { dims: [outputs, inputs], type: 'float32', values: weights });
    initializers.set(`bias_${l}`, { dims: [outputs], type: 'float32', values: bias });
    add('Gemm', [current, `weights_${l}`, `bias_${l}`], `sum_${l}`, [['transB', 1]]);
    if (relu) add('Relu', [current], `hidden_${l}`);
  });
  if (network.decision === 'sign') add('Sigmoid', [current], 'output');
  else if (network.decision === 'number') add('Identity', [current], 'output');
  else add('Softmax', [current], 'output', [['axis', 1]]);
  return {
    name: 'network',
    opsets: new Map([['', 13]]),
    nodes,
    initializers,
    inputs: [{ name: 'input', dims: [undefined, network.inputs] }],
    outputs: [{ name: 'output', dims: [undefined, network.layers.at(-1)!.outputs] }],
  };
}
