import { encodeMessage } from '../../../protocols/envelope.ts';
import { ProofProgress } from '../../../protocols/proof.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { Heartbeat, Transition } from '../../../protocols/transition.ts';
import { observe } from '../../../runtime/monitor/intake.ts';
import { emptyModel, reduce } from '../../../runtime/monitor/model.ts';
import { summarise } from '../../../runtime/monitor/view.ts';
import { gpuUseText } from '../../../runtime/monitor/words.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('monitor intake');

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
  assert.equal(observe(state, stateData, 7), { type: 'transition', at: 7, ...body, failure: null });

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
  const worker = {
    class: 'masked' as const,
    engine: 'webgpu',
    credit: 1,
    inHand: [],
    rates: { g1: 50_000, g2: 15_000 },
    resident: ['0123456789abcdef'],
    gpu: { proofs: 0.314, inferences: 1, bytes: 3 * 2 ** 20, budget: 2 ** 30 },
  };
  assert.is(gpuUseText(worker.gpu), 'GPU in the last 10 s: 31 % proofs, 100 % inferences; 3 of 1024 MiB');
  const beatData = encodeMessage(Heartbeat, {
    subject: beatSubject,
    source: SOURCE,
    body: { ...beatBody, worker },
  });
  assert.equal(observe(beatSubject, beatData, 7), {
    type: 'beat',
    at: 7,
    ...beatBody,
    failure: null,
    worker: { ...worker, resident: 1, inHand: 0 },
  });

  const progressSubject = subjects.progress('c1', 'j1');
  const workers = [{ id: 'w1', assigned: 2, done: 1 }];
  const progressBody = { job: 'j1', phase: 'dispatching' as const, done: 1, total: 8, workers };
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
    workers: [{ id: 'w1', inFlight: 2, done: 1 }],
    shards: [],
    epoch: 3,
    phases: { witnessing: 12 },
    error: null,
  });
});

test('why an actor or a job failed comes without what is not to be seen', () => {
  const sentence = 'no\u001b[31m GPU\u0007 \u202eknup\u2028here\n';
  const clean = 'no [31m GPU knup here';
  const failure = { code: 'device-lost\u0000', message: sentence, errorId: '\u200ba1' };
  const expected = { code: 'device-lost', message: clean, errorId: 'a1' };
  const state = subjects.state('worker', 'w1');
  const failed = { ...body, to: 'failed', failure };
  const moved = observe(
    state,
    encodeMessage(Transition, { subject: state, source: SOURCE, body: failed }),
    7,
  );
  assert.equal(moved.type === 'transition' && moved.failure, expected);
  const subject = subjects.beat('worker', 'w1');
  const { from: _from, to: _to, event: _event, ...rest } = body;
  const beat = { ...rest, state: 'failed', leaseMs: 3_000, failure };
  const heard = observe(subject, encodeMessage(Heartbeat, { subject, source: SOURCE, body: beat }), 7);
  assert.equal(heard.type === 'beat' && heard.failure, expected);

  const progress = subjects.progress('c1', 'j1');
  const job: ProofProgress = {
    job: 'j1',
    phase: 'failed',
    done: 0,
    total: 0,
    workers: [],
    phases: {},
    error: { code: 'internal', message: sentence },
  };
  const end = observe(
    progress,
    encodeMessage(ProofProgress, { subject: progress, source: SOURCE, body: job }),
    7,
  );
  assert.equal(end.type === 'progress' && end.error, { code: 'internal', message: clean });
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
    [subjects.progress('c1', 'j1'), good],
    ['vouch.v1.elsewhere', good],
  ];
  const model = reduce(
    emptyModel,
    bad.map(([subject, data]) => observe(subject, data, 1)),
  );
  assert.is(model.dropped.malformed, bad.length);
  assert.is(model.actors.size, 0);
  assert.is(summarise(model, 1).dropped, bad.length);
});

test.run();
