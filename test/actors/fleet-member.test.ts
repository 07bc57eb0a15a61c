import { createActor, SimulatedClock, toPromise } from 'xstate';
import { FleetMemberContext, fleetMemberMachine } from '../../actors/fleet-member.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';
import { reachable, stage, statesOf, type Walk } from './fixture.ts';

const test = suite('actors/fleet-member');

const heard = (credit = 2, leaseMs = 3_000) => ({ type: 'worker.heard', credit, leaseMs }) as const;
const walk: Walk = {
  input: { id: 'w1', credit: 0, leaseMs: 3_000 },
  events: [
    heard(),
    heard(0),
    { type: 'worker.left' },
    { type: 'worker.banned' },
    { type: 'link.lost' },
    { type: 'link.back' },
    { type: 'lease.expired' },
  ],
  key: ({ credit, attested, misses }) => [credit, attested, Math.min(misses, 2)],
};

function meet(credit = 2, leaseMs = 3_000) {
  const fx = stage('attest', 'place');
  const clock = new SimulatedClock();
  const news: string[] = [];
  const machine = fleetMemberMachine.provide({
    actors: fx.actors,
    actions: { joined: () => void news.push('joined'), left: () => void news.push('left') },
  });
  const actor = createActor(machine, { input: { id: 'w1', credit, leaseMs }, clock });
  const ended = toPromise(actor);
  actor.start();
  const value = () => actor.getSnapshot().value;
  const ready = async () => {
    await fx.last('attest').resolve();
    await fx.last('place').resolve();
    assert.is(value(), 'ready');
  };
  return { fx, clock, actor, news, ended, value, ready, context: () => actor.getSnapshot().context };
}

test('every state is reachable, and nothing is ready without evidence and a queue', () => {
  assert.equal(reachable(fleetMemberMachine, walk), statesOf(fleetMemberMachine));
  for (const effect of ['attest', 'place']) {
    const states = reachable(fleetMemberMachine, { ...walk, outputs: { [effect]: 'never' } });
    assert.not(states.has('ready'), effect);
  }
});

test('is attested once it offers something, and once only', async () => {
  const { fx, actor, value, ready, news } = meet(0);
  assert.is(value(), 'waiting');
  actor.send(heard(0));
  assert.is(fx.count('attest'), 0);
  actor.send(heard());
  await ready();
  actor.send({ type: 'link.lost' });
  actor.send({ type: 'link.back' });
  assert.is(value(), 'placing');
  await fx.last('place').resolve();
  assert.equal([fx.count('attest'), fx.count('place'), news], [1, 2, ['joined', 'joined']]);
});

test('is bounded in what it promises', () => {
  const { context, actor } = meet(2 ** 30, 9_999_999);
  assert.equal([context().credit, context().leaseMs], [2 ** 28, 30_000]);
  actor.send(heard(2 ** 28 + 1, 31_000));
  assert.equal([context().credit, context().leaseMs], [2 ** 28, 30_000]);
});

test('an admission that fails is tried again, later each time', async () => {
  const { fx, clock, value, context, actor } = meet();
  for (const wait of [1_000, 2_000, 4_000]) {
    await fx.last('attest').reject(new VouchError('policy-rejected', 'not here'));
    assert.is(value(), 'retrying');
    for (let second = 1; second < wait / 1_000; second++) {
      clock.increment(1_000);
      actor.send(heard());
    }
    clock.increment(999);
    actor.send(heard());
    assert.is(value(), 'retrying');
    clock.increment(1);
    assert.is(value(), 'attesting');
  }
  assert.is(context().failure?.code, 'policy-rejected');
  await fx.last('attest').resolve();
  await fx.last('place').resolve();
  assert.equal([context().misses, context().failure], [0, null]);
});

test('is gone when its heartbeat is older than it promised, but not while nobody can be heard', async () => {
  const { clock, actor, value, ready, news, ended } = meet();
  await ready();
  clock.increment(2_999);
  actor.send(heard());
  clock.increment(2_999);
  assert.is(value(), 'ready');
  actor.send({ type: 'link.lost' });
  clock.increment(1_000_000);
  assert.is(value(), 'cutOff');
  actor.send({ type: 'link.back' });
  clock.increment(2_999);
  assert.is(value(), 'placing');
  clock.increment(1);
  assert.is(value(), 'gone');
  assert.equal(news, ['joined', 'left']);
  await ended;
});

test('leaves by its own word, and is banned by ours', async () => {
  const leaving = meet();
  leaving.actor.send({ type: 'worker.left' });
  await leaving.ended;
  assert.is(leaving.value(), 'gone');
  const lying = meet();
  await lying.ready();
  lying.actor.send({ type: 'worker.banned' });
  await lying.ended;
  assert.is(lying.value(), 'banned');
  assert.equal(lying.news, ['joined', 'left']);
});

test('what was begun before the connection was lost counts no more', async () => {
  const { fx, actor, value } = meet();
  await fx.last('attest').resolve();
  const placing = fx.last('place');
  actor.send({ type: 'link.lost' });
  assert.ok(placing.signal.aborted);
  await placing.resolve();
  assert.is(value(), 'cutOff');
});

test('the context is its schema, and nothing else', async () => {
  const { context, ready } = meet();
  await ready();
  assert.equal(FleetMemberContext.parse(JSON.parse(JSON.stringify(context()))), context());
});

test.run();
