/** `vouch doctor` on set-ups that are broken, each in its own way; `vouch status --wait`; a process's own health. */
import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { examine } from '../../../runtime/commands/doctor.ts';
import { statusCommand } from '../../../runtime/commands/status.ts';
import { folder } from '../../../runtime/home/home.ts';
import { publishModel } from '../../../runtime/models/publish.ts';
import { findNatsServer } from '../../../runtime/nats/server-program.ts';
import { startHealth } from '../../../runtime/roles/health.ts';
import { startRoles, stopRoles } from '../../../runtime/roles/start.ts';
import { smallModel } from '../../circuits/model-fixture.ts';
import { assert, suite } from '../../harness.ts';
import { startHome } from '../home/home-fixture.ts';
import { BIN_DIR, codeOf, temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('vouch doctor', { timeoutMs: 90_000 });

const found = async (options: Parameters<typeof examine>[0]) =>
  new Map((await examine(options)).map(({ id, status, detail }) => [id, `${status}: ${detail}`]));

test('a sound installation has no line that fails, and a broken one says what to do', async (t) => {
  const home = await startHome(t);
  const network = { nats: home.server.url, creds: folder('creds') };
  const sound = await found(network);
  assert.equal(
    [...sound].filter(([, text]) => text.startsWith('fail')),
    [],
  );
  assert.match(sound.get('clock')!, /^ok: within \d+ s/);
  assert.match(sound.get('streams')!, /models take \d+ %/);

  const nobody = await found({ ...network, nats: 'nats://127.0.0.1:9' });
  assert.match(nobody.get('nats')!, /^fail: .*cannot connect/);
  const before = process.env.VOUCH_HOME!;
  t.defer(() => {
    process.env.VOUCH_HOME = before;
  });
  process.env.VOUCH_HOME = await temporaryFolder(t);
  mkdirSync(folder('keys'), { recursive: true });
  chmodSync(folder('keys'), 0o755);
  const open = await found({});
  assert.match(open.get('home')!, /^fail: .*chmod 700/);
  assert.match(open.get('nats')!, /^fail: /, 'nothing runs from there');
  process.env.VOUCH_HOME = join('/proc', 'nowhere');
  assert.match((await found({})).get('home')!, /^fail: /);
});

test('a server without JetStream, or that asks nobody who they are, is named', async (t) => {
  await startHome(t);
  const { path } = await findNatsServer({ binDir: BIN_DIR });
  const bare = spawn(path, ['-a', '127.0.0.1', '-p', '-1'], { stdio: ['ignore', 'ignore', 'pipe'] });
  t.defer(() => bare.kill());
  const { promise: port, resolve } = Promise.withResolvers<string>();
  createInterface({ input: bare.stderr }).on('line', (line) => {
    const [, found] = /client connections on 127\.0\.0\.1:(\d+)/.exec(line) ?? [];
    if (found) resolve(found);
  });
  const lines = await found({ nats: `nats://127.0.0.1:${await port}`, creds: folder('creds') });
  assert.match(lines.get('rights')!, /^fail: .*asks nobody who they are/);
  assert.match(lines.get('jetstream')!, /^fail: .*start nats-server with -js/);
});

test('status waits for what is needed and says what is missing; health tells the same of one process', async (t) => {
  const home = await startHome(t);
  const network = { url: home.server.url, creds: folder('creds'), json: true };
  const health = await startHealth({ host: '127.0.0.1', port: 0 });
  t.defer(() => health.close());
  const get = async (path: string) => {
    const response = await fetch(`${health.url}${path}`);
    return [response.status, await response.text()] as const;
  };
  assert.equal((await get('/readyz'))[0], 503, 'nothing runs yet');
  const early = statusCommand({ ...network, wait: 'ready', timeout: 2 }, () => {});
  await early.then(
    () => assert.unreachable('nobody is there'),
    (error: Error) => assert.match(error.message, 'nobody is ready as broker, enclave, runner'),
  );
  assert.is(await codeOf(statusCommand({ ...network, wait: 'gateway' }, () => {})), 'bad-input');

  await publishModel(home.observer, 'provisioner.test', {
    name: 'tiny',
    model: smallModel({ units: [4, 3, 2] }),
    policy: home.policies.release,
  });
  const waiting = statusCommand({ ...network, wait: 'ready', timeout: 60 }, () => {});
  const host = { url: home.server.url, creds: folder('creds'), id: 'e1', model: 'tiny', log: home.say };
  const roles = await startRoles(['broker', 'runner', 'gpu', 'enclave'], host);
  health.watch(roles);
  await waiting;
  assert.equal(
    [(await get('/healthz'))[0], (await get('/readyz'))[0], (await get('/nothing'))[0]],
    [200, 200, 404],
  );
  const [, metrics] = await get('/metrics');
  assert.match(metrics, 'vouch_actor_up{role="runner",id="e1"} 1');
  assert.match(metrics, 'vouch_actor_count{role="runner",id="e1",count="served"} 0');
  assert.match(metrics, 'vouch_nats_connected{role="broker",id="e1"} 1');
  await stopRoles(roles, home.say);
  assert.is((await get('/readyz'))[0], 503);
});

test.run();
