/**
 * Affine additions in batches that share one inversion (Montgomery's trick), on points of y^2 = x^3 + b over Fq or
 * Fq2: two additions side by side in the lanes, two such pairs in turns. Every case is handled: equal and opposite
 * summands are found when the product of all differences is zero, and only then looked for.
 *
 * The sum of (x1, y1) and (x2, y2) is x3 = l^2 - x1 - x2, y3 = l (x1 - x3) - y1 with l = (y2 - y1) / (x2 - x1), or
 * 3 x1^2 / 2 y1 for equal points. Coordinates in memory are 0.51 q and tight (fma-field.ts).
 */
import {
  type Body,
  base,
  call,
  type Func,
  type I32,
  type I64,
  i32,
  i64,
  i64x2,
  type Local,
  type ModuleBuilder,
  type V128,
  v128,
} from './assembler.ts';
import { defineCoordinateInversion, defineCoordinates } from './coordinate.ts';
import { type Constants, constantElement, type Field, interleave, storeElement } from './field.ts';
import { BATCH, type Degree, here, ITEM_BYTES, type Layout } from './layout.ts';

export interface Curve {
  /** Runs all waiting additions. */
  readonly flush: Func<readonly []>;
  /** Lets `target += source` wait; both are finite, target waits for no other addition. */
  readonly push: Func<readonly ['i32', 'i32']>;
  /** target += source for slots of which each may be infinity; target waits for no other addition. */
  readonly addTo: Func<readonly ['i32', 'i32']>;
  /** `double(from, to, count)`: twice each point; `to` may be `from`. Nothing else may wait. */
  readonly double: Func<readonly ['i32', 'i32', 'i32']>;
  /** Whether a point's y is zero, which it is for infinity alone: the group's order is odd. */
  isInfinity(point: I32): I32;
  /** slot = point (lowest bit: negated). */
  readonly copy: Func<readonly ['i32', 'i32']>;
}

/** What the functions of one group are emitted with. */
export interface GroupParts {
  readonly module: ModuleBuilder;
  readonly constants: Constants;
  /** of coordinates, or of their components */
  readonly field: Field;
  readonly layout: Layout;
  readonly curve: Curve;
  readonly degree: Degree;
}

export function defineCurve(
  module: ModuleBuilder,
  constants: Constants,
  field: Field,
  layout: Layout,
  inversion: Func<readonly ['i32', 'i32']>,
  degree: Degree,
): Curve {
  const size = layout.pairBytes(degree);
  const recordBytes = layout.recordBytes(degree);
  const slotBytes = layout.slotBytes(degree);
  const limbs = degree * field.limbs;
  const stateAt = layout.pointBytes(degree);
  const at = (index: number): I32 => here(layout.scratch + index * size);
  const store = storeElement;

  const { load, map, subtract, add, square, multiplyOne, multiply, multiplySubtract, squareSubtract } =
    defineCoordinates(module, field, degree);

  /** Two points as x and y in lanes. */
  function loadPoints(body: Body, first: I32, second: I32): { x: V128[]; y: V128[] } {
    const flat: V128[] = [];
    for (let chunk = 0; chunk < limbs; chunk++) {
      const a = body.local('v128', v128.load(first, 16 * chunk));
      const b = body.local('v128', v128.load(second, 16 * chunk));
      flat.push(body.local('v128', v128.lows(a, b)), body.local('v128', v128.highs(a, b)));
    }
    return { x: flat.slice(0, limbs), y: flat.slice(limbs) };
  }
  function storePoints(body: Body, flat: readonly V128[], first: I32, second: I32): void {
    for (let chunk = 0; chunk < limbs; chunk++) {
      const [a, b] = [flat[2 * chunk]!, flat[2 * chunk + 1]!];
      body.store(v128.lows(a, b), first, 16 * chunk);
      body.store(v128.highs(a, b), second, 16 * chunk);
    }
  }
  // Offsets within a record.
  const [DX, DY, PRODUCT, SUM] = [0, size, 2 * size, 3 * size];

  const gather = module.func(undefined, ['i32'], (body, pairs) => {
    const item = body.local('i32', here(layout.items));
    const record = body.local('i32', here(layout.records));
    body.while(pairs, () => {
      const sign = body.local('v128', field.signMask(v128.load32x2U(item, 8)));
      const source = (offset: number) => body.local('i32', i32.and(i32.load(item, offset), i32.const(-2)));
      const one = loadPoints(
        body,
        body.local('i32', i32.load(item, 0)),
        body.local('i32', i32.load(item, 4)),
      );
      const two = loadPoints(body, source(8), source(12));
      store(body, subtract(body, two.x, one.x), record, DX);
      store(body, add(body, two.x, one.x), record, SUM);
      const y = map(body, (limb) => field.flip(limb, sign), two.y);
      store(body, subtract(body, y, one.y), record, DY);
      body.set(item, i32.add(item, i32.const(ITEM_BYTES)));
      body.set(record, i32.add(record, i32.const(recordBytes)));
      body.set(pairs, i32.sub(pairs, i32.const(1)));
    });
  });

  /** As `gather` for a summand and itself: l = 3 x^2 / 2 y. */
  const gatherDoubles = module.func(undefined, ['i32'], (body, pairs) => {
    const item = body.local('i32', here(layout.items));
    const record = body.local('i32', here(layout.records));
    body.while(pairs, () => {
      const { x, y } = loadPoints(
        body,
        body.local('i32', i32.load(item, 0)),
        body.local('i32', i32.load(item, 4)),
      );
      store(body, add(body, y, y), record, DX);
      store(body, add(body, x, x), record, SUM);
      const squared = interleave(...square(body, x)).flat();
      store(body, add(body, add(body, squared, squared), squared), record, DY);
      body.set(item, i32.add(item, i32.const(ITEM_BYTES)));
      body.set(record, i32.add(record, i32.const(recordBytes)));
      body.set(pairs, i32.sub(pairs, i32.const(1)));
    });
  });

  // Two chains of products, of the even and of the odd pairs.
  const EVEN = at(0);
  const ODD = at(1);
  const setOne = (body: Body, address: I32) => {
    const one = constantElement(field, constants, field.radix % field.modulus);
    for (let i = 0; i < limbs; i++) body.store(one[i] ?? constants.bits(0n), address, 16 * i);
  };
  const offset = (address: I32, bytes: number): I32 => i32.add(address, i32.const(bytes));
  const prefix = module.func(undefined, ['i32'], (body, pairs) => {
    const record = body.local('i32', here(layout.records));
    setOne(body, EVEN);
    setOne(body, ODD);
    body.while(pairs, () => {
      const next = body.local('i32', offset(record, recordBytes));
      for (let i = 0; i < limbs; i++) {
        body.store(v128.load(EVEN, 16 * i), record, PRODUCT + 16 * i);
        body.store(v128.load(ODD, 16 * i), next, PRODUCT + 16 * i);
      }
      multiply(body, [EVEN, EVEN, offset(record, DX)], [ODD, ODD, offset(next, DX)]);
      body.set(record, i32.add(record, i32.const(2 * recordBytes)));
      body.set(pairs, i32.sub(pairs, i32.const(2)));
    });
  });

  /** All ones in the lanes in which each of these limbs is zero. */
  const zeroLanes = (body: Body, tight: readonly V128[]): Local<'v128'> => {
    const mask = body.local('v128', field.isZero(tight[0]!));
    for (const limb of tight.slice(1)) body.set(mask, v128.and(mask, field.isZero(limb)));
    return mask;
  };

  /** Replaces what has no inverse: equal summands by their tangent, opposite ones by nothing. */
  const patch = module.func(undefined, ['i32'], (body, pairs) => {
    const item = body.local('i32', here(layout.items));
    const record = body.local('i32', here(layout.records));
    body.while(pairs, () => {
      // A product with one is below q, and of those only zero itself is zero.
      setOne(body, at(2));
      body.call(multiplyOne, at(3), offset(record, DX), at(2));
      const sameX = zeroLanes(body, load(body, at(3)));
      body.if(v128.anyTrue(sameX), () => {
        body.call(multiplyOne, at(3), offset(record, DY), at(2));
        const equal = body.local('v128', v128.and(sameX, zeroLanes(body, load(body, at(3)))));
        const opposite = body.local('v128', v128.xor(sameX, equal));
        const { x, y } = loadPoints(
          body,
          body.local('i32', i32.load(item, 0)),
          body.local('i32', i32.load(item, 4)),
        );
        store(body, x, at(4));
        body.call(multiplyOne, at(3), at(4), at(4));
        for (let i = 0; i < limbs; i++) {
          const square = body.local('v128', v128.load(at(3), 16 * i));
          const tangent = field.add(field.add(square, square), square);
          body.store(v128.select(tangent, v128.load(record, DY + 16 * i), equal), record, DY + 16 * i);
          const dx = v128.select(field.add(y[i]!, y[i]!), v128.load(record, DX + 16 * i), equal);
          body.store(v128.select(v128.load(at(2), 16 * i), dx, opposite), record, DX + 16 * i);
        }
        for (const lane of [0, 1] as const) {
          body.if(i32.wrap(i64x2.extract(opposite, lane)), () => {
            body.store(i32.const(0), i32.load(item, 4 * lane), stateAt);
            body.store(here(layout.trash), item, 16 + 4 * lane);
          });
        }
      });
      body.set(item, offset(item, ITEM_BYTES));
      body.set(record, offset(record, recordBytes));
      body.set(pairs, i32.sub(pairs, i32.const(1)));
    });
  });

  // at(2): product of both chains, at(3): with its lanes swapped, at(4): product of all four.
  const [CHAINS, SWAPPED, ALL] = [at(2), at(3), at(4)];
  /** The product of all differences. Answers whether it is zero. */
  const total = module.func(
    undefined,
    [],
    (body) => {
      body.call(multiplyOne, CHAINS, EVEN, ODD);
      for (let i = 0; i < limbs; i++) body.store(v128.swap(v128.load(CHAINS, 16 * i)), SWAPPED, 16 * i);
      body.call(multiplyOne, ALL, CHAINS, SWAPPED);
      body.result(v128.anyTrue(zeroLanes(body, load(body, ALL))));
    },
    'i32',
  );

  const invert = defineCoordinateInversion(module, field, layout, degree, inversion);

  const scatter = module.func(undefined, ['i32'], (body, pairs) => {
    const record = body.local('i32', i32.add(here(layout.records), i32.mul(pairs, i32.const(recordBytes))));
    const item = body.local('i32', i32.add(here(layout.items), i32.mul(pairs, i32.const(ITEM_BYTES))));
    // The inverses of both chains from that of their product.
    body.call(multiplyOne, at(5), ALL, SWAPPED);
    for (let i = 0; i < limbs; i++) body.store(v128.load(EVEN, 16 * i), at(6), 16 * i);
    multiply(body, [EVEN, at(5), ODD], [ODD, at(5), at(6)]);
    body.while(pairs, () => {
      body.set(pairs, i32.sub(pairs, i32.const(2)));
      body.set(record, i32.sub(record, i32.const(2 * recordBytes)));
      body.set(item, i32.sub(item, i32.const(2 * ITEM_BYTES)));
      const next = body.local('i32', offset(record, recordBytes));
      multiply(body, [at(7), EVEN, offset(record, PRODUCT)], [at(8), ODD, offset(next, PRODUCT)]);
      multiply(body, [EVEN, EVEN, offset(record, DX)], [ODD, ODD, offset(next, DX)]);
      multiply(body, [at(7), offset(record, DY), at(7)], [at(8), offset(next, DY), at(8)]);
      squareSubtract(body, [at(9), at(7), offset(record, SUM)], [at(10), at(8), offset(next, SUM)]);
      [9, 10].forEach((x3, odd) => {
        const target = (lane: number) => body.local('i32', i32.load(item, odd * ITEM_BYTES + 4 * lane));
        const { x, y } = loadPoints(body, target(0), target(1));
        for (let i = 0; i < limbs; i++)
          body.store(field.subtract(x[i]!, v128.load(at(x3), 16 * i)), at(11 + odd), 16 * i);
        store(body, y, at(13 + odd));
      });
      multiplySubtract(body, [at(15), at(7), at(11), at(13)], [at(16), at(8), at(12), at(14)]);
      [0, 1].forEach((odd) => {
        const result = (lane: number) => body.local('i32', i32.load(item, odd * ITEM_BYTES + 16 + 4 * lane));
        const point = [...load(body, at(9 + odd)), ...load(body, at(15 + odd))];
        storePoints(body, point, result(0), result(1));
      });
    });
  });

  const word = (offset: number): I32 => i32.load(base, offset);
  const setWord = (body: Body, offset: number, to: I32) => body.store(to, base, offset);

  const itemAt = (index: I32): I32 =>
    i32.add(
      here(layout.items),
      i32.add(
        i32.shl(i32.shrU(index, i32.const(1)), i32.const(5)),
        i32.shl(i32.and(index, i32.const(1)), i32.const(2)),
      ),
    );
  /** Runs the waiting additions; `second` is the filler's other summand. */
  const defineFlush = (prepare: Func<readonly ['i32']>, first: number, second: number) =>
    module.func(undefined, [], (body) => {
      const count = body.local('i32', word(layout.pending));
      body.if(i32.eqz(count), () => body.return());
      body.while(i32.and(count, i32.const(3)), () => {
        const item = body.local('i32', itemAt(count));
        body.store(here(first), item);
        body.store(here(second), item, 8);
        body.store(here(layout.trash), item, 16);
        body.set(count, i32.add(count, i32.const(1)));
      });
      const pairs = body.local('i32', i32.shrU(count, i32.const(1)));
      body.call(prepare, pairs);
      body.call(prefix, pairs);
      const zero = body.local('i32', call(total));
      body.if(zero, () => {
        body.call(patch, pairs);
        body.call(prefix, pairs);
        // Zero again only for points that are not on the curve, whose sum may be anything.
        body.set(zero, call(total));
      });
      body.call(invert, ALL);
      body.call(scatter, pairs);
      setWord(body, layout.pending, i32.const(0));
      setWord(body, layout.stamp, i32.add(word(layout.stamp), i32.const(1)));
    });
  const filler = layout.fillers + slotBytes;
  const flush = defineFlush(gather, layout.fillers, filler);
  const flushDoubles = defineFlush(gatherDoubles, filler, filler);

  const push = module.func(undefined, ['i32', 'i32'], (body, target, source) => {
    const count = body.local('i32', word(layout.pending));
    const item = body.local('i32', itemAt(count));
    body.store(target, item);
    body.store(source, item, 8);
    body.store(target, item, 16);
    body.set(count, i32.add(count, i32.const(1)));
    setWord(body, layout.pending, count);
    body.if(i32.eq(count, i32.const(BATCH)), () => body.call(flush));
  });

  const copy = module.func(undefined, ['i32', 'i32'], (body, slot, source) => {
    const sign = body.local('v128', field.signMask(i64x2.splat(i64.extend(source))));
    const from = body.local('i32', i32.and(source, i32.const(-2)));
    // The last of x's limbs shares a chunk with the first of y's where their number is odd.
    const second = limbs % 2 ? body.local('v128', v128.and(sign, v128.const(0n, -1n))) : sign;
    for (let chunk = 0; chunk < limbs; chunk++) {
      const two = v128.load(from, 16 * chunk);
      const mask = 2 * chunk >= limbs ? sign : 2 * chunk + 1 >= limbs ? second : undefined;
      body.store(mask ? field.flip(two, mask) : two, slot, 16 * chunk);
    }
    body.store(i32.const(1), slot, stateAt);
  });

  const addTo = module.func(undefined, ['i32', 'i32'], (body, target, source) => {
    body.if(i32.load(source, stateAt), () => {
      body.if(
        i32.load(target, stateAt),
        () => body.call(push, target, source),
        () => body.call(copy, target, source),
      );
    });
  });

  const isInfinity = (point: I32): I32 => {
    // Zero may have a sign.
    const magnitude = (limb: number) => i64.shl(i64.load(point, size / 2 + 8 * limb), i64.const(1n));
    let any: I64 = magnitude(0);
    for (let limb = 1; limb < limbs; limb++) any = i64.or(any, magnitude(limb));
    return i64.eqz(any);
  };

  const double = module.func(undefined, ['i32', 'i32', 'i32'], (body, from, to, count) => {
    const pointBytes = i32.const(layout.pointBytes(degree));
    const waiting = body.local('i32');
    const item = body.local('i32');
    body.while(count, () => {
      body.if(
        isInfinity(from),
        () => body.clear(to, pointBytes),
        () => {
          body.set(waiting, word(layout.pending));
          body.set(item, itemAt(waiting));
          body.store(from, item);
          body.store(from, item, 8);
          body.store(to, item, 16);
          body.set(waiting, i32.add(waiting, i32.const(1)));
          setWord(body, layout.pending, waiting);
          body.if(i32.eq(waiting, i32.const(BATCH)), () => body.call(flushDoubles));
        },
      );
      body.set(from, i32.add(from, pointBytes));
      body.set(to, i32.add(to, pointBytes));
      body.set(count, i32.sub(count, i32.const(1)));
    });
    body.call(flushDoubles);
  });

  return { flush, push, addTo, copy, double, isInfinity };
}
