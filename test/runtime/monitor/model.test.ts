import { encodeMessage } from '../../../protocols/envelope.ts';
import { PHASES as PROOF_PHASES, ProofProgress } from '../../../protocols/proof.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { Heartbeat, Transition } from '../../../protocols/transition.ts';
import { createFeed } from '../../../runtime/monitor/feed.ts';
import { observe } from '../../../runtime/monitor/intake.ts';
import type { Model, Observation, Phase } from '../../../runtime/monitor/model.ts';
import {
  emptyModel,
  fromSnapshot,
  LIMITS,
  missed,
  PHASES,
  reduce,
  toSnapshot,
} from '../../../runtime/monitor/model.ts';
import {
  DEFAULT_LEASE_MS,
  JOB_LEASE_MS,
  jobLiveness,
  liveness,
  summarise,
  tone,
} from '../../../runtime/monitor/view.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('monitor model');

type Of<Type extends Observation['type']> = Extract<Observation, { type: Type }>;

const transition = (seq: number, to: string, more: Partial<Of<'transition'>> = {}): Observation => ({
  type: 'transition',
  at: seq * 1_000,
  kind: 'worker',
  id: 'w1',
  boot: 'b1',
  seq,
  from: null,
  to,
  event: 'step',
  counts: {},
  ...more,
});

const beat = (seq: number, at: number, more: Partial<Of<'beat'>> = {}): Observation => ({
  type: 'beat',
  at,
  kind: 'worker',
  id: 'w1',
  boot: 'b1',
  seq,
  state: 'idle',
  leaseMs: 3_000,
  counts: {},
  worker: { class: 'attested', engine: 'wasm', credit: 2, resident: 5 },
  ...more,
});

const progress = (phase: Phase, at: number, more: Partial<Of<'progress'>> = {}): Observation => ({
  type: 'progress',
  at,
  job: 'j1',
  epoch: 1,
  phase,
  done: 0,
  total: 0,
  workers: [],
  phases: {},
  error: null,
  ...more,
});

const after = (...observations: Observation[]): Model => reduce(emptyModel, observations);
const w1 = (model: Model) => model.actors.get('worker/w1')!;
const j1 = (model: Model) => model.jobs.get('j1')!;

test('an actor is alive within its lease and unknown after it', () => {
  const model = after(transition(1, 'joining'), beat(1, 5_000));
  assert.is(liveness(w1(model), 8_000), 'alive');
  assert.is(liveness(w1(model), 8_001), 'unknown');
  assert.equal(w1(model).worker, { class: 'attested', engine: 'wasm', credit: 2, resident: 5 });
  assert.equal(summarise(model, 8_001), {
    alive: 0,
    unknown: 1,
    ended: 0,
    runningJobs: 0,
    missed: 0,
    dropped: 0,
    simulated: false,
  });
});

test('without a heartbeat a transition vouches for the default lease, and one from history for nothing', () => {
  const model = after(transition(1, 'joining', { at: 0 }));
  assert.is(liveness(w1(model), DEFAULT_LEASE_MS), 'alive');
  assert.is(liveness(w1(model), DEFAULT_LEASE_MS + 1), 'unknown');
});

test('an actor that said it stopped has ended, however long ago', () => {
  const model = after(transition(1, 'stopped'));
  assert.is(liveness(w1(model), 10 ** 9), 'ended');
  const failed = after(transition(1, 'failed', { kind: 'proof-job', id: 'j1' }));
  assert.is(liveness(failed.actors.get('proof-job/j1')!, 10 ** 9), 'ended');
  assert.is(liveness(w1(after(transition(1, 'failed'))), 10 ** 9), 'unknown');
});

test('a gap in seq is counted, and closed by the late transition', () => {
  const gap = after(transition(1, 'joining'), transition(5, 'idle'));
  assert.is(missed(w1(gap)), 3);
  const partly = reduce(gap, [transition(3, 'syncing')]);
  assert.is(missed(w1(partly)), 2);
  assert.equal(w1(partly).missing, [
    [2, 2],
    [4, 4],
  ]);
  assert.is(w1(partly).state, 'idle', 'a late transition does not set the state back');
  assert.is(partly.transitions.length, 3);
  assert.is(missed(w1(reduce(partly, [transition(2, 'selfTesting'), transition(4, 'idle')]))), 0);
});

test('a heartbeat reveals transitions that never came', () => {
  const model = after(transition(1, 'joining'), beat(4, 2_000));
  assert.is(missed(w1(model)), 3);
  assert.is(w1(model).state, 'idle');
});

test('the first message ever heard leaves no gap before it', () => {
  assert.is(missed(w1(after(transition(17, 'idle')))), 0);
  assert.is(missed(w1(after(beat(17, 0)))), 0);
});

test('a repeated transition changes nothing but that it was heard', () => {
  const model = after(transition(1, 'joining'), transition(2, 'idle'));
  const again = reduce(model, [transition(1, 'joining'), transition(2, 'idle')]);
  assert.is(again.transitions.length, 2);
  assert.equal(w1(again), w1(model));
});

test('an old heartbeat does not set the state back', () => {
  const model = after(
    transition(1, 'joining'),
    transition(2, 'computing'),
    beat(1, 2_500, { state: 'joining' }),
  );
  assert.is(w1(model).state, 'computing');
  assert.is(w1(model).heardAt, 2_500);
});

test('a new boot is a restart, not a gap; what the old boot still says is stale', () => {
  const model = after(
    transition(1, 'joining'),
    transition(3, 'idle'),
    transition(1, 'joining', { boot: 'b2', at: 9_000 }),
  );
  assert.is(w1(model).restarts, 1);
  assert.is(missed(w1(model)), 1, 'what the earlier boot missed stays counted');
  assert.is(w1(model).state, 'joining');
  assert.is(w1(model).since, 9_000);
  const late = reduce(model, [transition(4, 'computing'), beat(4, 9_500)]);
  assert.is(w1(late).state, 'joining');
  assert.is(w1(late).heardAt, 9_000);
  assert.is(w1(late).restarts, 1);
  assert.is(late.dropped.stale, 2);
});

test('a restart heard of only by a later number misses those before', () => {
  const model = after(transition(1, 'joining'), transition(4, 'idle', { boot: 'b2' }));
  assert.is(missed(w1(model)), 3);
});

test('the log, the actors, the jobs and the gaps are bounded', () => {
  const many = Array.from({ length: LIMITS.transitions + 50 }, (_, i) => transition(i + 1, 'idle'));
  assert.is(after(...many).transitions.length, LIMITS.transitions);
  assert.is(after(...many).transitions.at(-1)!.seq, many.length);
  const actors = Array.from({ length: LIMITS.actors + 1 }, (_, i) => beat(1, i + 1, { id: `w${i}` }));
  const full = after(...actors);
  assert.is(full.actors.size, LIMITS.actors);
  assert.not(full.actors.has('worker/w0'), 'the least recently heard makes room');
  const jobs = Array.from({ length: LIMITS.jobs + 1 }, (_, i) => progress('queued', i, { job: `j${i}` }));
  assert.is(after(...jobs).jobs.size, LIMITS.jobs);
  const holes = Array.from({ length: 100 }, (_, i) => transition(2 * i + 1, 'idle'));
  assert.is(w1(after(...holes)).missing.length, LIMITS.gapRanges);
  assert.is(missed(w1(after(...holes))), 99);
});

test('a job follows its progress', () => {
  const workers = [{ id: 'w1', assigned: 4, done: 1 }];
  const model = after(
    progress('witnessing', 1_000),
    progress('dispatching', 3_000, { done: 1, total: 8, workers, phases: { witnessing: 2_000 } }),
    progress('dispatching', 4_000, { done: 2, total: 8, workers, phases: { witnessing: 2_000 } }),
  );
  assert.is(j1(model).phase, 'dispatching');
  assert.is(j1(model).phaseSince, 3_000);
  assert.equal([j1(model).done, j1(model).total, j1(model).attempt], [2, 8, 1]);
  assert.is(jobLiveness(j1(model), 4_000 + JOB_LEASE_MS), 'alive');
  assert.is(jobLiveness(j1(model), 4_001 + JOB_LEASE_MS), 'unknown');
});

test('a job taken over under a new epoch begins anew; the old epoch is stale', () => {
  const model = after(
    progress('dispatching', 1_000),
    progress('witnessing', 2_000, { epoch: 2 }),
    progress('assembling', 3_000),
  );
  assert.equal([j1(model).phase, j1(model).attempt, j1(model).epoch], ['witnessing', 2, 2]);
  assert.is(model.dropped.stale, 1);
});

test('a published proof stays published; a failed one may begin anew', () => {
  const published = after(progress('published', 1), progress('dispatching', 2));
  assert.is(j1(published).phase, 'published');
  const error = { code: 'shard-rejected', message: 'wrong sum' };
  const retried = after(progress('failed', 1, { error }), progress('witnessing', 2));
  assert.equal([j1(retried).phase, j1(retried).attempt, j1(retried).error], ['witnessing', 2, null]);
});

test('a job known by its transitions alone moves forward with them, never back', () => {
  const step = (seq: number, to: string) => transition(seq, to, { kind: 'proof-job', id: 'j1' });
  const model = after(
    step(1, 'queued'),
    step(2, 'witnessing'),
    progress('dispatching', 9_000),
    step(3, 'transforming'),
  );
  assert.equal([j1(model).phase, j1(model).attempt], ['dispatching', 1]);
  assert.is(j1(reduce(model, [step(4, 'published')])).phase, 'published');
});

test('the model survives its snapshot', () => {
  const model = after(transition(1, 'joining'), transition(4, 'idle'), beat(4, 5_000), progress('queued', 1));
  assert.equal(fromSnapshot(JSON.parse(JSON.stringify(toSnapshot(model)))), model);
});

test('reduce leaves the given model as it was', () => {
  const model = after(transition(1, 'joining'), progress('queued', 1));
  const before = JSON.stringify(toSnapshot(model));
  reduce(model, [
    transition(9, 'idle'),
    progress('failed', 2),
    { type: 'dropped', at: 1, reason: 'stale', count: 1 },
  ]);
  assert.is(JSON.stringify(toSnapshot(model)), before);
});

test('an enclave that says it has no hardware is simulated; a state has a tone', () => {
  const enclave = beat(1, 0, {
    kind: 'enclave',
    id: 'e1',
    state: 'serving',
    counts: { hardware: 0 },
    worker: null,
  });
  assert.ok(summarise(after(enclave), 0).simulated);
  assert.equal(['serving', 'ready.running', 'quarantined', 'absent'].map(tone), [
    'good',
    'busy',
    'bad',
    'quiet',
  ]);
  assert.equal(PHASES, PROOF_PHASES);
});

test('a process that starts an ended actor again is no repeat', () => {
  const step = (seq: number, to: string, at: number) =>
    transition(seq, to, { kind: 'proof-job', id: 'j1', at, counts: { witnessingMs: 30 } });
  const failed = after(step(1, 'queued', 1), step(2, 'witnessing', 2), step(3, 'failed', 3));
  const job = (model: Model) => model.actors.get('proof-job/j1')!;
  const repeated = reduce(failed, [step(1, 'queued', 1)]);
  assert.equal([job(repeated).state, job(repeated).restarts], ['failed', 0]);
  const again = reduce(failed, [step(1, 'queued', 9), step(2, 'witnessing', 10)]);
  assert.equal([job(again).state, job(again).restarts, missed(job(again))], ['witnessing', 1, 0]);
  assert.is(j1(failed).phases.witnessing, 30, 'the times of a job come with its transitions too');
});

// --- intake

const SOURCE = 'worker.w1';
const body = {
  kind: 'worker',
  id: 'w1',
  boot: 'b1',
  seq: 1,
  from: null,
  to: 'joining',
  event: 'xstate.init',
  counts: {},
} as const;

test('a valid message of each kind becomes an observation', () => {
  const state = subjects.state('worker', 'w1');
  const stateData = encodeMessage(Transition, { subject: state, source: SOURCE, body });
  assert.equal(observe(state, stateData, 7), { type: 'transition', at: 7, ...body });

  const beatSubject = subjects.beat('worker', 'w1');
  const beatBody = {
    kind: 'worker',
    id: 'w1',
    boot: 'b1',
    seq: 1,
    state: 'idle',
    leaseMs: 3_000,
    counts: {},
  } as const;
  const worker = { class: 'masked' as const, engine: 'webgpu', credit: 1, resident: ['0123456789abcdef'] };
  const beatData = encodeMessage(Heartbeat, {
    subject: beatSubject,
    source: SOURCE,
    body: { ...beatBody, worker },
  });
  assert.equal(observe(beatSubject, beatData, 7), {
    type: 'beat',
    at: 7,
    ...beatBody,
    worker: { ...worker, resident: 1 },
  });

  const progressSubject = subjects.progress('j1');
  const progressBody = { job: 'j1', phase: 'planning' as const, done: 0, total: 0, workers: [] };
  const progressData = encodeMessage(ProofProgress, {
    subject: progressSubject,
    source: 'coordinator.c1',
    epoch: 3,
    body: { ...progressBody, phases: { witnessing: 12, constructor: 1 } },
  });
  assert.equal(observe(progressSubject, progressData, 7), {
    type: 'progress',
    at: 7,
    ...progressBody,
    epoch: 3,
    phases: { witnessing: 12 },
    error: null,
  });
});

test('malformed input is dropped and counted', () => {
  const own = subjects.state('worker', 'w1');
  const other = subjects.state('worker', 'w2');
  const text = (value: string) => new TextEncoder().encode(value);
  const good = encodeMessage(Transition, { subject: own, source: SOURCE, body });
  const edited = (edit: (message: { version: number; body: Record<string, unknown> }) => void) => {
    const message = JSON.parse(new TextDecoder().decode(good));
    edit(message);
    return text(JSON.stringify(message));
  };
  const bad: [string, Uint8Array][] = [
    [own, text('')],
    [own, text('{')],
    [own, text('null')],
    [own, new Uint8Array([0xff, 0xfe])],
    [own, new Uint8Array(2 * 1024 * 1024)],
    [other, good],
    [other, encodeMessage(Transition, { subject: other, source: SOURCE, body })],
    [own, edited((message) => (message.version = 2))],
    [own, edited((message) => (message.body.seq = 0))],
    [own, edited((message) => (message.body.to = '<img src=x>'))],
    [own, edited((message) => (message.body.counts = { weights: 'secret' }))],
    [subjects.beat('worker', 'w1'), good],
    [subjects.progress('j1'), good],
    ['vouch.v1.elsewhere', good],
  ];
  const model = after(...bad.map(([subject, data]) => observe(subject, data, 1)));
  assert.is(model.dropped.malformed, bad.length);
  assert.is(model.actors.size, 0);
  assert.is(summarise(model, 1).dropped, bad.length);
});

// --- feed

test('a full feed drops the newest and says how many', async () => {
  const feed = createFeed(2);
  for (let seq = 1; seq <= 5; seq++) feed.push(transition(seq, 'idle'));
  feed.end();
  const taken: Observation[] = [];
  for await (const observation of feed) taken.push(observation);
  assert.equal(taken, [
    transition(1, 'idle'),
    transition(2, 'idle'),
    { type: 'dropped', at: 2_000, reason: 'overflow', count: 3 },
  ]);
});

test('a feed wakes its waiting reader', async () => {
  const feed = createFeed();
  const iterator = feed[Symbol.asyncIterator]();
  const next = iterator.next();
  feed.push(transition(1, 'idle'));
  assert.equal((await next).value, transition(1, 'idle'));
  const last = iterator.next();
  feed.end();
  assert.ok((await last).done);
});

test.run();
