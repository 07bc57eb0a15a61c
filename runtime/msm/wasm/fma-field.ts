/**
 * BN254's base field in two lanes: an element is five limbs of 51 bits, each an exact integer in an f64, two
 * unrelated elements side by side in five v128. Products are split by fused multiply-add as in N. Emmart's "Faster
 * Modular Exponentiation Using Double Precision Floating Point Arithmetic on the GPU" (ARITH 2018); the reduction is
 * Montgomery's with radix 2^255 and signed digits.
 *
 * Bounds. "Tight" limbs lie in [-2^50, 2^50], those that sums and differences of two tight elements have in
 * [-2^51, 2^51]; a product of two limbs may not pass 2^102. As a whole an element is any integer of its class: "k q"
 * stands for |value| <= k * q. `dot` of terms (ka q)(kb q) gives (1/2 + 0.379 * sum ka kb) q, with `fold` 0.51 q.
 * Right only where relaxed_madd is fused: the caller runs a self-test.
 */
import { Q } from '../../../circuits/groth16/field.ts';
import { type Body, f64x2, i32, i64x2, type Local, type V128, v128 } from './assembler.ts';

export const LIMBS = 5;
export const LIMB_BITS = 51;
/** Montgomery's radix. */
export const RADIX = 1n << BigInt(LIMB_BITS * LIMBS);
const LIMB = 1n << BigInt(LIMB_BITS);
const HALF = LIMB / 2n;

export type Element = readonly V128[];

/** An integer as five signed limbs, all but the highest in [-2^50, 2^50). */
export function toLimbs(integer: bigint): bigint[] {
  const limbs: bigint[] = [];
  for (let rest = integer; limbs.length < LIMBS; ) {
    const low = limbs.length === LIMBS - 1 ? rest : BigInt.asIntN(LIMB_BITS, rest);
    limbs.push(low);
    rest = (rest - low) >> BigInt(LIMB_BITS);
  }
  return limbs;
}
export const fromLimbs = (limbs: readonly number[]): bigint =>
  limbs.reduceRight((high, limb) => high * LIMB + BigInt(limb), 0n);

const view = new DataView(new ArrayBuffer(8));
function bitsOf(double: number): bigint {
  view.setFloat64(0, double);
  return view.getBigUint64(0);
}

/** -1/q modulo a limb, signed. */
const NEGATIVE_INVERSE = (() => {
  let inverse = 1n;
  for (let bits = 1; bits < LIMB_BITS; bits *= 2)
    inverse = BigInt.asIntN(LIMB_BITS, inverse * (2n - Q * inverse));
  return BigInt.asIntN(LIMB_BITS, -inverse);
})();
const Q_LIMBS = toLimbs(Q);

/** Adding it rounds to a multiple of 2^51: |x| <= 2^102 keeps the sum in one binade whose last place is 2^51. */
const HIGH = 1.5 * 2 ** 103;
/** Adding it puts an integer of [-2^51, 2^51] into the low bits: the sum's last place is 1. */
const LOW = 1.5 * 2 ** 52;
/** What keeps accumulators positive where they are shifted; a multiple of a limb, above any sum of 40 terms. */
const OFFSET = 1n << 58n;

/** Work that is written in small steps, so that the steps of independent pieces of work can alternate. */
export type Steps<T> = Generator<undefined, T>;

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
  /** Both lanes of each 16 bytes, from address 0 on. */
  readonly patterns: readonly bigint[];
}
export const CONSTANT_BYTES = 4096;

export function createConstants(): Constants {
  const patterns: bigint[] = [];
  const bits = (pattern: bigint): V128 => {
    const key = BigInt.asUintN(64, pattern);
    if (!patterns.includes(key)) patterns.push(key);
    const at = patterns.indexOf(key) * 16;
    if (at >= CONSTANT_BYTES) throw new RangeError('too many constants');
    return v128.load(i32.const(0), at);
  };
  return { bits, double: (value) => bits(bitsOf(value)), patterns };
}

export interface DotOptions {
  /** Subtracted from the result (so in Montgomery form, as the result is); limbs in [-2^51, 2^51]. */
  readonly minus?: Element;
  /** Takes the nearest multiple of q off: the result is 0.51 q. Without it, it may not be above 2.6 q. */
  readonly fold?: boolean;
}

/**
 * The sum of a * b / 2^255 over `terms`, modulo q, tight. Limbs of each pair of factors: |a_i b_j| <= 2^102; at most
 * four terms.
 */
export function* dot(
  body: Body,
  { bits, double }: Constants,
  terms: readonly (readonly [Element, Element])[],
  { minus, fold = false }: DotOptions = {},
): Steps<Element> {
  // Every addend brings the bits of the constant that it was rounded with; a sum's start takes them off again.
  const start: bigint[] = new Array(2 * LIMBS).fill(0n);
  for (let i = 0; i < LIMBS; i++) {
    for (let j = 0; j < LIMBS; j++) {
      const low = BigInt(terms.length) + (j === 0 ? 0n : 1n);
      start[i + j]! -= low * bitsOf(LOW);
      start[i + j + 1]! -= BigInt(terms.length + 1) * bitsOf(HIGH);
    }
  }
  for (let k = 0; k < 2 * LIMBS - 1; k++) {
    // What is shifted is positive and rounds to the nearest; the next sum takes the offset off.
    start[k]! += HALF + OFFSET;
    start[k + 1]! -= OFFSET >> BigInt(LIMB_BITS);
  }
  for (let j = 0; j < LIMBS; j++) {
    start[LIMBS + j]! -= (minus ? bitsOf(LOW) : 0n) + (fold ? bitsOf(LOW) : 0n);
  }
  // The highest limb is read as it is.
  start[2 * LIMBS - 1]! += bitsOf(LOW);

  const sums: Local<'v128'>[] = [];
  const add = (k: number, what: V128) => {
    const sum = sums[k];
    if (sum) body.set(sum, i64x2.add(sum, what));
    else sums[k] = body.local('v128', i64x2.add(what, bits(start[k]!)));
  };
  const high = body.local('v128');
  /** a * b into sums k and k + 1; the low half only where it is asked for. */
  const accumulate = (a: V128, b: V128, k: number, lowHalf = true) => {
    body.set(high, f64x2.madd(a, b, double(HIGH)));
    add(k + 1, high);
    if (lowHalf) add(k, f64x2.madd(a, b, f64x2.sub(bits(bitsOf(HIGH) + 3n), high)));
  };
  if (minus) {
    for (let j = 0; j < LIMBS; j++) add(LIMBS + j, f64x2.sub(double(LOW), minus[j]!));
  }
  const lowLimb = (sum: V128): V128 =>
    f64x2.sub(v128.or(v128.and(sum, bits(LIMB - 1n)), double(2 ** 52)), double(2 ** 52 + Number(HALF)));
  const carry = (k: number) => add(k + 1, i64x2.shrU(sums[k]!, LIMB_BITS));

  for (let i = 0; i < LIMBS; i++) {
    for (let j = 0; j < LIMBS; j++) {
      for (const [a, b] of terms) accumulate(a[i]!, b[j]!, i + j);
      yield;
    }
    // The digit q with sum + q * p divisible by 2^51: its low product is the digit's negative, also in a tie.
    const limb = body.local('v128', lowLimb(sums[i]!));
    body.set(high, f64x2.madd(limb, double(Number(NEGATIVE_INVERSE)), double(HIGH)));
    const digit = body.local(
      'v128',
      f64x2.madd(limb, double(Number(NEGATIVE_INVERSE)), f64x2.sub(double(HIGH), high)),
    );
    carry(i);
    yield;
    for (let j = 0; j < LIMBS; j++) {
      accumulate(digit, double(Number(Q_LIMBS[j]!)), i + j, j > 0);
      yield;
    }
  }
  const top = 2 * LIMBS - 1;
  if (fold) {
    // The sum below changes the highest limb by at most 2^10 of 2^49, too little to matter for 0.51.
    const multiple = body.local(
      'v128',
      f64x2.nearest(
        f64x2.mul(
          f64x2.sub(i64x2.add(sums[top]!, bits(bitsOf(LOW))), double(LOW)),
          double(1 / Number(Q_LIMBS[LIMBS - 1]!)),
        ),
      ),
    );
    for (let j = 0; j < LIMBS; j++) {
      add(LIMBS + j, f64x2.nmadd(multiple, double(Number(Q_LIMBS[j]!)), double(LOW)));
      yield;
    }
  }
  const result: V128[] = [];
  for (let k = LIMBS; k < top; k++) {
    result.push(body.local('v128', lowLimb(sums[k]!)));
    carry(k);
    yield;
  }
  result.push(body.local('v128', f64x2.sub(sums[top]!, double(LOW))));
  return result;
}
