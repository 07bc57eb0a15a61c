/**
 * Piecewise linear operators. Each is an affine function of ReLUs, and that is how it is proved:
 *   LeakyRelu(x) = max(0, x) - alpha max(0, -x)      Abs(x) = max(0, x) + max(0, -x)
 *   Clip(x) = low + max(0, x - low) - max(0, x - high)
 *   max(a, b) = b + max(0, a - b)                     min(a, b) = a - max(0, a - b)
 */
import { negated, spread } from './arithmetic.ts';
import {
  type Activation,
  type Affine,
  activationAt,
  broadcastFrom,
  broadcastShape,
  combine,
  demandSize,
  listOf,
  type NodeView,
  numberOf,
  numbersAt,
  type Row,
  Unsupported,
  type Value,
  valueAt,
} from './value.ts';
import { maxGroups } from './window.ts';

/** The same shape, other values. */
const applied = (value: Activation, compute: (affine: Affine) => Affine): Value =>
  value.affine ? { ...value, affine: compute(value.affine) } : value;

/** Sums of values of equal shape, each with a factor per element. */
function sumOf(
  view: NodeView,
  parts: readonly { readonly value: Affine; readonly factor: (at: number) => number }[],
): Affine {
  const aligned = view.context.align(parts.map(({ value }) => value));
  return {
    stage: aligned[0]!.stage,
    rows: aligned[0]!.rows.map(
      (_, e): Row => combine(aligned.map(({ rows }, p) => ({ row: rows[e]!, factor: parts[p]!.factor(e) }))),
    ),
    offset: aligned[0]!.offset.map((_, e) =>
      aligned.reduce((sum, { offset }, p) => sum + offset[e]! * parts[p]!.factor(e), 0),
    ),
  };
}
const always = (factor: number) => () => factor;

/** x + c, the same for all elements */
const shifted = ({ stage, rows, offset }: Affine, by: number): Affine => ({
  stage,
  rows,
  offset: offset.map((c) => c + by),
});

function relu(view: NodeView): Value[] {
  return [applied(activationAt(view, 0), (affine) => view.context.relu(affine))];
}

function leaky(view: NodeView, value: Activation, slope: (at: number) => number): Value[] {
  return [
    applied(value, (affine) =>
      sumOf(view, [
        { value: view.context.relu(affine), factor: always(1) },
        { value: view.context.relu(negated(affine)), factor: (at) => -slope(at) },
      ]),
    ),
  ];
}

const leakyRelu = (view: NodeView): Value[] =>
  leaky(view, activationAt(view, 0), always(numberOf(view, 'alpha', 0.01)));

function pRelu(view: NodeView): Value[] {
  const value = activationAt(view, 0);
  const slopes = numbersAt(view, 1, 'its slopes');
  // Before version 7 one slope per channel was a list, which lay along axis 1.
  const perChannel = view.opset < 7 && slopes.dims.length === 1 && slopes.values.length === value.dims[1];
  const dims = perChannel ? [slopes.values.length, ...value.dims.slice(2).map(() => 1)] : slopes.dims;
  const to = broadcastShape(value, { dims, batch: undefined });
  if (to.dims.join() !== value.dims.join())
    throw new Unsupported(
      `its slopes of shape [${dims.join(', ')}] do not fit its input`,
      'export the model again',
    );
  const from = broadcastFrom(dims, value.dims);
  const { tensors } = view.context;
  if (tensors && value.affine) {
    // Slopes are parameters: max(0, x) - slope max(0, -x).
    const below = tensors.relu(negated(value.affine));
    const slope = Float64Array.from(from, (at) => 0 - slopes.values[at]!);
    const bent = tensors.scaled(below, value.dims, slope, new Float64Array(slope.length));
    const parts = [tensors.relu(value.affine), bent].map((each) => ({ value: each, factor: always(1) }));
    return [{ ...value, affine: sumOf(view, parts) }];
  }
  return leaky(view, value, (at) => slopes.values[from[at]!]!);
}

function abs(view: NodeView): Value[] {
  return leaky(view, activationAt(view, 0), always(-1));
}

function clipped(view: NodeView, affine: Affine, low: number, high: number): Affine {
  if (low > high)
    throw new Unsupported(`its bounds ${low} and ${high} are swapped`, 'export the model again');
  const { relu } = view.context;
  const parts = Number.isFinite(low)
    ? [{ value: relu(shifted(affine, -low)), factor: always(1) }]
    : [{ value: affine, factor: always(1) }];
  if (Number.isFinite(high)) parts.push({ value: relu(shifted(affine, -high)), factor: always(-1) });
  const sum = sumOf(view, parts);
  return Number.isFinite(low) ? shifted(sum, low) : sum;
}

function clip(view: NodeView): Value[] {
  const bound = (at: number, name: string, otherwise: number): number =>
    view.inputs[at] === undefined
      ? numberOf(view, name, otherwise)
      : numbersAt(view, at, `its ${name}`).values[0]!;
  const low = bound(1, 'min', Number.NEGATIVE_INFINITY);
  const high = bound(2, 'max', Number.POSITIVE_INFINITY);
  // A bound of the size of float32's range means that there is none.
  const limit = (n: number): number => (Math.abs(n) > 1e30 ? n * Number.POSITIVE_INFINITY : n);
  return [applied(activationAt(view, 0), (affine) => clipped(view, affine, limit(low), limit(high)))];
}

function hardSigmoid(view: NodeView): Value[] {
  const [alpha, beta] = [numberOf(view, 'alpha', 0.2), numberOf(view, 'beta', 0.5)];
  return [
    applied(activationAt(view, 0), ({ stage, rows, offset }) =>
      clipped(
        view,
        {
          stage,
          rows: rows.map((row) => combine([{ row, factor: alpha }])),
          offset: offset.map((c) => alpha * c + beta),
        },
        0,
        1,
      ),
    ),
  ];
}

/** max(a, b), or min(a, b), element by element */
function extreme(view: NodeView, a: Affine, b: Affine, greatest: boolean): Affine {
  const { tensors } = view.context;
  if (tensors && a.rows.some(({ at }) => at.length > 0) && b.rows.some(({ at }) => at.length > 0)) {
    const [x, y] = view.context.align(greatest ? [a, b] : [negated(a), negated(b)]) as [Affine, Affine];
    const size = x.rows.length;
    const both = {
      stage: x.stage,
      rows: [...x.rows, ...y.rows],
      offset: Float64Array.from([...x.offset, ...y.offset]),
    };
    const most = tensors.max(
      both,
      x.rows.map((_, e) => [e, e + size]),
    );
    return greatest ? most : negated(most);
  }
  const difference = sumOf(view, [
    { value: a, factor: always(1) },
    { value: b, factor: always(-1) },
  ]);
  const above = view.context.relu(difference);
  return greatest
    ? sumOf(view, [
        { value: b, factor: always(1) },
        { value: above, factor: always(1) },
      ])
    : sumOf(view, [
        { value: a, factor: always(1) },
        { value: above, factor: always(-1) },
      ]);
}

const extremes =
  (greatest: boolean) =>
  (view: NodeView): Value[] => {
    let result = view.context.asActivation(valueAt(view, 0, 'its first input'), 'its first input');
    for (let i = 1; i < view.inputs.length; i++) {
      const next = view.context.asActivation(valueAt(view, i, `input ${i + 1}`), `input ${i + 1}`);
      const { dims, batch } = broadcastShape(result, next);
      demandSize(dims);
      if (!result.affine || !next.affine) {
        result = { kind: 'activation', dims, batch, affine: undefined };
        continue;
      }
      const [a, b] = [spread(result, dims), spread(next, dims)];
      result = { kind: 'activation', dims, batch, affine: extreme(view, a, b, greatest) };
    }
    return [result];
  };

const picked = ({ stage, rows, offset }: Affine, at: readonly number[]): Affine => ({
  stage,
  rows: at.map((e) => rows[e]!),
  offset: Float64Array.from(at, (e) => offset[e]!),
});

/** The greatest of each group, by halves: a group of m takes as many layers as m has bits. */
function maxPool(view: NodeView): Value[] {
  const value = activationAt(view, 0);
  const { dims, groups } = maxGroups(view, value);
  const { batch } = value;
  if (!value.affine) return [{ kind: 'activation', dims, batch, affine: undefined }];
  if (groups.some((group) => group.length === 0))
    throw new Unsupported('a window lies in the padding altogether', 'use less padding');
  const widest = groups.reduce((most, { length }) => Math.max(most, length), 0);
  const { tensors } = view.context;
  if (tensors) return [{ kind: 'activation', dims, batch, affine: tensors.max(value.affine, groups) }];
  // Windows at the edge are filled up with one of their own elements.
  let columns = Array.from({ length: widest }, (_, k) =>
    picked(
      value.affine!,
      groups.map((group) => group[k] ?? group[0]!),
    ),
  );
  while (columns.length > 1) {
    const next: Affine[] = [];
    for (let k = 0; k + 1 < columns.length; k += 2)
      next.push(extreme(view, columns[k]!, columns[k + 1]!, true));
    if (columns.length % 2 === 1) next.push(columns.at(-1)!);
    columns = next;
  }
  return [{ kind: 'activation', dims, batch, affine: columns[0]! }];
}

/**
 * Of what is before the scores, only where its norm is the same for all rows, which is nowhere that the input can be seen from
 * here. Scores are not negative, so that over all of a row's it keeps their order, whatever the norm; older exporters end so.
 */
function normalizer(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  if (value.kind === 'scores' && value.of.rows.length > 1 && value.dims.at(-1) === value.of.rows.length)
    return [{ ...value, exclusive: true }];
  activationAt(view, 0);
  listOf(view, 'norm');
  throw new Unsupported(
    'it divides each row by a norm of that row, which is no linear function',
    'scale the features by constants instead (Scaler)',
  );
}

export const ACTIVATION = {
  Relu: relu,
  LeakyRelu: leakyRelu,
  PRelu: pRelu,
  Abs: abs,
  Clip: clip,
  HardSigmoid: hardSigmoid,
  Max: extremes(true),
  Min: extremes(false),
  MaxPool: maxPool,
  'ai.onnx.ml.Normalizer': normalizer,
} as const;
