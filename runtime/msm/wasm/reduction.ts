/** From buckets to the sum of a multi-scalar multiplication: sums of rows of slots, then Horner's rule over windows. */
import { type I32, i32 } from './assembler.ts';
import type { GroupParts } from './curve.ts';
import { advance, plus, times } from './walk.ts';

export function defineRowSums({ module, layout, curve, degree }: GroupParts): void {
  const slotStride = layout.slotBytes(degree);
  const name = (of: string) => `g${degree}_${of}`;
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
}

export function defineHorner({ module, layout, curve, degree }: GroupParts): void {
  const slotStride = layout.slotBytes(degree);
  const stateAt = layout.pointBytes(degree);
  const name = (of: string) => `g${degree}_${of}`;
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
