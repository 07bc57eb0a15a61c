/**
 * Multi-scalar multiplication by signed windows: each point is added to its digit's bucket, window after window, in
 * the order of the points, so that what is met at random is a bucket set that fits a core's cache. Points whose
 * bucket waits for an addition already go to an overflow, where those of one bucket are added in pairs: a scalar that
 * occurs often costs a tree of additions, not a chain.
 *
 * Not constant time.
 */
import { power, R } from '../../../circuits/groth16/field.ts';
import {
  type Body,
  base,
  type I32,
  type I64,
  i32,
  i64,
  i64x2,
  type Local,
  type ModuleBuilder,
  type V128,
  v128,
} from './assembler.ts';
import type { Curve } from './curve.ts';
import {
  type Constants,
  canonicalWords,
  constantElement,
  type Element,
  type Field,
  interleave,
} from './field.ts';
import { type Degree, here, type Layout, OVERFLOW } from './layout.ts';

const SCALAR_BYTES = 32;
export const DIGIT_BYTES = 2;

/** for (local = 0; local < count; local++) */
export function times(body: Body, count: I32, inner: (index: Local<'i32'>) => void): void {
  const index = body.local('i32', i32.const(0));
  body.while(i32.ltU(index, count), () => {
    inner(index);
    body.set(index, i32.add(index, i32.const(1)));
  });
}
export const plus = (address: I32, bytes: number): I32 => i32.add(address, i32.const(bytes));
export const advance = (body: Body, pointer: Local<'i32'>, bytes: number) =>
  body.set(pointer, plus(pointer, bytes));

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

/** b of the twist, 3 / (9 + i). */
const TWIST = [
  19485874751759354771024239261021720505790618469301721065564631296452457478373n,
  266929791119991161246907387137283842545076965332900288569378510910307636690n,
];

/**
 * recode(scalars, count, bias, width, windows, digits, plane): the signed digits of each scalar, 16 bits a digit and
 * `plane` bytes from a window's first to the next one's. Reduces a scalar modulo r, adds the 32 bytes at `bias` (half a
 * window for each but the highest) and cuts it into windows of which half is taken off again.
 */
export function defineRecoding(module: ModuleBuilder, layout: Layout): void {
  module.func(
    'recode',
    ['i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32'],
    (body, scalars, count, bias, width, windows, digits, plane) => {
      const order = [0n, 64n, 128n, 192n].map((bit) => i64.const((R >> bit) & (2n ** 64n - 1n)));
      const words = order.map(() => body.local('i64'));
      const difference = order.map(() => body.local('i64'));
      const carry = body.local('i64');
      const mask = body.local('i32', i32.sub(i32.shl(i32.const(1), width), i32.const(1)));
      const half = body.local('i32', i32.shl(i32.const(1), i32.sub(width, i32.const(1))));
      const digit = body.local('i32');
      const at = body.local('i32');
      const bit = body.local('i32');
      const top = body.local('i32', i32.sub(windows, i32.const(1)));
      // A digit is read as four bytes, of which some lie behind the scalar: zero.
      body.store(i64.const(0n), base, layout.scratch + SCALAR_BYTES);
      body.while(count, () => {
        words.forEach((word, i) => {
          body.set(word, i64.load(scalars, 8 * i));
        });
        body.set(carry, i64.const(0n));
        // Scalars are below r; 2^256 is less than 6 r.
        body.while(i32.and(i64.eqz(carry), i64.geU(words[3]!, order[3]!)), () => {
          words.forEach((word, i) => {
            body.set(difference[i]!, i64.sub(i64.sub(word, order[i]!), carry));
            const borrow = i32.or(
              i64.ltU(word, order[i]!),
              i32.and(i64.eq(word, order[i]!), i32.wrap(carry)),
            );
            body.set(carry, i64.extend(borrow));
          });
          body.if(i64.eqz(carry), () => {
            words.forEach((word, i) => {
              body.set(word, difference[i]!);
            });
          });
        });
        body.set(carry, i64.const(0n));
        words.forEach((word, i) => {
          // word + carry may wrap only to 0, and then bias + 0 does not.
          const sum = body.local('i64', i64.add(word, carry));
          const wrapped = i64.ltU(sum, word);
          body.set(carry, i64.extend(wrapped));
          const addend: I64 = i64.load(bias, 8 * i);
          body.set(sum, i64.add(sum, addend));
          body.set(carry, i64.or(carry, i64.extend(i64.ltU(sum, addend))));
          body.store(sum, base, layout.scratch + 8 * i);
        });
        body.set(at, digits);
        body.set(bit, i32.const(0));
        times(body, windows, (window) => {
          const bytes = i32.add(base, i32.shrU(bit, i32.const(3)));
          body.set(
            digit,
            i32.and(i32.shrU(i32.load(bytes, layout.scratch), i32.and(bit, i32.const(7))), mask),
          );
          body.if(i32.ne(window, top), () => body.set(digit, i32.sub(digit, half)));
          body.store16(digit, at);
          body.set(at, i32.add(at, plane));
          body.set(bit, i32.add(bit, width));
        });
        advance(body, scalars, SCALAR_BYTES);
        advance(body, digits, DIGIT_BYTES);
        body.set(count, i32.sub(count, i32.const(1)));
      });
      body.clear(here(layout.scratch), i32.const(SCALAR_BYTES));
    },
  );
}

export function defineMsm(
  module: ModuleBuilder,
  constants: Constants,
  field: Field,
  layout: Layout,
  curve: Curve,
  degree: Degree,
): void {
  const pointStride = layout.pointBytes(degree);
  const slotStride = layout.slotBytes(degree);
  const stateAt = pointStride;
  const linkAt = pointStride + 4;
  const name = (of: string) => `g${degree}_${of}`;

  /** reset(): nothing waits; the fillers are (0, 0) and (1, 1), not of the curve. */
  module.func(name('reset'), [], (body) => {
    body.clear(base, i32.const(layout.threadBytes));
    body.store(i32.const(2), base, layout.stamp);
    const one = i64x2.extract(constantElement(field, constants, 1n)[0]!, 0);
    for (const coordinate of [0, pointStride / 2]) {
      body.store(one, base, layout.fillers + slotStride + coordinate);
    }
  });

  /** Adds the overflow's points to their buckets. */
  const merge = module.func(name('merge'), [], (body) => {
    const length = body.local('i32', i32.load(base, layout.waiting));
    body.if(i32.eqz(length), () => body.return());
    body.call(curve.flush);
    const list = body.local('i32', here(layout.entryLists));
    const next = body.local('i32', here(layout.entryLists + 4 * OVERFLOW));
    times(body, length, (index) => {
      const entry = i32.add(here(layout.entries), i32.mul(index, i32.const(slotStride)));
      body.store(entry, i32.add(list, i32.shl(index, i32.const(2))));
    });
    const entry = body.local('i32');
    const bucket = body.local('i32');
    const first = body.local('i32');
    const found = body.local('i32');
    const each = (inner: () => void) =>
      times(body, length, (index) => {
        body.set(entry, i32.load(i32.add(list, i32.shl(index, i32.const(2)))));
        body.set(bucket, i32.load(entry, linkAt));
        inner();
      });
    const keep = (address: I32) => {
      body.store(address, i32.add(next, i32.shl(found, i32.const(2))));
      body.set(found, i32.add(found, i32.const(1)));
    };
    const paired = body.local('i32', i32.const(1));
    body.while(paired, () => {
      body.set(paired, i32.const(0));
      body.set(found, i32.const(0));
      each(() => {
        body.if(i32.load(entry, stateAt), () => {
          body.set(first, i32.load(bucket, linkAt));
          body.if(
            first,
            () => {
              body.call(curve.push, first, entry);
              body.store(i32.const(0), bucket, linkAt);
              keep(first);
              body.set(paired, i32.const(1));
            },
            () => body.store(entry, bucket, linkAt),
          );
        });
      });
      each(() => {
        body.if(i32.eq(i32.load(bucket, linkAt), entry), () => {
          body.store(i32.const(0), bucket, linkAt);
          keep(entry);
        });
      });
      body.call(curve.flush);
      body.set(length, found);
      body.set(first, list);
      body.set(list, next);
      body.set(next, first);
    });
    each(() => body.call(curve.addTo, bucket, entry));
    body.call(curve.flush);
    body.store(i32.const(0), base, layout.waiting);
  });

  const overflow = module.func(undefined, ['i32', 'i32'], (body, bucket, point) => {
    const waiting = body.local('i32', i32.load(base, layout.waiting));
    const entry = body.local('i32', i32.add(here(layout.entries), i32.mul(waiting, i32.const(slotStride))));
    body.call(curve.copy, entry, point);
    body.store(bucket, entry, linkAt);
    body.set(waiting, plus(waiting, 1));
    body.store(waiting, base, layout.waiting);
    body.if(i32.eq(waiting, i32.const(OVERFLOW)), () => body.call(merge));
  });

  /**
   * accumulate(points, digits, count, buckets): adds each point to the bucket of its digit, bucket k - 1 for the digits
   * k and -k. Call `finish` after the last.
   */
  module.func(name('accumulate'), ['i32', 'i32', 'i32', 'i32'], (body, points, digits, count, buckets) => {
    const digit = body.local('i32');
    const negative = body.local('i32');
    const bucket = body.local('i32');
    const point = body.local('i32');
    const state = body.local('i32');
    const stamp = body.local('i32');
    body.while(count, () => {
      body.set(digit, i32.load16S(digits));
      body.if(digit, () => {
        body.if(i32.eqz(curve.isInfinity(points)), () => {
          body.set(negative, i32.shrS(digit, i32.const(31)));
          const magnitude = i32.sub(i32.xor(digit, negative), negative);
          body.set(
            bucket,
            i32.add(buckets, i32.mul(i32.sub(magnitude, i32.const(1)), i32.const(slotStride))),
          );
          body.set(point, i32.or(points, i32.and(negative, i32.const(1))));
          body.set(state, i32.load(bucket, stateAt));
          body.set(stamp, i32.load(base, layout.stamp));
          body.if(
            i32.eqz(state),
            () => body.call(curve.copy, bucket, point),
            () =>
              body.if(
                i32.eq(state, stamp),
                () => body.call(overflow, bucket, point),
                () => {
                  body.store(stamp, bucket, stateAt);
                  body.call(curve.push, bucket, point);
                },
              ),
          );
        });
      });
      advance(body, digits, DIGIT_BYTES);
      advance(body, points, pointStride);
      body.set(count, i32.sub(count, i32.const(1)));
    });
  });
  /** finish(): no addition waits any more. */
  module.func(name('finish'), [], (body) => {
    body.call(merge);
    body.call(curve.flush);
  });

  /**
   * runningSums(items, stride, length, last, sums, count): for `count` rows of `length` slots, `stride` bytes from
   * slot to slot, the plain sum of the items last .. length - 1 and that of (index - last + 1) * item. Results are
   * pairs of slots, plain sum first, which are infinity before.
   */
  module.func(
    name('running_sums'),
    ['i32', 'i32', 'i32', 'i32', 'i32', 'i32'],
    (body, items, stride, length, last, sums, count) => {
      const index = body.local('i32', length);
      const row = body.local('i32', i32.mul(length, stride));
      const plain = body.local('i32');
      const item = body.local('i32');
      body.while(i32.geS(index, last), () => {
        body.set(plain, sums);
        body.set(item, i32.add(items, i32.mul(i32.sub(index, i32.const(1)), stride)));
        times(body, count, () => {
          // Before the plain sum grows; both read what the batch before left.
          body.call(curve.addTo, plus(plain, slotStride), plain);
          body.if(i32.ne(index, last), () => body.call(curve.addTo, plain, item));
          advance(body, plain, 2 * slotStride);
          body.set(item, i32.add(item, row));
        });
        body.call(curve.flush);
        body.set(index, i32.sub(index, i32.const(1)));
      });
    },
  );
  /** addAll(items, stride, length, sums, count): for `count` rows of `length` slots, their plain sums. */
  module.func(
    name('add_all'),
    ['i32', 'i32', 'i32', 'i32', 'i32'],
    (body, items, stride, length, sums, count) => {
      const sum = body.local('i32');
      const item = body.local('i32');
      times(body, length, (index) => {
        body.set(sum, sums);
        body.set(item, i32.add(items, i32.mul(index, stride)));
        times(body, count, () => {
          body.call(curve.addTo, sum, item);
          advance(body, sum, slotStride);
          body.set(item, i32.add(item, i32.mul(length, stride)));
        });
        body.call(curve.flush);
      });
    },
  );

  /**
   * consecutive(slots, rows, length): each row of `length` slots, of which the first is given, becomes its first point's
   * multiples 1, 2, 3 and so on.
   */
  module.func(name('consecutive'), ['i32', 'i32', 'i32'], (body, slots, rows, length) => {
    const row = body.local('i32', i32.mul(length, i32.const(slotStride)));
    const index = body.local('i32', i32.const(1));
    const first = body.local('i32');
    const next = body.local('i32');
    body.while(i32.ltU(index, length), () => {
      body.set(first, slots);
      times(body, rows, () => {
        body.set(next, i32.add(first, i32.mul(index, i32.const(slotStride))));
        body.call(curve.copy, next, plus(next, -slotStride));
        body.call(curve.push, next, first);
        body.set(first, i32.add(first, row));
      });
      body.call(curve.flush);
      body.set(index, plus(index, 1));
    });
  });
  /** add_multiples(slots, digits, count, table): adds to each slot its digit's multiple out of a row of `consecutive`. */
  module.func(name('add_multiples'), ['i32', 'i32', 'i32', 'i32'], (body, slots, digits, count, table) => {
    const digit = body.local('i32');
    const negative = body.local('i32');
    const source = body.local('i32');
    body.while(count, () => {
      body.set(digit, i32.load16S(digits));
      body.if(digit, () => {
        body.set(negative, i32.shrS(digit, i32.const(31)));
        const magnitude = i32.sub(i32.xor(digit, negative), negative);
        body.set(source, i32.add(table, i32.mul(i32.sub(magnitude, i32.const(1)), i32.const(slotStride))));
        body.set(source, i32.or(source, i32.and(negative, i32.const(1))));
        body.if(
          i32.load(slots, stateAt),
          () => body.call(curve.push, slots, source),
          () => body.call(curve.copy, slots, source),
        );
      });
      advance(body, digits, DIGIT_BYTES);
      advance(body, slots, slotStride);
      body.set(count, i32.sub(count, i32.const(1)));
    });
    body.call(curve.flush);
  });
  /** powers_of_two(from, to, count, doublings): 2^doublings times each point. */
  module.func(name('powers_of_two'), ['i32', 'i32', 'i32', 'i32'], (body, from, to, count, doublings) => {
    body.while(doublings, () => {
      body.call(curve.double, from, to, count);
      body.set(from, to);
      body.set(doublings, i32.sub(doublings, i32.const(1)));
    });
  });
  /** leave(slots, count, to): affine points in zkey form; a slot at infinity is all zero and stays so. */
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

  /**
   * horner(weighted, plain, windows, bits, inner, sum): the sum over windows w of 2^(bits w) (plain + 2^inner
   * weighted). `weighted` has every other slot; `sum` is infinity before, with a free slot after it.
   */
  module.func(
    name('horner'),
    ['i32', 'i32', 'i32', 'i32', 'i32', 'i32'],
    (body, weighted, plain, windows, bits, inner, sum) => {
      const twice = body.local('i32', plus(sum, slotStride));
      const double = (count: I32) =>
        times(body, count, () => {
          body.if(i32.load(sum, stateAt), () => {
            body.call(curve.copy, twice, sum);
            body.call(curve.addTo, sum, twice);
            body.call(curve.flush);
          });
        });
      body.while(windows, () => {
        body.set(windows, i32.sub(windows, i32.const(1)));
        double(i32.sub(bits, inner));
        body.call(curve.addTo, sum, i32.add(weighted, i32.mul(windows, i32.const(2 * slotStride))));
        body.call(curve.flush);
        double(inner);
        body.call(curve.addTo, sum, i32.add(plain, i32.mul(windows, i32.const(slotStride))));
        body.call(curve.flush);
      });
    },
  );
}
