/** Operators whose result is known before there is any input: constants, and what follows from shapes alone. */
import { arranged, batchOf, dimsOf, mixed } from './arrange.ts';
import {
  broadcastFrom,
  constantAt,
  demandSize,
  listOf,
  type NodeView,
  numberOf,
  numbersAt,
  sizeOf,
  tensorOf,
  Unsupported,
  type Value,
  valueAt,
} from './value.ts';

const whole = (dims: readonly number[], values: readonly number[]): Value => ({
  kind: 'constant',
  tensor: { dims, type: 'int64', values: Float64Array.from(values) },
});

/** The shape of one row: the batch counts as 1. */
function shapeOf(view: NodeView): Value[] {
  const dims = dimsOf(valueAt(view, 0, 'its input'));
  const from = numberOf(view, 'start', 0);
  const to = numberOf(view, 'end', dims.length);
  const part = dims.slice(from, to);
  return [whole([part.length], part)];
}

function constantOfShape(view: NodeView): Value[] {
  const dims = [...constantAt(view, 0, 'the shape').values];
  const value = tensorOf(view, 'value');
  const values = new Float64Array(sizeOf(dims)).fill(value?.values[0] ?? 0);
  return [{ kind: 'constant', tensor: { dims, type: value?.type ?? 'float32', values } }];
}

function expand(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  const dims = dimsOf(value);
  const target = [...constantAt(view, 1, 'the shape').values];
  const rank = Math.max(dims.length, target.length);
  const shape = Array.from({ length: rank }, (_, axis) => {
    const [x, y] = [dims[axis - rank + dims.length] ?? 1, target[axis - rank + target.length] ?? 1];
    if (x !== y && x !== 1 && y !== 1)
      throw new Unsupported(
        `[${dims.join(', ')}] does not expand to [${target.join(', ')}]`,
        'export the model again',
      );
    return x === 1 ? y : x;
  });
  if (value.kind !== 'constant') demandSize(shape);
  const before = batchOf(value);
  const batch = before === undefined ? undefined : before + rank - dims.length;
  if (batch !== undefined && shape[batch] !== 1) throw mixed('the expansion repeats rows of the batch');
  return [arranged(value, { dims: shape, batch, from: broadcastFrom(dims, shape) })];
}

function range(view: NodeView): Value[] {
  const [start, limit, delta] = [0, 1, 2].map((at) => numbersAt(view, at, 'its bound').values[0]!);
  const count = Math.max(0, Math.ceil((limit! - start!) / delta!));
  sizeOf([count]);
  return [
    whole(
      [count],
      Array.from({ length: count }, (_, i) => start! + i * delta!),
    ),
  ];
}

function constant(view: NodeView): Value[] {
  const tensor = tensorOf(view, 'value');
  if (tensor) return [{ kind: 'constant', tensor }];
  for (const [name, type] of [
    ['value_float', 'float32'],
    ['value_int', 'int64'],
  ] as const) {
    if (!view.node.attributes.has(name)) continue;
    return [
      { kind: 'constant', tensor: { dims: [], type, values: Float64Array.of(numberOf(view, name, 0)) } },
    ];
  }
  const list = listOf(view, 'value_floats') ?? listOf(view, 'value_ints');
  if (!list) throw new Unsupported('its value is of a kind that is not supported', 'use a dense tensor');
  return [whole([list.length], list)];
}

export const KNOWN = {
  Constant: constant,
  Shape: shapeOf,
  ConstantOfShape: constantOfShape,
  Expand: expand,
  Range: range,
} as const;
