/**
 * Number-theoretic transforms over Fr: an inverse one, and one on the odd coset. An array of N values is N/2 pairs, value
 * i beside value i + N/2 in the lanes.
 *
 * The inverse transform takes natural order to bit-reversed order (decimation in frequency), the other one back
 * (decimation in time), so nothing is ever permuted. The first step of the one and the last step of the other work across
 * the lanes, all others on two transforms side by side. The coset's shift is in the twiddles: with g of order 2N the
 * transform of size 2H meets g^(N/2H) w^j = g^((N/2H) (1 + 2 j)), so one table of g's powers is enough for both.
 *
 * Each transform is three sweeps, in pieces that threads can share: `columns` does the steps of large distance for a few
 * neighbouring columns of the array seen as a matrix, `blocks` the rest for contiguous rows, and both stay in a cache.
 */
import { type Body, type Func, type I32, i32, type ModuleBuilder, v128 } from './assembler.ts';
import { type Element, type Field, interleave, loadElement, type Steps, storeElement } from './field.ts';
import { advance, plus, times } from './walk.ts';

export function defineTransforms(module: ModuleBuilder, field: Field): void {
  const { limbs } = field;
  const pairBytes = 16 * limbs;
  const elementBytes = 8 * limbs;
  const load = (body: Body, address: I32) => loadElement(body, limbs, address);
  const both = (
    body: Body,
    of: (a: Element[number], b: Element[number]) => Element[number],
    a: Element,
    b: Element,
  ) => a.map((limb, i) => body.local('v128', of(limb, b[i]!)));
  const add = (body: Body, a: Element, b: Element) => both(body, field.add, a, b);
  const subtract = (body: Body, a: Element, b: Element) => both(body, field.subtract, a, b);
  /** An element of the table, in both lanes. */
  const splat = (body: Body, address: I32): Element =>
    Array.from({ length: limbs }, (_, i) => body.local('v128', v128.load64Splat(address, 8 * i)));
  const shifted = (index: I32, bytes: number) => i32.mul(index, i32.const(bytes));

  type Butterfly = (
    body: Body,
    upper: Element,
    lower: Element,
    twiddle: Element,
  ) => { steps: Steps<Element>; finish: (product: Element) => [Element, Element] };
  /** (a, b) -> (a + b, (b - a) w); of every two in a row the second settles what the sums have grown. */
  const inverse =
    (settles: boolean): Butterfly =>
    (body, upper, lower, twiddle) => {
      const sum = add(body, upper, lower);
      return {
        steps: field.dot(body, [[subtract(body, lower, upper), twiddle]], { fold: settles }),
        finish: (product) => [settles ? field.settle(body, sum) : sum, product],
      };
    };
  /** (a, b) -> (a + w b, a - w b) */
  const forward =
    (settles: boolean): Butterfly =>
    (body, upper, lower, twiddle) => ({
      steps: field.dot(body, [[lower, twiddle]], { fold: settles }),
      finish: (product) => {
        const results: [Element, Element] = [add(body, upper, product), subtract(body, upper, product)];
        return settles ? [field.settle(body, results[0]), field.settle(body, results[1])] : results;
      },
    });

  /** index of the twiddle for butterfly `j` at distance 2^distance, in the table of 2^size + 1 powers */
  const indexOf = {
    inverse: (j: I32, distance: I32, size: I32): I32 =>
      i32.sub(i32.shl(i32.const(1), size), i32.shl(j, i32.sub(size, distance))),
    forward: (j: I32, distance: I32, size: I32): I32 =>
      i32.shl(plus(i32.shl(j, i32.const(1)), 1), i32.sub(i32.sub(size, distance), i32.const(1))),
  };

  /**
   * One step on a part of an array: rows 0 .. 2^rows - 1 of the matrix whose rows are 2^row pairs, of these the 2^width
   * columns from `column` on, at a distance of 2^height rows. At least two butterflies.
   */
  type StepParams = readonly ['i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32'];
  const STEP: StepParams = ['i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32'];
  const defineStep = (direction: 'inverse' | 'forward', settles: boolean): Func<StepParams> =>
    module.func(undefined, STEP, (body, data, row, column, width, rows, height, table, size) => {
      const distance = body.local('i32', i32.add(height, row));
      const far = body.local('i32', shifted(i32.shl(i32.const(1), distance), pairBytes));
      const count = body.local('i32', i32.shl(i32.const(1), i32.sub(i32.add(rows, width), i32.const(1))));
      const index = body.local('i32', i32.const(0));
      const mask = (bits: I32) => i32.sub(i32.shl(i32.const(1), bits), i32.const(1));
      const butterfly = (direction === 'inverse' ? inverse : forward)(settles);
      body.while(i32.ltU(index, count), () => {
        const work = [0, 1].map((odd) => {
          const of = body.local('i32', plus(index, odd));
          const place = body.local('i32', i32.add(column, i32.and(of, mask(width))));
          const line = body.local('i32', i32.shrU(of, width));
          const inside = i32.and(line, mask(height));
          const j = body.local('i32', i32.add(i32.shl(inside, row), place));
          const block = i32.shl(i32.shrU(line, height), i32.add(distance, i32.const(1)));
          const upper = body.local('i32', i32.add(data, shifted(i32.add(block, j), pairBytes)));
          const lower = body.local('i32', i32.add(upper, far));
          const twiddle = body.local(
            'i32',
            i32.add(table, shifted(indexOf[direction](j, distance, size), elementBytes)),
          );
          return {
            upper,
            lower,
            ...butterfly(body, load(body, upper), load(body, lower), splat(body, twiddle)),
          };
        });
        const products = interleave(...work.map(({ steps }) => steps));
        work.forEach(({ upper, lower, finish }, i) => {
          const [first, second] = finish(products[i]!);
          storeElement(body, first, upper);
          storeElement(body, second, lower);
        });
        body.set(index, plus(index, 2));
      });
    });

  /** The step across the lanes, on an even number of neighbouring pairs from `from` on: pairs (i, i + N/2). */
  const defineLanes = (
    direction: 'inverse' | 'forward',
    settles: boolean,
  ): Func<readonly ['i32', 'i32', 'i32', 'i32', 'i32']> =>
    module.func(undefined, ['i32', 'i32', 'i32', 'i32', 'i32'], (body, data, from, pairs, table, size) => {
      const at = body.local('i32', i32.add(data, shifted(from, pairBytes)));
      const butterfly = (direction === 'inverse' ? inverse : forward)(settles);
      const pick = (a: Element, b: Element, half: 'lows' | 'highs') => both(body, v128[half], a, b);
      const distance = body.local('i32', i32.sub(size, i32.const(1)));
      body.while(pairs, () => {
        const [first, second] = [loadElement(body, limbs, at), loadElement(body, limbs, at, pairBytes)];
        const twiddles = [0, 1].map((odd) =>
          splat(
            body,
            body.local(
              'i32',
              i32.add(table, shifted(indexOf[direction](plus(from, odd), distance, size), elementBytes)),
            ),
          ),
        ) as [Element, Element];
        const { steps, finish } = butterfly(
          body,
          pick(first, second, 'lows'),
          pick(first, second, 'highs'),
          pick(...twiddles, 'lows'),
        );
        const [product] = interleave(steps);
        const [low, high] = finish(product);
        storeElement(body, pick(low, high, 'lows'), at);
        storeElement(body, pick(low, high, 'highs'), at, pairBytes);
        advance(body, at, 2 * pairBytes);
        body.set(from, plus(from, 2));
        body.set(pairs, i32.sub(pairs, i32.const(2)));
      });
    });

  const steps = {
    inverse: [defineStep('inverse', false), defineStep('inverse', true)],
    forward: [defineStep('forward', false), defineStep('forward', true)],
  };
  const lanes = { inverse: defineLanes('inverse', false), forward: defineLanes('forward', true) };
  /**
   * Steps are numbered as they follow each other, the lanes' one among them. What does not settle may come only where the
   * elements are settled: at even numbers, and not at the end.
   */
  const step = (
    body: Body,
    direction: 'inverse' | 'forward',
    number: I32,
    last: I32,
    ...args: [I32, I32, I32, I32, I32, I32, I32, I32]
  ) =>
    body.if(
      i32.or(i32.and(number, i32.const(1)), i32.eq(number, last)),
      () => body.call(steps[direction][1]!, ...args),
      () => body.call(steps[direction][0]!, ...args),
    );

  /**
   * columns_inverse(data, row, column, width, rows, table, size): the lanes' step and the first `rows` others, which have
   * distances of 2^row pairs and more, for 2^width columns (at least two).
   */
  module.func(
    'columns_inverse',
    ['i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32'],
    (body, data, row, column, width, rows, table, size) => {
      const height = body.local('i32', rows);
      const last = i32.sub(size, i32.const(1));
      times(body, i32.shl(i32.const(1), rows), (line) => {
        const from = i32.add(i32.shl(line, row), column);
        body.call(lanes.inverse, data, from, i32.shl(i32.const(1), width), table, size);
      });
      body.while(height, () => {
        body.set(height, i32.sub(height, i32.const(1)));
        step(
          body,
          'inverse',
          i32.sub(rows, height),
          last,
          data,
          row,
          column,
          width,
          rows,
          height,
          table,
          size,
        );
      });
    },
  );
  /** blocks(data, block, rows, table, size): the other steps of the inverse, and those of the transform back to there. */
  module.func('blocks', ['i32', 'i32', 'i32', 'i32'], (body, data, rows, table, size) => {
    const zero = i32.const(0);
    const height = body.local('i32', rows);
    const last = body.local('i32', i32.sub(size, i32.const(1)));
    body.while(height, () => {
      body.set(height, i32.sub(height, i32.const(1)));
      step(body, 'inverse', i32.sub(last, height), last, data, zero, zero, zero, rows, height, table, size);
    });
    body.while(i32.ltU(height, rows), () => {
      step(body, 'forward', height, last, data, zero, zero, zero, rows, height, table, size);
      body.set(height, plus(height, 1));
    });
  });
  /** columns_forward(data, row, column, width, rows, table, size): the rest, the lanes' step last. */
  module.func(
    'columns_forward',
    ['i32', 'i32', 'i32', 'i32', 'i32', 'i32', 'i32'],
    (body, data, row, column, width, rows, table, size) => {
      const height = body.local('i32', i32.const(0));
      const last = i32.sub(size, i32.const(1));
      body.while(i32.ltU(height, rows), () => {
        step(
          body,
          'forward',
          i32.add(row, height),
          last,
          data,
          row,
          column,
          width,
          rows,
          height,
          table,
          size,
        );
        body.set(height, plus(height, 1));
      });
      times(body, i32.shl(i32.const(1), rows), (line) => {
        const from = i32.add(i32.shl(line, row), column);
        body.call(lanes.forward, data, from, i32.shl(i32.const(1), width), table, size);
      });
    },
  );
}
