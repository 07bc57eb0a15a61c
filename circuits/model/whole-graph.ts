/** The ends of a graph that is read whole: its inputs as they are, and all its outputs as numbers instead of a class. */
import type { Decision } from './decision.ts';
import type { OnnxGraph } from './onnx.ts';
import {
  type Activation,
  type Affine,
  type Context,
  type Scores,
  UNKNOWN,
  Unsupported,
  type Value,
} from './operators/value.ts';

export interface NamedTensor {
  readonly name: string;
  readonly dims: readonly number[];
}

/** All outputs side by side, as numbers. Undefined where one is not known, because of a problem before it. */
export function allOutputs(
  graph: OnnxGraph,
  values: ReadonlyMap<string, Value>,
  context: Context,
): Decision | undefined {
  const outputs = graph.outputs.map(({ name }) => values.get(name) ?? UNKNOWN);
  if (outputs.length === 0 || outputs.some((value) => value.kind === 'unknown')) return undefined;
  const affine = outputs.map((value) => {
    if (value.kind === 'scores') throw atTheEnd(value);
    if (value.kind === 'label')
      throw new Unsupported(
        'it gives a class, which is no number of the network',
        'publish it with a data dictionary, as a classifier',
        value.node,
      );
    return context.asActivation(value, 'an output').affine;
  });
  if (affine.some((each) => !each)) return undefined;
  const aligned = context.align(affine as Affine[]);
  const of = {
    stage: aligned[0]!.stage,
    rows: aligned.flatMap(({ rows }) => rows),
    offset: Float64Array.from(aligned.flatMap(({ offset }) => [...offset])),
  };
  return { of, decision: 'argmax', classes: undefined };
}

const atTheEnd = ({ by, node }: Scores): Unsupported =>
  new Unsupported(
    `the numbers that ${by === 'softmax' ? 'Softmax' : 'Sigmoid'} gives need a table, which the circuit does not have; only their order is proved`,
    'end the model before it, or publish it with a data dictionary, as a classifier',
    node,
  );

export function namedOf(
  { inputs, outputs, initializers }: OnnxGraph,
  values: ReadonlyMap<string, Value>,
  first: ReadonlyMap<string, Value>,
): { inputs: NamedTensor[]; outputs: NamedTensor[] } {
  const named =
    (from: ReadonlyMap<string, Value>) =>
    ({ name }: { readonly name: string }): NamedTensor => {
      const value = from.get(name)!;
      return { name, dims: value.kind === 'constant' ? value.tensor.dims : (value as Activation).dims };
    };
  return {
    inputs: inputs.filter(({ name }) => !initializers.has(name)).map(named(first)),
    outputs: outputs.map(named(values)),
  };
}
