/**
 * Attacker: whoever runs, or has sent somebody to, an outdated nats-server, on which a client gets around the rights of
 * roles (CVE-2025-30215, CVE-2026-33249). He wants actors and clients to use it as if rights held there. Played by a
 * listener that greets as such a server does: nothing but the version in its INFO counts.
 */
import { createServer } from 'node:net';
import { connect } from '../../runtime/nats/connect.ts';
import { ALLOW_VULNERABLE } from '../../runtime/nats/server-version.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { codeOf } from '../runtime/nats/nats-fixture.ts';

const test = suite('attack: use a vulnerable server');

/** The URL of a server of this version, as far as connecting goes. */
async function serverOf(t: TestContext, version: string): Promise<string> {
  const info = { server_id: 'x', version, proto: 1, headers: true, max_payload: 1_048_576, jetstream: true };
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.write(`INFO ${JSON.stringify(info)}\r\n`);
    socket.on('data', (data) => {
      for (const _ of String(data).matchAll(/PING\r\n/g)) socket.write('PONG\r\n');
    });
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  t.defer(() => server.close());
  return `nats://127.0.0.1:${(server.address() as { port: number }).port}`;
}

test('nobody connects to one, unless a person allows it, and then hears of it every time', async (t) => {
  for (const version of ['2.9.10', '2.10.26', '2.11.14', '2.12.5']) {
    const url = await serverOf(t, version);
    assert.is(await codeOf(connect({ url })), 'nats-feature', version);
    process.env[ALLOW_VULNERABLE] = '1';
    t.defer(() => void delete process.env[ALLOW_VULNERABLE]);
    for (let time = 0; time < 2; time++) {
      const warnings: string[] = [];
      const bus = await connect({ url, warn: (line) => void warnings.push(line) });
      await bus.close();
      assert.is(warnings.length, 1);
      assert.match(warnings[0]!, /WARNING.*CVE-20/);
    }
    delete process.env[ALLOW_VULNERABLE];
  }
});

test('a sound one is used without a word', async (t) => {
  const bus = await connect({
    url: await serverOf(t, '2.12.6'),
    warn: (line) => assert.unreachable(line),
  });
  await bus.close();
});

test.run();
