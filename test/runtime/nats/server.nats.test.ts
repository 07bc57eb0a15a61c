import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { connect as tlsConnect } from 'node:tls';
import { STREAMS } from '../../../protocols/streams.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { ensureTlsAuthority } from '../../../runtime/installation/tls-authority.ts';
import { provisionMemoryStreams } from '../../../runtime/nats/provision.ts';
import { startNats } from '../../../runtime/nats/server.ts';
import { findNatsServer } from '../../../runtime/nats/server-program.ts';
import { ALLOW_VULNERABLE } from '../../../runtime/nats/server-version.ts';
import { assert, suite } from '../../harness.ts';
import { BIN_DIR, bytes, codeOf, startFixture, temporaryFolder, text, until } from './nats-fixture.ts';

const test = suite('nats-server', { timeoutMs: 120_000 });

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test('takes another port when the usual one is in use', async (t) => {
  const squatter = createServer().listen(0, '127.0.0.1');
  await once(squatter, 'listening');
  t.defer(() => squatter.close());
  const { port } = squatter.address() as { port: number };
  const nats = await startFixture(t, { port, provisioned: false });
  assert.is.not(nats.server.port, port);
  assert.is((await nats.bus('client', 'me')).state, 'connected');
});

test('browsers have a port of their own, with TLS where the rest has it, and none unless it was asked for', async (t) => {
  const plain = await startFixture(t, { provisioned: false });
  assert.is(plain.server.websocket, undefined);
  const { issue, certificate: ca } = await ensureTlsAuthority(await temporaryFolder(t));
  const secured = await startFixture(t, {
    provisioned: false,
    websocketPort: 0,
    tls: await issue(['127.0.0.1']),
  });
  const { protocol, hostname, port } = new URL(secured.server.websocket!);
  assert.equal([protocol, hostname], ['wss:', '127.0.0.1']);
  assert.is.not(Number(port), secured.server.port);
  const socket = tlsConnect({ host: hostname, port: Number(port), ca });
  t.defer(() => socket.destroy());
  await once(socket, 'secureConnect');
  assert.ok(socket.authorized);
});

test('comes back after SIGKILL on the same port with every acknowledged message', async (t) => {
  const nats = await startFixture(t);
  const coordinator = await nats.bus('coordinator', 'c1');
  const runner = await nats.bus('runner', 'r1');
  const client = await nats.bus('client', 'c');
  const provisioner = await nats.bus('provisioner', 'p');
  const states: string[] = [];
  coordinator.onState((state) => void states.push(state));
  let stored = 0;
  const { pid } = nats.server;
  const storing = (async () => {
    for (let i = 0; i < 300; i++) {
      await runner.append(subjects.receipt('m', 'c', `r${i}`), bytes(`receipt ${i}`), {
        msgId: `r${i}`,
        retryMs: 60_000,
      });
      stored++;
    }
  })();
  await until(() => stored > 50);
  process.kill(pid, 'SIGKILL');
  await storing;
  assert.is.not(nats.server.pid, pid);
  for (let i = 0; i < 300; i += 23) {
    const receipt = await client.getLast(STREAMS.receipts.name, subjects.receipt('m', 'c', `r${i}`));
    assert.is(text(receipt!.data), `receipt ${i}`);
  }
  assert.is((await provisioner.getFrom(STREAMS.receipts.name, 300))?.sequence, 300);
  assert.is(await provisioner.getFrom(STREAMS.receipts.name, 301), undefined, 'no receipt was stored twice');
  assert.equal(states, ['disconnected', 'connected']);
  // Memory streams are gone and are made again by the coordinator itself.
  const { created } = await provisionMemoryStreams(coordinator);
  assert.equal(created, [STREAMS.states.name]);
  assert.ok(nats.log.some((line) => /ended \(SIGKILL\); starting it again/.test(line)));
});

test('gives up, with a reason, when the server keeps ending', async (t) => {
  const nats = await startFixture(t, { provisioned: false });
  let gone: Error | undefined;
  void nats.server.exited.then((error) => {
    gone = error;
  });
  let last = 0;
  await until(() => {
    const { pid } = nats.server;
    if (pid !== last && pid > 0 && isAlive(pid)) {
      last = pid;
      process.kill(pid, 'SIGKILL');
    }
    return gone !== undefined;
  });
  assert.match(gone!.message, /within a minute/);
});

test('ends with its parent, even when that is killed, and refuses a second one on its folder', async (t) => {
  const stateDir = await temporaryFolder(t);
  const script = `
    import { ensureAuthority } from ${JSON.stringify(new URL('../../../runtime/installation/authority.ts', import.meta.url).href)};
    import { startNats } from ${JSON.stringify(new URL('../../../runtime/nats/server.ts', import.meta.url).href)};
    await ensureAuthority(${JSON.stringify(stateDir)});
    const server = await startNats({ stateDir: ${JSON.stringify(stateDir)}, binDir: ${JSON.stringify(BIN_DIR)}, port: 0 });
    process.stdout.write(String(server.pid) + '\\n');
    setInterval(() => {}, 1000);
  `;
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.defer(() => parent.kill('SIGKILL'));
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(line.toString());
  assert.ok(isAlive(pid));
  assert.is(await codeOf(startNats({ stateDir, binDir: BIN_DIR, port: 0 })), 'busy');
  parent.kill('SIGKILL');
  await until(() => !isAlive(pid));
  const server = await startNats({ stateDir, binDir: BIN_DIR, port: 0 });
  await server.stop();
});

test('a server that will not start says why', async (t) => {
  const stateDir = await temporaryFolder(t);
  await mkdir(join(stateDir, 'nats'));
  await writeFile(join(stateDir, 'nats/authority.conf'), 'operator: nonsense\n');
  try {
    await startNats({ stateDir, binDir: BIN_DIR, port: 0 });
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code: string }).code, 'nats-feature');
    assert.match((error as Error).message, /operator/i);
  }
});

test('an older server is refused; where a person allows it, it is used, and what is weaker is said', async (t) => {
  const folder = await temporaryFolder(t);
  const { path } = await findNatsServer({ binDir: BIN_DIR });
  const older = join(folder, 'nats-server');
  // A real server under another name: it says that it is 2.9.25, and refuses what 2.9 refuses.
  await writeFile(
    older,
    `#!/bin/sh\ncase "$*" in\n*--version*) echo "nats-server: v2.9.25";;\n*) exec ${path} "$@";;\nesac\n`,
  );
  await chmod(older, 0o755);
  const before = process.env.NATS_SERVER;
  process.env.NATS_SERVER = older;
  t.defer(() => {
    if (before === undefined) delete process.env.NATS_SERVER;
    else process.env.NATS_SERVER = before;
  });
  const refused = await startFixture(t, { provisioned: false }).catch((error: Error) => error);
  assert.match((refused as Error).message, /NATS_SERVER .*CVE-2025-30215.*--allow-vulnerable-server/);
  process.env[ALLOW_VULNERABLE] = '1';
  t.defer(() => void delete process.env[ALLOW_VULNERABLE]);
  const nats = await startFixture(t, { provisioned: false });
  assert.not(nats.server.durable);
  assert.ok(
    nats.log.some((line) => /WARNING.*CVE/.test(line)),
    'at every start',
  );
  assert.ok(nats.log.some((line) => /power cut/.test(line)));
});

test.run();
