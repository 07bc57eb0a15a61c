import { createActor, SimulatedClock } from 'xstate';
import {
  MsmWorkerContext,
  msmWorkerMachine,
  type ShardRef,
  type ShardRefusal,
} from '../../actors/msm-worker.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { reachable, settle, stage, statesOf, type Walk } from './fixture.ts';

const test = suite('actors/msm-worker');

const SHARD: ShardRef = { job: 'j1', shard: 's1', points: 64 };
const computed = { type: 'xstate.done.actor.compute', actorId: 'compute', output: undefined };
const computeFailed = (code: 'internal' | 'device-lost') => ({
  type: 'xstate.error.actor.compute',
  actorId: 'compute',
  error: new VouchError(code, 'asked for by the test'),
});
const walk: Walk = {
  input: { id: 'w1' },
  outputs: { pull: [SHARD] },
  errors: [new VouchError('bad-message', 'for good')],
  events: [
    { type: 'worker.suspend' },
    { type: 'worker.drain' },
    { type: 'pull.again' },
    computed,
    computeFailed('internal'),
    computeFailed('device-lost'),
  ],
  key: ({ shard }) => shard,
};

function hire() {
  const fx = stage('join', 'selfTest', 'pull', 'fetchBases', 'compute');
  const clock = new SimulatedClock();
  const refusals: ShardRefusal[] = [];
  const machine = msmWorkerMachine.provide({
    actors: fx.actors,
    actions: { refuseShard: (_, refusal) => void refusals.push(refusal) },
  });
  const actor = createActor(machine, { input: { id: 'w1' }, clock }).start();
  const value = () => actor.getSnapshot().value;
  const idle = async () => {
    await fx.last('join').resolve();
    await fx.last('selfTest').resolve();
    assert.is(value(), 'idle');
  };
  const compute = async () => {
    await fx.last('pull').resolve(SHARD);
    await fx.last('fetchBases').resolve();
    assert.is(value(), 'computing');
  };
  return { fx, clock, actor, value, idle, compute, refusals, context: () => actor.getSnapshot().context };
}

test('every state is reachable', () => {
  assert.equal(reachable(msmWorkerMachine, walk), statesOf(msmWorkerMachine));
});

test('idle needs a join and a right self-test', () => {
  for (const effect of ['join', 'selfTest']) {
    const states = reachable(msmWorkerMachine, { ...walk, outputs: { ...walk.outputs, [effect]: 'never' } });
    assert.not(states.has('idle'), effect);
  }
});

test('nothing leads out of suspended, failed or stopped', () => {
  for (const from of ['suspended', 'failed', 'stopped']) {
    assert.equal([...reachable(msmWorkerMachine, { ...walk, from })], [from]);
  }
});

test('a wrong self-test suspends for good', async () => {
  const { fx, value, actor } = hire();
  await fx.last('join').resolve();
  await fx.last('selfTest').reject(new VouchError('shard-rejected', 'the sum is wrong'));
  assert.is(value(), 'suspended');
  actor.send({ type: 'worker.drain' });
  assert.is(value(), 'suspended');
  assert.is(fx.count('pull'), 0);
});

test('takes one shard at a time and pulls again after each', async () => {
  const { fx, value, idle, compute, context } = hire();
  await idle();
  assert.is(fx.count('pull'), 1);
  await compute();
  assert.equal(fx.last('compute').input, SHARD);
  assert.is(fx.count('pull'), 1);
  await fx.last('compute').resolve();
  assert.is(value(), 'idle');
  assert.is(fx.count('pull'), 2);
  assert.equal([context().done, context().points, context().shard], [1, 64, null]);
});

test('only the known fields of a shard are kept', async () => {
  const { fx, idle, context } = hire();
  await idle();
  await fx.last('pull').resolve({ ...SHARD, scalars: 'secret' });
  assert.equal(context().shard, SHARD);
});

test('a shard that fails is handed back, and the next one pulled', async () => {
  const { fx, value, idle, compute, context, refusals } = hire();
  await idle();
  await fx.last('pull').resolve(SHARD);
  await fx.last('fetchBases').reject(new VouchError('no-responder', 'no such chunk'));
  assert.is(value(), 'idle');
  await compute();
  await fx.last('compute').reject(new Error('an engine defect'));
  assert.is(value(), 'idle');
  assert.equal(
    refusals.map(({ shard, code }) => [shard, code]),
    [
      ['s1', 'no-responder'],
      ['s1', 'internal'],
    ],
  );
  assert.equal([context().refused, context().done, context().shard], [2, 0, null]);
  await compute();
  await fx.last('compute').resolve();
  assert.is(context().done, 1);
});

test('after a lost device the self-test runs again', async () => {
  const { fx, value, idle, compute, refusals } = hire();
  await idle();
  await compute();
  await fx.last('compute').reject(new VouchError('device-lost', 'gone'));
  assert.is(value(), 'selfTesting');
  assert.is(refusals[0]?.code, 'device-lost');
  await fx.last('selfTest').reject();
  assert.is(value(), 'suspended');
});

test('a pull that fails is tried again, later each time; one that fails for good closes', async () => {
  const { fx, value, idle, clock, compute } = hire();
  await idle();
  for (const [n, delay] of [250, 500, 1000, 2000, 4000, 5000, 5000].entries()) {
    await fx.last('pull').reject(new VouchError('nats-unreachable', 'restarting'));
    clock.increment(delay - 1);
    assert.is(fx.count('pull'), n + 1);
    clock.increment(1);
    assert.is(fx.count('pull'), n + 2);
  }
  await compute();
  await fx.last('compute').resolve();
  await fx.last('pull').reject(new VouchError('nats-unreachable', 'restarting'));
  clock.increment(250);
  await fx.last('pull').reject(new VouchError('nats-credentials', 'revoked'));
  assert.is(value(), 'failed');
});

test('suspending stops the computation; its late result is ignored', async () => {
  const { actor, fx, value, idle, compute, refusals, context } = hire();
  await idle();
  await compute();
  const late = fx.last('compute');
  actor.send({ type: 'worker.suspend' });
  assert.is(value(), 'suspended');
  assert.ok(late.signal.aborted);
  assert.equal(refusals, [{ ...SHARD, code: 'shard-rejected' }]);
  await late.resolve();
  assert.equal([value(), context().done], ['suspended', 0]);
});

test('a drain lets the computation finish and takes no other shard', async () => {
  const { actor, fx, value, idle, compute, context, refusals } = hire();
  await idle();
  await compute();
  actor.send({ type: 'worker.drain' });
  assert.is(value(), 'draining');
  assert.not(fx.last('compute').signal.aborted);
  await fx.last('compute').resolve();
  assert.is(value(), 'stopped');
  assert.equal([context().done, fx.count('pull'), refusals.length], [1, 1, 0]);
});

test('a drain hands back what it cannot finish', async () => {
  const fetching = hire();
  await fetching.idle();
  await fetching.fx.last('pull').resolve(SHARD);
  fetching.actor.send({ type: 'worker.drain' });
  assert.is(fetching.value(), 'stopped');
  assert.is(fetching.refusals[0]?.code, 'cancelled');

  const slow = hire();
  await slow.idle();
  await slow.compute();
  slow.actor.send({ type: 'worker.drain' });
  slow.clock.increment(30_000);
  assert.is(slow.value(), 'stopped');
  assert.is(slow.refusals[0]?.code, 'cancelled');

  const failing = hire();
  await failing.idle();
  await failing.compute();
  failing.actor.send({ type: 'worker.drain' });
  await failing.fx.last('compute').reject();
  assert.is(failing.value(), 'stopped');
  assert.is(failing.refusals[0]?.code, 'internal');
});

test('drains from every state that lives', async () => {
  for (const from of statesOf(msmWorkerMachine)) {
    if (from === 'suspended' || from === 'failed') continue;
    assert.ok(reachable(msmWorkerMachine, { ...walk, from }).has('stopped'), from);
  }
  const { actor, fx, value } = hire();
  const join = fx.last('join');
  actor.send({ type: 'worker.drain' });
  assert.is(value(), 'stopped');
  await join.reject();
  await settle();
  assert.is(value(), 'stopped');
});

test('the context is its schema, and nothing else', async () => {
  const { context, idle, compute } = hire();
  await idle();
  await compute();
  assert.equal(MsmWorkerContext.parse(JSON.parse(JSON.stringify(context()))), context());
});

test.run();
