/** Rows, transforms and products on the GPU against the CPU's threads, which have their own tests. */
import {
  elementBytes,
  MONTGOMERY_R,
  MONTGOMERY_R2,
  R,
  rootOfUnity,
  writeElement,
} from '../../../../circuits/groth16/field.ts';
import { openGpu } from '../../../../runtime/gpu/adapter.ts';
import { createPool, type Pool } from '../../../../runtime/msm/threads/pool.ts';
import { FIELD_VARIANTS } from '../../../../runtime/msm/webgpu/field.ts';
import { createTransforms, passesOf } from '../../../../runtime/msm/webgpu/ntt.ts';
import { createQueue, type Queue } from '../../../../runtime/msm/webgpu/queue.ts';
import { createRows, partsOf } from '../../../../runtime/msm/webgpu/rows.ts';
import { generator, wide } from '../../../circuits/groth16-circuit.ts';
import { assert, suite, type TestContext } from '../../../harness.ts';

const test = suite('WebGPU quotient', { timeoutMs: 120_000 });
const random = generator(5);

async function open(t: TestContext): Promise<{ queue: Queue; pool: Pool }> {
  const gpu = await openGpu({ allowSoftware: true }).catch((error: Error) => t.skip(error.message));
  t.defer(() => gpu.close());
  const pool = await createPool({ threads: 1 });
  t.defer(() => pool.close());
  return { queue: createQueue(gpu.device), pool };
}

function vector(count: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(count * 32);
  // Zeros and the largest element among them.
  for (let i = 0; i < count; i++)
    writeElement([0n, R - 1n, 1n][random() % 16] ?? wide(random) % R, bytes, i * 32);
  return bytes;
}
async function uploaded(queue: Queue, bytes: Uint8Array): Promise<GPUBuffer> {
  const buffer = await queue.buffer('test', bytes.byteLength);
  await queue.write(buffer, 0, bytes);
  return buffer;
}
const same = (actual: Uint8Array, expected: Uint8Array, what: string) =>
  assert.is(Buffer.compare(actual, expected), 0, what);

/** What `shift` does, by the pool: times the size, because nothing is divided by it. */
async function shifted(pool: Pool, values: Uint8Array): Promise<Uint8Array> {
  const k = Math.log2(values.byteLength / 32);
  const step = elementBytes((rootOfUnity(k + 1) * MONTGOMERY_R) % R);
  const size = elementBytes((2n ** BigInt(k) * MONTGOMERY_R) % R);
  return pool.ntt(await pool.scale(await pool.ntt(values, true), size, step), false);
}

test('passes cover every stage once, in order, each inside of its tile', () => {
  for (let k = 0; k <= 27; k++) {
    let next = 0;
    for (const { low, rows, from, to } of passesOf(k)) {
      assert.is(from, next);
      next = to;
      for (let step = from; step < to; step++) {
        const bit = step < k ? k - 1 - step : step - k;
        assert.ok(bit >= low && bit < low + rows, `2^${k}: stage ${step} in ${low} + ${rows}`);
      }
      assert.ok(rows <= 9 && (low === 0 || (low >= 9 && rows <= 8)));
    }
    assert.is(next, 2 * k);
  }
});

test('transforms of every size from 2^0 to 2^14', async (t) => {
  const { queue, pool } = await open(t);
  for (let k = 0; k <= 14; k++) {
    const transforms = await createTransforms(queue, k, 'words');
    const values = vector(2 ** k);
    const buffer = await uploaded(queue, values);
    await queue.run(transforms.shift(buffer));
    same(await queue.read(buffer, values.byteLength), await shifted(pool, values), `2^${k}`);
    transforms.destroy();
  }
});

test('every field variant, and products with and without a difference', async (t) => {
  const { queue, pool } = await open(t);
  const k = 10;
  for (const variant of FIELD_VARIANTS) {
    const transforms = await createTransforms(queue, k, variant);
    const [a, b, c] = [vector(2 ** k), vector(2 ** k), vector(2 ** k)];
    const [onGpuA, onGpuB, onGpuC] = [
      await uploaded(queue, a),
      await uploaded(queue, b),
      await uploaded(queue, c),
    ];
    await queue.run([transforms.join(onGpuA, onGpuB, onGpuC)]);
    const size = 2n ** BigInt(k);
    const scaled = (factor: bigint, values: Uint8Array) =>
      pool.scale(values, elementBytes(factor), elementBytes(MONTGOMERY_R));
    const inverse = (R + 1n) / 2n;
    let perSquare = 1n;
    for (let i = 0; i < 2 * k; i++) perSquare = (perSquare * inverse) % R;
    same(
      await queue.read(onGpuC, c.byteLength),
      await scaled(perSquare, await pool.multiply(a, b, c)),
      `${variant}: join`,
    );
    await queue.run([transforms.product(onGpuA, onGpuB, onGpuC)]);
    same(
      await queue.read(onGpuC, c.byteLength),
      await scaled((size * MONTGOMERY_R) % R, await pool.multiply(a, b)),
      `${variant}: product`,
    );
    await queue.run(transforms.shift(onGpuA));
    same(await queue.read(onGpuA, a.byteLength), await shifted(pool, a), `${variant}: transforms`);
  }
});

/** `shape(row)` entries for each row of A and B, in no order. */
function sparse(rows: number, columns: number, shape: (row: number) => number): Uint8Array {
  const entries: Uint8Array[] = [];
  for (let row = 0; row < rows; row++) {
    for (const matrix of [0, 1]) {
      for (let i = 0; i < shape(row); i++) {
        const entry = new Uint8Array(44);
        new Uint32Array(entry.buffer, 0, 3).set([matrix, row, random() % columns]);
        writeElement(((wide(random) % R) * MONTGOMERY_R2) % R, entry, 12);
        entries.push(entry);
      }
    }
  }
  entries.sort(() => (random() % 2) - 0.5);
  return Buffer.concat(entries);
}

test('rows: empty ones, long ones, none at all', async (t) => {
  const { queue, pool } = await open(t);
  const columns = 50;
  const witness = vector(columns);
  for (const [name, rows, shape] of [
    ['one row', 1, () => 1],
    ['no entries', 8, () => 0],
    ['up to four', 300, (row: number) => row % 5],
    ['around a segment', 64, (row: number) => 14 + (row % 5)],
    ['one long row', 16, (row: number) => (row === 7 ? 2000 : 0)],
  ] as const) {
    const entries = sparse(rows, columns, shape);
    const onGpu = await createRows(queue, entries, rows, 'words');
    const [w, a, b] = [
      await uploaded(queue, witness),
      await queue.buffer('a', rows * 32),
      await queue.buffer('b', rows * 32),
    ];
    await queue.run(onGpu.multiply(w, a, b));
    const [expectedA, expectedB] = await pool.sparseProduct(entries, witness, rows);
    same(await queue.read(a, rows * 32), expectedA, `${name}: A`);
    same(await queue.read(b, rows * 32), expectedB, `${name}: B`);
    onGpu.destroy();
  }
});

test('rows are cut into parts where a binding is too small', async (t) => {
  const entries = sparse(40, 10, (row) => row % 7);
  for (const limit of [6, 20, 50, 1000]) {
    let total = 0;
    for (const { from, to, values, columns, cuts, starts } of partsOf(entries, 40, limit)) {
      assert.ok(columns.length <= limit && cuts.length - 1 <= limit);
      assert.is(values.length, 32 * columns.length);
      assert.is(starts.length, to - from + 1);
      assert.is(cuts[starts.at(-1)!], columns.length);
      total += columns.length;
    }
    assert.is(total, entries.byteLength / 44);
  }
  assert.throws(() => [...partsOf(entries, 40, 5)], /row 6 has more than 5 entries/);

  const { queue, pool } = await open(t);
  const small = { ...queue, device: { limits: { maxStorageBufferBindingSize: 20 * 32 } } as GPUDevice };
  const witness = vector(10);
  const onGpu = await createRows(small, entries, 40, 'words');
  const [w, a, b] = [
    await uploaded(queue, witness),
    await queue.buffer('a', 40 * 32),
    await queue.buffer('b', 40 * 32),
  ];
  await queue.run(onGpu.multiply(w, a, b));
  const [expectedA, expectedB] = await pool.sparseProduct(entries, witness, 40);
  same(await queue.read(a, 40 * 32), expectedA, 'A');
  same(await queue.read(b, 40 * 32), expectedB, 'B');
});

test.run();
