import { createActor, SimulatedClock } from 'xstate';
import { SupervisorContext, supervisorMachine } from '../../actors/supervisor.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { reachable, stage, statesOf, type Walk } from './fixture.ts';

const test = suite('actors/supervisor');

const CHILDREN = [
  { id: 'nats', essential: true },
  { id: 'broker', essential: false },
  { id: 'worker', essential: false },
];
const child = (effect: 'restart' | 'stop', outcome: 'done' | 'error') => ({
  type: `xstate.${outcome}.actor.${effect}.nats`,
  actorId: `${effect}.nats`,
  error: new VouchError('internal', 'asked for by the test'),
});
const walk: Walk = {
  input: { id: 's1', children: CHILDREN.slice(0, 1) },
  events: [
    { type: 'child.started', id: 'nats' },
    { type: 'child.exited', id: 'nats', code: 1 },
    { type: 'child.due', id: 'nats' },
    { type: 'child.overdue', id: 'nats' },
    { type: 'supervisor.stop' },
    child('restart', 'done'),
    child('restart', 'error'),
    child('stop', 'done'),
    child('stop', 'error'),
  ],
  key: ({ children, failure }) => [
    children.map(({ state, recent }: { state: string; recent: number }) => [state, recent]),
    failure,
  ],
};

function begin() {
  const fx = stage('startChildren', 'restartChild', 'stopChild');
  const clock = new SimulatedClock();
  const machine = supervisorMachine.provide({ actors: fx.actors });
  const actor = createActor(machine, { input: { id: 's1', children: CHILDREN }, clock }).start();
  const context = () => actor.getSnapshot().context;
  return {
    fx,
    clock,
    actor,
    context,
    value: () => actor.getSnapshot().value,
    states: () => context().children.map(({ state }) => state),
    started: (id: string) => actor.send({ type: 'child.started', id }),
    exited: (id: string, code = 1) => actor.send({ type: 'child.exited', id, code }),
    stopped: () => fx.calls.filter(({ effect }) => effect === 'stopChild').map(({ input }) => input.id),
  };
}

async function supervising() {
  const host = begin();
  assert.equal(host.fx.last('startChildren').input, { children: ['nats', 'broker', 'worker'] });
  for (const { id } of CHILDREN) host.started(id);
  await host.fx.last('startChildren').resolve();
  assert.is(host.value(), 'supervising');
  assert.equal(host.states(), ['running', 'running', 'running']);
  return host;
}

test('every state is reachable', () => {
  assert.equal(reachable(supervisorMachine, walk), statesOf(supervisorMachine));
});

test('nothing leads out of failed or stopped', () => {
  for (const from of ['failed', 'stopped']) {
    assert.equal([...reachable(supervisorMachine, { ...walk, from })], [from]);
  }
});

test('restarts a child that exited, later each time', async () => {
  const { fx, clock, exited, context, states } = await supervising();
  for (const [n, delay] of [250, 500, 1000, 2000, 4000].entries()) {
    exited('worker', 9);
    assert.equal(states(), ['running', 'running', 'restarting']);
    clock.increment(delay - 1);
    assert.is(fx.count('restartChild'), n);
    clock.increment(1);
    assert.is(fx.count('restartChild'), n + 1);
    await fx.last('restartChild').resolve();
    assert.equal(states(), ['running', 'running', 'running']);
  }
  assert.equal([context().children[2]?.restarts, context().children[2]?.exit], [5, 9]);
});

test('gives a child up at the sixth exit in the window; the others run on', async () => {
  const { fx, clock, exited, states, value, started } = await supervising();
  for (let i = 0; i < 5; i++) {
    exited('worker');
    clock.increment(4000);
    await fx.last('restartChild').resolve();
  }
  exited('worker');
  clock.increment(60_000);
  assert.equal(states(), ['running', 'running', 'failed']);
  assert.is(fx.count('restartChild'), 5);
  started('worker');
  exited('worker');
  assert.equal(states(), ['running', 'running', 'failed']);
  assert.is(value(), 'supervising');
});

test('an exit is forgiven 30 s later', async () => {
  const { fx, clock, exited, states, context } = await supervising();
  for (let i = 0; i < 20; i++) {
    exited('worker');
    clock.increment(7000);
    await fx.last('restartChild').resolve();
  }
  assert.equal(states(), ['running', 'running', 'running']);
  assert.is(fx.count('restartChild'), 20);
  clock.increment(30_000);
  assert.is(context().children[2]?.recent, 0);
});

test('a restart that fails counts as an exit', async () => {
  const { fx, clock, exited, states } = await supervising();
  exited('broker');
  for (let i = 0; i < 5; i++) {
    clock.increment(4000);
    await fx.last('restartChild').reject();
  }
  assert.equal(states(), ['running', 'failed', 'running']);
  assert.is(fx.count('restartChild'), 5);
});

test('an essential child that is given up stops the others in reverse order', async () => {
  const { fx, clock, exited, states, value, context, stopped } = await supervising();
  for (let i = 0; i < 5; i++) {
    exited('nats');
    clock.increment(4000);
    await fx.last('restartChild').resolve();
  }
  exited('nats');
  assert.is(value(), 'stopping');
  await fx.last('stopChild').resolve();
  await fx.last('stopChild').resolve();
  assert.equal(stopped(), ['worker', 'broker']);
  assert.is(value(), 'failed');
  assert.equal(states(), ['failed', 'stopped', 'stopped']);
  assert.is(context().failure?.code, 'internal');
});

test('children that do not start are stopped, and the supervisor fails', async () => {
  const { fx, value, stopped, context, started } = begin();
  started('nats');
  await fx.last('startChildren').reject(new VouchError('nats-unreachable', 'no server'));
  assert.is(value(), 'stopping');
  for (let i = 0; i < 3; i++) await fx.last('stopChild').resolve();
  assert.equal(stopped(), ['worker', 'broker', 'nats']);
  assert.equal([value(), context().failure?.code], ['failed', 'nats-unreachable']);
});

test('stops from every state, one at a time, the last started first', async () => {
  const { fx, actor, value, stopped, states, exited, clock } = await supervising();
  exited('broker');
  actor.send({ type: 'supervisor.stop' });
  assert.equal(stopped(), ['worker']);
  clock.increment(1000);
  assert.is(fx.count('restartChild'), 0);
  await fx.last('stopChild').resolve();
  assert.equal(stopped(), ['worker', 'broker']);
  await fx.last('stopChild').reject();
  assert.is(value(), 'stopping');
  const slow = fx.last('stopChild');
  clock.increment(14_999);
  assert.is(value(), 'stopping');
  clock.increment(1);
  assert.is(value(), 'stopped');
  assert.ok(slow.signal.aborted);
  assert.equal(states(), ['failed', 'failed', 'stopped']);
  await slow.resolve();
  exited('worker');
  assert.equal(states(), ['failed', 'failed', 'stopped']);
  for (const from of ['starting', 'supervising', 'stopping']) {
    assert.ok(reachable(supervisorMachine, { ...walk, from }).has('stopped'), from);
  }
});

test('a restart under way is cut off by a stop', async () => {
  const { fx, actor, exited, clock, value } = await supervising();
  exited('worker');
  clock.increment(250);
  const restart = fx.last('restartChild');
  actor.send({ type: 'supervisor.stop' });
  assert.ok(restart.signal.aborted);
  await restart.reject();
  for (let i = 0; i < 3; i++) await fx.last('stopChild').resolve();
  assert.is(value(), 'stopped');
});

test('news of strangers and old news change nothing', async () => {
  const { fx, exited, started, states, context, clock } = await supervising();
  exited('stranger');
  started('stranger');
  exited('worker');
  exited('worker');
  assert.is(context().children[2]?.recent, 1);
  clock.increment(250);
  started('worker');
  assert.equal(states(), ['running', 'running', 'running']);
  await fx.last('restartChild').resolve();
  clock.increment(10_000);
  assert.is(fx.count('restartChild'), 1);
});

test('the context is its schema, and nothing else', async () => {
  const { context, exited } = await supervising();
  exited('worker', -9);
  assert.equal(SupervisorContext.parse(JSON.parse(JSON.stringify(context()))), context());
});

test.run();
