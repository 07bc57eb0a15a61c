import { createActor, SimulatedClock, setup } from 'xstate';
import { fleetMemberMachine } from '../../actors/fleet-member.ts';
import {
  memberActorId,
  ProofCoordinatorContext,
  proofCoordinatorMachine,
  type RequestOutcome,
} from '../../actors/proof-coordinator.ts';
import { proofJobMachine } from '../../actors/proof-job.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { reachable, settle, stage, statesOf, type Walk } from './fixture.ts';

const test = suite('actors/proof-coordinator', { timeoutMs: 100_000 });

const PUBLISHED = { outcome: 'published', retryable: false };
const FAILED = { outcome: 'failed', code: 'witness-rejected', retryable: false };
const RETRY = { outcome: 'failed', code: 'stale-epoch', retryable: true };

const jobDone = { type: 'xstate.done.actor.job.j1', actorId: 'job.j1', output: PUBLISHED };
const walk: Walk = {
  input: { id: 'c1' },
  events: [
    { type: 'coordinator.drain' },
    { type: 'pull.again' },
    { type: 'xstate.done.actor.pull', actorId: 'pull', output: { job: 'j1', tries: 1 } },
    { type: 'xstate.error.actor.pull', actorId: 'pull', error: new VouchError('nats-unreachable', 'gone') },
    { type: 'xstate.error.actor.pull', actorId: 'pull', error: new VouchError('nats-credentials', 'gone') },
    jobDone,
    { ...jobDone, type: 'xstate.error.actor.job.j1', output: undefined },
  ],
  key: ({ jobs, pulling }) => [jobs, pulling],
};

type Outcome = Pick<RequestOutcome, 'job' | 'code'>;
const brief = ({ job, code }: RequestOutcome): Outcome => ({ job, ...(code ? { code } : {}) });

function hire(maxJobs?: number) {
  const fx = stage('join', 'pullRequest', 'proofJob', 'attest', 'place');
  const clock = new SimulatedClock();
  const ends: Outcome[] = [];
  const naks: Outcome[] = [];
  const suspended: string[] = [];
  const machine = proofCoordinatorMachine.provide({
    actors: { ...fx.actors, fleetMember: fleetMemberMachine.provide({ actors: fx.actors }) },
    actions: {
      endRequest: (_, outcome) => void ends.push(brief(outcome)),
      nakRequest: (_, outcome) => void naks.push(brief(outcome)),
      suspendWorker: (_, { id }) => void suspended.push(id),
    },
  });
  const input = { id: 'c1', ...(maxJobs ? { maxJobs } : {}) };
  const actor = createActor(machine, { input, clock }).start();
  return {
    fx,
    clock,
    actor,
    ends,
    naks,
    suspended,
    value: () => actor.getSnapshot().value,
    context: () => actor.getSnapshot().context,
    children: () => Object.keys(actor.getSnapshot().children),
    pull: (job: string, tries = 1) => fx.last('pullRequest').resolve({ job, tries }),
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

test('runs as many jobs as it has room for, and ends requests by their outcome', async () => {
  const { fx, pull, context, ends, naks, children } = await admitting(2);
  await pull('a');
  await pull('b');
  assert.equal(context().jobs, [
    { job: 'a', tries: 1 },
    { job: 'b', tries: 1 },
  ]);
  assert.is(fx.count('pullRequest'), 2);
  const [a, b] = fx.calls.filter(({ effect }) => effect === 'proofJob');
  assert.equal(a?.input, { job: 'a' });
  await a?.resolve(PUBLISHED);
  assert.is(fx.count('pullRequest'), 3);
  await b?.resolve(FAILED);
  await pull('c');
  await fx.last('proofJob').resolve(RETRY);
  assert.equal(ends, [{ job: 'a' }, { job: 'b', code: 'witness-rejected' }]);
  assert.equal(naks, [{ job: 'c', code: 'stale-epoch' }]);
  assert.equal([context().admitted, context().published, context().failed], [3, 1, 2]);
  assert.equal(children(), ['pull']);
});

test('a job that ends in a defect, or without a proper output, is handed back', async () => {
  const { fx, pull, naks, ends } = await admitting();
  await pull('a');
  await fx.last('proofJob').reject(new TypeError('a defect'));
  await pull('b');
  await fx.last('proofJob').resolve({ outcome: 'done?' });
  assert.equal(naks, [
    { job: 'a', code: 'internal' },
    { job: 'b', code: 'internal' },
  ]);
  assert.equal(ends, []);
});

test('a request that is delivered again starts nothing', async () => {
  const { fx, pull, context } = await admitting(2);
  await pull('a');
  await pull('a');
  assert.equal([fx.count('proofJob'), context().admitted], [1, 1]);
  assert.is(fx.count('pullRequest'), 3);
});

test('a job may have any id that a token may have', async () => {
  const { fx, pull, ends } = await admitting();
  for (const job of ['pull', 'job', '__proto__', 'constructor', '0']) {
    await pull(job);
    await fx.last('proofJob').resolve(PUBLISHED);
  }
  assert.equal(
    ends.map(({ job }) => job),
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
  const { fx, actor, value, pull, ends, clock } = await admitting(2);
  await pull('a');
  const pulling = fx.last('pullRequest');
  actor.send({ type: 'coordinator.drain' });
  assert.ok(pulling.signal.aborted);
  await pulling.resolve({ job: 'b', tries: 1 });
  clock.increment(29_000);
  assert.is(value(), 'draining');
  assert.is(fx.count('proofJob'), 1);
  await fx.last('proofJob').resolve(PUBLISHED);
  assert.equal(ends, [{ job: 'a' }]);
  assert.is(value(), 'stopped');
});

test('a drain that lasts too long hands the jobs back', async () => {
  const { fx, actor, value, pull, naks, clock } = await admitting();
  await pull('a');
  actor.send({ type: 'coordinator.drain' });
  clock.increment(30_000);
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

test('a request is given up at its eighth try, however its job fails', async () => {
  const { fx, pull, naks, ends } = await admitting();
  await pull('a', 7);
  await fx.last('proofJob').resolve(RETRY);
  await pull('a', 8);
  await fx.last('proofJob').resolve(RETRY);
  assert.equal(naks, [{ job: 'a', code: 'stale-epoch' }]);
  assert.equal(ends, [{ job: 'a', code: 'stale-epoch' }]);
  // A coordinator that dies over a request says nothing of it: the next one counts.
  await pull('b', 9);
  assert.is(fx.count('proofJob'), 2);
  assert.equal(ends.at(-1), { job: 'b', code: 'internal' });
  assert.is(fx.count('pullRequest'), 4, 'and asks for the next');
});

test('cancels the job that is named, and no other', async () => {
  const fx = stage('join', 'pullRequest');
  const heardBy: string[] = [];
  const proofJob = setup({ types: {} as { input: { job: string }; context: { job: string } } }).createMachine(
    {
      context: ({ input }) => input,
      on: { '*': { actions: ({ context, event }) => void heardBy.push(`${context.job} ${event.type}`) } },
    },
  );
  const machine = proofCoordinatorMachine.provide({ actors: { ...fx.actors, proofJob } });
  const actor = createActor(machine, { input: { id: 'c1', maxJobs: 2 } }).start();
  await fx.last('join').resolve();
  for (const job of ['a', 'b']) await fx.last('pullRequest').resolve({ job, tries: 1 });
  for (const job of ['b', 'c']) actor.send({ type: 'job.cancel', job });
  assert.equal(heardBy, ['b job.cancel']);
  assert.is(actor.getSnapshot().context.jobs.length, 2);
});

const heard = (id: string, credit = 2) => ({ type: 'worker.heard', id, credit, leaseMs: 3_000 }) as const;

test('knows each worker by an actor of its own, as many as it can', async () => {
  const { actor, context, fx, children } = await admitting();
  actor.send(heard('w1'));
  actor.send(heard('__proto__', 0));
  actor.send(heard('w1', 3));
  assert.equal(context().workers, ['w1', '__proto__']);
  const member = (id: string) => actor.getSnapshot().children[memberActorId(id)]?.getSnapshot();
  assert.is(member('w1')?.context.credit, 3);
  await fx.last('attest').resolve();
  await fx.last('place').resolve();
  assert.is(member('w1')?.value, 'ready');
  actor.send({ type: 'link.lost' });
  assert.is(member('w1')?.value, 'cutOff');
  actor.send({ type: 'link.back' });
  assert.is(member('w1')?.value, 'placing', 'its evidence still counts');
  for (let i = 0; i < 1100; i++) actor.send(heard(`x${i}`, 0));
  assert.is(context().workers.length, 1024);
  for (let i = 0; i < 1100; i++) actor.send({ type: 'worker.left', id: `x${i}` });
  actor.send({ type: 'worker.left', id: 'w1' });
  assert.equal(context().workers, ['__proto__']);
  assert.equal(children().sort(), ['pull', 'worker.__proto__']);
});

test('a banned worker is told so and is not heard again', async () => {
  const { actor, context, suspended, children } = await admitting();
  actor.send(heard('liar'));
  actor.send({ type: 'worker.banned', id: 'liar' });
  actor.send({ type: 'worker.banned', id: 'liar' });
  actor.send(heard('liar'));
  assert.equal([context().workers, context().banned, suspended], [[], ['liar'], ['liar']]);
  assert.equal(children(), ['pull']);
});

test('runs the real job machine, which can be told of its shards', async () => {
  const fx = stage('join', 'pullRequest', 'acquireLease', 'witness', 'transform', 'plan', 'dispatch');
  const ends: Outcome[] = [];
  const machine = proofCoordinatorMachine.provide({
    actors: { ...fx.actors, proofJob: proofJobMachine.provide({ actors: fx.actors }) },
    actions: { endRequest: (_, outcome) => void ends.push(brief(outcome)) },
  });
  const actor = createActor(machine, { input: { id: 'c1' } }).start();
  await fx.last('join').resolve();
  await fx.last('pullRequest').resolve({ job: 'a', tries: 1 });
  await fx.last('acquireLease').resolve({ epoch: 1, published: false });
  await fx.last('witness').resolve();
  actor.send({ type: 'job.cancel', job: 'a' });
  await settle();
  assert.equal(ends, [{ job: 'a', code: 'cancelled' }]);
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
  const naks: Outcome[] = [];
  const machine = proofCoordinatorMachine.provide({
    actors: { ...fx.actors, proofJob: broken },
    actions: { nakRequest: (_, outcome) => void naks.push(brief(outcome)) },
  });
  const actor = createActor(machine, { input: { id: 'c1' } }).start();
  await fx.last('join').resolve();
  await fx.last('pullRequest').resolve({ job: 'a', tries: 1 });
  assert.equal(naks, [{ job: 'a', code: 'internal' }]);
  assert.is(actor.getSnapshot().value, 'admitting');
});

test('the context is its schema, and nothing else', async () => {
  const { context, pull, actor } = await admitting();
  await pull('a');
  actor.send(heard('w1'));
  assert.equal(ProofCoordinatorContext.parse(JSON.parse(JSON.stringify(context()))), context());
});

test.run();
