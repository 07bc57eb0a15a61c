import { checkKey } from '../../circuits/groth16/check-key.ts';
import { G1, G2, POINT_BYTES, writeG1, writeG2 } from '../../circuits/groth16/point.ts';
import { setup } from '../../circuits/groth16/setup.ts';
import { readZkey, writeZkey, type Zkey } from '../../circuits/groth16/zkey.ts';
import { createPool, type Pool } from '../../runtime/msm/threads/pool.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { randomCircuit } from './groth16-circuit.ts';
import { strayPoint } from './stray-point.ts';

const test = suite('key check', { timeoutMs: 60_000 });

async function key(t: TestContext, constraints: number): Promise<{ pool: Pool; zkey: Zkey }> {
  const pool = await createPool({ threads: 1 });
  t.defer(() => pool.close());
  const made = await setup(randomCircuit({ constraints }).r1cs, { field: pool, points: pool });
  return { pool, zkey: readZkey(made.zkey) };
}

/** The key with the points of `section` from number `at` on replaced. */
const withPoints = (zkey: Zkey, section: keyof Zkey['points'], at: number, points: Uint8Array): Zkey => {
  const bytes = zkey.points[section].slice();
  bytes.set(points, at * POINT_BYTES[section === 'B2' ? 'G2' : 'G1']);
  return readZkey(writeZkey({ ...zkey, points: { ...zkey.points, [section]: bytes } }));
};

test('a key as the setup makes it passes', async (t) => {
  const { pool, zkey } = await key(t, 100);
  await checkKey(zkey, await pool.ready(zkey), pool);
});

test('every way in which its points can be wrong is found and named', async (t) => {
  const { pool, zkey } = await key(t, 60);
  const rejects = async (tampered: Zkey, words: RegExp) => {
    try {
      await checkKey(tampered, await pool.ready(tampered), pool);
    } catch (error) {
      assert.is((error as { code?: string }).code, 'key-rejected', String(error));
      assert.match((error as Error).message, words);
      return;
    }
    assert.unreachable(`accepted, expected ${words}`);
  };
  const other = writeG1(G1.BASE.multiply(12_345n));
  const other2 = writeG2(G2.BASE.multiply(12_345n));
  await rejects(withPoints(zkey, 'B1', 7, other), /B1 and B2/);
  await rejects(withPoints(zkey, 'B2', 7, other2), /B1 and B2/);
  // Both changed, by the same multiple, is a pair that agrees: what a random sum cannot know.
  const both = withPoints(withPoints(zkey, 'B1', 7, other), 'B2', 7, other2);
  await checkKey(both, await pool.ready(both), pool);
  for (const section of ['A', 'B1', 'B2', 'C', 'H'] as const) {
    const size = POINT_BYTES[section === 'B2' ? 'G2' : 'G1'];
    const garbage = Uint8Array.from({ length: size }, (_, i) => (i % 32 === 31 ? 1 : i + 1));
    await rejects(withPoints(zkey, section, 3, garbage), new RegExp(`point 3 of section ${section}`));
    const unreduced = new Uint8Array(size).fill(0xff);
    await rejects(withPoints(zkey, section, 0, unreduced), new RegExp(`point 0 of section ${section}`));
  }
  const header = (changes: Partial<Zkey['header']>): Zkey =>
    readZkey(writeZkey({ ...zkey, header: { ...zkey.header, ...changes } }));
  await rejects(header({ beta1: other }), /beta/);
  await rejects(header({ delta2: other2 }), /delta/);
});

test('a point of the twist outside of the subgroup is found; the least factor of the cofactor is as stated', async (t) => {
  const { pool, zkey } = await key(t, 60);
  const at = Array.from({ length: zkey.variables }, (_, i) => i).find((i) =>
    zkey.points.B2.subarray(i * 128, (i + 1) * 128).some((byte) => byte !== 0),
  )!;
  const tampered = withPoints(zkey, 'B2', at, strayPoint());
  const message = await checkKey(tampered, await pool.ready(tampered), pool).then(
    () => 'accepted',
    (error: Error) => error.message,
  );
  assert.match(message, /subgroup/);
  let factor = 2n;
  while (G2.CURVE().h % factor !== 0n) factor += 1n;
  assert.is(factor, 10_069n);
});

test('it can be cancelled', async (t) => {
  const { pool, zkey } = await key(t, 60);
  const signal = AbortSignal.abort();
  const code = await checkKey(zkey, await pool.ready(zkey), pool, { signal }).then(
    () => 'passed',
    (error: { code: string }) => error.code,
  );
  assert.is(code, 'cancelled');
});

test.run();
