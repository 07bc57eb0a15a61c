import { Q, R, readElement, writeElement } from '../../../../circuits/groth16/field.ts';
import {
  firstOffCurve,
  G1,
  G2,
  type Group,
  multiplyG1,
  multiplyG2,
  POINT_BYTES,
  writeG1,
  writeG2,
} from '../../../../circuits/groth16/point.ts';
import { createMsm } from '../../../../runtime/msm/programs/msm.ts';
import { createMultiples } from '../../../../runtime/msm/programs/multiples.ts';
import { tablesOf, windowBits } from '../../../../runtime/msm/programs/windows.ts';
import { createWorkshop, type Run } from '../../../../runtime/msm/programs/workshop.ts';
import { curveModule } from '../../../../runtime/msm/threads/fallback.ts';
import { createKernel, type Kernel } from '../../../../runtime/msm/threads/kernel.ts';
import { instantiateKernel } from '../../../../runtime/msm/wasm/instance.ts';
import { createSharedKernel, type FieldKind } from '../../../../runtime/msm/wasm/kernel.ts';
import { BATCH, OVERFLOW } from '../../../../runtime/msm/wasm/layout.ts';
import { generator, wide } from '../../../circuits/groth16-circuit.ts';
import { assert, suite } from '../../../harness.ts';

const test = suite('wasm msm', { timeoutMs: 60_000 });
/** wasmcurves */
const oracle: Kernel = createKernel({ curve: await curveModule(), shared: undefined, thread: 0 });

const random = generator(11);
const randomScalars = (count: number) => Array.from({ length: count }, () => wide(random) % R);
function pack(scalars: readonly bigint[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(scalars.length * 32);
  scalars.forEach((scalar, index) => {
    writeElement(scalar, bytes, index * 32);
  });
  return bytes;
}
/** The multiples of the generator by noble. */
const reference = (group: Group, scalar: bigint) =>
  group === 'G1' ? writeG1(multiplyG1(G1.BASE, scalar)) : writeG2(multiplyG2(G2.BASE, scalar));

const same = <T>(count: number, value: T): T[] => new Array<T>(count).fill(value);

test('windows: the fewest additions', () => {
  assert.equal(
    [0, 1, 1 << 10, 1 << 14, 1 << 16, 1 << 18].map((count) => windowBits(count)),
    [4, 4, 8, 11, 13, 15],
  );
});

/** In this thread, which cuts the work as two would. */
async function load(kind: FieldKind) {
  const shared = await createSharedKernel(kind);
  if (!shared) return undefined;
  const execute = instantiateKernel(shared, 0);
  const run: Run = async (program) => execute(program(0, 0));
  const workshop = createWorkshop(shared, 2, run);
  const msm = createMsm(workshop);
  return { ...msm, ...createMultiples(workshop, msm), arena: workshop.arena };
}

for (const kind of ['fma', 'int'] as const) {
  const engine = await load(kind);
  if (!engine) {
    test(`${kind}: the engine knows the instructions`, (t) => t.skip('it does not'));
    continue;
  }
  /** Bases with known logarithms: the sum is one multiple of the generator. */
  const compare = async (
    group: Group,
    logs: bigint[],
    scalars: bigint[],
    message: string,
    bits?: number,
  ): Promise<void> => {
    const bases = oracle.multiples(group, pack(logs));
    const sum = await engine.msm(group, bases, pack(scalars), { bits });
    const log = logs.reduce((total, base, index) => (total + base * scalars[index]!) % R, 0n);
    assert.is(Buffer.compare(sum, reference(group, log)), 0, message);
  };
  for (const group of ['G1', 'G2'] as const) {
    const small = group === 'G1';
    // The other field's curve is the same code: a part of the cases shows that it is wired rightly.
    const whole = kind === 'fma';

    test(`${kind}, ${group}: sizes`, async () => {
      const sizes = [0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 127, 128, 129, 511, 512, 513, 1023, 1024, 1025];
      for (const size of whole ? sizes : sizes.slice(0, 15)) {
        await compare(group, randomScalars(size), randomScalars(size), `size ${size}`);
      }
    });

    test(`${kind}, ${group}: against wasmcurves at ${small ? 20_000 : 5000}`, async () => {
      const size = small ? 20_000 : 5000;
      const bases = oracle.multiples(group, pack(randomScalars(size)));
      const scalars = pack(randomScalars(size));
      assert.is(
        Buffer.compare(await engine.msm(group, bases, scalars), oracle.msm(group, bases, scalars)),
        0,
      );
    });

    test(`${kind}, ${group}: edge scalars, alone, together and all equal`, async () => {
      const edges = [
        ...[0n, 1n, 2n, R - 1n, R - 2n, (R - 1n) / 2n, (R + 1n) / 2n],
        // Not reduced: these are right too.
        ...[R, R + 1n, 2n * R, 5n * R + 3n, 2n ** 256n - 1n],
        ...Array.from({ length: 254 / 6 }, (_, index) => 2n ** BigInt(6 * index)),
        ...[4, 8, 11, 13].flatMap((bits) => [
          2n ** BigInt(bits - 1) - 1n,
          2n ** BigInt(bits - 1),
          2n ** BigInt(bits) - 1n,
        ]),
        BigInt(`0x0${'8'.repeat(63)}`),
        BigInt(`0x0${'7'.repeat(63)}`),
        BigInt(`0x0${'800'.repeat(21)}`),
        BigInt(`0x0${'f'.repeat(62)}`),
      ];
      for (const edge of edges) await compare(group, [5n], [edge], `alone ${edge}`);
      await compare(group, randomScalars(edges.length), edges, 'together');
      for (const edge of [0n, 1n, R - 1n, 2n ** 253n, 3n]) {
        await compare(group, randomScalars(300), same(300, edge), `all ${edge}`);
      }
    });

    if (!whole) continue;
    test(`${kind}, ${group}: every width of window`, async () => {
      const [logs, scalars] = [randomScalars(70), randomScalars(70)];
      for (let bits = 2; bits <= (small ? 15 : 12); bits++)
        await compare(group, logs, scalars, `${bits} bits`, bits);
    });

    test(`${kind}, ${group}: repeated, opposite and infinite bases`, async () => {
      const base = randomScalars(1)[0]!;
      const count = small ? 1500 : 600;
      const scalars = randomScalars(count);
      const cases: Record<string, (index: number) => bigint> = {
        repeated: () => base,
        opposite: (index) => (index % 2 ? base : R - base),
        infinite: () => 0n,
        'every third infinite': (index) => (index % 3 ? base + BigInt(index) : 0n),
        doubling: (index) => (base << BigInt(index % 8)) % R,
        'consecutive multiples': (index) => BigInt(index),
        'a repeated pair': (index) => (index % 2 ? 1n : 2n),
      };
      for (const [name, log] of Object.entries(cases)) {
        const logs = scalars.map((_, index) => log(index));
        await compare(group, logs, scalars, `${name}, random scalars`);
        await compare(group, logs, same(count, 3n), `${name}, equal scalars`);
        await compare(group, logs, same(count, R - 1n), `${name}, -1`);
        await compare(group, logs, logs, `${name}, scalars like bases`);
        await compare(
          group,
          logs,
          scalars.map((scalar) => scalar & 1n),
          `${name}, bits`,
        );
        await compare(
          group,
          logs,
          scalars.map((scalar, index) => (index % 2 ? scalar : R - scalar)),
          `${name}, opposite scalars`,
        );
      }
    });

    test(`${kind}, ${group}: more than an overflow and a batch hold`, async () => {
      const count = small ? 2 * OVERFLOW + BATCH + 3 : OVERFLOW + 3;
      const logs = randomScalars(count);
      await compare(group, logs, same(count, 1n), 'ones');
      await compare(
        group,
        logs,
        logs.map((log) => log & 1n),
        'bits',
      );
      await compare(
        group,
        logs,
        logs.map((log) => log & 0xffn),
        'bytes',
      );
      await compare(
        group,
        logs,
        logs.map((log, index) => (index % 10 ? log & 1n : log)),
        'bits and some others',
      );
      await compare(group, same(count, 7n), same(count, 1n), 'ones of the same');
      await compare(
        group,
        logs.map((_, index) => (index % 2 ? 7n : R - 7n)),
        same(count, 1n),
        'ones that cancel',
      );
      await compare(group, logs, same(count, logs[0]!), 'the same');
    });
  }

  for (const group of ['G1', 'G2'] as const) {
    test(`${kind}, ${group}: the first point that is not on the curve`, async () => {
      const size = POINT_BYTES[group];
      const points = oracle.multiples(group, pack([0n, 1n, 2n, R - 1n, ...randomScalars(600)]));
      assert.is(await engine.firstOffCurve(group, points), -1);
      assert.is(await engine.firstOffCurve(group, new Uint8Array(0)), -1);
      for (let coordinate = 0; coordinate < size / 32; coordinate++) {
        for (const [at, change] of [
          [0, (value: bigint) => value + 1n],
          [300, (value: bigint) => value ^ 1n],
          [603, (value: bigint) => value + Q],
        ] as const) {
          const wrong = points.slice();
          const place = at * size + coordinate * 32;
          writeElement(change(readElement(wrong, place)), wrong, place);
          assert.is(await engine.firstOffCurve(group, wrong), at, `coordinate ${coordinate} of point ${at}`);
          assert.is(firstOffCurve(group, wrong), at);
        }
      }
      const two = points.slice();
      for (const at of [7, 5]) two[at * size]! ^= 1;
      assert.is(await engine.firstOffCurve(group, two), 5);
    });

    test(`${kind}, ${group}: points at infinity are left out, wherever they are`, async () => {
      const count = 1500;
      const factors = randomScalars(count);
      for (const [name, stays] of Object.entries({
        none: () => false,
        'the first': (at: number) => at === 0,
        'the last': (at: number) => at === count - 1,
        'every third': (at: number) => at % 3 === 1,
        'all but one': (at: number) => at !== 700,
        'the second half': (at: number) => at >= count / 2,
      })) {
        const bases = oracle.multiples(group, pack(factors.map((factor, at) => (stays(at) ? factor : 0n))));
        const scalars = pack(randomScalars(count));
        const expected = oracle.msm(group, bases.slice(), scalars.slice());
        assert.is(Buffer.compare(await engine.msm(group, bases, scalars), expected), 0, name);
      }
    });

    test(`${kind}, ${group}: tables give the same sums, kept ones too`, async () => {
      const count = group === 'G1' ? 3000 : 1100;
      const bases = oracle.multiples(group, pack([0n, 1n, 1n, R - 1n, ...randomScalars(count - 4)]));
      const scalars = pack([5n, 0n, R - 1n, ...randomScalars(count - 203), ...same(200, 3n)]);
      const expected = await engine.msm(group, bases, scalars);
      const plain = await engine.loadPoints(group, count, async (target, offset) => {
        target.set(bases.subarray(offset, offset + target.byteLength));
      });
      const used = engine.arena.used;
      const kept = new Map<string, Uint8Array>();
      const store = {
        read: async (name: string, target: Uint8Array) => {
          const bytes = kept.get(name);
          if (bytes) target.set(bytes);
          return bytes !== undefined;
        },
        write: async (name: string, bytes: Uint8Array) => void kept.set(name, bytes.slice()),
      };
      for (const levels of kind === 'fma' ? [2, 3, 7, 16, 16] : [3]) {
        const tables = tablesOf(count, levels);
        let done = 0;
        const options = { tables, store, name: 'points', onProgress: (share: number) => (done += share) };
        const points = await engine.tabulate(plain, options);
        assert.ok(Math.abs(done - 1) < 1e-6);
        const sum = await engine.sumOf(points, scalars, {}, tables.bits);
        assert.is(Buffer.compare(sum, expected), 0, `${levels} tables`);
        engine.arena.release(points.region);
      }
      assert.is(kept.size, kind === 'fma' ? 4 : 1);
      assert.is(engine.arena.used, used);
      engine.arena.release(plain.region);
    });

    test(`${kind}, ${group}: multiples of the generator`, async () => {
      const scalars = pack([
        0n,
        1n,
        2n,
        3n,
        R - 1n,
        R - 2n,
        2047n,
        2048n,
        2049n,
        4095n,
        4096n,
        ...randomScalars(100),
      ]);
      assert.is(Buffer.compare(await engine.multiples(group, scalars), oracle.multiples(group, scalars)), 0);
    });
  }

  test(`${kind}: groups may alternate, and sizes shrink and grow`, async () => {
    for (const [group, size] of [
      ['G1', 3000],
      ['G2', 40],
      ['G1', 5],
      ['G2', 700],
      ['G1', 4000],
    ] as const) {
      await compare(group, randomScalars(size), randomScalars(size), `${group} ${size}`);
    }
  });
}

test.run();
