/**
 * Every right is tried on a real server: what a role must be able to do works, and what it must not do is refused
 * and leaves no trace. The attacks go through a bare client, because our own bus would not send them.
 *
 * One file, although it is long: what a role can do and what it cannot belong side by side.
 */
import { connect as connectNats, credsAuthenticator, type NatsConnection } from 'nats';
import { BUCKETS, PROOF_REQUEST_CONSUMER, STREAMS } from '../../../protocols/streams.ts';
import { filters, ROLES, type Role, subjects } from '../../../protocols/subjects.ts';
import type { Bus } from '../../../runtime/nats/bus.ts';
import { inboxPrefix } from '../../../runtime/nats/rights.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { bytes, codeOf, type NatsFixture, startFixture, text, until } from './nats-fixture.ts';

const test = suite('NATS rights', { timeoutMs: 180_000 });

const EMPTY = new Uint8Array();
const digest = (letter: string) => letter.repeat(64);

async function bareClient(
  t: TestContext,
  nats: NatsFixture,
  role: Role,
  id: string,
): Promise<NatsConnection> {
  const creds = await nats.authority.mintUser(role, id);
  const nc = await connectNats({
    servers: nats.server.url,
    authenticator: credsAuthenticator(bytes(creds)),
    inboxPrefix: inboxPrefix(role, id),
  });
  t.defer(() => nc.close());
  return nc;
}

/**
 * Asks the stream for a message, and waits for the answer: those to whatever was asked before have been sent then,
 * because a stream answers one after the other.
 */
const answered = (nc: NatsConnection, stream: string, subject?: string): Promise<unknown> =>
  nc.request(
    `$JS.API.DIRECT.GET.${stream}${subject === undefined ? '' : `.${subject}`}`,
    subject === undefined ? '{"seq":1}' : '',
    { timeout: 20_000 },
  );

/** Number of messages per stream, to show that an attack changed nothing. */
async function census(provisioner: Bus): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const { name } of Object.values(STREAMS)) {
    const info = await provisioner.api<{ state: { messages: number } }>(`STREAM.INFO.${name}`);
    counts[name] = info.state.messages;
  }
  return counts;
}

test('what each role needs works', async (t) => {
  const nats = await startFixture(t);
  const coordinator = await nats.bus('coordinator', 'c1');
  const worker = await nats.bus('worker', 'w1');
  const runner = await nats.bus('runner', 'r1');
  const broker = await nats.bus('broker', 'b1');
  const client = await nats.bus('client', 'me');
  const auditor = await nats.bus('auditor', 'a1');
  const provisioner = await nats.bus('provisioner', 'p');
  const monitor = await nats.bus('monitor', 'm1');
  const supervisor = await nats.bus('supervisor', 's1');

  // A shard goes out to its worker alone, and its result comes back.
  const heard: string[] = [];
  worker.subscribe(
    filters.shardsOf('w1'),
    ({ subject, data }) => void heard.push(`${subject} ${text(data)}`),
  );
  coordinator.subscribe(
    filters.shardResultsOf('j'),
    ({ subject, data }) => void heard.push(`${subject} ${text(data)}`),
  );
  await Promise.all([worker.flush(), coordinator.flush()]);
  coordinator.publish(subjects.shard('w2', 'j', '0'), bytes("another's"));
  coordinator.publish(subjects.shard('w1', 'j', '0'), bytes('shard'));
  await until(() => heard.length === 1);
  worker.publish(subjects.shardResult('w1', 'j', '0'), bytes('points'));
  await until(() => heard.length === 2);
  assert.equal(heard, [
    `${subjects.shard('w1', 'j', '0')} shard`,
    `${subjects.shardResult('w1', 'j', '0')} points`,
  ]);

  // Chunks: the client writes, and reads its own; the worker reads keys, the coordinator test sets, too.
  const [key, testSet, sealed] = [
    subjects.key('me', digest('a')),
    subjects.testSet('me', digest('a')),
    subjects.sealedModel(digest('a')),
  ];
  await client.append(key, bytes('bases'));
  for (const bus of [client, worker, coordinator])
    assert.is(text((await bus.getLast(STREAMS.keys.name, key))!.data), 'bases');
  await client.append(testSet, bytes('rows'));
  for (const bus of [client, coordinator])
    assert.is(text((await bus.getLast(STREAMS.testSets.name, testSet))!.data), 'rows');
  await provisioner.append(sealed, bytes('ciphertext'));
  for (const bus of [runner, coordinator])
    assert.is(text((await bus.getLast(STREAMS.sealedModels.name, sealed))!.data), 'ciphertext');

  // The broker's own record: it writes and reads, an auditor reads.
  await broker.append(subjects.audit('b1'), bytes('record'), { expectLastSubjectSequence: 0 });
  for (const bus of [broker, auditor])
    assert.is(text((await bus.getLast(STREAMS.audits.name, subjects.audit('b1')))!.data), 'record');
  assert.is((await auditor.subjectsOf(STREAMS.audits.name, subjects.audit('b1'))).size, 1);

  // Core requests within and across the accounts.
  broker.subscribe(subjects.release('m'), (message) => message.respond(bytes('key')), { queue: 'q' });
  broker.subscribe(subjects.releaseFrom('m', 'b1'), (message) => message.respond(bytes('share')));
  runner.subscribe(subjects.evidence('m', 'me'), (message) => message.respond(bytes('evidence')), {
    queue: 'q',
  });
  runner.subscribe(subjects.infer('m', 'r1', 'me'), (message) => message.respond(bytes('answer')));
  worker.subscribe(subjects.control('worker', 'w1', 'attest'), (message) => message.respond(bytes('quote')));
  coordinator.subscribe(subjects.control('coordinator', 'c1', 'drain'), (message) =>
    message.respond(bytes('draining')),
  );
  await Promise.all([broker, runner, worker, coordinator].map((bus) => bus.flush()));
  assert.is(text((await runner.request(subjects.release('m'), EMPTY)).data), 'key');
  assert.is(text((await coordinator.request(subjects.release('m'), EMPTY)).data), 'key');
  for (const bus of [runner, coordinator])
    assert.is(text((await bus.request(subjects.releaseFrom('m', 'b1'), EMPTY)).data), 'share');
  assert.is(text((await client.request(subjects.evidence('m', 'me'), EMPTY)).data), 'evidence');
  runner.subscribe(subjects.evidence('m', 'm1'), (message) => message.respond(bytes('evidence')));
  await runner.flush();
  assert.is(text((await monitor.request(subjects.evidence('m', 'm1'), EMPTY)).data), 'evidence');
  assert.is(await monitor.bucket(BUCKETS.convictions).get('w1'), undefined);
  assert.is((await monitor.subjectsOf(STREAMS.models.name, 'vouch.v1.model.>')).size, 0);
  assert.is(await monitor.getLast(STREAMS.proofs.name, subjects.proof('me', 'j')), undefined);
  assert.is(text((await client.request(subjects.infer('m', 'r1', 'me'), EMPTY)).data), 'answer');
  assert.is(
    text((await coordinator.request(subjects.control('worker', 'w1', 'attest'), EMPTY)).data),
    'quote',
  );
  assert.is(
    text((await supervisor.request(subjects.control('worker', 'w1', 'attest'), EMPTY)).data),
    'quote',
  );
  assert.is(
    text((await supervisor.request(subjects.control('coordinator', 'c1', 'drain'), EMPTY)).data),
    'draining',
  );

  // Live views cross to those who watch.
  const seen: string[] = [];
  const note = (message: { subject: string }) => void seen.push(message.subject);
  for (const subject of ['state.>', 'beat.>', 'progress.*.*']) monitor.subscribe(`vouch.v1.${subject}`, note);
  coordinator.subscribe(subjects.beat('worker', 'w1'), note);
  await Promise.all([monitor, coordinator].map((bus) => bus.flush()));
  worker.publish(subjects.beat('worker', 'w1'), EMPTY);
  worker.publish(subjects.state('worker', 'w1'), bytes('idle'));
  coordinator.publish(subjects.state('proof-job', 'j'), bytes('queued'));
  coordinator.publish(subjects.progress('me', 'j'), EMPTY);
  coordinator.publish(subjects.beat('coordinator', 'c1'), EMPTY);
  await until(() => seen.length >= 6);
  assert.equal(seen.sort(), [
    subjects.beat('coordinator', 'c1'),
    subjects.beat('worker', 'w1'),
    subjects.beat('worker', 'w1'),
    subjects.progress('me', 'j'),
    subjects.state('proof-job', 'j'),
    subjects.state('worker', 'w1'),
  ]);
  // The monitor finds out afterwards, too.
  const states = await monitor.subjectsOf(STREAMS.states.name, 'vouch.v1.state.>');
  assert.equal([...states.keys()].sort(), [subjects.state('proof-job', 'j'), subjects.state('worker', 'w1')]);
  assert.is(text((await monitor.getLast(STREAMS.states.name, subjects.state('worker', 'w1')))!.data), 'idle');

  // Receipts and proofs.
  await runner.append(subjects.receipt('m', 'me', 'id'), bytes('receipt'));
  assert.is(
    text((await client.getLast(STREAMS.receipts.name, subjects.receipt('m', 'me', 'id')))!.data),
    'receipt',
  );
  await coordinator.append(subjects.proof('me', 'j'), bytes('proof'), { expectLastSubjectSequence: 0 });
  assert.is(text((await client.getLast(STREAMS.proofs.name, subjects.proof('me', 'j')))!.data), 'proof');
  await client.append(subjects.proofRequest('quality', 'me', 'j2'), bytes('please'));
  const request = await coordinator.next(STREAMS.proofRequests.name, 'coordinator');
  assert.is(request?.subject, subjects.proofRequest('quality', 'me', 'j2'));
  await request!.ack();
});

test('a role may not publish or listen where it has no business', async (t) => {
  const nats = await startFixture(t);
  const provisioner = await nats.bus('provisioner', 'p');
  const before = await census(provisioner);

  const forbidden: Partial<Record<Role, string[]>> = {
    worker: [
      subjects.beat('worker', 'w2'),
      subjects.state('worker', 'w2'),
      subjects.shardResult('w2', 'j', '0'),
      subjects.proof('me', 'j'),
      subjects.receipt('m', 'me', 'id'),
      subjects.shard('w1', 'j', '1'),
      subjects.key('mallory', digest('a')),
      subjects.release('m'),
      subjects.control('worker', 'w2', 'drain'),
      subjects.shard('w2', 'j', '1'),
      `$JS.API.CONSUMER.CREATE.${STREAMS.keys.name}`,
      `$JS.API.CONSUMER.CREATE.${STREAMS.keys.name}.x.y`,
      `$JS.API.CONSUMER.DURABLE.CREATE.${STREAMS.keys.name}.x`,
      '$KV.vouch_convictions.w2',
      '$JS.API.STREAM.CREATE.X',
      '$JS.API.INFO',
      '$KV.vouch_leases.j',
      '_INBOX.client.me.x',
    ],
    client: [
      subjects.proof('me', 'j'),
      subjects.receipt('m', 'me', 'id'),
      subjects.shardResult('w1', 'j', '0'),
      subjects.shard('w1', 'j', '0'),
      subjects.model('m'),
      subjects.release('m'),
      subjects.releaseFrom('m', 'b1'),
      subjects.audit('b1'),
      subjects.control('runner', 'r1', 'drain'),
      subjects.state('worker', 'w1'),
      subjects.beat('worker', 'w1'),
      subjects.progress('me', 'j'),
      `$JS.API.CONSUMER.CREATE.${STREAMS.keys.name}`,
      `$JS.API.STREAM.PURGE.${STREAMS.keys.name}`,
      `$JS.API.STREAM.MSG.DELETE.${STREAMS.keys.name}`,
      '_R_.x.y',
    ],
    runner: [
      subjects.proof('me', 'j'),
      subjects.key('mallory', digest('a')),
      subjects.state('runner', 'r2'),
      subjects.audit('r1'),
      '_INBOX.runner.r2.x',
    ],
    broker: [
      subjects.receipt('m', 'me', 'id'),
      subjects.proof('me', 'j'),
      subjects.release('m'),
      subjects.releaseFrom('m', 'other'),
      subjects.audit('other'),
      `$JS.API.STREAM.PURGE.${STREAMS.audits.name}`,
      `$JS.API.STREAM.MSG.DELETE.${STREAMS.audits.name}`,
    ],
    supervisor: [subjects.proof('me', 'j'), subjects.receipt('m', 'me', 'id'), '$KV.vouch_leases.j'],
    coordinator: [
      subjects.receipt('m', 'me', 'id'),
      subjects.shardResult('w1', 'j', '0'),
      subjects.state('worker', 'w1'),
      `$JS.API.CONSUMER.CREATE.${STREAMS.keys.name}.x`,
      `$JS.API.STREAM.DELETE.${STREAMS.proofs.name}`,
      `$JS.API.STREAM.UPDATE.${STREAMS.proofs.name}`,
    ],
    provisioner: [
      subjects.audit('b1'),
      subjects.proof('me', 'j'),
      subjects.receipt('m', 'me', 'id'),
      subjects.shardResult('w1', 'j', '0'),
    ],
  };
  for (const [role, list] of Object.entries(forbidden)) {
    const id = role === 'worker' ? 'w1' : 'me';
    const bus = await nats.bus(role as Role, id);
    for (const subject of list) {
      assert.is(
        await codeOf(bus.request(subject, bytes('x'), { timeoutMs: 20_000 })),
        'nats-credentials',
        `${role} ${subject}`,
      );
    }
  }

  const listening: [Role, string[]][] = [
    [
      'worker',
      ['>', '_INBOX.>', '_INBOX.client.me.>', 'vouch.v1.work.msm.w2.>', 'vouch.v1.ctl.worker.w2.*', '_R_.>'],
    ],
    [
      'client',
      [
        'vouch.v1.infer.>',
        'vouch.v1.evidence.*.*',
        'vouch.v1.receipt.>',
        '_INBOX.*.*.>',
        'vouch.v1.release.*',
      ],
    ],
    ['monitor', ['>', 'vouch.v1.infer.>', 'vouch.v1.work.>', 'vouch.v1.result.>', '_INBOX.>', '$JS.>']],
    ['runner', ['vouch.v1.infer.m.other', 'vouch.v1.release.*', 'vouch.v1.release.m.b1']],
    ['broker', ['vouch.v1.release.m.other', 'vouch.v1.release.*.*', 'vouch.v1.audit.*']],
  ];
  for (const [role, list] of listening) {
    const refused: string[] = [];
    const bus = await nats.bus(role, role === 'worker' ? 'w1' : 'one', {
      onError: (error) => void refused.push(error.message.split(':')[0]!),
    });
    for (const subject of list) bus.subscribe(subject, () => {});
    await until(() => refused.length >= list.length);
    assert.equal(refused.sort(), [...list].sort(), role);
  }
  assert.equal(await census(provisioner), before);
});

test('the monitor writes nothing', async (t) => {
  const nats = await startFixture(t);
  const provisioner = await nats.bus('provisioner', 'p');
  const before = await census(provisioner);
  const monitor = await nats.bus('monitor', 'm1');
  const everywhere = [
    ...Object.values(STREAMS).flatMap((stream) =>
      stream.subjects.map((filter) => filter.replaceAll('*', 'x').replace('>', 'x.y')),
    ),
    subjects.beat('worker', 'w1'),
    subjects.control('worker', 'w1', 'drain'),
    subjects.infer('m', 'e', 'me'),
    subjects.evidence('m', 'me'),
    subjects.release('m'),
    '$KV.vouch_leases.j',
    `$KV.${BUCKETS.convictions}.w1`,
    `$JS.API.DIRECT.GET.KV_${BUCKETS.leases}.$KV.${BUCKETS.leases}.j`,
    `$JS.API.DIRECT.GET.${STREAMS.receipts.name}.${subjects.receipt('m', 'me', 'r')}`,
    // Proofs by name alone: it can neither count them through nor list whose there are.
    `$JS.API.DIRECT.GET.${STREAMS.proofs.name}`,
    `$JS.API.DIRECT.GET.${STREAMS.proofs.name}.vouch.v1.proof.>`,
    `$JS.VOUCH.STREAM.INFO.${STREAMS.proofs.name}`,
    ...[
      'INFO',
      'STREAM.NAMES',
      'STREAM.CREATE.X',
      'STREAM.UPDATE.X',
      'STREAM.DELETE.X',
      'STREAM.PURGE.X',
    ].map((path) => `$JS.API.${path}`),
    '_INBOX.client.me.x',
  ];
  for (const subject of everywhere) {
    assert.is(
      await codeOf(monitor.request(subject, bytes('x'), { timeoutMs: 20_000 })),
      'nats-credentials',
      subject,
    );
  }
  // What it may ask, sent with an answer address that is somebody else's subject.
  const bare = await bareClient(t, nats, 'monitor', 'm1');
  const targets = [
    'vouch.v1.state.worker.w1',
    'vouch.v1.proof.j',
    '$KV.vouch_leases.j',
    '$JS.API.STREAM.DELETE.VOUCH_DEAD',
  ];
  for (const reply of targets) {
    bare.publish(`$JS.API.DIRECT.GET.${STREAMS.states.name}`, '{"seq":1}', { reply });
    bare.publish(`$JS.VOUCH.STREAM.INFO.${STREAMS.states.name}`, '', { reply });
  }
  await answered(bare, STREAMS.states.name);
  assert.equal(await census(provisioner), before);
});

test('an answer of JetStream cannot be sent where the asker may not publish', async (t) => {
  const nats = await startFixture(t);
  const provisioner = await nats.bus('provisioner', 'p');
  const coordinator = await nats.bus('coordinator', 'c1');
  const asker = await nats.bus('client', 'me');
  await asker.append(subjects.proofRequest('quality', 'me', 'asked'), bytes('request'));
  const lent = await coordinator.next(STREAMS.proofRequests.name, PROOF_REQUEST_CONSUMER);

  const client = await bareClient(t, nats, 'client', 'mallory');
  const worker = await bareClient(t, nats, 'worker', 'w1');
  const runner = await bareClient(t, nats, 'runner', 'r1');
  const forged = digest('f');
  const empty = digest('e');
  const config = digest('c');
  await client.request(subjects.key('mallory', forged), bytes('forged'));
  await client.request(subjects.key('mallory', empty), EMPTY);
  await client.request(
    subjects.key('mallory', config),
    JSON.stringify({ name: 'EVIL', subjects: ['evil.>'] }),
  );
  const before = await census(provisioner);

  const ackOfVictim = `$JS.ACK.${STREAMS.proofRequests.name}.${PROOF_REQUEST_CONSUMER}.1.${lent!.sequence}.1.1.0`;
  const targets = [
    subjects.proof('me', 'j'),
    subjects.receipt('m', 'me', 'id'),
    subjects.audit('b1'),
    subjects.shardResult('w2', 'j', '0'),
    subjects.shard('w2', 'j', '2'),
    subjects.proofRequest('quality', 'me', 'j'),
    subjects.state('worker', 'w2'),
    subjects.model('m'),
    subjects.key('mallory', digest('9')),
    subjects.dead('s', 'c'),
    '$KV.vouch_leases.j',
    ackOfVictim,
    '$JS.API.STREAM.CREATE.EVIL',
    `$JS.API.STREAM.DELETE.${STREAMS.proofRequests.name}`,
    `$JS.API.STREAM.PURGE.${STREAMS.proofRequests.name}`,
    `$JS.API.CONSUMER.MSG.NEXT.${STREAMS.proofRequests.name}.${PROOF_REQUEST_CONSUMER}`,
    `$JS.API.CONSUMER.DELETE.${STREAMS.proofRequests.name}.${PROOF_REQUEST_CONSUMER}`,
  ];
  // The server may cut off a client that names a reserved answer address.
  const send = (nc: NatsConnection, subject: string, data: Uint8Array | string, reply: string) =>
    nc.publish(subject, data, { reply });
  for (const reply of targets) {
    for (const nc of [client, worker, runner]) {
      for (const chunk of [forged, empty, config]) {
        send(nc, `$JS.API.DIRECT.GET.${STREAMS.keys.name}.${subjects.key('mallory', chunk)}`, '', reply);
      }
      // Nothing there: an empty message with a status.
      send(nc, `$JS.API.DIRECT.GET.${STREAMS.keys.name}.${subjects.key('mallory', digest('0'))}`, '', reply);
    }
    send(client, `$JS.VOUCH.STREAM.INFO.${STREAMS.keys.name}`, '', reply);
    // An acknowledgement of one's own message, answered elsewhere.
    send(client, subjects.key('mallory', forged), 'again', reply);
  }
  // A runner may not even ask there.
  await runner.flush();
  for (const nc of [client, worker]) await answered(nc, STREAMS.keys.name, subjects.key('mallory', forged));
  assert.equal(await census(provisioner), before);
  const names = await provisioner.api<{ streams: string[] }>('STREAM.NAMES', {});
  assert.not(names.streams.includes('EVIL'));
  const consumer = await provisioner.api<{ num_ack_pending: number; delivered: { consumer_seq: number } }>(
    `CONSUMER.INFO.${STREAMS.proofRequests.name}.${PROOF_REQUEST_CONSUMER}`,
  );
  assert.is(
    consumer.num_ack_pending,
    1,
    'the request lent to c1 is neither acknowledged nor joined by another',
  );
  await lent!.ack();
});

test('a consumer that delivers onto a foreign subject cannot be made', async (t) => {
  const nats = await startFixture(t);
  const provisioner = await nats.bus('provisioner', 'p');
  const attempts: [Role, string][] = ROLES.filter(
    (role) => !['provisioner', 'coordinator'].includes(role),
  ).flatMap((role) => Object.values(STREAMS).map((stream): [Role, string] => [role, stream.name]));
  attempts.push(['coordinator', STREAMS.keys.name], ['coordinator', STREAMS.receipts.name]);
  const before = await census(provisioner);
  const clients = new Map<Role, NatsConnection>();
  for (const [role, stream] of attempts) {
    const nc = clients.get(role) ?? (await bareClient(t, nats, role, 'x1'));
    clients.set(role, nc);
    const body = JSON.stringify({
      stream_name: stream,
      config: {
        durable_name: 'evil',
        deliver_subject: subjects.proof('me', 'j'),
        ack_policy: 'none',
        deliver_policy: 'all',
      },
    });
    nc.publish(`$JS.API.CONSUMER.CREATE.${stream}`, body);
    nc.publish(`$JS.API.CONSUMER.CREATE.${stream}.evil`, body);
    nc.publish(`$JS.API.CONSUMER.DURABLE.CREATE.${stream}.evil`, body);
  }
  for (const nc of clients.values()) await nc.flush();
  const client = await nats.bus('client', 'me');
  await client.append(subjects.key('me', digest('f')), bytes('forged'));
  for (const { name } of Object.values(STREAMS)) {
    const { consumers } = await provisioner.api<{ consumers: string[] }>(`CONSUMER.NAMES.${name}`, {});
    assert.not(consumers.includes('evil'), name);
  }
  assert.equal(await census(provisioner), {
    ...before,
    [STREAMS.keys.name]: before[STREAMS.keys.name]! + 1,
  });
});

test('the bus drops what a stream was made to send to a listener', async (t) => {
  const nats = await startFixture(t);
  const client = await bareClient(t, nats, 'client', 'mallory');
  const worker = await bareClient(t, nats, 'worker', 'w1');
  const errors: string[] = [];
  const heard: string[] = [];
  const victim = await nats.bus('worker', 'w2', { onError: (error) => void errors.push(error.message) });
  victim.subscribe(`vouch.v1.ctl.worker.w2.*`, (message) => void heard.push(message.subject));
  await victim.flush();
  await client.request(subjects.key('mallory', digest('f')), bytes('drain!'));
  const reply = subjects.control('worker', 'w2', 'drain');
  worker.publish(`$JS.API.DIRECT.GET.${STREAMS.keys.name}.${subjects.key('mallory', digest('f'))}`, '', {
    reply,
  });
  worker.publish(`$JS.API.DIRECT.GET.${STREAMS.keys.name}.${subjects.key('mallory', digest('0'))}`, '', {
    reply,
  });
  await until(() => errors.length >= 2);
  assert.is(errors.length, 2);
  assert.equal(heard, []);
});

test.run();
