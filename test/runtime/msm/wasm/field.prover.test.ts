import { Q, R } from '../../../../circuits/groth16/field.ts';
import { type Body, createModule, type I32, v128 } from '../../../../runtime/msm/wasm/assembler.ts';
import {
  CONSTANT_BYTES,
  canonicalWords,
  createConstants,
  type Field,
  interleave,
  loadElement,
  storeElement,
} from '../../../../runtime/msm/wasm/field.ts';
import { createFmaField } from '../../../../runtime/msm/wasm/fma-field.ts';
import { createIntField } from '../../../../runtime/msm/wasm/int-field.ts';
import { defineInversion } from '../../../../runtime/msm/wasm/inversion.ts';
import { generator, wide } from '../../../circuits/groth16-circuit.ts';
import { assert, suite } from '../../../harness.ts';

const test = suite('wasm field', { timeoutMs: 60_000 });
const random = generator(29);

type Lane = { a: bigint[]; b: bigint[]; c: bigint[]; d: bigint[]; minus: bigint[] };
const OPERANDS = ['a', 'b', 'c', 'd', 'minus'] as const;

async function load(create: typeof createFmaField, modulus: bigint) {
  const module = createModule();
  const constants = createConstants();
  const field: Field = create(modulus, constants);
  const { limbs } = field;
  const read = (body: Body, address: I32) => loadElement(body, limbs, address);
  const six = ['i32', 'i32', 'i32', 'i32', 'i32', 'i32'] as const;
  module.func('one', six, (body, to, a, b) => {
    storeElement(body, interleave(field.dot(body, [[read(body, a), read(body, b)]]))[0], to);
  });
  module.func('folded', six, (body, to, a, b, _c, _d, minus) => {
    const options = { minus: read(body, minus), fold: true };
    storeElement(body, interleave(field.dot(body, [[read(body, a), read(body, b)]], options))[0], to);
  });
  module.func('two', six, (body, to, a, b, c, d, minus) => {
    const terms = [[read(body, a), read(body, b)] as const, [read(body, c), read(body, d)] as const];
    const options = { minus: read(body, minus), fold: true };
    storeElement(body, interleave(field.dot(body, terms, options))[0], to);
  });
  module.func('complex', six, (body, to, a, b, c, d, minus) => {
    const options = { minus: read(body, minus), fold: true };
    const [left, right] = [[read(body, a), read(body, b)] as const, [read(body, c), read(body, d)] as const];
    const [parts] = interleave(field.multiplyComplex(body, left, right, [options, options]));
    storeElement(body, parts[0], to);
    storeElement(body, parts[1], to, 16 * limbs);
  });
  module.func('square', six, (body, to, a, _b, _c, _d, minus) => {
    const element = read(body, a);
    const options = { minus: read(body, minus), fold: true };
    storeElement(body, interleave(field.dot(body, [[element, element]], options))[0], to);
  });
  module.func('settle', six, (body, to, a) => storeElement(body, field.settle(body, read(body, a)), to));
  module.func('negate', six, (body, to, a) => {
    storeElement(
      body,
      read(body, a).map((limb) => field.negate(limb)),
      to,
    );
  });
  module.func('split', six, (body, to, a) => {
    const words = [0, 1, 2, 3].map((i) => body.local('v128', v128.load(a, 16 * i)));
    storeElement(body, field.split(body, words), to);
  });
  module.func('words', six, (body, to, a) => {
    storeElement(body, canonicalWords(body, constants, field, read(body, a)), to);
  });
  defineInversion(module, constants, field);
  const patterns = BigUint64Array.from(constants.patterns.flatMap((bits) => [bits, bits, bits, bits]));
  module.data(0, new Uint8Array(patterns.buffer));
  const memory = new WebAssembly.Memory({ initial: 1 });
  const bytes = module.bytes(1);
  if (!WebAssembly.validate(bytes)) return undefined;
  const { instance } = await WebAssembly.instantiate(bytes, { env: { memory, base: 0 } });
  const view = new DataView(memory.buffer);
  const at = (index: number) => CONSTANT_BYTES + index * 16 * limbs;
  const limbOf = (address: number): bigint =>
    field.name === 'fma' ? BigInt(view.getFloat64(address, true)) : view.getBigInt64(address, true);
  return {
    field,
    view,
    at,
    wasm: instance.exports as Record<string, (...args: number[]) => void>,
    write(address: number, lane: number, values: readonly bigint[]) {
      values.forEach((limb, i) => {
        if (field.name === 'fma') view.setFloat64(address + 16 * i + 8 * lane, Number(limb), true);
        else view.setBigInt64(address + 16 * i + 8 * lane, limb, true);
      });
    },
    limbs: (address: number, lane: number) =>
      Array.from({ length: limbs }, (_, i) => limbOf(address + 16 * i + 8 * lane)),
    value: (address: number, lane: number) => field.read(view, address + 8 * lane, 16),
  };
}

for (const [kind, create] of [
  ['fma', createFmaField],
  ['int', createIntField],
] as const) {
  for (const [name, modulus] of [
    ['q', Q],
    ['r', R],
  ] as const) {
    const here = `${kind}, ${name}`;
    const loaded = await load(create, modulus);
    if (!loaded) {
      test(`${here}: the engine knows the instructions`, (t) => t.skip('it does not'));
      continue;
    }
    const { field, wasm, at, write, limbs, value, view } = loaded;
    const { limbBits } = field;
    const count = field.limbs;
    const mod = (integer: bigint) => ((integer % modulus) + modulus) % modulus;
    const [A, B, C, D, MINUS, TO] = [0, 1, 2, 3, 4, 5].map(at) as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    const BOUND = 1n << BigInt(limbBits - 1);
    const fromLimbs = (all: readonly bigint[]) =>
      all.reduceRight((high, limb) => (high << BigInt(limbBits)) + limb, 0n);
    const tight = (integer: bigint): bigint[] => {
      const all: bigint[] = [];
      for (let i = 0, rest = integer; i < count; i++) {
        const low = i === count - 1 ? rest : BigInt.asIntN(limbBits, rest);
        all.push(low);
        rest = (rest - low) >> BigInt(limbBits);
      }
      return all;
    };
    /** Limbs at their bounds with a highest one that makes 0.51 p. */
    const top = (modulus / 2n) >> BigInt(limbBits * (count - 1));
    const bounded = (of: (index: number) => bigint) =>
      Array.from({ length: count }, (_, i) => (i === count - 1 ? (of(i) < 0n ? -top : top) : of(i)));
    const EXTREMES = [
      ...[
        0n,
        1n,
        -1n,
        modulus / 2n,
        -(modulus / 2n),
        BOUND,
        -BOUND,
        2n * BOUND - 1n,
        2n ** 252n,
        1n - 2n ** 252n,
      ].map(tight),
      bounded(() => BOUND - 1n),
      bounded(() => -BOUND),
      bounded((i) => (i % 2 ? -BOUND : BOUND - 1n)),
      Array.from({ length: count }, (_, i) => (i === count - 1 ? top : 0n)),
    ];
    /** As sums and differences of two elements, and of four. */
    const LOOSE = EXTREMES.map((all) => all.map((limb) => 2n * limb));
    const SLACK = EXTREMES.map((all) => all.map((limb) => 4n * limb));
    const isTight = (all: readonly bigint[]) => all.every((limb) => limb <= BOUND && limb >= -BOUND);
    const isFolded = (integer: bigint) => integer * 100n <= modulus * 51n && integer * 100n >= -modulus * 51n;
    const inverse = power(mod(field.radix), modulus - 2n, modulus);

    const check = (what: string, lanes: readonly Lane[]) => {
      lanes.forEach((operands, lane) => {
        OPERANDS.forEach((operand, index) => {
          write(at(index), lane, operands[operand]);
        });
      });
      wasm[what]!(TO, A, B, C, D, MINUS);
      lanes.forEach(({ a, b, c, d, minus }, lane) => {
        let expected = fromLimbs(a) * fromLimbs(what === 'square' ? a : b);
        if (what === 'two') expected += fromLimbs(c) * fromLimbs(d);
        expected *= inverse;
        if (what !== 'one') expected -= fromLimbs(minus);
        assert.is(mod(value(TO, lane)), mod(expected), what);
        assert.ok(isTight(limbs(TO, lane)), `${what}: ${limbs(TO, lane)} is not tight`);
        if (what !== 'one') assert.ok(isFolded(value(TO, lane)), `${what} is not folded`);
      });
    };

    const same = (lane: Lane) => [lane, lane];
    test(`${here}: products and sums of products: 100 000 and every pair of extremes`, () => {
      const names = ['one', 'folded', 'two'];
      for (const a of [...SLACK, ...LOOSE, ...EXTREMES]) {
        for (const b of EXTREMES) {
          check('one', [
            { a, b, c: a, d: b, minus: a },
            { a, b, c: b, d: a, minus: b },
          ]);
        }
      }
      for (const a of EXTREMES) {
        for (const b of [...LOOSE, ...EXTREMES]) check('square', same({ a, b, c: a, d: b, minus: b }));
      }
      for (const a of LOOSE) for (const b of LOOSE) check('one', same({ a, b, c: a, d: b, minus: a }));
      for (const a of [...LOOSE, ...EXTREMES]) {
        for (const b of EXTREMES) {
          for (const what of names) {
            check(what, [
              { a, b, c: a, d: b, minus: a },
              { a, b, c: b, d: a, minus: b },
            ]);
          }
        }
      }
      const element = () => tight((wide(random) % modulus) - modulus / 2n);
      for (let round = 0; round < 100_000 / 8; round++) {
        for (const what of [...names, 'square']) {
          check(
            what,
            [0, 1].map(() => ({ a: element(), b: element(), c: element(), d: element(), minus: element() })),
          );
        }
      }
    });

    test(`${here}: complex products: every four of extremes`, () => {
      const checkComplex = (lanes: readonly Lane[]) => {
        lanes.forEach((operands, lane) => {
          OPERANDS.forEach((operand, index) => {
            write(at(index), lane, operands[operand]);
          });
        });
        wasm.complex!(TO, A, B, C, D, MINUS);
        lanes.forEach((lane, index) => {
          const [a, b, c, d, minus] = OPERANDS.map((operand) => fromLimbs(lane[operand])) as [
            bigint,
            bigint,
            bigint,
            bigint,
            bigint,
          ];
          [a * c - b * d, a * d + b * c].forEach((expected, part) => {
            const to = TO + part * 16 * count;
            assert.is(mod(value(to, index)), mod(expected * inverse - minus));
            assert.ok(isTight(limbs(to, index)), `${limbs(to, index)} is not tight`);
            assert.ok(isFolded(value(to, index)), 'not folded');
          });
        });
      };
      for (const a of EXTREMES) {
        for (const b of EXTREMES) {
          for (const c of LOOSE) {
            for (const d of LOOSE) {
              const minus = a;
              checkComplex([
                { a, b, c, d, minus },
                { a: b, b: a, c: d, d: a, minus: d },
              ]);
            }
          }
        }
      }
    });

    test(`${here}: settling, signs, words`, () => {
      const many = Array.from({ length: 2000 }, () => tight((wide(random) % (4n * modulus)) - 2n * modulus));
      for (const element of [...SLACK, ...LOOSE, ...EXTREMES, ...many]) {
        for (const lane of [0, 1]) write(A, lane, element);
        wasm.settle!(TO, A);
        const settled = value(TO, 1);
        assert.is(mod(settled), mod(fromLimbs(element)));
        assert.ok(isTight(limbs(TO, 1)) && isFolded(settled), `${element} is not settled`);
        wasm.words!(B, TO);
        const words = [0, 1, 2, 3].map((i) => view.getBigUint64(B + 16 * i + 8, true));
        const integer = words.reduceRight((high, word) => (high << 64n) | word, 0n);
        assert.is(integer, mod(fromLimbs(element)));
        wasm.split!(C, B);
        assert.is(value(C, 1), integer);
        assert.ok(limbs(C, 1).every((limb) => limb >= 0n && limb < 2n * BOUND));
        wasm.negate!(D, A);
        assert.is(value(D, 0), -fromLimbs(element));
      }
    });

    test(`${here}: inverses`, () => {
      const values = [
        1n - modulus,
        modulus - 1n,
        ...EXTREMES.map(fromLimbs),
        ...Array.from({ length: 1000 }, () => wide(random) % modulus),
      ];
      for (const integer of values) {
        write(A, 0, tight(integer));
        write(A, 1, tight(7n));
        wasm.invert!(TO, A);
        const found = value(TO, 0);
        assert.equal(limbs(TO, 1), limbs(TO, 0));
        assert.ok(isTight(limbs(TO, 0)));
        // x R times y R is x y R^2.
        assert.is(
          mod(found * integer),
          mod(integer) === 0n ? 0n : mod(field.radix * field.radix),
          `1/${integer}`,
        );
      }
    });
  }
}

function power(base: bigint, exponent: bigint, modulus: bigint): bigint {
  let result = 1n;
  for (let square = base, rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * square) % modulus;
    square = (square * square) % modulus;
  }
  return result;
}

test.run();
