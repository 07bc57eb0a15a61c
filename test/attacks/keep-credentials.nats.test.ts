/**
 * Attacker: somebody who has, or has stolen, credentials of an actor or a client, and wants to go on with them after
 * they were revoked, or for ever. He is connected while it happens, tries to connect again with the file he has, and to
 * have it renewed. Beside him an honest actor whose credentials end soon must go on without losing a message.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect as connectNats, credsAuthenticator } from 'nats';
import { STREAMS } from '../../protocols/streams.ts';
import { subjects } from '../../protocols/subjects.ts';
import { revokeCommand } from '../../runtime/commands/revoke.ts';
import { ensureAuthority } from '../../runtime/installation/authority.ts';
import { announceRevocations } from '../../runtime/installation/revocation.ts';
import type { BusState } from '../../runtime/nats/bus.ts';
import { connect } from '../../runtime/nats/connect.ts';
import { identityOf } from '../../runtime/nats/creds-file.ts';
import { provision } from '../../runtime/nats/provision.ts';
import { inboxPrefix } from '../../runtime/nats/rights.ts';
import { startNats } from '../../runtime/nats/server.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { startHome } from '../runtime/home/home-fixture.ts';
import {
  BIN_DIR,
  bytes,
  codeOf,
  startFixture,
  temporaryFolder,
  until,
} from '../runtime/nats/nats-fixture.ts';

const test = suite('attack: keep credentials', { timeoutMs: 120_000 });

/** An installation of its own, because revoking changes its authority. */
async function start(t: TestContext) {
  const stateDir = await temporaryFolder(t);
  const authority = await ensureAuthority(stateDir);
  const server = await startNats({ stateDir, binDir: BIN_DIR, port: 0 });
  t.defer(() => server.stop());
  const enter = async (creds: string) => {
    const bus = await connect({ url: server.url, creds });
    t.defer(() => bus.close());
    return bus;
  };
  await provision(await enter(await authority.mintUser('provisioner', 'p')));
  return { stateDir, authority, server, enter };
}

test('who is revoked is cut off at once, stays out, and nobody else notices', async (t) => {
  const { stateDir, authority, server, enter } = await start(t);
  const stolen = await authority.mintUser('client', 'mallory');
  const elsewhere = await authority.mintUser('client', 'mallory');
  const [mallory, twin] = [await enter(stolen), await enter(elsewhere)];
  const honest = await enter(await authority.mintUser('client', 'honest'));
  const runner = await enter(await authority.mintUser('runner', 'mallory'));
  const states: BusState[] = [];
  honest.onState((state) => void states.push(state));

  const struck = await authority.revoke('mallory', 'client');
  assert.equal(
    struck.map(({ role, id }) => [role, id]),
    [
      ['client', 'mallory'],
      ['client', 'mallory'],
    ],
    'every file that was ever made for it',
  );
  await announceRevocations(server.url, authority);
  await until(() => mallory.state === 'closed' && twin.state === 'closed');
  for (const creds of [stolen, elsewhere]) {
    assert.is(await codeOf(enter(creds)), 'nats-credentials');
    assert.is(await codeOf(authority.renewUser(creds)), 'nats-credentials', 'nor does renewing help');
  }
  // Another process of the installation knows as well.
  assert.is(await codeOf((await ensureAuthority(stateDir)).renewUser(stolen)), 'nats-credentials');

  await honest.append(subjects.key('honest', 'a'.repeat(64)), bytes('still here'));
  assert.ok(await honest.getLast(STREAMS.keys.name, subjects.key('honest', 'a'.repeat(64))));
  assert.equal(states, [], 'nobody else was disconnected');
  await runner.flush();
  assert.is(runner.state, 'connected', 'the same id in another role was not meant');
  // The id itself is not burnt.
  assert.is(
    (await enter(await waitASecond(() => authority.mintUser('client', 'mallory')))).state,
    'connected',
  );
});

/** Revocation counts in seconds: what is issued in the same one is void, too. */
async function waitASecond<T>(work: () => Promise<T>): Promise<T> {
  const second = Math.floor(Date.now() / 1000);
  await until(() => Math.floor(Date.now() / 1000) > second);
  return work();
}

test('revoked while no server runs: out from its next start on', async (t) => {
  const stateDir = await temporaryFolder(t);
  const authority = await ensureAuthority(stateDir);
  const stolen = await authority.mintUser('worker', 'w1');
  await authority.revoke('w1');
  const server = await startNats({ stateDir, binDir: BIN_DIR, port: 0 });
  t.defer(() => server.stop());
  assert.is(await codeOf(connect({ url: server.url, creds: stolen })), 'nats-credentials');
});

test('all credentials end by themselves, and the server ends a connection with them', async (t) => {
  const { authority, enter } = await start(t);
  const day = identityOf(await authority.mintUser('worker', 'w1')).expires!.getTime() - Date.now();
  assert.ok(day > 86_000_000 && day <= 86_400_000, `${day} ms`);
  const bus = await enter(await authority.mintUser('client', 'short', { ttlSeconds: 2 }));
  await until(() => bus.state === 'closed');
});

test('an actor goes on beyond the end of its credentials, and loses nothing', async (t) => {
  const nats = await startFixture(t);
  // Long enough for a busy machine to renew them in time.
  const short = { ttlSeconds: 10 };
  const first = await nats.authority.mintUser('client', 'me', short);
  const renewals: string[] = [];
  const errors: string[] = [];
  const bus = await connect({
    url: nats.server.url,
    creds: first,
    renewed: async () => {
      const next = await nats.authority.renewUser(renewals.at(-1) ?? first, short);
      renewals.push(next);
      return next;
    },
    onError: (error) => void errors.push(error.message),
  });
  t.defer(() => bus.close());
  const progress: string[] = [];
  bus.subscribe(subjects.progress('me', 'j'), ({ data }) => void progress.push(String(data[0])));
  const provisioner = await nats.bus('provisioner', 'p');
  const end = identityOf(first).expires!.getTime();
  let stored = 0;
  // Well beyond the end of the first credentials, one message after the other, none tried twice.
  for (; Date.now() < end + 1_000; stored++)
    await bus.append(subjects.key('me', String(stored).padStart(64, '0')), bytes('x'));
  assert.ok(renewals.length >= 1);
  assert.is(identityOf(renewals[0]!).id, 'me');
  const found = await provisioner.subjectsOf(STREAMS.keys.name, 'vouch.v1.key.me.*');
  assert.is(found.size, stored);
  assert.equal(errors, []);
  // Subscriptions are there as before.
  const coordinator = await nats.bus('coordinator', 'c1');
  await until(() => {
    // Lossy: what is said while the connection is made anew is not heard.
    coordinator.publish(subjects.progress('me', 'j'), Uint8Array.of(7));
    return progress.length > 0;
  });
});

test('vouch revoke: by id, on the server that runs, and again after it was only written down', async (t) => {
  const home = await startHome(t);
  const mallory = await home.bus('client', 'mallory');
  const printed: string[] = [];
  const print = (line: unknown) => void printed.push(String(line));
  await revokeCommand('mallory', { nats: home.server.url }, print);
  await until(() => mallory.state === 'closed');
  assert.match(printed.join('\n'), /^revoked\tclient\tmallory\tU[A-Z2-7]{55}$/m);
  assert.match(printed.at(-1)!, /cut off at nats:/);
  assert.is(await codeOf(revokeCommand('nobody-has-it', { nats: home.server.url }, print)), 'bad-input');
  // A server that is away is said, and who it is that stays connected.
  const away = revokeCommand('mallory', { nats: 'nats://127.0.0.1:1' }, print);
  assert.is(await codeOf(away), 'nats-unreachable');
});

test('one user may not take a whole server: subscriptions are counted', async (t) => {
  const nats = await startFixture(t);
  const nc = await connectNats({
    servers: nats.server.url,
    authenticator: credsAuthenticator(bytes(await nats.authority.mintUser('client', 'mallory'))),
    inboxPrefix: inboxPrefix('client', 'mallory'),
  });
  t.defer(() => nc.close());
  const refused = Promise.withResolvers<string>();
  void (async () => {
    for await (const status of nc.status()) if (status.type === 'error') refused.resolve(String(status.data));
  })();
  for (let i = 0; i < 600; i++) nc.subscribe(`${inboxPrefix('client', 'mallory')}.${i}`);
  assert.match(await refused.promise, /PROTOCOL|SUBSCRIPTIONS/);
});

test('the ledger of users holds public parts only', async (t) => {
  const stateDir = await temporaryFolder(t);
  const authority = await ensureAuthority(stateDir);
  const creds = await authority.mintUser('client', 'me');
  const seed = /SU[A-Z2-7]{56}/.exec(creds)![0];
  const folder = join(stateDir, 'keys', 'users');
  const names = await readdir(folder);
  assert.is(names.length, 1);
  assert.not(`${names}${await readFile(join(folder, names[0]!), 'utf8')}`.includes(seed));
});

test.run();
