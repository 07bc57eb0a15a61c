/** The key-broker on a real server: what it releases and refuses, and that each is on record before anything leaves. */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { Policy } from '../../../protocols/attestation/policy.ts';
import { readRecord, signRecord } from '../../../protocols/audit.ts';
import { generateSigner } from '../../../protocols/cose.ts';
import { ReleaseChallenge, ReleaseNonce, ReleaseReply, ReleaseRequest } from '../../../protocols/enclave.ts';
import { hex } from '../../../protocols/encoding.ts';
import { messageOf, VouchError } from '../../../protocols/errors.ts';
import { STREAMS } from '../../../protocols/streams.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { createIdentity } from '../../../runtime/attest/identity.ts';
import { type AuditCommand, auditCommand } from '../../../runtime/commands/audit.ts';
import { folder } from '../../../runtime/home/home.ts';
import { readBrokerEntry } from '../../../runtime/models/broker-store.ts';
import { obtainModel } from '../../../runtime/models/obtain.ts';
import { publishModel } from '../../../runtime/models/publish.ts';
import { provision } from '../../../runtime/nats/provision.ts';
import { ask } from '../../../runtime/nats/service.ts';
import { auditSigner, copyFile, decodeChain, encodeChain } from '../../../runtime/roles/audit-log.ts';
import { smallModel } from '../../circuits/model-fixture.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { startBroker, startHome } from '../home/home-fixture.ts';
import { codeOf, temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('key-broker', { timeoutMs: 120_000 });

const STREAM = STREAMS.audits.name;
let brokers = 1;

/** A published model, a broker of its own chain, and a runner that asks it. */
async function start(t: TestContext) {
  const home = await startHome(t);
  const id = `b-${brokers++}`;
  const bus = await home.bus('runner', 'r1');
  const identity = await createIdentity('runner', 'r1');
  const model = smallModel({ units: [3, 4, 2] });
  const publish = (name: string, policy: Policy = home.policies.release) =>
    publishModel(home.observer, 'provisioner.test', { name, model, policy });
  const name = `model-${id}`;
  const manifest = await publish(name);
  const broker = await home.role('broker', id, startBroker);
  const obtain = (which = name, who = identity) => obtainModel(bus, 'runner.r1', who, which);
  const signer = await auditSigner(id);
  const records = async () => {
    const found = await stored();
    return found.map((record) => readRecord(signer.publicKey, record));
  };
  const stored = async (): Promise<Uint8Array[]> => {
    const found: Uint8Array[] = [];
    for (let next = 1; ; ) {
      const message = await home.observer.getFrom(STREAM, next, subjects.audit(id));
      if (!message) return found;
      found.push(message.data);
      next = message.sequence + 1;
    }
  };
  const audit = async (options: Partial<AuditCommand> = {}, file?: string) => {
    const lines: string[] = [];
    const holds = await auditCommand(
      file,
      { nats: home.server.url, creds: folder('creds'), broker: id, json: false, ...options },
      (line) => void lines.push(String(line)),
    );
    return { holds, text: lines.join('\n') };
  };
  return { home, id, bus, identity, name, manifest, broker, publish, obtain, records, stored, audit };
}

test('every release and every refusal is on record, and the key only after that', async (t) => {
  const { home, id, bus, identity, name, manifest, publish, obtain, records, audit } = await start(t);
  assert.is((await obtain()).manifest.commitment, manifest.commitment);

  // Evidence of a role that the policy does not name.
  const worker = await createIdentity('worker', 'w1');
  assert.is(await codeOf(obtain(name, worker)), 'policy-rejected');
  // A policy that nobody satisfies.
  const strict = `${name}-strict`;
  await publish(strict, { ...home.policies.release, maxAgeSeconds: 300, simulated: false } as Policy);
  const refusal = await obtain(strict).catch((error) => error);
  assert.instance(refusal, VouchError);
  // A nonce that was used, and one that was never given out.
  const place = { subject: subjects.releaseFrom(name, id), source: 'runner.r1' };
  const { nonce } = (await ask(bus, [ReleaseChallenge, ReleaseNonce], { ...place, body: {} })).body;
  const document = await identity.evidence(nonce, manifest.commitment);
  const request = () => ask(bus, [ReleaseRequest, ReleaseReply], { ...place, body: { nonce, document } });
  await request();
  assert.is(await codeOf(request()), 'replayed');
  // No model, no nonce: that is not even a request.
  const unknown = subjects.releaseFrom('unheard-of', id);
  assert.is(
    await codeOf(ask(bus, [ReleaseChallenge, ReleaseNonce], { ...place, subject: unknown, body: {} })),
    'unknown-model',
  );

  const found = await records();
  assert.equal(
    found.map(({ decision, model, code, check, holder, hardware }) => [
      decision,
      model,
      code,
      check,
      holder,
      hardware,
    ]),
    [
      ['released', name, null, null, 'r1', false],
      ['refused', name, 'policy-rejected', found[1]!.check, 'w1', false],
      ['refused', strict, (refusal as VouchError).code, found[2]!.check, 'r1', false],
      ['released', name, null, null, 'r1', false],
      ['refused', name, 'replayed', null, 'r1', false],
    ],
  );
  assert.match(String(found[1]!.check), /^policy\./);
  assert.is(found[0]!.policy, manifest.policy);
  const { holds, text } = await audit();
  assert.ok(holds, text);
  assert.match(text, '5 records, every link holds');
  assert.match(text, 'released');
  assert.match(text, "this installation's");
  assert.match(text, 'r1 SIMULATED');
  // The copy is the stream, and neither holds the key.
  const copy = readFileSync(copyFile(id), 'utf8');
  assert.is(copy.trim().split('\n').length, 5);
  const { secret } = readBrokerEntry(name, id);
  const all = decodeChain(copy, 'copy')
    .map((record) => hex(record))
    .join('');
  assert.not.ok(all.includes(secret) || all.includes(hex(new TextEncoder().encode(secret))));
});

test('a full stream refuses the release, and what could not be recorded is counted', async (t) => {
  const { home, name, obtain, records, stored, audit } = await start(t);
  await obtain();
  const info = await home.observer.api<{ config: object; state: { bytes: number } }>(`STREAM.INFO.${STREAM}`);
  const limit = (bytes: number) =>
    home.observer.api(`STREAM.UPDATE.${STREAM}`, { ...info.config, max_bytes: bytes });
  await limit(info.state.bytes + 100);
  const error = (await obtain().catch((thrown) => thrown)) as VouchError;
  assert.is(error.code, 'storage-full', messageOf(error));
  assert.match(messageOf(error), `key of model ${name} refused`);
  assert.is(await codeOf(obtain()), 'storage-full');
  assert.is((await stored()).length, 1);
  await limit(-1);
  await obtain();
  const found = await records();
  assert.equal(
    found.map(({ decision, unrecorded }) => [decision, unrecorded]),
    [
      ['released', 0],
      ['released', 2],
    ],
  );
  assert.match((await audit()).text, 'after 2 unrecorded refusals');
});

test('a stream that is gone refuses; the copy fills a new one, and the chain goes on, under a running broker and a new one', async (t) => {
  const { home, id, obtain, records, broker, audit } = await start(t);
  await obtain();
  await obtain();
  await home.observer.api(`STREAM.DELETE.${STREAM}`);
  assert.is(await codeOf(obtain()), 'not-ready');
  await provision(home.observer);
  await obtain();
  const sequences = async () => (await records()).map(({ sequence }) => sequence);
  assert.equal(await sequences(), [1, 2, 3]);
  await broker.stop();
  await home.observer.api(`STREAM.DELETE.${STREAM}`);
  await provision(home.observer);
  await home.role('broker', id, startBroker);
  await obtain();
  assert.equal(await sequences(), [1, 2, 3, 4]);
  assert.ok((await audit()).holds);
});

test('a crash between stream and copy is made good; what contradicts is not', async (t) => {
  const { home, id, obtain, stored, records, broker } = await start(t);
  await obtain();
  await obtain();
  await broker.stop();
  const file = copyFile(id);
  const whole = readFileSync(file, 'utf8');
  // The acknowledgement came, the copy did not.
  writeFileSync(file, `${whole.split('\n')[0]}\n`);
  const again = await home.role('broker', id, startBroker);
  assert.is(readFileSync(file, 'utf8'), whole);
  await obtain();
  assert.equal(
    (await records()).map(({ sequence }) => sequence),
    [1, 2, 3],
  );
  await again.stop();

  const refuses = async (text: string, words: string) => {
    writeFileSync(file, text);
    const from = home.log.length;
    const failed = await home.role('broker', id, startBroker);
    const state = () => (failed.actor.getSnapshot() as { value?: unknown }).value;
    assert.is(state(), 'failed');
    assert.match(home.log.slice(from).join('\n'), words);
    assert.is(await codeOf(obtain()), 'not-ready');
    await failed.stop();
  };
  const [first, second, third] = readFileSync(file, 'utf8').trim().split('\n') as [string, string, string];
  await refuses(`${first}\n${third}\n`, 'is not that of');
  await refuses(`${second}\n${first}\n${third}\n${third}\n`, 'is not that of');
  await refuses('no base64!\n', 'line 1');
  const before = await stored();
  writeFileSync(file, encodeChain(before));
  const last = await home.role('broker', id, startBroker);
  await obtain();
  await last.stop();
});

test('two brokers of one id: the chain never forks', async (t) => {
  const { home, id, obtain, audit } = await start(t);
  await obtain();
  const twin = await home.role('broker', id, startBroker);
  // Both answer, and each finds that the other has written: better no key than two histories.
  const outcomes: string[] = [];
  for (let i = 0; i < 6; i++)
    outcomes.push(
      await obtain().then(
        () => 'released',
        (error: VouchError) => error.code,
      ),
    );
  for (const outcome of outcomes)
    assert.ok(['released', 'replayed', 'conflict'].includes(outcome), outcomes.join(' '));
  const { holds, text } = await audit();
  assert.ok(holds, text);
  await twin.stop();
});

test('vouch audit: offline, tampered, cut off, under a key that nobody knows', async (t) => {
  const { id, obtain, audit, stored } = await start(t);
  for (let i = 0; i < 3; i++) await obtain();
  const place = await temporaryFolder(t);
  const file = `${place}/${id}.log`;
  const online = await audit({ out: file });
  assert.ok(online.holds);
  const head = /head ([0-9a-f]{64})/.exec(online.text)![1]!;
  assert.ok(existsSync(file));
  const offline = await audit({ nats: 'nats://127.0.0.1:1', head }, file);
  assert.ok(offline.holds, offline.text);
  assert.is((await audit({}, copyFile(id))).holds, true);

  const records = await stored();
  const judge = async (list: readonly Uint8Array[], options: Partial<AuditCommand> = {}) => {
    writeFileSync(file, encodeChain(list));
    return audit(options, file);
  };
  const changed = new Uint8Array(records[1]!);
  changed[changed.length - 1]! ^= 1;
  const tampered = await judge([records[0]!, changed, records[2]!]);
  assert.not.ok(tampered.holds);
  assert.match(tampered.text, 'BROKEN at record 2 of 3');
  assert.match(
    (await judge([records[0]!, records[2]!])).text,
    'BROKEN at record 2 of 2: sequence: expected 2, got 3',
  );
  const cut = await judge(records.slice(0, 2), { head });
  assert.not.ok(cut.holds);
  assert.match(cut.text, 'newer ones were cut off');
  assert.not.ok((await judge([])).holds);
  assert.not.ok((await judge(records, { broker: `other-${id}` })).holds);
  // From elsewhere: the key that the record names proves nothing by itself.
  const elsewhere = await generateSigner();
  const record = await signRecord(elsewhere, {
    broker: 'elsewhere',
    sequence: 1,
    previous: null,
    time: new Date(),
    unrecorded: 0,
    decision: readRecord((await auditSigner(id)).publicKey, records[0]!),
  });
  writeFileSync(file, encodeChain([record]));
  const unproven = await offlineAudit(file);
  assert.equal([unproven.holds, unproven.log.origin], [false, 'unproven']);
  const key = hex(elsewhere.publicKey);
  assert.is(unproven.log.key, key);
  assert.ok((await offlineAudit(file, { key })).holds);
  writeFileSync(file, encodeChain(records));
  const ours = await offlineAudit(file);
  assert.equal([ours.holds, ours.log.origin, ours.log.head], [true, "this installation's", head]);
  appendFileSync(file, 'rubbish');
  assert.is(await codeOf(auditCommand(file, { json: true }, () => {})), 'bad-file');
});

/** As on a host without a server. */
async function offlineAudit(file: string, options: Partial<AuditCommand> = {}) {
  const printed: unknown[] = [];
  const holds = await auditCommand(file, { json: true, ...options }, (value) => void printed.push(value));
  const [[log]] = printed as [[{ origin: string; key: string; head: string }]];
  return { holds, log };
}

test.run();
