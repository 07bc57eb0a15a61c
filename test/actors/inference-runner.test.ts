import { createActor, SimulatedClock } from 'xstate';
import {
  InferenceRunnerContext,
  inferenceRunnerMachine,
  type Refusal,
} from '../../actors/inference-runner.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { reachable, stage, statesOf, type Walk } from './fixture.ts';

const test = suite('actors/inference-runner');

const child = 'infer.r1';
const walk: Walk = {
  input: { id: 'r1', limit: 1 },
  events: [
    { type: 'enclave.ready' },
    { type: 'enclave.lost' },
    { type: 'device.ready' },
    { type: 'device.absent' },
    { type: 'device.lost' },
    { type: 'infer.request', request: 'r1' },
    { type: 'infer.request', request: 'r2' },
    { type: 'runner.drain' },
    { type: `xstate.done.actor.${child}`, actorId: child, output: undefined },
    { type: `xstate.error.actor.${child}`, actorId: child, error: new VouchError('bad-input', 'a bad row') },
  ],
  key: ({ enclave, device, requests }) => [enclave, device, requests],
};

function hire(limit?: number) {
  const fx = stage('load', 'verify', 'infer');
  const clock = new SimulatedClock();
  const refusals: Refusal[] = [];
  const machine = inferenceRunnerMachine.provide({
    actors: fx.actors,
    actions: { refuse: (_, refusal) => void refusals.push(refusal) },
  });
  const actor = createActor(machine, { input: { id: 'r1', ...(limit ? { limit } : {}) }, clock }).start();
  const value = () => actor.getSnapshot().value;
  const ask = (request: string) => actor.send({ type: 'infer.request', request });
  const ready = async () => {
    actor.send({ type: 'enclave.ready' });
    actor.send({ type: 'device.absent' });
    await fx.last('load').resolve();
    await fx.last('verify').resolve();
    assert.is(value(), 'ready');
  };
  return { fx, clock, actor, value, ask, ready, refusals, context: () => actor.getSnapshot().context };
}

test('every state is reachable', () => {
  assert.equal(reachable(inferenceRunnerMachine, walk), statesOf(inferenceRunnerMachine));
});

test('ready needs an enclave, word of a device, a load and a verification', () => {
  for (const effect of ['load', 'verify']) {
    const states = reachable(inferenceRunnerMachine, { ...walk, outputs: { [effect]: 'never' } });
    assert.not(states.has('ready'), effect);
  }
  const without = (...types: string[]) =>
    reachable(inferenceRunnerMachine, {
      ...walk,
      events: walk.events.filter(({ type }) => !types.includes(type)),
    });
  assert.not(without('enclave.ready').has('loading'));
  assert.not(without('device.ready', 'device.absent').has('loading'));
  assert.ok(without('device.absent').has('ready'));
});

test('nothing leads out of failed or stopped', () => {
  assert.equal([...reachable(inferenceRunnerMachine, { ...walk, from: 'failed' })], ['failed']);
  assert.equal([...reachable(inferenceRunnerMachine, { ...walk, from: 'stopped' })], ['stopped']);
});

test('waits for both, in either order, and forgets what was lost meanwhile', () => {
  const { actor, value } = hire();
  actor.send({ type: 'device.ready' });
  actor.send({ type: 'device.lost' });
  actor.send({ type: 'enclave.ready' });
  assert.is(value(), 'waiting');
  actor.send({ type: 'enclave.lost' });
  actor.send({ type: 'device.ready' });
  assert.is(value(), 'waiting');
  actor.send({ type: 'enclave.ready' });
  assert.is(value(), 'loading');
});

test('refuses in every state but ready and running', async () => {
  const { actor, fx, value, ask, refusals, context } = hire();
  ask('a');
  actor.send({ type: 'enclave.ready' });
  actor.send({ type: 'device.ready' });
  ask('b');
  await fx.last('load').resolve();
  ask('c');
  await fx.last('verify').reject(new VouchError('commitment-mismatch', 'other weights'));
  assert.is(value(), 'failed');
  assert.is(context().failure?.code, 'commitment-mismatch');
  ask('d');
  assert.equal(
    refusals.map(({ request, code }) => `${request} ${code}`),
    ['a not-ready', 'b not-ready', 'c not-ready', 'd not-ready'],
  );
  assert.is(context().refused, 4);
  assert.is(fx.count('infer'), 0);
});

test('serves concurrently up to the limit, and returns to ready', async () => {
  const { fx, value, ask, refusals, context, ready } = hire(2);
  await ready();
  ask('a');
  ask('b');
  assert.is(value(), 'running');
  ask('c');
  ask('a');
  assert.equal(refusals, [
    { request: 'c', code: 'busy' },
    { request: 'a', code: 'replayed' },
  ]);
  const [a, b] = fx.calls.filter(({ effect }) => effect === 'infer');
  assert.equal([a?.input, b?.input], [{ request: 'a' }, { request: 'b' }]);
  await b?.resolve();
  assert.equal(context().requests, ['a']);
  ask('d');
  await a?.reject(new VouchError('bad-input', 'a bad row'));
  assert.is(value(), 'running');
  await fx.last('infer').resolve();
  assert.is(value(), 'ready');
  assert.equal([context().served, context().failed, context().refused], [2, 1, 2]);
});

test('keeps no finished child', async () => {
  const { actor, fx, ask, ready } = hire();
  await ready();
  for (let i = 0; i < 100; i++) {
    ask(`q${i}`);
    await fx.last('infer').resolve();
  }
  assert.equal(Object.keys(actor.getSnapshot().children), []);
  assert.is(actor.getSnapshot().context.served, 100);
});

test('a request may have any id that a token may have', async () => {
  const { fx, ask, ready, context } = hire();
  await ready();
  for (const request of ['__proto__', 'constructor', 'toString', '0']) {
    ask(request);
    await fx.last('infer').resolve();
  }
  assert.is(context().served, 4);
});

test('losing the enclave or the device cuts off and answers what is in flight', async () => {
  for (const [type, code] of [
    ['device.lost', 'device-lost'],
    ['enclave.lost', 'not-ready'],
  ] as const) {
    const { actor, fx, value, ask, refusals, ready, context } = hire();
    await ready();
    ask('a');
    ask('b');
    const late = fx.last('infer');
    actor.send({ type });
    assert.is(value(), 'failed');
    assert.ok(fx.calls.filter(({ effect }) => effect === 'infer').every(({ signal }) => signal.aborted));
    assert.equal(refusals, [
      { request: 'a', code },
      { request: 'b', code },
    ]);
    assert.equal(context().requests, []);
    await late.resolve();
    assert.is(context().served, 0);
  }
});

test('an inference that finds the device lost closes the runner', async () => {
  const { fx, value, ask, refusals, ready, context } = hire();
  await ready();
  ask('a');
  ask('b');
  await fx.last('infer').reject(new VouchError('device-lost', 'the adapter is gone'));
  assert.is(value(), 'failed');
  assert.equal(refusals, [{ request: 'a', code: 'device-lost' }]);
  assert.is(context().failed, 1);
});

test('drains from every state: what is in flight may finish, what is new is refused', async () => {
  const { actor, fx, value, ask, refusals, ready } = hire();
  await ready();
  ask('a');
  actor.send({ type: 'runner.drain' });
  assert.is(value(), 'draining');
  ask('b');
  assert.equal(refusals, [{ request: 'b', code: 'not-ready' }]);
  await fx.last('infer').resolve();
  assert.is(value(), 'stopped');
  for (const from of statesOf(inferenceRunnerMachine)) {
    if (from === 'failed') continue;
    assert.ok(reachable(inferenceRunnerMachine, { ...walk, from }).has('stopped'), from);
  }
});

test('a drain that lasts too long cuts off', async () => {
  const { actor, fx, value, ask, refusals, ready, clock } = hire();
  await ready();
  ask('a');
  actor.send({ type: 'runner.drain' });
  clock.increment(29_999);
  assert.is(value(), 'draining');
  clock.increment(1);
  assert.is(value(), 'stopped');
  assert.equal(refusals, [{ request: 'a', code: 'cancelled' }]);
  await fx.last('infer').reject();
});

test('the context is its schema, and nothing else', async () => {
  const { context, ready, ask } = hire();
  await ready();
  ask('a');
  assert.equal(InferenceRunnerContext.parse(JSON.parse(JSON.stringify(context()))), context());
});

test.run();
