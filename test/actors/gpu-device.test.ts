import { createActor, SimulatedClock } from 'xstate';
import { GpuDeviceContext, gpuDeviceMachine } from '../../actors/gpu-device.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { reachable, stage, statesOf, type Walk } from './fixture.ts';

const test = suite('actors/gpu-device');

const EVIDENCE = 'cd'.repeat(32);
const walk: Walk = {
  input: { id: 'g1', recovers: true },
  outputs: { measure: [{ evidence: EVIDENCE }, { evidence: 'none' }] },
  events: [{ type: 'device.bind' }, { type: 'device.release' }, { type: 'device.lost' }],
};

function plug() {
  const fx = stage('bind', 'reset', 'measure', 'release');
  const clock = new SimulatedClock();
  const actor = createActor(gpuDeviceMachine.provide({ actors: fx.actors }), { input: { id: 'g1' }, clock });
  actor.start();
  const value = () => actor.getSnapshot().value;
  const ready = async () => {
    actor.send({ type: 'device.bind' });
    await fx.last('bind').resolve();
    await fx.last('reset').resolve();
    assert.is(value(), 'attached');
    clock.increment(0);
    await fx.last('measure').resolve({ evidence: EVIDENCE });
    assert.is(value(), 'ready');
  };
  return { fx, clock, actor, value, ready, context: () => actor.getSnapshot().context };
}

test('every state is reachable', () => {
  assert.equal(reachable(gpuDeviceMachine, walk), statesOf(gpuDeviceMachine));
});

test('ready needs a bind, a reset and evidence', () => {
  for (const effect of ['bind', 'reset', 'measure']) {
    const states = reachable(gpuDeviceMachine, { ...walk, outputs: { ...walk.outputs, [effect]: 'never' } });
    assert.not(states.has('ready'), effect);
  }
  const none = { measure: [{ evidence: 'none' }, { evidence: '' }] };
  assert.not(reachable(gpuDeviceMachine, { ...walk, outputs: none }).has('ready'));
});

test('a failed device comes back only by a release and the whole path', () => {
  const events = walk.events.filter(({ type }) => type !== 'device.release');
  assert.equal([...reachable(gpuDeviceMachine, { ...walk, events, from: 'failed' })], ['failed']);
  const again = reachable(gpuDeviceMachine, { ...walk, from: 'failed' });
  assert.equal(again, statesOf(gpuDeviceMachine));
  const unmeasured = { ...walk, outputs: { measure: 'never' as const }, from: 'failed' };
  assert.not(reachable(gpuDeviceMachine, unmeasured).has('ready'));
});

test('a failed effect closes, and is not forgotten until the next bind', async () => {
  const { fx, actor, value, context } = plug();
  actor.send({ type: 'device.bind' });
  await fx.last('bind').resolve();
  await fx.last('reset').reject(new VouchError('device-lost', 'fell off the bus'));
  assert.is(value(), 'failed');
  assert.equal(context().failure, { code: 'device-lost', retryable: true });
  actor.send({ type: 'device.bind' });
  assert.is(value(), 'failed');
  actor.send({ type: 'device.release' });
  await fx.last('release').resolve();
  assert.is(value(), 'unbound');
  assert.is(context().failure?.code, 'device-lost');
  actor.send({ type: 'device.bind' });
  assert.is(context().failure, null);
  assert.is(context().binds, 2);
});

test('losing the device closes it; late results are ignored', async () => {
  const { fx, actor, value, context, ready } = plug();
  await ready();
  assert.is(context().evidence, EVIDENCE);
  actor.send({ type: 'device.lost' });
  assert.is(value(), 'failed');
  assert.is(context().evidence, null);
  assert.is(context().losses, 1);
  assert.is(context().failure?.code, 'device-lost');
  actor.send({ type: 'device.release' });
  await fx.last('release').resolve();
  await ready();
  assert.is(context().failure, null);

  const slow = plug();
  slow.actor.send({ type: 'device.bind' });
  const bind = slow.fx.last('bind');
  slow.actor.send({ type: 'device.lost' });
  assert.ok(bind.signal.aborted);
  await bind.resolve();
  assert.is(slow.value(), 'failed');
});

test('one that recovers is bound and measured anew, until it is lost too often too soon', async () => {
  const clock = new SimulatedClock();
  const fx = stage('bind', 'reset', 'measure', 'release');
  const machine = gpuDeviceMachine.provide({ actors: fx.actors });
  const actor = createActor(machine, { input: { id: 'g1', recovers: true }, clock }).start();
  const value = () => actor.getSnapshot().value;
  const measured = async () => {
    await fx.last('bind').resolve();
    await fx.last('reset').resolve();
    clock.increment(0);
    await fx.last('measure').resolve({ evidence: EVIDENCE });
    assert.is(value(), 'ready');
  };
  const lose = async () => {
    actor.send({ type: 'device.lost' });
    if (value() === 'failed') return;
    assert.is(value(), 'recovering');
    assert.is(actor.getSnapshot().context.evidence, null);
    await fx.last('release').resolve();
    assert.is(value(), 'binding');
    await measured();
  };
  actor.send({ type: 'device.bind' });
  await measured();
  for (let loss = 0; loss < 3; loss++) await lose();
  assert.is(fx.count('bind'), 4);
  clock.increment(60_000);
  await lose();
  assert.is(value(), 'ready', 'a minute of work counts');
  for (let loss = 0; loss < 3; loss++) await lose();
  assert.is(value(), 'failed');
  assert.equal(actor.getSnapshot().context.failure, { code: 'device-lost', retryable: true });
  assert.is(actor.getSnapshot().context.losses, 7);
});

test('is released from every state', async () => {
  const { actor, fx, value, ready, context } = plug();
  actor.send({ type: 'device.release' });
  assert.is(value(), 'unbound');
  await ready();
  actor.send({ type: 'device.release' });
  actor.send({ type: 'device.lost' });
  assert.is(value(), 'draining');
  assert.is(context().evidence, null);
  await fx.last('release').resolve();
  assert.is(value(), 'unbound');
  for (const from of statesOf(gpuDeviceMachine)) {
    assert.ok(reachable(gpuDeviceMachine, { ...walk, from }).has('unbound'), from);
  }
});

test('a release that fails closes', async () => {
  const { actor, fx, value, ready } = plug();
  await ready();
  actor.send({ type: 'device.release' });
  await fx.last('release').reject();
  assert.is(value(), 'failed');
});

test('the context is its schema, and nothing else', async () => {
  const { context, ready } = plug();
  await ready();
  assert.equal(GpuDeviceContext.parse(JSON.parse(JSON.stringify(context()))), context());
});

test.run();
