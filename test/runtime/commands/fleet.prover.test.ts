/**
 * The walk-through of docs/FLEET.md, with three hosts: each a network namespace of its own where this machine lets us make
 * some (Linux, as root), with a home folder of its own, and TLS between them over a wire that only they share. Elsewhere
 * three homes on one host, by TLS too.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { sampleData } from '../../../runtime/demo/sample.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { BIN_DIR } from '../nats/nats-fixture.ts';
import { type Ended, eventually, newHome, processesOf, type Started, startBy } from './cli-fixture.ts';

const test = suite('three hosts', { timeoutMs: 400_000 });

interface Host {
  readonly home: string;
  start(words: readonly string[], input?: string): Started;
  run(words: readonly string[], input?: string): Promise<Ended>;
  /** nats-server, as the line says that `vouch provision` has printed */
  startServer(t: TestContext, line: string): { stop(): Promise<unknown> };
}

const ip = (...words: string[]) => execFileSync('ip', words, { stdio: 'pipe' });
const NATS_SERVER = process.env.NATS_SERVER || join(BIN_DIR, 'nats-server');
const NETWORK = `vh${process.pid}`;

/** Hosts 10.79.0.1 and so on, or, where that cannot be, all of them this machine. */
function makeHosts(t: TestContext, count: number): { hosts: Host[]; address: string } {
  const names = Array.from({ length: count }, (_, i) => `${NETWORK}-${i + 1}`);
  let separate = true;
  try {
    const bridge = `${NETWORK}-net`;
    t.defer(() => {
      for (const name of [...names, bridge])
        try {
          ip('netns', 'del', name);
        } catch {
          // it was never made
        }
    });
    ip('netns', 'add', bridge);
    ip('-n', bridge, 'link', 'add', 'bridge', 'type', 'bridge');
    ip('-n', bridge, 'link', 'set', 'bridge', 'up');
    for (const [i, name] of names.entries()) {
      ip('netns', 'add', name);
      ip('link', 'add', 'wire', 'netns', name, 'type', 'veth', 'peer', 'name', `to${i}`, 'netns', bridge);
      ip('-n', bridge, 'link', 'set', `to${i}`, 'master', 'bridge', 'up');
      ip('-n', name, 'addr', 'add', `10.79.0.${i + 1}/24`, 'dev', 'wire');
      ip('-n', name, 'link', 'set', 'lo', 'up');
      ip('-n', name, 'link', 'set', 'wire', 'up');
    }
  } catch {
    separate = false;
    console.log('no network namespaces here: the three hosts are three homes on one host');
  }
  const hosts = names.map((name): Host => {
    const home = newHome();
    const prefix = separate ? ['ip', 'netns', 'exec', name] : [];
    const launch: Host['start'] = (words, input) => startBy(prefix, home, words, input);
    return {
      home,
      start: launch,
      run: (words, input) => launch(words, input).ended,
      startServer(t, line) {
        const [program, ...args] = [...prefix, NATS_SERVER, ...line.split(' ').slice(1)] as [
          string,
          ...string[],
        ];
        const child = spawn(program, args, { stdio: 'ignore' });
        t.defer(() => child.kill('SIGKILL'));
        return {
          stop: () => {
            const gone = new Promise((resolve) => child.once('exit', resolve));
            child.kill('SIGTERM');
            return gone;
          },
        };
      },
    };
  });
  return { hosts, address: separate ? '10.79.0.1' : '127.0.0.1' };
}

function ok({ code, stdout, stderr }: Ended): string {
  assert.is(code, 0, stderr);
  return stdout;
}

interface Actor {
  readonly kind: string;
  readonly id: string;
  readonly state: string;
}
async function stateOf(host: Host, id: string): Promise<string | undefined> {
  const { actors } = JSON.parse(ok(await host.run(['status', '--json']))) as { actors: Actor[] };
  return actors.find((actor) => actor.kind === 'worker' && actor.id === id)?.state;
}
const idle = (host: Host, id: string) =>
  eventually(`${id} is idle`, async () => (await stateOf(host, id)) === 'idle');

test('two hosts join a third by links, prove with it, and leave: revoked, and by Ctrl-C', async (t) => {
  const { hosts, address } = makeHosts(t, 3);
  const [bank, east, west] = hosts as [Host, Host, Host];
  const data = join(bank.home, 'some.data');
  writeFileSync(data, sampleData(1).split('\n').slice(0, 400).join('\n'));
  const demo = bank.start(['demo', '--listen', '0.0.0.0', '--workers', '1', '--data', data]);
  await demo.line(/Up until Ctrl-C/);
  await demo.line(/vouch invite worker/);
  const { url } = JSON.parse(readFileSync(join(bank.home, 'context.json'), 'utf8')) as { url: string };
  assert.match(url, /^tls:\/\/127\.0\.0\.1:\d+$/);
  const server = url.replace('127.0.0.1', address);
  const invite = async (...words: string[]) =>
    ok(await bank.run(['invite', 'worker', '--nats', server, ...words])).trim();

  // By standard input, and by a file, which is how a link does not get into anybody's list of processes.
  const first = east.start(['join', '-', '--engine', 'wasm'], await invite('--id', 'east', '--ttl', '1h'));
  const file = join(west.home, 'link');
  writeFileSync(file, await invite('--id', 'west'), { mode: 0o600 });
  const second = west.start(['join', file, '--engine', 'wasm']);
  await Promise.all([first.line(/vouch: ready/), second.line(/vouch: ready/)]);
  await Promise.all([idle(bank, 'east'), idle(bank, 'west')]);
  for (const host of [east, west])
    assert.not.ok(existsSync(join(host.home, 'keys')), 'no authority of its own');

  // Without the bank's own worker they make all of a proof.
  ok(await bank.run(['drain', 'worker', 'worker-1']));
  await eventually('worker-1 is gone', async () => (await stateOf(bank, 'worker-1')) === undefined);
  const makers = async (): Promise<string[]> => {
    const { record } = JSON.parse(ok(await bank.run(['prove', 'credit', '--json']))) as {
      record: { workers: { id: string; shards: number }[] };
    };
    return record.workers.filter(({ shards }) => shards > 0).map(({ id }) => id);
  };
  const made = await makers();
  assert.ok(made.length > 0 && made.every((id) => id === 'east' || id === 'west'), made.join());

  // It stays, because another link for its id has come before this one was over.
  ok(await west.run(['join', '-', '--keep'], await invite('--id', 'west', '--ttl', '2h')));

  assert.match(ok(await bank.run(['revoke', 'east'])), /^revoked\tworker\teast\t/m);
  assert.match((await first.ended).stderr, /refused or have expired/);
  assert.equal(await makers(), ['west']);
  second.interrupt();
  assert.is((await second.ended).code, 0);
  demo.interrupt();
  assert.is((await demo.ended).code, 0);
  for (const { home } of hosts) await eventually('nothing is left', () => processesOf(home).length === 0);
});

test('a server of one’s own: configured, awaited, provisioned as often as one likes', async (t) => {
  const { hosts, address } = makeHosts(t, 2);
  const [hub, far] = hosts as [Host, Host];
  const port = 4555;
  const line = ok(await hub.run(['provision', '--write-config', `0.0.0.0:${port}`])).trim();
  assert.match(line, new RegExp(`^nats-server -c ${hub.home}/nats/nats\\.conf -a 0\\.0\\.0\\.0 -p ${port}$`));
  const server = `tls://${address}:${port}`;
  const link = ok(await hub.run(['invite', 'worker', '--nats', server])).trim();
  assert.is((await far.run(['join', '-', '--wait', '0'], link)).code, 1, 'who does not want to wait');

  const worker = far.start(['join', '-', '--engine', 'wasm'], link);
  await worker.line(/is a server running there\?; waiting for it/);
  const natsServer = hub.startServer(t, line);
  await worker.line(/vouch: ready/);
  const made = ok(await hub.run(['provision', '--nats', server]));
  assert.match(made, /^made\tVOUCH_PROOFS$/m);
  const again = await hub.run(['provision', '--nats', server]);
  assert.equal([again.code, again.stdout], [0, '']);
  assert.match(again.stderr, /everything was there/);
  worker.interrupt();
  assert.is((await worker.ended).code, 0);
  await natsServer.stop();
});

test.run();
