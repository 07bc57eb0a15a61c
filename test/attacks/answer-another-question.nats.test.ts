/**
 * Attacker: whoever operates the NATS server, with a genuine service beside him. He keeps genuine, signed answers and gives
 * them to other questions, or changes the little that nobody signs. A test for each row of the table "What binds a reply to
 * its question" in docs/PROTOCOL.md.
 *
 * Elsewhere: evidence and answers in replay-an-answer.nats.test.ts, shard results in runtime/roles/coordinator-workers.prover.test.ts, audit records in
 * runtime/roles/broker.nats.test.ts, a proof of another statement also in lower-the-threshold.prover.test.ts.
 */

import { ControlReply, ControlRequest } from '../../protocols/enclave.ts';
import { encodeMessage } from '../../protocols/envelope.ts';
import { askedOf, ProofProgress, PublishedProof, type QualityStatement } from '../../protocols/proof.ts';
import { subjects } from '../../protocols/subjects.ts';
import { createIdentity } from '../../runtime/attest/identity.ts';
import { awaitProof, cancelProof, questionOf } from '../../runtime/client/proof-request.ts';
import { obtainModel, readManifest } from '../../runtime/models/obtain.ts';
import { publishModel } from '../../runtime/models/publish.ts';
import { getBlob, putBlob } from '../../runtime/nats/blobs.ts';
import { answer, ask } from '../../runtime/nats/service.ts';
import { smallModel } from '../circuits/model-fixture.ts';
import { assert, suite } from '../harness.ts';
import { publish, savedProof } from '../protocols/document-scenario.ts';
import { startBroker, startHome } from '../runtime/home/home-fixture.ts';
import { type Carried, edit, isOf, refusal, through } from './nats-proxy.ts';

const test = suite('attack: answer another question', { timeoutMs: 120_000 });

test('a proof of another statement, and progress that nobody signed', async (t) => {
  const { server, bus: genuine } = await startHome(t);
  const url = server.url;
  const record = savedProof();
  const coordinator = await genuine('coordinator', 'c1');
  const bus = await through(t, url, () => {});
  const other = questionOf({
    ...(record.statement as QualityStatement),
    threshold: askedOf(record.statement).threshold + 1,
  });
  const same = { job: record.job, nonce: record.nonce, statement: record.statement };
  const store = async (job: string) => {
    const subject = subjects.proof(bus.id, job);
    const body = await publish(record);
    const message = encodeMessage(PublishedProof, { subject, source: 'coordinator.c1', body });
    await coordinator.append(subject, message);
  };
  const say = (on: string, job: string, epoch: number, failed: boolean) => {
    const subject = subjects.progress(bus.id, on);
    const error = failed ? { error: { code: 'key-rejected', message: 'it is said to have failed' } } : {};
    const phase = failed ? ('failed' as const) : ('dispatching' as const);
    const body = { job, phase, done: 0, total: 0, workers: [], phases: {}, ...error };
    coordinator.publish(
      subject,
      encodeMessage(ProofProgress, { subject, source: 'coordinator.c1', epoch, body }),
    );
  };
  const waiting = (asked: typeof other, onProgress?: (progress: ProofProgress) => void) =>
    awaitProof(bus, asked, { signal: t.signal, ...(onProgress ? { onProgress } : {}) });

  // A genuine record under the job of another question.
  await store(other.job);
  assert.match(
    await refusal(waiting(other)),
    /^proof-rejected: .*another question: .*threshold 5 instead of 6/,
  );

  // Progress of another job, and of an older epoch, is not heard; a failure says that nobody signed it.
  const third = questionOf(record.statement);
  const heard: string[] = [];
  const failed = refusal(waiting(third, ({ phase }) => void heard.push(phase)));
  await bus.flush();
  say(third.job, other.job, 9, true);
  say(third.job, third.job, 5, false);
  say(third.job, third.job, 4, true);
  say(third.job, third.job, 5, true);
  assert.match(
    await failed,
    /^key-rejected: it is said to have failed \(so NATS says; a failure is not signed\)/,
  );
  assert.equal(heard, ['dispatching', 'failed']);

  // Where the proof is there, a failure that is told does not hide it.
  const found = waiting(same);
  await bus.flush();
  await store(record.job);
  say(record.job, record.job, 5, true);
  assert.equal((await found).record, record);
});

test('control, cancellation, blobs, manifests, acknowledgements: what is not about this request', async (t) => {
  const { server, bus: genuine, observer } = await startHome(t);
  let change: (message: Carried) => unknown = () => {};
  const client = await through(t, server.url, (message) => change(message));
  const source = 'client.victim';

  // Cancellation: for another job, for another request.
  const coordinator = await genuine('coordinator', 'c1');
  const { job } = questionOf(savedProof().statement);
  const ticket = { job, secret: 'ab'.repeat(32) };
  let cancelled = job;
  coordinator.subscribe('vouch.v1.ctl.proof-job.*.cancel', (received) => {
    const { id } = JSON.parse(new TextDecoder().decode(received.data));
    const { subject } = received;
    const envelope = {
      id: 'reply',
      type: 'proof.cancelled',
      version: 1,
      source: 'coordinator.c1',
      time: new Date().toISOString(),
      subject,
      cause: id,
      body: { job: cancelled },
    };
    received.respond(new TextEncoder().encode(JSON.stringify(envelope)));
  });
  await coordinator.flush();
  assert.is(await cancelProof(client, source, ticket), true);
  cancelled = 'another';
  assert.match(await refusal(cancelProof(client, source, ticket)), /^bad-message: proof.cancelled/);
  cancelled = job;
  change = (message) => {
    if (isOf(message, 'proof.cancelled'))
      edit(message, (envelope) => {
        envelope.cause = 'x';
      });
  };
  assert.match(await refusal(cancelProof(client, source, ticket)), /^bad-message: .*another request/);
  change = (message) => {
    if (isOf(message, 'proof.cancelled'))
      edit(message, (envelope) => {
        envelope.subject = 'vouch.v1.ctl.x';
      });
  };
  assert.match(await refusal(cancelProof(client, source, ticket)), /^bad-message: .*subject other than/);

  // Control: the supervisor is told that it is done, in answer to another request.
  change = () => {};
  const actor = await genuine('worker', 'w1');
  const supervisor = await through(t, server.url, (message) => change(message), 'supervisor');
  const subject = subjects.control('worker', 'w1', 'drain');
  const place = { subject, source: 'worker.w1', log: () => {} };
  answer(actor, [ControlRequest, ControlReply], place, () => ({ state: 'draining' }));
  await actor.flush();
  const drain = () =>
    ask(supervisor, [ControlRequest, ControlReply], { subject, source: 'supervisor.victim', body: {} });
  assert.is((await drain()).body.state, 'draining');
  change = (message) => {
    if (isOf(message, 'control.reply'))
      edit(message, (envelope) => {
        envelope.cause = 'x';
      });
  };
  assert.match(await refusal(drain()), /^bad-message: control.reply: the reply answers another request/);

  // Blobs: other bytes under a digest, another subject's message, a stranger's acknowledgement.
  const bytes = new TextEncoder().encode('the rows that the proof is about');
  const { digest } = await putBlob(client, 'keys', bytes);
  change = (message) => {
    if (!message.up && message.headers.includes('VOUCH_KEYS') && message.payload.includes('rows'))
      message.payload = Buffer.from(message.payload.toString().replace('rows', 'wors'));
  };
  assert.match(
    await refusal(getBlob(client, { shelf: 'keys', writer: client.id }, digest, { maxBytes: 1000 })),
    /^bad-file: .*has another one/,
  );
  for (const name of ['first', 'second'])
    await observer.append(subjects.model(name), new TextEncoder().encode('{}'));
  change = (message) => {
    if (message.up) message.subject = message.subject.replace('model.first', 'model.second');
  };
  assert.match(await refusal(readManifest(client, 'first')), /^bad-message: VOUCH_MODELS: .*another message/);
  change = (message) => {
    if (!message.up && message.payload.includes('"stream":')) message.payload = Buffer.from('{"ok":true}');
  };
  assert.match(
    await refusal(client.append(subjects.key(client.id, '0'.repeat(64)), bytes)),
    /^bad-message: .*expected a stream's acknowledgement/,
  );
});

test('the key of another model, and a nonce that was good once', async (t) => {
  const { server, observer, policies, role } = await startHome(t);
  await role('broker', 'b1', startBroker);
  const policy = policies.release;
  for (const name of ['mine', 'other'])
    await publishModel(observer, 'provisioner.test', { name, model: smallModel({ units: [3, 2] }), policy });
  let kept: { reply?: unknown; nonce?: unknown } = {};
  let mode: 'keep' | 'reply' | 'nonce' | 'none' = 'keep';
  const bus = await through(
    t,
    server.url,
    (message) => {
      if (isOf(message, 'release.reply') && mode !== 'none')
        edit(message, (envelope) => {
          if (mode === 'keep') kept = { ...kept, reply: envelope.body };
          if (mode === 'reply') envelope.body = kept.reply;
        });
      if (isOf(message, 'release.nonce') && mode !== 'none')
        edit(message, (envelope) => {
          if (mode === 'keep') kept = { ...kept, nonce: envelope.body };
          if (mode === 'nonce') envelope.body = kept.nonce;
        });
    },
    'runner',
  );
  const identity = await createIdentity('runner', 'victim', {});
  const obtain = (name: string) => obtainModel(bus, 'runner.victim', identity, name);
  await obtain('other');
  mode = 'reply';
  assert.match(await refusal(obtain('mine')), /^signature-rejected/);
  mode = 'nonce';
  assert.match(await refusal(obtain('mine')), /^replayed/);
  mode = 'none';
  assert.is((await obtain('mine')).manifest.name, 'mine');
});

test.run();
