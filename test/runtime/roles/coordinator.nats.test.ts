/** The coordinator's machine through its real role, where it cannot begin, and where it is drained without work. */
import { createSimulatedPlatform } from '../../../protocols/attestation/formats/simulated.ts';
import { EvidenceReply, EvidenceRequest } from '../../../protocols/enclave.ts';
import { freshNonce } from '../../../protocols/envelope.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { subjects } from '../../../protocols/subjects.ts';
import type { Provider } from '../../../runtime/attest/provider.ts';
import { simulatedProvider } from '../../../runtime/attest/simulated-provider.ts';
import { simulatedRoot } from '../../../runtime/attest/simulated-root.ts';
import type { Bus } from '../../../runtime/nats/bus.ts';
import { ask } from '../../../runtime/nats/service.ts';
import { coordinatorRole } from '../../../runtime/roles/coordinator.ts';
import { untilUp } from '../../../runtime/roles/host.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { requesters, startHome, until } from '../home/home-fixture.ts';

const test = suite('coordinator role', { timeoutMs: 60_000 });

test('a platform that makes no evidence is found before anybody asks: failed, with the reason', async (t) => {
  const home = await startHome(t);
  const platform = simulatedProvider(await createSimulatedPlatform(await simulatedRoot()));
  const provider: Provider = {
    ...platform,
    sign: () => Promise.reject(new VouchError('not-ready', 'configfs-tsm: the TEE is gone')),
  };
  const role = coordinatorRole({
    requesters: await requesters(),
    workerPolicy: home.policies.worker,
    provider,
  });
  const coordinator = await home.role('coordinator', 'c1', role);
  await untilUp(coordinator, 30_000).then(
    () => assert.unreachable('it is up'),
    (error: VouchError) =>
      assert.match(error.message, /^coordinator c1 did not come up: configfs-tsm: the TEE is gone \(error /),
  );
  const { errorId } = coordinator.failure()!;
  assert.ok(
    home.log.some((line) => line.startsWith('coordinator.c1: join failed') && line.includes(errorId)),
  );
});

async function startUp(t: TestContext) {
  const home = await startHome(t);
  const coordinator = await home.role(
    'coordinator',
    'c1',
    coordinatorRole({ requesters: await requesters(), workerPolicy: home.policies.worker }),
  );
  await untilUp(coordinator, 30_000);
  return { home, coordinator };
}

test('up it says what its evidence is; drained it stops at once when it has nothing to finish', async (t) => {
  const { coordinator } = await startUp(t);
  assert.is(coordinator.actor.getSnapshot().context.hardware, false);
  coordinator.actor.send({ type: 'coordinator.drain' });
  await until(() => coordinator.actor.getSnapshot().value === 'stopped');
  assert.is(coordinator.failure(), undefined);
});

const asks = (client: Bus, under: string) =>
  ask(client, [EvidenceRequest, EvidenceReply], {
    subject: subjects.coordinatorEvidence('c1', under),
    source: `client.${client.id}`,
    body: { nonce: freshNonce() },
    timeoutMs: 5_000,
  }).then(
    () => 'answered',
    (error: VouchError) => error.code,
  );

test('clients may ask it for evidence, and who asks too much takes none from another', async (t) => {
  const { home } = await startUp(t);
  const [greedy, other] = [await home.bus('client', 'greedy'), await home.bus('client', 'other')];
  const ends = Promise.all(Array.from({ length: 80 }, () => asks(greedy, 'greedy')));
  assert.is(await asks(other, 'other'), 'answered');
  assert.equal(
    [...new Set(await ends)].sort(),
    ['answered', 'busy'],
    'of a client that asks without end some are answered and the others refused',
  );
  // Nor under another's name: NATS' rights.
  assert.is.not(await asks(greedy, 'other'), 'answered');
  assert.is(await asks(other, 'other'), 'answered');
});

test('many credentials of one person are as many shares of evidence, and together no more than all', async (t) => {
  const { home } = await startUp(t);
  const buses = await Promise.all(Array.from({ length: 16 }, (_, i) => home.bus('client', `mallory-${i}`)));
  const began = performance.now();
  const ends = await Promise.all(buses.flatMap((bus) => Array.from({ length: 8 }, () => asks(bus, bus.id))));
  const seconds = Math.ceil((performance.now() - began) / 1000);
  const answered = ends.filter((end) => end === 'answered').length;
  assert.ok(answered >= 64 && answered <= 64 + 8 * seconds, `${answered} of ${ends.length} in ${seconds} s`);
  assert.equal([...new Set(ends)].sort(), ['answered', 'busy']);
  // After a while there is some for others.
  const honest = await home.bus('client', 'honest');
  await until(async () => (await asks(honest, 'honest')) === 'answered');
});

test.run();
