/**
 * Inversion in a prime field by Bernstein and Yang's divsteps ("Fast constant-time gcd computation and modular inversion", TCHES
 * 2019), in batches of 30 with transition matrices as libsecp256k1's doc/safegcd_implementation.md explains them.
 * The variant with running time that depends on the value.
 */
import {
  type Body,
  type Func,
  type I64,
  i32,
  i64,
  i64x2,
  type Local,
  type ModuleBuilder,
} from './assembler.ts';
import { type Constants, constantElement, type Field, interleave, storeElement } from './field.ts';

const STEPS = 30;
const WORDS = 9;
const WORD = (1n << BigInt(STEPS)) - 1n;
const wordsOf = ({ modulus }: Field): bigint[] =>
  Array.from({ length: WORDS }, (_, i) => (modulus >> BigInt(STEPS * i)) & WORD);

/** `invert(to, from)`: 1/x of the element in lane 0 into both lanes, in Montgomery form, 0.51 q; zero for zero. */
export function defineInversion(
  module: ModuleBuilder,
  constants: Constants,
  field: Field,
): Func<readonly ['i32', 'i32']> {
  return module.func('invert', ['i32', 'i32'], (body, to, from) => {
    const { f, g, d, e } = start(body, field, limbsOf(body, field, from));
    const minusDelta = body.local('i32', i32.const(-1));
    const any = body.local('i64', i64.const(1n));
    body.while(i32.eqz(i64.eqz(any)), () => {
      const matrix = divsteps(body, minusDelta, f[0]!, g[0]!);
      updateCofactors(body, field, d, e, matrix);
      updateValues(body, f, g, matrix);
      body.set(any, g[0]!);
      for (const word of g.slice(1)) body.set(any, i64.or(any, word));
    });
    // d = x^-1 times f, which is 1 or -1.
    const sign = field.signMask(i64x2.splat(i64.shrU(f[WORDS - 1]!, i64.const(63n))));
    const result = splatted(body, field, d).map((limb) => body.local('v128', field.flip(limb, sign)));
    // (x r)^-1 * r^3 / r = x^-1 r
    const factor = constantElement(field, constants, field.radix ** 3n % field.modulus);
    const [inverse] = interleave(field.dot(body, [[result, factor]], { fold: true }));
    storeElement(body, inverse, to);
  });
}

type Word = Local<'i64'>;
interface Matrix {
  readonly u: Word;
  readonly v: Word;
  readonly q: Word;
  readonly r: Word;
}

/** The integer of 0 .. p - 1, in unsigned limbs. */
function limbsOf(
  body: Body,
  { limbs: count, limbBits, modulus, loadInteger }: Field,
  from: Local<'i32'>,
): Word[] {
  const mask = (1n << BigInt(limbBits)) - 1n;
  const limbs = Array.from({ length: count }, (_, i) => body.local('i64', loadInteger(from, 16 * i)));
  // The element is above -p; its limbs' signs are the highest one's only after carries.
  const carry = () => {
    for (let i = 0; i < count - 1; i++) {
      body.set(limbs[i + 1]!, i64.add(limbs[i + 1]!, i64.shrS(limbs[i]!, i64.const(BigInt(limbBits)))));
      body.set(limbs[i]!, i64.and(limbs[i]!, i64.const(mask)));
    }
  };
  carry();
  body.if(i64.ltS(limbs[count - 1]!, i64.const(0n)), () => {
    limbs.forEach((limb, i) => {
      body.set(limb, i64.add(limb, i64.const((modulus >> BigInt(limbBits * i)) & mask)));
    });
    carry();
  });
  return limbs;
}

/** The low `count` bits from bit `at` on of an integer in words of `width` bits; the last one is taken whole. */
function slice(words: readonly Word[], width: number, at: number, count: number): I64 {
  const first = Math.floor(at / width);
  let bits: I64 = i64.shrS(words[first]!, i64.const(BigInt(at % width)));
  let known = width - (at % width);
  for (let next = first + 1; next < words.length && known < count; next++, known += width) {
    bits = i64.or(bits, i64.shl(words[next]!, i64.const(BigInt(known))));
  }
  return bits;
}

function start(body: Body, field: Field, limbs: readonly Word[]) {
  const words = (of: (i: number) => I64) => Array.from({ length: WORDS }, (_, i) => body.local('i64', of(i)));
  return {
    f: words((i) => i64.const(wordsOf(field)[i]!)),
    g: words((i) => i64.and(slice(limbs, field.limbBits, STEPS * i, STEPS), i64.const(WORD))),
    d: words(() => i64.const(0n)),
    e: words((i) => i64.const(i === 0 ? 1n : 0n)),
  };
}

/** The matrix of the next 30 steps, scaled by 2^30, from the low words of f and g. */
function divsteps(body: Body, minusDelta: Local<'i32'>, f0: Word, g0: Word): Matrix {
  const f = body.local('i32', i32.wrap(f0));
  const g = body.local('i32', i32.wrap(g0));
  const [u, v, q, r] = [1, 0, 0, 1].map((entry) => body.local('i32', i32.const(entry))) as [
    Local<'i32'>,
    Local<'i32'>,
    Local<'i32'>,
    Local<'i32'>,
  ];
  const left = body.local('i32', i32.const(STEPS));
  const zeros = body.local('i32');
  const factor = body.local('i32');
  const held = body.local('i32');
  const swap = (a: Local<'i32'>, b: Local<'i32'>) => {
    body.set(held, a);
    body.set(a, b);
    body.set(b, i32.sub(i32.const(0), held));
  };
  const halve = () => {
    // The bit at `left` bounds the count.
    body.set(zeros, i32.ctz(i32.or(g, i32.shl(i32.const(-1), left))));
    body.set(g, i32.shrU(g, zeros));
    body.set(u, i32.shl(u, zeros));
    body.set(v, i32.shl(v, zeros));
    body.set(minusDelta, i32.sub(minusDelta, zeros));
    body.set(left, i32.sub(left, zeros));
  };
  halve();
  body.while(left, () => {
    body.if(i32.ltS(minusDelta, i32.const(0)), () => {
      body.set(minusDelta, i32.sub(i32.const(0), minusDelta));
      swap(f, g);
      swap(u, q);
      swap(v, r);
    });
    // f (f^2 - 2) is -1/f modulo 64: up to six zeros at once, no further than the next swap.
    body.set(held, i32.add(minusDelta, i32.const(1)));
    body.set(held, i32.select(left, held, i32.ltS(left, held)));
    const mask = i32.and(i32.shrU(i32.const(-1), i32.sub(i32.const(32), held)), i32.const(63));
    body.set(factor, i32.and(i32.mul(i32.mul(f, g), i32.sub(i32.mul(f, f), i32.const(2))), mask));
    body.set(g, i32.add(g, i32.mul(f, factor)));
    body.set(q, i32.add(q, i32.mul(u, factor)));
    body.set(r, i32.add(r, i32.mul(v, factor)));
    halve();
  });
  const wide = (entry: Local<'i32'>) => body.local('i64', i64.extendS(entry));
  return { u: wide(u), v: wide(v), q: wide(q), r: wide(r) };
}

const bits = i64.const(BigInt(STEPS));
const low = (sum: I64): I64 => i64.and(sum, i64.const(WORD));

/** (f, g) = matrix (f, g) / 2^30, which is exact. */
function updateValues(body: Body, f: Word[], g: Word[], { u, v, q, r }: Matrix): void {
  const [cf, cg] = [body.local('i64', i64.const(0n)), body.local('i64', i64.const(0n))];
  for (let i = 0; i < WORDS; i++) {
    body.set(cf, i64.add(cf, i64.add(i64.mul(u, f[i]!), i64.mul(v, g[i]!))));
    body.set(cg, i64.add(cg, i64.add(i64.mul(q, f[i]!), i64.mul(r, g[i]!))));
    if (i > 0) {
      body.set(f[i - 1]!, low(cf));
      body.set(g[i - 1]!, low(cg));
    }
    body.set(cf, i64.shrS(cf, bits));
    body.set(cg, i64.shrS(cg, bits));
  }
  body.set(f[WORDS - 1]!, cf);
  body.set(g[WORDS - 1]!, cg);
}

/** (d, e) = matrix (d, e) / 2^30 modulo p; both stay in (-2p, p). */
function updateCofactors(body: Body, field: Field, d: Word[], e: Word[], { u, v, q, r }: Matrix): void {
  const modulus = wordsOf(field);
  const inverse = i64.const(invertWord(field.modulus));
  const sign = (words: Word[]) => body.local('i64', i64.shrS(words[WORDS - 1]!, i64.const(63n)));
  const [signD, signE] = [sign(d), sign(e)];
  const multiples = [
    [u, v],
    [q, r],
  ].map(([a, b]) => {
    const sum = body.local('i64', i64.add(i64.mul(a!, d[0]!), i64.mul(b!, e[0]!)));
    const multiple = body.local('i64', i64.add(i64.and(a!, signD), i64.and(b!, signE)));
    // The multiple of p that makes the low word zero.
    const miss = low(i64.add(i64.mul(inverse, low(sum)), multiple));
    body.set(multiple, i64.sub(multiple, miss));
    body.set(sum, i64.shrS(i64.add(sum, i64.mul(i64.const(modulus[0]!), multiple)), bits));
    return { a: a!, b: b!, sum, multiple };
  });
  for (let i = 1; i < WORDS; i++) {
    for (const { a, b, sum, multiple } of multiples) {
      const products = i64.add(i64.mul(a, d[i]!), i64.mul(b, e[i]!));
      body.set(sum, i64.add(sum, i64.add(products, i64.mul(i64.const(modulus[i]!), multiple))));
    }
    const [first, second] = multiples;
    body.set(d[i - 1]!, low(first!.sum));
    body.set(e[i - 1]!, low(second!.sum));
    for (const { sum } of multiples) body.set(sum, i64.shrS(sum, bits));
  }
  body.set(d[WORDS - 1]!, multiples[0]!.sum);
  body.set(e[WORDS - 1]!, multiples[1]!.sum);
}

/** 1/value modulo 2^30 */
function invertWord(value: bigint): bigint {
  let inverse = 1n;
  for (let known = 1; known < STEPS; known *= 2) inverse = (inverse * (2n - value * inverse)) & WORD;
  return inverse;
}

/** Both lanes: the integer in unsigned limbs, the highest signed. */
function splatted(body: Body, { limbs, limbBits, splat }: Field, words: readonly Word[]) {
  const mask = i64.const((1n << BigInt(limbBits)) - 1n);
  return Array.from({ length: limbs }, (_, i) => {
    const limb = slice(words, STEPS, limbBits * i, limbBits);
    return body.local('v128', splat(i === limbs - 1 ? limb : i64.and(limb, mask)));
  });
}
