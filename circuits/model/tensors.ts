/**
 * Networks of tensors: convolutions, pooling, sums and products of values, as a list of operations on flat lists of
 * integers. Value 0 is the features, value i what operation i - 1 gives; the last one is the model's output.
 *
 *   conv      out[o, p] = b[o] + sum_c,k w[o, c, k] x[c, under(p, k)]   hidden w and b; what lies in the padding is 0
 *   sum       out[e] = offset[e] + sum over parts of factor * x[from[e]]   all public; -1: nothing
 *   rescale   out[e] = floor((x[e] + half) * 2^-shift), half = 2^(shift-1) or 0; then not below `low`, and where there is
 *             `cap` not above low + 2^cap - 1. With low = 0 it is a ReLU.
 *   max       out[e] = the greatest of x[from[e]] over its parts; -1: nothing
 *   product   out[e] = x[from[e]] * y[from[e]]
 *
 * A dense layer is a convolution at one place, a BatchNorm one with a group for each channel. Where elements come from is
 * written as runs: first, step and count, one after the other.
 *
 * Every partial sum is below 2^24 for all parameters of the widths and all features in their ranges, and before `cap`
 * for all results before it, so that float32 computes each of them exactly, in any order.
 */
import { z } from 'zod';
import type { VouchError } from '../../protocols/errors.ts';
import { sizeOf } from './operators/value.ts';
import { windows } from './operators/window.ts';
import type { Range } from './preprocessing.ts';
import { elementsOf, offsetsOf } from './runs.ts';

/** float32 represents every integer up to this exactly. */
const EXACT = 2 ** 24;
/** elements of a value; beyond it no circuit compiles */
const MAX_SIZE = 2 ** 18;
export const MAX_TENSOR_OPERATIONS = 512;
const MAX_PARTS = 1024;
/** products of one convolution */
const MAX_PRODUCTS = 2 ** 23;
/** Of all operations together, products of convolutions and places of parts: runs say in a few bytes what takes gigabytes. */
const MAX_CELLS = 2 ** 24;

const Value = z.int().min(0).max(MAX_TENSOR_OPERATIONS);
const Size = z.int().min(1).max(MAX_SIZE);
const Axes = z.array(Size).min(1).max(4);
const Runs = z.array(z.int().min(-MAX_SIZE).max(MAX_SIZE)).max(3 * MAX_SIZE);

export const Conv = z
  .strictObject({
    kind: z.literal('conv'),
    of: Value,
    groups: Size,
    /** of one group */
    channels: Size,
    /** of all groups */
    outputs: Size,
    /** positions of a channel, axis by axis */
    image: Axes,
    kernel: Axes,
    strides: Axes,
    dilations: Axes,
    /** padding in front */
    before: z.array(z.int().min(0).max(MAX_SIZE)).min(1).max(4),
    /** positions of an output, axis by axis */
    places: Axes,
    weightBits: z.int().min(2).max(8),
    biasBits: z.int().min(2).max(24),
  })
  .describe('a convolution with hidden kernels and biases; 0 lies in the padding');
export type Conv = z.infer<typeof Conv>;

const Sum = z
  .strictObject({
    kind: z.literal('sum'),
    size: Size,
    parts: z
      .array(z.strictObject({ of: Value, factor: z.int().min(-EXACT).max(EXACT), from: Runs }))
      .min(1)
      .max(MAX_PARTS),
    /** value and count, one after the other; empty: 0 */
    offset: z.array(z.int().min(-EXACT).max(EXACT)).max(2 * MAX_SIZE),
  })
  .describe('elements of values, each times a public factor, and a public number');
export type Sum = z.infer<typeof Sum>;

const Rescale = z
  .strictObject({
    kind: z.literal('rescale'),
    of: Value,
    shift: z.int().min(0).max(23),
    low: z.int().min(-EXACT).max(EXACT).optional(),
    cap: z.int().min(1).max(24).optional(),
  })
  .describe('floor((x + 2^(shift-1)) * 2^-shift), not below `low`, not above low + 2^cap - 1');
export type Rescale = z.infer<typeof Rescale>;

const Max = z
  .strictObject({ kind: z.literal('max'), of: Value, size: Size, parts: z.array(Runs).min(1).max(MAX_PARTS) })
  .describe('the greatest of some elements');
export type Max = z.infer<typeof Max>;

const Product = z
  .strictObject({
    kind: z.literal('product'),
    size: Size,
    parts: z.array(z.strictObject({ of: Value, from: Runs })).length(2),
  })
  .describe('products of elements of two values');
export type Product = z.infer<typeof Product>;

export const TensorOperations = [Conv, Sum, Rescale, Max, Product] as const;
export type TensorOperation = Conv | Sum | Rescale | Max | Product;

/** What a convolution has as hidden parameters, in the order of the operations. */
export interface LinearParameters {
  readonly weights: Int32Array;
  readonly bias: Int32Array;
}

export const isTensorOperation = ({ kind }: { readonly kind: string }): boolean =>
  kind === 'conv' || kind === 'sum' || kind === 'rescale' || kind === 'max' || kind === 'product';

export const tapsOf = ({ kernel }: Conv): number => sizeOf(kernel);
export const weightsOf = (conv: Conv): number => conv.outputs * conv.channels * tapsOf(conv);

/** Where elements come from, written out. */
interface LaidAs<K extends TensorOperation['kind']> {
  readonly kind: K;
  readonly operation: TensorOperation & { kind: K };
  readonly size: number;
}
interface From {
  /** part by part, for each element */
  readonly from: readonly Int32Array[];
}
export interface LaidConv extends LaidAs<'conv'> {
  /** place by place, the positions under the taps of the kernel; -1: padding */
  readonly under: readonly Int32Array[];
  /** positions of a channel */
  readonly plane: number;
}
export interface LaidSum extends LaidAs<'sum'>, From {
  readonly offset: Int32Array;
}
export interface LaidMax extends LaidAs<'max'>, From {}
export interface LaidProduct extends LaidAs<'product'>, From {}
export type Laid = LaidConv | LaidSum | LaidAs<'rescale'> | LaidMax | LaidProduct;

const known = new WeakMap<readonly TensorOperation[], readonly Laid[]>();

/** The operations with their elements. Throws RangeError for what does not fit. */
export function laidOut(operations: readonly TensorOperation[], inputs: number): readonly Laid[] {
  const found = known.get(operations);
  if (found) return found;
  const sizes = [inputs];
  let cells = 0;
  const laid = operations.map((operation, i): Laid => {
    const sizeAt = (of: number): number => {
      if (of > i) throw new RangeError(`value ${of} is not known before operation ${i}`);
      return sizes[of]!;
    };
    cells += cellsOf(operation);
    if (!(cells <= MAX_CELLS))
      throw new RangeError(`expected at most ${MAX_CELLS} products and places of all operations`);
    const each = layOut(operation, sizeAt);
    sizes.push(each.size);
    return each;
  });
  known.set(operations, laid);
  return laid;
}

/** What an operation takes to be written out, and to be computed. */
function cellsOf(operation: TensorOperation): number {
  switch (operation.kind) {
    case 'conv':
      return operation.outputs * sizeOf(operation.places) * operation.channels * tapsOf(operation);
    case 'rescale':
      return 0;
    default:
      return operation.size * operation.parts.length;
  }
}

export function layOut(operation: TensorOperation, sizeAt: (of: number) => number): Laid {
  switch (operation.kind) {
    case 'conv': {
      const { of, groups, channels, outputs, image, kernel, strides, dilations, before, places } = operation;
      const plane = sizeOf(image);
      const axes = image.length;
      if ([kernel, strides, dilations, before, places].some(({ length }) => length !== axes))
        throw new RangeError(`expected ${axes} axes`);
      if (groups * channels * plane !== sizeAt(of))
        throw new RangeError(`expected a value of ${groups * channels * plane} elements, got ${sizeAt(of)}`);
      const size = outputs * sizeOf(places);
      if (outputs % groups !== 0 || size > MAX_SIZE || cellsOf(operation) > MAX_PRODUCTS)
        throw new RangeError('expected outputs for each group, and fewer of them');
      const under = windows({ kernel, strides, dilations, before, output: places }, image);
      return { kind: 'conv', operation, size, under, plane };
    }
    case 'sum': {
      const { size, parts, offset } = operation;
      const from = parts.map((part) => elementsOf(part.from, size, sizeAt(part.of)));
      return { kind: 'sum', operation, size, from, offset: offsetsOf(offset, size) };
    }
    case 'rescale':
      if (operation.cap !== undefined && operation.low === undefined)
        throw new RangeError('expected a lower end where there is an upper one');
      return { kind: 'rescale', operation, size: sizeAt(operation.of) };
    case 'max': {
      const { size, parts, of } = operation;
      const from = parts.map((part) => elementsOf(part, size, sizeAt(of)));
      for (let e = 0; e < size; e++)
        if (from.every((part) => part[e]! < 0))
          throw new RangeError('expected an element to be the greatest');
      return { kind: 'max', operation, size, from };
    }
    case 'product': {
      const { size, parts } = operation;
      const from = parts.map((part) => elementsOf(part.from, size, sizeAt(part.of)));
      if (from.some((part) => part.includes(-1)))
        throw new RangeError('expected two elements for each product');
      return { kind: 'product', operation, size, from };
    }
  }
}

/** The range of a value, over all that it is computed from. `reach`: how far partial sums on the way may be from 0. */
export interface Bound extends Range {
  readonly reach: number;
}

/** The bound on a convolution's sums where the inputs under a window sum to at most `inputSum`, in absolute values. */
export const convReach = ({ weightBits, biasBits }: Conv, inputSum: number): number =>
  inputSum * 2 ** (weightBits - 1) + 2 ** (biasBits - 1);

export const greatest = ({ low, high }: Range): number => Math.max(Math.abs(low), Math.abs(high));

/** The bound of one operation's result from those of the values before it. */
export function boundOf(laid: Laid, bounds: readonly Range[]): Bound {
  switch (laid.kind) {
    case 'conv': {
      const { operation } = laid;
      const reach = convReach(
        operation,
        operation.channels * tapsOf(operation) * greatest(bounds[operation.of]!),
      );
      return { low: -reach, high: reach, reach };
    }
    case 'sum': {
      const { from, offset, operation } = laid;
      let [low, high, reach] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
      for (let e = 0; e < laid.size; e++) {
        let [l, h, r] = [offset[e]!, offset[e]!, Math.abs(offset[e]!)];
        operation.parts.forEach(({ of, factor }, p) => {
          if (from[p]![e]! < 0) return;
          const range = bounds[of]!;
          l += factor * (factor > 0 ? range.low : range.high);
          h += factor * (factor > 0 ? range.high : range.low);
          r += Math.abs(factor) * greatest(range);
        });
        low = Math.min(low, l);
        high = Math.max(high, h);
        reach = Math.max(reach, r);
      }
      return { low, high, reach };
    }
    case 'rescale': {
      const { operation } = laid;
      const { shift, low, cap } = operation;
      const before = bounds[operation.of]!;
      const cut = (x: number): number => rescaled(operation, x);
      const half = shift > 0 ? 2 ** (shift - 1) : 0;
      // Clipped to a range of 2^cap, and compared with its ends, which are as far away as that once the value is scaled back.
      const far = Math.abs(low ?? 0) + (cap === undefined ? 0 : 2 ** cap);
      const reach = Math.max(greatest(before) + half, far);
      return { low: cut(before.low), high: cut(before.high), reach };
    }
    case 'max':
      return { ...bounds[laid.operation.of]!, reach: greatest(bounds[laid.operation.of]!) };
    case 'product': {
      const [a, b] = laid.operation.parts.map(({ of }) => bounds[of]!) as [Range, Range];
      const ends = [a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high];
      const [low, high] = [Math.min(...ends), Math.max(...ends)];
      return { low, high, reach: greatest({ low, high }) };
    }
  }
}

/** The bounds of all values, the features' first. Throws what `bad` makes of an operation and a message. */
export function checkTensors(
  operations: readonly TensorOperation[],
  ranges: readonly Range[],
  bad: (field: string, message: string) => VouchError,
): Bound[] {
  const fail = (i: number, message: string) => bad(`operations.${i}`, message);
  let laid: readonly Laid[];
  try {
    laid = laidOut(operations, ranges.length);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw bad('operations', error.message);
  }
  const bounds: Bound[] = [featuresBound(ranges)];
  laid.forEach((each, i) => {
    const bound = boundOf(each, bounds);
    if (!(bound.reach < EXACT))
      throw fail(i, `a sum may reach ${bound.reach}, beyond the 2^24 that float32 holds exactly`);
    bounds.push(bound);
  });
  return bounds;
}

export function featuresBound(ranges: readonly Range[]): Bound {
  const low = ranges.reduce((least, range) => Math.min(least, range.low), Number.POSITIVE_INFINITY);
  const high = ranges.reduce((most, range) => Math.max(most, range.high), Number.NEGATIVE_INFINITY);
  return { low, high, reach: greatest({ low, high }) };
}

export function rescaled({ shift, low, cap }: Rescale, x: number): number {
  const half = shift > 0 ? 2 ** (shift - 1) : 0;
  const y = Math.floor((x + half) / 2 ** shift);
  if (low === undefined) return y;
  const above = Math.max(low, y);
  return cap === undefined ? above : Math.min(above, low + 2 ** cap - 1);
}

/** Adds a convolution to `out`, which has the biases' places: integers and floating point alike. `under`: see `LaidConv`. */
export function convolve(
  { channels, outputs, groups }: Pick<Conv, 'channels' | 'outputs' | 'groups'>,
  { under, plane }: Pick<LaidConv, 'under' | 'plane'>,
  { weights, bias }: { readonly weights: ArrayLike<number>; readonly bias: ArrayLike<number> },
  x: ArrayLike<number>,
  out: Int32Array | Float64Array,
): void {
  const [places, taps] = [under.length, under[0]?.length ?? 0];
  for (let o = 0; o < outputs; o++) {
    const first = Math.floor(o / (outputs / groups)) * channels;
    under.forEach((place, p) => {
      let sum = bias[o]!;
      for (let c = 0; c < channels; c++)
        for (let k = 0; k < taps; k++)
          if (place[k]! >= 0)
            sum += weights[(o * channels + c) * taps + k]! * x[(first + c) * plane + place[k]!]!;
      out[o * places + p] = sum;
    });
  }
}

/** What an operation gives for the values before it. `parameters`: of a convolution. */
export function computed(
  laid: Laid,
  values: readonly Int32Array[],
  parameters: LinearParameters | undefined,
): Int32Array {
  const { size } = laid;
  const out = new Int32Array(size);
  switch (laid.kind) {
    case 'conv': {
      convolve(laid.operation, laid, parameters!, values[laid.operation.of]!, out);
      return out;
    }
    case 'sum': {
      const { from, offset } = laid;
      out.set(offset);
      laid.operation.parts.forEach(({ of, factor }, p) => {
        const [x, at] = [values[of]!, from[p]!];
        for (let e = 0; e < size; e++) if (at[e]! >= 0) out[e]! += factor * x[at[e]!]!;
      });
      return out;
    }
    case 'rescale':
      return values[laid.operation.of]!.map((x) => rescaled(laid.operation, x));
    case 'max': {
      const { from } = laid;
      const x = values[laid.operation.of]!;
      return out.map((_, e) =>
        from.reduce((most, part) => (part[e]! < 0 ? most : Math.max(most, x[part[e]!]!)), -EXACT),
      );
    }
    case 'product': {
      const { from } = laid;
      const [a, b] = laid.operation.parts.map(({ of }) => values[of]!) as [Int32Array, Int32Array];
      return out.map((_, e) => a[from[0]![e]!]! * b[from[1]![e]!]!);
    }
  }
}

/** All values for one row of features, in integers. */
export function tensorValues(
  operations: readonly TensorOperation[],
  parameters: readonly LinearParameters[],
  features: Int32Array,
): Int32Array[] {
  const values = [features];
  let next = 0;
  for (const laid of laidOut(operations, features.length))
    values.push(computed(laid, values, laid.operation.kind === 'conv' ? parameters[next++] : undefined));
  return values;
}

export const convsOf = (operations: readonly TensorOperation[]): Conv[] =>
  operations.filter((operation) => operation.kind === 'conv');
