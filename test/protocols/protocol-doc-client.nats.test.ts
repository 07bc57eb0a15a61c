/**
 * A client that knows only docs/PROTOCOL.md against a real runner over a real nats-server: evidence, a sealed
 * request, the answer, its receipt, and what is refused.
 */
import { randomBytes } from 'node:crypto';
import { commit } from '../../circuits/model/commit.ts';
import { evaluate } from '../../circuits/model/quantise.ts';
import { folder } from '../../runtime/home/home.ts';
import { credentials } from '../../runtime/installation/credentials.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { importsOf } from '../repo/sources.ts';
import { ENCLAVE, MODEL, serving } from '../runtime/roles/serving-fixture.ts';
import * as client from './independent-client.ts';

const test = suite('protocol document: a client from the document alone', { timeoutMs: 180_000 });

test('it imports nothing of this project', () => {
  const imported = importsOf('test/protocols/independent-client.ts').map(({ specifier }) => specifier);
  assert.equal(imported.sort(), ['@hpke/core', 'cborg', 'nats', 'node:crypto']);
});

/** The model's runner, and the client in it with its policy as it reads it: from a file. */
async function served(t: TestContext) {
  const { url, model, policies, vendor } = await serving(t);
  const { nc, source } = await client.connectAs(url, await credentials('client', 'other', folder('creds')));
  t.defer(() => nc.close());
  const policy = JSON.parse(JSON.stringify(policies.inference)) as client.Policy;
  return { model, policy, nc, source, vendor };
}

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'answered',
    (error: unknown) => (error instanceof client.Refused ? error.code : String(error)),
  );

test('it asks, opens, verifies, and is refused what it should be', async (t) => {
  const { model, policy, nc, source, vendor } = await served(t);
  await client.findService(nc, source, MODEL, policy, '00'.repeat(32)).then(
    () => assert.unreachable('another vendor'),
    (error: unknown) => assert.match(String(error), /refused: the vendor/),
  );
  const service = await client.findService(nc, source, MODEL, policy, vendor);
  assert.is(service.commitment, commit(model).toString());
  assert.is(service.document.enclave, ENCLAVE);

  const rows = [
    ['0', '12', '-3', '5'],
    ['7', '-1', '4', '11'],
  ];
  let last: client.Answer | undefined;
  for (const row of rows) {
    last = await client.infer(nc, source, service, policy, row);
    const expected = evaluate(model, row.map(Number));
    assert.is(last.scores, undefined);
    assert.is(last.decision, expected.decision);
    assert.is(last.label, model.architecture.classes[expected.decision]);
    const place = `vouch.v1.receipt.${MODEL}.${source.split('.')[1]}.${last.receiptId}`;
    const stored = await client.directGet(nc, 'VOUCH_RECEIPTS', place);
    assert.is(Buffer.compare(stored, last.bundle), 0, 'the stored receipt is the one in the answer');
  }
  const { bundle, sealed } = last!;

  // Receipts of requests that are under way together, under nonces of one group.
  const group = randomBytes(16);
  const nonces = Array.from({ length: 12 }, () => Buffer.concat([group, randomBytes(32)]).toString('hex'));
  const together = await Promise.all(
    nonces.map((nonce, i) => client.infer(nc, source, service, policy, rows[0]!, nonce, 1 + (i % 2))),
  );
  const messages = await client.storedOfGroup(nc, source, service, group);
  const inThem = messages.flat().map((stored) => stored.toString('hex'));
  assert.equal(inThem.sort(), together.map((answer) => answer.bundle.toString('hex')).sort());
  const again = client.infer(nc, source, service, policy, rows[0]!, nonces[0]);
  assert.is(await codeOf(again), 'replayed');

  // The client refuses.
  const other = { ...policy, measurements: ['00'.repeat(48)] };
  assert.throws(() => client.verifyReceipt(bundle, other, service), /measurement/);
  assert.throws(() => client.verifyReceipt(bundle, { ...policy, simulated: false }, service), /SIMULATED/);
  const changed = Buffer.from(bundle);
  changed[changed.length >> 1]! ^= 1;
  assert.throws(() => client.verifyReceipt(changed, policy, service));

  // The runner refuses, each with the code that the document names.
  const send = (bytes: Uint8Array, more = {}) => codeOf(client.sendSealed(nc, source, service, bytes, more));
  assert.is(await send(sealed), 'replayed');
  assert.is(await send(randomBytes(200)), 'seal-rejected');
  assert.is(await send(Buffer.alloc(256 * 1024 + 1)), 'too-large');
  assert.is(await send(sealed, { version: 2 }), 'bad-version');
  assert.is(await send(sealed, { subject: `vouch.v1.infer.${MODEL}.enclave-2` }), 'bad-message');
  assert.is(await send(sealed, { type: 'proof.request' }), 'bad-message');
  assert.is(await send(sealed, { source: 'nobody' }), 'bad-message');
  assert.is(await codeOf(client.infer(nc, source, service, policy, ['1', '2', '3'])), 'bad-input');
  assert.is(await codeOf(client.infer(nc, source, service, policy, ['1', '2', '3', 'x'])), 'bad-input');
  const nonce = randomBytes(32).toString('hex');
  await client.infer(nc, source, service, policy, rows[0]!, nonce);
  assert.is(await codeOf(client.infer(nc, source, service, policy, rows[0]!, nonce)), 'replayed');
  const stranger = { ...service, evidenceDigest: '00'.repeat(32) };
  assert.is(await codeOf(client.infer(nc, source, stranger, policy, rows[0]!)), 'evidence-rejected');

  // Unknown fields are ignored; the order of fields and white space do not matter.
  const subject = `vouch.v1.evidence.${MODEL}.${source.split('.')[1]}`;
  const question = client.envelope('evidence.request', subject, source, {
    nonce: randomBytes(16).toString('hex'),
    colour: 'blue',
  });
  const turned = Object.fromEntries(Object.entries({ ...question, weather: ['fine'] }).reverse());
  const reply = await nc.request(subject, JSON.stringify(turned, null, 4), { timeout: 10_000 });
  assert.is(JSON.parse(Buffer.from(reply.data).toString()).type, 'evidence.reply');
  const short = client.envelope('evidence.request', subject, source, { nonce: '00' });
  assert.is(await codeOf(client.ask(nc, short, 'evidence.reply')), 'bad-message');
});

test.run();
