import { createActor, fromPromise } from 'xstate';
import { proofCoordinatorMachine } from '../../../actors/proof-coordinator.ts';
import { ControlReply, ControlRequest, EvidenceReply, EvidenceRequest } from '../../../protocols/enclave.ts';
import { encodeMessage } from '../../../protocols/envelope.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { Heartbeat } from '../../../protocols/transition.ts';
import { createIdentity } from '../../../runtime/attest/identity.ts';
import { answer } from '../../../runtime/nats/service.ts';
import { convictionOf, pardon } from '../../../runtime/roles/convictions.ts';
import { createEffects } from '../../../runtime/roles/effects.ts';
import { createFleet, type FleetEvent } from '../../../runtime/roles/fleet.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { signal, until, useHome } from '../home/home-fixture.ts';
import { type NatsFixture, startFixture } from '../nats/nats-fixture.ts';

const test = suite('fleet', { timeoutMs: 180_000 });
useHome();

async function watch(t: TestContext, nats: NatsFixture, { accepts = true } = {}) {
  const bus = await nats.bus('coordinator', 'c1');
  const events: FleetEvent[] = [];
  const verified: string[] = [];
  const fleet = createFleet({
    bus,
    source: 'coordinator.c1',
    log: () => {},
    effect: createEffects('coordinator.c1', () => {}).effect,
    verify: async (document) => {
      const { enclave, hpkeKey } = document as { enclave: string; hpkeKey: string };
      verified.push(enclave);
      if (!accepts) throw new VouchError('policy-rejected', 'not here');
      return new TextEncoder().encode(hpkeKey);
    },
  });
  t.defer(() => fleet.close());
  // The coordinator's own machine, without its requests.
  const machine = proofCoordinatorMachine.provide({
    actors: {
      join: fromPromise<{ hardware: boolean }, { id: string }>(async () => ({ hardware: false })),
      pullRequest: fromPromise<{ job: string; tries: number }, { id: string }>(() => new Promise(() => {})),
      fleetMember: fleet.member,
    },
    actions: { suspendWorker: (_, { id }) => fleet.suspend(id) },
  });
  const coordinator = createActor(machine, { input: { id: 'c1' } }).start();
  t.defer(() => coordinator.stop());
  fleet.follow(coordinator);
  fleet.onChange((event) => event.type !== 'heard' && events.push(event));
  await bus.flush();
  const ready = () => fleet.ready().map(({ id }) => id);
  return { fleet, events, verified, ready };
}

interface Beat {
  boot?: string;
  state?: string;
  leaseMs?: number;
  credit?: number;
  class?: 'attested' | 'masked';
}

/** A worker that says what the test wants, and has evidence. */
async function speaker(nats: NatsFixture, id: string) {
  const bus = await nats.bus('worker', id);
  const identity = await createIdentity('worker', id);
  const place = { subject: subjects.control('worker', id, 'attest'), source: `worker.${id}`, log: () => {} };
  answer(bus, [EvidenceRequest, EvidenceReply], place, async ({ body }) => ({
    document: await identity.evidence(body.nonce),
  }));
  const controls: string[] = [];
  const suspend = { ...place, subject: subjects.control('worker', id, 'suspend') };
  answer(bus, [ControlRequest, ControlReply], suspend, () => {
    controls.push('suspend');
    return { state: 'suspended' };
  });
  await bus.flush();
  const beat = ({ boot = 'b1', state = 'idle', leaseMs = 60_000, credit = 2, ...offer }: Beat = {}) => {
    const subject = subjects.beat('worker', id);
    const worker = {
      class: 'attested' as const,
      engine: 'none',
      credit,
      inHand: [],
      rates: { g1: 50_000, g2: 15_000 },
      resident: [],
      ...offer,
    };
    const body: Heartbeat = { kind: 'worker', id, boot, seq: 1, state, leaseMs, counts: {}, worker };
    bus.publishLossy(subject, encodeMessage(Heartbeat, { subject, source: `worker.${id}`, body }));
  };
  return { bus, beat, controls };
}

test('a worker is ready once its evidence is accepted; its credit is bounded', async (t) => {
  const nats = await startFixture(t);
  const { fleet, verified, ready } = await watch(t, nats);
  const worker = await speaker(nats, 'w1');
  worker.beat({ credit: 0 });
  worker.beat({ credit: 2 ** 30 });
  await until(() => ready().includes('w1'));
  assert.equal(verified, ['w1']);
  assert.is(fleet.ready()[0]!.freeBytes, 2 ** 28);
  fleet.carry('w1', 2 ** 27);
  assert.is(fleet.ready()[0]!.freeBytes, 2 ** 27);
  assert.is(fleet.sealingKey('w1').length, 43);
  assert.throws(() => fleet.sealingKey('w2'), /w2 is gone/);
});

test('a new boot is another worker: the old one is gone, and the new one attests itself', async (t) => {
  const nats = await startFixture(t);
  const { events, verified, ready } = await watch(t, nats);
  const worker = await speaker(nats, 'w1');
  worker.beat({ boot: 'b1' });
  await until(() => ready().length === 1);
  worker.beat({ boot: 'b2' });
  await until(() => events.length === 3);
  assert.equal(
    events.map(({ type }) => type),
    ['ready', 'gone', 'ready'],
  );
  assert.is(verified.length, 2);
});

test('silence, its own word and a ban each end a membership; only a ban is for good', async (t) => {
  const nats = await startFixture(t);
  const { fleet, events, ready } = await watch(t, nats);
  const [silent, stopped, liar] = [
    await speaker(nats, 'silent'),
    await speaker(nats, 'stopped'),
    await speaker(nats, 'liar'),
  ];
  silent.beat();
  stopped.beat();
  liar.beat();
  await until(() => events.filter(({ type }) => type === 'ready').length === 3);
  silent.beat({ leaseMs: 300 });
  await until(() => events.some(({ type, worker }) => type === 'gone' && worker === 'silent'));
  stopped.beat({ state: 'stopped' });
  await until(() => !ready().includes('stopped'));
  fleet.ban('liar', 'j1');
  assert.equal(ready(), []);
  await until(() => liar.controls.length === 1);
  for (const worker of [silent, stopped, liar]) worker.beat({ boot: 'b2' });
  await until(() => ready().length === 2);
  assert.not(ready().includes('liar'));
});

test('a conviction holds for every coordinator and outlives them, until somebody takes it back', async (t) => {
  const nats = await startFixture(t);
  const first = await watch(t, nats);
  const liar = await speaker(nats, 'liar');
  liar.beat();
  await until(() => first.ready().length === 1);
  first.fleet.ban('liar', 'j1');
  const provisioner = await nats.bus('provisioner', 'p');
  await until(async () => (await convictionOf(provisioner, 'liar')) !== undefined);
  const { worker, job, coordinator } = (await convictionOf(provisioner, 'liar'))!;
  assert.equal([worker, job, coordinator], ['liar', 'j1', 'c1']);
  const second = await watch(t, nats);
  liar.beat({ boot: 'b2' });
  await until(() => liar.controls.length >= 2);
  assert.equal([first.ready(), second.ready()], [[], []]);
  await pardon(provisioner, 'liar');
  await pardon(provisioner, 'liar').then(
    () => assert.unreachable('pardoned twice'),
    (error: VouchError) => assert.is(error.code, 'bad-input'),
  );
  const timer = setInterval(() => liar.beat({ boot: 'b3' }), 50);
  t.defer(() => clearInterval(timer));
  await until(() => first.ready().includes('liar') && second.ready().includes('liar'));
});

test('evidence that is not accepted, or a class that may not see scalars, gets nothing; it is not asked all the time', async (t) => {
  const nats = await startFixture(t);
  const strict = await watch(t, nats, { accepts: false });
  const worker = await speaker(nats, 'w1');
  const masked = await speaker(nats, 'm1');
  const began = performance.now();
  const timer = setInterval(() => {
    worker.beat();
    masked.beat({ class: 'masked' });
  }, 50);
  t.defer(() => clearInterval(timer));
  const asked = () => strict.verified.filter((id) => id === 'w1').length;
  await until(() => asked() === 3);
  // However slow the machine is, it is no sooner.
  assert.ok(performance.now() - began >= 3_000, 'a second and two between the attempts');
  assert.equal(strict.ready(), []);
  const lenient = await watch(t, nats);
  await until(() => lenient.ready().length === 1 && lenient.verified.length === 2);
  assert.equal(lenient.ready(), ['w1']);
});

test('after nats-server was killed a worker is ready when it is heard again; its evidence still counts', async (t) => {
  const nats = await startFixture(t);
  const { verified, ready, events } = await watch(t, nats);
  const worker = await speaker(nats, 'w1');
  worker.beat();
  await until(() => ready().length === 1);
  signal(nats.server, 'SIGKILL');
  await until(() => ready().length === 0);
  await until(() => ready().length === 1);
  assert.is(verified.length, 1);
  assert.is(events.filter(({ type }) => type === 'gone').length, 0);
});

test.run();
