/**
 * A field of 254 bits in f64: an element is five limbs of 51 bits, each an exact integer. Products are split by fused multiply-add as in N. Emmart's "Faster
 * Modular Exponentiation Using Double Precision Floating Point Arithmetic on the GPU" (ARITH 2018); the reduction is
 * Montgomery's with radix 2^255 and signed digits.
 *
 * Tight limbs lie in [-2^50, 2^50]; a product of two limbs may not pass 2^102, and none may pass 2^53. Right only where relaxed_madd is fused: the caller runs a self-test.
 */
import { type Body, f64, f64x2, i64, i64x2, type Local, type V128, v128 } from './assembler.ts';
import {
  bitsOf,
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

const LIMBS = 5;
const LIMB_BITS = 51;
const RADIX = 1n << BigInt(LIMB_BITS * LIMBS);
const LIMB = 1n << BigInt(LIMB_BITS);
const HALF = LIMB / 2n;

/** Adding it rounds to a multiple of 2^51: |x| <= 2^102 keeps the sum in one binade whose last place is 2^51. */
const HIGH = 1.5 * 2 ** 103;
/** Adding it puts an integer of [-2^51, 2^51] into the low bits: the sum's last place is 1. */
const LOW = 1.5 * 2 ** 52;
/** What keeps accumulators positive where they are shifted; a multiple of a limb, above any sum of 40 terms. */
const OFFSET = 1n << 58n;

export function createFmaField(modulus: bigint, constants: Constants): Field {
  const { bits, double } = constants;
  const modulusLimbs = signedLimbs(modulus, LIMBS, LIMB_BITS).map(Number);
  const inverse = Number(negativeInverse(modulus, LIMB_BITS));
  /**
   * What x is of the modulus, to the nearest integer, from its highest limb: lower ones count for less than 0.002. Rounded by
   * adding, because engines that fuse vectors (field.ts) know no wider f64x2.nearest.
   */
  const multipleOf = (top: V128): V128 =>
    f64x2.sub(f64x2.madd(top, double(1 / modulusLimbs[LIMBS - 1]!), double(LOW)), double(LOW));

  /** Columns of limbs, 2^51 apart, that products are added to: each addend brings the bits of the constant that rounded it. */
  function openColumns(body: Body, start: readonly (bigint | undefined)[] = []) {
    const sums: Local<'v128'>[] = [];
    const high = body.local('v128');
    const add = (k: number, what: V128) => {
      const sum = sums[k];
      const first = start[k];
      if (sum) body.set(sum, i64x2.add(sum, what));
      else sums[k] = body.local('v128', first === undefined ? what : i64x2.add(what, bits(first)));
    };
    /** a * b into sums k and k + 1; the low half only where it is asked for. */
    const accumulate = (a: V128, b: V128, k: number, lowHalf = true) => {
      body.set(high, f64x2.madd(a, b, double(HIGH)));
      add(k + 1, high);
      if (lowHalf) add(k, f64x2.madd(a, b, f64x2.sub(bits(bitsOf(HIGH) + 3n), high)));
    };
    return { sums, add, accumulate };
  }
  type Columns = ReturnType<typeof openColumns>;
  type Rows = ReturnType<typeof rowProducts>[];
  const noPatterns = (): bigint[] => new Array(2 * LIMBS).fill(0n);
  /** Of the constants that these products are rounded with. */
  function patternsOf(rows: Rows): bigint[] {
    const patterns = noPatterns();
    for (const { k } of rows.flat()) {
      patterns[k]! += bitsOf(LOW);
      patterns[k + 1]! += bitsOf(HIGH);
    }
    return patterns;
  }
  /** What columns have to begin with, so that `reduced` finds their sums alone when it ends; `patterns` are those they bring. */
  function startOf(patterns: readonly bigint[], { minus, fold = false }: DotOptions): bigint[] {
    const start = patterns.map((pattern) => -pattern);
    for (let i = 0; i < LIMBS; i++) {
      for (let j = 0; j < LIMBS; j++) {
        if (j > 0) start[i + j]! -= bitsOf(LOW);
        start[i + j + 1]! -= bitsOf(HIGH);
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
    return start;
  }

  /** The columns' integer / 2^255 modulo the modulus. Each row's products, if any are left, come before its digit. */
  function* reduced(
    body: Body,
    { sums, add, accumulate }: Columns,
    { minus, fold = false }: DotOptions,
    rows: Rows = [],
  ): Steps<Element> {
    if (minus) {
      for (let j = 0; j < LIMBS; j++) add(LIMBS + j, f64x2.sub(double(LOW), minus[j]!));
    }
    const lowLimb = (sum: V128): V128 =>
      f64x2.sub(v128.or(v128.and(sum, bits(LIMB - 1n)), double(2 ** 52)), double(2 ** 52 + Number(HALF)));
    const carry = (k: number) => add(k + 1, i64x2.shrU(sums[k]!, LIMB_BITS));

    for (let i = 0; i < LIMBS; i++) {
      for (const { a, b, k } of rows[i] ?? []) {
        accumulate(a, b, k);
        yield;
      }
      // The digit q with sum + q * p divisible by 2^51: its low product is the digit's negative, also in a tie.
      const limb = body.local('v128', lowLimb(sums[i]!));
      const high = body.local('v128', f64x2.madd(limb, double(inverse), double(HIGH)));
      const digit = body.local('v128', f64x2.madd(limb, double(inverse), f64x2.sub(double(HIGH), high)));
      carry(i);
      yield;
      for (let j = 0; j < LIMBS; j++) {
        accumulate(digit, double(modulusLimbs[j]!), i + j, j > 0);
        yield;
      }
    }
    const top = 2 * LIMBS - 1;
    if (fold) {
      // The sum below changes the highest limb by at most 2^10 of 2^49, too little to matter for 0.51.
      const multiple = body.local(
        'v128',
        multipleOf(f64x2.sub(i64x2.add(sums[top]!, bits(bitsOf(LOW))), double(LOW))),
      );
      for (let j = 0; j < LIMBS; j++) {
        add(LIMBS + j, f64x2.nmadd(multiple, double(modulusLimbs[j]!), double(LOW)));
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

  /**
   * The sum of a * b / 2^255 over `terms`, modulo the modulus, tight. Limbs of each pair of factors: |a_i b_j| <= 2^102;
   * at most four terms.
   */
  function* dot(
    body: Body,
    terms: readonly (readonly [Element, Element])[],
    options: DotOptions = {},
  ): Steps<Element> {
    const twice = terms.map(([a, b]) =>
      a === b ? a.map((limb) => body.local('v128', f64x2.add(limb, limb))) : undefined,
    );
    const rows = Array.from({ length: LIMBS }, (_, i) => rowProducts(terms, twice, i));
    const columns = openColumns(body, startOf(patternsOf(rows), options));
    return yield* reduced(body, columns, options, rows);
  }

  /** As `Field` says, by three products in place of four: only the columns of the real and of the imaginary part are reduced. */
  function* multiplyComplex(
    body: Body,
    [a0, a1]: Complex,
    [b0, b1]: Complex,
    [realOptions, imaginaryOptions]: readonly [DotOptions, DotOptions],
  ): Steps<Complex> {
    const rowsOf = (a: Element, b: Element) =>
      Array.from({ length: LIMBS }, (_, i) => rowProducts([[a, b]], [undefined], i));
    const patterns = patternsOf(rowsOf(a0, b0));
    // Each product brings the same constants, so a difference of two has none.
    const startReal = startOf(noPatterns(), realOptions);
    const startImaginary = startOf(
      patterns.map((pattern) => -pattern),
      imaginaryOptions,
    );
    function* product(a: Element, b: Element, start?: readonly bigint[]): Steps<Columns> {
      const columns = openColumns(body, start);
      for (const { a: limb, b: other, k } of rowsOf(a, b).flat()) {
        columns.accumulate(limb, other, k);
        yield;
      }
      return columns;
    }
    const sumOf = (a: Element, b: Element) => a.map((limb, i) => body.local('v128', f64x2.add(limb, b[i]!)));
    const real = yield* product(a0, b0, startReal);
    const other = yield* product(a1, b1);
    const sumOfB = sumOf(b0, b1);
    carry(body, sumOfB);
    // (a0 + a1)(b0 + b1) - a0 b0 - a1 b1
    const imaginary = yield* product(
      sumOf(a0, a1),
      sumOfB,
      startImaginary.map((pattern, k) => pattern + startReal[k]!),
    );
    for (let k = 0; k < 2 * LIMBS; k++) {
      const [p, q, both] = [real.sums[k]!, other.sums[k]!, imaginary.sums[k]!];
      body.set(both, i64x2.sub(both, i64x2.add(p, q)));
      body.set(p, i64x2.sub(p, q));
    }
    return [yield* reduced(body, real, realOptions), yield* reduced(body, imaginary, imaginaryOptions)];
  }

  /** Limbs but the highest into [-2^50, 2^50], of any that stay below 2^53 with what comes from below. */
  function carry(body: Body, limbs: readonly Local<'v128'>[]): void {
    const high = body.local('v128');
    for (let j = 0; j < LIMBS - 1; j++) {
      body.set(high, f64x2.sub(f64x2.add(limbs[j]!, double(HIGH)), double(HIGH)));
      body.set(limbs[j]!, f64x2.sub(limbs[j]!, high));
      body.set(limbs[j + 1]!, f64x2.madd(high, double(2 ** -LIMB_BITS), limbs[j + 1]!));
    }
  }

  function settle(body: Body, element: Element): Element {
    const limbs = element.map((limb) => body.local('v128', limb));
    const multiple = body.local('v128', multipleOf(limbs[LIMBS - 1]!));
    limbs.forEach((limb, j) => {
      body.set(limb, f64x2.nmadd(multiple, double(modulusLimbs[j]!), limb));
    });
    carry(body, limbs);
    return limbs;
  }

  return {
    name: 'fma',
    modulus,
    limbs: LIMBS,
    limbBits: LIMB_BITS,
    radix: RADIX,
    growth: Number(modulus) / Number(RADIX),
    get beside() {
      return createFmaField(modulus, constants.beside);
    },
    patterns: (integer) => signedLimbs(integer, LIMBS, LIMB_BITS).map((limb) => bitsOf(Number(limb))),
    read: (view, at, stride) =>
      Array.from({ length: LIMBS }, (_, i) => BigInt(view.getFloat64(at + stride * i, true))).reduceRight(
        (high, limb) => high * LIMB + limb,
        0n,
      ),
    add: f64x2.add,
    subtract: f64x2.sub,
    negate: (limb) => v128.xor(limb, bits(1n << 63n)),
    flip: v128.xor,
    signMask: (lanes) => i64x2.shl(lanes, 63),
    isZero: (limb) => f64x2.eq(limb, bits(0n)),
    dot,
    multiplyComplex,
    settle,
    split: (body, words) =>
      limbsOfWords(body, constants, words, LIMBS, LIMB_BITS).map((limb) =>
        body.local('v128', f64x2.sub(v128.or(limb, double(2 ** 52)), double(2 ** 52))),
      ),
    toInteger: (limb) => i64x2.sub(f64x2.add(limb, double(LOW)), bits(bitsOf(LOW))),
    loadInteger: (address, offset) => i64.ofF64(f64.load(address, offset)),
    splat: (limb) => f64x2.splat(i64.toF64(limb)),
  };
}
