import { createActor, SimulatedClock } from 'xstate';
import { KeyBrokerContext, keyBrokerMachine, type ReleaseRefusal } from '../../actors/key-broker.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { reachable, stage, statesOf, type Walk } from './fixture.ts';

const test = suite('actors/key-broker');

const walk: Walk = {
  input: { id: 'b1', limit: 1 },
  outputs: { verifyEvidence: [{ accepted: true }, { accepted: false }] },
  events: [
    { type: 'release.request', request: 'r1', model: 'm1' },
    { type: 'release.request', request: 'r2', model: 'm1' },
    { type: 'broker.drain' },
  ],
  key: ({ current, queue }) => [current, queue],
};

function open(limit?: number) {
  const fx = stage('openStore', 'verifyEvidence', 'record', 'release');
  const clock = new SimulatedClock();
  const refusals: ReleaseRefusal[] = [];
  const machine = keyBrokerMachine.provide({
    actors: fx.actors,
    actions: { refuse: (_, refusal) => void refusals.push(refusal) },
  });
  const actor = createActor(machine, { input: { id: 'b1', ...(limit ? { limit } : {}) }, clock }).start();
  return {
    fx,
    clock,
    actor,
    refusals,
    value: () => actor.getSnapshot().value,
    context: () => actor.getSnapshot().context,
    ask: (request: string) => actor.send({ type: 'release.request', request, model: 'm1' }),
    answers: () => refusals.map(({ request, code }) => `${request} ${code}`),
  };
}

async function ready(limit?: number) {
  const broker = open(limit);
  await broker.fx.last('openStore').resolve();
  assert.is(broker.value(), 'ready');
  return broker;
}

test('every state is reachable', () => {
  assert.equal(reachable(keyBrokerMachine, walk), statesOf(keyBrokerMachine));
});

test('releasing needs an open store, an acceptance and a record of it', () => {
  for (const effect of ['openStore', 'verifyEvidence', 'record']) {
    const states = reachable(keyBrokerMachine, { ...walk, outputs: { ...walk.outputs, [effect]: 'never' } });
    assert.not(states.has('releasing'), effect);
  }
  for (const output of [undefined, {}, { accepted: false }, { accepted: 'true' }, { accepted: 1 }]) {
    const states = reachable(keyBrokerMachine, { ...walk, outputs: { verifyEvidence: [output] } });
    assert.not(states.has('releasing'), JSON.stringify(output));
    assert.ok(states.has('refused'));
  }
});

test('nothing leads out of failed or stopped', () => {
  for (const from of ['failed', 'stopped']) {
    assert.equal([...reachable(keyBrokerMachine, { ...walk, from })], [from]);
  }
});

test('a store that does not open refuses for good', async () => {
  const { fx, value, ask, answers } = open();
  ask('a');
  await fx.last('openStore').reject(new VouchError('bad-file', 'truncated'));
  assert.is(value(), 'failed');
  ask('b');
  assert.equal(answers(), ['a not-ready', 'b not-ready']);
  assert.is(fx.count('verifyEvidence'), 0);
});

test('releases one at a time, in order, each for its own verification', async () => {
  const { fx, ask, context, value } = await ready();
  ask('a');
  ask('b');
  assert.equal(context().queue, [{ request: 'b', model: 'm1' }]);
  assert.equal(fx.last('verifyEvidence').input, { request: 'a', model: 'm1' });
  await fx.last('verifyEvidence').resolve({ accepted: true });
  assert.equal([value(), fx.count('release')], ['recording', 0]);
  assert.equal(fx.last('record').input, { request: 'a', model: 'm1' });
  await fx.last('record').resolve();
  assert.equal(fx.last('release').input, { request: 'a', model: 'm1' });
  assert.is(fx.count('verifyEvidence'), 1);
  await fx.last('release').resolve();
  assert.equal(fx.last('verifyEvidence').input, { request: 'b', model: 'm1' });
  await fx.last('verifyEvidence').resolve({ accepted: true });
  await fx.last('record').resolve();
  await fx.last('release').resolve();
  assert.equal([value(), context().released, context().refused, context().current], ['ready', 2, 0, null]);
});

test('a refusal never releases, and the next request gets its turn', async () => {
  const { fx, ask, answers, context, value, clock } = await ready();
  ask('a');
  ask('b');
  ask('c');
  await fx.last('verifyEvidence').resolve({ accepted: false });
  assert.is(value(), 'refused');
  ask('d');
  clock.increment(0);
  await fx.last('verifyEvidence').reject(new VouchError('evidence-rejected', 'a stale nonce'));
  clock.increment(0);
  await fx.last('verifyEvidence').resolve({ accepted: true });
  await fx.last('record').reject(new VouchError('storage-full', 'full'));
  clock.increment(0);
  assert.is(fx.count('release'), 0, 'without a record nothing leaves');
  await fx.last('verifyEvidence').resolve({ accepted: true });
  await fx.last('record').resolve();
  await fx.last('release').reject(new VouchError('seal-rejected', 'a key of small order'));
  clock.increment(0);
  assert.equal(answers(), ['a policy-rejected', 'b evidence-rejected', 'c storage-full', 'd seal-rejected']);
  assert.equal([fx.count('release'), context().released, context().refused], [1, 0, 4]);
  assert.is(context().current, null);
});

test('the queue is bounded', async () => {
  const { ask, answers, context } = await ready(2);
  for (const request of ['a', 'b', 'c', 'd', 'e']) ask(request);
  assert.equal(answers(), ['d busy', 'e busy']);
  assert.is(context().queue.length, 2);
});

test('no answer in time refuses; the late answer is ignored', async () => {
  const { fx, ask, answers, value, clock } = await ready();
  ask('a');
  const late = fx.last('verifyEvidence');
  clock.increment(10_000);
  assert.is(value(), 'refused');
  assert.ok(late.signal.aborted);
  await late.resolve({ accepted: true });
  assert.is(fx.count('release'), 0);
  clock.increment(0);
  ask('b');
  await fx.last('verifyEvidence').resolve({ accepted: true });
  const slow = fx.last('record');
  clock.increment(10_000);
  await slow.resolve();
  assert.is(fx.count('release'), 0);
  clock.increment(0);
  ask('c');
  await fx.last('verifyEvidence').resolve({ accepted: true });
  await fx.last('record').resolve();
  clock.increment(10_000);
  assert.equal(answers(), ['a timeout', 'b timeout', 'c timeout']);
});

test('drains from every state, with an answer for everyone', async () => {
  const { fx, actor, ask, answers, value, context } = await ready();
  ask('a');
  ask('b');
  const late = fx.last('verifyEvidence');
  actor.send({ type: 'broker.drain' });
  assert.is(value(), 'stopped');
  await late.resolve({ accepted: true });
  ask('c');
  assert.equal(answers(), ['a not-ready', 'b not-ready', 'c not-ready']);
  assert.equal([fx.count('release'), context().queue.length], [0, 0]);
  for (const from of statesOf(keyBrokerMachine)) {
    if (from === 'failed') continue;
    assert.ok(reachable(keyBrokerMachine, { ...walk, from }).has('stopped'), from);
  }
});

test('the context is its schema, and nothing else', async () => {
  const { context, ask } = await ready();
  ask('a');
  ask('b');
  assert.equal(KeyBrokerContext.parse(JSON.parse(JSON.stringify(context()))), context());
});

test.run();
