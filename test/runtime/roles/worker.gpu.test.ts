import { decodeMessage } from '../../../protocols/envelope.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { type GpuUse, Heartbeat } from '../../../protocols/transition.ts';
import { openGpu } from '../../../runtime/gpu/adapter.ts';
import { tellGpuUse } from '../../../runtime/home/gpu-users.ts';
import { workerRole } from '../../../runtime/roles/worker.ts';
import { assert, suite } from '../../harness.ts';
import { startProving } from './proof-fixture.ts';

// Kernels are compiled, and the device is measured.
const test = suite('proving roles on a GPU', { timeoutMs: 300_000 });

test('a worker takes all shards, a coordinator transforms: byte for byte what the CPU makes, also beside an inference without an end', async (t) => {
  const gpu = await openGpu({ allowSoftware: true }).catch((error: Error) => t.skip(error.message));
  gpu.close();
  process.env.VOUCH_SOFTWARE_GPU = '1';
  const fixture = await startProving(t);
  const worker = await fixture.role(
    'worker',
    'gpu1',
    workerRole({ engine: 'webgpu', sharing: { share: 0.5 } }),
  );
  await fixture.process('coordinator', 'c1', { args: ['--engine', 'webgpu', '--gpu-share', '50'] });
  const { record } = await fixture.check(await fixture.ask());
  assert.equal(
    record.workers.map(({ id }) => id),
    ['gpu1'],
  );
  // What a runner on this GPU says, or whoever claims to be one: the proof waits, but not for ever.
  const beat = async (reached: (gpu: GpuUse) => boolean) => {
    const { promise, resolve } = Promise.withResolvers<GpuUse>();
    const heard = fixture.client.subscribe(subjects.beat('worker', 'gpu1'), ({ subject, data }) => {
      const { gpu } = decodeMessage(Heartbeat, subject, data).body.worker ?? {};
      if (gpu && reached(gpu)) resolve(gpu);
    });
    const gpu = await promise;
    heard.unsubscribe();
    return gpu;
  };
  const own = await beat(() => true);
  const use = await tellGpuUse('e1', () => {});
  t.defer(() => use.close());
  await beat(({ budget }) => budget === Math.floor(own.budget / 4));
  const claim = use.claim();
  await fixture.check(await fixture.ask());
  const shared = await beat(({ inferences }) => inferences > 0.1);
  assert.ok(shared.bytes <= shared.budget);
  claim[Symbol.dispose]();
  assert.is(worker.actor.getSnapshot().context.refused, 0);
});

test.run();
