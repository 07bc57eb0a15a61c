/**
 * Attacker: a client, and a worker, each with credentials of its own. They want to know what others ask and get:
 * receipts, proofs, progress, audit records, test sets in plaintext. They know every stream's and subject's form, and try
 * direct gets by sequence, by another's subject, with wildcards, with a sequence smuggled into the body, the streams'
 * states, and live subscriptions.
 */
import { connect as connectNats, credsAuthenticator, type NatsConnection } from 'nats';
import { STREAMS } from '../../protocols/streams.ts';
import { type Role, subjects } from '../../protocols/subjects.ts';
import { inboxPrefix } from '../../runtime/nats/rights.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { bytes, codeOf, type NatsFixture, startFixture, text, until } from '../runtime/nats/nats-fixture.ts';

const test = suite('attack: list what is others', { timeoutMs: 120_000 });

const DIGEST = 'a'.repeat(64);
/** What the victim has: one message on each of these. */
const OTHERS = {
  receipts: subjects.receipt('m', 'victim', 'r1'),
  proofs: subjects.proof('victim', 'j1'),
  testSets: subjects.testSet('victim', DIGEST),
  keys: subjects.key('victim', DIGEST),
  audits: subjects.audit('b1'),
} as const;

async function startWithVictim(t: TestContext): Promise<NatsFixture> {
  const nats = await startFixture(t);
  const victim = await nats.bus('client', 'victim');
  await (await nats.bus('runner', 'r1')).append(OTHERS.receipts, bytes('secret'));
  await (await nats.bus('coordinator', 'c1')).append(OTHERS.proofs, bytes('secret'));
  await victim.append(OTHERS.testSets, bytes('secret'));
  await victim.append(OTHERS.keys, bytes('public'));
  await (await nats.bus('broker', 'b1')).append(OTHERS.audits, bytes('secret'));
  return nats;
}

/** A connection that sends what our own bus would not; `refused` counts what the server did not let pass. */
async function attacker(t: TestContext, nats: NatsFixture, role: Role, id: string) {
  const nc = await connectNats({
    servers: nats.server.url,
    authenticator: credsAuthenticator(bytes(await nats.authority.mintUser(role, id))),
    inboxPrefix: inboxPrefix(role, id),
  });
  t.defer(() => nc.close());
  return nc;
}

/** What the server gives for a request: its bytes, or nothing. */
const asked = async (nc: NatsConnection, subject: string, body = ''): Promise<string> => {
  const answer = await nc.request(subject, body, { timeout: 2_000 }).catch(() => undefined);
  return answer === undefined || (answer.headers?.code ?? 0) > 0 ? '' : text(answer.data);
};

for (const role of ['client', 'worker'] as const) {
  test(`a ${role} reads nothing of another's from the streams`, async (t) => {
    const nats = await startWithVictim(t);
    const nc = await attacker(t, nats, role, 'mallory');
    for (const [key, subject] of Object.entries(OTHERS) as [keyof typeof OTHERS, string][]) {
      // Key material is public, and a worker needs everybody's.
      if (role === 'worker' && key === 'keys') continue;
      const { name } = STREAMS[key];
      const get = `$JS.API.DIRECT.GET.${name}`;
      const own = subject.replace('victim', 'mallory').replace('b1', 'mallory');
      const tries: [string, string][] = [
        [get, '{"seq":1}'],
        [get, `{"last_by_subj":"${subject}"}`],
        [`${get}.${subject}`, ''],
        [`${get}.${own}`, '{"seq":1}'],
        [`${get}.${own}`, `{"last_by_subj":"${subject}"}`],
        [`${get}.${own}`, '{"seq":1,"batch":10,"next_by_subj":">"}'],
        [`${get}.${own}`, '{"multi_last":[">"]}'],
        [`${get}.${own.replace('mallory', '*')}`, ''],
        [`${get}.vouch.v1.>`, ''],
        [`${get}.${own.replace(/[^.]+$/, '*')}`, ''],
        [`$JS.API.STREAM.MSG.GET.${name}`, '{"seq":1}'],
        [`$JS.API.STREAM.INFO.${name}`, '{"subjects_filter":">"}'],
        [`$JS.VOUCH.STREAM.INFO.${name}`, '{"subjects_filter":">"}'],
      ];
      const got = await Promise.all(tries.map(([place, body]) => asked(nc, place, body)));
      for (const [i, answer] of got.entries()) {
        assert.not(answer.includes('secret'), `${tries[i]}`);
        assert.not(answer.includes('public'), `${tries[i]}`);
        // What says which subjects there are says who asks.
        assert.not(answer.includes('victim'), `${tries[i]}: ${answer}`);
      }
    }
  });
}

test('a client hears nothing of what others are told', async (t) => {
  const nats = await startWithVictim(t);
  const refused: string[] = [];
  const heard: string[] = [];
  const mallory = await nats.bus('client', 'mallory', {
    onError: (error) => void refused.push(error.message.split(':')[0]!),
  });
  const tries = [
    'vouch.v1.progress.>',
    'vouch.v1.progress.victim.*',
    'vouch.v1.proof.*.*',
    'vouch.v1.beat.>',
    'vouch.v1.beat.proof-job.*',
    'vouch.v1.state.>',
    'vouch.v1.receipt.>',
    'vouch.v1.infer.>',
    'vouch.v1.audit.*',
    'vouch.v1.work.proof.>',
  ];
  for (const subject of tries) mallory.subscribe(subject, (message) => void heard.push(message.subject));
  await until(() => refused.length >= tries.length);
  assert.equal(refused.sort(), tries.sort());
  const coordinator = await nats.bus('coordinator', 'c2');
  coordinator.publish(subjects.progress('victim', 'j1'), bytes('x'));
  coordinator.publish(subjects.beat('proof-job', 'j1'), bytes('x'));
  await coordinator.flush();
  await mallory.flush();
  assert.equal(heard, []);
});

test('nobody asks in the name of another', async (t) => {
  const nats = await startWithVictim(t);
  const mallory = await nats.bus('client', 'mallory');
  const tries = [
    subjects.infer('m', 'e', 'victim'),
    subjects.proofRequest('quality', 'victim', 'j2'),
    subjects.receipt('m', 'mallory', 'r2'),
    subjects.progress('victim', 'j1'),
    subjects.proof('mallory', 'j2'),
  ];
  for (const subject of tries)
    assert.is(await codeOf(mallory.request(subject, bytes('x'))), 'nats-credentials', subject);
});

test('who is entitled reads the records: an auditor all, a client its own receipt', async (t) => {
  const nats = await startWithVictim(t);
  const auditor = await nats.bus('auditor', 'a1');
  assert.is(text((await auditor.getLast(STREAMS.audits.name, OTHERS.audits))!.data), 'secret');
  const victim = await nats.bus('client', 'victim');
  for (const key of ['receipts', 'proofs', 'testSets'] as const)
    assert.is(text((await victim.getLast(STREAMS[key].name, OTHERS[key]))!.data), 'secret');
  for (const key of ['receipts', 'proofs', 'testSets', 'keys'] as const)
    assert.is(await codeOf(auditor.getLast(STREAMS[key].name, OTHERS[key])), 'nats-credentials', key);
});

test.run();
