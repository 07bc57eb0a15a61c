/** Both engines in headless Chromium: threads of WebAssembly, and WebGPU on SwiftShader. The proofs are Node's, byte for byte. */
import { readFileSync } from 'node:fs';
import { prove } from '../../../circuits/groth16/prove.ts';
import { setup } from '../../../circuits/groth16/setup.ts';
import { readWitness, writeWitness } from '../../../circuits/groth16/witness.ts';
import { readZkey } from '../../../circuits/groth16/zkey.ts';
import { Tuning } from '../../../runtime/gpu/autotune.ts';
import { createPool } from '../../../runtime/msm/threads/pool.ts';
import { randomCircuit } from '../../circuits/groth16-circuit.ts';
import { hasProverData, PROVER_DATA } from '../../circuits/groth16-oracle.ts';
import { assert, suite } from '../../harness.ts';
import { openProverPage } from './prover-browser.ts';
import type { PageQuestion } from './prover-page.ts';

const test = suite('prover in a browser', { timeoutMs: 180_000 });

test('a small circuit, by threads and by WebGPU', async (t) => {
  const { r1cs, witness } = randomCircuit({ constraints: 100, outputs: 2, publicInputs: 1 });
  await using pool = await createPool({ threads: 1 });
  const { zkey } = await setup(r1cs, { field: pool, points: pool });
  const [r, s] = [2n ** 253n + 5n, 2n ** 252n + 3n];
  const expected = JSON.stringify(await prove(readZkey(zkey), witness, pool, { r, s }));

  const page = await openProverPage(t, { '/key.zkey': zkey, '/witness.wtns': writeWitness(witness) });
  const about = await page.evaluate('pieces()');
  assert.equal(about, { isolated: true, threads: 2, gpu: true });
  for (const engine of ['wasm', 'webgpu'] as const) {
    const question: PageQuestion = {
      engine,
      zkey: '/key.zkey',
      wtns: '/witness.wtns',
      r: String(r),
      s: String(s),
    };
    assert.is(await page.evaluate(`answer(${JSON.stringify(question)})`), expected, engine);
  }
  const kept = await page.evaluate('Object.values(localStorage)');
  const tuning = Tuning.parse(JSON.parse((kept as string[])[0]!));
  assert.ok(tuning.multiplications[tuning.variant], 'the device was measured, and that is remembered');
});

test('the sums of all engines by threads', async (t) => {
  const page = await openProverPage(t);
  await page.evaluate('sums(64)');
});

for (const name of ['pos', 'sha']) {
  test(`${name} by threads: the proof that Node makes`, async (t) => {
    if (!hasProverData) t.skip('no ../shared/prover here');
    const [zkey, wtns] = ['zkey', 'wtns'].map(
      (type) => new Uint8Array(readFileSync(`${PROVER_DATA}${name}.${type}`)),
    ) as [Uint8Array, Uint8Array];
    const [r, s] = [2n ** 253n + 5n, 2n ** 252n + 3n];
    await using pool = await createPool();
    const expected = JSON.stringify(await prove(readZkey(zkey), readWitness(wtns), pool, { r, s }));
    const page = await openProverPage(t, { '/key.zkey': zkey, '/witness.wtns': wtns });
    const question: PageQuestion = {
      engine: 'wasm',
      zkey: '/key.zkey',
      wtns: '/witness.wtns',
      r: String(r),
      s: String(s),
    };
    assert.is(await page.evaluate(`answer(${JSON.stringify(question)})`), expected);
  });
}

test.run();
