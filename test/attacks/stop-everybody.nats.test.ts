/**
 * Attacker: a client with ordinary credentials. He asks for what costs him nothing and others much: thousands of rows under
 * a key that does not exist, requests of megabytes, more requests and uploads than the disk holds. He wants that nobody
 * else gets a proof, a receipt or an audit record any more.
 */
import { existsSync } from 'node:fs';
import { commit } from '../../circuits/model/commit.ts';
import { maxRows } from '../../circuits/model/size.ts';
import { utf8 } from '../../protocols/encoding.ts';
import type { VouchError } from '../../protocols/errors.ts';
import type { QualityStatement } from '../../protocols/proof.ts';
import { BUCKETS, STREAMS } from '../../protocols/streams.ts';
import { filters, subjects } from '../../protocols/subjects.ts';
import { DEFAULT_TERMS, nextThreshold } from '../../protocols/terms.ts';
import { questionOf, requestProof } from '../../runtime/client/proof-request.ts';
import { folder } from '../../runtime/home/home.ts';
import { publishModel } from '../../runtime/models/publish.ts';
import { putBlob } from '../../runtime/nats/blobs.ts';
import type { Bus } from '../../runtime/nats/bus.ts';
import { coordinatorRole } from '../../runtime/roles/coordinator.ts';
import { untilUp } from '../../runtime/roles/host.ts';
import { smallModel } from '../circuits/model-fixture.ts';
import { assert, suite } from '../harness.ts';
import { requesters, startBroker, startHome, until } from '../runtime/home/home-fixture.ts';
import { refusal } from './nats-proxy.ts';

const test = suite('attack: stop everybody', { timeoutMs: 120_000 });

const ZEROS = '0'.repeat(64);

test('thousands of rows, and a key that does not exist: refused before anything is emitted, compiled or released', async (t) => {
  const { observer, policies, role, bus } = await startHome(t);
  const model = smallModel({ units: [30, 16, 2] });
  await publishModel(observer, 'provisioner.test', { name: 'm', model, policy: policies.release });
  await role('broker', 'b1', startBroker);
  const options = { requesters: await requesters(), workerPolicy: policies.worker };
  const coordinator = await role('coordinator', 'c1', coordinatorRole(options));
  await untilUp(coordinator, 30_000);
  const client = await bus('client', 'mallory');
  const most = maxRows(model.architecture);
  const garbage = (await putBlob(client, 'keys', utf8('no key, but something'))).digest;
  const statement: QualityStatement = {
    statement: 'quality',
    model: 'm',
    commitment: commit(model).toString(),
    threshold: 0,
    rows: most,
    testSet: ZEROS,
    circuit: ZEROS,
    key: ZEROS,
    powers: ZEROS,
  };
  const ask = (changes: Partial<QualityStatement>) => {
    const { rows } = { ...statement, ...changes };
    const threshold = nextThreshold(DEFAULT_TERMS, rows, 0.8 * rows);
    const asked = { ...statement, ...changes, threshold };
    return refusal(requestProof(client, 'client.mallory', asked, { signal: t.signal }));
  };
  assert.ok(most > 1000 && most < 65_536, String(most));
  assert.match(await ask({}), /^bad-file: chunk 0{64}: mallory has not stored/);
  assert.match(await ask({ key: garbage }), /^bad-file: .*zkey/);
  assert.match(await ask({ rows: 65_536 }), new RegExp(`^too-large: rows: expected at most ${most} `));
  assert.not.ok(existsSync(folder('cache', 'circuits')), 'nothing was compiled');
  const audits = await observer.subjectsOf(STREAMS.audits.name, filters.audits);
  assert.is(audits.size, 0, 'no model key was asked for');
  await until(async () => (await observer.subjectsOf(STREAMS.proofRequests.name, '>')).size === 0);
});

test('a request of megabytes, and more requests than there is room for: refused by name, what was taken stays', async (t) => {
  const { observer, bus } = await startHome(t);
  const client = await bus('client', 'mallory');
  const place = () => subjects.proofRequest('quality', client.id, questionOf(EXAMPLE).job);
  const send = (bytes: number) => refusal(client.append(place(), new Uint8Array(bytes)));
  assert.match(await send(7 * 2 ** 20), /^too-large: .*at most 2097152 /);
  assert.match(await send(2 ** 20), /^too-large: .*maximum/);
  assert.match(await send(64 * 1024 + 1), /^too-large/);
  for (let i = 0; i < STREAMS.proofRequests.maxMessages; i++) client.publish(place(), utf8('{}'));
  await client.flush();
  const count = async () => (await infoOf(observer, STREAMS.proofRequests.name)).messages;
  await until(async () => (await count()) === STREAMS.proofRequests.maxMessages);
  assert.match(await send(10), /^storage-full: .*no room for it; what it has acknowledged before is kept/);
  assert.is(await count(), STREAMS.proofRequests.maxMessages);
});

test('uploads until the disk is full leave receipts and audit records their room, and these keep what they have', async (t) => {
  const { observer, bus } = await startHome(t);
  const client = await bus('client', 'mallory');
  const runner = await bus('runner', 'r1');
  const broker = await bus('broker', 'b1');
  for (const name of [STREAMS.keys.name, STREAMS.receipts.name]) {
    const { config } = await observer.api<{ config: object }>(`STREAM.INFO.${name}`);
    await observer.api(`STREAM.UPDATE.${name}`, { ...config, max_bytes: 64 * 1024 });
  }
  let full = '';
  for (let i = 0; full === ''; i++) {
    const chunk = new Uint8Array(16 * 1024).fill(i);
    await putBlob(client, 'keys', chunk).catch((error: VouchError) => {
      full = `${error.code}: ${error.message}`;
    });
  }
  assert.match(full, /^storage-full: .*no room for it/);

  const receipt = (i: number) =>
    runner.append(subjects.receipt('m', 'mallory', `r${i}`), new Uint8Array(8 * 1024).fill(i));
  let stored = 0;
  await until(async () => {
    const got = await refusal(receipt(stored));
    if (got.startsWith('believed')) {
      stored += 1;
      return false;
    }
    assert.match(got, /^storage-full: .*what it has acknowledged before is kept/);
    return true;
  });
  assert.ok(stored > 1);
  for (let i = 0; i < stored; i++) {
    const kept = await client.getLast(STREAMS.receipts.name, subjects.receipt('m', 'mallory', `r${i}`));
    assert.is(kept?.data[0], i);
  }
  await broker.append(subjects.audit('b1'), utf8('a record'));
  assert.ok(await broker.getLast(STREAMS.audits.name, subjects.audit('b1')));
});

test('no stream is without a size, a greatest message, and what it does when full', async (t) => {
  const { observer } = await startHome(t);
  const names = [
    ...Object.values(STREAMS).map(({ name }) => name),
    ...Object.values(BUCKETS).map((bucket) => `KV_${bucket}`),
  ];
  for (const name of names) {
    const { config } = await observer.api<{ config: Record<string, number> }>(`STREAM.INFO.${name}`);
    assert.ok(config.max_bytes! > 0 && config.max_msg_size! > 0, name);
  }
});

const EXAMPLE: QualityStatement = {
  statement: 'quality',
  model: 'm',
  commitment: '1',
  threshold: 0,
  rows: 1,
  testSet: ZEROS,
  circuit: ZEROS,
  key: ZEROS,
  powers: ZEROS,
};

const infoOf = async (bus: Bus, stream: string) =>
  (await bus.api<{ state: { messages: number } }>(`STREAM.INFO.${stream}`)).state;

test.run();
