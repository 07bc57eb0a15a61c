/**
 * A field of 254 bits in integers, for engines without fused multiply-add: an element is nine signed limbs of 29 bits
 * in i64 lanes. Products of two limbs have 58 bits at most, so a whole column is added up before anything is carried.
 * Montgomery's reduction with radix 2^261 and signed digits.
 *
 * Tight limbs lie in [-2^28, 2^28], none may pass 2^31: products read the lower half of a lane.
 */
import { type Body, f64x2, i32x4, i64, i64x2, type Local, type V128, v128 } from './assembler.ts';
import {
  type Complex,
  type Constants,
  type DotOptions,
  type Element,
  type Field,
  limbsOfWords,
  negativeInverse,
  rowProducts,
  type Steps,
  signedLimbs,
} from './field.ts';

const LIMBS = 9;
const LIMB_BITS = 29;
const RADIX = 1n << BigInt(LIMB_BITS * LIMBS);
const LIMB = 1n << BigInt(LIMB_BITS);

export function createIntField(modulus: bigint, constants: Constants): Field {
  const { bits, double } = constants;
  const modulusLimbs = signedLimbs(modulus, LIMBS, LIMB_BITS);
  const inverse = negativeInverse(modulus, LIMB_BITS);
  /** Both halves of a lane alike, so that it does not matter which of them a product reads. */
  const packed = (limb: bigint): V128 => {
    const half = BigInt.asUintN(32, limb);
    return bits(half | (half << 32n));
  };
  const multiply = i64x2.extmulLow;

  /** Limbs but the highest into [-2^28, 2^28); what they pass goes up. */
  function carry(body: Body, limbs: readonly Local<'v128'>[]): void {
    const high = body.local('v128');
    for (let j = 0; j < LIMBS - 1; j++) {
      body.set(high, i64x2.shrS(i64x2.add(limbs[j]!, bits(LIMB / 2n)), LIMB_BITS));
      body.set(limbs[j]!, i64x2.sub(limbs[j]!, i64x2.shl(high, LIMB_BITS)));
      body.set(limbs[j + 1]!, i64x2.add(limbs[j + 1]!, high));
    }
  }

  /** Takes the nearest multiple of the modulus off; needs carried limbs, leaves some that are not. */
  function takeMultiple(body: Body, limbs: readonly Local<'v128'>[]): void {
    const top = f64x2.convertLow(v128.evens(limbs[LIMBS - 1]!));
    const multiple = body.local(
      'v128',
      i32x4.truncate(f64x2.nearest(f64x2.mul(top, double(1 / Number(modulusLimbs[LIMBS - 1]!))))),
    );
    limbs.forEach((limb, j) => {
      body.set(limb, i64x2.sub(limb, multiply(multiple, packed(modulusLimbs[j]!))));
    });
  }

  function* dot(
    body: Body,
    terms: readonly (readonly [Element, Element])[],
    { minus, fold = false }: DotOptions = {},
  ): Steps<Element> {
    const half = (element: Element): Element => element.map((limb) => body.local('v128', v128.evens(limb)));
    const halves = terms.map(([a, b]) => {
      const first = half(a);
      return [first, a === b ? first : half(b)] as const;
    });
    const twice = halves.map(([a, b]) =>
      a === b ? a.map((limb) => body.local('v128', i32x4.shl(limb, 1))) : undefined,
    );
    const sums: Local<'v128'>[] = [];
    const add = (k: number, what: V128) => {
      const sum = sums[k];
      if (sum) body.set(sum, i64x2.add(sum, what));
      else sums[k] = body.local('v128', what);
    };
    for (let i = 0; i < LIMBS; i++) {
      for (const [index, { a, b, k }] of rowProducts(halves, twice, i).entries()) {
        add(k, multiply(a, b));
        if (index % 2) yield;
      }
      // The digit m with sum + m * p divisible by 2^29, in [-2^28, 2^28).
      const product = i32x4.mul(v128.evens(sums[i]!), packed(inverse));
      const digit = body.local('v128', i32x4.shrS(i32x4.shl(product, 32 - LIMB_BITS), 32 - LIMB_BITS));
      yield;
      for (let j = 0; j < LIMBS; j++) {
        add(i + j, multiply(digit, packed(modulusLimbs[j]!)));
        if (j % 2) yield;
      }
      add(i + 1, i64x2.shrS(sums[i]!, LIMB_BITS));
      yield;
    }
    const limbs = Array.from({ length: LIMBS }, (_, i) => {
      const limb = sums[LIMBS + i] ?? body.local('v128', bits(0n));
      if (minus) body.set(limb, i64x2.sub(limb, minus[i]!));
      return limb;
    });
    carry(body, limbs);
    yield;
    if (fold) {
      takeMultiple(body, limbs);
      carry(body, limbs);
    }
    return limbs;
  }

  function* multiplyComplex(
    body: Body,
    [a0, a1]: Complex,
    [b0, b1]: Complex,
    [real, imaginary]: readonly [DotOptions, DotOptions],
  ): Steps<Complex> {
    const negative = a1.map((limb) => body.local('v128', i64x2.sub(bits(0n), limb)));
    const pairs = (...terms: [Element, Element][]) => terms;
    return [
      yield* dot(body, pairs([a0, b0], [negative, b1]), real),
      yield* dot(body, pairs([a0, b1], [a1, b0]), imaginary),
    ];
  }

  function settle(body: Body, element: Element): Element {
    const limbs = element.map((limb) => body.local('v128', limb));
    carry(body, limbs);
    takeMultiple(body, limbs);
    carry(body, limbs);
    return limbs;
  }

  return {
    name: 'int',
    modulus,
    limbs: LIMBS,
    limbBits: LIMB_BITS,
    radix: RADIX,
    growth: Number(modulus) / Number(RADIX),
    get beside() {
      return createIntField(modulus, constants.beside);
    },
    patterns: (integer) => signedLimbs(integer, LIMBS, LIMB_BITS).map((limb) => BigInt.asUintN(64, limb)),
    read: (view, at, stride) =>
      Array.from({ length: LIMBS }, (_, i) => view.getBigInt64(at + stride * i, true)).reduceRight(
        (high, limb) => high * LIMB + limb,
        0n,
      ),
    add: i64x2.add,
    subtract: i64x2.sub,
    negate: (limb) => i64x2.sub(bits(0n), limb),
    flip: (limb, mask) => i64x2.sub(v128.xor(limb, mask), mask),
    signMask: (lanes) => i64x2.sub(bits(0n), v128.and(lanes, bits(1n))),
    isZero: (limb) => i64x2.eq(limb, bits(0n)),
    dot,
    multiplyComplex,
    settle,
    split: (body, words) => limbsOfWords(body, constants, words, LIMBS, LIMB_BITS),
    toInteger: (limb) => limb,
    loadInteger: (address, offset) => i64.load(address, offset),
    splat: (limb) => i64x2.splat(limb),
  };
}
