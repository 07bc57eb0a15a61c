import { openGpu } from '../../../runtime/gpu/adapter.ts';
import { workerRole } from '../../../runtime/roles/worker.ts';
import { assert, suite } from '../../harness.ts';
import { startProving } from './proof-fixture.ts';

// Kernels are compiled, and the device is measured.
const test = suite('proving roles on a GPU', { timeoutMs: 300_000 });

test('a worker takes all shards, a coordinator transforms: byte for byte what the CPU makes', async (t) => {
  const gpu = await openGpu({ allowSoftware: true }).catch((error: Error) => t.skip(error.message));
  gpu.close();
  process.env.VOUCH_SOFTWARE_GPU = '1';
  const fixture = await startProving(t);
  const worker = await fixture.role('worker', 'gpu1', workerRole({ engine: 'webgpu' }));
  await fixture.process('coordinator', 'c1', { args: ['--engine', 'webgpu'] });
  const { record } = await fixture.check(await fixture.ask());
  assert.equal(
    record.workers.map(({ id }) => id),
    ['gpu1'],
  );
  assert.is(worker.actor.getSnapshot().context.refused, 0);
});

test.run();
