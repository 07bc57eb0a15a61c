/**
 * vouch.config.json: what wins over what, that each key is an option, what a bad file is answered with. On the other side is who
 * can write a file or a folder of somebody else's, and would choose his server, his vendor or his policy for him.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, type CommandUnknownOpts } from '@commander-js/extra-typings';
import { addCommands } from '../../../runtime/commands/commands.ts';
import { configurationSchema, configure } from '../../../runtime/commands/configuration.ts';
import { assert, suite, type TestContext } from '../../harness.ts';

const test = suite('configuration', { timeoutMs: 60_000 });
const CLI = fileURLToPath(new URL('../../../runtime/commands/cli.ts', import.meta.url));

function fileWith(t: TestContext, content: unknown, mode = 0o600): string {
  const home = mkdtempSync(join(tmpdir(), 'vouch-config-'));
  t.defer(() => rmSync(home, { recursive: true, force: true }));
  const file = join(home, 'vouch.config.json');
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
  chmodSync(file, mode);
  return file;
}

/** The options that a command gets; its action is not run. */
async function optionsOf(words: readonly string[], file: string): Promise<Record<string, unknown>> {
  const program = new Command('vouch').exitOverride();
  await addCommands(program, (name) => name === words[0]);
  const command = program.commands.find((each) => each.name() === words[0])! as CommandUnknownOpts;
  command.action(() => {});
  configure(command, file);
  await program.parseAsync([...words], { from: 'user' });
  return command.opts();
}

function withEnvironment(t: TestContext, values: Record<string, string>): void {
  for (const [name, value] of Object.entries(values)) {
    const before = process.env[name];
    process.env[name] = value;
    t.defer(() => {
      if (before === undefined) delete process.env[name];
      else process.env[name] = before;
    });
  }
}

test('a flag wins over the environment, the environment over the file', async (t) => {
  const file = fileWith(t, {
    nats: 'nats://file:1',
    creds: '/file',
    log: 'json',
    logLevel: 'warn',
    start: { threads: 3, health: '127.0.0.1:1' },
    gateway: { host: ['a', 'b'], requests: 7 },
  });
  withEnvironment(t, { VOUCH_CREDS: '/environment', VOUCH_LOG_LEVEL: 'debug' });
  const started = await optionsOf(['start', 'worker', '--threads', '5', '--log-level', 'error'], file);
  assert.equal(
    [started.nats, started.creds, started.log, started.logLevel, started.threads, started.health],
    ['nats://file:1', '/environment', 'json', 'error', 5, '127.0.0.1:1'],
  );
  const gateway = await optionsOf(['gateway'], file);
  assert.equal([gateway.host, gateway.requests, gateway.logLevel], [['a', 'b'], 7, 'debug']);
  // The main job starts a server of its own, whatever others use.
  assert.is((await optionsOf(['demo'], file)).nats, undefined);
  // An option of the same name that is another thing: the vendor's log.
  assert.is((await optionsOf(['prove', 'm'], file)).log, undefined);
});

test('what is wrong is one sentence with the path and the key', async (t) => {
  const cases: [unknown, RegExp][] = [
    ['{', /vouch\.config\.json: expected JSON/],
    [[], /vouch\.config\.json: the whole: /],
    [{ natz: 'x' }, /json: natz: there is no such key$/],
    [{ start: { simulated: true } }, /json: start\.simulated: there is no such key$/],
    [{ start: { threads: 65 } }, /json: start\.threads: expected a whole number from 1 to 64/],
    [{ start: { threads: 'two' } }, /json: start\.threads: /],
    [{ start: { engine: 'abacus' } }, /json: start\.engine: Allowed choices are auto/],
    [{ creds: 'creds' }, /json: creds: expected an absolute path$/],
    [{ start: { policy: 'lax.json' } }, /json: start\.policy: /],
    [{ log: 'xml' }, /json: log: /],
  ];
  for (const [content, expected] of cases) {
    const file = fileWith(t, content);
    await optionsOf(['start', 'worker'], file).then(
      () => assert.unreachable(JSON.stringify(content)),
      (error: Error) => {
        assert.match(error.message, expected);
        assert.ok(error.message.includes(file) && !error.message.includes('\n'), error.message);
      },
    );
  }
});

test('a file that others may write is refused', async (t) => {
  const file = fileWith(t, { nats: 'nats://x:1' }, 0o662);
  await optionsOf(['status'], file).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, /somebody else may write it/),
  );
});

test('each key is an option, none of them lowers a guard', async () => {
  const program = new Command('vouch');
  await addCommands(program, () => true);
  interface Section {
    properties?: Record<string, unknown>;
  }
  const { properties } = configurationSchema() as { properties: Record<string, Section> };
  const lowering = /simulated|vulnerable|tls|gpusReady|trust|allow|insecure|id|model/i;
  for (const [name, section] of Object.entries(properties)) {
    assert.not.match(name, /simulated|vulnerable|tls|trust|allow/i);
    if (section.properties === undefined) continue;
    const command = program.commands.find((each) => each.name() === name)! as CommandUnknownOpts;
    const known = new Set(command.options.map((option) => option.attributeName()));
    for (const key of Object.keys(section.properties)) {
      assert.ok(known.has(key), `${name}.${key}`);
      if (key !== 'provider') assert.not.match(key, lowering);
    }
  }
});

test('the JSON Schema in docs is the one of this code', () => {
  const stored = readFileSync(new URL('../../../docs/vouch.config.schema.json', import.meta.url), 'utf8');
  assert.equal(JSON.parse(stored), JSON.parse(JSON.stringify(configurationSchema())), 'npm run commands');
});

test('the file is that of the home folder, not one that lies where a command runs', (t) => {
  const there = fileWith(t, { nats: 'nats://127.0.0.1:1', nonsense: 1 });
  const home = mkdtempSync(join(tmpdir(), 'vouch-config-'));
  t.defer(() => rmSync(home, { recursive: true, force: true }));
  const run = (environment: Record<string, string>, ...words: string[]) =>
    spawnSync(process.execPath, [CLI, ...words], {
      cwd: join(there, '..'),
      encoding: 'utf8',
      env: { ...process.env, ...environment },
    });
  const elsewhere = run({ VOUCH_HOME: home }, 'status');
  assert.match(elsewhere.stderr, /no running Vouch is known/);
  const named = run({ VOUCH_HOME: home, VOUCH_CONFIG: there }, 'status');
  assert.equal([named.status, named.stderr], [2, `vouch: ${there}: nonsense: there is no such key\n`]);
  const help = run({ VOUCH_HOME: home, VOUCH_CONFIG: there }, 'status', '--help');
  assert.is(help.status, 0);
  assert.match(run({ VOUCH_HOME: home }, '--help').stdout, /VOUCH_HOME names[\s\S]*vouch\.config\.json/);
});

test.run();
