/** Commands compiled in a clone: made after one, taken by the next, and not taken when anything differs. */
import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { assert, suite } from '../harness.ts';
import { writeKey } from './packed.ts';
import { ROOT } from './sources.ts';

const test = suite('compiled commands', { timeoutMs: 110_000 });

interface Record {
  name: string;
  made: string;
  stamps: [file: string, stamp: string][];
  flags: string[];
}

test('a proving command is compiled for the next one, and says the same, until something differs', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'vouch-compiled-'));
  t.defer(() => rmSync(root, { recursive: true }));
  // By way of a link: modules lie where it leads.
  mkdirSync(join(root, 'real/deep'), { recursive: true });
  symlinkSync(join(root, 'real/deep'), join(root, 'home'));
  const home = join(root, 'home');
  await writeKey(root);
  const commands = join(home, 'cache/commands');
  const file = join(commands, 'commands.json');
  const env: NodeJS.ProcessEnv = { ...process.env, VOUCH_HOME: home };
  delete env.NODE_COMPILE_CACHE;
  /** All that it printed, behind its exit code when that is not 0. */
  const vouch = async (...words: string[]) => {
    const launcher = join(ROOT, 'runtime/vouch.mjs');
    return promisify(execFile)(process.execPath, [launcher, ...words], { env, signal: t.signal }).then(
      ({ stdout, stderr }) => stdout + stderr,
      ({ code, stderr }) => `${code} ${stderr}`,
    );
  };
  const key = JSON.parse(readFileSync(join(root, 'vk.json'), 'utf8'));
  const exported = async () => {
    const said = await vouch(
      'zkey',
      'export',
      'verificationkey',
      join(root, 'a.zkey'),
      join(root, 'out.json'),
    );
    assert.equal(JSON.parse(readFileSync(join(root, 'out.json'), 'utf8')), key);
    return said;
  };
  await exported();
  const right = readFileSync(file, 'utf8');
  const record: Record = JSON.parse(right);
  assert.ok(record.stamps.some(([source]) => source.endsWith('/circuits/groth16/prove.ts')));
  assert.ok(record.stamps.every(([source]) => existsSync(source) && !source.includes('/node_modules/@')));

  // Taken: a mark in the program shows.
  const program = join(commands, record.name, 'cli.js');
  const text = readFileSync(program, 'utf8');
  writeFileSync(program, `${text}\nprocess.stderr.write('compiled\\n');\n`);
  const isTaken = async () => (await exported()).endsWith('compiled\n');
  assert.ok(await isTaken());
  assert.match(await vouch('g16p', join(root, 'no.zkey'), 'a.wtns'), /^2 .*no\.zkey/);

  const [first] = record.stamps;
  for (const [what, changed] of [
    ['nothing', ''],
    ['half of it', right.slice(0, 100)],
    ['another kind', '[]'],
    ['for another Node', JSON.stringify({ ...record, made: 'v23.0.0 x64' })],
    [
      'a source that changed',
      JSON.stringify({ ...record, stamps: [[first![0], '1 2'], ...record.stamps.slice(1)] }),
    ],
    ['a source that is gone', JSON.stringify({ ...record, stamps: [[`${first![0]}x`, first![1]]] })],
    ['of other files', JSON.stringify({ ...record, stamps: undefined })],
  ] as const) {
    writeFileSync(file, changed);
    assert.is(await isTaken(), false, what);
    // And made again.
    assert.is(readFileSync(file, 'utf8'), right, what);
    writeFileSync(program, `${text}\nprocess.stderr.write('compiled\\n');\n`);
  }
  assert.ok(await isTaken());
  assert.equal(readdirSync(commands).sort(), [record.name, 'commands.json'].sort());
});

test.run();
