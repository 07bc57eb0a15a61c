/** The monitor's role on a real server, with nothing but the rights of the role `monitor`. */
import { verifyEvidence } from '../../../protocols/attestation/verify.ts';
import { encodeMessage } from '../../../protocols/envelope.ts';
import { ProofProgress } from '../../../protocols/proof.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { Heartbeat, Transition } from '../../../protocols/transition.ts';
import { folder } from '../../../runtime/home/home.ts';
import { credentials } from '../../../runtime/installation/credentials.ts';
import type { FoundEvidence } from '../../../runtime/monitor/look-ups.ts';
import type { Hello, Model } from '../../../runtime/monitor/model.ts';
import { emptyModel, fromSnapshot, missed, reduce } from '../../../runtime/monitor/model.ts';
import type { Observation } from '../../../runtime/monitor/observation.ts';
import { monitorClock } from '../../../runtime/monitor/server.ts';
import { liveness } from '../../../runtime/monitor/view.ts';
import type { Bus } from '../../../runtime/nats/bus.ts';
import { connect } from '../../../runtime/nats/connect.ts';
import { convict } from '../../../runtime/roles/convictions.ts';
import { startMonitorRole } from '../../../runtime/roles/monitor.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { until as eventually, startFixture } from '../nats/nats-fixture.ts';
import { ENCLAVE, MODEL, serving } from './serving-fixture.ts';

const test = suite('monitor role', { timeoutMs: 180_000 });

function moves(bus: Bus, id: string, seq: number, to: string, boot = 'b1'): void {
  const subject = subjects.state('worker', id);
  const body: Transition = { kind: 'worker', id, boot, seq, from: null, to, event: 'start', counts: {} };
  bus.publishLossy(subject, encodeMessage(Transition, { subject, source: `worker.${id}`, body }));
}

function beats(bus: Bus, id: string, seq: number, state: string): void {
  const subject = subjects.beat('worker', id);
  const worker = {
    class: 'attested' as const,
    engine: 'wasm',
    credit: 1,
    inHand: [],
    rates: { g1: 1, g2: 1 },
    resident: [],
  };
  const body: Heartbeat = { kind: 'worker', id, boot: 'b1', seq, state, leaseMs: 60_000, counts: {}, worker };
  bus.publishLossy(subject, encodeMessage(Heartbeat, { subject, source: `worker.${id}`, body }));
}

/** What an open page is shown: the model at first and after each observation. */
async function* watch(t: TestContext, url: string): AsyncGenerator<Model> {
  const abort = new AbortController();
  t.defer(() => abort.abort());
  const response = await fetch(`${url}events`, { signal: abort.signal });
  let model = emptyModel;
  let buffered = '';
  for await (const part of response.body!.pipeThrough(new TextDecoderStream())) {
    const blocks = (buffered + part).split('\n\n');
    buffered = blocks.pop()!;
    for (const block of blocks) {
      const [, event, data] = /^event: (.+)\ndata: (.+)$/.exec(block)!;
      if (event === 'hello') {
        model = fromSnapshot((JSON.parse(data!) as Hello).snapshot);
        yield model;
      } else if (event === 'observations') {
        for (const observation of JSON.parse(data!) as Observation[]) {
          model = reduce(model, [observation]);
          yield model;
        }
      }
    }
  }
}

/** The first model for which `test` holds; fails with the test's time limit. */
async function until(models: AsyncGenerator<Model>, test: (model: Model) => boolean): Promise<Model> {
  for (;;) {
    const { value, done } = await models.next();
    if (done) throw new Error('the monitor ended the stream');
    if (test(value)) return value;
  }
}

const state = (model: Model, id: string) => model.actors.get(`worker/${id}`)?.state;

test('a monitor that comes late shows what was stored, then what it hears', async (t) => {
  const nats = await startFixture(t);
  const [w1, w2] = [await nats.bus('worker', 'w1'), await nats.bus('worker', 'w2')];
  moves(w1, 'w1', 1, 'joining');
  moves(w1, 'w1', 2, 'idle');
  moves(w2, 'w2', 1, 'joining', 'old');
  moves(w2, 'w2', 1, 'joining');
  moves(w2, 'w2', 4, 'idle');
  await Promise.all([w1.flush(), w2.flush()]);

  const log: string[] = [];
  const bus = await nats.bus('monitor', 'm1', { onError: (error) => log.push(error.message) });
  const monitor = await startMonitorRole({ bus, log: (line) => log.push(line) });
  t.defer(() => monitor.close());
  const models = watch(t, monitor.url);
  const past = await until(models, (model) => model.transitions.length === 5);
  assert.is(past.actors.size, 2);
  assert.equal([state(past, 'w1'), state(past, 'w2')], ['idle', 'idle']);
  assert.is(past.actors.get('worker/w2')!.restarts, 1);
  assert.is(missed(past.actors.get('worker/w2')!), 2);

  beats(w1, 'w1', 2, 'idle');
  moves(w1, 'w1', 3, 'computing');
  const live = await until(models, (model) => state(model, 'w1') === 'computing');
  assert.is(liveness(live.actors.get('worker/w1')!, monitorClock()), 'alive');
  assert.is(live.actors.get('worker/w1')!.worker?.engine, 'wasm');

  const coordinator = await nats.bus('coordinator', 'c1');
  const subject = subjects.progress('c1', 'j1');
  const body: ProofProgress = { job: 'j1', phase: 'dispatching', done: 1, total: 4, workers: [], phases: {} };
  coordinator.publish(
    subject,
    encodeMessage(ProofProgress, { subject, source: 'coordinator.c1', epoch: 7, body }),
  );
  const withJob = await until(models, (model) => model.jobs.size === 1);
  assert.equal(withJob.jobs.get('j1')!.epoch, 7);
  assert.equal(log, []);
});

test('a worker that speaks for another is refused by the server, one that lies is dropped by the monitor', async (t) => {
  const nats = await startFixture(t);
  const bus = await nats.bus('monitor', 'm1');
  const monitor = await startMonitorRole({ bus });
  t.defer(() => monitor.close());
  const models = watch(t, monitor.url);
  const refused: string[] = [];
  const liar = await nats.bus('worker', 'w1', { onError: (error) => refused.push(error.message) });
  const subject = subjects.state('worker', 'w1');
  const body = {
    kind: 'worker',
    id: 'w2',
    boot: 'b',
    seq: 1,
    from: null,
    to: 'idle',
    event: 'start',
    counts: {},
  } as const;
  liar.publish(subject, encodeMessage(Transition, { subject, source: 'worker.w2', body }));
  moves(liar, 'w2', 1, 'idle');
  const model = await until(models, ({ dropped }) => dropped.malformed === 1);
  assert.is(model.actors.size, 0);
  await eventually(() => refused.length > 0);
  assert.is(refused.length, 1);
});

test('a lost server is reported, and what follows its return is shown', async (t) => {
  const nats = await startFixture(t);
  const bus = await nats.bus('monitor', 'm1');
  const worker = await nats.bus('worker', 'w1');
  const monitor = await startMonitorRole({ bus });
  t.defer(() => monitor.close());
  const models = watch(t, monitor.url);
  moves(worker, 'w1', 1, 'joining');
  await until(models, (model) => state(model, 'w1') === 'joining');
  process.kill(nats.server.pid, 'SIGKILL');
  await until(models, ({ connected }) => !connected);
  await until(models, ({ connected }) => connected);
  // The memory stream went with the server; the gap shows.
  const again = setInterval(() => moves(worker, 'w1', 4, 'idle'), 100);
  t.defer(() => clearInterval(again));
  const model = await until(models, (last) => state(last, 'w1') === 'idle');
  assert.is(missed(model.actors.get('worker/w1')!), 2);
});

test('evidence is asked for with a nonce of its own, by the rights of the role, and holds', async (t) => {
  const { url, policies } = await serving(t);
  const bus = await connect({ url, creds: await credentials('monitor', 'm1', folder('creds')) });
  t.defer(() => bus.close());
  const monitor = await startMonitorRole({ bus });
  t.defer(() => monitor.close());
  const ask = async () => (await (await fetch(`${monitor.url}evidence.json`)).json()) as FoundEvidence[];
  // Its runner may still be on its way; an answer is remembered for a while.
  let found = await ask();
  await eventually(async () => {
    found = await ask();
    return found[0]?.document !== undefined;
  });
  const [{ model, enclave, nonce, document }] = found as [FoundEvidence];
  assert.equal([found.length, model, enclave], [1, MODEL, ENCLAVE]);
  const question = { document, policy: policies.inference, now: new Date() };
  assert.is((await verifyEvidence({ ...question, nonce })).verdict, 'accept');
  assert.is((await verifyEvidence({ ...question, nonce: '00'.repeat(32) })).verdict, 'reject');
});

test('who was convicted is looked up by name', async (t) => {
  const nats = await startFixture(t);
  const coordinator = await nats.bus('coordinator', 'c1');
  const bus = await nats.bus('monitor', 'm1');
  const monitor = await startMonitorRole({ bus });
  t.defer(() => monitor.close());
  const time = new Date().toISOString();
  await convict(coordinator, { worker: 'w1', job: 'j', coordinator: 'c1', time });
  await convict(coordinator, { worker: 'unheard', job: 'j', coordinator: 'c1', time });
  const models = watch(t, monitor.url);
  for (const id of ['w1', 'w2']) moves(await nats.bus('worker', id), id, 1, 'joining');
  await until(models, (model) => model.actors.size === 2);
  assert.equal(await (await fetch(`${monitor.url}convictions.json`)).json(), [
    { worker: 'w1', job: 'j', coordinator: 'c1', time },
  ]);
});

test.run();
