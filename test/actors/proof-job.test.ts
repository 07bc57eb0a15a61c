import { createActor, SimulatedClock, toPromise } from 'xstate';
import {
  ProofJobContext,
  type ProofJobOutput,
  proofJobCounts,
  proofJobMachine,
} from '../../actors/proof-job.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { reachable, stage, statesOf, type Walk } from './fixture.ts';

const test = suite('actors/proof-job');

const STEPS = ['witness', 'plan', 'transform', 'dispatch', 'assemble', 'verify', 'publish'] as const;
const TOOK = { millis: 12.4 };
const OUTPUTS = {
  acquireLease: { epoch: 7, published: false, ...TOOK },
  plan: { shards: 3, ...TOOK },
  verify: { verified: true, ...TOOK },
} as Record<string, unknown>;
/** An output without its times and its epoch. */
const brief = ({ millis: _, epoch: __, ...rest }: ProofJobOutput) => rest;
const walk: Walk = {
  input: { job: 'j1' },
  outputs: {
    acquireLease: [OUTPUTS.acquireLease],
    plan: [{ shards: 3 }],
    verify: [{ verified: true }, { verified: false }],
  },
  events: [{ type: 'lease.lost' }, { type: 'job.cancel' }, { type: 'shard.done', worker: 'w1' }],
};

function queue() {
  const fx = stage('acquireLease', ...STEPS);
  const clock = new SimulatedClock();
  const actor = createActor(proofJobMachine.provide({ actors: fx.actors }), {
    input: { job: 'j1' },
    clock,
  });
  const output = toPromise(actor);
  actor.start();
  const value = () => actor.getSnapshot().value;
  /** Lets every effect before `step` succeed. */
  const until = async (step: (typeof STEPS)[number] | 'published') => {
    for (const effect of ['acquireLease', ...STEPS]) {
      if (effect === step) return;
      await fx.last(effect).resolve(OUTPUTS[effect] ?? TOOK);
    }
  };
  return { fx, clock, actor, value, until, output, context: () => actor.getSnapshot().context };
}

test('every state is reachable', () => {
  assert.equal(reachable(proofJobMachine, walk), statesOf(proofJobMachine));
});

test('publishing needs every step, and a verification that says so', () => {
  for (const effect of ['acquireLease', ...STEPS.slice(0, -1)]) {
    const states = reachable(proofJobMachine, { ...walk, outputs: { ...walk.outputs, [effect]: 'never' } });
    assert.not(states.has('publishing'), effect);
    assert.not(states.has('published'), effect);
  }
  for (const output of [{ verified: false }, {}, undefined, { verified: 'true' }, { verified: 1 }]) {
    const states = reachable(proofJobMachine, { ...walk, outputs: { ...walk.outputs, verify: [output] } });
    assert.not(states.has('publishing'), JSON.stringify(output));
  }
});

test('publishes once and says so', async () => {
  const { fx, value, until, output, context } = queue();
  await until('published');
  assert.is(value(), 'published');
  assert.equal(brief(await output), { job: 'j1', outcome: 'published', retryable: false });
  assert.is(fx.count('publish'), 1);
  assert.is(context().epoch, 7);
  assert.equal(fx.last('publish').input, { job: 'j1', epoch: 7 });
});

test('a proof that is out already is not made again', async () => {
  const { fx, output } = queue();
  await fx.last('acquireLease').resolve({ epoch: 9, published: true });
  assert.equal(brief(await output), { job: 'j1', outcome: 'published', retryable: false });
  assert.is(fx.count('witness'), 0);
});

test('each failed effect fails the job with its code', async () => {
  for (const step of STEPS) {
    const { fx, value, until, output } = queue();
    await until(step);
    await fx.last(step).reject(new VouchError('nats-unreachable', 'gone'));
    assert.is(value(), 'failed', step);
    assert.equal(brief(await output), {
      job: 'j1',
      outcome: 'failed',
      code: 'nats-unreachable',
      retryable: true,
    });
  }
  const early = queue();
  await early.fx.last('acquireLease').reject(new VouchError('busy', 'another holds it'));
  assert.equal((await early.output).code, 'busy');
});

test('a proof that does not verify is never published', async () => {
  const { fx, until, output } = queue();
  await until('verify');
  await fx.last('verify').resolve({ verified: false });
  assert.equal(brief(await output), {
    job: 'j1',
    outcome: 'failed',
    code: 'proof-refused',
    retryable: false,
  });
  assert.is(fx.count('publish'), 0);
});

test('a lost lease stops the job in every phase, and late results are ignored', async () => {
  for (const step of STEPS) {
    const { fx, actor, value, until, output } = queue();
    await until(step);
    const late = fx.last(step);
    actor.send({ type: 'lease.lost' });
    assert.is(value(), 'failed', step);
    assert.ok(late.signal.aborted);
    await late.resolve(OUTPUTS[step]);
    assert.is(value(), 'failed');
    assert.equal(brief(await output), { job: 'j1', outcome: 'failed', code: 'stale-epoch', retryable: true });
    if (step !== 'publish') assert.is(fx.count('publish'), 0);
  }
});

test('is cancelled for good, until it is being published', async () => {
  const { actor, fx, until, output } = queue();
  await until('dispatch');
  actor.send({ type: 'job.cancel' });
  assert.equal(brief(await output), { job: 'j1', outcome: 'failed', code: 'cancelled', retryable: false });
  await fx.last('dispatch').reject();

  const late = queue();
  await late.until('publish');
  late.actor.send({ type: 'job.cancel' });
  assert.is(late.value(), 'publishing');
  await late.fx.last('publish').resolve();
  assert.is((await late.output).outcome, 'published');
});

test('ends for good when it takes too long with its lease, unless it is being published', async () => {
  const waiting = queue();
  waiting.clock.increment(60 * 60_000);
  assert.is(waiting.value(), 'queued', 'another holds the lease, and has its own deadline');
  for (const step of STEPS.slice(0, -1)) {
    const { clock, fx, until, output } = queue();
    await until(step);
    clock.increment(15 * 60_000 - 1);
    assert.not.ok(fx.last(step).signal.aborted);
    clock.increment(1);
    assert.ok(fx.last(step).signal.aborted, step);
    assert.equal(brief(await output), { job: 'j1', outcome: 'failed', code: 'timeout', retryable: false });
  }
  const late = queue();
  await late.until('publish');
  late.clock.increment(60 * 60_000);
  assert.is(late.value(), 'publishing');
});

test('counts what happens to shards', async () => {
  const { actor, fx, until, context } = queue();
  actor.send({ type: 'shard.done', worker: 'w1' });
  assert.equal(context().workers, {});
  await until('dispatch');
  for (const [type, worker] of [
    ['shard.assigned', 'w1'],
    ['shard.assigned', 'w2'],
    ['shard.refused', 'w2'],
    ['shard.assigned', 'w1'],
    ['shard.done', 'w1'],
    ['shard.done', '__proto__'],
  ] as const) {
    actor.send(type === 'shard.assigned' ? { type, worker, total: 5 } : { type, worker });
  }
  assert.equal(context().shards, { total: 5, assigned: 3, done: 2, refused: 1 });
  assert.equal(context().workers.w1, { assigned: 2, done: 1, refused: 0 });
  assert.equal(context().workers.w2, { assigned: 1, done: 0, refused: 1 });
  assert.is(Object.keys(context().workers).length, 3);
  await fx.last('dispatch').resolve();
  actor.send({ type: 'shard.done', worker: 'w1' });
  assert.is(context().shards.done, 2);
});

test('keeps the time of each phase, as its effect says it, rounded', async () => {
  const { until, context, output } = queue();
  await until('published');
  const phases = ['queued', 'witnessing', 'planning', 'transforming', 'dispatching', 'assembling'];
  assert.equal(
    context().millis,
    Object.fromEntries([...phases, 'verifying', 'publishing'].map((phase) => [phase, 10])),
  );
  assert.equal((await output).millis, context().millis);
  const counts = proofJobCounts(context());
  assert.is(counts.shards, 3);
  assert.is(counts.publishingMs, 10);
  assert.equal(
    Object.keys(counts).filter((name) => !/^[a-zA-Z]{1,32}$/.test(name)),
    [],
  );
});

test('the context is its schema, and nothing else', async () => {
  const { context, until, actor } = queue();
  await until('dispatch');
  actor.send({ type: 'shard.assigned', worker: 'w1', total: 40 });
  assert.equal(ProofJobContext.parse(JSON.parse(JSON.stringify(context()))), context());
});

test.run();
