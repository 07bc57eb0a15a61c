/** What the host does for every role: heartbeats, transitions, control, and an orderly stop. */
import { ControlReply, ControlRequest } from '../../../protocols/enclave.ts';
import { decodeMessage } from '../../../protocols/envelope.ts';
import { filters, subjects } from '../../../protocols/subjects.ts';
import { Heartbeat, Transition } from '../../../protocols/transition.ts';
import { ask } from '../../../runtime/nats/service.ts';
import { gpuRole } from '../../../runtime/roles/gpu.ts';
import { startRole } from '../../../runtime/roles/host.ts';
import { assert, suite } from '../../harness.ts';
import { until } from '../home/home-fixture.ts';
import { startFixture } from '../nats/nats-fixture.ts';

const test = suite('host', { timeoutMs: 60_000 });

test('a role is heard, answers control, drains and disconnects', async (t) => {
  const { server, authority, bus } = await startFixture(t, { provisioned: true });
  const watcher = await bus('supervisor', 's1');
  const monitor = await bus('monitor', 'm1');
  const beats: Heartbeat[] = [];
  const states: string[] = [];
  watcher.subscribe(
    filters.beats,
    ({ subject, data }) => void beats.push(decodeMessage(Heartbeat, subject, data).body),
  );
  monitor.subscribe(
    filters.states,
    ({ subject, data }) => void states.push(decodeMessage(Transition, subject, data).body.to),
  );
  await Promise.all([watcher.flush(), monitor.flush()]);

  const lines: string[] = [];
  const role = await startRole(
    {
      role: 'gpu',
      id: 'g1',
      url: server.url,
      creds: await authority.mintUser('gpu', 'g1'),
      log: (line) => lines.push(line),
    },
    gpuRole({}),
  );
  let stopped = false;
  t.defer(() => (stopped ? undefined : role.stop()));

  await until(() => beats.some(({ kind, id }) => kind === 'gpu' && id === 'g1'));
  const subject = subjects.control('gpu', 'g1', 'drain');
  await ask(watcher, [ControlRequest, ControlReply], { subject, source: 'supervisor.s1', body: {} });
  await role.stop();
  stopped = true;
  await until(() => states.includes('binding'));
  assert.is(role.bus.state, 'closed');
});

test.run();
