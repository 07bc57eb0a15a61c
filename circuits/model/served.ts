/**
 * The quantised model as the ONNX graph that is served: float32 tensors that hold integers below 2^24, so that
 * every runtime computes them exactly and in any order of summation. Per layer MatMul and Add; on hidden
 * layers also Mul by 2^-k, Floor and Relu, with the rounding constant 2^(k-1) inside the added bias. The
 * output holds the last layer's accumulators; `answerOf` of quantise.ts takes the class from them.
 *
 * An ensemble of trees is served with the same few operators, which every provider has: each split is
 * clip(x - from + 1, 0, 1), and from the leaves up each level is no + split (yes - no).
 *
 * It contains the hidden parameters: a secret.
 */
import type { Architecture } from './architecture.ts';
import type { OnnxNode, OnnxTensor } from './onnx.ts';
import { writeOnnx } from './onnx-writer.ts';
import { featureRanges } from './preprocessing.ts';
import type { QuantisedModel } from './quantise.ts';
import { servedTensors } from './served-tensors.ts';
import { candidatesOf, type TreeParameters, type TreesShape, treesOf } from './trees.ts';

export const SERVED_INPUT = 'features';
export const SERVED_OUTPUT = 'accumulators';

/** ONNX bytes: `features` (rows x inputs) to `accumulators` (rows x outputs of the last layer). */
export function servedGraph({ architecture, parameters }: QuantisedModel): Uint8Array {
  const { layers, trees, tensors } = architecture;
  if (tensors)
    return servedTensors(tensors, parameters.layers, {
      input: SERVED_INPUT,
      output: SERVED_OUTPUT,
      inputs: featureRanges(architecture.preprocessing).length,
    });
  if (trees) return servedTrees(architecture, trees, parameters.trees!);
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

/** A full tree level by level: at level l + 1 first all branches that hold, in the order of level l, then all others. */
interface Levels {
  /** the candidate of each split; undefined: none holds */
  readonly splits: (number | undefined)[][];
  readonly leaves: number[];
}

function servedTrees(
  { preprocessing }: Architecture,
  shape: TreesShape,
  parameters: TreeParameters,
): Uint8Array {
  const ranges = featureRanges(preprocessing);
  const candidates = candidatesOf(ranges);
  const { depth, inputs, outputs } = shape;
  // A tree that adds to several outputs is as many trees with equal splits.
  const single: { readonly output: number; readonly levels: Levels }[] = [];
  treesOf(shape, parameters).forEach((tree, t) => {
    shape.targets[t]!.forEach((output, i) => {
      const levels: Levels = { splits: [], leaves: [] };
      let nodes = [0];
      for (let level = 0; level < depth; level++) {
        const isSplit = (node: number): boolean => node < tree.splits;
        levels.splits.push(nodes.map((node) => (isSplit(node) ? tree.split[node]! : undefined)));
        const next = (of: readonly number[]) => nodes.map((node) => (isSplit(node) ? of[node]! : node));
        nodes = [...next(tree.yes), ...next(tree.no)];
      }
      levels.leaves.push(...nodes.map((node) => tree.leaf[i]![node - tree.splits]!));
      single.push({ output, levels });
    });
  });

  const initializers = new Map<string, OnnxTensor>();
  const nodes: OnnxNode[] = [];
  const constant = (
    name: string,
    dims: number[],
    values: ArrayLike<number>,
    type: OnnxTensor['type'] = 'float32',
  ) => {
    initializers.set(name, { dims, type, values: Float64Array.from(values) });
    return name;
  };
  const add = (operator: string, output: string, ...from: string[]): string => {
    nodes.push({ name: output, operator, inputs: from, outputs: [output], attributes: new Map() });
    return output;
  };
  const [zero, one] = [constant('zero', [], [0]), constant('one', [], [1])];
  const axis = constant('axis', [1], [1], 'int64');
  // Elements of a level over all trees: position by position, and tree by tree within one, so that halves stay halves.
  const across = <T>(of: (levels: Levels) => readonly T[]): T[] => {
    const all = single.map(({ levels }) => of(levels));
    return all[0]!.flatMap((_, position) => all.map((each) => each[position]!));
  };
  const holds = (level: number): string => {
    const tests = across(({ splits }) => splits[level]!);
    const select = new Float64Array(inputs * tests.length);
    const shift = tests.map((s, column) => {
      const test = s === undefined ? undefined : candidates[s];
      if (!test) return 0;
      select[test.feature * tests.length + column] = 1;
      return 1 - test.from;
    });
    const at = add(
      'MatMul',
      `features${level}`,
      SERVED_INPUT,
      constant(`select${level}`, [inputs, tests.length], select),
    );
    const above = add('Add', `above${level}`, at, constant(`shift${level}`, [tests.length], shift));
    return add('Clip', `holds${level}`, above, zero, one);
  };
  const leaves = across((levels) => levels.leaves);
  const half = leaves.length / 2;
  const below = leaves.slice(half);
  const product = add(
    'Mul',
    `product${depth - 1}`,
    holds(depth - 1),
    constant(
      'more',
      [half],
      leaves.slice(0, half).map((leaf, i) => leaf - below[i]!),
    ),
  );
  let value = add('Add', `value${depth - 1}`, product, constant('least', [half], below));
  for (let level = depth - 2; level >= 0; level--) {
    const count = single.length * 2 ** level;
    const bound = (at: number): string => constant(`at${at}`, [1], [at], 'int64');
    const yes = add('Slice', `yes${level}`, value, bound(0), bound(count), axis);
    const no = add('Slice', `no${level}`, value, bound(count), bound(2 * count), axis);
    const more = add('Sub', `more${level}`, yes, no);
    value = add('Add', `value${level}`, add('Mul', `product${level}`, holds(level), more), no);
  }
  const targets = new Float64Array(single.length * outputs);
  single.forEach(({ output }, t) => {
    targets[t * outputs + output] = 1;
  });
  const sums = add('MatMul', 'sums', value, constant('targets', [single.length, outputs], targets));
  add('Add', SERVED_OUTPUT, sums, constant('bias', [outputs], parameters.bias));
  return writeOnnx({
    name: 'served',
    opsets: new Map([['', 13]]),
    nodes,
    initializers,
    inputs: [{ name: SERVED_INPUT, dims: [undefined, inputs] }],
    outputs: [{ name: SERVED_OUTPUT, dims: [undefined, outputs] }],
  });
}
