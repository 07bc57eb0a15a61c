/** The words of the command line: help, wrong use, bad files, a server that is not there. Nothing is started. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { assert, suite } from '../../harness.ts';
import { type Ended, newHome, start, vouch } from './cli-fixture.ts';

const test = suite('cli words', { timeoutMs: 180_000 });

const COMMANDS = ['demo', 'start', 'infer', 'prove', 'verify', 'setup', 'status', 'model', 'creds'];

/** Runs the cases, two at a time. */
async function side<T>(cases: readonly T[], run: (one: T, index: number) => Promise<void>): Promise<void> {
  const waiting = cases.entries();
  const lane = async () => {
    for (const [index, one] of waiting) await run(one, index);
  };
  await Promise.all([lane(), lane()]);
}

/** Wrong use: exit 2, nothing on stdout, one sentence that matches, no stack. */
function wrongUse({ code, stdout, stderr }: Ended, sentence: RegExp): void {
  assert.is(code, 2, stderr);
  assert.is(stdout, '');
  assert.match(stderr, sentence);
  assert.not.match(stderr, /\n\s+at |defect/);
  assert.ok(stderr.trim().split('\n').length <= 2, stderr);
}

test('help everywhere', async () => {
  const home = newHome();
  const all = await vouch(home, ['--help']);
  assert.is(all.code, 0);
  const helps = await Promise.all(COMMANDS.map((command) => vouch(home, [command, '--help'])));
  COMMANDS.forEach((command, i) => {
    assert.match(all.stdout, new RegExp(`^ +${command} `, 'm'));
    assert.is(helps[i]!.code, 0);
    assert.match(helps[i]!.stdout, new RegExp(`Usage: vouch ${command}`));
  });
  assert.equal(readdirSync(home), [], 'help writes nothing');
});

test('wrong words', async () => {
  const home = newHome();
  const cases: [string[], RegExp][] = [
    [[], /Usage: vouch/],
    [['fly'], /unknown command 'fly'/],
    [['infer'], /missing required argument 'model'/],
    [['demo', '--json'], /--json: expected --once beside it/],
    [['demo', '--workers', '0'], /--workers .* expected a whole number from 1 to 64/],
    [['demo', '--listen', 'a:b:c'], /--listen: expected HOST or HOST:PORT/],
    [['demo', '--listen', '::1', '--nats', 'nats://127.0.0.1:1'], /got --nats too/],
    [['invite', 'king', '--nats', 'tls://a:1'], /Allowed choices are worker/],
    [['invite', 'worker', '--nats', 'tls://a:1', '--ttl', '1y'], /such as 90m/],
    [['invite', 'worker', '--nats', 'tls://a:1', '--ttl', '1s'], /from 10 s/],
    [['join', 'vouch-join:AAAA'], /invitation: expected what vouch invite printed/],
    [['demo', '--colour'], /unknown option '--colour'/],
    [['start', 'pilot', '--nats', 'nats://127.0.0.1:1'], /start: expected roles among .*, got pilot/],
    [['start', 'runner', '--nats', 'nats://127.0.0.1:1'], /expected: start enclave runner/],
    [['creds', 'king', '--id', 'a'], /creds: expected roles among .*, got king/],
    [['creds', 'worker', '--id', 'a.b'], /expected 1 to 64 of A-Z a-z 0-9 _ -/],
    [['model', 'add', 'a b', 'x.onnx', '--data', 'y', '--nats', 'nats://127.0.0.1:1'], /model: expected/],
  ];
  await side(cases, async ([words, sentence]) => {
    const { code, stderr } = await vouch(home, words);
    assert.is(code, 2, `${words.join(' ')}: ${stderr}`);
    assert.match(stderr, sentence);
    assert.not.match(stderr, /\n\s+at /);
  });
});

test('nothing runs here', async () => {
  const home = newHome();
  for (const words of [
    ['status'],
    ['infer', 'm', '-'],
    ['prove', 'm'],
    ['start', 'worker'],
    ['invite', 'worker'],
  ])
    wrongUse(await vouch(home, words), /no running Vouch is known .* run npm start/);
});

test('a server that is not there, and credentials that are not there', async () => {
  const home = newHome();
  wrongUse(
    await vouch(home, ['status', '--nats', 'nats://127.0.0.1:1']),
    /NATS at nats:\/\/127.0.0.1:1: cannot connect .*; is a server running there\?/,
  );
  wrongUse(
    await vouch(home, ['status', '--nats', 'nats://127.0.0.1:1', '--creds', join(home, 'none.creds')]),
    /credentials .*none.creds: there is no such file; .* vouch creds client/,
  );
  writeFileSync(join(home, 'bad.creds'), 'no credentials\n');
  wrongUse(
    await vouch(home, ['status', '--nats', 'nats://127.0.0.1:1', '--creds', join(home, 'bad.creds')]),
    /expected the text of a \.creds file/,
  );
});

test('data files of the demonstration are read before anything is started', async () => {
  const home = newHome();
  const row = 'A11 6 A34 A43 1169 A65 A75 4 A93 A101 4 A121 67 A143 A152 2 A173 1 A192 A201';
  const cases: [string | undefined, RegExp][] = [
    [undefined, /data .*: there is no such file/],
    ['', /the file is empty/],
    [`${row}\n`, /line 1: expected 21 columns .*, got 20/],
    [`${row.replace('1169', 'lots')} 1\n`, /column "credit-amount": expected a decimal number, got "lots"/],
    [`${row.replace('A43', 'A49x')} 1\n`, /column "purpose": expected one of A40, .*, A410, got "A49x"/],
    [
      `${row} 1\n`.repeat(5),
      /expected at least 20 rows, with rows of each class to test, got 5 and none of bad/,
    ],
  ];
  await side(cases, async ([text, sentence], i) => {
    const file = join(home, `data-${i}`);
    if (text !== undefined) writeFileSync(file, text);
    wrongUse(await vouch(home, ['demo', '--once', '--data', file]), sentence);
  });
  assert.not.ok(existsSync(join(home, 'nats')), 'nothing was started');
});

test('verify: files that are no receipt and no proof', async () => {
  const home = newHome();
  const file = (text: string) => {
    writeFileSync(join(home, 'x'), text);
    return join(home, 'x');
  };
  wrongUse(await vouch(home, ['verify', join(home, 'none')]), /there is no such file/);
  wrongUse(await vouch(home, ['verify', file('')]), /the file is empty/);
  wrongUse(await vouch(home, ['verify', file('{"a":')]), /truncated or damaged/);
  wrongUse(await vouch(home, ['verify', file('{"a":1}')]), /not a published proof/);
  wrongUse(await vouch(home, ['verify', file('garbage')]), /neither a receipt, nor JSON, nor evidence/);
  const policy = join(home, 'policy');
  writeFileSync(policy, '{"version":2}');
  wrongUse(await vouch(home, ['policy', 'explain', policy]), /^vouch: policy .*policy: /);
});

test('credentials for another host: what is needed, private, and nothing else', async () => {
  const home = newHome();
  const out = join(home, 'kit');
  const made = await vouch(home, ['creds', 'worker', '--id', 'w9', '--out', out]);
  assert.is(made.code, 0, made.stderr);
  assert.equal(made.stdout.trim().split('\n'), [
    join(out, 'worker_w9.creds'),
    join(out, 'simulated-platform.json'),
  ]);
  for (const file of made.stdout.trim().split('\n')) assert.is(statSync(file).mode & 0o777, 0o600);
  const platform = readFileSync(join(out, 'simulated-platform.json'), 'utf8');
  assert.match(platform, /"SIMULATED"/);
  const root = readFileSync(join(home, 'keys', 'simulated-root'), 'utf8').trim();
  assert.not.ok(platform.includes(root), 'the root key stays at home');

  const clients = await vouch(home, ['creds', 'client', 'coordinator', '--id', 'c1', '--out', out]);
  assert.is(clients.code, 0, clients.stderr);
  for (const name of ['inference', 'prover', 'worker'])
    assert.ok(existsSync(join(out, 'policies', `${name}.json`)));

  // Credentials of one actor are not another's.
  const words = ['start', 'worker', '--nats', 'nats://127.0.0.1:1', '--creds', join(out, 'worker_w9.creds')];
  wrongUse(await vouch(newHome(), [...words, '--id', 'w8']), /they are of worker w9, expected worker w8/);
  const away = await vouch(newHome(), [...words, '--wait', '0']);
  assert.is(away.code, 1);
  assert.match(away.stderr, /^vouch: NATS at .* cannot connect .*; is a server running there\?$/m);
});

test('a full disk: one sentence, and nothing half-written', async (t) => {
  const home = newHome();
  const out = join(home, 'full');
  mkdirSync(out);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16k', 'tmpfs', out], { stdio: 'ignore' });
  } catch {
    t.skip('mounting a small file system needs root');
  }
  t.defer(() => execFileSync('umount', [out]));
  // Leaves less than one page.
  try {
    writeFileSync(join(out, 'filler'), Buffer.alloc(16 * 1024));
  } catch {}
  const before = readdirSync(out);
  wrongUse(
    await vouch(home, ['creds', 'worker', '--id', 'w9', '--out', out]),
    /the disk is full: .*worker_w9.creds was not written; free some space/,
  );
  assert.equal(readdirSync(out), before);

  // The installation's own keys as well.
  const { code, stderr } = await vouch(join(out, 'home'), ['creds', 'worker', '--id', 'w9', '--out', home]);
  assert.is(code, 2, stderr);
  assert.match(stderr, /disk is full|no space left/i);
  assert.equal(
    (readdirSync(out, { recursive: true, encoding: 'utf8' }) as string[]).filter((name) =>
      /tmp|authority|root/.test(name),
    ),
    [],
  );
});

test('a reader that stops reading is no error', async () => {
  const child = start(newHome(), ['--help']);
  child.closeStdout();
  const { stderr } = await child.ended;
  assert.is(stderr, '');
});

test.run();
