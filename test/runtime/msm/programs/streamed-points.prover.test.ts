import { SECTIONS } from '../../../../circuits/groth16/engine.ts';
import { prove } from '../../../../circuits/groth16/prove.ts';
import { setup } from '../../../../circuits/groth16/setup.ts';
import { type ProvingKey, readZkey } from '../../../../circuits/groth16/zkey.ts';
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
