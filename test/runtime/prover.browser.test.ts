/** Both engines in headless Chromium: threads of WebAssembly, and WebGPU on SwiftShader. The proofs are Node's, byte for byte. */
import { prove } from '../../circuits/groth16/prove.ts';
import { setup } from '../../circuits/groth16/setup.ts';
import { writeWitness } from '../../circuits/groth16/witness.ts';
import { readZkey } from '../../circuits/groth16/zkey.ts';
import { createPool } from '../../runtime/msm/pool.ts';
import { randomCircuit } from '../circuits/groth16-circuit.ts';
import { assert, suite } from '../harness.ts';
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
});

test.run();
