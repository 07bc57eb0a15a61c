/**
 * What a name stands for while a graph is read, for one row of the batch, and how operators see their node.
 *
 * An activation is known as an affine function of a *stage*: stage 0 is the model's input, stage s the outputs of
 * the s-th layer of ReLUs (layers.ts). Every operator that is linear with constant coefficients, whatever its name,
 * only makes another affine function of the same stage; nothing is computed or paid until a ReLU needs it.
 *
 * Dimensions are static but for the batch: one axis may stand for the rows, is written as 1, and no operator may mix
 * along it. Broadcasting goes by shape, as ONNX's specification of it says (docs/Broadcasting.md of onnx/onnx).
 */
import type { FloatNode } from '../ensemble.ts';
import type { OnnxAttribute, OnnxNode, OnnxTensor } from '../onnx.ts';

/** An affine function: sum of `by[k]` times element `at[k]` of the stage; the constant is kept beside it. */
export interface Row {
  readonly at: Int32Array;
  readonly by: Float64Array;
}
export const NOTHING: Row = { at: new Int32Array(0), by: new Float64Array(0) };

interface Shaped {
  readonly dims: readonly number[];
  /** the axis of the rows, whose dimension is written as 1; undefined: there is exactly one row */
  readonly batch: number | undefined;
}

/** Rows and constants, element by element, over a stage. */
export interface Affine {
  readonly stage: number;
  readonly rows: readonly Row[];
  readonly offset: Float64Array;
}

export interface Constant {
  readonly kind: 'constant';
  readonly tensor: OnnxTensor;
}
export interface Activation extends Shaped {
  readonly kind: 'activation';
  /** undefined where only the shape is known, because something before it is not supported */
  readonly affine: Affine | undefined;
}
/** What Softmax and Sigmoid give: the same order as their arguments, of which alone a decision depends. */
export interface Scores extends Shaped {
  readonly kind: 'scores';
  readonly of: Affine;
  /** softmax: of one distribution over all elements; sigmoid: each element by itself */
  readonly by: 'softmax' | 'sigmoid';
  /** where several are scores of classes of which one is right, although each is by itself */
  readonly exclusive: boolean;
  /** index of the node that made it, to be named when it is not the end */
  readonly node: number;
}
/** The class of the greatest element. */
export interface Label extends Shaped {
  readonly kind: 'label';
  readonly of: Affine;
  /** as the file calls the classes, in order; undefined: by position */
  readonly classes: readonly (string | number)[] | undefined;
  readonly node: number;
}
/** What an operator gives that is not supported. */
export interface Unknown {
  readonly kind: 'unknown';
}
export const UNKNOWN: Unknown = { kind: 'unknown' };
export type Value = Constant | Activation | Scores | Label | Unknown;

/** Why a node cannot be proved, and what the owner of the model can do about it. */
export class Unsupported extends Error {
  readonly reason: string;
  readonly fix: string;
  /** the node to name, where it is not the one that is read */
  readonly node: number | undefined;
  /** values of a known shape that the node gives all the same, so that what comes after it is looked at */
  readonly gives: readonly Value[];
  constructor(reason: string, fix: string, node?: number, gives: readonly Value[] = []) {
    super(reason);
    this.reason = reason;
    this.fix = fix;
    this.node = node;
    this.gives = gives;
  }
}

/** elements of one value; beyond it a circuit is out of reach */
const MAX_ELEMENTS = 2 ** 22;
/** terms of one value's affine functions */
export const MAX_TERMS = 2 ** 22;

export function sizeOf(dims: readonly number[]): number {
  const size = dims.reduce((a, b) => a * b, 1);
  if (!Number.isSafeInteger(size) || size > MAX_ELEMENTS || size < 0)
    throw new Unsupported(
      `its shape [${dims.join(', ')}] has more than ${MAX_ELEMENTS} elements`,
      'use a smaller model, or one that takes less at once',
    );
  return size;
}

/** elements of a value that depends on the input */
export const MAX_ACTIVATION = 2 ** 18;

/** Throws for a value that depends on the input and is larger than any circuit, before it is written down. */
export function demandSize(dims: readonly number[]): void {
  const size = sizeOf(dims);
  if (size > MAX_ACTIVATION)
    throw new Unsupported(
      `its ${size} elements are more than ${MAX_ACTIVATION}, beyond any circuit that can be compiled`,
      'use a smaller model, or one that takes less at once',
    );
}

/** Trees over the model's inputs. */
export interface Forest {
  readonly trees: readonly FloatNode[];
  readonly outputs: number;
}

/** A convolution of floats: kernels of outputs x channels x taps, and a bias for each output. */
export interface Kernels {
  readonly groups: number;
  /** of one group */
  readonly channels: number;
  /** of all groups */
  readonly outputs: number;
  readonly image: readonly number[];
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** padding in front */
  readonly before: readonly number[];
  readonly places: readonly number[];
  readonly weights: Float64Array;
  readonly bias: Float64Array;
}

/** What nodes add to a network of tensors, whose constants are hidden parameters (tensor-network.ts). */
export interface Tensors {
  relu(value: Affine): Affine;
  conv(value: Affine, kernels: Kernels): Affine;
  /** each element times its own factor, and a number; constants of the file */
  scaled(value: Affine, dims: readonly number[], factor: Float64Array, offset: Float64Array): Affine;
  max(value: Affine, groups: readonly (readonly number[])[]): Affine;
  product(a: Affine, b: Affine): Affine;
  align(values: readonly Affine[]): Affine[];
}

/** A node with its inputs, as handlers ask it. */
export interface NodeView {
  readonly node: OnnxNode;
  readonly index: number;
  /** version of the operator set that the node's operator is from */
  readonly opset: number;
  readonly inputs: readonly (Value | undefined)[];
  readonly context: Context;
}

/** What a graph offers to all its nodes. */
export interface Context {
  /** where the graph is read as a network of tensors; undefined: as layers of ReLUs */
  readonly tensors: Tensors | undefined;
  /** max(0, value), element by element */
  relu(value: Affine): Affine;
  /** something that is left out or done otherwise, for whoever lints; the same thing is said once */
  note(text: string): void;
  /** the same values, all over the latest of their stages */
  align(values: readonly Affine[]): Affine[];
  /** the sums of an ensemble of trees, one element for each output */
  ensemble(forest: Forest): Affine;
  /** a constant as an activation that depends on nothing, anything else as `activationAt` takes it */
  asActivation(value: Value, what: string): Activation;
}

/** An input that has to be there. */
export function valueAt({ inputs }: NodeView, at: number, what: string): Value {
  const value = inputs[at];
  if (value === undefined) throw new Unsupported(`${what} is missing`, 'export the model again');
  return value;
}

export function constantAt(view: NodeView, at: number, what: string): OnnxTensor {
  const value = valueAt(view, at, what);
  if (value.kind !== 'constant')
    throw new Unsupported(
      `${what} depends on the input of the model; expected a constant`,
      'export with constants folded, and weights as initializers',
    );
  return value.tensor;
}

/** The finite numbers of a constant. */
export function numbersAt(view: NodeView, at: number, what: string): OnnxTensor {
  const tensor = constantAt(view, at, what);
  if (tensor.type === 'string') throw new Unsupported(`${what} is text`, 'export the model again');
  finite(tensor.values, what);
  return tensor;
}

export function finite(values: ArrayLike<number>, what: string): void {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i]!))
      throw new Unsupported(`${what} has a value that is not a finite number`, 'train the model again');
  }
}

/** Whole numbers of a constant or an attribute; infinities stand for "as far as it goes". */
export function wholeAt(view: NodeView, at: number, what: string): number[] | undefined {
  if (view.inputs[at] === undefined) return undefined;
  return [...constantAt(view, at, what).values];
}

/** An activation; throws for what can only be at the end, and for a constant. */
export const activationAt = (view: NodeView, at: number, what = `input ${at + 1}`): Activation =>
  demandActivation(valueAt(view, at, what), what);

export function demandActivation(value: Value, what: string): Activation {
  if (value.kind === 'activation') return value;
  if (value.kind === 'scores') throw innerScores(value);
  if (value.kind === 'label')
    throw new Unsupported(
      'the class that was decided on is computed with',
      'end the model there',
      value.node,
    );
  if (value.kind === 'constant')
    throw new Unsupported(
      `${what} is a constant; expected what depends on the input`,
      'export with constants folded',
    );
  throw new Unsupported(`${what} is not known`, 'solve the problem before it');
}

export const innerScores = ({ by, node }: Scores): Unsupported =>
  new Unsupported(
    `${by === 'softmax' ? 'Softmax' : 'Sigmoid'} inside of the network needs a table, which the circuit does not have`,
    'use ReLU, LeakyReLU or HardSigmoid there, and keep it for the end',
    node,
  );

export const affineOf = ({ affine }: Activation): Affine => {
  if (!affine) throw new Unsupported('what it takes is not known', 'solve the problem before it');
  return affine;
};

function attribute(view: NodeView, name: string): OnnxAttribute | undefined {
  return view.node.attributes.get(name);
}

export function numberOf(view: NodeView, name: string, otherwise: number): number {
  const value = attribute(view, name);
  if (value === undefined) return otherwise;
  if (typeof value !== 'number' || Number.isNaN(value)) throw wrongAttribute(name, 'a number', value);
  return value;
}

export function textOf(view: NodeView, name: string, otherwise: string): string {
  const value = attribute(view, name);
  if (value === undefined) return otherwise;
  if (typeof value !== 'string') throw wrongAttribute(name, 'text', value);
  return value;
}

/** A list of numbers; undefined where the attribute is not there. */
export function listOf(view: NodeView, name: string): number[] | undefined {
  const value = attribute(view, name);
  if (value === undefined) return undefined;
  if (value instanceof Float64Array) return [...value];
  if (!Array.isArray(value) || (value.length > 0 && typeof value[0] !== 'number'))
    throw wrongAttribute(name, 'a list of numbers', value);
  return value as number[];
}

/** A list of texts; undefined where the attribute is not there. */
export function textsOf(view: NodeView, name: string): string[] | undefined {
  const value = attribute(view, name);
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || (value.length > 0 && typeof value[0] !== 'string'))
    throw wrongAttribute(name, 'a list of texts', value);
  return value as string[];
}

export function tensorOf(view: NodeView, name: string): OnnxTensor | undefined {
  const value = attribute(view, name);
  if (value === undefined) return undefined;
  if (typeof value !== 'object' || !('dims' in value)) throw wrongAttribute(name, 'a dense tensor', value);
  return value;
}

function wrongAttribute(name: string, expected: string, value: OnnxAttribute): Unsupported {
  const got = typeof value === 'object' && 'unread' in value ? `a ${value.unread}` : 'something else';
  return new Unsupported(
    `its attribute ${JSON.stringify(name)} is ${got}; expected ${expected}`,
    'export the model again',
  );
}

/** An axis counted from the front. */
export function axisOf(axis: number, rank: number): number {
  const at = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(at) || at < 0 || at >= rank)
    throw new Unsupported(`axis ${axis} of a value with ${rank} dimensions`, 'export the model again');
  return at;
}

/** The distances, in elements, between neighbours along each axis. */
export function stridesOf(dims: readonly number[]): number[] {
  const strides = Array<number>(dims.length).fill(1);
  for (let axis = dims.length - 2; axis >= 0; axis--) strides[axis] = strides[axis + 1]! * dims[axis + 1]!;
  return strides;
}

/** Calls `each` with every position of a shape, in row-major order; the array is used again. */
export function positions(
  dims: readonly number[],
  each: (position: readonly number[], at: number) => void,
): void {
  const size = sizeOf(dims);
  const position = Array<number>(dims.length).fill(0);
  for (let at = 0; at < size; at++) {
    each(position, at);
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      position[axis]!++;
      if (position[axis]! < dims[axis]!) break;
      position[axis] = 0;
    }
  }
}

/** The shape that two shapes broadcast to. Throws where they do not fit, or where rows of the batch would get their own. */
export function broadcastShape(a: Shaped, b: Shaped): Shaped {
  const rank = Math.max(a.dims.length, b.dims.length);
  const dim = ({ dims }: Shaped, axis: number): number => dims[axis - rank + dims.length] ?? 1;
  const batchOf = ({ dims, batch }: Shaped): number | undefined =>
    batch === undefined ? undefined : batch + rank - dims.length;
  const dims = Array.from({ length: rank }, (_, axis) => {
    const [x, y] = [dim(a, axis), dim(b, axis)];
    if (x !== y && x !== 1 && y !== 1)
      throw new Unsupported(
        `the shapes [${a.dims.join(', ')}] and [${b.dims.join(', ')}] do not fit each other`,
        'export the model again',
      );
    return x === 1 ? y : x;
  });
  const [first, second] = [batchOf(a), batchOf(b)];
  if (first !== undefined && second !== undefined && first !== second)
    throw new Unsupported('the rows of the batch lie along different axes', 'keep the batch in front');
  const batch = first ?? second;
  if (batch !== undefined && dims[batch] !== 1)
    throw new Unsupported(
      `a constant of ${dims[batch]} values lies along the axis of the batch: each row would get its own`,
      'give the constant the shape of one row, such as [3] or [1, 3] and not [3, 1]',
    );
  return { dims, batch };
}

/** For each element of `to`, which element of a value of shape `dims` is broadcast there. */
export function broadcastFrom(dims: readonly number[], to: readonly number[]): Int32Array {
  const strides = stridesOf(dims);
  const from = new Int32Array(sizeOf(to));
  positions(to, (position, at) => {
    let source = 0;
    dims.forEach((dim, axis) => {
      if (dim !== 1) source += position[axis + to.length - dims.length]! * strides[axis]!;
    });
    from[at] = source;
  });
  return from;
}

/** sum of factors[i] times rows[i], over the same stage */
export function combine(parts: readonly { readonly row: Row; readonly factor: number }[]): Row {
  const live = parts.filter(({ row, factor }) => factor !== 0 && row.at.length > 0);
  if (live.length === 0) return NOTHING;
  if (live.length === 1) {
    const { row, factor } = live[0]!;
    return factor === 1 ? row : { at: row.at, by: row.by.map((c) => c * factor) };
  }
  const sums = new Map<number, number>();
  for (const { row, factor } of live)
    row.at.forEach((at, k) => {
      sums.set(at, (sums.get(at) ?? 0) + factor * row.by[k]!);
    });
  return { at: Int32Array.from(sums.keys()), by: Float64Array.from(sums.values()) };
}

/** Elements of the shape [a, b, c] in the order of [b, a, c]. */
export function swapped(value: Affine, [a, b, c]: readonly [number, number, number]): Affine {
  if (a === 1 || b === 1) return value;
  const from = Array.from({ length: a * b * c }, (_, e) => {
    const [outer, inner, at] = [Math.floor(e / (a * c)), Math.floor(e / c) % a, e % c];
    return (inner * b + outer) * c + at;
  });
  return {
    stage: value.stage,
    rows: from.map((at) => value.rows[at]!),
    offset: Float64Array.from(from, (at) => value.offset[at]!),
  };
}
