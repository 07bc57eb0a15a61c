/**
 * Coordinates of points: elements of Fq, or of Fq2 = Fq[i] / (i^2 + 1) as two of them, in quads (field.ts). The pairs of a
 * quad take turns, so that a processor has something to do while one product waits.
 */
import { type Body, type Func, type I32, type ModuleBuilder, type V128, v128 } from './assembler.ts';
import {
  type Complex,
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

  /** 3 a of a tight coordinate, tight again. */
  const triple = (body: Body, a: readonly V128[]): V128[] => {
    const sum = add(body, add(body, a, a), a);
    return Array.from({ length: degree }, (_, index) => field.settle(body, component(sum, index))).flat();
  };

  type Product = (field: Field, body: Body, ...coordinates: V128[][]) => Steps<Element>;
  const parts = (coordinate: readonly V128[]): Complex => [
    component(coordinate, 0),
    component(coordinate, 1),
  ];
  /** What the parts of a coordinate are less, and that they are 0.51 q. */
  const optionsOf = (minus: readonly V128[] | undefined): [DotOptions, DotOptions] => {
    const [real, imaginary] = minus ? parts(minus) : [];
    return [
      real ? { minus: real, fold: true } : { fold: true },
      imaginary ? { minus: imaginary, fold: true } : { fold: true },
    ];
  };
  /** a * b - minus, of which `a` is tight; `b` is at most loose, and 1.3 q. */
  const product: Product = function* (field, body, a, b, minus) {
    if (degree === 1) return yield* field.dot(body, [[a!, b!]], minus ? { minus, fold: true } : {});
    return (yield* field.multiplyComplex(body, parts(a!), parts(b!), optionsOf(minus))).flat();
  };
  /** a * a - minus for a tight coordinate. */
  const square: Product = function* (field, body, a, minus) {
    if (degree === 1) return yield* field.dot(body, [[a!, a!]], minus ? { minus, fold: true } : {});
    // (a0 + a1 i)^2 = (a0 + a1)(a0 - a1) + 2 a0 a1 i
    const [a0, a1] = parts(a!);
    const [real, imaginary] = optionsOf(minus);
    return [
      ...(yield* field.dot(body, [[add(body, a0, a1), subtract(body, a0, a1)]], real)),
      ...(yield* field.dot(body, [[add(body, a0, a0), a1]], imaginary)),
    ];
  };
  /** multiplyOne(to, a, b) for a pair, the half of a quad that begins there. */
  const multiplyOne = module.func(undefined, ['i32', 'i32', 'i32'], (body, to, a, b) => {
    const [left, right] = [loadHalf(body, limbs, a, 0), loadHalf(body, limbs, b, 0)];
    storeHalf(body, interleave(product(field, body, left, right))[0], to, 0);
  });
  /** `(to, ...operands)` for what `of` makes of quads; `to` may be an operand. */
  function inQuads<P extends readonly 'i32'[]>(params: P, of: Product): Func<P> {
    return module.func(undefined, params, (body, ...addresses) => {
      const [to, ...from] = addresses as unknown as I32[];
      const work = HALVES.map((half) =>
        of(fields[half], body, ...from.map((address) => loadHalf(body, limbs, address, half))),
      );
      storeQuad(body, interleave(work[0]!, work[1]!), to!);
    });
  }
  const multiply = inQuads(['i32', 'i32', 'i32'], product);
  const multiplySubtract = inQuads(['i32', 'i32', 'i32', 'i32'], product);
  const squareSubtract = inQuads(['i32', 'i32', 'i32'], square);

  return { map, subtract, add, triple, square, multiplyOne, multiply, multiplySubtract, squareSubtract };
}

/** Two points of coordinates of so many limbs as x and y in lanes. */
export function loadPoints(body: Body, limbs: number, first: I32, second: I32): { x: V128[]; y: V128[] } {
  const flat: V128[] = [];
  for (let chunk = 0; chunk < limbs; chunk++) {
    const a = body.local('v128', v128.load(first, 16 * chunk));
    const b = body.local('v128', v128.load(second, 16 * chunk));
    flat.push(body.local('v128', v128.lows(a, b)), body.local('v128', v128.highs(a, b)));
  }
  return { x: flat.slice(0, limbs), y: flat.slice(limbs) };
}
/** x and y, as `loadPoints` has them, one after the other. */
export function storePoints(body: Body, flat: readonly V128[], first: I32, second: I32): void {
  for (let chunk = 0; 2 * chunk < flat.length; chunk++) {
    const [a, b] = [flat[2 * chunk]!, flat[2 * chunk + 1]!];
    body.store(v128.lows(a, b), first, 16 * chunk);
    body.store(v128.highs(a, b), second, 16 * chunk);
  }
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
