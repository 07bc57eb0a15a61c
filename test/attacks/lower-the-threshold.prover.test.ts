/**
 * Attacker: whoever operates the NATS server. He reads, changes and drops what passes, and in the second half he has the
 * authority's keys as well, so that he can sign as any client. He wants a client to believe that a model reaches a threshold that it does not reach: he lowers the threshold in the
 * request on its way, and brings back the genuine, signed, verifying proof of the lower one.
 */
import { encodeTestSet } from '../../circuits/model/test-set.ts';
import { base64url, canonicalJson } from '../../protocols/encoding.ts';
import type { VouchError } from '../../protocols/errors.ts';
import { jobOf, type QualityStatement } from '../../protocols/proof.ts';
import { signedRequest } from '../../protocols/requester.ts';
import { requestProof } from '../../runtime/client/proof-request.ts';
import { folder } from '../../runtime/home/home.ts';
import { authority, credentials } from '../../runtime/installation/credentials.ts';
import { putBlob } from '../../runtime/nats/blobs.ts';
import { connect } from '../../runtime/nats/connect.ts';
import { signWith } from '../../runtime/nats/creds-file.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { type ProofFixture, smallSubject, startProving } from '../runtime/roles/proof-fixture.ts';
import { type Meddle, startProxy } from './nats-proxy.ts';

const test = suite('attack: lower the threshold', { timeoutMs: 120_000 });

/** The client's statement, asked through the proxy; returns the error that it ends with. */
async function askThrough(
  t: TestContext,
  { server, statement }: ProofFixture,
  changes: Partial<QualityStatement>,
  meddle: Meddle,
): Promise<VouchError> {
  const url = await startProxy(t, server.url, meddle);
  const client = await connect({ url, creds: await credentials('client', 'victim', folder('creds')) });
  t.defer(() => client.close());
  try {
    await requestProof(client, 'client.victim', { ...statement, ...changes }, { signal: t.signal });
  } catch (error) {
    return error as VouchError;
  }
  throw new Error('the client believed it');
}

test('a request that was changed in flight is refused; one changed consistently brings nothing back that is believed', async (t) => {
  const fixture = await startProving(t);
  await Promise.all([fixture.process('coordinator', 'c1'), fixture.process('worker', 'w1')]);
  const lower = (text: string) => text.replace('"threshold":8', '"threshold":7');
  const { testSet, zkey, powers } = await smallSubject();
  const victim = await fixture.bus('client', 'victim');
  await putBlob(victim, 'testSets', encodeTestSet(testSet));
  for (const bytes of [zkey, powers]) await putBlob(victim, 'keys', bytes);
  const stolen = await (await authority()).mintUser('client', 'victim');

  // The model classifies 7 of 8 rows correctly; all 8 are asked for.
  const plain = await askThrough(t, fixture, { threshold: 8 }, (message) => {
    if (message.up && message.subject.startsWith('vouch.v1.work.proof.'))
      message.payload = Buffer.from(lower(message.payload.toString()));
  });
  assert.is(plain.code, 'signature-rejected', plain.message);
  assert.match(plain.message, /victim has not signed this very request/);

  // The request becomes another, right in itself, and every answer to it is brought to the client as his.
  let [asked, other] = ['', ''];
  let proved = '';
  const clever = await askThrough(t, fixture, { threshold: 8 }, (message) => {
    if (message.up && message.subject.startsWith('vouch.v1.work.proof.')) {
      const envelope = JSON.parse(lower(message.payload.toString()));
      asked = envelope.body.job;
      other = jobOf(envelope.body.nonce, envelope.body.statement);
      const { requester: _, ...body } = { ...envelope.body, job: other };
      const { jwt, signature } = signWith(stolen, signedRequest(body));
      envelope.body = { ...body, requester: { jwt, signature: base64url(signature) } };
      envelope.subject = envelope.subject.replace(asked, other);
      message.payload = Buffer.from(JSON.stringify(envelope));
      message.headers = message.headers.replace(asked, other);
      message.subject = message.subject.replace(asked, other);
    } else if (message.up && asked !== '' && message.subject.includes(asked)) {
      message.subject = message.subject.replace(asked, other);
    } else if (!message.up && other !== '' && message.headers.includes(other)) {
      message.headers = message.headers.replaceAll(other, asked);
      const envelope = JSON.parse(message.payload.toString());
      envelope.subject = envelope.subject.replace(other, asked);
      proved = canonicalJson(envelope.body.record.statement);
      message.payload = Buffer.from(JSON.stringify(envelope));
    }
  });
  assert.match(proved, /"threshold":7/, 'the proof of the lower one was made, and brought');
  assert.is(clever.code, 'proof-rejected', clever.message);
  assert.match(clever.message, /answers another question: .*threshold 7 instead of 8.*job /);
});

test.run();
