/** What needs attention, in a sentence with what to do; and that nothing does where all is well. */
import { readdirSync, readFileSync } from 'node:fs';
import { createActor, createMachine } from 'xstate';
import type { Transition } from '../../../protocols/transition.ts';
import { emptyModel, type Model, missed, reduce } from '../../../runtime/monitor/model.ts';
import type { Observation } from '../../../runtime/monitor/observation.ts';
import { attention, coordinatorHeard, jobLiveness, liveness } from '../../../runtime/monitor/view.ts';
import { tap } from '../../../runtime/roles/tap.ts';
import { assert, suite } from '../../harness.ts';
import { beat, progress, transition } from './monitor-fixture.ts';

const test = suite('monitor attention');
const after = (...observations: Observation[]): Model => reduce(emptyModel, observations);
const said = (model: Model, now: number) => attention(model, now).map(({ what, todo }) => `${what} ${todo}`);
const coordinator = (at: number): Observation =>
  beat(2, at, { kind: 'coordinator', id: 'c1', boot: 'c', state: 'admitting', worker: null });
const DAY = 24 * 3600_000;

test('what an actor has left out itself is not missed, in whichever order its messages come', () => {
  // A real machine that changes too often for its tap.
  const machine = createMachine({
    initial: 'idle',
    states: { idle: { on: { go: 'computing' } }, computing: { on: { go: 'idle' } } },
  });
  const actor = createActor(machine);
  const published: Transition[] = [];
  const watched = tap(actor, {
    kind: 'worker',
    id: 'w1',
    boot: 'b1',
    countsOf: () => ({}),
    publish: (one) => void published.push(one),
  });
  actor.start();
  for (let i = 0; i < 107; i++) actor.send({ type: 'go' });
  const [beating] = watched.heartbeats(3_000);
  watched.close();
  actor.stop();
  const heard = published.map((one): Observation => ({ type: 'transition', at: 1, ...one, failure: null }));
  assert.is(published.at(-1)?.seq, 108);
  assert.is(published.at(-1)?.coalesced, 97);
  const beatHeard: Observation = { type: 'beat', at: 1, ...beating!, failure: null, worker: null };
  for (const order of [
    [...heard, beatHeard],
    [...heard.slice(0, -1), beatHeard, heard.at(-1)!],
  ]) {
    const model = after(...order);
    assert.is(missed(model.actors.get('worker/w1')!), 0);
    assert.equal(said(model, 2), []);
  }
  // One that was sent and lost still is.
  const lost = after(...heard.filter(({ type }, i) => type !== 'transition' || i !== 4));
  assert.is(missed(lost.actors.get('worker/w1')!), 1);
  // Nobody has left out more than there is.
  assert.is(
    missed(
      after(transition(1, 'idle'), transition(3, 'idle', { coalesced: 10 ** 9 })).actors.get('worker/w1')!,
    ),
    0,
  );
});

test('a GPU that was given back, and a job whose end nobody heard, alarm nobody the next day', () => {
  const model = after(
    transition(3, 'unbound', { kind: 'gpu', id: 'g', boot: 'g', at: 0 }),
    transition(1, 'dispatching', { kind: 'proof-job', id: 'j1', boot: 'c', at: 0 }),
    progress('dispatching', 0),
    coordinator(DAY),
  );
  const at = coordinatorHeard(model);
  assert.is(liveness(model.actors.get('gpu/g')!, DAY, at), 'ended');
  assert.is(liveness(model.actors.get('proof-job/j1')!, DAY, at), 'ended');
  assert.is(jobLiveness(model.jobs.get('j1')!, DAY, at), 'ended');
  assert.equal(said(model, DAY), []);
  // While its coordinator is silent, too, it is unknown: nobody speaks for it.
  const silent = after(transition(1, 'dispatching', { kind: 'proof-job', id: 'j1', boot: 'c', at: 0 }));
  assert.is(liveness(silent.actors.get('proof-job/j1')!, DAY, coordinatorHeard(silent)), 'unknown');
});

test('a sentence each, with what to do, the gravest first', () => {
  const failure = { code: 'device-lost', message: 'the GPU was lost', errorId: '7c1e90ab' };
  const model = after(
    transition(1, 'joining', { at: 0 }),
    transition(9, 'idle', { at: 0 }),
    beat(9, 0, { leaseMs: 600_000 }),
    beat(3, 0, { kind: 'gpu', id: 'g', boot: 'g', state: 'failed', failure, worker: null, leaseMs: 600_000 }),
    beat(3, 0, { kind: 'runner', id: 'r', boot: 'r', state: 'ready', worker: null }),
    { type: 'dropped', at: 0, reason: 'malformed', count: 2 },
  );
  const all = said(model, 60_000);
  assert.equal(all.slice(0, 2).sort(), [
    'gpu g does not work: the GPU was lost. Look for 7c1e90ab in its log, then start it again: vouch start gpu.',
    'runner r has been silent for 60 s, it was ready. See whether its process runs and reaches NATS; vouch start runner starts one again.',
  ]);
  assert.match(all[2]!, /^Of worker w1 7 transitions never came\. /);
  assert.match(all[3]!, /^Messages were refused 2 times: .* Run the same version everywhere/);
});

test('every command that a page names is one', () => {
  const folder = new URL('../../../runtime/monitor/', import.meta.url);
  const texts = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => readFileSync(new URL(name, folder), 'utf8'));
  const named = new Set(
    texts.flatMap((text) => [...text.matchAll(/vouch ([a-z]+)/g)].map(([, name]) => name!)),
  );
  // docs/COMMANDS.md is made of the commands themselves.
  const reference = readFileSync(new URL('../../../docs/COMMANDS.md', import.meta.url), 'utf8');
  const known = [...reference.matchAll(/^## vouch ([a-z]+)$/gm)].map(([, name]) => name!);
  assert.equal(
    [...named].filter((name) => !known.includes(name)),
    [],
  );
  assert.ok(named.size >= 8, 'they are found');
});

test.run();
