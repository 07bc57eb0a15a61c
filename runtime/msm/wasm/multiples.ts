/** Multiples of points: rows of consecutive ones that digits pick from, and doublings. */
import { i32 } from './assembler.ts';
import type { GroupParts } from './curve.ts';
import { DIGIT_BYTES } from './digits.ts';
import { advance, plus, times } from './walk.ts';

export function defineMultiples({ module, layout, curve, degree }: GroupParts): void {
  const slotStride = layout.slotBytes(degree);
  const stateAt = layout.pointBytes(degree);
  const name = (of: string) => `g${degree}_${of}`;
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
}
