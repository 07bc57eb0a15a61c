/**
 * Coordinates of points: elements of Fq, or of Fq2 = Fq[i] / (i^2 + 1) as two of them, in quads (field.ts). The pairs of a
 * quad take turns, so that a processor has something to do while one product waits.
 */
import type { Body, Func, I32, ModuleBuilder, V128 } from './assembler.ts';
import {
  type DotOptions,
  type Element,
  type Field,
  HALVES,
  interleave,
  loadElement,
  loadHalf,
  type Steps,
  storeElement,
  storeHalf,
  storeQuad,
} from './field.ts';
import { type Degree, here, type Layout } from './layout.ts';

/** Emits the functions of coordinates, and returns what emits calls of them. */
export function defineCoordinates(module: ModuleBuilder, field: Field, degree: Degree) {
  const limbs = degree * field.limbs;
  const fields = [field, field.beside] as const;
  const component = (coordinate: readonly V128[], index: number): Element =>
    coordinate.slice(index * field.limbs, (index + 1) * field.limbs);

  const map = (body: Body, of: (...limbs: V128[]) => V128, ...operands: (readonly V128[])[]): V128[] =>
    operands[0]!.map((_, i) => body.local('v128', of(...operands.map((operand) => operand[i]!))));
  const subtract = (body: Body, a: readonly V128[], b: readonly V128[]) =>
    map(body, field.subtract as never, a, b);
  const add = (body: Body, a: readonly V128[], b: readonly V128[]) => map(body, field.add as never, a, b);

  type Product = (field: Field, body: Body, ...coordinates: V128[][]) => Steps<Element>[];
  /** a * b - minus, component by component; one of each pair of factors is tight. */
  const product: Product = (field, body, a, b, minus) => {
    if (degree === 1) return [field.dot(body, [[a!, b!]], minus ? { minus, fold: true } : {})];
    const options = (index: number): DotOptions =>
      minus ? { minus: component(minus, index), fold: true } : { fold: true };
    const [a0, a1, b0, b1] = [component(a!, 0), component(a!, 1), component(b!, 0), component(b!, 1)];
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
  };
  /** a * a - minus for a tight coordinate. */
  const square: Product = (field, body, a, minus) => {
    const options = (index: number): DotOptions =>
      minus ? { minus: component(minus, index), fold: true } : { fold: degree === 2 };
    if (degree === 1) return [field.dot(body, [[a!, a!]], options(0))];
    // (a0 + a1 i)^2 = (a0 + a1)(a0 - a1) + 2 a0 a1 i
    const [a0, a1] = [component(a!, 0), component(a!, 1)];
    return [
      field.dot(body, [[add(body, a0, a1), subtract(body, a0, a1)]], options(0)),
      field.dot(body, [[add(body, a0, a0), a1]], options(1)),
    ];
  };
  /** multiplyOne(to, a, b) for a pair, the half of a quad that begins there. */
  const multiplyOne = module.func(undefined, ['i32', 'i32', 'i32'], (body, to, a, b) => {
    const [left, right] = [loadHalf(body, limbs, a, 0), loadHalf(body, limbs, b, 0)];
    storeHalf(body, interleave(...product(field, body, left, right)).flat(), to, 0);
  });
  /** `(to, ...operands)` for what `of` makes of quads; `to` may be an operand. */
  function inQuads<P extends readonly 'i32'[]>(params: P, of: Product): Func<P> {
    return module.func(undefined, params, (body, ...addresses) => {
      const [to, ...from] = addresses as unknown as I32[];
      const halves = HALVES.map((half) =>
        of(fields[half], body, ...from.map((address) => loadHalf(body, limbs, address, half))),
      );
      const results: Element[][] = HALVES.map(() => []);
      for (let index = 0; index < degree; index++) {
        interleave(...halves.map((components) => components[index]!)).forEach((result, half) => {
          results[half]!.push(result);
        });
      }
      storeQuad(body, [results[0]!.flat(), results[1]!.flat()], to!);
    });
  }
  const multiply = inQuads(['i32', 'i32', 'i32'], product);
  const multiplySubtract = inQuads(['i32', 'i32', 'i32', 'i32'], product);
  const squareSubtract = inQuads(['i32', 'i32', 'i32'], square);

  return { map, subtract, add, square, multiplyOne, multiply, multiplySubtract, squareSubtract };
}

/** `(address)`: the inverse, in place, of a quad's first coordinates, whose lanes are equal; of zero, zero. */
export function defineCoordinateInversion(
  module: ModuleBuilder,
  field: Field,
  layout: Layout,
  degree: Degree,
  invert: Func<readonly ['i32', 'i32']>,
): Func<readonly ['i32']> {
  const { limbs } = field;
  /** Two elements side by side, for the inversion. */
  const pair = here(layout.scratch + 11 * layout.quadBytes(2));
  return module.func(undefined, ['i32'], (body, address) => {
    if (degree === 1) {
      storeElement(body, loadHalf(body, limbs, address, 0), pair);
      body.call(invert, pair, pair);
      storeHalf(body, loadElement(body, limbs, pair), address, 0);
      return;
    }
    // 1 / (a + b i) = (a - b i) / (a^2 + b^2)
    const second = layout.quadBytes(1);
    const a = loadHalf(body, limbs, address, 0);
    const b = loadHalf(body, limbs, address, 0, second);
    const squares = [
      [a, a],
      [b, b],
    ] as const;
    const [sum] = interleave(field.dot(body, squares, { fold: true }));
    storeElement(body, sum, pair);
    body.call(invert, pair, pair);
    const inverse = loadElement(body, limbs, pair);
    const negative = b.map((limb) => body.local('v128', field.negate(limb)));
    const [real, imaginary] = interleave(
      field.dot(body, [[a, inverse]], { fold: true }),
      field.dot(body, [[negative, inverse]], { fold: true }),
    );
    storeHalf(body, real, address, 0);
    storeHalf(body, imaginary, address, 0, second);
  });
}
