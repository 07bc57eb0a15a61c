/** What stands at the end of a classifier and keeps the order of its scores: it becomes the comparison that it decides. */
import {
  activationAt,
  affineOf,
  axisOf,
  type NodeView,
  numberOf,
  sizeOf,
  Unsupported,
  type Value,
  valueAt,
} from './value.ts';

function softmax(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  if (value.kind === 'unknown' || (value.kind === 'activation' && !value.affine)) return [value];
  const { dims, batch } = activationAt(view, 0);
  const axis = axisOf(numberOf(view, 'axis', view.opset < 13 ? 1 : -1), dims.length);
  // Before version 13 all axes from that one on made one distribution.
  const over = view.opset < 13 ? sizeOf(dims.slice(axis)) : dims[axis]!;
  if (axis === batch || over !== sizeOf(dims))
    throw new Unsupported(
      'it goes over another axis than that of the classes',
      'use the axis of the classes (1 or -1)',
    );
  const of = affineOf(activationAt(view, 0));
  return [{ kind: 'scores', dims, batch, of, by: 'softmax', exclusive: true, node: view.index }];
}

function sigmoid(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  if (value.kind === 'unknown' || (value.kind === 'activation' && !value.affine)) return [value];
  const { dims, batch } = activationAt(view, 0);
  const of = affineOf(activationAt(view, 0));
  return [{ kind: 'scores', dims, batch, of, by: 'sigmoid', exclusive: false, node: view.index }];
}

function argMax(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  if (value.kind === 'unknown' || (value.kind === 'activation' && !value.affine))
    return [{ kind: 'unknown' }];
  const scored = value.kind === 'scores' ? value : activationAt(view, 0);
  const { dims, batch } = scored;
  // ArgMax goes over the first axis unless told otherwise.
  const axis = axisOf(numberOf(view, 'axis', 0), dims.length);
  if (axis === batch || dims[axis] !== sizeOf(dims))
    throw new Unsupported('its axis has to be that of the classes (1 or -1)', 'export it with axis = 1');
  if (dims[axis]! < 2)
    throw new Unsupported('the greatest of one value is not a classifier', 'compare it with 0');
  if (numberOf(view, 'select_last_index', 0) !== 0)
    throw new Unsupported('a tie has to go to the lowest index', 'export it with select_last_index = 0');
  const keep = numberOf(view, 'keepdims', 1) !== 0;
  const left = dims.map((_, i) => i).filter((i) => keep || i !== axis);
  return [
    {
      kind: 'label',
      dims: left.map((i) => (i === axis ? 1 : dims[i]!)),
      batch: batch === undefined ? undefined : left.indexOf(batch),
      of: scored.kind === 'scores' ? scored.of : affineOf(scored),
      classes: undefined,
      node: view.index,
    },
  ];
}

/** Scores with names: the same scores. */
function zipMap(view: NodeView): Value[] {
  return [valueAt(view, 0, 'its input')];
}

export const ENDING = {
  Softmax: softmax,
  LogSoftmax: softmax,
  Sigmoid: sigmoid,
  ArgMax: argMax,
  'ai.onnx.ml.ZipMap': zipMap,
} as const;
