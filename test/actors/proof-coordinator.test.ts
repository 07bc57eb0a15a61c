import { createActor, SimulatedClock, setup } from 'xstate';
import { msmWorkerMachine } from '../../actors/msm-worker.ts';
import {
  jobActorId,
  ProofCoordinatorContext,
  proofCoordinatorMachine,
  type RequestOutcome,
  WORKER_STATES,
} from '../../actors/proof-coordinator.ts';
import { proofJobMachine } from '../../actors/proof-job.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { reachable, settle, stage, statesOf, type Walk } from './fixture.ts';

const test = suite('actors/proof-coordinator');

const PUBLISHED = { outcome: 'published', retryable: false };
const FAILED = { outcome: 'failed', code: 'witness-rejected', retryable: false };
const RETRY = { outcome: 'failed', code: 'stale-epoch', retryable: true };

const jobDone = { type: 'xstate.done.actor.job.j1', actorId: 'job.j1', output: PUBLISHED };
const walk: Walk = {
  input: { id: 'c1' },
  events: [
    { type: 'coordinator.drain' },
    { type: 'worker.beat', id: 'w1', state: 'idle', credit: 1 },
    { type: 'worker.gone', id: 'w1' },
    { type: 'pull.again' },
    { type: 'xstate.done.actor.pull', actorId: 'pull', output: { job: 'j1' } },
    { type: 'xstate.error.actor.pull', actorId: 'pull', error: new VouchError('nats-unreachable', 'gone') },
    { type: 'xstate.error.actor.pull', actorId: 'pull', error: new VouchError('nats-credentials', 'gone') },
    jobDone,
    { ...jobDone, type: 'xstate.error.actor.job.j1', output: undefined },
  ],
  key: ({ jobs, pulling, workers }) => [jobs, pulling, workers],
};

function hire(maxJobs?: number) {
  const fx = stage('join', 'pullRequest', 'proofJob');
  const clock = new SimulatedClock();
  const acks: RequestOutcome[] = [];
  const naks: RequestOutcome[] = [];
  const machine = proofCoordinatorMachine.provide({
    actors: fx.actors,
    actions: {
      ackRequest: (_, outcome) => void acks.push(outcome),
      nakRequest: (_, outcome) => void naks.push(outcome),
    },
  });
  const input = { id: 'c1', ...(maxJobs ? { maxJobs } : {}) };
  const actor = createActor(machine, { input, clock }).start();
  return {
    fx,
    clock,
    actor,
    acks,
    naks,
    value: () => actor.getSnapshot().value,
    context: () => actor.getSnapshot().context,
    children: () => Object.keys(actor.getSnapshot().children),
    pull: (job: string) => fx.last('pullRequest').resolve({ job }),
  };
}

async function admitting(maxJobs?: number) {
  const coordinator = hire(maxJobs);
  await coordinator.fx.last('join').resolve();
  assert.is(coordinator.value(), 'admitting');
  return coordinator;
}

test('every state is reachable', () => {
  assert.equal(reachable(proofCoordinatorMachine, walk), statesOf(proofCoordinatorMachine));
});

test('nothing leads out of failed or stopped', () => {
  for (const from of ['failed', 'stopped']) {
    assert.equal([...reachable(proofCoordinatorMachine, { ...walk, from })], [from]);
  }
});

test('a join that fails closes', async () => {
  const { fx, value, context } = hire();
  await fx.last('join').reject(new VouchError('nats-credentials', 'wrong'));
  assert.equal([value(), context().failure?.code], ['failed', 'nats-credentials']);
});

test('runs as many jobs as it has room for, and acknowledges by their outcome', async () => {
  const { fx, pull, context, acks, naks, children } = await admitting(2);
  await pull('a');
  await pull('b');
  assert.equal(context().jobs, ['a', 'b']);
  assert.is(fx.count('pullRequest'), 2);
  const [a, b] = fx.calls.filter(({ effect }) => effect === 'proofJob');
  assert.equal(a?.input, { job: 'a' });
  await a?.resolve(PUBLISHED);
  assert.is(fx.count('pullRequest'), 3);
  await b?.resolve(FAILED);
  await pull('c');
  await fx.last('proofJob').resolve(RETRY);
  assert.equal(acks, [{ job: 'a' }, { job: 'b', code: 'witness-rejected' }]);
  assert.equal(naks, [{ job: 'c', code: 'stale-epoch' }]);
  assert.equal([context().admitted, context().published, context().failed], [3, 1, 2]);
  assert.equal(children(), ['pull']);
});

test('a job that ends in a defect, or without a proper output, is handed back', async () => {
  const { fx, pull, naks, acks } = await admitting();
  await pull('a');
  await fx.last('proofJob').reject(new TypeError('a defect'));
  await pull('b');
  await fx.last('proofJob').resolve({ outcome: 'done?' });
  assert.equal(naks, [
    { job: 'a', code: 'internal' },
    { job: 'b', code: 'internal' },
  ]);
  assert.equal(acks, []);
});

test('a request that is delivered again starts nothing', async () => {
  const { fx, pull, context } = await admitting(2);
  await pull('a');
  await pull('a');
  assert.equal([fx.count('proofJob'), context().admitted], [1, 1]);
  assert.is(fx.count('pullRequest'), 3);
});

test('a job may have any id that a token may have', async () => {
  const { fx, pull, acks } = await admitting();
  for (const job of ['pull', 'job', '__proto__', 'constructor', '0']) {
    await pull(job);
    await fx.last('proofJob').resolve(PUBLISHED);
  }
  assert.equal(
    acks.map(({ job }) => job),
    ['pull', 'job', '__proto__', 'constructor', '0'],
  );
});

test('a pull that fails is tried again later; one that fails for good closes and hands back', async () => {
  const { fx, clock, value, naks, context, pull } = await admitting(2);
  await fx.last('pullRequest').reject(new VouchError('nats-unreachable', 'restarting'));
  clock.increment(249);
  assert.is(fx.count('pullRequest'), 1);
  clock.increment(1);
  await fx.last('pullRequest').reject(new VouchError('timeout', 'restarting'));
  clock.increment(500);
  assert.is(fx.count('pullRequest'), 3);
  await pull('a');
  assert.is(context().misses, 0);
  const job = fx.last('proofJob');
  await fx.last('pullRequest').reject(new VouchError('nats-credentials', 'revoked'));
  assert.is(value(), 'failed');
  assert.ok(job.signal.aborted);
  assert.equal(naks, [{ job: 'a', code: 'nats-credentials' }]);
  await job.resolve(PUBLISHED);
  assert.is(context().published, 0);
});

test('asks once at a time, also when a job ends while it waits to ask again', async () => {
  const { fx, clock, pull } = await admitting(3);
  await pull('a');
  await fx.last('pullRequest').reject(new VouchError('nats-unreachable', 'restarting'));
  await fx.last('proofJob').resolve(PUBLISHED);
  assert.is(fx.count('pullRequest'), 3);
  clock.increment(250);
  assert.is(fx.count('pullRequest'), 3);
});

test('a drain pulls no more and waits for the jobs', async () => {
  const { fx, actor, value, pull, acks, clock } = await admitting(2);
  await pull('a');
  const pulling = fx.last('pullRequest');
  actor.send({ type: 'coordinator.drain' });
  assert.ok(pulling.signal.aborted);
  await pulling.resolve({ job: 'b' });
  clock.increment(9_000);
  assert.is(value(), 'draining');
  assert.is(fx.count('proofJob'), 1);
  await fx.last('proofJob').resolve(PUBLISHED);
  assert.equal(acks, [{ job: 'a' }]);
  assert.is(value(), 'stopped');
});

test('a drain that lasts too long hands the jobs back', async () => {
  const { fx, actor, value, pull, naks, clock } = await admitting();
  await pull('a');
  actor.send({ type: 'coordinator.drain' });
  clock.increment(10_000);
  assert.is(value(), 'stopped');
  assert.ok(fx.last('proofJob').signal.aborted);
  assert.equal(naks, [{ job: 'a', code: 'cancelled' }]);
});

test('drains from every state that lives', async () => {
  for (const from of statesOf(proofCoordinatorMachine)) {
    if (from === 'failed') continue;
    assert.ok(reachable(proofCoordinatorMachine, { ...walk, from }).has('stopped'), from);
  }
  const { actor, value, fx } = hire();
  actor.send({ type: 'coordinator.drain' });
  assert.is(value(), 'stopped');
  await fx.last('join').reject();
});

test('keeps the ledger of the fleet', async () => {
  const { actor, context } = await admitting();
  actor.send({ type: 'worker.beat', id: 'w1', state: 'idle', credit: 2 });
  actor.send({ type: 'worker.beat', id: '__proto__', state: 'computing', credit: 0 });
  actor.send({ type: 'worker.beat', id: 'w3', state: 'dancing', credit: 9 });
  assert.equal(context().workers.w1, { state: 'idle', credit: 2 });
  assert.equal(Object.keys(context().workers), ['w1', '__proto__']);
  for (let i = 0; i < 1100; i++) actor.send({ type: 'worker.beat', id: `x${i}`, state: 'idle', credit: 1 });
  assert.is(Object.keys(context().workers).length, 1024);
  actor.send({ type: 'worker.beat', id: 'w1', state: 'idle', credit: 3 });
  assert.is(context().workers.w1?.credit, 3);
  for (let i = 0; i < 1100; i++) actor.send({ type: 'worker.gone', id: `x${i}` });
  actor.send({ type: 'worker.gone', id: 'w1' });
  assert.equal(Object.keys(context().workers), ['__proto__']);
  assert.equal(new Set<string>(WORKER_STATES), statesOf(msmWorkerMachine));
});

test('runs the real job machine, which can be told of its shards', async () => {
  const fx = stage('join', 'pullRequest', 'acquireLease', 'witness', 'transform', 'plan', 'dispatch');
  const acks: RequestOutcome[] = [];
  const machine = proofCoordinatorMachine.provide({
    actors: { ...fx.actors, proofJob: proofJobMachine.provide({ actors: fx.actors }) },
    actions: { ackRequest: (_, outcome) => void acks.push(outcome) },
  });
  const actor = createActor(machine, { input: { id: 'c1' } }).start();
  await fx.last('join').resolve();
  await fx.last('pullRequest').resolve({ job: 'a' });
  await fx.last('acquireLease').resolve({ epoch: 1, published: false });
  await fx.last('witness').resolve();
  const job = actor.getSnapshot().children[jobActorId('a')];
  job?.send({ type: 'job.cancel' });
  await settle();
  assert.equal(acks, [{ job: 'a', code: 'cancelled' }]);
  assert.is(fx.count('pullRequest'), 2);
  actor.stop();
});

test('a job machine with a defect does not take the coordinator along', async () => {
  const broken = setup({}).createMachine({
    entry: () => {
      throw new Error('a defect');
    },
  });
  const fx = stage('join', 'pullRequest');
  const naks: RequestOutcome[] = [];
  const machine = proofCoordinatorMachine.provide({
    actors: { ...fx.actors, proofJob: broken },
    actions: { nakRequest: (_, outcome) => void naks.push(outcome) },
  });
  const actor = createActor(machine, { input: { id: 'c1' } }).start();
  await fx.last('join').resolve();
  await fx.last('pullRequest').resolve({ job: 'a' });
  assert.equal(naks, [{ job: 'a', code: 'internal' }]);
  assert.is(actor.getSnapshot().value, 'admitting');
});

test('the context is its schema, and nothing else', async () => {
  const { context, pull, actor } = await admitting();
  await pull('a');
  actor.send({ type: 'worker.beat', id: 'w1', state: 'idle', credit: 2 });
  assert.equal(ProofCoordinatorContext.parse(JSON.parse(JSON.stringify(context()))), context());
});

test.run();
