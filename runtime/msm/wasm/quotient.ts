/**
 * The quotient's way over Fr, but for its transforms (ntt.ts): tables of powers, integers that become elements, rows of A
 * and B, C = A B, and after the transforms A B - C. An array of N values is N/2 pairs, value i beside value i + N/2 in the
 * lanes.
 */
import { SCALAR_BYTES } from '../../../protocols/bn254.ts';
import { type Body, type I32, i32, i64x2, type Local, type ModuleBuilder, v128 } from './assembler.ts';
import {
  type Constants,
  canonicalWords,
  type Field,
  interleave,
  loadElement,
  loadWords,
  storeElement,
} from './field.ts';
import { advance, plus } from './walk.ts';

/** A term of a row: byte offset of the wire's value in the witness, byte offset of the coefficient in their table. */
export const TERM_BYTES = 8;

export function defineRows(module: ModuleBuilder, constants: Constants, field: Field): void {
  const { limbs } = field;
  const pairBytes = 16 * limbs;
  const elementBytes = 8 * limbs;
  const load = (body: Body, address: I32) => loadElement(body, limbs, address);

  /** powers(to, pairs, first, step): to[i] = first * step^i, two at a time; `step` is squared by the caller: two pairs. */
  module.func('powers', ['i32', 'i32', 'i32', 'i32'], (body, to, pairs, first, step) => {
    const power = load(body, first) as Local<'v128'>[];
    const factor = load(body, step);
    body.while(pairs, () => {
      power.forEach((limb, i) => {
        body.store(i64x2.extract(limb, 0), to, 8 * i);
        body.store(i64x2.extract(limb, 1), to, elementBytes + 8 * i);
      });
      const [next] = interleave(field.dot(body, [[power, factor]], { fold: true }));
      next.forEach((limb, i) => {
        body.set(power[i]!, limb);
      });
      advance(body, to, 2 * elementBytes);
      body.set(pairs, i32.sub(pairs, i32.const(1)));
    });
  });

  /** enter(raw, pairs, to, factor): 32-byte integers times a constant element; one after the other, 8 bytes a limb. */
  module.func('enter', ['i32', 'i32', 'i32', 'i32'], (body, raw, pairs, to, factor) => {
    const constant = load(body, factor);
    body.while(pairs, () => {
      const element = field.split(body, loadWords(body, raw, raw, SCALAR_BYTES));
      const [result] = interleave(field.dot(body, [[element, constant]], { fold: true }));
      result.forEach((limb, i) => {
        body.store(i64x2.extract(limb, 0), to, 8 * i);
        body.store(i64x2.extract(limb, 1), to, elementBytes + 8 * i);
      });
      advance(body, raw, 2 * SCALAR_BYTES);
      advance(body, to, 2 * elementBytes);
      body.set(pairs, i32.sub(pairs, i32.const(1)));
    });
  });

  /** The terms of two rows side by side; a row that has fewer takes the zero at the table's start. */
  const rowPair = module.func(
    undefined,
    ['i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32'],
    (body, to, first, firstEnd, second, secondEnd, witness, table) => {
      const sum = Array.from({ length: limbs }, () => body.local('v128', constants.bits(0n)));
      const term = (list: Local<'i32'>, end: I32, offset: number) => {
        const there = body.local('i32', i32.ltU(plus(list, offset), end));
        const read = (at: number) => {
          const word = body.local('i32', i32.const(0));
          body.if(there, () => body.set(word, i32.load(list, offset + at)));
          return word;
        };
        return { wire: i32.add(witness, read(0)), value: i32.add(table, read(4)) };
      };
      body.while(i32.or(i32.ltU(first, firstEnd), i32.ltU(second, secondEnd)), () => {
        const factors = [0, TERM_BYTES].map((offset) => {
          const [low, high] = [term(first, firstEnd, offset), term(second, secondEnd, offset)];
          const [a, b] = [low, high].map(({ value }) => body.local('i32', value)) as [
            Local<'i32'>,
            Local<'i32'>,
          ];
          const value = Array.from({ length: limbs }, (_, i) =>
            body.local('v128', v128.lows(v128.load64Splat(a, 8 * i), v128.load64Splat(b, 8 * i))),
          );
          const wires = [low, high].map(({ wire }) => body.local('i32', wire)) as [
            Local<'i32'>,
            Local<'i32'>,
          ];
          return [field.split(body, loadWords(body, ...wires)), value] as const;
        });
        const [product] = interleave(field.dot(body, factors));
        const settled = field.settle(
          body,
          sum.map((limb, i) => body.local('v128', field.add(limb, product[i]!))),
        );
        sum.forEach((limb, i) => {
          body.set(limb, settled[i]!);
        });
        advance(body, first, 2 * TERM_BYTES);
        advance(body, second, 2 * TERM_BYTES);
      });
      storeElement(body, sum, to);
    },
  );

  /**
   * rows(starts, half, pairs, witness, table, a, b, c): rows i and i + `half` of both matrices times the witness, and the
   * product of the two. `starts` points at row i's entry of a list of addresses, 2 `half` + 1 for A and as many for B.
   */
  module.func(
    'rows',
    ['i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32'],
    (body, starts, half, pairs, witness, table, a, b, c) => {
      const matrix = body.local('i32', plus(i32.shl(half, i32.const(3)), 4));
      const other = body.local('i32');
      body.while(pairs, () => {
        for (const [to, offset] of [
          [a, i32.const(0)],
          [b, matrix],
        ] as const) {
          const start = body.local('i32', i32.add(starts, offset));
          body.set(other, i32.add(start, i32.shl(half, i32.const(2))));
          body.call(
            rowPair,
            to,
            i32.load(start),
            i32.load(start, 4),
            i32.load(other),
            i32.load(other, 4),
            witness,
            table,
          );
        }
        const [product] = interleave(field.dot(body, [[load(body, a), load(body, b)]], { fold: true }));
        storeElement(body, product, c);
        advance(body, starts, 4);
        for (const pointer of [a, b, c]) advance(body, pointer, pairBytes);
        body.set(pairs, i32.sub(pairs, i32.const(1)));
      });
    },
  );
}

export function defineComparison(module: ModuleBuilder, constants: Constants, field: Field): void {
  const { limbs } = field;
  const pairBytes = 16 * limbs;

  /**
   * differ(c, other, pairs, one, flag): leaves bits at `flag` (16 bytes) where an element of c is not one of `other` over the
   * radix; none are taken away. `one` is the integer 1 in both lanes.
   */
  module.func('differ', ['i32', 'i32', 'i32', 'i32', 'i32'], (body, c, other, pairs, one, flag) => {
    const factor = loadElement(body, limbs, one);
    const seen = body.local('v128', v128.load(flag));
    body.while(pairs, () => {
      const terms = [[loadElement(body, limbs, other), factor]] as const;
      const [rest] = interleave(field.dot(body, terms, { minus: loadElement(body, limbs, c), fold: true }));
      for (const word of canonicalWords(body, constants, field, rest)) body.set(seen, v128.or(seen, word));
      for (const pointer of [c, other]) advance(body, pointer, pairBytes);
      body.set(pairs, i32.sub(pairs, i32.const(1)));
    });
    body.store(seen, flag);
  });
}

export function defineJoin(module: ModuleBuilder, constants: Constants, field: Field): void {
  const { limbs } = field;
  const pairBytes = 16 * limbs;

  /**
   * join(a, b, c, pairs, factors, to, half): (a b) f0 + c f1 as integers of 0 .. r - 1, 32 bytes each, of an even number of
   * pairs; the second of each pair goes `half` integers behind the first. `factors` are two pairs.
   */
  module.func(
    'join',
    ['i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32'],
    (body, a, b, c, pairs, factors, to, half) => {
      const f0 = loadElement(body, limbs, factors);
      const f1 = loadElement(body, limbs, factors, pairBytes);
      body.while(pairs, () => {
        const products = interleave(
          ...[0, pairBytes].map((offset) =>
            field.dot(body, [[loadElement(body, limbs, a, offset), loadElement(body, limbs, b, offset)]], {
              fold: true,
            }),
          ),
        );
        const results = interleave(
          ...[0, 1].map((odd) =>
            field.dot(
              body,
              [
                [products[odd]!, f0],
                [loadElement(body, limbs, c, odd * pairBytes), f1],
              ],
              { fold: true },
            ),
          ),
        );
        const far = body.local('i32', i32.add(to, i32.shl(half, i32.const(5))));
        results.forEach((result, odd) => {
          canonicalWords(body, constants, field, result).forEach((word, i) => {
            body.store(i64x2.extract(word, 0), to, odd * SCALAR_BYTES + 8 * i);
            body.store(i64x2.extract(word, 1), far, odd * SCALAR_BYTES + 8 * i);
          });
        });
        for (const pointer of [a, b, c]) advance(body, pointer, 2 * pairBytes);
        advance(body, to, 2 * SCALAR_BYTES);
        body.set(pairs, i32.sub(pairs, i32.const(2)));
      });
    },
  );
}
