/** The pool's operations but its sums, which are cases.prover.test.ts's; its threads and how they end. */
import { spawnSync } from 'node:child_process';
import {
  elementBytes,
  MONTGOMERY_R,
  R,
  readElement,
  rootOfUnity,
  writeElement,
} from '../../../../circuits/groth16/field.ts';
import {
  G1,
  G2,
  type Group,
  multiplyG1,
  multiplyG2,
  POINT_BYTES,
  writeG1,
  writeG2,
} from '../../../../circuits/groth16/point.ts';
import { createPool } from '../../../../runtime/msm/threads/pool.ts';
import { generator, wide } from '../../../circuits/groth16-circuit.ts';
import { assert, suite } from '../../../harness.ts';

const test = suite('msm pool', { timeoutMs: 100_000 });
// Negative, zero and one; window boundaries of 12 bits and of wasmcurves; all windows full; the highest bit alone.
const EDGES = [
  0n,
  1n,
  2n,
  R - 1n,
  R - 2n,
  ...[11, 12, 64, 253].flatMap((bits) => [2n ** BigInt(bits) - 1n, 2n ** BigInt(bits)]),
  BigInt(`0x0${'8'.repeat(63)}`),
  BigInt(`0x0${'800'.repeat(21)}`),
  BigInt(`0x0${'7ff'.repeat(21)}`),
];

const random = generator(7);
const randomScalars = (count: number) => Array.from({ length: count }, () => wide(random) % R);

function pack(scalars: readonly bigint[]): Uint8Array {
  const bytes = new Uint8Array(scalars.length * 32);
  scalars.forEach((scalar, index) => {
    writeElement(scalar, bytes, index * 32);
  });
  return bytes;
}
function unpack(bytes: Uint8Array): bigint[] {
  return Array.from({ length: bytes.byteLength / 32 }, (_, index) => readElement(bytes, index * 32));
}
/** scalar * generator by noble */
const reference = (group: Group, scalar: bigint) =>
  group === 'G1' ? writeG1(multiplyG1(G1.BASE, scalar)) : writeG2(multiplyG2(G2.BASE, scalar));
const equal = (left: Uint8Array, right: Uint8Array, message: string) =>
  assert.is(Buffer.compare(left, right), 0, message);

/** Nobody has to close it: see below. */
const pool = await createPool({ threads: 2 });

test('a transform of one element is that element', async () => {
  const [one] = unpack(await pool.ntt(elementBytes(1n), false));
  assert.is(one, 1n);
});

for (const group of ['G1', 'G2'] as const) {
  test(`${group}: multiples of the generator are noble's`, async () => {
    const scalars = [...EDGES, ...randomScalars(3)];
    const points = await pool.multiples(group, pack(scalars));
    const size = POINT_BYTES[group];
    scalars.forEach((scalar, index) => {
      equal(points.subarray(index * size, (index + 1) * size), reference(group, scalar), `${scalar} times`);
    });
    assert.is((await pool.multiples(group, new Uint8Array(0))).byteLength, 0);
  });
}

test('counts that differ are the caller’s error', async () => {
  for (const call of [
    () => pool.msm('G1', new Uint8Array(64), new Uint8Array(64)),
    () => pool.msm('G2', new Uint8Array(64), new Uint8Array(32)),
    () => pool.msm('G1', new Uint8Array(64), new Uint8Array(31)),
    () => pool.ntt(new Uint8Array(96), false),
    () => pool.ntt(new Uint8Array(0), true),
    () => pool.multiply(new Uint8Array(32), new Uint8Array(64)),
    () => pool.scale(new Uint8Array(32), new Uint8Array(64), new Uint8Array(32)),
    () => pool.sparseProduct(new Uint8Array(43), new Uint8Array(32), 1),
  ]) {
    assert.instance(await call().catch((error) => error), RangeError);
  }
  for (const threads of [0, -1, 1.5, 65, Number.NaN]) {
    assert.instance(await createPool({ threads }).catch((error) => error), RangeError);
  }
});

test('field vectors against BigInt', async () => {
  const [x, y, z] = [randomScalars(16), randomScalars(16), randomScalars(16)];
  const radix = (value: bigint) => (value * MONTGOMERY_R) % R;
  // Montgomery's product of x*R and y is x*y.
  const product = await pool.multiply(pack(x.map(radix)), pack(y), pack(z));
  assert.equal(
    unpack(product),
    x.map((value, index) => (((value * y[index]! - z[index]!) % R) + R) % R),
  );
  assert.equal(
    unpack(await pool.multiply(pack(x.map(radix)), pack(y))),
    x.map((value, index) => (value * y[index]!) % R),
  );

  const [first, step] = randomScalars(2) as [bigint, bigint];
  let factor = first;
  const expected = x.map((value) => {
    const scaled = (value * factor) % R;
    factor = (factor * step) % R;
    return scaled;
  });
  assert.equal(
    unpack(await pool.scale(pack(x), elementBytes(radix(first)), elementBytes(radix(step)))),
    expected,
  );

  const root = rootOfUnity(4);
  const transformed = Array.from({ length: 16 }, (_, row) =>
    x.reduce((sum, value, column) => {
      let power = 1n;
      for (let times = 0; times < row * column; times++) power = (power * root) % R;
      return (sum + value * power) % R;
    }, 0n),
  );
  assert.equal(unpack(await pool.ntt(pack(x), false)), transformed);
  assert.equal(unpack(await pool.ntt(pack(transformed), true)), x);
});

test('a sparse product leaves out what lies outside', async () => {
  const entry = (matrix: number, row: number, column: number, value: bigint) => {
    const bytes = new Uint8Array(44);
    const view = new DataView(bytes.buffer);
    [matrix, row, column].forEach((index, word) => {
      view.setUint32(4 * word, index, true);
    });
    writeElement((value * MONTGOMERY_R) % R, bytes, 12);
    return bytes;
  };
  const entries = [
    entry(0, 1, 0, 2n),
    entry(0, 1, 2, 3n),
    entry(1, 0, 1, R - 1n),
    entry(0, 2, 0, 5n),
    entry(0, 0, 3, 5n),
    entry(2, 0, 0, 5n),
    entry(0xffffffff, 0xffffffff, 0xffffffff, 5n),
  ];
  const [a, b] = await pool.sparseProduct(Buffer.concat(entries), pack([10n, 20n, 30n]), 2);
  assert.equal(unpack(a), [0n, 110n]);
  assert.equal(unpack(b), [R - 20n, 0n]);
});

test('arguments are left as they were, also those inside a larger buffer', async () => {
  const scalars = Buffer.from(pack([1n, 2n, 3n, 4n]));
  const view = scalars.subarray(32, 96);
  const bases = await pool.multiples('G1', view);
  const before = Buffer.from(scalars);
  equal(await pool.msm('G1', bases, view), reference('G1', 13n), 'sum');
  equal(scalars, before, 'scalars');
});

test('cancelling rejects at once and the pool goes on', async () => {
  const scalars = pack(randomScalars(4096));
  const abort = new AbortController();
  const before = pool.multiples('G1', pack([7n]));
  const calls = Array.from({ length: 5 }, () => pool.multiples('G2', scalars, { signal: abort.signal }));
  const other = pool.multiples('G1', pack([9n]));
  // Tasks are taken in order: when this one is done, a thread has begun with the next.
  await before;
  abort.abort();
  const settled = await Promise.allSettled(calls);
  // On a busy machine one thread may have done the first of them while the other still began.
  for (const call of settled) assert.ok(call.status === 'fulfilled' || call.reason.code === 'cancelled');
  const last = settled.at(-1)!;
  assert.is(last.status === 'rejected' && last.reason.code, 'cancelled');
  equal(await other, reference('G1', 9n), 'a call of somebody else');
  const late = await pool.msm('G1', new Uint8Array(0), new Uint8Array(0), { signal: abort.signal });
  assert.is(late.byteLength, 64);
  assert.is(
    (await pool.ntt(new Uint8Array(32), false, { signal: abort.signal }).catch((error) => error)).code,
    'cancelled',
  );
});

test('a thread that dies fails its call, and the next call gets a new one', async () => {
  const failing = await createPool({
    threads: 1,
    start: (_module, { onFailure }) => ({
      post: () => queueMicrotask(() => onFailure(new Error('killed'))),
      rest: () => undefined,
      terminate: async () => undefined,
    }),
  });
  for (let time = 0; time < 2; time++) {
    const error = await failing.ntt(new Uint8Array(32), false).catch((caught) => caught);
    assert.is(error.code, 'internal');
    assert.match(error.message, /killed/);
  }
  await failing.close();
});

test('a pool that nobody closes, or even uses, does not keep its process alive, but its answers come', () => {
  const script = `
    const { createPool } = await import(${JSON.stringify(new URL('../../../../runtime/msm/threads/pool.ts', import.meta.url).href)});
    await createPool({ threads: 2 });
    const pool = await createPool({ threads: 2 });
    const [a] = await Promise.all([pool.multiples('G1', new Uint8Array(32)), pool.ntt(new Uint8Array(32), false)]);
    console.log(a.byteLength);`;
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    timeout: 60_000,
    encoding: 'utf8',
  });
  assert.is(child.status, 0, child.stderr);
  assert.is(child.stdout, '64\n');
});

test('closing rejects what is under way and what comes after', async () => {
  const pool = await createPool({ threads: 2 });
  const call = pool.multiples('G2', pack(randomScalars(4096))).catch((error) => error);
  const waiting = Array.from({ length: 3 }, () =>
    pool.ntt(pack(randomScalars(1024)), false).catch((error) => error),
  );
  await pool.close();
  assert.is((await call).code, 'cancelled');
  for (const error of await Promise.all(waiting))
    assert.ok(error.code === 'cancelled' || error instanceof Uint8Array);
  assert.is((await pool.ntt(new Uint8Array(32), false).catch((error) => error)).code, 'not-ready');
  await pool.close();
});

test.run();
