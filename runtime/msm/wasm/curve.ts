/**
 * Affine additions in batches that share one inversion (Montgomery's trick), on points of y^2 = x^3 + b over Fq or
 * Fq2: four additions at once, in quads (field.ts). Every case is handled: equal and opposite
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
import { defineCoordinateInversion, defineCoordinates, loadPoints, storePoints } from './coordinate.ts';
import {
  type Constants,
  constantElement,
  type Field,
  HALVES,
  type Half,
  interleave,
  loadHalf,
  QUAD_STRIDE,
  storeHalf,
} from './field.ts';
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
  const size = layout.quadBytes(degree);
  const recordBytes = layout.recordBytes(degree);
  const slotBytes = layout.slotBytes(degree);
  const limbs = degree * field.limbs;
  const stateAt = layout.pointBytes(degree);
  const at = (index: number): I32 => here(layout.scratch + index * size);
  /** The second half of a quad, to be used as the first one of another. */
  const secondHalf = (quad: I32): I32 => i32.add(quad, i32.const(QUAD_STRIDE / 2));
  const load = (body: Body, quad: I32, half: Half = 0, offset = 0) =>
    loadHalf(body, limbs, quad, half, offset);
  const store = storeHalf;

  const { map, subtract, add, triple, square, multiplyOne, multiply, multiplySubtract, squareSubtract } =
    defineCoordinates(module, field, degree);

  // Offsets within a record.
  const [DX, DY, PRODUCT, SUM] = [0, size, 2 * size, 3 * size];

  /** Both points that an item's summands are, lane by lane; the address of an item and an offset in it. */
  const pointsAt = (body: Body, item: I32, offset: number) =>
    loadPoints(
      body,
      limbs,
      body.local('i32', i32.load(item, offset)),
      body.local('i32', i32.load(item, offset + 4)),
    );
  /** For each quad of additions from the first on: two items and a record. */
  const eachQuad = (
    body: Body,
    quads: Local<'i32'>,
    inner: (item: Local<'i32'>, record: Local<'i32'>) => void,
  ) => {
    const item = body.local('i32', here(layout.items));
    const record = body.local('i32', here(layout.records));
    body.while(quads, () => {
      inner(item, record);
      body.set(item, i32.add(item, i32.const(2 * ITEM_BYTES)));
      body.set(record, i32.add(record, i32.const(recordBytes)));
      body.set(quads, i32.sub(quads, i32.const(1)));
    });
  };

  const gather = module.func(undefined, ['i32'], (body, quads) => {
    eachQuad(body, quads, (item, record) => {
      for (const half of HALVES) {
        const from = half * ITEM_BYTES;
        const sign = body.local('v128', field.signMask(v128.load32x2U(item, from + 8)));
        const source = (offset: number) =>
          body.local('i32', i32.and(i32.load(item, from + offset), i32.const(-2)));
        const one = pointsAt(body, item, from);
        const two = loadPoints(body, limbs, source(8), source(12));
        store(body, subtract(body, two.x, one.x), record, half, DX);
        store(body, add(body, two.x, one.x), record, half, SUM);
        const y = map(body, (limb) => field.flip(limb, sign), two.y);
        store(body, subtract(body, y, one.y), record, half, DY);
      }
    });
  });

  /** As `gather` for a summand and itself: l = 3 x^2 / 2 y. */
  const gatherDoubles = module.func(undefined, ['i32'], (body, quads) => {
    eachQuad(body, quads, (item, record) => {
      for (const half of HALVES) {
        const { x, y } = pointsAt(body, item, half * ITEM_BYTES);
        store(body, add(body, y, y), record, half, DX);
        store(body, add(body, x, x), record, half, SUM);
        const [squared] = interleave(square(field, body, x));
        store(body, triple(body, squared), record, half, DY);
      }
    });
  });

  // Four chains of products, one in each lane of a quad.
  const CHAINS = at(0);
  const setOne = (body: Body, quad: I32, half: Half) => {
    const one = constantElement(field, constants, field.radix % field.modulus);
    store(
      body,
      Array.from({ length: limbs }, (_, i) => one[i] ?? constants.bits(0n)),
      quad,
      half,
    );
  };
  const offset = (address: I32, bytes: number): I32 => i32.add(address, i32.const(bytes));
  const prefix = module.func(undefined, ['i32'], (body, quads) => {
    for (const half of HALVES) setOne(body, CHAINS, half);
    eachQuad(body, quads, (_item, record) => {
      for (let chunk = 0; chunk < 2 * limbs; chunk++)
        body.store(v128.load(CHAINS, 16 * chunk), record, PRODUCT + 16 * chunk);
      body.call(multiply, CHAINS, CHAINS, offset(record, DX));
    });
  });

  /** All ones in the lanes in which each of these limbs is zero. */
  const zeroLanes = (body: Body, tight: readonly V128[]): Local<'v128'> => {
    const mask = body.local('v128', field.isZero(tight[0]!));
    for (const limb of tight.slice(1)) body.set(mask, v128.and(mask, field.isZero(limb)));
    return mask;
  };

  const [ONE, TRIED, X] = [at(1), at(2), at(3)];
  /** Replaces what has no inverse of an item's two additions: equal summands by their tangent, opposite ones by nothing. */
  const patchPair = module.func(undefined, ['i32', 'i32'], (body, item, record) => {
    // A product with one is below q, and of those only zero itself is zero.
    body.call(multiplyOne, TRIED, ONE, offset(record, DX));
    const sameX = zeroLanes(body, load(body, TRIED));
    body.if(v128.anyTrue(sameX), () => {
      body.call(multiplyOne, TRIED, ONE, offset(record, DY));
      const equal = body.local('v128', v128.and(sameX, zeroLanes(body, load(body, TRIED))));
      const opposite = body.local('v128', v128.xor(sameX, equal));
      const { x, y } = pointsAt(body, item, 0);
      store(body, x, X, 0);
      body.call(multiplyOne, TRIED, X, X);
      const one = load(body, ONE);
      const tangent = triple(body, load(body, TRIED));
      const dy = load(body, record, 0, DY);
      store(
        body,
        tangent.map((limb, i) => v128.select(limb, dy[i]!, equal)),
        record,
        0,
        DY,
      );
      const dx = map(
        body,
        (twice, dx) => v128.select(twice!, dx!, equal),
        add(body, y, y),
        load(body, record, 0, DX),
      );
      store(
        body,
        one.map((limb, i) => v128.select(limb, dx[i]!, opposite)),
        record,
        0,
        DX,
      );
      for (const lane of [0, 1] as const) {
        body.if(i32.wrap(i64x2.extract(opposite, lane)), () => {
          body.store(i32.const(0), i32.load(item, 4 * lane), stateAt);
          body.store(here(layout.trash), item, 16 + 4 * lane);
        });
      }
    });
  });
  const patch = module.func(undefined, ['i32'], (body, quads) => {
    setOne(body, ONE, 0);
    eachQuad(body, quads, (item, record) => {
      body.call(patchPair, item, record);
      body.call(patchPair, offset(item, ITEM_BYTES), secondHalf(record));
    });
  });

  // The product of both halves' chains, that with its lanes swapped, and the product of all four.
  const [BOTH, SWAPPED, ALL] = [at(1), at(2), at(3)];
  /** The product of all differences. Answers whether it is zero. */
  const total = module.func(
    undefined,
    [],
    (body) => {
      body.call(multiplyOne, BOTH, CHAINS, secondHalf(CHAINS));
      const swapped = map(body, (limb) => v128.swap(limb!), load(body, BOTH));
      store(body, swapped, SWAPPED, 0);
      body.call(multiplyOne, ALL, BOTH, SWAPPED);
      body.result(v128.anyTrue(zeroLanes(body, load(body, ALL))));
    },
    'i32',
  );

  const invert = defineCoordinateInversion(module, field, layout, degree, inversion);

  const [INVERSES, SLOPE, X3, DIFFERENCE, Y1, Y3] = [at(4), at(5), at(6), at(7), at(8), at(9)];
  const scatter = module.func(undefined, ['i32'], (body, quads) => {
    const record = body.local('i32', i32.add(here(layout.records), i32.mul(quads, i32.const(recordBytes))));
    const item = body.local('i32', i32.add(here(layout.items), i32.mul(quads, i32.const(2 * ITEM_BYTES))));
    // The inverses of both halves' chains from that of their product.
    body.call(multiplyOne, BOTH, ALL, SWAPPED);
    const inverse = load(body, BOTH);
    for (const half of HALVES) store(body, inverse, INVERSES, half);
    const exchanged = HALVES.map((half) => load(body, CHAINS, half));
    for (const half of HALVES) store(body, exchanged[1 - half]!, CHAINS, half);
    body.call(multiply, CHAINS, CHAINS, INVERSES);
    body.while(quads, () => {
      body.set(quads, i32.sub(quads, i32.const(1)));
      body.set(record, i32.sub(record, i32.const(recordBytes)));
      body.set(item, i32.sub(item, i32.const(2 * ITEM_BYTES)));
      body.call(multiply, SLOPE, CHAINS, offset(record, PRODUCT));
      body.call(multiply, CHAINS, CHAINS, offset(record, DX));
      body.call(multiply, SLOPE, SLOPE, offset(record, DY));
      body.call(squareSubtract, X3, SLOPE, offset(record, SUM));
      for (const half of HALVES) {
        const { x, y } = pointsAt(body, item, half * ITEM_BYTES);
        store(body, subtract(body, x, load(body, X3, half)), DIFFERENCE, half);
        store(body, y, Y1, half);
      }
      body.call(multiplySubtract, Y3, SLOPE, DIFFERENCE, Y1);
      for (const half of HALVES) {
        const result = (lane: number) => body.local('i32', i32.load(item, half * ITEM_BYTES + 16 + 4 * lane));
        const point = [...load(body, X3, half), ...load(body, Y3, half)];
        storePoints(body, point, result(0), result(1));
      }
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
      const quads = body.local('i32', i32.shrU(count, i32.const(2)));
      body.call(prepare, quads);
      body.call(prefix, quads);
      const zero = body.local('i32', call(total));
      body.if(zero, () => {
        body.call(patch, quads);
        body.call(prefix, quads);
        // Zero again only for points that are not on the curve, whose sum may be anything.
        body.set(zero, call(total));
      });
      body.call(invert, ALL);
      body.call(scatter, quads);
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
    const magnitude = (limb: number) => i64.shl(i64.load(point, 8 * (limbs + limb)), i64.const(1n));
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
