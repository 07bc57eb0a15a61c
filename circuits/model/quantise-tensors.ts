/**
 * A float network of tensors in integers. Every value is an integer times 2^-exponent, so that values meet in a sum after
 * shifts alone; a kernel has one power of two for all its weights. Results are rounded where a bound for all parameters of
 * the widths would be passed, by shifts that calibration rows decide, and cut off where these say that hardly any value lies.
 */
import { VouchError } from '../../protocols/errors.ts';
import type { FloatConv, FloatOperation, FloatSum, TensorNetwork } from './float-tensors.ts';
import type { Range } from './preprocessing.ts';
import { offsetRuns, runsOf } from './runs.ts';
import {
  type Bound,
  boundOf,
  computed,
  featuresBound,
  greatest,
  type LinearParameters,
  layOut,
  type Rescale,
  type TensorOperation,
} from './tensors.ts';

const EXACT = 2 ** 24;
/** A value that goes into a convolution is scaled so that its greatest one while calibrating fits this many bits. */
const ACTIVATION_BITS = 8;
/** Of the 2^24, what weights leave to bias and rounding. */
const BIAS_ROOM = 2 ** 20;
/** How far sums and products may reach, so that half a step can be added where they are rounded. */
const MOST = EXACT - BIAS_ROOM / 2;
/** of a public factor that is no multiple of a small power of two */
const FACTOR_BITS = 10;
/** rows that shifts are taken from */
const MOST_ROWS = 64;

/** A value of the network as integers. */
interface Integers {
  readonly value: number;
  /** each is an integer times 2^-exponent */
  readonly exponent: number;
  readonly bound: Bound;
  readonly rows: readonly Int32Array[];
}

export interface TensorOptions {
  readonly bits: number;
  readonly ranges: readonly Range[];
  /** of the features */
  readonly exponent: number;
  readonly calibration: readonly ArrayLike<number>[];
}

export interface QuantisedTensors {
  readonly operations: readonly TensorOperation[];
  readonly parameters: readonly LinearParameters[];
  /** of the output */
  readonly exponent: number;
}

/** Throws `bad-input` where a bound fails whatever the shifts are. */
export function quantiseTensors(network: TensorNetwork, options: TensorOptions): QuantisedTensors {
  const { bits, ranges, calibration } = options;
  const operations: TensorOperation[] = [];
  const parameters: LinearParameters[] = [];
  const sizes = [ranges.length];
  const bounds: Bound[] = [featuresBound(ranges)];

  const emit = (
    operation: TensorOperation,
    exponent: number,
    from: readonly Integers[],
    own?: LinearParameters,
  ): Integers => {
    const laid = layOut(operation, (of) => sizes[of]!);
    const bound = boundOf(laid, bounds);
    if (bound.reach >= EXACT) throw tooLarge(operation.kind, operations.length, bound.reach);
    operations.push(operation);
    if (own) parameters.push(own);
    sizes.push(laid.size);
    bounds.push(bound);
    const rows = calibration.slice(0, MOST_ROWS).map((_, r) => {
      const values: Int32Array[] = [];
      for (const { value, rows } of from) values[value] = rows[r]!;
      return computed(laid, values, own);
    });
    return { value: operations.length, exponent, bound, rows };
  };

  /** Rounded and cut off so that no value is further from 0 than `most`. */
  const limited = (x: Integers, most: number, target = most): Integers => {
    if (greatest(x.bound) <= most) return x;
    return emit(...limit(x, most, target, x.bound.low >= 0 ? 0 : undefined), [x]);
  };

  const demands = demandsOf(network.operations, bits);
  const states: Integers[] = [
    {
      value: 0,
      exponent: options.exponent,
      bound: bounds[0]!,
      rows: calibration.slice(0, MOST_ROWS).map((row) => Int32Array.from(row)),
    },
  ];
  network.operations.forEach((operation, i) => {
    const state = (of: number): Integers => states[of]!;
    switch (operation.kind) {
      case 'conv': {
        const most = convLimit(operation, bits);
        const x = limited(state(operation.of), most, Math.min(most, 2 ** ACTIVATION_BITS - 1));
        const { conv, own, exponent } = kernel(operation, x, bits, i);
        states.push(emit(conv, exponent, [x], own));
        break;
      }
      case 'sum':
        states.push(addUp(operation, states, emit));
        break;
      case 'relu': {
        const x = state(operation.of);
        const most = demands[i + 1]!;
        const [rescale, exponent] =
          most === Number.POSITIVE_INFINITY
            ? [{ kind: 'rescale', of: x.value, shift: 0, low: 0 } as const, x.exponent]
            : limit(x, most, Math.min(most, 2 ** ACTIVATION_BITS - 1), 0);
        states.push(emit(rescale, exponent, [x]));
        break;
      }
      case 'max': {
        const x = state(operation.of);
        const size = operation.parts[0]!.length;
        states.push(
          emit({ kind: 'max', of: x.value, size, parts: operation.parts.map(runsOf) }, x.exponent, [x]),
        );
        break;
      }
      case 'product': {
        let [a, b] = operation.parts.map(({ of }) => state(of)) as [Integers, Integers];
        const root = Math.floor(Math.sqrt(MOST - 1));
        if (greatest(a.bound) * greatest(b.bound) >= MOST) {
          const [first, second] = [greatest(a.bound), greatest(b.bound)];
          if (second > root) b = limited(b, Math.max(root, Math.floor((MOST - 1) / first)));
          if (first > root) a = limited(a, Math.max(root, Math.floor((MOST - 1) / greatest(b.bound))));
        }
        const parts = operation.parts.map(({ from }, p) => ({ of: [a, b][p]!.value, from: runsOf(from) }));
        const size = operation.parts[0]!.from.length;
        states.push(emit({ kind: 'product', size, parts }, a.exponent + b.exponent, [a, b]));
        break;
      }
    }
  });
  return { operations, parameters, exponent: states.at(-1)!.exponent };
}

const tooLarge = (kind: string, operation: number, reach: number): VouchError =>
  new VouchError(
    'bad-input',
    `model: operation ${operation + 1} (${kind}): a sum may reach ${reach}, beyond the 2^24 that float32 holds exactly; use fewer inputs, smaller ranges or fewer bits of a weight`,
  );

/** How far from 0 what a convolution takes may be. */
function convLimit({ channels, kernel }: FloatConv, bits: number): number {
  const taps = kernel.reduce((product, k) => product * k, channels);
  const most = Math.floor((EXACT - BIAS_ROOM) / (taps * 2 ** (bits - 1)));
  if (most >= 1) return most;
  throw new VouchError(
    'bad-input',
    `model: a layer sums ${taps} inputs, so many that a sum of the smallest ones passes 2^24; use fewer inputs or fewer bits of a weight`,
  );
}

/** How far from 0 each value may be for all that takes it; infinite where nobody minds. */
function demandsOf(operations: readonly FloatOperation[], bits: number): number[] {
  const demands = Array<number>(operations.length + 1).fill(Number.POSITIVE_INFINITY);
  for (let i = operations.length - 1; i >= 0; i--) {
    const operation = operations[i]!;
    const most = operation.kind === 'conv' ? convLimit(operation, bits) : demands[i + 1]!;
    if (operation.kind === 'relu' || operation.kind === 'product') continue;
    const of = operation.kind === 'sum' ? operation.parts.map((part) => part.of) : [operation.of];
    for (const value of of) demands[value] = Math.min(demands[value]!, most);
  }
  return demands;
}

/**
 * A rescale after which no value is further from 0 than `most`, and the greatest while calibrating not than `target`. A cap
 * costs a few constraints, so it is there only where a bound for all parameters does not do.
 */
function limit(
  x: Integers,
  most: number,
  target: number,
  floor: 0 | undefined,
): [operation: Rescale, exponent: number] {
  const positive = floor === 0;
  // Bits of a magnitude: 0 .. 2^m - 1, or -2^m .. 2^m - 1.
  const m = Math.floor(Math.log2(positive ? most + 1 : most));
  const far = Math.max(
    1,
    ...x.rows.map((row) => row.reduce((a, b) => Math.max(a, positive ? b : Math.abs(b)), 0)),
  );
  const wanted = Math.min(target, 2 ** m - 1) || 1;
  let shift = 0;
  while (Math.floor((far + (shift > 0 ? 2 ** (shift - 1) : 0)) / 2 ** shift) > wanted) shift++;
  const plain: Rescale = { kind: 'rescale', of: x.value, shift, ...(positive ? { low: 0 } : {}) };
  const half = shift > 0 ? 2 ** (shift - 1) : 0;
  const reach = Math.floor(((positive ? x.bound.high : greatest(x.bound)) + half) / 2 ** shift);
  // Below 0 it rounds down.
  const fits = reach + (positive ? 0 : 1) <= most;
  const cut = positive ? { low: 0, cap: Math.max(1, m) } : { low: -(2 ** m), cap: m + 1 };
  return [fits ? plain : { ...plain, ...cut }, x.exponent - shift];
}

function kernel(
  { weights, bias, kind: _, ...geometry }: FloatConv,
  x: Integers,
  bits: number,
  operation: number,
) {
  const top = 2 ** (bits - 1);
  const [low, high] = weights.reduce(([l, h], w) => [Math.min(l, w), Math.max(h, w)], [0, 0]);
  const fits = (scale: number): boolean =>
    Math.round(high * 2 ** scale) <= top - 1 && Math.round(low * 2 ** scale) >= -top;
  let scale = low === high ? 0 : Math.floor(Math.log2(top / Math.max(-low, high))) + 1;
  while (!fits(scale)) scale--;
  const most = bias.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  // A bias that is large beside the weights takes bits from them.
  while (most * 2 ** (x.exponent + scale) >= BIAS_ROOM / 2 && scale > -40) scale--;
  if (low === high) scale = Math.min(scale, 0);
  const exponent = x.exponent + scale;
  const own = {
    weights: Int32Array.from(weights, (w) => Math.round(w * 2 ** scale)),
    bias: Int32Array.from(bias, (b) => Math.round(b * 2 ** exponent)),
  };
  const greatestBias = own.bias.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  let biasBits = 8;
  while (greatestBias >= 2 ** (biasBits - 1)) biasBits += 4;
  if (biasBits > 24)
    throw new VouchError(
      'bad-input',
      `model: operation ${operation + 1}: a bias is too large beside the weights to be quantised`,
    );
  const { groups, channels, outputs, image, kernel, strides, dilations, before, places } = geometry;
  const conv: TensorOperation = {
    kind: 'conv',
    of: x.value,
    groups,
    channels,
    outputs,
    image: [...image],
    kernel: [...kernel],
    strides: [...strides],
    dilations: [...dilations],
    before: [...before],
    places: [...places],
    weightBits: bits,
    biasBits,
  };
  return { conv, own, exponent };
}

/** How many bits behind the point a public factor has. */
function fraction(factor: number): number {
  for (let s = 0; s <= FACTOR_BITS; s++) if (Number.isInteger(factor * 2 ** s)) return s;
  return FACTOR_BITS - 1 - Math.floor(Math.log2(Math.abs(factor)));
}

function addUp(
  { parts, offset }: FloatSum,
  states: readonly Integers[],
  emit: (operation: TensorOperation, exponent: number, from: readonly Integers[]) => Integers,
): Integers {
  const size = offset.length;
  const used = [...new Set(parts.map(({ of }) => of))];
  const shifts = new Map(used.map((of) => [of, 0]));
  const coarser = new Map(parts.map((part) => [part, 0]));
  const fine = (part: FloatSum['parts'][number]): number =>
    states[part.of]!.exponent - shifts.get(part.of)! + fraction(part.factor) - coarser.get(part)!;
  const own = fraction(offset.reduce((most, c) => (fraction(c) > fraction(most) ? c : most), 0));
  for (let round = 0; ; round++) {
    const exponent = Math.max(...parts.map(fine));
    const sums = Float64Array.from(offset, (c) => Math.abs(Math.round(c * 2 ** exponent)));
    for (const { of, factor, from } of parts) {
      const shift = shifts.get(of)!;
      const unit = Math.round(Math.abs(factor) * 2 ** (exponent - states[of]!.exponent + shift));
      const reach = unit * (Math.ceil(greatest(states[of]!.bound) / 2 ** shift) + (shift > 0 ? 1 : 0));
      from.forEach((at, e) => {
        if (at >= 0) sums[e]! += reach;
      });
    }
    const reach = sums.reduce((a, b) => Math.max(a, b), 0);
    if (reach < MOST) {
      // A public number that needs more bits behind the point than the values have gets them where there is room.
      const room = Math.max(
        0,
        Math.min(own - exponent, Math.floor(Math.log2((MOST - 1) / Math.max(1, reach)))),
      );
      const added = offset.some((c) => c !== 0) ? room : 0;
      const rounded = new Map(
        used.map((of) => {
          const x = states[of]!;
          const shift = shifts.get(of)!;
          const rescale: Rescale = { kind: 'rescale', of: x.value, shift };
          return [of, shift > 0 ? emit(rescale, x.exponent - shift, [x]) : x];
        }),
      );
      const finest = exponent + added;
      const operation: TensorOperation = {
        kind: 'sum',
        size,
        parts: parts.map(({ of, factor, from }) => ({
          of: rounded.get(of)!.value,
          factor: Math.round(factor * 2 ** (finest - rounded.get(of)!.exponent)),
          from: runsOf(from),
        })),
        offset: offsetRuns(Array.from(offset, (c) => Math.round(c * 2 ** finest) + 0)),
      };
      return emit(operation, finest, [...rounded.values()]);
    }
    if (round > 64) throw tooLarge('sum', 0, reach);
    // The finest part decides how far all others are shifted: a factor with many bits first, then the values.
    for (const part of parts) {
      if (fine(part) < exponent) continue;
      if (fraction(part.factor) - coarser.get(part)! > 6) coarser.set(part, coarser.get(part)! + 1);
      else shifts.set(part.of, shifts.get(part.of)! + 1);
    }
  }
}
