import {
  type Body,
  call,
  createModule,
  f64,
  f64x2,
  i32,
  i64,
  i64x2,
  type Type,
  type Value,
  v128,
} from '../../../../runtime/msm/wasm/assembler.ts';
import { assert, suite } from '../../../harness.ts';

const test = suite('wasm assembler');

type Exports = Record<string, (...args: never[]) => unknown> & {
  [name: string]: (...args: (number | bigint)[]) => unknown;
};
async function instantiate(module: ReturnType<typeof createModule>) {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const { instance } = await WebAssembly.instantiate(module.bytes(1), { env: { memory, base: 0 } });
  return { memory, wasm: instance.exports as unknown as Exports };
}
/** One function of two arguments per operation. */
async function operations<A extends Type, R extends Type>(
  argument: A,
  result: R,
  list: Record<string, (a: Value<A>, b: Value<A>) => Value<R>>,
) {
  const module = createModule();
  for (const [name, of] of Object.entries(list)) {
    module.func(name, [argument, argument], (body, a, b) => body.result(of(a, b)), result);
  }
  return (await instantiate(module)).wasm;
}

const WORDS = [0, 1, 2, 63, 64, 127, 128, 255, 8191, 8192, 2 ** 31 - 1, -1, -2, -64, -65, -(2 ** 31)];

test('constants of every length', async () => {
  const module = createModule();
  const longs = [
    0n,
    1n,
    63n,
    64n,
    -1n,
    -64n,
    -65n,
    2n ** 31n,
    2n ** 53n,
    2n ** 63n - 1n,
    -(2n ** 63n),
    2n ** 64n - 1n,
  ];
  WORDS.forEach((word, index) => {
    module.func(`w${index}`, [], (body) => body.result(i32.const(word)), 'i32');
  });
  longs.forEach((long, index) => {
    module.func(`l${index}`, [], (body) => body.result(i64.const(long)), 'i64');
  });
  const { wasm } = await instantiate(module);
  WORDS.forEach((word, index) => {
    assert.is(wasm[`w${index}`]!(), word);
  });
  longs.forEach((long, index) => {
    assert.is(wasm[`l${index}`]!(), BigInt.asIntN(64, long));
  });
});

test('i32 operations are JavaScript’s', async () => {
  const wasm = await operations('i32', 'i32', {
    add: i32.add,
    sub: i32.sub,
    mul: i32.mul,
    and: i32.and,
    or: i32.or,
    xor: i32.xor,
    shl: i32.shl,
    shrS: i32.shrS,
    shrU: i32.shrU,
    eq: i32.eq,
    ne: i32.ne,
    ltS: i32.ltS,
    ltU: i32.ltU,
    geS: i32.geS,
    geU: i32.geU,
    eqz: (a) => i32.eqz(a),
    ctz: (a) => i32.ctz(a),
    select: (a, b) => i32.select(a, b, i32.ltS(a, b)),
  });
  for (const a of WORDS) {
    for (const b of WORDS) {
      const expected = {
        add: a + b,
        sub: a - b,
        mul: Math.imul(a, b),
        and: a & b,
        or: a | b,
        xor: a ^ b,
        shl: a << b,
        shrS: a >> b,
        shrU: a >>> b,
        eq: Number(a === b),
        ne: Number(a !== b),
        ltS: Number(a < b),
        ltU: Number(a >>> 0 < b >>> 0),
        geS: Number(a >= b),
        geU: Number(a >>> 0 >= b >>> 0),
        eqz: Number(a === 0),
        ctz: a === 0 ? 32 : 31 - Math.clz32(a & -a),
        select: Math.min(a, b),
      };
      for (const [name, value] of Object.entries(expected))
        assert.is(wasm[name]!(a, b), value | 0, `${name} ${a} ${b}`);
    }
  }
});

test('i64 operations are BigInt’s', async () => {
  const numbers = {
    add: i64.add,
    sub: i64.sub,
    mul: i64.mul,
    and: i64.and,
    or: i64.or,
    xor: i64.xor,
    shl: i64.shl,
    shrS: i64.shrS,
    shrU: i64.shrU,
  };
  const wasm = await operations('i64', 'i64', numbers);
  const truths = await operations('i64', 'i32', {
    eq: i64.eq,
    ltS: i64.ltS,
    ltU: i64.ltU,
    geU: i64.geU,
    eqz: (a) => i64.eqz(a),
    wrap: (a) => i32.wrap(a),
  });
  const longs = WORDS.flatMap((word) => [BigInt(word), BigInt(word) << 32n, BigInt(word) * 0x123456789n]).map(
    (n) => BigInt.asIntN(64, n),
  );
  for (const a of longs) {
    for (const b of longs) {
      const [ua, ub] = [BigInt.asUintN(64, a), BigInt.asUintN(64, b)];
      const shift = b & 63n;
      const expected = {
        add: a + b,
        sub: a - b,
        mul: a * b,
        and: a & b,
        or: a | b,
        xor: a ^ b,
        shl: a << shift,
        shrS: a >> shift,
        shrU: ua >> shift,
      };
      for (const [name, value] of Object.entries(expected))
        assert.is(wasm[name]!(a, b), BigInt.asIntN(64, value), `${name} ${a} ${b}`);
      const truth = { eq: a === b, ltS: a < b, ltU: ua < ub, geU: ua >= ub, eqz: a === 0n };
      for (const [name, value] of Object.entries(truth))
        assert.is(truths[name]!(a, b), Number(value), `${name} ${a} ${b}`);
      assert.is(truths.wrap!(a, b), Number(BigInt.asIntN(32, a)));
    }
  }
});

test('lanes', async () => {
  const module = createModule();
  const binary = (name: string, of: (a: Value<'v128'>, b: Value<'v128'>) => Value<'v128'>) =>
    module.func(name, [], (body) =>
      body.store(of(v128.load(i32.const(0)), v128.load(i32.const(16))), i32.const(32)),
    );
  const vectors = {
    lows: v128.lows,
    highs: v128.highs,
    swap: (a: Value<'v128'>) => v128.swap(a),
    and: v128.and,
    or: v128.or,
    xor: v128.xor,
    add: i64x2.add,
    sub: i64x2.sub,
    mul: i64x2.mul,
    shl: (a: Value<'v128'>) => i64x2.shl(a, 13),
    shrU: (a: Value<'v128'>) => i64x2.shrU(a, 51),
    select: (a: Value<'v128'>, b: Value<'v128'>) => v128.select(a, b, v128.const(0xffn, -1n << 32n)),
    constant: () => v128.const(7n, -9n),
    splat: (a: Value<'v128'>) => i64x2.splat(i64x2.extract(a, 1)),
    widened: () => v128.load32x2U(i32.const(4)),
  };
  for (const [name, of] of Object.entries(vectors)) binary(name, of);
  module.func('any', [], (body) => body.result(v128.anyTrue(v128.load(i32.const(0)))), 'i32');
  const { memory, wasm } = await instantiate(module);
  const [a0, a1, b0, b1] = [
    0x0123456789abcdefn,
    0xfedcba9876543210n,
    0x1111222233334444n,
    0xffffffffffffffffn,
  ];
  const words = new BigUint64Array(memory.buffer);
  words.set([a0, a1, b0, b1]);
  const mix = (a: bigint, b: bigint, mask: bigint) => (a & mask) | (b & ~mask);
  const expected: Record<keyof typeof vectors, [bigint, bigint]> = {
    lows: [a0, b0],
    highs: [a1, b1],
    swap: [a1, a0],
    and: [a0 & b0, a1 & b1],
    or: [a0 | b0, a1 | b1],
    xor: [a0 ^ b0, a1 ^ b1],
    add: [a0 + b0, a1 + b1],
    sub: [a0 - b0, a1 - b1],
    mul: [a0 * b0, a1 * b1],
    shl: [a0 << 13n, a1 << 13n],
    shrU: [a0 >> 51n, a1 >> 51n],
    select: [mix(a0, b0, 0xffn), mix(a1, b1, 0xffffffff00000000n)],
    constant: [7n, -9n],
    splat: [a1, a1],
    widened: [a0 >> 32n, a1 & 0xffffffffn],
  };
  for (const [name, lanes] of Object.entries(expected)) {
    wasm[name]!();
    assert.equal(
      [...words.subarray(4, 6)],
      lanes.map((lane) => BigInt.asUintN(64, lane)),
      name,
    );
  }
  assert.is(wasm.any!(), 1);
  words.fill(0n);
  assert.is(wasm.any!(), 0);
});

test('f64 lanes, with a fused or a plain multiply-add', async () => {
  const module = createModule();
  const of = {
    add: f64x2.add,
    sub: f64x2.sub,
    mul: f64x2.mul,
    nearest: (a: Value<'v128'>) => f64x2.nearest(a),
    eq: f64x2.eq,
    madd: (a: Value<'v128'>, b: Value<'v128'>) => f64x2.madd(a, b, a),
    nmadd: (a: Value<'v128'>, b: Value<'v128'>) => f64x2.nmadd(a, b, a),
    splat: (a: Value<'v128'>) => f64x2.splat(i64.toF64(i64.ofF64(f64x2.extract(a, 1)))),
    loaded: () => f64x2.splat(f64.load(i32.const(8))),
  };
  for (const [name, operation] of Object.entries(of)) {
    module.func(name, [], (body) =>
      body.store(operation(v128.load(i32.const(0)), v128.load(i32.const(16))), i32.const(32)),
    );
  }
  const { memory, wasm } = await instantiate(module);
  const doubles = new Float64Array(memory.buffer);
  const [a0, a1, b0, b1] = [2.5, -7.75, 2.5, 1024];
  doubles.set([a0, a1, b0, b1]);
  const expected = {
    add: [a0 + b0, a1 + b1],
    sub: [a0 - b0, a1 - b1],
    mul: [a0 * b0, a1 * b1],
    nearest: [2, -8],
    madd: [a0 * b0 + a0, a1 * b1 + a1],
    nmadd: [a0 - a0 * b0, a1 - a1 * b1],
    splat: [-7, -7],
    loaded: [a1, a1],
  };
  for (const [name, lanes] of Object.entries(expected)) {
    wasm[name]!();
    assert.equal([...doubles.subarray(4, 6)], lanes, name);
  }
  wasm.eq!();
  assert.equal([...new BigUint64Array(memory.buffer).subarray(4, 6)], [2n ** 64n - 1n, 0n]);
});

test('control flow, locals, calls, memory and data', async () => {
  const module = createModule();
  const square = module.func(undefined, ['i32'], (body, x) => body.result(i32.mul(x, x)), 'i32');
  const note = module.func('note', ['i32', 'i64'], (body, at, what) => {
    body.if(i32.eqz(at), () => body.return());
    body.store(what, at, 8);
  });
  module.func(
    'sumOfSquares',
    ['i32'],
    (body, count) => {
      const sum = body.local('i32');
      const index = body.local('i32', i32.const(1));
      body.while(i32.geU(count, index), () => {
        body.set(sum, i32.add(sum, call(square, index)));
        body.set(index, i32.add(index, i32.const(1)));
      });
      body.call(note, i32.const(64), i64.extend(sum));
      body.call(note, i32.const(0), i64.extendS(i32.const(-1)));
      body.result(sum);
    },
    'i32',
  );
  const branch = (body: Body, x: Value<'i32'>) => {
    const result = body.local('i32');
    body.if(
      i32.ltS(x, i32.const(0)),
      () => body.set(result, i32.const(-1)),
      () => body.if(x, () => body.set(result, i32.const(1))),
    );
    body.result(result);
  };
  module.func('sign', ['i32'], branch, 'i32');
  module.data(200, Uint8Array.of(1, 2, 3));
  const { memory, wasm } = await instantiate(module);
  assert.is(wasm.sumOfSquares!(10), 385);
  const words = new BigUint64Array(memory.buffer);
  assert.is(words[9], 385n);
  assert.is(words[1], 0n);
  assert.equal(
    [-5, 0, 5].map((x) => wasm.sign!(x)),
    [-1, 0, 1],
  );
  assert.equal([...new Uint8Array(memory.buffer).subarray(199, 204)], [0, 1, 2, 3, 0]);
});

test.run();
