import { SECTION_GROUP, SECTIONS, type SectionRange } from '../../../../circuits/groth16/engine.ts';
import { POINT_BYTES } from '../../../../circuits/groth16/point.ts';
import { prove } from '../../../../circuits/groth16/prove.ts';
import { setup } from '../../../../circuits/groth16/setup.ts';
import { type ProvingKey, readZkey } from '../../../../circuits/groth16/zkey.ts';
import type { PointRun } from '../../../../runtime/msm/runs.ts';
import { type PartialSum, pointRanges, sectionSums } from '../../../../runtime/msm/shards/sums.ts';
import { pieceOf } from '../../../../runtime/msm/shards/work.ts';
import { createPool } from '../../../../runtime/msm/threads/pool.ts';
import { randomCircuit } from '../../../circuits/groth16-circuit.ts';
import { assert, suite } from '../../../harness.ts';

const test = suite('streamed points', { timeoutMs: 60_000 });

test('sums over points that are read some at a time are those over held ones, and no read takes more', async (t) => {
  const pool = await createPool({ threads: 2 });
  t.defer(() => pool.close());
  const { r1cs, witness } = randomCircuit({ constraints: 1500, publicInputs: 5, seed: 8 });
  const { zkey } = await setup(r1cs, { field: pool, points: pool });
  const whole = readZkey(zkey);
  const reads: { part: string; bytes: number }[] = [];
  const key: ProvingKey = {
    ...whole,
    read: (part, target, offset) => {
      reads.push({ part, bytes: target.byteLength });
      return whole.read(part, target, offset);
    },
  };
  const held = await pool.ready(whole);
  const expected = await held.sums(witness);
  // Pieces that divide no section evenly, of which the last is one point, and one piece.
  for (const streamedPoints of [100, 299, 2 ** 20]) {
    reads.length = 0;
    const ready = await pool.ready(key, { points: 'streamed', streamedPoints });
    assert.equal(await ready.sums(witness), expected, `${streamedPoints} at a time`);
    const points = reads.filter(({ part }) => part !== 'entries');
    assert.ok(points.every(({ bytes }) => bytes <= streamedPoints * 128));
    const sizes = Object.fromEntries(SECTIONS.map((section) => [section, whole.range(section).length]));
    const total = Map.groupBy(points, ({ part }) => part);
    for (const section of SECTIONS)
      assert.is(
        total.get(section)!.reduce((sum, { bytes }) => sum + bytes, 0),
        sizes[section],
        `every point of ${section} once`,
      );
    for (const section of ['A', 'B2', 'C'] as const) {
      const scalars = section === 'C' ? witness.subarray((key.publics + 1) * 32) : witness;
      assert.equal(await ready.msm(section, scalars), expected[section], section);
    }
    ready.release();
  }
  const { proof } = await prove(whole, witness, {
    ...pool,
    ready: (own, options) => pool.ready(own, { ...options, points: 'streamed', streamedPoints: 64 }),
  });
  assert.ok(proof);
  held.release();
});

test('sums over ranges, held, streamed and with tables, add up to the whole ones', async (t) => {
  const pool = await createPool({ threads: 2 });
  t.defer(() => pool.close());
  const { r1cs, witness } = randomCircuit({ constraints: 1500, publicInputs: 5, seed: 8 });
  const key = readZkey((await setup(r1cs, { field: pool, points: pool })).zkey);
  const held = await pool.ready(key);
  const expected = await held.sums(witness);
  const streamed = await pool.ready(key, { points: 'streamed' });
  const tabulated = await pool.ready(key);
  assert.ok((await tabulated.tabulate!({ bytes: 2 ** 24 })).levels > 1);
  const cuts = [0, 1, 300, 301, 1100, key.variables];
  for (const [kind, ready] of Object.entries({ held, streamed, tabulated })) {
    const parts: PartialSum[] = [];
    for (const [i, from] of cuts.slice(0, -1).entries()) {
      const piece = pieceOf('wires', from, cuts[i + 1]! - from);
      const scalars = witness.subarray(from * 32, cuts[i + 1]! * 32);
      const points = await ready.rangeSums!(pointRanges(key, piece), scalars);
      parts.push({ piece, points, worker: kind, millis: 0 });
    }
    const { A, B1, B2, C } = sectionSums(key, parts);
    assert.equal({ ...expected, A, B1, B2, C }, expected, kind);
    const tooMany = ready.rangeSums!([{ section: 'A', from: 1, count: key.variables }], witness);
    assert.match(await tooMany.then(String, String), 'A: expected a range of its');
    ready.release();
  }
});

test('points that are held by chunks give the same sums, are read once', async (t) => {
  const pool = await createPool({ threads: 2 });
  t.defer(() => pool.close());
  const { r1cs, witness } = randomCircuit({ constraints: 1500, publicInputs: 5, seed: 8 });
  const file = (await setup(r1cs, { field: pool, points: pool })).zkey;
  const key = readZkey(file);
  const expected = await (await pool.ready(key)).sums(witness);
  // Most points of both groups lie in two chunks now and then, and sections begin anywhere in one.
  for (const size of [10_000, 4_099, 2 ** 20]) {
    let reads = 0;
    const runOf = ({ section, from, count }: SectionRange): PointRun => {
      const bytes = POINT_BYTES[SECTION_GROUP[section]];
      const start = key.range(section).offset + from * bytes;
      const [first, last] = [Math.floor(start / size), Math.floor((start + count * bytes - 1) / size)];
      const chunks = Array.from({ length: last - first + 1 }, (_, i) => ({
        name: `${size}-${first + i}`,
        read: async () => {
          reads++;
          return file.slice((first + i) * size, (first + i + 1) * size);
        },
      }));
      return { group: SECTION_GROUP[section], count, chunks, offset: start - first * size };
    };
    const sumsOf = async (cuts: readonly number[]) => {
      const parts: PartialSum[] = [];
      for (const [i, from] of cuts.slice(0, -1).entries()) {
        const piece = pieceOf('wires', from, cuts[i + 1]! - from);
        const held = await pool.hold!(pointRanges(key, piece).map(runOf), piece.count);
        const points = await held.sums(witness.subarray(from * 32, cuts[i + 1]! * 32));
        held.release();
        parts.push({ piece, points, worker: 'w1', millis: 0 });
      }
      return { ...sectionSums(key, parts), H: expected.H };
    };
    assert.equal(await sumsOf([0, 1, 77, 300, 301, 1100, key.variables]), expected, `chunks of ${size}`);
    const before = reads;
    assert.equal(await sumsOf([0, 500, 501, key.variables]), expected);
    assert.is(reads, before, 'nothing was read again');
    const missing = runOf({ section: 'A', from: 0, count: 100 });
    const tooFar = {
      ...missing,
      count: key.variables,
      chunks: missing.chunks.slice(0, 1),
      offset: size - 10,
    };
    const refused = await pool.hold!([tooFar], key.variables).then(String, String);
    assert.match(refused, 'expected chunks that hold');
    const failing = { ...missing, chunks: [{ name: 'x', read: () => Promise.reject(new Error('gone')) }] };
    for (let run = 0; run < 2; run++)
      assert.match(await pool.hold!([failing], 100).then(String, String), 'gone');
  }
});

test('a read that fails ends the sum with its reason, and the next one is right', async (t) => {
  const pool = await createPool({ threads: 2 });
  t.defer(() => pool.close());
  const { r1cs, witness } = randomCircuit({ constraints: 500, seed: 9 });
  const { zkey } = await setup(r1cs, { field: pool, points: pool });
  const whole = readZkey(zkey);
  let left = 3;
  const ready = await pool.ready(
    {
      ...whole,
      read: async (part, target, offset) => {
        if (part === 'B2' && left-- === 0) throw new Error('the disk is gone');
        return whole.read(part, target, offset);
      },
    },
    { points: 'streamed', streamedPoints: 50 },
  );
  t.defer(() => ready.release());
  await ready.sums(witness).then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, 'the disk is gone'),
  );
  const held = await pool.ready(whole);
  assert.equal(await ready.sums(witness), await held.sums(witness));
});

test.run();
