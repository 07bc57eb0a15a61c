import { PHASES as PROOF_PHASES } from '../../../protocols/proof.ts';
import type { Model } from '../../../runtime/monitor/model.ts';
import {
  emptyModel,
  fromSnapshot,
  LIMITS,
  missed,
  PHASES,
  reduce,
  toSnapshot,
} from '../../../runtime/monitor/model.ts';
import type { Observation } from '../../../runtime/monitor/observation.ts';
import {
  DEFAULT_LEASE_MS,
  isSimulated,
  JOB_LEASE_MS,
  jobLiveness,
  liveness,
  partOf,
  shareText,
  summarise,
} from '../../../runtime/monitor/view.ts';
import { assert, suite } from '../../harness.ts';
import { beat, progress, transition } from './monitor-fixture.ts';

const test = suite('monitor model');

const after = (...observations: Observation[]): Model => reduce(emptyModel, observations);
const w1 = (model: Model) => model.actors.get('worker/w1')!;
const j1 = (model: Model) => model.jobs.get('j1')!;

test('an actor is alive within its lease and unknown after it', () => {
  const model = after(transition(1, 'joining'), beat(1, 5_000));
  assert.is(liveness(w1(model), 8_000), 'alive');
  assert.is(liveness(w1(model), 8_001), 'unknown');
  assert.equal(w1(model).worker?.resident, 5);
  assert.equal(summarise(model, 8_001), {
    alive: 0,
    unknown: 1,
    runningJobs: 0,
    missed: 0,
    dropped: 0,
    simulated: true,
  });
});

test('without a heartbeat a transition vouches for the default lease, and one from history for nothing', () => {
  const model = after(transition(1, 'joining', { at: 0 }));
  assert.is(liveness(w1(model), DEFAULT_LEASE_MS), 'alive');
  assert.is(liveness(w1(model), DEFAULT_LEASE_MS + 1), 'unknown');
});

test('an actor that stopped has ended, however long ago', () => {
  const model = after(transition(1, 'stopped'));
  assert.is(liveness(w1(model), 10 ** 9), 'ended');
  const failed = after(transition(1, 'failed', { kind: 'proof-job', id: 'j1' }));
  assert.is(liveness(failed.actors.get('proof-job/j1')!, 10 ** 9), 'ended');
  assert.is(liveness(w1(after(transition(1, 'failed'))), 10 ** 9), 'unknown');
});

test('a gap in seq is counted, and closed by the late transition', () => {
  const gap = after(transition(1, 'joining'), transition(5, 'idle'));
  assert.is(missed(w1(gap)), 3);
  const partly = reduce(gap, [transition(3, 'selfTesting')]);
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
  const workers = [{ id: 'w1', inFlight: 4, done: 1 }];
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
  const again = after(progress('failed', 1, { error }), progress('witnessing', 2, { epoch: 2 }));
  assert.equal([j1(again).phase, j1(again).attempt, j1(again).error], ['witnessing', 2, null]);
});

// --- shards

const shares = (model: Model) => j1(model).workers.map((share) => shareText(share, j1(model)));

test('shards in flight are not the plan', () => {
  const workers = [
    { id: 'w1', inFlight: 2, done: 10 },
    { id: 'w2', inFlight: 0, done: 17 },
  ];
  const model = after(progress('dispatching', 1, { done: 27, total: 40, workers }));
  assert.equal(shares(model), ['10 of 40, 2 in flight', '17 of 40']);
  assert.is(partOf(10, j1(model)), 0.25);
});

test('a second copy, or a count that is wrong, does not exceed the plan', () => {
  const twice = [
    { id: 'w1', inFlight: 1, done: 1 },
    { id: 'w2', inFlight: 1, done: 0 },
  ];
  const late = after(progress('dispatching', 1, { done: 1, total: 2, workers: twice }));
  assert.equal([j1(late).done, j1(late).total], [1, 2]);
  assert.equal(shares(late), ['1 of 2, 1 in flight', '0 of 2, 1 in flight']);
  const workers = [{ id: 'w1', inFlight: 0, done: 5 }];
  const wrong = after(progress('dispatching', 1, { done: 3, total: 2, workers }));
  assert.equal([j1(wrong).done, j1(wrong).total, ...shares(wrong)], [2, 2, '2 of 2']);
});

test('a result that comes before the plan is known is counted, and is of no plan', () => {
  const workers = [{ id: 'w1', inFlight: 1, done: 3 }];
  const early = after(progress('dispatching', 1, { done: 3, workers }));
  assert.equal(shares(early), ['3 done, 1 in flight']);
  assert.is(partOf(3, j1(early)), null);
  const known = reduce(early, [progress('dispatching', 2, { done: 3, total: 8, workers })]);
  assert.equal(shares(known), ['3 of 8, 1 in flight']);
});

test('a job planned anew under a later epoch has the new plan alone', () => {
  const workers = [{ id: 'w1', inFlight: 2, done: 17 }];
  const first = progress('dispatching', 1, { done: 17, total: 40, workers });
  // A coordinator that hands its request back still counts the shards of its plan.
  const back = after(first, progress('queued', 2, { done: 17, total: 40, workers }));
  assert.equal([j1(back).attempt, j1(back).done, j1(back).total, j1(back).workers], [1, 0, 0, []]);
  const anew = reduce(back, [progress('witnessing', 3, { epoch: 2 })]);
  assert.equal([j1(anew).attempt, j1(anew).done, j1(anew).total], [2, 0, 0]);
  const share = { id: 'w1', inFlight: 1, done: 1 };
  const planned = reduce(anew, [
    progress('dispatching', 4, { epoch: 2, done: 1, total: 12, workers: [share] }),
    { ...first, at: 5 },
  ]);
  assert.equal([j1(planned).attempt, j1(planned).done, j1(planned).total], [2, 1, 12]);
  assert.equal(shares(planned), ['1 of 12, 1 in flight']);
});

test('a monitor that joins late knows the plan, the times and the attempt by the last transition', () => {
  const step = (seq: number, to: string, counts: Record<string, number>) =>
    transition(seq, to, { kind: 'proof-job', id: 'j1', counts });
  const counts = { epoch: 3, shards: 40, done: 0, refused: 0, planningMs: 30 };
  const late = after(step(5, 'dispatching', counts));
  assert.equal([j1(late).epoch, j1(late).total, j1(late).done, j1(late).attempt], [3, 40, 0, 1]);
  assert.is(j1(late).phases.planning, 30);
  const workers = [{ id: 'w1', inFlight: 2, done: 17 }];
  const live = reduce(late, [progress('dispatching', 9_000, { epoch: 3, done: 17, total: 40, workers })]);
  assert.equal([j1(live).attempt, ...shares(live)], [1, '17 of 40, 2 in flight']);
  const ended = reduce(live, [step(6, 'assembling', { ...counts, done: 40 })]);
  assert.equal([j1(ended).done, j1(ended).total], [40, 40]);
  // The next lease is a new attempt, though its first transition is of an earlier phase.
  const taken = reduce(ended, [step(8, 'witnessing', { epoch: 4, shards: 0, done: 0 })]);
  assert.equal([j1(taken).attempt, j1(taken).phase, j1(taken).total], [2, 'witnessing', 0]);
  assert.equal(j1(taken).phases, {});
  const stale = reduce(taken, [step(9, 'failed', { epoch: 3, shards: 40, done: 40 })]);
  assert.is(j1(stale).phase, 'witnessing', 'what the holder before says of its own attempt');
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

test('whoever sees plaintext is simulated unless accepted evidence of hardware is counted for it', () => {
  const simulated = (kind: 'enclave' | 'worker' | 'coordinator' | 'gpu', counts: Record<string, number>) => {
    const model = after(beat(1, 0, { kind, id: 'x', state: 'ready', counts, worker: null }));
    assert.is(summarise(model, 0).simulated, isSimulated(model.actors.get(`${kind}/x`)!), 'the banner');
    return summarise(model, 0).simulated;
  };
  for (const kind of ['enclave', 'worker', 'coordinator'] as const) {
    assert.ok(simulated(kind, {}), `${kind}: not attested yet`);
    assert.ok(simulated(kind, { hardware: 0 }), `${kind}: a simulation`);
    assert.ok(simulated(kind, { hardware: 2 }), `${kind}: nonsense`);
    assert.not(simulated(kind, { hardware: 1 }), `${kind}: hardware`);
  }
  assert.not(simulated('gpu', {}), 'no evidence is asked of it');
  const both = after(
    beat(1, 0, { kind: 'enclave', id: 'e1', counts: { hardware: 1 } }),
    beat(1, 0, { kind: 'worker', id: 'w1', counts: { hardware: 0 } }),
  );
  assert.ok(summarise(both, 0).simulated, 'one is enough');
});

test('why an actor failed is kept while it is so, and gone when it is back', () => {
  const failure = { code: 'device-lost', message: 'the GPU was lost', errorId: 'a1b2' };
  const failed = after(transition(1, 'selfTesting'), transition(2, 'failed', { failure }));
  assert.equal(w1(failed).failure, failure);
  const beating = reduce(failed, [beat(2, 3_000, { state: 'failed', failure })]);
  assert.equal(w1(beating).failure, failure);
  assert.equal(w1(reduce(beating, [transition(1, 'selfTesting')])).failure, failure, 'a late one is no news');
  assert.is(w1(reduce(beating, [transition(3, 'joining')])).failure, null);
  assert.is(w1(reduce(beating, [transition(1, 'joining', { boot: 'b2', at: 9_000 })])).failure, null);
  assert.is(w1(reduce(beating, [beat(3, 4_000)])).failure, null);
});

test('the phases are those of the protocol', () => {
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

test.run();
