/** A GPU that is lost under a runner: the requests in flight, the runner and the device, with their real roles. */
import { RemoteError } from '../../../protocols/envelope.ts';
import { infer, verifyService } from '../../../runtime/client/client.ts';
import { hearGpuUse, type Others } from '../../../runtime/home/gpu-users.ts';
import { publishModel } from '../../../runtime/models/publish.ts';
import { enclaveRole } from '../../../runtime/roles/enclave.ts';
import { gpuRole } from '../../../runtime/roles/gpu.ts';
import { until as untilActor, untilUp } from '../../../runtime/roles/host.ts';
import type { Neighbours } from '../../../runtime/roles/neighbours.ts';
import { runnerRole } from '../../../runtime/roles/runner.ts';
import { smallModel } from '../../circuits/model-fixture.ts';
import { assert, suite } from '../../harness.ts';
import { startBroker, startHome, until } from '../home/home-fixture.ts';

const test = suite('a lost GPU', { timeoutMs: 300_000 });

test('the runner fails with its reason, nobody is left without an answer, the device is measured again', async (t) => {
  process.env.VOUCH_SOFTWARE_GPU = '1';
  const home = await startHome(t);
  const model = smallModel({ units: [4, 3, 2] });
  const { inference: policy, release } = home.policies;
  await publishModel(home.observer, 'provisioner.test', { name: 'tiny', model, policy: release });
  await home.role('broker', 'broker-1', startBroker);
  const neighbours: Neighbours = {};
  const runner = await home.role('runner', 'e1', runnerRole(neighbours, 'tiny'));
  const gpu = await home.role('gpu', 'e1', gpuRole(neighbours));
  await untilActor(gpu.actor, (now) => now.hasTag('up') || now.hasTag('failed'), 240_000);
  if (gpu.failure()) t.skip(gpu.failure()!.message);
  const enclave = await home.role('enclave', 'e1', enclaveRole(neighbours, policy));
  enclave.actor.send({ type: 'enclave.start' });
  await untilUp(enclave, 60_000);

  const client = await home.bus('client', 'one');
  const service = await verifyService(client, 'client.one', 'tiny', policy);
  const ask = () => infer(client, 'client.one', service, policy, ['7', '-1', '4', '11']);
  const use: Others[] = [];
  const hearing = await hearGpuUse((others) => use.push(others));
  t.defer(() => hearing.close());
  assert.equal(use.at(-1), { present: true, busy: false });
  assert.is((await ask()).answer.provider, 'webgpu');
  // Workers on this GPU heard of it.
  assert.ok(use.some(({ busy }) => busy));
  await until(() => use.at(-1)!.busy === false);

  const asked = Array.from({ length: 4 }, () =>
    ask().then(
      () => 'answered',
      (error: unknown) => error,
    ),
  );
  neighbours.gpu!.device.destroy();
  await until(() => runner.failure() !== undefined, 30_000);
  assert.is(runner.failure()!.code, 'device-lost');
  for (const outcome of await Promise.all(asked)) {
    if (outcome === 'answered') continue;
    assert.ok(outcome instanceof RemoteError && outcome.retryable, String(outcome));
  }
  await until(() => home.log.some((line) => line.includes('the GPU was lost')));
  await untilUp(gpu, 240_000);
  assert.is(gpu.actor.getSnapshot().context.losses, 1);
});

test.run();
