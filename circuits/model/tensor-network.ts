/** A network of tensors from what the nodes of a graph add to it, one after the other. */
import type { FloatConv, FloatOperation, FloatSum, TensorNetwork } from './float-tensors.ts';
import { merge } from './merge-tensors.ts';
import type { Decision } from './network.ts';
import { type Affine, type Row, sizeOf, swapped, type Tensors, Unsupported } from './operators/value.ts';

/** What a graph's nodes add to, until it ends. */
export interface OpenTensors extends Tensors {
  finish(end: Affine, decision: Decision): TensorNetwork;
}

const ONE = Float64Array.of(1);

export function createTensors(inputs: number): OpenTensors {
  const operations: FloatOperation[] = [];
  const sizes = [inputs];
  /** values side by side, as if they were one; of stage -1 - index */
  const joins: { readonly of: number; readonly first: number }[][] = [];
  const settled = new WeakMap<Affine, number>();

  const push = (operation: FloatOperation, size: number): Affine => {
    operations.push(operation);
    sizes.push(size);
    const rows = Array.from({ length: size }, (_, e): Row => ({ at: Int32Array.of(e), by: ONE }));
    return { stage: operations.length, rows, offset: new Float64Array(size) };
  };

  const settle = (value: Affine): number => {
    const known = settled.get(value);
    if (known !== undefined) return known;
    const at = isWhole(value) ? value.stage : push(sumOf(value), value.rows.length).stage;
    settled.set(value, at);
    return at;
  };

  const isWhole = ({ stage, rows, offset }: Affine): boolean =>
    stage >= 0 &&
    rows.length === sizes[stage] &&
    rows.every(({ at, by }, e) => at.length === 1 && at[0] === e && by[0] === 1 && offset[e] === 0);

  const place = (stage: number, at: number): { of: number; at: number } => {
    if (stage >= 0) return { of: stage, at };
    const { of, first } = joins[-1 - stage]!.findLast((part) => part.first <= at)!;
    return { of, at: at - first };
  };

  /** Elements with the same factor and from the same value lie in the same part. */
  const sumOf = ({ stage, rows, offset }: Affine): FloatSum => {
    const parts = new Map<string, { of: number; factor: number; from: Int32Array }>();
    rows.forEach(({ at, by }, e) => {
      const times = new Map<string, number>();
      at.forEach((element, k) => {
        if (by[k] === 0) return;
        const { of, at: own } = place(stage, element);
        const key = `${of} ${by[k]}`;
        const time = times.get(key) ?? 0;
        times.set(key, time + 1);
        const name = `${key} ${time}`;
        const part = parts.get(name) ?? { of, factor: by[k]!, from: new Int32Array(rows.length).fill(-1) };
        part.from[e] = own;
        parts.set(name, part);
      });
    });
    if (parts.size > MAX_PARTS)
      throw new Unsupported(
        `a sum over ${parts.size} elements with public factors is more than ${MAX_PARTS}`,
        'use weights, or smaller windows',
      );
    const list = [...parts.values()];
    if (list.length === 0) list.push({ of: 0, factor: 1, from: new Int32Array(rows.length).fill(-1) });
    return { kind: 'sum', parts: list, offset };
  };

  const conv: Tensors['conv'] = (value, given) =>
    push({ kind: 'conv', of: settle(value), ...given }, given.outputs * sizeOf(given.places));

  const scaled: Tensors['scaled'] = (value, dims, factor, offset) => {
    const of = settle(value);
    const { channels, plane } = channelsFor(operations[of - 1], dims, [factor, offset]);
    return push(
      {
        ...onePlace(channels, plane),
        of,
        weights: Float64Array.from({ length: channels }, (_, c) => factor[c * plane]!),
        bias: Float64Array.from({ length: channels }, (_, c) => offset[c * plane]!),
      },
      value.rows.length,
    );
  };

  return {
    conv,
    relu: (value) => push({ kind: 'relu', of: settle(value) }, value.rows.length),
    max: (value, groups) => {
      const widest = groups.reduce((most, { length }) => Math.max(most, length), 0);
      const parts = Array.from({ length: widest }, (_, k) =>
        Int32Array.from(groups, (group) => group[k] ?? -1),
      );
      return push({ kind: 'max', of: settle(value), parts }, groups.length);
    },
    product: (a, b) => {
      const parts = [a, b].map((value) => ({ of: settle(value), from: indices(value.rows.length) }));
      return push({ kind: 'product', parts }, a.rows.length);
    },
    scaled: (value, dims, factor, offset) => {
      // Several rows with a number for each channel: the channels first, and back again.
      const [rows = 1, channelsOf = 1] = dims;
      const inner = sizeOf(dims.slice(2));
      if (rows > 1 && channelsOf > 1 && dims.length > 1) {
        const shape = [rows, channelsOf, inner] as const;
        const [factors, offsets] = [factor, offset].map(
          (list) => swapped({ ...value, offset: list }, shape).offset,
        ) as [Float64Array, Float64Array];
        const same = (list: Float64Array): boolean =>
          list.every((v, e) => v === list[e - (e % (rows * inner))]);
        if (same(factors) && same(offsets)) {
          const turned = scaled(swapped(value, shape), [1, channelsOf, rows * inner], factors, offsets);
          return swapped(turned, [channelsOf, rows, inner]);
        }
      }
      return scaled(value, dims, factor, offset);
    },
    align: (values) => {
      const stages = new Set(
        values.filter(({ rows }) => rows.some((r) => r.at.length > 0)).map((v) => v.stage),
      );
      const [first = 0] = stages;
      if (stages.size <= 1) return values.map((value) => ({ ...value, stage: first }));
      const join: { of: number; first: number }[] = [];
      const starts = new Map<number, number>();
      let next = 0;
      const add = (of: number): number => {
        const known = join.find((part) => part.of === of);
        if (known) return known.first;
        join.push({ of, first: next });
        next += sizes[of]!;
        return next - sizes[of]!;
      };
      for (const stage of stages) if (stage >= 0) starts.set(stage, add(stage));
      for (const stage of stages) if (stage < 0) for (const { of } of joins[-1 - stage]!) add(of);
      joins.push(join);
      return values.map(({ stage, rows, offset }) => ({
        stage: -joins.length,
        rows: rows.map(({ at, by }) => ({
          at: at.map((element) => {
            const own = place(stage, element);
            return join.find(({ of }) => of === own.of)!.first + own.at;
          }),
          by,
        })),
        offset,
      }));
    },
    finish: (end, decision) => {
      let output = settle(end);
      if (output === 0) output = push(sumOf(end), inputs).stage;
      const merged = merge(operations.slice(0, output), inputs);
      return { inputs, operations: merged, outputs: end.rows.length, decision };
    },
  };
}

const MAX_PARTS = 1024;
const indices = (size: number): Int32Array => Int32Array.from({ length: size }, (_, e) => e);

const onePlace = (channels: number, plane: number): Omit<FloatConv, 'of' | 'weights' | 'bias'> => ({
  kind: 'conv',
  groups: channels,
  channels: 1,
  outputs: channels,
  image: [plane],
  kernel: [1],
  strides: [1],
  dilations: [1],
  before: [0],
  places: [plane],
});

/** The fewest channels such that all numbers of a channel are equal, among those that say something of what was before. */
function channelsFor(
  before: FloatOperation | undefined,
  dims: readonly number[],
  numbers: readonly Float64Array[],
): { channels: number; plane: number } {
  const size = sizeOf(dims);
  const fits = (plane: number): boolean =>
    size % plane === 0 && numbers.every((list) => list.every((v, e) => v === list[e - (e % plane)]));
  const planes = [
    ...(before?.kind === 'conv' ? [sizeOf(before.places)] : []),
    size,
    ...(dims.length > 1 && dims[0] === 1 ? [sizeOf(dims.slice(2))] : []),
  ];
  const plane = planes.find(fits) ?? 1;
  return { channels: size / plane, plane };
}

/** The network with its outputs in this order. */
export function reordered(network: TensorNetwork, order: readonly number[]): TensorNetwork {
  const { operations, inputs, decision } = network;
  const of = operations.length;
  const sum: FloatSum =
    decision === 'sign'
      ? { kind: 'sum', parts: [{ of, factor: -1, from: Int32Array.of(0) }], offset: new Float64Array(1) }
      : {
          kind: 'sum',
          parts: [{ of, factor: 1, from: Int32Array.from(order) }],
          offset: new Float64Array(order.length),
        };
  return { ...network, operations: merge([...operations, sum], inputs) };
}
