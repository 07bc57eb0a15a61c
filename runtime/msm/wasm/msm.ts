/**
 * Multi-scalar multiplication by signed windows: each point is added to its digit's bucket, window after window, in
 * the order of the points, so that what is met at random is a bucket set that fits a core's cache. Points whose
 * bucket waits for an addition already go to an overflow, where those of one bucket are added in pairs: a scalar that
 * occurs often costs a tree of additions, not a chain.
 *
 * Not constant time.
 */
import { Q, R } from '../../../circuits/groth16/field.ts';
import {
  type Body,
  f64x2,
  type I32,
  type I64,
  i32,
  i64,
  i64x2,
  type Local,
  type ModuleBuilder,
  v128,
} from './assembler.ts';
import type { Curve } from './curve.ts';
import { type Constants, dot, interleave, LIMBS, RADIX, toLimbs } from './fma-field.ts';
import {
  type Degree,
  ENTRIES,
  ENTRY_LISTS,
  OVERFLOW,
  POINT_STRIDE,
  SLOT_STRIDE,
  STAMP,
  WAITING,
} from './layout.ts';

const SCALAR_BYTES = 32;

/** for (local = 0; local < count; local++) */
function times(body: Body, count: I32, inner: (index: Local<'i32'>) => void): void {
  const index = body.local('i32', i32.const(0));
  body.while(i32.ltU(index, count), () => {
    inner(index);
    body.set(index, i32.add(index, i32.const(1)));
  });
}
const plus = (address: I32, bytes: number): I32 => i32.add(address, i32.const(bytes));
const advance = (body: Body, pointer: Local<'i32'>, bytes: number) => body.set(pointer, plus(pointer, bytes));

/** `convert(raw, pairs, to)`: coordinates in Montgomery form with radix 2^256, 32 bytes each, to ours. */
export function defineConversion(module: ModuleBuilder, constants: Constants): void {
  // x 2^256 * 2^254 / 2^255 = x 2^255; nearest to zero, so that the result is tight and 0.51 q.
  const halfRadix = toLimbs((RADIX / 2n) % Q);
  module.func('convert', ['i32', 'i32', 'i32'], (body, raw, pairs, to) => {
    body.while(pairs, () => {
      const half = (address: number, of: 'lows' | 'highs') =>
        body.local('v128', v128[of](v128.load(raw, address), v128.load(raw, SCALAR_BYTES + address)));
      const words = [half(0, 'lows'), half(0, 'highs'), half(16, 'lows'), half(16, 'highs')];
      const limbs = Array.from({ length: LIMBS }, (_, i) => {
        const [word, shift] = [Math.floor((51 * i) / 64), (51 * i) % 64];
        let bits = i64x2.shrU(words[word]!, shift);
        if (shift > 13 && word < 3) bits = v128.or(bits, i64x2.shl(words[word + 1]!, 64 - shift));
        const low = v128.and(bits, constants.bits((1n << 51n) - 1n));
        return body.local(
          'v128',
          f64x2.sub(v128.or(low, constants.double(2 ** 52)), constants.double(2 ** 52)),
        );
      });
      const factor = halfRadix.map((limb) => constants.double(Number(limb)));
      const [result] = interleave(dot(body, constants, [[limbs, factor]], { fold: true }));
      result.forEach((limb, i) => {
        body.store(i64x2.extract(limb, 0), to, 8 * i);
        body.store(i64x2.extract(limb, 1), to, 8 * (LIMBS + i));
      });
      advance(body, raw, 2 * SCALAR_BYTES);
      advance(body, to, 2 * LIMBS * 8);
      body.set(pairs, i32.sub(pairs, i32.const(1)));
    });
  });
}

export function defineMsm(module: ModuleBuilder, curve: Curve, degree: Degree): void {
  const pointStride = POINT_STRIDE(degree);
  const slotStride = SLOT_STRIDE(degree);
  const stateAt = pointStride;
  const linkAt = pointStride + 4;
  const rawStride = 64 * degree;
  const name = (of: string) => `g${degree}_${of}`;

  /**
   * recode(scalars, raw, count, bias): reduces each scalar modulo r, takes zero for the point at infinity and adds
   * the 32 bytes at `bias`: half a window for each signed one.
   */
  module.func(name('recode'), ['i32', 'i32', 'i32', 'i32'], (body, scalars, raw, count, bias) => {
    const order = [0n, 64n, 128n, 192n].map((bit) => i64.const((R >> bit) & (2n ** 64n - 1n)));
    const words = order.map(() => body.local('i64'));
    const difference = order.map(() => body.local('i64'));
    const carry = body.local('i64');
    const any = body.local('i64');
    body.while(count, () => {
      words.forEach((word, i) => {
        body.set(word, i64.load(scalars, 8 * i));
      });
      body.set(carry, i64.const(0n));
      // Scalars are below r; 2^256 is less than 6 r.
      body.while(i32.and(i64.eqz(carry), i64.geU(words[3]!, order[3]!)), () => {
        words.forEach((word, i) => {
          body.set(difference[i]!, i64.sub(i64.sub(word, order[i]!), carry));
          const borrow = i32.or(i64.ltU(word, order[i]!), i32.and(i64.eq(word, order[i]!), i32.wrap(carry)));
          body.set(carry, i64.extend(borrow));
        });
        body.if(i64.eqz(carry), () => {
          words.forEach((word, i) => {
            body.set(word, difference[i]!);
          });
        });
      });
      body.set(any, i64.load(raw));
      for (let at = 8; at < rawStride; at += 8) body.set(any, i64.or(any, i64.load(raw, at)));
      body.if(i64.eqz(any), () => {
        for (const word of words) body.set(word, i64.const(0n));
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
        body.store(sum, scalars, 8 * i);
      });
      advance(body, scalars, SCALAR_BYTES);
      advance(body, raw, rawStride);
      body.set(count, i32.sub(count, i32.const(1)));
    });
  });

  /** Adds the overflow's points to their buckets. */
  const merge = module.func(name('merge'), [], (body) => {
    const length = body.local('i32', i32.load(i32.const(WAITING)));
    body.if(i32.eqz(length), () => body.return());
    body.call(curve.flush);
    const list = body.local('i32', i32.const(ENTRY_LISTS));
    const next = body.local('i32', i32.const(ENTRY_LISTS + 4 * OVERFLOW));
    times(body, length, (index) => {
      const entry = i32.add(i32.const(ENTRIES), i32.mul(index, i32.const(slotStride)));
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
    body.store(i32.const(0), i32.const(WAITING));
  });

  const overflow = module.func(undefined, ['i32', 'i32'], (body, bucket, point) => {
    const waiting = body.local('i32', i32.load(i32.const(WAITING)));
    const entry = body.local('i32', i32.add(i32.const(ENTRIES), i32.mul(waiting, i32.const(slotStride))));
    body.call(curve.copy, entry, point);
    body.store(bucket, entry, linkAt);
    body.set(waiting, plus(waiting, 1));
    body.store(waiting, i32.const(WAITING));
    body.if(i32.eq(waiting, i32.const(OVERFLOW)), () => body.call(merge));
  });

  /**
   * accumulate(points, scalars, count, byte, shift, mask, half, buckets): adds each point to the bucket of its digit
   * (bits at byte * 8 + shift, less half), bucket k - 1 for digits k and -k.
   */
  module.func(
    name('accumulate'),
    ['i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32'],
    (body, points, scalars, count, byte, shift, mask, half, buckets) => {
      body.set(scalars, i32.add(scalars, byte));
      body.while(count, () => {
        const digit = body.local('i32', i32.sub(i32.and(i32.shrU(i32.load(scalars), shift), mask), half));
        body.if(digit, () => {
          const negative = body.local('i32', i32.shrS(digit, i32.const(31)));
          const magnitude = i32.sub(i32.xor(digit, negative), negative);
          const bucket = body.local(
            'i32',
            i32.add(buckets, i32.mul(i32.sub(magnitude, i32.const(1)), i32.const(slotStride))),
          );
          const point = body.local('i32', i32.or(points, i32.and(negative, i32.const(1))));
          const state = body.local('i32', i32.load(bucket, stateAt));
          const stamp = body.local('i32', i32.load(i32.const(STAMP)));
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
        advance(body, scalars, SCALAR_BYTES);
        advance(body, points, pointStride);
        body.set(count, i32.sub(count, i32.const(1)));
      });
      body.call(merge);
      body.call(curve.flush);
    },
  );

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
