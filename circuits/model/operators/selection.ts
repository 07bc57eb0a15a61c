/** Operators that choose elements of values, or lay several side by side: they cost nothing. */
import type { OnnxTensor } from '../onnx.ts';
import { arranged, batchOf, demandApart, dimsOf } from './arrange.ts';
import {
  affineOf,
  axisOf,
  constantAt,
  demandSize,
  listOf,
  type NodeView,
  numberOf,
  numbersAt,
  positions,
  sizeOf,
  stridesOf,
  textOf,
  Unsupported,
  type Value,
  valueAt,
  wholeAt,
} from './value.ts';

function slice(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  const dims = dimsOf(value);
  const starts = wholeAt(view, 1, 'the starts') ?? listOf(view, 'starts');
  const ends = wholeAt(view, 2, 'the ends') ?? listOf(view, 'ends');
  if (!starts || !ends || starts.length !== ends.length)
    throw new Unsupported(
      'its starts and ends are missing or do not fit each other',
      'export the model again',
    );
  const axes = wholeAt(view, 3, 'the axes') ?? listOf(view, 'axes') ?? starts.map((_, i) => i);
  const steps = wholeAt(view, 4, 'the steps') ?? starts.map(() => 1);
  const from = dims.map((d) => ({ first: 0, step: 1, count: d }));
  axes.forEach((given, i) => {
    const axis = axisOf(given, dims.length);
    const d = dims[axis]!;
    const step = steps[i]!;
    if (!Number.isSafeInteger(step) || step === 0)
      throw new Unsupported(`a step of ${step}`, 'export the model again');
    const clamp = (n: number, low: number, high: number): number =>
      Math.min(Math.max(n < 0 ? n + d : n, low), high);
    const first = step > 0 ? clamp(starts[i]!, 0, d) : clamp(starts[i]!, 0, d - 1);
    const last = step > 0 ? clamp(ends[i]!, 0, d) : clamp(ends[i]!, -1, d - 1);
    const count = Math.max(0, Math.ceil((last - first) / step));
    // Of a batch, all rows in their order.
    if (first !== 0 || step !== 1 || count !== d) demandApart(value, axis, 'the slice');
    from[axis] = { first, step, count };
  });
  const shape = from.map(({ count }) => count);
  const strides = stridesOf(dims);
  const index = new Int32Array(sizeOf(shape));
  positions(shape, (position, at) => {
    index[at] = position.reduce((sum, p, i) => sum + (from[i]!.first + p * from[i]!.step) * strides[i]!, 0);
  });
  return [arranged(value, { dims: shape, batch: batchOf(value), from: index })];
}

function split(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  const dims = dimsOf(value);
  const axis = axisOf(numberOf(view, 'axis', 0), dims.length);
  const d = dims[axis]!;
  const outputs = view.node.outputs.length;
  const size = Math.ceil(d / outputs);
  const parts =
    wholeAt(view, 1, 'the parts') ??
    listOf(view, 'split') ??
    Array.from({ length: outputs }, (_, i) => Math.min(size, d - i * size));
  if (parts.length !== outputs || parts.some((n) => n < 0) || parts.reduce((a, b) => a + b, 0) !== d)
    throw new Unsupported(`its parts [${parts}] do not make ${d} elements`, 'export the model again');
  demandApart(value, axis, 'the split');
  const strides = stridesOf(dims);
  let first = 0;
  return parts.map((count) => {
    const shape = dims.with(axis, count);
    const from = new Int32Array(sizeOf(shape));
    positions(shape, (position, at) => {
      from[at] = position.reduce((sum, p, i) => sum + (i === axis ? p + first : p) * strides[i]!, 0);
    });
    first += count;
    return arranged(value, { dims: shape, batch: batchOf(value), from });
  });
}

function gather(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  const chosen = valueAt(view, 1, 'the indices');
  if (value.kind === 'constant' && chosen.kind === 'label') return [labelled(value.tensor, chosen)];
  if (value.kind === 'constant' && chosen.kind === 'activation')
    throw new Unsupported(
      'it looks rows up by the input (an embedding), which needs a table',
      'give the input one feature per category instead',
    );
  const dims = dimsOf(value);
  const axis = axisOf(numberOf(view, 'axis', 0), dims.length);
  const indices = constantAt(view, 1, 'the indices');
  demandApart(value, axis, 'the choice');
  const shape = [...dims.slice(0, axis), ...indices.dims, ...dims.slice(axis + 1)];
  const picked = [...indices.values].map((i) => axisOf(i, dims[axis]!));
  const inner = sizeOf(dims.slice(axis + 1));
  const from = new Int32Array(sizeOf(shape));
  let at = 0;
  for (let outer = 0; outer < sizeOf(dims.slice(0, axis)); outer++)
    for (const i of picked)
      for (let k = 0; k < inner; k++) from[at++] = (outer * dims[axis]! + i) * inner + k;
  const before = batchOf(value);
  const batch = before === undefined || before < axis ? before : before + indices.dims.length - 1;
  return [arranged(value, { dims: shape, batch, from })];
}

/** The classes' own names in place of their positions. */
function labelled({ values, strings, dims }: OnnxTensor, label: Value & { kind: 'label' }): Value {
  const names = strings ?? [...values];
  if (dims.length > 2 || names.length !== label.of.rows.length || label.classes)
    throw new Unsupported(
      'what it looks up by class is not a name for each class',
      'end the model at the class',
    );
  return { ...label, classes: names };
}

function extractor(view: NodeView): Value[] {
  const names = valueAt(view, 0, 'its input');
  const label = valueAt(view, 1, 'the indices');
  if (names.kind === 'constant' && label.kind === 'label') return [labelled(names.tensor, label)];
  const value = names;
  const dims = dimsOf(value);
  const indices = numbersAt(view, 1, 'the indices');
  const axis = dims.length - 1;
  demandApart(value, axis, 'the choice');
  const picked = [...indices.values].map((i) => axisOf(i, dims[axis]!));
  const from: number[] = [];
  for (let outer = 0; outer < sizeOf(dims.slice(0, axis)); outer++)
    for (const i of picked) from.push(outer * dims[axis]! + i);
  return [
    arranged(value, {
      dims: dims.with(axis, picked.length),
      batch: batchOf(value),
      from: Int32Array.from(from),
    }),
  ];
}

function pad(view: NodeView): Value[] {
  const value = valueAt(view, 0, 'its input');
  const dims = dimsOf(value);
  const mode = textOf(view, 'mode', 'constant');
  if (mode !== 'constant')
    throw new Unsupported(`it pads by ${mode}, which is not supported`, 'pad with a constant');
  const given = wholeAt(view, 1, 'the widths') ?? listOf(view, 'pads');
  const fill =
    view.inputs[2] === undefined ? numberOf(view, 'value', 0) : numbersAt(view, 2, 'the value').values[0]!;
  const axes = (wholeAt(view, 3, 'the axes') ?? dims.map((_, i) => i)).map((axis) =>
    axisOf(axis, dims.length),
  );
  if (!given || given.length !== 2 * axes.length)
    throw new Unsupported(`expected ${2 * axes.length} widths`, 'export the model again');
  const before = dims.map(() => 0);
  const after = dims.map(() => 0);
  axes.forEach((axis, i) => {
    before[axis] = given[i]!;
    after[axis] = given[i + axes.length]!;
    if (before[axis] !== 0 || after[axis] !== 0) demandApart(value, axis, 'the padding');
  });
  const shape = dims.map((d, axis) => d + before[axis]! + after[axis]!);
  if (shape.some((d) => d < 0))
    throw new Unsupported('it cuts more off than there is', 'export the model again');
  const strides = stridesOf(dims);
  const from = new Int32Array(sizeOf(shape));
  positions(shape, (position, at) => {
    const inside = position.every((p, axis) => p >= before[axis]! && p < before[axis]! + dims[axis]!);
    from[at] = inside ? position.reduce((sum, p, axis) => sum + (p - before[axis]!) * strides[axis]!, 0) : -1;
  });
  return [arranged(value, { dims: shape, batch: batchOf(value), from }, fill)];
}

function concat(view: NodeView): Value[] {
  const values = view.node.inputs.map((_, i) => valueAt(view, i, `input ${i + 1}`));
  const [first] = values;
  const dims = dimsOf(first!);
  const axis = axisOf(numberOf(view, 'axis', 1), dims.length);
  values.forEach((value) => {
    const other = dimsOf(value);
    if (other.length !== dims.length || other.some((d, i) => i !== axis && d !== dims[i]))
      throw new Unsupported(
        `the shapes [${dims.join(', ')}] and [${other.join(', ')}] do not fit each other`,
        'export the model again',
      );
    demandApart(value, axis, 'the concatenation');
  });
  const shape = dims.with(
    axis,
    values.reduce((sum, value) => sum + dimsOf(value)[axis]!, 0),
  );
  const source: { part: number; at: number }[] = [];
  for (let outer = 0; outer < sizeOf(dims.slice(0, axis)); outer++)
    values.forEach((value, part) => {
      const width = sizeOf(dimsOf(value).slice(axis));
      for (let k = 0; k < width; k++) source.push({ part, at: outer * width + k });
    });
  return [joined(values, { dims: shape, source }, view)];
}

/** Elements of several values side by side: all constants, or all activations, or all scores of the same kind. */
function joined(
  values: readonly Value[],
  { dims, source }: { dims: readonly number[]; source: readonly { part: number; at: number }[] },
  { context }: NodeView,
): Value {
  if (values.every((value) => value.kind === 'constant')) {
    const tensors = values.map(({ tensor }) => tensor);
    if (tensors.some(({ strings }) => strings))
      throw new Unsupported('it joins text', 'export the model again');
    const joinedValues = Float64Array.from(source, ({ part, at }) => tensors[part]!.values[at]!);
    return { kind: 'constant', tensor: { dims, type: tensors[0]!.type, values: joinedValues } };
  }
  demandSize(dims);
  const batch = values.map(batchOf).find((axis) => axis !== undefined);
  if (values.every((value) => value.kind === 'scores')) {
    const [one] = values;
    if (values.some(({ by }) => by !== 'sigmoid'))
      throw new Unsupported('it joins scores of several distributions', 'end the model with one of them');
    const of = context.align(values.map((value) => value.of));
    return {
      ...one!,
      dims,
      batch,
      of: {
        stage: of[0]!.stage,
        rows: source.map(({ part, at }) => of[part]!.rows[at]!),
        offset: Float64Array.from(source, ({ part, at }) => of[part]!.offset[at]!),
      },
    };
  }
  const parts = values.map((value, i) => context.asActivation(value, `input ${i + 1}`));
  if (parts.some(({ affine }) => !affine)) return { kind: 'activation', dims, batch, affine: undefined };
  const affine = context.align(parts.map(affineOf));
  return {
    kind: 'activation',
    dims,
    batch,
    affine: {
      stage: affine[0]!.stage,
      rows: source.map(({ part, at }) => affine[part]!.rows[at]!),
      offset: Float64Array.from(source, ({ part, at }) => affine[part]!.offset[at]!),
    },
  };
}

export const SELECTION = {
  Slice: slice,
  Split: split,
  Gather: gather,
  'ai.onnx.ml.ArrayFeatureExtractor': extractor,
  Pad: pad,
  Concat: concat,
} as const;
