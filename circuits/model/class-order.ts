/**
 * Which of a file's outputs is which of the dictionary's classes. Where the file names its classes, by these names, never
 * by position; where it has none, its outputs are taken to be in the dictionary's order, and accuracy on labelled rows tells.
 */
import type { Dictionary } from './dictionary.ts';
import { type Ensemble, mapLeaves } from './ensemble.ts';
import type { TensorNetwork } from './float-tensors.ts';
import type { Decision, DenseLayer, DenseNetwork } from './network.ts';
import { reordered as reorderedTensors } from './tensor-network.ts';

/**
 * For each class of the dictionary the output of the file that is it; nothing where the file's one output and the dictionary's
 * label are numbers. Returns a sentence where that cannot be said.
 * Numbers from 0 are positions, as a table of features has them (vouch data features), other ones are values of the table.
 */
export function classOrder(
  named: readonly (string | number)[] | undefined,
  { label: { classes } }: Pick<Dictionary, 'label'>,
  decision: Decision,
): number[] | string {
  if (decision === 'number' && classes)
    return 'one output without a Sigmoid is a number and no class; end the model with Sigmoid, or make the label of the dictionary a number';
  if (!classes)
    return decision === 'number' && !named
      ? []
      : "the file decides between classes, the dictionary's label is a number; export a regressor, or give the label its classes";
  const inOrder = classes.map((_, c) => c);
  if (!named) return inOrder;
  const texts = named.map(String);
  const by = (key: 'name' | 'value'): number[] | undefined => {
    const order = classes.map((each) => texts.indexOf(each[key]));
    return order.includes(-1) || texts.length !== classes.length ? undefined : order;
  };
  const positions =
    named.length === classes.length && named.every((each, c) => each === c) ? inOrder : undefined;
  const found = [by('name'), by('value'), positions].filter((order) => order !== undefined);
  const [first, ...others] = found;
  const theirs = classes.map(({ name, value }) => (name === value ? name : `${value} (${name})`)).join(', ');
  if (!first) return `the file's classes are ${texts.join(', ')}; the dictionary's are ${theirs}`;
  if (others.some((order) => order.join() !== first.join()))
    return `the file's classes ${texts.join(', ')} may be positions or values of the dictionary's ${theirs}, which are in another order`;
  return first;
}

/** The network with its outputs in this order. */
export function inClassOrder<M extends DenseNetwork | Ensemble | TensorNetwork>(
  network: M,
  order: readonly number[],
): M;
export function inClassOrder(
  network: DenseNetwork | Ensemble | TensorNetwork,
  order: readonly number[],
): DenseNetwork | Ensemble | TensorNetwork {
  if (order.every((from, c) => from === c)) return network;
  if ('operations' in network) return reorderedTensors(network, order);
  if ('trees' in network) {
    const change = (values: Float64Array): Float64Array =>
      network.decision === 'sign'
        ? values.map((value) => 0 - value)
        : Float64Array.from(order, (from) => values[from]!);
    return {
      ...network,
      trees: network.trees.map((tree) => mapLeaves(tree, change)),
      bias: change(network.bias),
    };
  }
  const last = network.layers.at(-1)!;
  const reordered = network.decision === 'sign' ? negated(last) : permuted(last, order);
  return { ...network, layers: [...network.layers.slice(0, -1), reordered] };
}

const negated = (layer: DenseLayer): DenseLayer => ({
  ...layer,
  weights: layer.weights.map((w) => 0 - w),
  bias: layer.bias.map((b) => 0 - b),
});

function permuted(layer: DenseLayer, order: readonly number[]): DenseLayer {
  const { inputs, weights, bias } = layer;
  return {
    ...layer,
    weights: Float64Array.from(
      weights,
      (_, at) => weights[order[Math.floor(at / inputs)]! * inputs + (at % inputs)]!,
    ),
    bias: Float64Array.from(order, (from) => bias[from]!),
  };
}
