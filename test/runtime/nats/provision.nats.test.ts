import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { BUCKETS, STREAMS } from '../../../protocols/streams.ts';
import type { Bus } from '../../../runtime/nats/bus.ts';
import { connect } from '../../../runtime/nats/connect.ts';
import { provision, provisionMemoryStreams } from '../../../runtime/nats/provision.ts';
import { findNatsServer } from '../../../runtime/nats/server-program.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { BIN_DIR, bytes, codeOf, startFixture, temporaryFolder, until } from './nats-fixture.ts';

const test = suite('provisioning', { timeoutMs: 180_000 });

test('makes everything once and changes nothing the second time', async (t) => {
  const nats = await startFixture(t, { provisioned: false });
  const bus = await nats.bus('provisioner', 'p');
  const { created } = await provision(bus);
  assert.is(created.length, Object.keys(STREAMS).length + Object.keys(BUCKETS).length + 1);
  assert.equal((await provision(bus)).created, []);
  assert.equal((await provisionMemoryStreams(bus)).created, []);
});

test('names what differs and leaves it alone', async (t) => {
  const nats = await startFixture(t, { provisioned: false });
  const bus = await nats.bus('provisioner', 'p');
  const proofs = { name: STREAMS.proofs.name, subjects: STREAMS.proofs.subjects, storage: 'memory' };
  await bus.api(`STREAM.CREATE.${proofs.name}`, proofs);
  try {
    await provision(bus);
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code: string }).code, 'conflict');
    assert.match((error as Error).message, /VOUCH_PROOFS.*storage is "memory", expected "file"/);
    assert.match((error as Error).message, /deny_delete is .*expected true/);
  }
  const info = await bus.api<{ config: { storage: string } }>(`STREAM.INFO.${proofs.name}`);
  assert.is(info.config.storage, 'memory');
});

test('a stream of an older version gets the limits that it lacks, and loses nothing', async (t) => {
  const nats = await startFixture(t, { provisioned: false });
  const bus = await nats.bus('provisioner', 'p');
  const { name, subjects } = STREAMS.proofRequests;
  const older = { name, subjects, storage: 'file', retention: 'workqueue', discard: 'new' };
  await bus.api(`STREAM.CREATE.${name}`, { ...older, max_bytes: -1 });
  const client = await nats.bus('client', 'c');
  await client.append('vouch.v1.work.proof.quality.c.a', new Uint8Array(1024));
  await provision(bus);
  const info = () =>
    bus.api<{ config: Record<string, unknown>; state: { messages: number } }>(`STREAM.INFO.${name}`);
  const { config, state } = await info();
  assert.is(config.max_bytes, STREAMS.proofRequests.maxBytes);
  assert.is(config.max_msgs, STREAMS.proofRequests.maxMessages);
  assert.is(config.max_msg_size, STREAMS.proofRequests.maxMessageBytes);
  assert.is(state.messages, 1);
  assert.equal((await provision(bus)).created, []);

  // What would not fit is left alone and named.
  await bus.api(`STREAM.UPDATE.${name}`, { ...config, max_msgs: -1 });
  for (let i = 0; i <= STREAMS.proofRequests.maxMessages; i++)
    client.publish(`vouch.v1.work.proof.quality.c.b${i}`, bytes('{}'));
  await until(async () => (await info()).state.messages > STREAMS.proofRequests.maxMessages);
  await conflictIn(provision(bus), /VOUCH_PROOF_REQUESTS.*max_msgs is -1, expected 1000/);
  assert.ok((await info()).state.messages > STREAMS.proofRequests.maxMessages);
});

async function conflictIn(work: Promise<unknown>, words: RegExp): Promise<void> {
  try {
    await work;
  } catch (error) {
    assert.is((error as { code: string }).code, 'conflict');
    assert.match((error as Error).message, words);
    return;
  }
  assert.unreachable('expected a conflict');
}

test('proofs and receipts can be neither deleted nor purged, not even by the provisioner', async (t) => {
  const nats = await startFixture(t);
  const coordinator = await nats.bus('coordinator', 'c');
  const bus = await nats.bus('provisioner', 'p');
  await coordinator.append('vouch.v1.proof.me.j', bytes('proof'));
  await assertRefused(bus.api(`STREAM.MSG.DELETE.${STREAMS.proofs.name}`, { seq: 1 }));
  await assertRefused(bus.api(`STREAM.PURGE.${STREAMS.proofs.name}`, {}));
  assert.is((await bus.getFrom(STREAMS.proofs.name, 1))?.sequence, 1);
});

async function assertRefused(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    assert.match((error as Error).message, /not permitted|deny|denied/i);
    return;
  }
  assert.unreachable('expected a refusal');
}

/** A server that somebody else runs: no accounts of ours, 1 MiB messages. */
async function stockServer(t: TestContext, args: string[]): Promise<string> {
  const { path } = await findNatsServer({ binDir: BIN_DIR });
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as { port: number };
  probe.close();
  const child = spawn(path, ['-a', '127.0.0.1', '-p', String(port), ...args], { stdio: 'ignore' });
  t.defer(() => void child.kill('SIGKILL'));
  return `nats://127.0.0.1:${port}`;
}

/** Connects once the server is up. */
async function connectPatiently(url: string): Promise<Bus> {
  let bus: Bus | undefined;
  await until(async () => {
    bus = await connect({ url }).catch((error) => {
      if (error.code === 'nats-unreachable') return undefined;
      throw error;
    });
    return bus;
  });
  return bus!;
}

test('works on a stock server without credentials', async (t) => {
  const folder = await temporaryFolder(t);
  const bus = await connectPatiently(await stockServer(t, ['-js', '-sd', join(folder, 'data')]));
  t.defer(() => bus.close());
  assert.is(bus.server.maxPayload, 1024 * 1024);
  await provision(bus);
  assert.equal((await provision(bus)).created, []);
  await bus.append('vouch.v1.key.me.a', new Uint8Array(512 * 1024));
  assert.is((await bus.subjectsOf(STREAMS.keys.name, 'vouch.v1.key.me.*')).size, 1);
});

test('a stream takes less where the server has less to reserve', async (t) => {
  const folder = await temporaryFolder(t);
  const conf = join(folder, 'small.conf');
  await writeFile(
    conf,
    `jetstream { store_dir: "${folder}/data", max_file_store: 8GB, max_memory_store: 1GB }\n`,
  );
  const bus = await connectPatiently(await stockServer(t, ['-c', conf]));
  t.defer(() => bus.close());
  await provision(bus);
  const info = await bus.api<{ config: { max_bytes: number } }>(`STREAM.INFO.${STREAMS.keys.name}`);
  assert.ok(info.config.max_bytes < 8 * 1024 ** 3 && info.config.max_bytes >= 1024 ** 3);
  assert.equal((await provision(bus)).created, []);
});

test('names a server without JetStream', async (t) => {
  const bus = await connectPatiently(await stockServer(t, []));
  t.defer(() => bus.close());
  assert.is(await codeOf(provision(bus)), 'nats-feature');
});

test.run();
