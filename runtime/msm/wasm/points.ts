/**
 * Points on their way in and out: coordinates of 32 bytes in Montgomery form with radix 2^256 (zkey form) to the field's
 * own and back, and whether points from outside are on the curve.
 */
import { power } from '../../../circuits/groth16/field.ts';
import { SCALAR_BYTES } from '../../../protocols/bn254.ts';
import { i32, i64, i64x2, type ModuleBuilder, v128 } from './assembler.ts';
import type { GroupParts } from './curve.ts';
import {
  type Constants,
  canonicalWords,
  constantElement,
  type Element,
  type Field,
  interleave,
  loadWords,
} from './field.ts';
import { advance, plus } from './walk.ts';

/** `convert(raw, pairs, to)`: coordinates in Montgomery form with radix 2^256, 32 bytes each, to ours. */
export function defineConversion(module: ModuleBuilder, constants: Constants, field: Field): void {
  const { limbs } = field;
  const factor = entryFactor(field);
  module.func('convert', ['i32', 'i32', 'i32'], (body, raw, pairs, to) => {
    body.while(pairs, () => {
      const element = field.split(body, loadWords(body, raw, raw, SCALAR_BYTES));
      const [result] = interleave(
        field.dot(body, [[element, constantElement(field, constants, factor)]], { fold: true }),
      );
      result.forEach((limb, i) => {
        body.store(i64x2.extract(limb, 0), to, 8 * i);
        body.store(i64x2.extract(limb, 1), to, 8 * (limbs + i));
      });
      advance(body, raw, 2 * SCALAR_BYTES);
      advance(body, to, 2 * limbs * 8);
      body.set(pairs, i32.sub(pairs, i32.const(1)));
    });
  });
}
/** x 2^256 times this over the radix is x times the radix. */
const entryFactor = ({ radix, modulus }: Field): bigint =>
  (radix ** 2n * power(2n ** 256n, modulus - 2n, modulus)) % modulus;

/** leave(slots, count, to): affine points in zkey form; a slot at infinity is all zero and stays so. */
export function defineLeave({ module, constants, field, layout, degree }: GroupParts): void {
  const slotStride = layout.slotBytes(degree);
  const name = (of: string) => `g${degree}_${of}`;
  module.func(name('leave'), ['i32', 'i32', 'i32'], (body, slots, count, to) => {
    const factor = constantElement(field, constants, 2n ** 256n % field.modulus);
    const coordinateBytes = 8 * field.limbs;
    body.while(count, () => {
      for (let pair = 0; pair < degree; pair++) {
        const [first, second] = [2 * pair * coordinateBytes, (2 * pair + 1) * coordinateBytes];
        const element = Array.from({ length: field.limbs }, (_, i) =>
          body.local(
            'v128',
            v128.lows(v128.load64Splat(slots, first + 8 * i), v128.load64Splat(slots, second + 8 * i)),
          ),
        );
        const [left] = interleave(field.dot(body, [[element, factor]], { fold: true }));
        canonicalWords(body, constants, field, left).forEach((word, i) => {
          body.store(i64x2.extract(word, 0), to, 2 * pair * SCALAR_BYTES + 8 * i);
          body.store(i64x2.extract(word, 1), to, (2 * pair + 1) * SCALAR_BYTES + 8 * i);
        });
      }
      advance(body, slots, slotStride);
      advance(body, to, 2 * degree * SCALAR_BYTES);
      body.set(count, i32.sub(count, i32.const(1)));
    });
  });
}

/** b of the twist, 3 / (9 + i). */
const TWIST = [
  19485874751759354771024239261021720505790618469301721065564631296452457478373n,
  266929791119991161246907387137283842545076965332900288569378510910307636690n,
];

export function defineCurveCheck({ module, constants, field, degree }: GroupParts): void {
  const name = (of: string) => `g${degree}_${of}`;
  /**
   * off_curve(raw, count, from, found): the number of the first of these points in zkey form, counted from `from`, that is
   * not on y^2 = x^3 + b with reduced coordinates, goes to `found`; without one nothing does. Infinity is on the curve.
   */
  const curveConstant = degree === 1 ? [3n] : TWIST;
  module.func(name('off_curve'), ['i32', 'i32', 'i32', 'i32'], (body, raw, count, from, found) => {
    const toOurs = constantElement(field, constants, entryFactor(field));
    const constant = curveConstant.map((b) =>
      constantElement(field, constants, (b * field.radix) % field.modulus),
    );
    const modulusWords = [0n, 64n, 128n, 192n].map((bit) => (field.modulus >> bit) & (2n ** 64n - 1n));
    const bad = body.local('i32');
    const any = body.local('i64');
    const below = body.local('i32');
    body.while(count, () => {
      body.set(bad, i32.const(0));
      body.set(any, i64.const(0n));
      for (let coordinate = 0; coordinate < 2 * degree; coordinate++) {
        // From the lowest word up: below, when this word is, or is the same and all lower ones are.
        body.set(below, i32.const(0));
        modulusWords.forEach((word, i) => {
          const part = body.local('i64', i64.load(raw, SCALAR_BYTES * coordinate + 8 * i));
          body.set(any, i64.or(any, part));
          body.set(
            below,
            i32.or(i64.ltU(part, i64.const(word)), i32.and(i64.eq(part, i64.const(word)), below)),
          );
        });
        body.set(bad, i32.or(bad, i32.eqz(below)));
      }
      body.if(i32.eqz(i64.eqz(any)), () => {
        // x and y side by side, a component at a time.
        const coordinates = Array.from({ length: degree }, (_, i) => {
          const element = field.split(
            body,
            loadWords(body, plus(raw, SCALAR_BYTES * i), raw, SCALAR_BYTES * (degree + i)),
          );
          return interleave(field.dot(body, [[element, toOurs]], { fold: true }))[0];
        });
        const negate = (element: Element) => element.map((limb) => body.local('v128', field.negate(limb)));
        /** a b in Fq or Fq2, less `minus` */
        const product = (
          a: readonly Element[],
          b: readonly Element[],
          minus?: readonly Element[],
        ): Element[] => {
          const options = (i: number) => (minus ? { minus: minus[i]!, fold: true } : { fold: true });
          if (degree === 1) return interleave(field.dot(body, [[a[0]!, b[0]!]], options(0)));
          return interleave(
            field.dot(
              body,
              [
                [a[0]!, b[0]!],
                [negate(a[1]!), b[1]!],
              ],
              options(0),
            ),
            field.dot(
              body,
              [
                [a[0]!, b[1]!],
                [a[1]!, b[0]!],
              ],
              options(1),
            ),
          );
        };
        // Lane 0: x^2; lane 1: y^2. Then lane 0: x^3 + b, beside it y^2 moved over.
        const squares = product(coordinates, coordinates);
        const cubes = product(
          squares,
          coordinates,
          constant.map((element) => negate(element)),
        );
        const swapped = squares.map((element) => element.map((limb) => body.local('v128', v128.swap(limb))));
        const one = constantElement(field, constants, field.radix % field.modulus);
        for (let i = 0; i < degree; i++) {
          const difference = cubes[i]!.map((limb, j) =>
            body.local('v128', field.subtract(limb, swapped[i]![j]!)),
          );
          // A product with one is below p, and of those only zero itself is zero.
          const [reduced] = interleave(field.dot(body, [[difference, one]], { fold: true }));
          for (const limb of reduced) {
            const zero = i64x2.extract(field.isZero(limb), 0);
            body.set(bad, i32.or(bad, i64.eqz(zero)));
          }
        }
      });
      body.if(bad, () => {
        body.store(from, found);
        body.return();
      });
      advance(body, raw, 2 * degree * SCALAR_BYTES);
      body.set(from, plus(from, 1));
      body.set(count, i32.sub(count, i32.const(1)));
    });
  });
}
