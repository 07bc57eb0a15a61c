import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { BUCKETS, STREAMS } from '../../../protocols/streams.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { ensureAuthority } from '../../../runtime/installation/authority.ts';
import { connect } from '../../../runtime/nats/connect.ts';
import { identityOf } from '../../../runtime/nats/creds-file.ts';
import { assert, suite } from '../../harness.ts';
import { bytes, codeOf, startFixture, temporaryFolder, text, until } from './nats-fixture.ts';

const test = suite('bus', { timeoutMs: 180_000 });
const EMPTY = new Uint8Array();

test('no server, wrong credentials and expired ones are told apart, in a sentence', async (t) => {
  const nats = await startFixture(t, { provisioned: false });
  const attempt = async (options: { url?: string; creds?: string }) => {
    try {
      await (await connect({ url: nats.server.url, ...options })).close();
      return ['connected', ''];
    } catch (error) {
      const { code, message } = error as { code: string; message: string };
      return [code, message];
    }
  };
  const [unreachable, sentence] = await attempt({ url: 'nats://127.0.0.1:1' });
  assert.is(unreachable, 'nats-unreachable');
  assert.match(sentence!, /127\.0\.0\.1:1.*is a server running there/);

  const [none, wanted] = await attempt({});
  assert.is(none, 'nats-credentials');
  assert.match(wanted!, /none were given/);

  const stranger = await (await ensureAuthority(await temporaryFolder(t))).mintUser('client', 'me');
  const [foreign, refused] = await attempt({ creds: stranger });
  assert.is(foreign, 'nats-credentials');
  assert.match(refused!, /refused the credentials of me/);
  assert.not.match(refused!, /S[UA][A-Z2-7]{50}/, 'no seed in the message');

  assert.is((await attempt({ creds: 'not a creds file' }))[0], 'nats-credentials');
  const expired = await nats.authority.mintUser('client', 'me', { ttlSeconds: -10 });
  const [late, when] = await attempt({ creds: expired });
  assert.is(late, 'nats-credentials');
  assert.match(when!, /expired at/);
  const fresh = await nats.authority.mintUser('client', 'me', { ttlSeconds: 60 });
  assert.equal(await attempt({ creds: fresh }), ['connected', '']);
  assert.is(identityOf(fresh).role, 'client');
});

test('requests: answer, headers, nobody there, silence, cancelling, size', async (t) => {
  const nats = await startFixture(t, { provisioned: false });
  const runner = await nats.bus('runner', 'r1');
  const client = await nats.bus('client', 'me');
  const ask = subjects.infer('m', 'r1', 'me');
  assert.is(await codeOf(client.request(ask, EMPTY)), 'no-responder');
  const asking = runner.subscribe(ask, (message) => {
    if (text(message.data) !== 'silence')
      message.respond(message.data, { Answer: message.headers.Question ?? '' });
  });
  await runner.flush();
  const answer = await client.request(ask, bytes('hello'), { headers: { Question: 'what?' } });
  assert.is(text(answer.data), 'hello');
  assert.is(answer.headers.Answer, 'what?');
  assert.is(await codeOf(client.request(ask, bytes('silence'), { timeoutMs: 50 })), 'timeout');
  const abort = new AbortController();
  const cancelled = codeOf(client.request(ask, bytes('silence'), { signal: abort.signal }));
  abort.abort();
  assert.is(await cancelled, 'cancelled');
  const large = new Uint8Array(client.server.maxPayload - 100);
  assert.is((await client.request(ask, large)).data.length, large.length);
  try {
    await client.request(ask, new Uint8Array(client.server.maxPayload), { headers: { A: 'b' } });
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code: string }).code, 'too-large');
    assert.match((error as Error).message, /at most 2097152/);
  }
  await asking.drain();
  await runner.flush();
  assert.is(await codeOf(client.request(ask, EMPTY)), 'no-responder');
});

test('an answer that was taken is kept nowhere, however long the connection stays', async (t) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const nats = await startFixture(t, { provisioned: false });
  const runner = await nats.bus('runner', 'r1');
  const client = await nats.bus('client', 'me');
  const ask = subjects.infer('m', 'r1', 'me');
  runner.subscribe(ask, (message) => message.respond(message.data));
  await runner.flush();
  const kept = () => {
    collect();
    return process.memoryUsage().arrayBuffers;
  };
  const abort = new AbortController();
  const large = new Uint8Array(2 ** 16);
  const asking = async (times: number) => {
    for (let i = 0; i < times; i++) await client.request(ask, large, { signal: abort.signal });
  };
  await asking(20);
  const before = kept();
  await asking(300);
  // What nats.js reads into stays as large as it was; the answers are twenty megabytes.
  await until(() => kept() < before + 100 * large.length);
});

test('a failing handler is reported and the next message is handled', async (t) => {
  const nats = await startFixture(t, { provisioned: false });
  const errors: string[] = [];
  const broker = await nats.bus('broker', 'b', { onError: (error) => void errors.push(error.message) });
  const runner = await nats.bus('runner', 'r');
  broker.subscribe(subjects.release('m'), async (message) => {
    if (message.data.length === 0) throw new Error('empty');
    message.respond(message.data);
  });
  await broker.flush();
  assert.is(await codeOf(runner.request(subjects.release('m'), EMPTY, { timeoutMs: 100 })), 'timeout');
  assert.is(text((await runner.request(subjects.release('m'), bytes('x'))).data), 'x');
  assert.equal(errors, ['empty']);
});

test('what was in flight fails when the connection is lost; heartbeats are dropped, not queued', async (t) => {
  const nats = await startFixture(t, { provisioned: false });
  const worker = await nats.bus('worker', 'w1');
  const runner = await nats.bus('runner', 'r1');
  const client = await nats.bus('client', 'me');
  runner.subscribe(subjects.infer('m', 'r1', 'me'), () => {});
  await runner.flush();
  const beats: string[] = [];
  client.subscribe(subjects.beat('worker', 'w1'), (message) => void beats.push(text(message.data)));
  await client.flush();
  const waiting = codeOf(client.request(subjects.infer('m', 'r1', 'me'), EMPTY, { timeoutMs: 30_000 }));
  const lost = new Promise<void>((done) => {
    worker.onState((state) => void (state === 'disconnected' && done()));
  });
  process.kill(nats.server.pid, 'SIGKILL');
  assert.is(await waiting, 'nats-unreachable');
  await lost;
  assert.not(worker.publishLossy(subjects.beat('worker', 'w1'), bytes('stale')));
  await until(() => worker.state === 'connected' && client.state === 'connected');
  await client.flush();
  assert.ok(worker.publishLossy(subjects.beat('worker', 'w1'), bytes('fresh')));
  await until(() => beats.length > 0);
  assert.equal(beats, ['fresh']);
});

test('one message per msgId, and one proof per job', async (t) => {
  const nats = await startFixture(t);
  const coordinator = await nats.bus('coordinator', 'c');
  const publish = (job: string, proof: string, msgId: string) =>
    coordinator.appendFirst(STREAMS.proofs.name, subjects.proof('me', job), bytes(proof), {
      msgId,
      retryMs: 5000,
    });
  assert.not((await publish('j', 'one', 'a')).duplicate);
  const again = await publish('j', 'one', 'a');
  assert.equal([again.duplicate, again.sequence], [true, 1]);
  assert.is(await codeOf(publish('j', 'two', 'b')), 'conflict');
  assert.is(
    await codeOf(
      coordinator.append(subjects.proof('me', 'j'), bytes('two'), { expectLastSubjectSequence: 0 }),
    ),
    'conflict',
  );
  assert.is((await publish('k', 'other', 'c')).sequence, 2);
  assert.is(text((await coordinator.getLast(STREAMS.proofs.name, subjects.proof('me', 'j')))!.data), 'one');
  await coordinator.append(subjects.progress('me', 'j'), EMPTY).then(
    () => assert.unreachable(),
    (error) => assert.is(error.code, 'not-ready', 'no stream stores progress'),
  );
});

test('a pulled message comes again when given back, not when acknowledged', async (t) => {
  const nats = await startFixture(t);
  const client = await nats.bus('client', 'me');
  const coordinator = await nats.bus('coordinator', 'c');
  const next = (expiresMs = 20_000) =>
    coordinator.next(STREAMS.proofRequests.name, 'coordinator', { expiresMs });
  await client.append(subjects.proofRequest('quality', 'me', 'j'), bytes('please'));
  const first = await next();
  assert.is(first!.deliveries, 1);
  first!.nak();
  const second = await next();
  assert.is(second!.deliveries, 2);
  assert.is(second!.sequence, first!.sequence);
  second!.nak(200);
  const third = await next();
  assert.is(third!.deliveries, 3);
  await third!.ack();
  assert.is(await next(50), undefined);
  // Given back for later than this test lasts.
  await client.append(subjects.proofRequest('quality', 'me', 'later'), bytes('please'));
  (await next())!.nak(3_600_000);
  assert.is(await next(50), undefined);

  // A cancelled wait gives back what still arrives.
  const abort = new AbortController();
  const waiting = codeOf(
    coordinator.next(STREAMS.proofRequests.name, 'coordinator', { expiresMs: 20_000, signal: abort.signal }),
  );
  abort.abort();
  assert.is(await waiting, 'cancelled');
  await client.append(subjects.proofRequest('quality', 'me', 'k'), bytes('again'));
  const fourth = await next();
  assert.is(fourth?.subject, subjects.proofRequest('quality', 'me', 'k'));
  await fourth!.ack();
});

test('a bucket creates once, updates at a revision and forgets', async (t) => {
  const nats = await startFixture(t);
  const coordinator = await nats.bus('coordinator', 'c');
  const bucket = coordinator.bucket(BUCKETS.leases);
  assert.is(await bucket.get('k'), undefined);
  const one = await bucket.create('k', bytes('1'));
  assert.is(await codeOf(bucket.create('k', bytes('x'))), 'conflict');
  const two = await bucket.update('k', bytes('2'), one);
  assert.is(await codeOf(bucket.update('k', bytes('3'), one)), 'conflict');
  assert.equal([text((await bucket.get('k'))!.value), (await bucket.get('k'))!.revision], ['2', two]);
  assert.is(await codeOf(bucket.delete('k', one)), 'conflict');
  await bucket.delete('k', two);
  assert.is(await bucket.get('k'), undefined);
  assert.ok((await bucket.create('k', bytes('4'))) > two);
});

test.run();
