import { assign, createActor, fromPromise, SimulatedClock, setup } from 'xstate';
import { enclaveCounts, enclaveMachine } from '../../../actors/enclave.ts';
import {
  jobActorId,
  proofCoordinatorCounts,
  proofCoordinatorMachine,
} from '../../../actors/proof-coordinator.ts';
import { proofJobCounts, proofJobMachine } from '../../../actors/proof-job.ts';
import { parse } from '../../../protocols/envelope.ts';
import { Heartbeat, Transition } from '../../../protocols/transition.ts';
import { tap } from '../../../runtime/roles/tap.ts';
import { settle, stage } from '../../actors/fixture.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('runtime/tap');

/** A machine that changes its state whenever it is told to. */
const lamp = setup({
  types: {} as { events: { type: 'lamp.switch' } | { type: 'lamp.read' }; context: { switched: number } },
  actions: { count: assign({ switched: ({ context }) => context.switched + 1 }), read: () => {} },
}).createMachine({
  id: 'lamp',
  context: { switched: 0 },
  initial: 'dark',
  on: { 'lamp.read': { actions: 'read' } },
  states: {
    dark: { on: { 'lamp.switch': { target: 'lit.bright', actions: 'count' } } },
    lit: {
      initial: 'bright',
      on: { 'lamp.switch': { target: 'dark', actions: 'count' } },
      states: { bright: {} },
    },
  },
});

function watch() {
  const clock = new SimulatedClock();
  const seen: Transition[] = [];
  const times: number[] = [];
  const actor = createActor(lamp);
  const tapped = tap(actor, {
    kind: 'enclave',
    id: 'lamp1',
    boot: 'boot1',
    countsOf: ({ switched }) => ({ switched }),
    publish: (transition) => {
      seen.push(parse(Transition.schema, transition, 'transition'));
      times.push(clock.now());
    },
    clock,
  });
  actor.start();
  return { actor, clock, seen, times, tapped };
}

test('publishes where an actor starts and each change of its state', () => {
  const { actor, seen } = watch();
  actor.send({ type: 'lamp.switch' });
  actor.send({ type: 'lamp.read' });
  actor.send({ type: 'lamp.switch' });
  assert.equal(
    seen.map(({ seq, from, to, event }) => [seq, from, to, event]),
    [
      [1, null, 'dark', 'start'],
      [2, 'dark', 'lit.bright', 'lamp.switch'],
      [3, 'lit.bright', 'dark', 'lamp.switch'],
    ],
  );
  assert.equal(seen[2]?.counts, { switched: 2, unknownEvents: 0 });
  assert.equal([seen[2]?.kind, seen[2]?.id, seen[2]?.boot], ['enclave', 'lamp1', 'boot1']);
});

test('publishes at most ten in any second, and the state that it rests in', () => {
  const { actor, clock, seen, times } = watch();
  for (let i = 0; i < 101; i++) actor.send({ type: 'lamp.switch' });
  assert.is(seen.length, 10);
  clock.increment(999);
  assert.is(seen.length, 10);
  clock.increment(1);
  assert.is(seen.length, 11);
  assert.equal([seen[10]?.seq, seen[10]?.to, seen[10]?.counts.switched], [102, 'lit.bright', 101]);

  for (let i = 0; i < 500; i++) {
    actor.send({ type: 'lamp.switch' });
    clock.increment(7);
  }
  for (let i = 10; i < times.length; i++) {
    assert.ok((times[i] ?? 0) - (times[i - 10] ?? 0) >= 1000, `${i}`);
  }
  clock.increment(1000);
  assert.is(seen.at(-1)?.seq, 602);
  assert.is(seen.at(-1)?.to, actor.getSnapshot().matches('dark') ? 'dark' : 'lit.bright');
});

test('counts unknown events and never publishes their names', () => {
  const { actor, seen, tapped } = watch();
  // biome-ignore lint/suspicious/noExplicitAny: what must not be sent
  const send = (type: string) => actor.send({ type } as any);
  send('secret=hunter2');
  send('lamp');
  send('toString');
  actor.send({ type: 'lamp.switch' });
  assert.is(seen.at(-1)?.counts.unknownEvents, 3);
  assert.not(JSON.stringify(seen).includes('hunter2'));
  assert.is(tapped.heartbeats(1000)[0]?.counts.unknownEvents, 3);
});

test('an event that only a wildcard matches has no name', () => {
  const seen: Transition[] = [];
  const machine = setup({}).createMachine({ initial: 'a', states: { a: { on: { '*': 'b' } }, b: {} } });
  const actor = createActor(machine);
  const publish = (transition: Transition) => seen.push(transition);
  tap(actor, { kind: 'enclave', id: 'x', boot: 'b', countsOf: () => ({}), publish });
  actor.start();
  actor.send({ type: 'secret' });
  assert.equal([seen[1]?.to, seen[1]?.event], ['b', 'unknown']);
});

test('a publisher that fails never disturbs the actor', async () => {
  for (const publish of [
    () => {
      throw new Error('disconnected');
    },
    () => Promise.reject(new Error('disconnected')),
  ]) {
    const actor = createActor(lamp);
    tap(actor, { kind: 'enclave', id: 'lamp1', boot: 'boot1', countsOf: () => ({}), publish });
    actor.start();
    actor.send({ type: 'lamp.switch' });
    await settle();
    assert.equal(actor.getSnapshot().value, { lit: 'bright' });
  }
});

test('closing publishes what waits, and then nothing', () => {
  const { actor, clock, seen, tapped } = watch();
  for (let i = 0; i < 20; i++) actor.send({ type: 'lamp.switch' });
  tapped.close();
  assert.equal([seen.length, seen.at(-1)?.seq], [11, 21]);
  actor.send({ type: 'lamp.switch' });
  clock.increment(5000);
  assert.is(seen.length, 11);
});

test('a heartbeat carries the state, the latest sequence number and a worker offer', () => {
  const { actor, tapped } = watch();
  actor.send({ type: 'lamp.switch' });
  const worker = {
    class: 'attested' as const,
    engine: 'wasm',
    credit: 1,
    inHand: [],
    rates: { g1: 1, g2: 1 },
    resident: [],
  };
  const beats = tapped.heartbeats(3000, { worker });
  assert.is(beats.length, 1);
  assert.equal(parse(Heartbeat.schema, beats[0], 'heartbeat'), {
    kind: 'enclave',
    id: 'lamp1',
    boot: 'boot1',
    seq: 2,
    state: 'lit.bright',
    leaseMs: 3000,
    counts: { switched: 1, unknownEvents: 0 },
    worker,
  });
});

test('names the kinds of event that XState makes, without the ids they carry', async () => {
  const fx = stage('create', 'measure', 'attest', 'provision', 'destroy');
  const clock = new SimulatedClock();
  const seen: Transition[] = [];
  const actor = createActor(enclaveMachine.provide({ actors: fx.actors }), { input: { id: 'e1' }, clock });
  tap(actor, {
    kind: 'enclave',
    id: 'e1',
    boot: 'b',
    countsOf: enclaveCounts,
    publish: (transition) => seen.push(parse(Transition.schema, transition, 'transition')),
  });
  actor.start();
  actor.send({ type: 'enclave.start' });
  await fx.last('create').resolve();
  await fx.last('measure').resolve({ measurement: 'ab'.repeat(32) });
  clock.increment(0);
  await fx.last('attest').resolve({ validMs: 1000 });
  await fx.last('provision').resolve();
  clock.increment(750);
  await fx.last('attest').reject(new Error('the text of an error stays here'));
  assert.equal(
    seen.map(({ to, event }) => `${event} ${to}`),
    [
      'start absent',
      'enclave.start creating',
      'done measuring',
      'done launched',
      'after.0 attesting',
      'done provisioning',
      'done serving',
      'after.reattestAfter attesting',
      'error quarantined',
    ],
  );
  assert.not(JSON.stringify(seen).includes('stays here'));
});

test('follows children that are machines, and no others', async () => {
  const fx = stage('join', 'pullRequest', 'acquireLease', 'witness', 'plan');
  const seen: Transition[] = [];
  const job = proofJobMachine.provide({ actors: fx.actors });
  const machine = proofCoordinatorMachine.provide({ actors: { ...fx.actors, proofJob: job } });
  const actor = createActor(machine, { input: { id: 'c1' } });
  const tapped = tap(actor, {
    kind: 'coordinator',
    id: 'c1',
    boot: 'b',
    countsOf: proofCoordinatorCounts,
    child: (src, id) =>
      src === 'proofJob'
        ? { kind: 'proof-job', id: id.slice(jobActorId('').length), countsOf: proofJobCounts }
        : undefined,
    publish: (transition) => seen.push(parse(Transition.schema, transition, 'transition')),
  });
  actor.start();
  await fx.last('join').resolve();
  await fx.last('pullRequest').resolve({ job: 'j1' });
  await fx.last('acquireLease').resolve({ epoch: 3, published: false });
  await fx.last('witness').resolve();
  const beats = tapped.heartbeats(1000);
  assert.equal(
    beats.map(({ kind, id, state }) => [kind, id, state]),
    [
      ['coordinator', 'c1', 'admitting'],
      ['proof-job', 'j1', 'planning'],
    ],
  );
  for (const beat of beats) parse(Heartbeat.schema, beat, 'heartbeat');
  await fx.last('plan').reject();
  assert.equal(
    seen.filter(({ kind }) => kind === 'proof-job').map(({ id, seq, to, event }) => [id, seq, to, event]),
    [
      ['j1', 1, 'queued', 'start'],
      ['j1', 2, 'witnessing', 'done'],
      ['j1', 3, 'planning', 'done'],
      ['j1', 4, 'failed', 'error'],
    ],
  );
  assert.is(tapped.heartbeats(1000).length, 1);
  actor.stop();
});

test('taps state machines only', () => {
  const actor = createActor(fromPromise(() => Promise.resolve(1)));
  const options = { kind: 'enclave', id: 'x', boot: 'b', countsOf: () => ({}), publish: () => {} } as const;
  assert.throws(() => tap(actor, options), /state machine/);
});

test.run();
