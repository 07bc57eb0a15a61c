/** Roles of one process under a supervisor: started again when one fails in a way that may pass, left alone when drained. */
import { createActor } from 'xstate';
import { ControlReply, ControlRequest } from '../../../protocols/enclave.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { infer, verifyService } from '../../../runtime/client/client.ts';
import { folder } from '../../../runtime/home/home.ts';
import { publishModel } from '../../../runtime/models/publish.ts';
import { ask } from '../../../runtime/nats/service.ts';
import { createEffects } from '../../../runtime/roles/effects.ts';
import { type RunningRole, until as untilActor } from '../../../runtime/roles/host.ts';
import { rolesAsChild } from '../../../runtime/roles/start.ts';
import { supervise } from '../../../runtime/roles/supervisor.ts';
import { smallModel } from '../../circuits/model-fixture.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { startHome, until } from '../home/home-fixture.ts';

const test = suite('roles of one process', { timeoutMs: 90_000 });
const ROW = ['7', '-1', '4', '11'];

async function supervised(t: TestContext) {
  const home = await startHome(t);
  const { policies, server, say } = home;
  await publishModel(home.observer, 'provisioner.test', {
    name: 'tiny',
    model: smallModel({ units: [4, 3, 2] }),
    policy: policies.release,
  });
  const starts: (readonly RunningRole[])[] = [];
  const child = rolesAsChild(
    ['broker', 'runner', 'gpu', 'enclave'],
    { url: server.url, creds: folder('creds'), id: 'e1', model: 'tiny', log: say },
    (running) => void starts.push(running),
  );
  const actor = supervise([child], {
    id: 'host',
    log: say,
    effect: createEffects('host', say).effect,
    run: (machine, input) => createActor(machine, { input }).start(),
  });
  t.defer(async () => {
    actor.send({ type: 'supervisor.stop' });
    await untilActor(actor, (now) => now.hasTag('settled'), 60_000);
    actor.stop();
  });
  await untilActor(actor, (now) => now.hasTag('up'), 60_000);
  const client = await home.bus('client', 'one');
  const answer = async () => {
    const service = await verifyService(client, 'client.one', 'tiny', policies.inference);
    return infer(client, 'client.one', service, policies.inference, ROW);
  };
  return { ...home, actor, starts, answer };
}

test('a runner that lost its device comes back in a new enclave, with new keys', async (t) => {
  const { starts, answer, actor } = await supervised(t);
  const before = await answer();
  const runner = starts[0]!.find(({ role }) => role === 'runner')!;
  runner.actor.send({ type: 'device.lost' });
  await until(() => starts.length === 2);
  await untilActor(actor, (now) => now.context.children[0].state === 'running', 60_000);
  const after = await answer();
  assert.is.not(after.receipt.claims?.evidence, before.receipt.claims?.evidence);
  assert.is(after.receipt.claims?.sequence, 0, 'another boot counts from the start');
});

test('drained roles stay stopped', async (t) => {
  const { bus, actor, starts } = await supervised(t);
  const operator = await bus('supervisor', 'operator');
  for (const role of ['enclave', 'broker']) {
    const subject = subjects.control(role, 'e1', 'drain');
    await ask(operator, [ControlRequest, ControlReply], { subject, source: 'supervisor.operator', body: {} });
  }
  await untilActor(actor, (now) => now.context.children[0].state === 'stopped', 60_000);
  assert.equal([starts.length, actor.getSnapshot().context.children[0]!.exit], [1, 0]);
});

test.run();
