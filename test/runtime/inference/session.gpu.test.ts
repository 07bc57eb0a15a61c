import { evaluate, randomFeatures } from '../../../circuits/model/quantise.ts';
import { type GpuHandle, openGpu } from '../../../runtime/gpu/adapter.ts';
import { serveModel } from '../../../runtime/inference/session.ts';
import { smallModel } from '../../circuits/model-fixture.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('inference on WebGPU', { timeoutMs: 120_000 });

test('serves bit for bit on the WebGPU provider', async (t) => {
  let gpu: GpuHandle;
  try {
    gpu = await openGpu({ allowSoftware: true });
  } catch (error) {
    return t.skip((error as Error).message);
  }
  t.defer(() => gpu.close());
  for (const shape of [
    { units: [63, 8, 2] },
    { units: [5, 4, 4, 3], seed: 2 },
    { units: [4, 3, 1], decision: 'sign', seed: 3 },
  ] as const) {
    const model = smallModel(shape);
    const served = await serveModel(model, gpu);
    assert.is(served.provider, 'webgpu');
    const rows = randomFeatures(model.architecture, 1000);
    const answers = await served.answer(rows);
    for (const [r, row] of rows.entries()) assert.equal(answers[r], evaluate(model, row), `row ${r}`);
    await served.close();
  }
});

test.run();
