/**
 * Multi-scalar multiplication by signed windows: each point is added to its digit's bucket, window after window, in
 * the order of the points, so that what is met at random is a bucket set that fits a core's cache. Points whose
 * bucket waits for an addition already go to an overflow, where those of one bucket are added in pairs: a scalar that
 * occurs often costs a tree of additions, not a chain.
 *
 * Not constant time.
 */
import { type Body, base, type I32, i32, i64x2, type Local } from './assembler.ts';
import type { GroupParts } from './curve.ts';
import { DIGIT_BYTES } from './digits.ts';
import { constantElement } from './field.ts';
import { here, OVERFLOW } from './layout.ts';
import { advance, plus, times } from './walk.ts';

type Address = Local<'i32'>;
/** Of a number that says which digit is a point's. */
const PLACE_BYTES = 4;

export function defineBuckets({ module, constants, field, layout, curve, degree }: GroupParts): void {
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
   * k and -k; none is at infinity. accumulate_at(points, digits, count, buckets, places): the digit of a point is the one
   * that its place counts. Call `finish` after the last.
   */
  const accumulate = (
    body: Body,
    points: Address,
    digits: Address,
    count: Address,
    buckets: I32,
    places?: Address,
  ) => {
    const digit = body.local('i32');
    const negative = body.local('i32');
    const bucket = body.local('i32');
    const point = body.local('i32');
    const state = body.local('i32');
    const stamp = body.local('i32');
    body.while(count, () => {
      const at = places ? i32.add(digits, i32.shl(i32.load(places), i32.const(1))) : digits;
      body.set(digit, i32.load16S(at));
      body.if(digit, () => {
        body.set(negative, i32.shrS(digit, i32.const(31)));
        const magnitude = i32.sub(i32.xor(digit, negative), negative);
        body.set(bucket, i32.add(buckets, i32.mul(i32.sub(magnitude, i32.const(1)), i32.const(slotStride))));
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
      if (places) advance(body, places, PLACE_BYTES);
      else advance(body, digits, DIGIT_BYTES);
      advance(body, points, pointStride);
      body.set(count, i32.sub(count, i32.const(1)));
    });
  };
  module.func(name('accumulate'), ['i32', 'i32', 'i32', 'i32'], accumulate);
  module.func(name('accumulate_at'), ['i32', 'i32', 'i32', 'i32', 'i32'], accumulate);
  /** finish(): no addition waits any more. */
  module.func(name('finish'), [], (body) => {
    body.call(merge);
    body.call(curve.flush);
  });
}
