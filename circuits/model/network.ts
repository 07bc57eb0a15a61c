/**
 * The float network between an ONNX graph and integers: dense layers, ReLU between them, a class at the end.
 *
 * Understood is what exporters write for a multilayer perceptron: Gemm, or MatMul and Add; Relu; Identity,
 * Flatten, and Reshape to two dimensions as no-ops; weights as initializers, Constant nodes or their
 * Transpose; and at the end Softmax, Sigmoid or ArgMax, which keep the order of the outputs and are left
 * out. Anything else is refused by name.
 */
import { VouchError } from '../../protocols/errors.ts';
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
 * `sign` (one output, a sigmoid's argument) takes class 1 when it is above 0 and class 0 otherwise.
 */
export type Decision = 'argmax' | 'sign';

export interface DenseNetwork {
  readonly inputs: number;
  readonly layers: readonly DenseLayer[];
  readonly decision: Decision;
}

/** Throws `bad-input`, which names the operator that is not supported or what is wrong with it. */
export function networkFromOnnx(graph: OnnxGraph): DenseNetwork {
  const constants = new Map(graph.initializers);
  const [input, ...others] = graph.inputs.filter(({ name }) => !constants.has(name));
  if (!input || others.length > 0) {
    throw bad(`expected one input, got ${others.length + (input ? 1 : 0)}`);
  }
  const chain = new Chain(input.name);
  for (const node of graph.nodes) {
    const folded = foldConstant(node, constants);
    if (folded) constants.set(node.outputs[0]!, folded);
    else chain.append(node, constants);
  }
  if (graph.outputs.length !== 1 || graph.outputs[0]!.name !== chain.current) {
    throw bad(
      `expected one output, that of the last layer, got ${graph.outputs.map((o) => quote(o.name)).join(', ') || 'none'}`,
    );
  }
  const declared = input.dims.length > 1 ? input.dims.slice(1) : [];
  const width = declared.reduce<number | undefined>(
    (a, b) => (a === undefined || b === undefined ? undefined : a * b),
    1,
  );
  const network = chain.network();
  if (declared.length > 0 && width !== undefined && width !== network.inputs) {
    throw bad(
      `input ${quote(input.name)}: its shape holds ${width} features, the first layer takes ${network.inputs}`,
    );
  }
  return network;
}

/** The value of a node whose inputs are all constants, or undefined when it is not one of those we fold. */
function foldConstant(node: OnnxNode, constants: ReadonlyMap<string, OnnxTensor>): OnnxTensor | undefined {
  if (node.operator === 'Constant') {
    const value = node.attributes.get('value');
    if (typeof value !== 'object' || !('dims' in value))
      throw unsupported(node, 'only a dense tensor is supported as its value');
    return value;
  }
  const tensor = node.inputs.length === 1 ? constants.get(node.inputs[0]!) : undefined;
  if (!tensor) return undefined;
  if (node.operator === 'Identity') return tensor;
  if (node.operator !== 'Transpose') return undefined;
  const [rows, columns] = matrixDims(node, tensor);
  const perm = node.attributes.get('perm');
  if (perm !== undefined && String(perm) !== '1,0')
    throw unsupported(node, 'only a transposed matrix is supported');
  return { ...tensor, dims: [columns, rows], values: transposed(tensor.values, rows, columns) };
}

interface OpenLayer {
  inputs: number;
  outputs: number;
  weights: Float64Array;
  bias: Float64Array;
  relu: boolean;
}

/** The layers read so far, and the name of the value that the next node has to take. */
class Chain {
  current: string;
  readonly #layers: OpenLayer[] = [];
  #reshapedTo: number | undefined;
  #end: 'Softmax' | 'Sigmoid' | 'ArgMax' | undefined;

  constructor(input: string) {
    this.current = input;
  }

  append(node: OnnxNode, constants: ReadonlyMap<string, OnnxTensor>): void {
    if (!OPERATORS.includes(node.operator)) throw unsupported(node, `supported are ${OPERATORS.join(', ')}`);
    const at = node.inputs.indexOf(this.current);
    if (at < 0)
      throw unsupported(
        node,
        'it does not take the output of the node before it; branches are not supported',
      );
    if (node.outputs.length !== 1) throw unsupported(node, 'expected one output');
    if (this.#end && node.operator !== 'Identity' && (node.operator !== 'ArgMax' || this.#end === 'ArgMax')) {
      throw unsupported(node, `it comes after ${this.#end}, which has to be the end`);
    }
    const constant = (index: number, what: string): OnnxTensor => {
      const tensor = constants.get(node.inputs[index] ?? '');
      if (!tensor) throw unsupported(node, `${what} has to be a constant`);
      return tensor;
    };
    switch (node.operator) {
      case 'Gemm':
        if (at !== 0) throw unsupported(node, 'its first input has to be the layer before it');
        if (number(node, 'transA', 0) !== 0) throw unsupported(node, 'transA = 1 is not supported');
        this.#gemm(node, constant(1, 'the weights'), node.inputs[2] ? constant(2, 'the bias') : undefined);
        break;
      case 'MatMul':
        if (at !== 0) throw unsupported(node, 'its first input has to be the layer before it');
        this.#dense(node, constant(1, 'the weights'), false, 1);
        break;
      case 'Add': {
        const layer = this.#lastLinear(node);
        addBias(node, layer, constant(1 - at, 'the bias'), 1);
        break;
      }
      case 'Relu': {
        const layer = this.#layers.at(-1);
        if (!layer) throw unsupported(node, 'there is no layer before it');
        layer.relu = true;
        break;
      }
      case 'Flatten':
        if (number(node, 'axis', 1) !== 1) throw unsupported(node, 'only axis = 1 is supported');
        break;
      case 'Reshape':
        this.#reshape(node, constant(1, 'the shape'));
        break;
      case 'Softmax':
      case 'ArgMax': {
        // ArgMax goes over the rows unless told otherwise; Softmax over the classes, in every opset.
        const axis = number(node, 'axis', node.operator === 'ArgMax' ? 0 : 1);
        if (axis !== 1 && axis !== -1)
          throw unsupported(node, 'its axis has to be that of the classes (1 or -1)');
        if (number(node, 'select_last_index', 0) !== 0)
          throw unsupported(node, 'a tie has to go to the lowest index');
        this.#end = node.operator;
        break;
      }
      case 'Sigmoid':
        this.#end = 'Sigmoid';
        break;
    }
    this.current = node.outputs[0]!;
  }

  network(): DenseNetwork {
    const layers = this.#layers;
    const [first, last] = [layers[0], layers.at(-1)];
    if (!first || !last) throw bad('no Gemm or MatMul in the graph; expected at least one dense layer');
    if (last.relu)
      throw bad('Relu after the last layer is not supported: it makes classes equal that are not');
    if (last.outputs === 1 && this.#end !== 'Sigmoid') {
      throw bad(
        'one output without a Sigmoid is not a classifier; expected a Sigmoid, or one output per class',
      );
    }
    return { inputs: first.inputs, layers, decision: last.outputs === 1 ? 'sign' : 'argmax' };
  }

  #gemm(node: OnnxNode, weights: OnnxTensor, bias: OnnxTensor | undefined): void {
    this.#dense(node, weights, number(node, 'transB', 0) !== 0, number(node, 'alpha', 1));
    if (bias) addBias(node, this.#layers.at(-1)!, bias, number(node, 'beta', 1));
  }

  #dense(node: OnnxNode, tensor: OnnxTensor, outputsFirst: boolean, factor: number): void {
    const [rows, columns] = matrixDims(node, tensor);
    const [inputs, outputs] = outputsFirst ? [columns, rows] : [rows, columns];
    const before = this.#layers.at(-1);
    const width = before?.outputs ?? this.#reshapedTo ?? inputs;
    if (inputs !== width)
      throw unsupported(node, `it takes ${inputs} values, the layer before it gives ${width}`);
    if (before && !before.relu)
      throw unsupported(node, 'there is no Relu between it and the layer before it');
    const weights = (outputsFirst ? tensor.values.slice() : transposed(tensor.values, rows, columns)).map(
      (w) => w * factor,
    );
    if (!weights.every(Number.isFinite)) throw unsupported(node, 'a weight is not a finite number');
    this.#layers.push({ inputs, outputs, weights, bias: new Float64Array(outputs), relu: false });
  }

  #lastLinear(node: OnnxNode): OpenLayer {
    const layer = this.#layers.at(-1);
    if (!layer || layer.relu) throw unsupported(node, 'only the bias of a dense layer can be added');
    return layer;
  }

  #reshape(node: OnnxNode, { values: shape }: OnnxTensor): void {
    const width = this.#layers.at(-1)?.outputs;
    const columns = shape[1];
    if (
      shape.length !== 2 ||
      columns === undefined ||
      (width !== undefined && columns > 0 && columns !== width)
    ) {
      throw unsupported(
        node,
        `only a reshape to rows x ${width ?? 'features'} is supported, got [${shape.join(', ')}]`,
      );
    }
    if (width === undefined && columns > 0) this.#reshapedTo = columns;
  }
}

const OPERATORS = [
  'Gemm',
  'MatMul',
  'Add',
  'Relu',
  'Flatten',
  'Reshape',
  'Identity',
  'Softmax',
  'Sigmoid',
  'ArgMax',
];

/** Adds a bias given per output, or one value for all of them. */
function addBias(node: OnnxNode, layer: OpenLayer, { values }: OnnxTensor, factor: number): void {
  if (values.length !== layer.outputs && values.length !== 1) {
    throw unsupported(node, `expected a bias of ${layer.outputs} values, got ${values.length}`);
  }
  if (!values.every(Number.isFinite)) throw unsupported(node, 'a bias is not a finite number');
  for (let j = 0; j < layer.outputs; j++) layer.bias[j]! += factor * values[values.length === 1 ? 0 : j]!;
}

function matrixDims(node: OnnxNode, tensor: OnnxTensor): [number, number] {
  const [rows, columns] = tensor.dims;
  if (tensor.dims.length !== 2 || !rows || !columns) {
    throw unsupported(node, `expected a matrix, got the shape [${tensor.dims.join(', ')}]`);
  }
  return [rows, columns];
}

function transposed(values: Float64Array, rows: number, columns: number): Float64Array {
  return Float64Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!);
}

function number(node: OnnxNode, name: string, otherwise: number): number {
  const value: OnnxAttribute | undefined = node.attributes.get(name);
  if (value === undefined) return otherwise;
  if (typeof value !== 'number') throw unsupported(node, `its attribute ${quote(name)} has to be a number`);
  return value;
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
  else add('Softmax', [current], 'output', [['axis', 1]]);
  return {
    name: 'network',
    opset: 13,
    nodes,
    initializers,
    inputs: [{ name: 'input', dims: [undefined, network.inputs] }],
    outputs: [{ name: 'output', dims: [undefined, network.layers.at(-1)!.outputs] }],
  };
}

const quote = (text: string): string => JSON.stringify(text.slice(0, 60));

const bad = (message: string): VouchError => new VouchError('bad-input', `ONNX model: ${message}`);

function unsupported(node: OnnxNode, why: string): VouchError {
  return bad(`operator ${node.operator}${node.name ? ` (${quote(node.name)})` : ''}: ${why}`);
}
