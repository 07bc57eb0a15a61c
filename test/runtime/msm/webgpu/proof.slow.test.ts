/** `pos` and `sha` of ../shared/prover on the GPU, in Node and in Chromium, against the threads' proofs, which are snarkjs's. */
import { readFileSync } from 'node:fs';
import { prove } from '../../../../circuits/groth16/prove.ts';
import { readWitness } from '../../../../circuits/groth16/witness.ts';
import { readZkey } from '../../../../circuits/groth16/zkey.ts';
import { openGpu } from '../../../../runtime/gpu/adapter.ts';
import { createPool } from '../../../../runtime/msm/threads/pool.ts';
import { createWebGpuEngine } from '../../../../runtime/msm/webgpu/engine.ts';
import { hasProverData, PROVER_DATA } from '../../../circuits/groth16-oracle.ts';
import { assert, suite, type TestContext } from '../../../harness.ts';
import { openProverPage } from '../../prove/prover-browser.ts';
import type { PageQuestion } from '../../prove/prover-page.ts';

const test = suite('large proofs on WebGPU', { timeoutMs: 590_000 });
const fixed = { r: 2n ** 253n + 5n, s: 2n ** 252n + 3n };

async function expectedOf(t: TestContext, name: string) {
  if (!hasProverData) t.skip('no ../shared/prover here');
  const [zkey, wtns] = ['zkey', 'wtns'].map(
    (type) => new Uint8Array(readFileSync(`${PROVER_DATA}${name}.${type}`)),
  );
  const pool = await createPool();
  t.defer(() => pool.close());
  const expected = await prove(readZkey(zkey!), readWitness(wtns!), pool, fixed);
  return { zkey: zkey!, wtns: wtns!, pool, expected };
}

for (const name of ['pos', 'sha']) {
  test(`${name} in Node`, async (t) => {
    const { zkey, wtns, pool, expected } = await expectedOf(t, name);
    const engine = await createWebGpuEngine({
      curve: pool,
      open: () => openGpu({ allowSoftware: true }),
      tune: async () => ({ variant: 'words', threads: 256 }),
    }).catch((error: Error) => t.skip(error.message));
    t.defer(() => engine.close());
    assert.equal(await prove(readZkey(zkey), readWitness(wtns), engine, fixed), expected);
  });
}

test('pos in Chromium', async (t) => {
  const { zkey, wtns, expected } = await expectedOf(t, 'pos');
  const page = await openProverPage(t, { '/pos.zkey': zkey, '/pos.wtns': wtns });
  const question: PageQuestion = {
    engine: 'webgpu',
    zkey: '/pos.zkey',
    wtns: '/pos.wtns',
    r: String(fixed.r),
    s: String(fixed.s),
  };
  assert.is(await page.evaluate(`answer(${JSON.stringify(question)})`), JSON.stringify(expected));
});

test.run();
