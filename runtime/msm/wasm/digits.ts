/** Scalars as signed digits, 16 bits each, in planes of a window's digits: what buckets.ts and multiples.ts read. */

import { R } from '../../../circuits/groth16/field.ts';
import { SCALAR_BYTES } from '../../../protocols/bn254.ts';
import { base, type I64, i32, i64, type ModuleBuilder } from './assembler.ts';
import { here, type Layout } from './layout.ts';
import { advance, times } from './walk.ts';

export const DIGIT_BYTES = 2;

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
