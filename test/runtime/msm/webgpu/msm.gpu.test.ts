import { power, Q, R, readElement, writeElement } from '../../../../circuits/groth16/field.ts';
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
import { bytesSource } from '../../../../circuits/groth16/source.ts';
import { openGpu } from '../../../../runtime/gpu/adapter.ts';
import { createPool, type Pool } from '../../../../runtime/msm/threads/pool.ts';
import { emitInversion } from '../../../../runtime/msm/webgpu/inversion.ts';
import { createGpuMsm, type GpuMsm, type GpuMsmOptions } from '../../../../runtime/msm/webgpu/msm.ts';
import { createQueue, type Queue } from '../../../../runtime/msm/webgpu/queue.ts';
import { generator, wide } from '../../../circuits/groth16-circuit.ts';
import { assert, suite, type TestContext } from '../../../harness.ts';
import { checkMsm } from '../cases.ts';

// The first dispatch of a kernel compiles it, which takes lavapipe seconds in G2.
const test = suite('WGSL msm', { timeoutMs: 240_000 });
const random = generator(5);
const randomScalars = (count: number) => Array.from({ length: count }, () => wide(random) % R);
const same = <T>(count: number, value: T): T[] => new Array<T>(count).fill(value);
function pack(values: readonly bigint[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(32 * values.length);
  values.forEach((value, i) => {
    writeElement(value, bytes, 32 * i);
  });
  return bytes;
}
const multiple = (group: Group, scalar: bigint) =>
  group === 'G1' ? writeG1(multiplyG1(G1.BASE, scalar)) : writeG2(multiplyG2(G2.BASE, scalar));
const dot = (logs: readonly bigint[], scalars: readonly bigint[]) =>
  logs.reduce((sum, log, i) => (sum + log * scalars[i]!) % R, 0n);

async function open(t: TestContext): Promise<Queue> {
  const gpu = await openGpu({ allowSoftware: true }).catch((error: Error) => t.skip(error.message));
  return createQueue(gpu.device);
}
interface World {
  /** of the one device for all tests but that which loses it: kernels are compiled once */
  readonly queue: Queue;
  readonly pool: Pool;
}
let world: Promise<World> | undefined;
let closing: NodeJS.Timeout | undefined;
/** Closed when no test wants it any more. */
async function worldOf(t: TestContext): Promise<World> {
  clearTimeout(closing);
  world ??= open(t).then(async (queue) => ({ queue, pool: await createPool({ threads: 2 }) }));
  const { queue, pool } = await world;
  t.defer(() => {
    closing = setTimeout(() => {
      queue.device.destroy();
      void pool.close();
    }, 1000);
  });
  return { queue, pool };
}
function engine({ queue }: World, t: TestContext, options: Partial<GpuMsmOptions> = {}): GpuMsm {
  const msm = createGpuMsm(queue, { variant: 'words', threads: 256, ...options });
  t.defer(() => msm.close());
  return msm;
}
/** Points whose logarithms are known. */
const points = ({ pool }: World, group: Group, logs: readonly bigint[]) => pool.multiples(group, pack(logs));

for (const group of ['G1', 'G2'] as const) {
  test(`${group}: divisions against BigInt`, async (t) => {
    const { queue } = await worldOf(t);
    const count = 512;
    const values = [1n, 2n, Q - 1n, Q - 2n, 2n ** 256n % Q, 2n ** 253n, 2n ** 14n, 2n ** 252n - 1n, 0n];
    while (values.length < 2 * count) values.push(wide(random) % Q);
    // In G2 also numbers whose one half is zero.
    values[10] = 0n;
    values[13] = 0n;
    const size = group === 'G1' ? 1 : 2;
    const buffer = await queue.buffer('products', 32 * size * count);
    await queue.write(buffer, 0, pack(values.slice(0, size * count)));
    const pipeline = await queue.pipeline('inversion', emitInversion(group, 'words'));
    const step = {
      stage: 'test',
      pipeline,
      buffers: [buffer],
      params: [count],
      workgroups: count / 64,
      work: 2000,
    };
    await queue.run([step]);
    const bytes = await queue.read(buffer, 32 * size * count);
    const radix = 2n ** 256n % Q;
    const mod = (value: bigint) => ((value % Q) + Q) % Q;
    for (let i = 0; i < count; i++) {
      const [re, im] = size === 1 ? [values[i]!, 0n] : [values[2 * i]!, values[2 * i + 1]!];
      const norm = power(mod(re * re + im * im), Q - 2n, Q) * radix * radix;
      assert.is(readElement(bytes, 32 * size * i), mod(re * norm), `1 / (${re} + ${im} u)`);
      if (size === 2) assert.is(readElement(bytes, 64 * i + 32), mod(-im * norm), `1 / (${re} + ${im} u)`);
    }
  });

  test(`${group}: larger sizes, against the CPU's engine`, async (t) => {
    const world = await worldOf(t);
    const msm = engine(world, t);
    const sizes = [511, 512, 513];
    const largest = group === 'G1' ? 2 ** 14 + 1 : 2 ** 12 + 1;
    sizes.push(largest - 2, largest - 1, largest);
    const bases = await points(world, group, randomScalars(largest));
    const scalars = pack(randomScalars(largest));
    for (const size of sizes) {
      const range = [bases.subarray(0, size * POINT_BYTES[group]), scalars.subarray(0, 32 * size)] as const;
      assert.equal(await msm.msm(group, ...range), await world.pool.msm(group, ...range), `${size} points`);
    }
  });

  test(`${group}: the cases that every engine has to get right`, async (t) => {
    const msm = engine(await worldOf(t), t);
    const largest = group === 'G1' ? 128 : 16;
    await checkMsm((_, bases, scalars) => msm.msm(group, bases, scalars), group, { largest });
  });
}

test('sections held together share one sort, with and without tables, whole and in pieces', async (t) => {
  const world = await worldOf(t);
  const { queue } = world;
  const count = 300;
  const lead = 5;
  const logs = [count, count, count - lead, count].map((length) => randomScalars(length));
  logs[1]!.fill(0n, 40, 90);
  const groups = ['G1', 'G2', 'G1', 'G1'] as const;
  const encoded = await Promise.all(logs.map((log, i) => points(world, groups[i]!, log)));
  const sections = encoded.map((bytes, i) => ({
    group: groups[i]!,
    points: bytesSource(bytes),
    ...(i === 2 ? { lead } : {}),
  }));
  logs[2]!.unshift(...same(lead, 0n));
  const pointBytes = 3 * POINT_BYTES.G1 + POINT_BYTES.G2;
  for (const [label, { slotBytes, tableBytes, levels }] of Object.entries({
    'no table': { slotBytes: 2 ** 26, tableBytes: 0, levels: 1 },
    'three multiples': { slotBytes: 2 ** 26, tableBytes: 3 * pointBytes * count, levels: 3 },
    'all multiples': { slotBytes: 2 ** 26, tableBytes: 200 * pointBytes * count, levels: 0 },
    pieces: { slotBytes: 64 * 2000, tableBytes: 0, levels: 1 },
    'pieces and multiples': { slotBytes: 64 * 2000, tableBytes: 2 * pointBytes * count, levels: 2 },
  })) {
    const msm = createGpuMsm(queue, { variant: 'words', threads: 64, slotBytes });
    const held = await msm.hold(sections, { tableBytes });
    assert.is(held.count, count);
    assert.is(held.windows.levels, levels || held.windows.windows, label);
    assert.is(held.windows.sets, Math.ceil(held.windows.windows / held.windows.levels));
    assert.ok(held.bytes <= Math.max(tableBytes, pointBytes * count) + 1024, label);
    for (const scalars of [randomScalars(count), randomScalars(count).map((scalar) => scalar & 1n)]) {
      const buffer = await queue.buffer('scalars', 32 * count);
      await queue.write(buffer, 0, pack(scalars));
      const sums = await held.sums(buffer);
      buffer.destroy();
      for (const [i, sum] of sums.entries()) {
        assert.equal(sum, multiple(groups[i]!, dot(logs[i]!, scalars)), `${label}, section ${i}`);
      }
    }
    held.release();
    msm.close();
  }
});

test('sections of different lengths are refused, and so is a closed engine', async (t) => {
  const world = await worldOf(t);
  const msm = engine(world, t);
  const section = (count: number) => ({
    group: 'G1' as const,
    points: bytesSource(new Uint8Array(64 * count)),
  });
  for (const sections of [[], [section(2), section(3)], [{ ...section(2), lead: 1 }, section(2)]]) {
    await msm.hold(sections).then(
      () => assert.unreachable(),
      (error) => assert.instance(error, RangeError),
    );
  }
  const wrong = await msm.msm('G1', new Uint8Array(64), new Uint8Array(64)).catch((error) => error);
  assert.instance(wrong, RangeError);
  const held = await msm.hold([section(1)]);
  msm.close();
  const error = await msm.msm('G1', new Uint8Array(64), pack([1n])).catch((caught) => caught);
  assert.is(error.code, 'not-ready');
  held.release();
});

test('an abort stops between submits; the engine goes on', async (t) => {
  const world = await worldOf(t);
  const msm = engine(world, t);
  // Some 200 ms on two quiet cores.
  const size = 2 ** 13;
  const bases = await points(world, 'G1', same(size, 3n));
  const scalars = pack(randomScalars(size));
  const expected = await world.pool.msm('G1', bases, scalars);
  for (const delay of [0, 10]) {
    const abort = new AbortController();
    if (delay === 0) abort.abort();
    else setTimeout(() => abort.abort(), delay);
    const error = await msm.msm('G1', bases, scalars, { signal: abort.signal }).catch((caught) => caught);
    assert.is(error.code, 'cancelled');
  }
  assert.equal(await msm.msm('G1', bases, scalars), expected);
});

test('a lost device is a coded error, at once and afterwards', async (t) => {
  const world = await worldOf(t);
  const queue = await open(t);
  t.defer(() => queue.device.destroy());
  const msm = createGpuMsm(queue, { variant: 'words', threads: 256 });
  const bases = await points(world, 'G1', same(4096, 3n));
  const pending = msm.msm('G1', bases, pack(randomScalars(4096))).catch((caught) => caught);
  setTimeout(() => queue.device.destroy(), 100);
  assert.is((await pending).code, 'device-lost');
  const again = await msm.msm('G1', bases, pack(randomScalars(4096))).catch((caught) => caught);
  assert.is(again.code, 'device-lost');
});

test.run();
