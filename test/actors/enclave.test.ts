import { createActor, SimulatedClock } from 'xstate';
import { EnclaveContext, enclaveCounts, enclaveMachine } from '../../actors/enclave.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { reachable, settle, stage, statesOf, type Walk } from './fixture.ts';

const test = suite('actors/enclave');

const MEASUREMENT = 'ab'.repeat(32);
const walk: Walk = {
  input: { id: 'e1' },
  outputs: {
    measure: [{ measurement: MEASUREMENT }, { measurement: 'not a digest' }],
    attest: [{ validMs: 1000 }, { validMs: 0 }],
  },
  events: [{ type: 'enclave.start' }, { type: 'enclave.drain' }],
};

/** An enclave with effects settled by hand, under a simulated clock. */
function launch() {
  const fx = stage('create', 'measure', 'attest', 'provision', 'destroy');
  const clock = new SimulatedClock();
  const actor = createActor(enclaveMachine.provide({ actors: fx.actors }), { input: { id: 'e1' }, clock });
  actor.start();
  const value = () => actor.getSnapshot().value;
  return { fx, clock, actor, value, context: () => actor.getSnapshot().context };
}

/** The same, brought to serving with evidence that holds for `validMs`. */
async function serve(validMs = 1000) {
  const enclave = launch();
  enclave.actor.send({ type: 'enclave.start' });
  await enclave.fx.last('create').resolve();
  await enclave.fx.last('measure').resolve({ measurement: MEASUREMENT });
  assert.is(enclave.value(), 'launched');
  enclave.clock.increment(0);
  await enclave.fx.last('attest').resolve({ validMs });
  await enclave.fx.last('provision').resolve();
  assert.is(enclave.value(), 'serving');
  return enclave;
}

test('every state is reachable', () => {
  assert.equal(reachable(enclaveMachine, walk), statesOf(enclaveMachine));
});

test('serving needs evidence and a measurement', () => {
  const without = (effect: string) =>
    reachable(enclaveMachine, { ...walk, outputs: { ...walk.outputs, [effect]: 'never' } });
  for (const effect of ['create', 'measure', 'attest', 'provision']) {
    assert.not(without(effect).has('serving'), effect);
  }
  const bad = { measure: [{ measurement: 'x' }] };
  assert.not(reachable(enclaveMachine, { ...walk, outputs: { ...walk.outputs, ...bad } }).has('launched'));
});

test('an effect that answers with nonsense quarantines', async () => {
  for (const output of [undefined, {}, { validMs: 0 }, { validMs: -1 }, { validMs: NaN }, { validMs: '9' }]) {
    const { fx, actor, value, clock, context } = launch();
    actor.send({ type: 'enclave.start' });
    await fx.last('create').resolve();
    await fx.last('measure').resolve({ measurement: MEASUREMENT });
    clock.increment(0);
    await fx.last('attest').resolve(output);
    assert.is(value(), 'quarantined', JSON.stringify(output));
    assert.is(context().failure?.code, 'evidence-rejected');
  }
  const { fx, actor, value } = launch();
  actor.send({ type: 'enclave.start' });
  await fx.last('create').resolve();
  await fx.last('measure').resolve(undefined);
  assert.is(value(), 'quarantined');
});

test('nothing leads out of quarantined', () => {
  assert.equal([...reachable(enclaveMachine, { ...walk, from: 'quarantined' })], ['quarantined']);
});

test('each failed effect quarantines and destroys', async () => {
  const order = ['create', 'measure', 'attest', 'provision'];
  for (const failing of order) {
    const { fx, actor, value, clock, context } = launch();
    actor.send({ type: 'enclave.start' });
    for (const effect of order) {
      if (effect === failing) {
        await fx.last(effect).reject(new VouchError('policy-rejected', 'the policy says no'));
        break;
      }
      await fx.last(effect).resolve({ measurement: MEASUREMENT, validMs: 1000 });
      clock.increment(0);
    }
    assert.is(value(), 'quarantined', failing);
    assert.equal(context().failure, { code: 'policy-rejected', retryable: false });
    assert.is(context().wiped, false);
    await fx.last('destroy').resolve();
    assert.is(context().wiped, true);
    actor.stop();
  }
});

test('a failed effect quarantines from every state that lives, at once and not gently', async () => {
  const { clock, actor, value, context, fx } = await serve(1000);
  clock.increment(750);
  await fx.last('attest').reject(new VouchError('evidence-rejected', 'the platform says no'));
  assert.is(value(), 'quarantined');
  assert.is(context().failure?.code, 'evidence-rejected');
  assert.is(fx.last('destroy').input.gently, false);
  await fx.last('destroy').reject();
  assert.is(context().wiped, false);
  actor.stop();
  const drained = await serve();
  drained.actor.send({ type: 'enclave.drain' });
  assert.is(drained.fx.last('destroy').input.gently, true, 'what runs inside may finish');
});

test("says whether its evidence is a hardware's, and nothing before it has any", async () => {
  const { context, actor } = await serve();
  assert.is(context().hardware, false);
  assert.is(enclaveCounts(context()).hardware, 0);
  actor.stop();
  const fresh = createActor(enclaveMachine, { input: { id: 'e1' } }).start();
  assert.not('hardware' in enclaveCounts(fresh.getSnapshot().context));
});

test('a model that loads for long is waited for with fresh evidence, and not for ever', async () => {
  const { fx, actor, value, clock, context } = launch();
  actor.send({ type: 'enclave.start' });
  for (const effect of ['create', 'measure']) await fx.last(effect).resolve({ measurement: MEASUREMENT });
  clock.increment(0);
  for (let round = 1; round <= 25; round++) {
    await fx.last('attest').resolve({ validMs: 1000 });
    assert.is(value(), 'provisioning');
    clock.increment(250);
    assert.is(value(), round <= 24 ? 'attesting' : 'quarantined', `round ${round}`);
  }
  assert.is(context().failure?.code, 'timeout');
  actor.stop();
});

test('attests again after three quarters of the validity, and not before', async () => {
  const { clock, value, fx, context } = await serve(1000);
  clock.increment(749);
  assert.is(value(), 'serving');
  clock.increment(1);
  assert.is(value(), 'attesting');
  await fx.last('attest').resolve({ validMs: 2000 });
  await fx.last('provision').resolve();
  assert.is(value(), 'serving');
  assert.is(context().attestations, 2);
  clock.increment(1499);
  assert.is(value(), 'serving');
  clock.increment(1);
  assert.is(value(), 'attesting');
});

test('new evidence that is not there when the old expires quarantines; a late one is ignored', async () => {
  const { clock, value, fx, context } = await serve(1000);
  clock.increment(750);
  const late = fx.last('attest');
  clock.increment(249);
  assert.is(value(), 'attesting');
  clock.increment(1);
  assert.is(value(), 'quarantined');
  assert.is(context().failure?.code, 'timeout');
  assert.ok(late.signal.aborted);
  await late.resolve({ validMs: 1000 });
  assert.is(value(), 'quarantined');
  assert.is(context().attestations, 1);
});

test('drains from every state, and starts anew after that', async () => {
  const idle = launch();
  idle.actor.send({ type: 'enclave.drain' });
  assert.is(idle.value(), 'destroyed');

  const early = launch();
  early.actor.send({ type: 'enclave.start' });
  const creation = early.fx.last('create');
  early.actor.send({ type: 'enclave.drain' });
  assert.is(early.value(), 'draining');
  assert.ok(creation.signal.aborted);
  await creation.reject();
  assert.is(early.value(), 'draining');
  await early.fx.last('destroy').resolve();
  assert.is(early.value(), 'destroyed');

  const { actor, fx, value, context, clock } = await serve();
  actor.send({ type: 'enclave.drain' });
  clock.increment(10_000);
  assert.is(value(), 'draining');
  await fx.last('destroy').resolve();
  assert.is(value(), 'destroyed');
  actor.send({ type: 'enclave.start' });
  assert.is(context().boots, 2);
  assert.is(context().measurement, null);
  await fx.last('create').resolve();
  await fx.last('measure').resolve({ measurement: MEASUREMENT });
  clock.increment(1);
  // The first evidence of the second boot has a whole minute again.
  clock.increment(59_999);
  assert.is(value(), 'attesting');
  for (const from of statesOf(enclaveMachine)) {
    if (from === 'quarantined') continue;
    assert.ok(reachable(enclaveMachine, { ...walk, from }).has('destroyed'), from);
  }
});

test('an enclave that will not be destroyed is quarantined', async () => {
  const { actor, fx, value } = await serve();
  actor.send({ type: 'enclave.drain' });
  await fx.last('destroy').reject();
  assert.is(value(), 'quarantined');
  assert.is(fx.count('destroy'), 2);
});

test('an effect that nobody provided fails closed', async () => {
  const actor = createActor(enclaveMachine, { input: { id: 'e1' } }).start();
  actor.send({ type: 'enclave.start' });
  await settle();
  assert.is(actor.getSnapshot().value, 'quarantined');
  assert.is(actor.getSnapshot().context.failure?.code, 'internal');
});

test('validity beyond what a timer holds does not fire at once', async () => {
  const { value, clock } = await serve(Number.MAX_SAFE_INTEGER);
  clock.increment(2 ** 31 - 2);
  assert.is(value(), 'serving');
});

test('the context is its schema, and nothing else', async () => {
  const { context } = await serve();
  assert.equal(EnclaveContext.parse(JSON.parse(JSON.stringify(context()))), context());
});

test.run();
