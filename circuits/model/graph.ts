/**
 * From an ONNX graph to the float network that is quantised: a chain of dense layers with ReLUs, and a decision or a number.
 *
 * What each operator means is in operators/; this walks the nodes, hands them values, and collects every problem
 * instead of stopping at the first one. A node behind something unsupported is still looked at as far as its shape
 * is known, and its name in any case.
 */
import { VouchError } from '../../protocols/errors.ts';
import { chain, decide, folded } from './decision.ts';
import type { Ensemble } from './ensemble.ts';
import type { TensorNetwork } from './float-tensors.ts';
import type { DenseNetwork } from './network.ts';
import { KNOWN_OPSETS, type OnnxGraph, type OnnxNode } from './onnx.ts';
import { createLayers, type Layers } from './operators/layers.ts';
import { REFUSED } from './operators/refused.ts';
import { handlerOf } from './operators/table.ts';
import {
  type Context,
  demandActivation,
  MAX_ACTIVATION,
  NOTHING,
  type Row,
  sizeOf,
  UNKNOWN,
  Unsupported,
  type Value,
} from './operators/value.ts';
import { createTensors, type OpenTensors } from './tensor-network.ts';
import { allOutputs, type NamedTensor, namedOf } from './whole-graph.ts';

/** Something that cannot be proved. */
export interface Problem {
  /** index of the node in the file; undefined: it is about the graph as a whole */
  readonly node: number | undefined;
  readonly name: string;
  readonly op: string;
  readonly reason: string;
  readonly fix: string;
}

export interface GraphReading {
  /** undefined where there are problems, or trees */
  readonly network: DenseNetwork | undefined;
  /** undefined where there are problems, or a network */
  readonly ensemble?: Ensemble | undefined;
  /** where the graph is no chain of dense layers: with convolutions, pooling or products */
  readonly tensors?: TensorNetwork | undefined;
  /** of a graph that is read whole: its inputs and outputs, side by side as the network has them */
  readonly named?:
    | { readonly inputs: readonly NamedTensor[]; readonly outputs: readonly NamedTensor[] }
    | undefined;
  /** as the file calls the classes, in order; undefined: it does not */
  readonly classes: readonly (string | number)[] | undefined;
  readonly problems: readonly Problem[];
  /** what was left out or replaced, and why that changes no decision */
  readonly notes: readonly string[];
}

/** Operators whose work would be lost in a chain of dense layers. */
const OF_TENSORS: ReadonlySet<string> = new Set([
  'Conv',
  'ConvInteger',
  'QLinearConv',
  'MaxPool',
  'AveragePool',
  'GlobalAveragePool',
]);

export interface GraphOptions {
  /** every input as it is, without a batch, and all outputs as numbers instead of a class */
  readonly whole?: boolean | undefined;
  /** as a network of tensors, or as layers; undefined: as what fits it */
  readonly tensors?: boolean | undefined;
  /** features of a row, where they are known: for a model that does not say */
  readonly features?: number | undefined;
}

/** Reads a graph; never throws for what the graph is. */
export function readGraph(graph: OnnxGraph, options: GraphOptions = {}): GraphReading {
  if (options.whole) return readAs(graph, { ...options, tensors: true });
  if (options.tensors !== undefined) return readAs(graph, options);
  if (graph.nodes.some(({ operator }) => OF_TENSORS.has(operator)))
    return readAs(graph, { ...options, tensors: true });
  const reading = readAs(graph, options);
  if (reading.problems.length === 0) return reading;
  // Layers have no products of two values.
  const other = readAs(graph, { ...options, tensors: true });
  return other.problems.length === 0 ? other : reading;
}

function readAs(graph: OnnxGraph, options: GraphOptions): GraphReading {
  const problems: Problem[] = [];
  const notes: string[] = [];
  const report = (problem: unknown, node?: number): void => {
    if (!(problem instanceof Unsupported)) throw problem;
    const at = problem.node ?? node;
    const { name = '', operator = 'graph' } = at === undefined ? {} : graph.nodes[at]!;
    const found = { node: at, name, op: operator, reason: problem.reason, fix: problem.fix };
    if (!problems.some((p) => p.node === at && p.reason === found.reason)) problems.push(found);
  };
  const attempt = <T>(work: () => T, node?: number): T | undefined => {
    try {
      return work();
    } catch (error) {
      report(error, node);
      return undefined;
    }
  };

  for (const each of opsetProblems(graph)) report(each);
  const layers = createLayers();
  const values = new Map<string, Value>();
  for (const [name, tensor] of graph.initializers) values.set(name, { kind: 'constant', tensor });
  const width = attempt(() => readInputs(graph, options, values));
  const inputs = new Map(values);
  const tensors = options.tensors ? createTensors(width ?? 0) : undefined;
  const context = contextOf(layers, notes, tensors);
  const names = producers(graph);
  const depended = attempt(() => ordered(graph, names)) ?? graph.nodes.map((_, i) => i);

  for (const index of depended) {
    const node = graph.nodes[index]!;
    const outputs = readNode({ graph, node, index, values, context, attempt });
    node.outputs.forEach((name, i) => {
      if (name !== '') values.set(name, outputs[i] ?? UNKNOWN);
    });
  }
  const end = attempt(() =>
    options.whole ? allOutputs(graph, values, context) : decide(graph, values, context, notes),
  );
  // A value that is not known although nothing was said against its node: an output that its operator does not have.
  if (!end && problems.length === 0) {
    const at = depended.find((index) =>
      graph.nodes[index]!.outputs.some((name) => values.get(name) === UNKNOWN),
    );
    report(new Unsupported('it has an output that its operator does not give', 'export the model again', at));
  }
  if (!end || width === undefined || problems.length > 0)
    return { network: undefined, classes: end?.classes, problems: sorted(problems), notes };
  if (tensors) {
    const read = attempt(() => tensors.finish(end.of, end.decision));
    const named = options.whole ? namedOf(graph, values, inputs) : undefined;
    return {
      network: undefined,
      tensors: read,
      named,
      classes: end.classes,
      problems: sorted(problems),
      notes,
    };
  }
  const read = layers.forest
    ? { network: undefined, ensemble: attempt(() => folded(layers.forest!, { width, ...end })) }
    : { network: attempt(() => chain(layers, { width, ...end })) };
  return { ...read, classes: end.classes, problems: sorted(problems), notes };
}

const sorted = (problems: readonly Problem[]): Problem[] =>
  problems.toSorted((a, b) => (a.node ?? -1) - (b.node ?? -1));

/** The network of a graph. Throws `bad-input`, which names the first problem and how many there are. */
export function networkFromOnnx(graph: OnnxGraph, options: GraphOptions = {}): DenseNetwork {
  const model = modelOf(readGraph(graph, options));
  if ('layers' in model) return model;
  throw new VouchError('bad-input', 'ONNX model: it is no network of dense layers');
}

/** A model in floating point. */
export type FloatModel = DenseNetwork | Ensemble | TensorNetwork;

/** What a graph was read as. Throws `bad-input`, which names the first problem and how many there are. */
export function modelOf({ network, ensemble, tensors, problems }: GraphReading): FloatModel {
  const model = network ?? ensemble ?? tensors;
  if (model) return model;
  const [first] = problems;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more: vouch model lint shows all)` : '';
  throw new VouchError('bad-input', `ONNX model: ${problemLine(first!)}${more}`);
}

/** A problem in a line. */
export const problemLine = ({ node, name, op, reason, fix }: Problem): string =>
  `${node === undefined ? '' : `node ${node}, `}${op}${name ? ` (${JSON.stringify(name.slice(0, 60))})` : ''}: ${reason}; ${fix}`;

function opsetProblems({ opsets, nodes }: OnnxGraph): Unsupported[] {
  const domains = new Set(
    nodes.map(({ operator }) => operator.slice(0, Math.max(0, operator.lastIndexOf('.')))),
  );
  return [...domains].flatMap((domain) => {
    const known = KNOWN_OPSETS.get(domain);
    const name = domain === '' ? 'ai.onnx' : domain;
    const version = opsets.get(domain);
    // A domain that nobody knows is named with each of its operators.
    if (!known || (version !== undefined && version >= known.low && version <= known.high)) return [];
    return [
      new Unsupported(
        version === undefined
          ? `it uses operators of ${name} and imports no version of them`
          : `it imports version ${version} of ${name}; known are ${known.low} to ${known.high}`,
        `export with a version of ${name} from ${known.low} to ${known.high}`,
      ),
    ];
  });
}

function contextOf(layers: Layers, notes: string[], tensors: OpenTensors | undefined): Context {
  return {
    tensors,
    relu: tensors?.relu ?? layers.relu,
    ensemble: (forest) => {
      if (tensors)
        throw new Unsupported('trees beside convolutions, pooling or products', 'use the one or the other');
      return layers.ensemble(forest);
    },
    note: (text) => {
      if (!notes.includes(text)) notes.push(text);
    },
    align: (values) => {
      if (tensors) return tensors.align(values);
      const last = values.reduce((stage, value) => Math.max(stage, value.stage), 0);
      return values.map((value) => layers.lift(value, last));
    },
    asActivation: (value, what) => {
      if (value.kind !== 'constant') return demandActivation(value, what);
      const { dims, values, type } = value.tensor;
      if (type === 'string' || !values.every(Number.isFinite))
        throw new Unsupported(`${what} has a value that is not a finite number`, 'train the model again');
      const affine = { stage: 0, rows: Array.from(values, () => NOTHING), offset: values };
      return { kind: 'activation', dims, batch: undefined, affine };
    },
  };
}

/** Puts the model's inputs side by side as stage 0; returns how many features that is. */
function readInputs(graph: OnnxGraph, { features, whole }: GraphOptions, values: Map<string, Value>): number {
  const inputs = graph.inputs.filter(({ name }) => !graph.initializers.has(name));
  if (inputs.length === 0) throw new Unsupported('it has no input', 'export the model again');
  let width = 0;
  for (const { name, dims } of inputs) {
    const open = dims.map((d, axis) => (d === undefined ? axis : -1)).filter((axis) => axis > 0);
    const known = dims.slice(1).reduce<number>((product, d) => product * (d ?? 1), 1);
    let shape: (number | undefined)[] = [...dims];
    if (dims.length === 0 && features !== undefined) shape = [undefined, features];
    else if (open.length === 1 && features !== undefined && inputs.length === 1 && features % known === 0)
      shape[open[0]!] = features / known;
    else if (open.length > 0)
      throw new Unsupported(
        `the shape of its input ${JSON.stringify(name.slice(0, 60))} is open in more than the batch`,
        'export with static shapes; only the first dimension may be symbolic',
      );
    // One row alone is computed as it is; more than one, or any number of them, are rows of a batch.
    const rows = !whole && shape.length > 1 && shape[0] !== 1;
    const fixed = shape.map((d, axis) => (axis === 0 && (rows || d === undefined) ? 1 : d!));
    const size = sizeOf(fixed);
    if (width + size > MAX_ACTIVATION)
      throw new Unsupported(
        `its input of ${width + size} values is more than ${MAX_ACTIVATION}, beyond any circuit that can be compiled`,
        'use a model that takes less at once',
      );
    values.set(name, {
      kind: 'activation',
      dims: fixed,
      batch: rows || (!whole && shape[0] === undefined) ? 0 : undefined,
      affine: {
        stage: 0,
        rows: Array.from(
          { length: size },
          (_, i): Row => ({ at: Int32Array.of(width + i), by: Float64Array.of(1) }),
        ),
        offset: new Float64Array(size),
      },
    });
    width += size;
  }
  return width;
}

/** Which node makes a value. */
const producers = ({ nodes }: OnnxGraph): Map<string, number> =>
  new Map(
    nodes.flatMap(({ outputs }, i) =>
      outputs.filter((name) => name !== '').map((name) => [name, i] as const),
    ),
  );

/** Nodes so that each comes after those that it takes from. Throws Unsupported for a circle. */
function ordered({ nodes }: OnnxGraph, makers: ReadonlyMap<string, number>): number[] {
  const order: number[] = [];
  const state = new Uint8Array(nodes.length);
  const stack: number[] = [];
  for (let root = 0; root < nodes.length; root++) {
    stack.push(root);
    while (stack.length > 0) {
      const at = stack.at(-1)!;
      if (state[at] === 2) {
        stack.pop();
        continue;
      }
      const open = nodes[at]!.inputs.map((name) => makers.get(name)).filter(
        (i) => i !== undefined && state[i] !== 2,
      );
      if (state[at] === 1 && open.length > 0)
        throw new Unsupported('a value depends on itself', 'export the model again', at);
      state[at] = 1;
      if (open.length === 0) {
        state[at] = 2;
        order.push(at);
        stack.pop();
      } else stack.push(...(open as number[]));
    }
  }
  return order;
}

interface Reading {
  readonly graph: OnnxGraph;
  readonly node: OnnxNode;
  readonly index: number;
  readonly values: ReadonlyMap<string, Value>;
  readonly context: Context;
  attempt<T>(work: () => T, node?: number): T | undefined;
}

function readNode({ graph, node, index, values, context, attempt }: Reading): Value[] {
  const { operator } = node;
  const dangling = node.inputs.find((name) => name !== '' && !values.has(name));
  const inputs = node.inputs.map((name) => (name === '' ? undefined : (values.get(name) ?? UNKNOWN)));
  const refused = REFUSED[operator];
  if (refused) {
    attempt(() => {
      throw new Unsupported(refused.reason, refused.fix);
    }, index);
    const [first] = inputs;
    if (!refused.sameShape || first?.kind !== 'activation') return [];
    return [{ ...first, affine: undefined }];
  }
  const handler = handlerOf(operator);
  if (!handler) {
    attempt(() => {
      throw new Unsupported('the operator is not supported', 'docs/MODELS.md has a list of those that are');
    }, index);
    return [];
  }
  if (dangling !== undefined) {
    attempt(() => {
      throw new Unsupported(
        `nothing gives its input ${JSON.stringify(dangling.slice(0, 60))}`,
        'export the model again',
      );
    }, index);
    return [];
  }
  if (inputs.some((value) => value?.kind === 'unknown')) return [];
  const dot = operator.lastIndexOf('.');
  const opset = graph.opsets.get(dot < 0 ? '' : operator.slice(0, dot)) ?? 0;
  const view = { node, index, opset, inputs, context };
  let gives: readonly Value[] = [];
  const given = attempt(() => {
    try {
      return handler(view);
    } catch (error) {
      if (error instanceof Unsupported) gives = error.gives;
      throw error;
    }
  }, index);
  return given ?? [...gives];
}
