/**
 * Coordinates of points: elements of Fq, or of Fq2 = Fq[i] / (i^2 + 1) as two of them, two coordinates side by side in
 * the lanes. Products take turns two at a time, so that a processor has something to do while one waits.
 */
import type { Body, Func, I32, ModuleBuilder, V128 } from './assembler.ts';
import {
  type DotOptions,
  type Element,
  type Field,
  interleave,
  loadElement,
  type Steps,
  storeElement,
} from './field.ts';
import { type Degree, here, type Layout } from './layout.ts';

/** Emits the functions of coordinates, and returns what emits calls of them. */
export function defineCoordinates(module: ModuleBuilder, field: Field, degree: Degree) {
  const limbs = degree * field.limbs;
  // Coordinates in memory: two side by side.
  const load = (body: Body, address: I32, offset = 0): V128[] => loadElement(body, limbs, address, offset);
  const component = (coordinate: readonly V128[], index: number): Element =>
    coordinate.slice(index * field.limbs, (index + 1) * field.limbs);

  const map = (body: Body, of: (...limbs: V128[]) => V128, ...operands: (readonly V128[])[]): V128[] =>
    operands[0]!.map((_, i) => body.local('v128', of(...operands.map((operand) => operand[i]!))));
  const subtract = (body: Body, a: readonly V128[], b: readonly V128[]) =>
    map(body, field.subtract as never, a, b);
  const add = (body: Body, a: readonly V128[], b: readonly V128[]) => map(body, field.add as never, a, b);

  /** a * b - minus for coordinates that are read from memory; one of each pair of factors is tight. */
  function product(body: Body, a: readonly V128[], b: readonly V128[], minus?: readonly V128[]) {
    if (degree === 1) return [field.dot(body, [[a, b]], minus ? { minus, fold: true } : {})];
    const options = (index: number): DotOptions =>
      minus ? { minus: component(minus, index), fold: true } : { fold: true };
    const [a0, a1, b0, b1] = [component(a, 0), component(a, 1), component(b, 0), component(b, 1)];
    const negative = a1.map((limb) => body.local('v128', field.negate(limb)));
    return [
      field.dot(
        body,
        [
          [a0, b0],
          [negative, b1],
        ],
        options(0),
      ),
      field.dot(
        body,
        [
          [a0, b1],
          [a1, b0],
        ],
        options(1),
      ),
    ];
  }
  /** a * a - minus for a tight coordinate. */
  function square(body: Body, a: readonly V128[], minus?: readonly V128[]) {
    const options = (index: number): DotOptions =>
      minus ? { minus: component(minus, index), fold: true } : { fold: degree === 2 };
    if (degree === 1) return [field.dot(body, [[a, a]], options(0))];
    // (a0 + a1 i)^2 = (a0 + a1)(a0 - a1) + 2 a0 a1 i
    const [a0, a1] = [component(a, 0), component(a, 1)];
    return [
      field.dot(body, [[add(body, a0, a1), subtract(body, a0, a1)]], options(0)),
      field.dot(body, [[add(body, a0, a0), a1]], options(1)),
    ];
  }
  const multiplyOne = module.func(undefined, ['i32', 'i32', 'i32'], (body, to, a, b) => {
    storeElement(body, interleave(...product(body, load(body, a), load(body, b))).flat(), to);
  });
  /**
   * `(body, [to, ...operands], [to, ...operands])` for what `of` makes of coordinates in memory. Over Fq two of it take
   * turns; over Fq2 the components of one do already.
   */
  function twoAtOnce(operands: number, of: (body: Body, ...coordinates: V128[][]) => Steps<Element>[]) {
    const params = new Array<'i32'>(1 + operands).fill('i32');
    const made = (body: Body, from: readonly I32[]) =>
      of(body, ...from.map((address) => load(body, address)));
    if (degree === 2) {
      const one = module.func(undefined, params, (body, to, ...from) => {
        storeElement(body, interleave(...made(body, from)).flat(), to!);
      });
      return (body: Body, ...both: [I32[], I32[]]) => {
        for (const each of both) body.call(one, ...each);
      };
    }
    const two = module.func(undefined, [...params, ...params], (body, ...all) => {
      const [first, second] = [all.slice(0, params.length), all.slice(params.length)];
      const results = interleave(...made(body, first.slice(1)), ...made(body, second.slice(1)));
      storeElement(body, results[0]!, first[0]!);
      storeElement(body, results[1]!, second[0]!);
    });
    return (body: Body, ...both: [I32[], I32[]]) => body.call(two, ...both.flat());
  }
  const multiply = twoAtOnce(2, (body, a, b) => product(body, a!, b!));
  const multiplySubtract = twoAtOnce(3, (body, a, b, minus) => product(body, a!, b!, minus!));
  const squareSubtract = twoAtOnce(2, (body, a, minus) => square(body, a!, minus!));

  return { load, map, subtract, add, square, multiplyOne, multiply, multiplySubtract, squareSubtract };
}

/** `(address)`: the inverse, in place, of a coordinate whose lanes are equal; of zero, zero. */
export function defineCoordinateInversion(
  module: ModuleBuilder,
  field: Field,
  layout: Layout,
  degree: Degree,
  invert: Func<readonly ['i32', 'i32']>,
): Func<readonly ['i32']> {
  return module.func(undefined, ['i32'], (body, address) => {
    if (degree === 1) {
      body.call(invert, address, address);
      return;
    }
    // 1 / (a + b i) = (a - b i) / (a^2 + b^2)
    const half = layout.pairBytes(1);
    const norm = here(layout.scratch + 20 * layout.pairBytes(2));
    const a = loadElement(body, field.limbs, address);
    const b = loadElement(body, field.limbs, address, half);
    const squares = [
      [a, a],
      [b, b],
    ] as const;
    const [sum] = interleave(field.dot(body, squares, { fold: true }));
    storeElement(body, sum, norm);
    body.call(invert, norm, norm);
    const inverse = loadElement(body, field.limbs, norm);
    const negative = b.map((limb) => body.local('v128', field.negate(limb)));
    const [real, imaginary] = interleave(
      field.dot(body, [[a, inverse]], { fold: true }),
      field.dot(body, [[negative, inverse]], { fold: true }),
    );
    storeElement(body, real, address);
    storeElement(body, imaginary, address, half);
  });
}
