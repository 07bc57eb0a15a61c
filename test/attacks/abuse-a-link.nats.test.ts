/**
 * Attack: a link that lets a worker join, in other hands. Its reader is a worker and nothing more, until it ends or is
 * revoked. Whoever stands between the worker and the server, or sends the worker to a server of his own, is found out
 * before he has heard a word, because the link names the authority that certifies the server.
 */
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { decodeInvitation, encodeInvitation } from '../../protocols/invitation.ts';
import { BUCKETS, STREAMS } from '../../protocols/streams.ts';
import { subjects } from '../../protocols/subjects.ts';
import { inviteCommand } from '../../runtime/commands/invite.ts';
import { revokeCommand } from '../../runtime/commands/revoke.ts';
import { vouchHome } from '../../runtime/home/home.ts';
import { authority, credentials } from '../../runtime/installation/credentials.ts';
import { acceptInvitation, inviteWorker } from '../../runtime/installation/invitations.ts';
import { ensureTlsAuthority } from '../../runtime/installation/tls-authority.ts';
import { connect } from '../../runtime/nats/connect.ts';
import { provision } from '../../runtime/nats/provision.ts';
import { inboxPrefix } from '../../runtime/nats/rights.ts';
import { startNats } from '../../runtime/nats/server.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { useHome } from '../runtime/home/home-fixture.ts';
import { BIN_DIR, bytes, codeOf, temporaryFolder, until } from '../runtime/nats/nats-fixture.ts';
import { refusal } from './nats-proxy.ts';

const test = suite('attack: abuse a link', { timeoutMs: 120_000 });
const EMPTY = new Uint8Array();
const ROOT = fileURLToPath(new URL('../..', import.meta.url));
useHome();

/** A server of this home, by TLS, and how a link's reader enters it. */
async function start(t: TestContext) {
  await authority();
  const stateDir = vouchHome();
  const tls = (await ensureTlsAuthority(stateDir)).issue(['127.0.0.1']);
  const server = await startNats({ stateDir, binDir: BIN_DIR, port: 0, tls });
  t.defer(() => server.stop());
  const as = async (creds: string, onError?: (error: Error) => void) => {
    const bus = await connect({ url: server.url, creds, ...(onError ? { onError } : {}) });
    t.defer(() => bus.close());
    return bus;
  };
  await provision(await as(await credentials('provisioner', 'p', join(stateDir, 'creds'))));
  const enter = async (link: string, onError?: (error: Error) => void) => {
    const { id, creds } = await acceptInvitation(link);
    return as(await credentials('worker', id, creds), onError);
  };
  return { server, as, enter };
}

test('its reader has a worker’s rights under its own id, and no others', async (t) => {
  const { server, enter } = await start(t);
  assert.match(server.url, /^tls:/);
  const refused: string[] = [];
  const { id, link } = await inviteWorker([server.url]);
  const reader = await enter(link, ({ message }) => void refused.push(message));
  assert.is(reader.id, id);
  reader.publish(subjects.beat('worker', id), EMPTY);
  await reader.flush();
  assert.equal(refused, []);
  const mayNot = [
    subjects.beat('worker', 'worker-1'),
    subjects.shardResult('worker-1', 'job', 'shard'),
    subjects.shard(id, 'job', 'shard'),
    subjects.proofRequest('quality', id, 'job'),
    subjects.release('model'),
    subjects.control('worker', 'worker-1', 'drain'),
    subjects.proof('client-1', 'job'),
    subjects.model('credit'),
    `$KV.${BUCKETS.budgets}.x`,
    `$JS.API.STREAM.DELETE.${STREAMS.proofs.name}`,
    `$JS.API.CONSUMER.CREATE.${STREAMS.proofRequests.name}.x`,
    `$JS.API.DIRECT.GET.${STREAMS.sealedModels.name}`,
    `$JS.API.DIRECT.GET.${STREAMS.models.name}`,
    `$JS.API.DIRECT.GET.${STREAMS.audits.name}`,
    `$JS.API.DIRECT.GET.${STREAMS.testSets.name}`,
  ];
  for (const subject of mayNot) reader.publish(subject, EMPTY);
  const mayNotHear = [
    '>',
    'vouch.>',
    subjects.control('worker', 'worker-1', 'attest'),
    `${inboxPrefix('worker', 'worker-1')}.>`,
    `${inboxPrefix('client', 'client-1')}.>`,
  ];
  for (const subject of mayNotHear) reader.subscribe(subject, () => {});
  await until(() => refused.length >= mayNot.length + mayNotHear.length);
  for (const subject of [...mayNot, ...mayNotHear])
    assert.ok(
      refused.some((message) => message.includes(subject)),
      subject,
    );
});

test('the id is the authority’s: a worker cannot give itself another', async (t) => {
  const { server, as } = await start(t);
  const { id, link } = await inviteWorker([server.url], { id: 'w-honest' });
  const invitation = decodeInvitation(link);
  const [head, claims, signature] = invitation.jwt as [Uint8Array, Uint8Array, Uint8Array];
  const renamed = bytes(new TextDecoder().decode(claims).replace(`"${id}"`, '"worker-1"'));
  assert.is.not(renamed.length, 0);
  const forged = encodeInvitation({ ...invitation, jwt: [head, renamed, signature] });
  const { id: claimed, creds } = await acceptInvitation(forged);
  assert.is(claimed, 'worker-1');
  assert.is(await codeOf(as(await credentials('worker', claimed, creds))), 'nats-credentials');
  // Nor does it get beyond its folder by its id, or into another role.
  for (const change of [
    [`"${id}"`, '"../../keys"'],
    ['role:worker', 'role:coordinator'],
  ] as const) {
    const other = bytes(new TextDecoder().decode(claims).replace(change[0], change[1]));
    const code = await codeOf(
      acceptInvitation(encodeInvitation({ ...invitation, jwt: [head, other, signature] })),
    );
    assert.match(code, /bad-token|nats-credentials/);
  }
});

test('it ends by itself, and at once when it is revoked; other workers stay', async (t) => {
  const { server, enter } = await start(t);
  const [stolen, honest] = [await inviteWorker([server.url]), await inviteWorker([server.url])];
  const [thief, worker] = [await enter(stolen.link), await enter(honest.link)];
  // Long enough for a busy machine to enter with it.
  const brief = await inviteWorker([server.url], { ttlSeconds: 15 });
  const short = await enter(brief.link);
  await revokeCommand(stolen.id, { nats: server.url }, () => {});
  await until(() => thief.state === 'closed');
  assert.is(await codeOf(enter(stolen.link)), 'nats-credentials');
  await until(() => short.state === 'closed');
  assert.match(await refusal(acceptInvitation(brief.link)), /it ended at .*; ask for a new one/);
  await worker.flush();
  assert.is(worker.state, 'connected');
  // Revoked before anybody has used it.
  const unused = await inviteWorker([server.url]);
  await revokeCommand(unused.id, { nats: server.url }, () => {});
  assert.is(await codeOf(enter(unused.link)), 'nats-credentials');
});

/** Somebody who answers as a NATS server does and writes down what he hears. */
async function impostor(t: TestContext, tlsRequired: boolean) {
  let heard = '';
  const server = createServer((socket) => {
    const info = {
      server_id: 'X',
      version: '2.10.27',
      proto: 1,
      max_payload: 1 << 20,
      nonce: 'n',
      auth_required: true,
    };
    socket.write(`INFO ${JSON.stringify({ ...info, tls_required: tlsRequired })}\r\n`);
    socket.on('data', (data) => {
      heard += data.toString('latin1');
    });
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1');
  await new Promise((ready) => server.once('listening', ready));
  t.defer(() => server.close());
  return { url: `tls://127.0.0.1:${(server.address() as AddressInfo).port}`, heard: () => heard };
}

test('another server in its place, with a certificate of its own or with none, hears nothing', async (t) => {
  const { server } = await start(t);
  const { id, link } = await inviteWorker([server.url]);
  const { creds } = await acceptInvitation(link);
  const text = await credentials('worker', id, creds);
  const elsewhere = await temporaryFolder(t);
  // The attacker's own authority: everything is as it should be, but for who certified it.
  const { ensureAuthority } = await import('../../runtime/installation/authority.ts');
  await ensureAuthority(elsewhere);
  const tls = (await ensureTlsAuthority(elsewhere)).issue(['127.0.0.1']);
  const log: string[] = [];
  const theirs = await startNats({
    stateDir: elsewhere,
    binDir: BIN_DIR,
    port: 0,
    tls,
    onLog: (line) => void log.push(line),
  });
  t.defer(() => theirs.stop());
  assert.match(
    await refusal(connect({ url: theirs.url, creds: text })),
    /^nats-credentials: .*its certificate is not of the authority that these credentials name/,
  );
  const plain = await impostor(t, false);
  assert.match(
    await refusal(connect({ url: plain.url, creds: text })),
    /^nats-feature: .*expected TLS, and whoever answers there has none/,
  );
  assert.is(plain.heard(), '');
  // And a server with TLS is not spoken to without.
  const bare = server.url.replace('tls:', 'nats:');
  assert.match(
    await refusal(connect({ url: bare, creds: text })),
    /^nats-credentials: .*expected a tls:\/\/ URL/,
  );
});

test('the link is printed alone, and is in no file but its credentials, no sentence, no log', async (t) => {
  const { server } = await start(t);
  const printed: unknown[] = [];
  const said: string[] = [];
  const options = { nats: server.url, ttl: 60, id: undefined } as never;
  await inviteCommand(
    options,
    (value) => void printed.push(value),
    (line) => void said.push(line),
  );
  const [link] = printed as [string];
  assert.is(printed.length, 1);
  assert.match(said.join(), /secret.*vouch revoke worker-[0-9a-f]{8}/);
  const { seed } = decodeInvitation(link);
  assert.not.ok(said.join().includes(seed) || said.join().includes(link.slice(20, 60)));
  const files = (await readdir(vouchHome(), { recursive: true, withFileTypes: true })).filter((file) =>
    file.isFile(),
  );
  for (const file of files) {
    const text = await readFile(join(file.parentPath, file.name), 'latin1');
    assert.not.ok(text.includes(seed) || text.includes(link.slice(20, 60)), file.name);
  }
});

test('npm, which keeps command lines in its logs, keeps none of this', async (t) => {
  const [cache, home] = [await temporaryFolder(t), await temporaryFolder(t)];
  const env = { ...process.env, npm_config_cache: cache, VOUCH_HOME: home };
  const run = promisify(execFile)('npm', ['run', 'join', '--', 'vouch-join:SECRETWORD'], { cwd: ROOT, env });
  const { code, stdout, stderr } = await run.then(
    () => {
      throw new Error('it joined');
    },
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
  assert.is(code, 2);
  assert.match(stderr, /invitation: expected what vouch invite printed/);
  assert.not.match(stdout + stderr, /SECRETWORD/);
  for (const file of await readdir(cache, { recursive: true, withFileTypes: true }))
    if (file.isFile())
      assert.not.match(await readFile(join(file.parentPath, file.name), 'utf8'), /SECRETWORD/, file.name);
});

test.run();
