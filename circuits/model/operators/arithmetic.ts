/** Sums, and products with constants: linear in what they take, so that they cost nothing by themselves. */
import {
  type Activation,
  type Affine,
  activationAt,
  affineOf,
  axisOf,
  broadcastFrom,
  broadcastShape,
  combine,
  demandSize,
  finite,
  listOf,
  type NodeView,
  numberOf,
  numbersAt,
  sizeOf,
  Unsupported,
  type Value,
  valueAt,
  wholeAt,
} from './value.ts';

type Operation = 'Add' | 'Sub' | 'Mul' | 'Div';
const OPERATIONS: Readonly<Record<Operation, (a: number, b: number) => number>> = {
  Add: (a, b) => a + b,
  Sub: (a, b) => a - b,
  Mul: (a, b) => a * b,
  Div: (a, b) => a / b,
};

const elementwise =
  (operation: Operation) =>
  (view: NodeView): Value[] => {
    // Before version 7 a constant could be laid along other axes than the last ones.
    const laid = view.node.attributes.get('axis');
    if (laid !== undefined)
      throw new Unsupported('it lays a constant along an axis of its own', 'export with opset 7 or newer');
    const [a, b] = [valueAt(view, 0, 'its first input'), valueAt(view, 1, 'its second input')];
    if (a.kind === 'constant' && b.kind === 'constant') return [folded(operation, a.tensor, b.tensor)];
    if (operation === 'Sub' && a.kind === 'constant' && b.kind === 'scores') return [complement(view, b)];
    const [x, y] = [
      view.context.asActivation(a, 'its first input'),
      view.context.asActivation(b, 'its second input'),
    ];
    const { dims, batch } = broadcastShape(a.kind === 'constant' ? { ...x, batch: undefined } : x, y);
    demandSize(dims);
    if (!x.affine || !y.affine) return [{ kind: 'activation', dims, batch, affine: undefined }];
    if (operation === 'Mul' || operation === 'Div') {
      if (a.kind !== 'constant' && b.kind !== 'constant') {
        const { tensors } = view.context;
        if (operation === 'Mul' && tensors) {
          const product = tensors.product(spread(x, dims), spread(y, dims));
          return [{ kind: 'activation', dims, batch, affine: product }];
        }
        throw new Unsupported(
          `a ${operation === 'Mul' ? 'product' : 'quotient'} of two values that both depend on the input`,
          'multiply by constants only',
        );
      }
      if (operation === 'Div' && b.kind !== 'constant')
        throw new Unsupported('it divides by what depends on the input', 'divide by constants only');
      const [value, factors] =
        b.kind === 'constant' ? [x, b.tensor] : [y, (a as Value & { kind: 'constant' }).tensor];
      finite(factors.values, 'its constant');
      const from = [broadcastFrom(value.dims, dims), broadcastFrom(factors.dims, dims)] as const;
      const scale = Float64Array.from(from[1], (at) =>
        operation === 'Mul' ? factors.values[at]! : 1 / factors.values[at]!,
      );
      finite(scale, 'its constant');
      const { tensors } = view.context;
      if (tensors) {
        const affine = tensors.scaled(spread(value, dims), dims, scale, new Float64Array(scale.length));
        return [{ kind: 'activation', dims, batch, affine }];
      }
      return [{ kind: 'activation', dims, batch, affine: scaled(affineOf(value), from[0], scale) }];
    }
    const { tensors } = view.context;
    if (tensors && (a.kind === 'constant' || b.kind === 'constant')) {
      // What is subtracted from a constant is negated, which is public.
      const [value, numbers] = b.kind === 'constant' ? [spread(x, dims), y] : [spread(y, dims), x];
      const negative = operation === 'Sub' && b.kind === 'constant';
      const added = spread(numbers, dims).offset.map((c) => (negative ? 0 - c : c));
      const turned = operation === 'Sub' && a.kind === 'constant' ? negated(value) : value;
      const affine = tensors.scaled(turned, dims, new Float64Array(added.length).fill(1), added);
      return [{ kind: 'activation', dims, batch, affine }];
    }
    const affine = view.context.align([x.affine, y.affine]);
    const from = [broadcastFrom(x.dims, dims), broadcastFrom(y.dims, dims)] as const;
    const sign = operation === 'Add' ? 1 : -1;
    return [
      {
        kind: 'activation',
        dims,
        batch,
        affine: {
          stage: affine[0]!.stage,
          rows: Array.from(from[0], (p, e) =>
            combine([
              { row: affine[0]!.rows[p]!, factor: 1 },
              { row: affine[1]!.rows[from[1][e]!]!, factor: sign },
            ]),
          ),
          offset: Float64Array.from(
            from[0],
            (p, e) => affine[0]!.offset[p]! + sign * affine[1]!.offset[from[1][e]!]!,
          ),
        },
      },
    ];
  };

function folded(
  operation: Operation,
  a: { dims: readonly number[]; values: Float64Array; type: string },
  b: { dims: readonly number[]; values: Float64Array },
): Value {
  const { dims } = broadcastShape({ dims: a.dims, batch: undefined }, { dims: b.dims, batch: undefined });
  const [p, q] = [broadcastFrom(a.dims, dims), broadcastFrom(b.dims, dims)];
  const whole = a.type === 'int64' || a.type === 'int32';
  const values = Float64Array.from(p, (at, e) => {
    const result = OPERATIONS[operation](a.values[at]!, b.values[q[e]!]!);
    return whole ? Math.trunc(result) : result;
  });
  return { kind: 'constant', tensor: { dims, type: whole ? 'int64' : 'float32', values } };
}

/** scikit-learn writes 1 - sigmoid(z) for the class that is not positive; it is sigmoid(-z). */
function complement(view: NodeView, scores: Value & { kind: 'scores' }): Value {
  const { values } = numbersAt(view, 0, 'its first input');
  if (scores.by !== 'sigmoid' || values.length !== 1 || values[0] !== 1)
    throw new Unsupported(
      'scores are computed with after Softmax or Sigmoid',
      'end the model with them, or with 1 - sigmoid as scikit-learn does',
      scores.node,
    );
  return { ...scores, of: negated(scores.of) };
}

export const negated = ({ stage, rows, offset }: Affine): Affine => ({
  stage,
  rows: rows.map((row) => combine([{ row, factor: -1 }])),
  offset: offset.map((c) => 0 - c),
});

/** A value's elements, broadcast to a shape. */
export function spread({ dims, affine }: Activation, to: readonly number[]): Affine {
  const { stage, rows, offset } = affine!;
  if (dims.join() === to.join()) return affine!;
  const from = broadcastFrom(dims, to);
  return {
    stage,
    rows: Array.from(from, (at) => rows[at]!),
    offset: Float64Array.from(from, (at) => offset[at]!),
  };
}

/** The elements `from` of a value, each times its factor. */
function scaled({ stage, rows, offset }: Affine, from: Int32Array, factors: Float64Array): Affine {
  return {
    stage,
    rows: Array.from(from, (at, e) => combine([{ row: rows[at]!, factor: factors[e]! }])),
    offset: Float64Array.from(from, (at, e) => offset[at]! * factors[e]!),
  };
}

/** factors[e] * x[e] + added[e], of the same shape. */
function stretched(
  { context: { tensors } }: NodeView,
  value: Activation,
  factor: (at: number) => number,
  added: (at: number) => number,
): Value {
  if (!value.affine) return value;
  if (tensors) {
    const [factors, numbers] = [factor, added].map((of) => value.affine!.offset.map((_, e) => of(e)));
    return { ...value, affine: tensors.scaled(value.affine, value.dims, factors!, numbers!) };
  }
  const { stage, rows, offset } = value.affine;
  return {
    ...value,
    affine: {
      stage,
      rows: rows.map((row, e) => combine([{ row, factor: factor(e) }])),
      offset: offset.map((c, e) => c * factor(e) + added(e)),
    },
  };
}

function neg(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  if (value.kind === 'constant')
    return [{ kind: 'constant', tensor: { ...value.tensor, values: value.tensor.values.map((v) => 0 - v) } }];
  const activation = activationAt(view, 0);
  return [activation.affine ? { ...activation, affine: negated(activation.affine) } : activation];
}

/** y = scale * (x - mean) / sqrt(variance + epsilon) + shift, per channel, which is axis 1. */
function batchNormalization(view: NodeView): Value[] {
  if (numberOf(view, 'training_mode', 0) !== 0)
    throw new Unsupported('it is in training mode', 'export the model for inference');
  const value = activationAt(view, 0);
  const [scale, shift, mean, variance] = ['scale', 'shift', 'mean', 'variance'].map(
    (what, i) => numbersAt(view, i + 1, `the ${what}`).values,
  ) as [Float64Array, Float64Array, Float64Array, Float64Array];
  const epsilon = numberOf(view, 'epsilon', 1e-5);
  if (value.dims.length < 2) throw new Unsupported('its input has no channels', 'export the model again');
  const channels = value.dims[1]!;
  if ([scale, shift, mean, variance].some(({ length }) => length !== channels))
    throw new Unsupported(`expected ${channels} values each, one per channel`, 'export the model again');
  const factors = Float64Array.from(scale, (s, c) => s / Math.sqrt(variance[c]! + epsilon));
  finite(factors, 'its scale');
  const inner = sizeOf(value.dims.slice(2));
  const channel = (at: number): number => Math.floor(at / inner) % channels;
  return [
    stretched(
      view,
      value,
      (at) => factors[channel(at)]!,
      (at) => shift[channel(at)]! - mean[channel(at)]! * factors[channel(at)]!,
    ),
  ];
}

/** y = (x - offset) * scale, per feature; one value stands for all of them. */
function scaler(view: NodeView): Value[] {
  const value = activationAt(view, 0);
  const features = value.dims.at(-1) ?? 1;
  const of = (name: string, otherwise: number): number[] => {
    const given = listOf(view, name) ?? [otherwise];
    if (given.length !== 1 && given.length !== features)
      throw new Unsupported(
        `its attribute ${JSON.stringify(name)} has ${given.length} values for ${features} features`,
        'export the model again',
      );
    finite(given, `its attribute ${JSON.stringify(name)}`);
    return given;
  };
  const [offset, scale] = [of('offset', 0), of('scale', 1)];
  const at = (list: number[], e: number): number => list[list.length === 1 ? 0 : e % features]!;
  return [
    stretched(
      view,
      value,
      (e) => at(scale, e),
      (e) => 0 - at(offset, e) * at(scale, e),
    ),
  ];
}

const reduce =
  (mean: boolean) =>
  (view: NodeView): Value[] => {
    const value = activationAt(view, 0);
    const given = wholeAt(view, 1, 'the axes') ?? listOf(view, 'axes');
    if (!given?.length && numberOf(view, 'noop_with_empty_axes', 0) !== 0) return [value];
    const { dims, batch } = value;
    const axes = new Set(
      (given?.length ? given : dims.map((_, i) => i)).map((axis) => axisOf(axis, dims.length)),
    );
    if (batch !== undefined && axes.has(batch))
      throw new Unsupported('it goes over the rows of the batch', 'name the axes, without that of the batch');
    const kept = dims.map((d, axis) => (axes.has(axis) ? 1 : d));
    const from = broadcastFrom(kept, dims);
    const squeezed = numberOf(view, 'keepdims', 1) === 0;
    const left = dims.map((_, i) => i).filter((axis) => !squeezed || !axes.has(axis));
    const shape = left.map((axis) => kept[axis]!);
    const to = batch === undefined ? undefined : left.indexOf(batch);
    const groups = Array.from({ length: sizeOf(kept) }, (): number[] => []);
    from.forEach((group, at) => void groups[group]!.push(at));
    return [summed(value, { dims: shape, batch: to, groups, divide: mean })];
  };

/** Each element the sum, or the mean, of a group of elements. */
export function summed(
  value: Activation,
  to: {
    readonly dims: readonly number[];
    readonly batch: number | undefined;
    readonly groups: readonly (readonly number[])[];
    readonly divide: boolean | number;
  },
): Value {
  const { dims, batch, groups, divide } = to;
  if (!value.affine) return { kind: 'activation', dims, batch, affine: undefined };
  const { stage, rows, offset } = value.affine;
  const factor = (group: readonly number[]): number =>
    divide === false ? 1 : 1 / (divide === true ? group.length : divide);
  return {
    kind: 'activation',
    dims,
    batch,
    affine: {
      stage,
      rows: groups.map((group) => combine(group.map((at) => ({ row: rows[at]!, factor: factor(group) })))),
      offset: Float64Array.from(groups, (group) =>
        group.reduce((sum, at) => sum + offset[at]! * factor(group), 0),
      ),
    },
  };
}

function sum(view: NodeView): Value[] {
  const add = elementwise('Add');
  let result = valueAt(view, 0, 'its first input');
  for (let i = 1; i < view.inputs.length; i++)
    [result] = add({ ...view, inputs: [result, view.inputs[i]] }) as [Value];
  return [result];
}

export const ARITHMETIC = {
  Add: elementwise('Add'),
  Sub: elementwise('Sub'),
  Mul: elementwise('Mul'),
  Div: elementwise('Div'),
  Sum: sum,
  Neg: neg,
  BatchNormalization: batchNormalization,
  'ai.onnx.ml.Scaler': scaler,
  ReduceSum: reduce(false),
  ReduceMean: reduce(true),
} as const;
