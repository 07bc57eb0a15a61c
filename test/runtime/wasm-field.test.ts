import { Q } from '../../circuits/groth16/field.ts';
import { type Body, createModule, type I32, type V128, v128 } from '../../runtime/msm/wasm/assembler.ts';
import {
  CONSTANT_BYTES,
  createConstants,
  dot,
  fromLimbs,
  interleave,
  LIMBS,
  RADIX,
  toLimbs,
} from '../../runtime/msm/wasm/fma-field.ts';
import { defineInversion } from '../../runtime/msm/wasm/inversion.ts';
import { generator, wide } from '../circuits/groth16-circuit.ts';
import { assert, suite } from '../harness.ts';

const test = suite('wasm field');
const random = generator(29);
const ELEMENT = 16 * LIMBS;
const mod = (value: bigint) => ((value % Q) + Q) % Q;

/** Two elements in lanes at each of these addresses. */
const at = (index: number) => CONSTANT_BYTES + index * ELEMENT;
const [A, B, C, D, MINUS, TO] = [0, 1, 2, 3, 4, 5, 6, 7].map(at) as [
  number,
  number,
  number,
  number,
  number,
  number,
];

async function field() {
  const module = createModule();
  const constants = createConstants();
  const load = (body: Body, address: I32): V128[] =>
    Array.from({ length: LIMBS }, (_, i) => body.local('v128', v128.load(address, 16 * i)));
  const store = (body: Body, limbs: readonly V128[], address: I32) =>
    limbs.forEach((limb, i) => {
      body.store(limb, address, 16 * i);
    });
  const five = ['i32', 'i32', 'i32', 'i32', 'i32', 'i32'] as const;
  module.func('one', five, (body, to, a, b) => {
    store(body, interleave(dot(body, constants, [[load(body, a), load(body, b)]]))[0], to);
  });
  module.func('folded', five, (body, to, a, b, _c, _d, minus) => {
    const options = { minus: load(body, minus), fold: true };
    store(body, interleave(dot(body, constants, [[load(body, a), load(body, b)]], options))[0], to);
  });
  module.func('two', five, (body, to, a, b, c, d, minus) => {
    const terms = [[load(body, a), load(body, b)] as const, [load(body, c), load(body, d)] as const];
    store(body, interleave(dot(body, constants, terms, { minus: load(body, minus), fold: true }))[0], to);
  });
  defineInversion(module, constants);
  const patterns = BigUint64Array.from(constants.patterns.flatMap((bits) => [bits, bits]));
  module.data(0, new Uint8Array(patterns.buffer));
  const memory = new WebAssembly.Memory({ initial: 1 });
  const { instance } = await WebAssembly.instantiate(module.bytes(1), { env: { memory } });
  const doubles = new Float64Array(memory.buffer);
  return {
    wasm: instance.exports as Record<string, (...args: number[]) => void>,
    write(address: number, lane: number, limbs: readonly number[]) {
      limbs.forEach((limb, i) => {
        doubles[address / 8 + 2 * i + lane] = limb;
      });
    },
    read: (address: number, lane: number): number[] =>
      Array.from({ length: LIMBS }, (_, i) => doubles[address / 8 + 2 * i + lane]!),
  };
}

const tight = (value: bigint): number[] => toLimbs(value).map(Number);
const LIMB = 2 ** 50;
/** Limbs at their bounds and values of 0.51 q. */
const EXTREMES = [
  ...[
    0n,
    1n,
    -1n,
    Q / 2n,
    -(Q / 2n),
    2n ** 50n,
    -(2n ** 50n),
    2n ** 51n - 1n,
    2n ** 252n,
    1n - 2n ** 252n,
  ].map(tight),
  [LIMB - 1, LIMB - 1, LIMB - 1, LIMB - 1, LIMB / 4],
  [-LIMB, -LIMB, -LIMB, -LIMB, -LIMB / 4],
  [LIMB - 1, -LIMB, LIMB - 1, -LIMB, LIMB / 4],
  [0, 0, 0, 0, 0.375 * LIMB],
];
/** As sums and differences of two elements. */
const LOOSE = EXTREMES.map((limbs) => limbs.map((limb) => 2 * limb));

function isTight(limbs: readonly number[]): boolean {
  return limbs.every((limb) => Number.isInteger(limb) && Math.abs(limb) <= LIMB);
}

test('products and sums of products: 50 000 and every pair of extremes', async () => {
  const { wasm, write, read } = await field();
  const inverse = power(mod(RADIX), Q - 2n);
  const check = (
    name: string,
    lanes: { a: number[]; b: number[]; c: number[]; d: number[]; minus: number[] }[],
  ) => {
    lanes.forEach(({ a, b, c, d, minus }, lane) => {
      for (const [address, limbs] of [
        [A, a],
        [B, b],
        [C, c],
        [D, d],
        [MINUS, minus],
      ] as const)
        write(address, lane, limbs);
    });
    wasm[name]!(TO, A, B, C, D, MINUS);
    lanes.forEach(({ a, b, c, d, minus }, lane) => {
      let expected = fromLimbs(a) * fromLimbs(b);
      if (name === 'two') expected += fromLimbs(c) * fromLimbs(d);
      expected *= inverse;
      if (name !== 'one') expected -= fromLimbs(minus);
      const limbs = read(TO, lane);
      const value = fromLimbs(limbs);
      assert.is(mod(value), mod(expected), name);
      assert.ok(isTight(limbs), `${name}: ${limbs} is not tight`);
      if (name !== 'one')
        assert.ok(value * 100n <= Q * 51n && value * 100n >= -Q * 51n, `${name} is not folded`);
    });
  };
  const names = ['one', 'folded', 'two'];
  for (const a of [...LOOSE, ...EXTREMES]) {
    for (const b of EXTREMES) {
      for (const name of names) {
        check(name, [
          { a, b, c: a, d: b, minus: a },
          { a, b, c: b, d: a, minus: b },
        ]);
      }
    }
  }
  const element = () => tight((wide(random) % Q) - Q / 2n);
  for (let round = 0; round < 50_000 / 6; round++) {
    for (const name of names) {
      check(
        name,
        [0, 1].map(() => ({ a: element(), b: element(), c: element(), d: element(), minus: element() })),
      );
    }
  }
});

test('inverses', async () => {
  const { wasm, write, read } = await field();
  const values = [
    1n - Q,
    Q - 1n,
    ...EXTREMES.map(fromLimbs),
    ...Array.from({ length: 2000 }, () => wide(random) % Q),
  ];
  for (const value of values) {
    write(A, 0, tight(value));
    write(A, 1, tight(7n));
    wasm.invert!(TO, A);
    const inverse = fromLimbs(read(TO, 0));
    assert.equal(read(TO, 1), read(TO, 0));
    assert.ok(isTight(read(TO, 0)));
    // x R times y R is x y R^2.
    assert.is(mod(inverse * value), mod(value) === 0n ? 0n : mod(RADIX * RADIX), `1/${value}`);
  }
});

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let square = base, rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * square) % Q;
    square = (square * square) % Q;
  }
  return result;
}

test.run();
