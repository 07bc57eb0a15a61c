/**
 * What a prime field's kernels have in common: an element is a few limbs, two unrelated elements side by side in the
 * lanes of one v128 per limb. How a limb is held and multiplied is the field's own: fma-field.ts, int-field.ts.
 *
 * Bounds are said in two measures. Limbs: "tight" as products and `settle` leave them, "loose" at most twice, "slack" at
 * most four times that. Values: "k p" stands for |value| <= k * p, p the modulus; an element may be any integer of its class.
 */
import {
  type Body,
  type createModule,
  type I32,
  type I64,
  i32,
  i64x2,
  type Local,
  type V128,
  type Value,
  v128,
} from './assembler.ts';

export type Element = readonly V128[];

/** Real and imaginary part. */
export type Complex = readonly [Element, Element];

export interface DotOptions {
  /** Subtracted from the result (so in Montgomery form, as the result is): loose limbs, 2 p. */
  readonly minus?: Element;
  /** Makes the result 0.51 p. Without it, it may not be above 2.6 p, and is (1/2 + `growth` * sum ka kb) p. */
  readonly fold?: boolean;
}

export interface Field {
  readonly name: 'fma' | 'int';
  readonly modulus: bigint;
  readonly limbs: number;
  readonly limbBits: number;
  /** Montgomery's, 2^(limbs * limbBits) */
  readonly radix: bigint;
  /** modulus / radix */
  readonly growth: number;
  /** The same field for the second pair of a quad. */
  readonly beside: Field;
  /** The 64-bit patterns of the limbs of an integer within the radix, tight. */
  patterns(integer: bigint): bigint[];
  /** The integer that limbs in memory stand for; `at` in bytes, `stride` from limb to limb. */
  read(view: DataView, at: number, stride: number): bigint;

  add(a: V128, b: V128): V128;
  subtract(a: V128, b: V128): V128;
  negate(a: V128): V128;
  /** The negative where `mask` (of `signMask`) says so. */
  flip(a: V128, mask: V128): V128;
  /** From i64 lanes whose lowest bit means negative. */
  signMask(bits: V128): V128;
  /** All ones in the lanes in which a limb is zero. */
  isZero(a: V128): V128;
  /**
   * Sum of a * b / radix over at most four `terms`: tight. One factor of each pair is tight and the other at most slack, or
   * both are loose. An element with itself (the same object) is a square, which is cheaper; it has to be tight.
   */
  dot(body: Body, terms: readonly (readonly [Element, Element])[], options?: DotOptions): Steps<Element>;
  /**
   * The product in the field with i^2 = -1, both parts as `dot` makes them. Parts of `a` are tight, those of `b` at most loose
   * and at most 1.3 p.
   */
  multiplyComplex(
    body: Body,
    a: Complex,
    b: Complex,
    options: readonly [real: DotOptions, imaginary: DotOptions],
  ): Steps<Complex>;
  /** The same element, tight and 0.51 p, from slack limbs and 4 p. */
  settle(body: Body, element: Element): Element;
  /** From the 64-bit words of integers below 2^256, a word per vector, lowest first: loose. */
  split(body: Body, words: readonly V128[]): Element;
  /** i64 lanes of a limb that is a signed integer, and back. */
  toInteger(limb: V128): V128;
  /** A limb in memory as an i64, and an i64 as a limb in both lanes. */
  loadInteger(address: Value<'i32'>, offset: number): I64;
  splat(limb: I64): V128;
}

/** Work that is written in small steps, so that the steps of independent pieces of work can alternate. */
export type Steps<T> = Generator<undefined, T>;

/**
 * The products of limbs in row `i` of a schoolbook product: all of a's limb i with b's, or of a square's those that were
 * not there in an earlier row, twice. `twice` has the doubled limbs of squares.
 */
export function rowProducts(
  terms: readonly (readonly [Element, Element])[],
  twice: readonly (Element | undefined)[],
  i: number,
): { a: V128; b: V128; k: number }[] {
  return terms.flatMap(([a, b], term) =>
    b.flatMap((limb, j) => {
      const doubled = twice[term];
      if (doubled && j < i) return [];
      return [{ a: doubled && j > i ? doubled[i]! : a[i]!, b: limb, k: i + j }];
    }),
  );
}

/** Runs pieces of work in turns. One multiplication alone waits for its own results most of the time. */
export function interleave<T extends readonly Steps<unknown>[]>(
  ...pieces: T
): { [K in keyof T]: T[K] extends Steps<infer R> ? R : never } {
  const results: unknown[] = new Array(pieces.length);
  let open = pieces.map((piece, index) => ({ piece, index }));
  while (open.length > 0) {
    open = open.filter(({ piece, index }) => {
      const { done, value } = piece.next();
      if (done) results[index] = value;
      return !done;
    });
  }
  return results as never;
}

/**
 * Constants in memory: engines spell out a v128.const at every use, in three instructions where a load is one.
 * The first `CONSTANT_BYTES` of a module's memory are for them; whoever instantiates it puts them there.
 */
export interface Constants {
  bits(pattern: bigint): V128;
  double(value: number): V128;
  /** All four lanes of each 32 bytes, from address 0 on. */
  readonly patterns: readonly bigint[];
  /** The same ones, from the second half of the 32 bytes. */
  readonly beside: Constants;
}
export const CONSTANT_BYTES = 8192;
/** Of a constant: both halves of a quad find their own. */
const CONSTANT_STRIDE = 32;

export function createConstants(): Constants {
  const patterns: bigint[] = [];
  const known = new Map<bigint, number>();
  const addressOf = (pattern: bigint): number => {
    const key = BigInt.asUintN(64, pattern);
    let index = known.get(key);
    if (index === undefined) {
      index = patterns.push(key) - 1;
      known.set(key, index);
    }
    if ((index + 1) * CONSTANT_STRIDE > CONSTANT_BYTES) throw new RangeError('too many constants');
    return index * CONSTANT_STRIDE;
  };
  const inHalf = (half: Half): Constants => {
    // The same ones are asked for thousands of times.
    const loads = new Map<bigint | number, V128>();
    const once = (name: bigint | number, pattern: () => bigint): V128 => {
      let load = loads.get(name);
      if (!load) {
        load = v128.load(i32.const(0), addressOf(pattern()) + 16 * half);
        loads.set(name, load);
      }
      return load;
    };
    return {
      bits: (pattern) => once(pattern, () => pattern),
      double: (value) => once(value, () => bitsOf(value)),
      patterns,
      get beside() {
        return inHalf(1);
      },
    };
  };
  return inHalf(0);
}

const view = new DataView(new ArrayBuffer(8));
/** The 64 bits of a double. */
export function bitsOf(double: number): bigint {
  view.setFloat64(0, double);
  return view.getBigUint64(0);
}

/** Signed limbs of `bits` each, all but the highest in [-2^(bits-1), 2^(bits-1)). */
export function signedLimbs(integer: bigint, count: number, bits: number): bigint[] {
  const limbs: bigint[] = [];
  for (let rest = integer; limbs.length < count; ) {
    const low = limbs.length === count - 1 ? rest : BigInt.asIntN(bits, rest);
    limbs.push(low);
    rest = (rest - low) >> BigInt(bits);
  }
  return limbs;
}

/** -1/modulus modulo 2^bits, signed. */
export function negativeInverse(modulus: bigint, bits: number): bigint {
  let inverse = 1n;
  for (let known = 1; known < bits; known *= 2)
    inverse = BigInt.asIntN(bits, inverse * (2n - modulus * inverse));
  return BigInt.asIntN(bits, -inverse);
}

/** Two elements side by side in memory, a limb per 16 bytes, or one per `stride`. */
export const loadElement = (
  body: Body,
  limbs: number,
  address: Value<'i32'>,
  offset = 0,
  stride = 16,
): V128[] =>
  Array.from({ length: limbs }, (_, i) => body.local('v128', v128.load(address, offset + stride * i)));
export const storeElement = (
  body: Body,
  element: Element,
  address: Value<'i32'>,
  offset = 0,
  stride = 16,
): void =>
  element.forEach((limb, i) => {
    body.store(limb, address, offset + stride * i);
  });

/**
 * A quad: two pairs, whose limbs take turns in memory, so that the halves of 32 bytes belong to the first and to the second.
 * An engine that fuses equal operations on neighbouring vectors into wider ones (V8's --experimental-wasm-revectorize) does
 * so with work that is the same for both pairs, from loads to stores; the second pair's constants are `Field.beside`'s then.
 */
export const QUAD_STRIDE = 32;
export type Half = 0 | 1;
export const HALVES = [0, 1] as const satisfies readonly Half[];
export const loadHalf = (body: Body, limbs: number, address: Value<'i32'>, half: Half, offset = 0): V128[] =>
  loadElement(body, limbs, address, offset + 16 * half, QUAD_STRIDE);
export const storeHalf = (
  body: Body,
  element: Element,
  address: Value<'i32'>,
  half: Half,
  offset = 0,
): void => storeElement(body, element, address, offset + 16 * half, QUAD_STRIDE);
/** Neighbours are stored one right after the other: with another store between them they are not fused. */
export const storeQuad = (
  body: Body,
  [first, second]: readonly [Element, Element],
  address: Value<'i32'>,
  offset = 0,
): void =>
  first.forEach((limb, i) => {
    body.store(limb, address, offset + QUAD_STRIDE * i);
    body.store(second[i]!, address, offset + QUAD_STRIDE * i + 16);
  });
/** A known element in both lanes. */
export const constantElement = (field: Field, constants: Constants, integer: bigint): V128[] =>
  field.patterns(integer).map((pattern) => constants.bits(pattern));

/** Limbs of `bits` from the 64-bit words of nonnegative integers, as i64 lanes. */
export function limbsOfWords(
  body: Body,
  constants: Constants,
  words: readonly V128[],
  count: number,
  bits: number,
): Local<'v128'>[] {
  return Array.from({ length: count }, (_, i) => {
    const [word, shift] = [Math.floor((bits * i) / 64), (bits * i) % 64];
    let limb = shift === 0 ? words[word]! : i64x2.shrU(words[word]!, shift);
    if (shift > 64 - bits && word + 1 < words.length) {
      limb = v128.or(limb, i64x2.shl(words[word + 1]!, 64 - shift));
    }
    return body.local('v128', v128.and(limb, constants.bits((1n << BigInt(bits)) - 1n)));
  });
}

/** The 64-bit words of the integer in 0 .. p - 1 that an element of less than p stands for. */
export function canonicalWords(
  body: Body,
  constants: Constants,
  field: Field,
  element: Element,
): Local<'v128'>[] {
  const { limbs, limbBits, modulus } = field;
  const mask = constants.bits((1n << BigInt(limbBits)) - 1n);
  const integers = element.map((limb) => body.local('v128', field.toInteger(limb)));
  const carry = () => {
    for (let i = 0; i < limbs - 1; i++) {
      body.set(integers[i + 1]!, i64x2.add(integers[i + 1]!, i64x2.shrS(integers[i]!, limbBits)));
      body.set(integers[i]!, v128.and(integers[i]!, mask));
    }
  };
  carry();
  const negative = body.local('v128', i64x2.shrS(integers[limbs - 1]!, 63));
  integers.forEach((limb, i) => {
    const part =
      i === limbs - 1
        ? modulus >> BigInt(limbBits * i)
        : (modulus >> BigInt(limbBits * i)) & ((1n << BigInt(limbBits)) - 1n);
    body.set(limb, i64x2.add(limb, v128.and(constants.bits(part), negative)));
  });
  carry();
  return [0, 1, 2, 3].map((word) => {
    const word64 = body.local('v128');
    let started = false;
    for (let i = 0; i < limbs; i++) {
      const at = limbBits * i - 64 * word;
      if (at >= 64 || at + limbBits <= 0) continue;
      const piece =
        at === 0 ? integers[i]! : at > 0 ? i64x2.shl(integers[i]!, at) : i64x2.shrU(integers[i]!, -at);
      body.set(word64, started ? v128.or(word64, piece) : piece);
      started = true;
    }
    return word64;
  });
}

/** The 64-bit words of two 32-byte integers, a word per vector, the integers side by side in lanes. */
export function loadWords(body: Body, first: I32, second: I32, secondOffset = 0): Local<'v128'>[] {
  const halves = (offset: number): [V128, V128] => [
    body.local('v128', v128.load(first, offset)),
    body.local('v128', v128.load(second, secondOffset + offset)),
  ];
  const [low, high] = [halves(0), halves(16)];
  return [v128.lows(...low), v128.highs(...low), v128.lows(...high), v128.highs(...high)].map((word) =>
    body.local('v128', word),
  );
}

const PAGE_BYTES = 65_536;

/** The bytes of a module whose memory begins with the constants. */
export function moduleBytes(
  module: ReturnType<typeof createModule>,
  { patterns }: Constants,
  { shared }: { readonly shared: boolean },
): Uint8Array<ArrayBuffer> {
  const lanes = BigUint64Array.from(patterns.flatMap((bits) => [bits, bits, bits, bits]));
  module.data(0, new Uint8Array(lanes.buffer));
  return module.bytes(Math.ceil(CONSTANT_BYTES / PAGE_BYTES), { shared });
}
