/** Requests that cannot be served, two coordinators, a drain: how each ends for the client. */
import { existsSync, readdirSync } from 'node:fs';
import { readZkey } from '../../../circuits/groth16/zkey.ts';
import { createSimulatedPlatform } from '../../../protocols/attestation/formats/simulated.ts';
import { canonicalJson, utf8 } from '../../../protocols/encoding.ts';
import { decodeMessage, encodeMessage, RemoteError } from '../../../protocols/envelope.ts';
import type { VouchError } from '../../../protocols/errors.ts';
import { ProofRequest, type QualityStatement } from '../../../protocols/proof.ts';
import { STREAMS } from '../../../protocols/streams.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { Transition } from '../../../protocols/transition.ts';
import type { Provider } from '../../../runtime/attest/provider.ts';
import { simulatedProvider } from '../../../runtime/attest/simulated-provider.ts';
import { simulatedRoot } from '../../../runtime/attest/simulated-root.ts';
import {
  awaitProof,
  cancelProof,
  type ProofTicket,
  questionOf,
  requestProof,
  signedBy,
} from '../../../runtime/client/proof-request.ts';
import { folder } from '../../../runtime/home/home.ts';
import { manifestOf, putBlob, type Shelf } from '../../../runtime/nats/blobs.ts';
import { coordinatorRole } from '../../../runtime/roles/coordinator.ts';
import { assert, suite } from '../../harness.ts';
import { logOf, requesters, signal, startBroker, until } from '../home/home-fixture.ts';
import { smallSubject, startProving } from './proof-fixture.ts';

const test = suite('coordinator', { timeoutMs: 120_000 });

const checkedKeys = (): number => {
  const kept = folder('cache', 'checked-keys');
  return existsSync(kept) ? readdirSync(kept).length : 0;
};

/** The error that a job ends with. */
async function failureOf(done: Promise<unknown>): Promise<VouchError> {
  try {
    await done;
  } catch (error) {
    assert.instance(error, RemoteError, String(error));
    return error as VouchError;
  }
  throw new Error('it was published');
}

test('what can never be proved ends with a code and a sentence, and leaves the queue', async (t) => {
  const fixture = await startProving(t);
  const { client, statement } = fixture;
  await fixture.process('coordinator', 'c1');
  const { zkey } = await smallSubject();
  const store = async (shelf: Shelf, bytes: Uint8Array) => (await putBlob(client, shelf, bytes)).digest;
  const zeros = '0'.repeat(64);
  const tampered = zkey.slice();
  // In the middle of section B1: two points of the curve change places.
  const { offset } = readZkey(zkey).range('B1');
  tampered.copyWithin(offset + 10 * 64, offset + 11 * 64, offset + 12 * 64);
  const hollow = manifestOf(utf8('these bytes are stored nowhere'));
  await client.append(subjects.key(client.id, hollow.digest), hollow.encoded);

  const cases: ReadonlyArray<readonly [changes: Partial<QualityStatement>, code: string, words: RegExp]> = [
    [{ model: 'unheard-of' }, 'unknown-model', /unheard-of/],
    [{ commitment: '12345' }, 'commitment-mismatch', /commitment/],
    [{ threshold: statement.rows }, 'proof-refused', /vendor's secret/],
    [{ threshold: 9 }, 'bad-input', /threshold.*at most 8/],
    [{ rows: 9 }, 'bad-input', /circuit/],
    [{ circuit: zeros }, 'bad-input', /circuit/],
    [{ testSet: zeros }, 'bad-file', /has not stored/],
    [{ testSet: await store('testSets', utf8('[[1,2,3]]')) }, 'bad-file', /test set/],
    [{ key: zeros }, 'bad-file', /has not stored/],
    [{ key: hollow.digest }, 'bad-file', /has not stored/],
    [{ key: await store('keys', zkey.subarray(0, zkey.length - 1000)) }, 'bad-file', /zkey/],
    [{ key: await store('keys', utf8('no key at all')) }, 'bad-file', /zkey/],
    [{ key: await store('keys', tampered) }, 'key-rejected', /B1 and B2/],
    [{ powers: zeros }, 'bad-file', /has not stored/],
    [{ powers: await store('keys', utf8('no powers at all')) }, 'bad-file', /ptau/],
    [{ powers: statement.key }, 'too-large', /expected at most/],
  ];
  for (const [changes, code, words] of cases) {
    const request = await fixture.ask(changes);
    const error = await failureOf(request.done);
    const what = `${canonicalJson(changes)}: ${error.code}: ${error.message}`;
    assert.is(error.code, code, what);
    assert.match(error.message, words);
    assert.is(await fixture.proofsOf(request.job), 0);
    assert.is(request.heard.filter(({ body }) => body.error).length, 1, 'told once');
  }

  // Not even a request: the job is known by its subject.
  const broken = async (subjectOf: string, data: Uint8Array) => {
    const asked = questionOf(statement);
    const done = awaitProof(client, asked, { signal: t.signal });
    done.catch(() => {});
    await client.append(subjects.proofRequest(subjectOf, client.id, asked.job), data);
    return (await failureOf(done)).code;
  };
  assert.is(await broken('quality', utf8('{')), 'bad-message');
  const another = signedBy(client, questionOf(statement));
  const subject = subjects.proofRequest('quality', client.id, another.job);
  const foreign = { subject, source: 'client.test', body: another };
  assert.is(await broken('quality', encodeMessage(ProofRequest, foreign)), 'bad-message');
  // Nor is a job without a legal id a way to stop the coordinator.
  await client.append(subjects.proofRequest('quality', client.id, 'job').replace(/job$/, 'j%b'), utf8('{}'));
  await until(async () => (await fixture.openRequests()) === 0);
  assert.is(
    checkedKeys(),
    1,
    'the right key is remembered as checked, beyond this process; none that was refused is',
  );
  await fixture.process('worker', 'w1');
  const request = await fixture.ask();
  await fixture.check(request);
  assert.is(checkedKeys(), 1);
  // What was told on the way is who had which shard when: all of them, and no end is undone.
  const told = new Map(
    request.heard.flatMap(({ body }) => body.shards ?? []).map((one) => [`${one.shard} ${one.sentMs}`, one]),
  );
  const ended = [...told.values()].filter(({ end }) => end === 'done');
  assert.is(new Set(ended.map(({ shard }) => shard)).size, request.heard.at(-1)!.body.total);
  for (const { worker, sentMs, endMs, computeMs, points } of ended) {
    assert.is(worker, 'w1');
    assert.ok(points > 0 && computeMs! % 10 === 0 && endMs! >= sentMs, `${sentMs} ${endMs} ${computeMs}`);
  }
});

test('what may pass is tried again, and given up after 8 tries with the reason', async (t) => {
  const fixture = await startProving(t, undefined, { broker: false });
  await Promise.all([fixture.process('coordinator', 'c1'), fixture.process('worker', 'w1')]);
  const request = await fixture.ask();
  const error = await failureOf(request.done);
  assert.is(error.code, 'no-responder');
  assert.match(error.message, /release/);
  const attempts = new Set(request.heard.map(({ epoch }) => epoch).filter((epoch) => epoch !== undefined));
  assert.is(attempts.size, 8, 'each under an epoch of its own');
  await until(async () => (await fixture.openRequests()) === 0);

  const second = await fixture.ask();
  await second.when(({ phase }) => phase === 'witnessing');
  await fixture.role('broker', 'broker-1', startBroker);
  await fixture.check(second);
});

test('a request is taken back by its secret and by nothing else: while it is worked on, and before', async (t) => {
  const fixture = await startProving(t);
  const { client, statement } = fixture;
  await fixture.process('coordinator', 'c1', { args: ['--jobs', '1'] });
  // Nobody multiplies, so the first job stays where it is and the second waits behind it.
  const request = async () => {
    let ticket: ProofTicket | undefined;
    const phases: string[] = [];
    const done = requestProof(client, 'client.test', statement, {
      onTicket: (made) => {
        ticket = made;
      },
      onProgress: ({ phase }) => void phases.push(phase),
    });
    done.catch(() => {});
    await until(() => ticket !== undefined);
    return { ticket: ticket!, phases, done };
  };
  const first = await request();
  await until(() => first.phases.includes('dispatching'));
  const second = await request();
  const stranger = await fixture.bus('client', 'stranger');
  const guess = { job: first.ticket.job, secret: 'ab'.repeat(32) };
  await cancelProof(stranger, 'client.stranger', guess).then(
    () => assert.unreachable('a guess took it back'),
    (error: VouchError) => assert.is(error.code, 'bad-input'),
  );
  assert.is(await cancelProof(stranger, 'client.stranger', { ...guess, job: second.ticket.job }), false);
  assert.is(await cancelProof(client, 'client.test', second.ticket), false, 'nobody works on it yet');
  assert.is(await cancelProof(client, 'client.test', first.ticket), true);
  for (const { done } of [first, second]) assert.is((await failureOf(done)).code, 'cancelled');
  assert.not(second.phases.includes('witnessing'));
  await until(async () => (await fixture.openRequests()) === 0);

  // Whoever stops waiting takes it back, too.
  const stop = new AbortController();
  let job = '';
  const phases: string[] = [];
  const waiting = requestProof(client, 'client.test', statement, {
    onTicket: (ticket) => {
      job = ticket.job;
    },
    onProgress: ({ phase }) => void phases.push(phase),
    signal: stop.signal,
  });
  waiting.catch(() => {});
  await until(() => phases.includes('witnessing'));
  stop.abort();
  await waiting.then(
    () => assert.unreachable('it was published'),
    (error: VouchError) => assert.is(error.code, 'cancelled'),
  );
  await until(async () => (await fixture.openRequests()) === 0);
  assert.is(await fixture.proofsOf(job), 0);
});

test('a proof that is being published, or is, is not said to be cancelled', async (t) => {
  const fixture = await startProving(t);
  const { client, policies, statement } = fixture;
  const platform = simulatedProvider(await createSimulatedPlatform(await simulatedRoot()));
  const { promise: release, resolve } = Promise.withResolvers<void>();
  t.defer(() => resolve());
  let signatures = 0;
  // Its evidence is asked for when it joins, for the model's key, and last for the record that it publishes.
  const provider: Provider = {
    ...platform,
    sign: async (data, role) => {
      signatures += 1;
      if (signatures === 3) await release;
      return platform.sign(data, role);
    },
  };
  const { shardPoints } = await smallSubject();
  await fixture.process('worker', 'w1');
  await fixture.role(
    'coordinator',
    'c1',
    coordinatorRole({ requesters: await requesters(), workerPolicy: policies.worker, provider, shardPoints }),
  );
  let ticket: ProofTicket | undefined;
  const done = requestProof(client, 'client.test', statement, {
    onTicket: (made) => {
      ticket = made;
    },
  });
  done.catch(() => {});
  await until(() => signatures === 3, 60_000);
  const refusal = async (): Promise<string> => {
    try {
      return `cancelled: ${await cancelProof(client, 'client.test', ticket!)}`;
    } catch (error) {
      return `${(error as VouchError).code}: ${(error as VouchError).message}`;
    }
  };
  assert.match(await refusal(), /^conflict: .*is being published, which cannot be taken back/);
  resolve();
  assert.is((await done).record.job, ticket!.job);
  await until(async () => (await fixture.openRequests()) === 0);
  assert.match(await refusal(), /^conflict: .*is published, which cannot be taken back/);
});

test('who has stopped before he waits does not wait', async (t) => {
  const { client, statement } = await startProving(t, undefined, { broker: false });
  const stop = new AbortController();
  const asked = requestProof(client, 'client.test', statement, {
    onTicket: () => stop.abort(),
    signal: stop.signal,
  });
  await asked.then(
    () => assert.unreachable('it was published'),
    (error: VouchError) => assert.is(error.code, 'cancelled'),
  );
});

test('of two coordinators one works; when it stalls the other takes over, and what the first does then counts for nothing', async (t) => {
  const fixture = await startProving(t);
  const [, , ...coordinators] = await Promise.all([
    fixture.process('worker', 'w1'),
    fixture.process('worker', 'w2'),
    fixture.process('coordinator', 'c1'),
    fixture.process('coordinator', 'c2'),
  ]);
  const request = await fixture.ask();
  await request.when(({ phase, done, total }) => phase === 'dispatching' && done > 0 && done < total);
  const first = request.heard[0]!.source;
  assert.ok(request.heard.every(({ source }) => source === first));
  const stalled = coordinators[first === 'coordinator.c1' ? 0 : 1]!;
  signal(stalled, 'SIGSTOP');
  const epoch = request.heard.at(-1)!.epoch!;
  await request.done;
  const second = request.heard.at(-1)!;
  assert.is.not(second.source, first);
  assert.ok(second.epoch! > epoch);
  signal(stalled, 'SIGCONT');
  await until(async () => (await logOf('coordinator', first.split('.')[1]!)).includes('lost'), 30_000);
  await fixture.check(request);
  // It is of use again: one of them takes the next request.
  await fixture.check(await fixture.ask());
});

test('a coordinator that is told to stop finishes its proof and takes no other', async (t) => {
  const fixture = await startProving(t);
  const [coordinator] = await Promise.all([
    fixture.process('coordinator', 'c1'),
    fixture.process('worker', 'w1'),
  ]);
  const request = await fixture.ask();
  await request.when(({ phase, done, total }) => phase === 'dispatching' && done > 0 && done < total);
  signal(coordinator, 'SIGTERM');
  // It has room for more than one, so what is asked before it heard the signal may still be taken.
  const place = subjects.state('coordinator', 'c1');
  await until(async () => {
    const last = await fixture.observer.getLast(STREAMS.states.name, place);
    const state = last && decodeMessage(Transition, place, last.data).body.to;
    return state === 'draining' || state === 'stopped';
  });
  const waiting = await fixture.ask();
  await fixture.check(request);
  assert.is(await coordinator.exited, 0);
  assert.is(await fixture.openRequests(), 1);
  assert.is(await fixture.proofsOf(waiting.job), 0);
  assert.is(waiting.heard.length, 0);
  await fixture.process('coordinator', 'c2');
  await fixture.check(waiting);
});

test('a worker that is told to stop finishes its shard, and the rest goes to others at once', async (t) => {
  const fixture = await startProving(t);
  const [worker, other] = await Promise.all([
    fixture.process('worker', 'w1'),
    fixture.process('worker', 'w2'),
    fixture.process('coordinator', 'c1'),
  ]);
  // The other is held until this one has worked, for whoever is known first may be done before the second is known.
  signal(other, 'SIGSTOP');
  const request = await fixture.ask();
  await request.when(({ workers }) => workers.some(({ id, done }) => id === 'w1' && done > 0));
  signal(worker, 'SIGTERM');
  signal(other, 'SIGCONT');
  assert.is(await worker.exited, 0);
  await fixture.check(request);
});

test('progress is reported again and again, under its epoch, while nobody can work', async (t) => {
  const fixture = await startProving(t);
  await fixture.process('coordinator', 'c1');
  const request = await fixture.ask();
  await request.when(({ phase }) => phase === 'dispatching');
  const heard = request.heard.length;
  await until(() => request.heard.length >= heard + 2);
  assert.ok(request.heard.at(-1)!.epoch! > 0);
  await fixture.process('worker', 'w1');
  await fixture.check(request);
});

test.run();
