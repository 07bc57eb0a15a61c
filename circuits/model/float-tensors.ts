/**
 * Networks of tensors in floating point: what a graph becomes before it is quantised, and what it computes. What the
 * operations are is in tensors.ts; constants of the file are hidden parameters, so that a product with one is a convolution,
 * at one place or with a group for each channel, and sums, means, moves and bounds are public.
 */
import type { Decision } from './network.ts';
import { type Kernels, sizeOf } from './operators/value.ts';
import { windows } from './operators/window.ts';
import { convolve } from './tensors.ts';

export interface FloatConv extends Kernels {
  readonly kind: 'conv';
  readonly of: number;
}
export interface FloatSum {
  readonly kind: 'sum';
  readonly parts: readonly { readonly of: number; readonly factor: number; readonly from: Int32Array }[];
  readonly offset: Float64Array;
}
export interface FloatMax {
  readonly kind: 'max';
  readonly of: number;
  readonly parts: readonly Int32Array[];
}
export interface FloatProduct {
  readonly kind: 'product';
  readonly parts: readonly { readonly of: number; readonly from: Int32Array }[];
}
export interface FloatRelu {
  readonly kind: 'relu';
  readonly of: number;
}
export type FloatOperation = FloatConv | FloatSum | FloatMax | FloatProduct | FloatRelu;

export interface TensorNetwork {
  readonly inputs: number;
  /** value 0 is the input, value i what operation i - 1 gives; the last one is the output */
  readonly operations: readonly FloatOperation[];
  readonly outputs: number;
  readonly decision: Decision;
}

/** The output for one row, in floating point. */
export function floatTensors({ operations }: TensorNetwork, row: ArrayLike<number>): Float64Array {
  const values: Float64Array[] = [Float64Array.from(row)];
  for (const operation of operations) values.push(floatComputed(operation, values));
  return values.at(-1)!;
}

const laid = new WeakMap<FloatConv, readonly Int32Array[]>();

function underOf(conv: FloatConv): readonly Int32Array[] {
  const known = laid.get(conv);
  if (known) return known;
  const under = windows({ ...conv, output: conv.places }, conv.image);
  laid.set(conv, under);
  return under;
}

function floatComputed(operation: FloatOperation, values: readonly Float64Array[]): Float64Array {
  switch (operation.kind) {
    case 'conv': {
      const under = underOf(operation);
      const out = new Float64Array(operation.outputs * under.length);
      convolve(operation, { under, plane: sizeOf(operation.image) }, operation, values[operation.of]!, out);
      return out;
    }
    case 'sum': {
      const out = operation.offset.slice();
      for (const { of, factor, from } of operation.parts)
        from.forEach((at, e) => {
          if (at >= 0) out[e]! += factor * values[of]![at]!;
        });
      return out;
    }
    case 'relu':
      return values[operation.of]!.map((x) => Math.max(0, x));
    case 'max': {
      const x = values[operation.of]!;
      const [first] = operation.parts;
      return Float64Array.from(first!, (_, e) =>
        operation.parts.reduce(
          (most, part) => (part[e]! < 0 ? most : Math.max(most, x[part[e]!]!)),
          Number.NEGATIVE_INFINITY,
        ),
      );
    }
    case 'product': {
      const [a, b] = operation.parts as [FloatProduct['parts'][0], FloatProduct['parts'][0]];
      return Float64Array.from(a.from, (at, e) => values[a.of]![at]! * values[b.of]![b.from[e]!]!);
    }
  }
}
