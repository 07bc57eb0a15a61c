/** Operators that only move elements, or know them beforehand: they cost nothing. Constants are folded by the same code. */
import {
  type Activation,
  axisOf,
  constantAt,
  demandSize,
  listOf,
  NOTHING,
  type NodeView,
  numberOf,
  positions,
  type Row,
  sizeOf,
  stridesOf,
  Unsupported,
  type Value,
  valueAt,
  wholeAt,
} from './value.ts';

/** A new shape, and for each of its elements the one of the old shape that goes there; -1: none. */
interface Arrangement {
  readonly dims: readonly number[];
  readonly batch: number | undefined;
  /** undefined: all stay in their order */
  readonly from?: Int32Array;
}

export const dimsOf = (value: Value): readonly number[] => {
  if (value.kind === 'constant') return value.tensor.dims;
  if (value.kind === 'unknown')
    throw new Unsupported('what it takes is not known', 'solve the problem before it');
  return value.dims;
};
export const batchOf = (value: Value): number | undefined =>
  value.kind === 'constant' || value.kind === 'unknown' ? undefined : value.batch;

/** Moves elements of any value; what comes from nowhere is `fill`. */
export function arranged(value: Value, { dims, batch, from }: Arrangement, fill = 0): Value {
  if (value.kind === 'constant') sizeOf(dims);
  else demandSize(dims);
  const pick = <T>(items: ArrayLike<T>, otherwise: T): T[] =>
    from ? Array.from(from, (at) => (at < 0 ? otherwise : items[at]!)) : Array.from(items);
  switch (value.kind) {
    case 'unknown':
      return value;
    case 'constant': {
      const { values, strings, ...tensor } = value.tensor;
      const moved = { ...tensor, dims, values: Float64Array.from(pick(values, fill)) };
      if (!strings) return { kind: 'constant', tensor: moved };
      return { kind: 'constant', tensor: { ...moved, strings } };
    }
    case 'activation': {
      if (!value.affine) return { ...value, dims, batch };
      const { stage, rows, offset } = value.affine;
      if (!from) return { ...value, dims, batch };
      return {
        ...value,
        dims,
        batch,
        affine: { stage, rows: pick<Row>(rows, NOTHING), offset: Float64Array.from(pick(offset, fill)) },
      };
    }
    case 'scores':
    case 'label': {
      if (!from || from.every((at, i) => at === i && from.length === value.of.rows.length))
        return { ...value, dims, batch };
      if (value.kind === 'label' || from.includes(-1))
        throw new Unsupported(
          'the answer of the model is taken apart',
          'end the model with the classes or their scores',
        );
      const { stage, rows, offset } = value.of;
      const of = { stage, rows: pick(rows, NOTHING), offset: Float64Array.from(pick(offset, 0)) };
      return { ...value, dims, batch, of };
    }
  }
}

const identity = (view: NodeView): Value[] => [valueAt(view, 0, 'its input')];

function dropout(view: NodeView): Value[] {
  const training = view.inputs[2];
  if (training !== undefined && constantAt(view, 2, 'its training mode').values[0] !== 0)
    throw new Unsupported('it is in training mode, where it is random', 'export the model for inference');
  return identity(view);
}

/** Numbers of onnx.proto3 of floating-point types; a cast to another one rounds. */
const FLOAT_TYPES: readonly number[] = [1, 10, 11, 16];

function cast(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  const to = numberOf(view, 'to', 1);
  if (value.kind === 'constant') {
    const { tensor } = value;
    if (tensor.type === 'string' || FLOAT_TYPES.includes(to)) return [value];
    return [{ kind: 'constant', tensor: { ...tensor, values: tensor.values.map(Math.trunc) } }];
  }
  // The model's input is whole numbers, a class is one as well; anything between would lose its fraction.
  const whole = value.kind === 'label' || (value.kind === 'activation' && isInput(value));
  if (FLOAT_TYPES.includes(to) || whole || value.kind === 'unknown') return [value];
  throw new Unsupported(
    'a cast to whole numbers inside of the network cuts fractions off',
    'cast the input or the answer, nothing between',
  );
}

const isInput = ({ affine }: Activation): boolean =>
  affine !== undefined &&
  affine.stage === 0 &&
  affine.rows.every((row) => row.at.length === 1 && row.by[0] === 1);

function flatten(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  const dims = dimsOf(value);
  const given = numberOf(view, 'axis', 1);
  const axis = given === dims.length ? given : axisOf(given, dims.length);
  const batch = batchOf(value);
  const shape = [sizeOf(dims.slice(0, axis)), sizeOf(dims.slice(axis))];
  if (batch === undefined) return [arranged(value, { dims: shape, batch })];
  const outer = batch < axis ? shape[0] : shape[1];
  if (outer !== 1 || (batch >= axis && axis > 0))
    throw mixed(`axis = ${given} flattens the rows of the batch together`);
  return [arranged(value, { dims: shape, batch: batch < axis ? 0 : 1 })];
}

export const mixed = (what: string): Unsupported =>
  new Unsupported(`${what}; a row has to be answered by itself`, 'keep the batch in front and apart');

function reshape(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  const target = wholeAt(view, 1, 'the shape') ?? listOf(view, 'shape');
  if (!target) throw new Unsupported('the shape is missing', 'export the model again');
  return [reshaped(value, target, numberOf(view, 'allowzero', 0) !== 0)];
}

function reshaped(value: Value, target: readonly number[], allowZero = false): Value {
  const dims = dimsOf(value);
  const size = sizeOf(dims);
  const kept = target.map((d, axis) => (d === 0 && !allowZero ? (dims[axis] ?? Number.NaN) : d));
  const open = kept.indexOf(-1);
  const others = kept.reduce((product, d, axis) => (axis === open ? product : product * d), 1);
  const shape = kept.map((d, axis) => (axis === open ? size / others : d));
  if (
    shape.some((d) => !Number.isSafeInteger(d) || d < 0) ||
    kept.lastIndexOf(-1) !== open ||
    sizeOf(shape) !== size
  )
    throw new Unsupported(
      `[${dims.join(', ')}] does not reshape to [${target.join(', ')}]`,
      'export the model again',
    );
  const batch = batchOf(value);
  if (batch === undefined) return arranged(value, { dims: shape, batch });
  // Rows stay apart where the open dimension, or one that is kept, takes them and nothing lies outside of it.
  const to = target.findIndex((d, axis) => d === -1 || (d === 0 && axis === batch));
  if (sizeOf(dims.slice(0, batch)) === 1 && to >= 0 && shape[to] === 1 && sizeOf(shape.slice(0, to)) === 1)
    return arranged(value, { dims: shape, batch: to });
  if (to < 0) return arranged(value, { dims: shape, batch: undefined });
  throw mixed(`the shape [${target.join(', ')}] mixes the rows of the batch`);
}

function squeeze(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  const dims = dimsOf(value);
  const batch = batchOf(value);
  const given = wholeAt(view, 1, 'the axes') ?? listOf(view, 'axes');
  const axes =
    given?.map((axis) => axisOf(axis, dims.length)) ??
    dims.flatMap((d, i) => (d === 1 && i !== batch ? [i] : []));
  if (axes.some((axis) => dims[axis] !== 1 || axis === batch))
    throw new Unsupported(
      'it squeezes an axis of more than one element',
      'keep the batch in front and apart',
    );
  const left = dims.map((_, i) => i).filter((axis) => !axes.includes(axis));
  const shape = left.map((axis) => dims[axis]!);
  return [arranged(value, { dims: shape, batch: batch === undefined ? undefined : left.indexOf(batch) })];
}

function unsqueeze(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  const dims = dimsOf(value);
  const batch = batchOf(value);
  const given = wholeAt(view, 1, 'the axes') ?? listOf(view, 'axes');
  if (!given) throw new Unsupported('the axes are missing', 'export the model again');
  const rank = dims.length + given.length;
  const axes = given.map((axis) => axisOf(axis, rank));
  let next = 0;
  let to: number | undefined;
  const shape = Array.from({ length: rank }, (_, axis) => {
    if (axes.includes(axis)) return 1;
    if (next === batch) to = axis;
    return dims[next++]!;
  });
  return [arranged(value, { dims: shape, batch: to })];
}

function transpose(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  const dims = dimsOf(value);
  const batch = batchOf(value);
  const order = listOf(view, 'perm') ?? dims.map((_, i) => dims.length - 1 - i);
  if (
    order.length !== dims.length ||
    new Set(order.map((axis) => axisOf(axis, dims.length))).size < dims.length
  )
    throw new Unsupported(
      `its order [${order}] does not fit ${dims.length} dimensions`,
      'export the model again',
    );
  const shape = order.map((axis) => dims[axis]!);
  const strides = stridesOf(dims);
  const from = new Int32Array(sizeOf(shape));
  positions(shape, (position, at) => {
    from[at] = position.reduce((sum, p, i) => sum + p * strides[order[i]!]!, 0);
  });
  return [
    arranged(value, { dims: shape, batch: batch === undefined ? undefined : order.indexOf(batch), from }),
  ];
}

export function demandApart(value: Value, axis: number, what: string): void {
  if (batchOf(value) === axis) throw mixed(`${what} goes over the rows of the batch`);
}

export const ARRANGE = {
  Identity: identity,
  Dropout: dropout,
  Cast: cast,
  Flatten: flatten,
  Reshape: reshape,
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Transpose: transpose,
} as const;
