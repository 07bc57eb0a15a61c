/**
 * Files that cannot be read or written, through the command line: whatever the system refuses is one sentence and exit
 * code 2, it is said before the work begins, and nothing is left behind. No server is started.
 */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { assert, suite, type TestContext } from '../../harness.ts';
import { type Ended, newHome, start, unfinished, vouch } from './cli-fixture.ts';

const test = suite('cli files', { timeoutMs: 120_000 });

/** No server is there: a command that gets as far as connecting says so, which no pattern here matches. */
const NOWHERE = ['--nats', 'nats://127.0.0.1:1'];
const NONCE = ['--nonce', '00'.repeat(32)];

/** Runs the cases, two at a time. */
async function side<T>(cases: readonly T[], run: (one: T) => Promise<void>): Promise<void> {
  const waiting = cases.values();
  const lane = async () => {
    for (const one of waiting) await run(one);
  };
  await Promise.all([lane(), lane()]);
}

function oneSentence(words: readonly string[], { code, stdout, stderr }: Ended, sentence: RegExp): void {
  const all = `vouch ${words.join(' ')}: ${stderr}`;
  assert.is(code, 2, all);
  assert.is(stdout, '', all);
  assert.match(stderr, sentence, all);
  assert.is(stderr.trim().split('\n').length, 1, all);
  assert.not.match(stderr, /defect|\bE[A-Z]{4,}\b/, all);
}

/** A read-only file system, or a skipped test where none can be mounted. */
function readOnlyFolder(t: TestContext): string {
  const place = newHome();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro,size=16k', 'tmpfs', place], { stdio: 'ignore' });
  } catch {
    t.skip('mounting a read-only file system needs root');
  }
  t.defer(() => execFileSync('umount', [place]));
  return place;
}

/** Places where nothing can be written, below a folder of the test's own. */
function badPlaces(root: string): [place: string, sentence: RegExp][] {
  mkdirSync(join(root, 'folder'));
  writeFileSync(join(root, 'file'), 'kept');
  symlinkSync('loop', join(root, 'loop'));
  const places: [string, RegExp][] = [
    [join(root, 'folder'), /folder could not be written: it is a folder, expected a file; name another/],
    [join(root, 'file', 'x'), /file.x could not be written: a part of its path is a file, expected a folder/],
    [join(root, 'loop'), /loop could not be written: its symbolic links lead in a circle/],
    [join(root, 'x'.repeat(300)), /x could not be written: its name is too long/],
  ];
  if (process.platform === 'linux')
    places.push(['/proc/x/y.json', /\/proc\/x\/y.json could not be written: its folder cannot be made/]);
  return places;
}

/** Commands that write a file where a person says. All other files that they name are missing. */
const WRITING: readonly ((place: string, root: string) => string[])[] = [
  (place) => ['prove', 'm', ...NOWHERE, '--out', place],
  (place) => ['evidence', ...NONCE, '--provider', 'simulated', '--out', place],
  (place, root) => ['policy', 'init', join(root, 'none'), '--out', place],
  (place, root) => ['audit', join(root, 'none'), '--out', place],
  (place, root) => ['groth16', 'prove', join(root, 'none'), join(root, 'none'), place],
  (place, root) => ['groth16', 'prove', join(root, 'none'), join(root, 'none'), join(root, 'out'), place],
];

test('a place that cannot be written is refused before anything else is done', async () => {
  const root = newHome();
  const home = newHome();
  const places = badPlaces(root);
  const before = readdirSync(root).sort();
  const cases = places.flatMap(([place, sentence]) =>
    WRITING.map((words) => ({ words: words(place, root), sentence })),
  );
  await side(cases, async ({ words, sentence }) => oneSentence(words, await vouch(home, words), sentence));
  assert.equal(readdirSync(root).sort(), before);
  assert.is(readFileSync(join(root, 'file'), 'utf8'), 'kept');
});

test('on a read-only file system too', async (t) => {
  const root = readOnlyFolder(t);
  const home = newHome();
  const sentence = /out could not be written: the file system is read-only; name another place/;
  const cases = WRITING.map((words) => words(join(root, 'out'), home));
  await side(cases, async (words) => oneSentence(words, await vouch(home, words), sentence));
});

test('folders that are to be written into', async () => {
  const root = newHome();
  const home = newHome();
  const places: [string, RegExp][] = [
    [join(root, 'file'), /a part of its path is a file, expected a folder/],
    [join(root, 'file', 'x'), /a part of its path is a file, expected a folder/],
    [join(root, 'x'.repeat(300)), /its name is too long/],
    ...(process.platform === 'linux' ? [['/proc/x/y', /its folder cannot be made/] as [string, RegExp]] : []),
  ];
  writeFileSync(join(root, 'file'), '');
  await side(places, async ([place, sentence]) => {
    const words = ['creds', 'worker', '--id', 'w1', '--out', place];
    oneSentence(words, await vouch(home, words), sentence);
  });
  assert.equal(unfinished(root), []);
});

/** Commands that write into the home, whatever their words say. */
const AT_HOME: readonly ((root: string) => string[])[] = [
  (root) => ['creds', 'worker', '--id', 'w1', '--out', join(root, 'kit')],
  () => ['evidence', ...NONCE, '--provider', 'simulated'],
  () => ['demo', '--once'],
  () => ['start', 'worker', ...NOWHERE],
  () => ['status', ...NOWHERE],
  () => ['prove', 'm', ...NOWHERE],
  (root) => ['infer', 'm', join(root, 'rows'), ...NOWHERE],
  (root) => ['setup', '--ptau', join(root, 'none'), '--model', 'm', ...NOWHERE],
];

test('a home that is no folder, or cannot be made', async () => {
  const root = newHome();
  writeFileSync(join(root, 'file'), '');
  writeFileSync(join(root, 'rows'), '');
  const homes = [join(root, 'file'), ...(process.platform === 'linux' ? ['/proc/x/home'] : [])];
  const cases = homes.flatMap((home) => AT_HOME.map((words) => ({ home, words: words(root) })));
  await side(cases, async ({ home, words }) => {
    const sentence =
      /(a part of its path is a file, expected a folder|its folder cannot be made); mend that, or set VOUCH_HOME to another folder/;
    oneSentence(words, await vouch(home, words), sentence);
  });
});

test('a home on a read-only file system', async (t) => {
  const home = readOnlyFolder(t);
  const root = newHome();
  writeFileSync(join(root, 'rows'), '');
  await side(AT_HOME, async (words) => {
    const sentence = /could not be written: the file system is read-only; .*set VOUCH_HOME to another folder/;
    oneSentence(words(root), await vouch(home, words(root)), sentence);
  });
});

test('folders in the home where files are expected', async () => {
  const root = newHome();
  const cases: [file: string, words: string[]][] = [
    ['context.json', ['status']],
    ['running', ['demo', '--once']],
    ['keys/authority.json', ['creds', 'worker', '--id', 'w1', '--out', join(root, 'kit')]],
    ['keys/simulated-root', ['evidence', ...NONCE, '--provider', 'simulated']],
    ['nats/authority.conf', ['creds', 'worker', '--id', 'w1', '--out', join(root, 'kit')]],
    ['creds/client_client-1.creds', ['status', ...NOWHERE]],
    ['policies/inference.json', ['verify', join(root, 'file')]],
    ['keys/audit_b', ['audit', join(root, 'empty'), '--broker', 'b']],
  ];
  const { bundle } = JSON.parse(
    readFileSync(new URL('../../vectors/composite-receipt.json', import.meta.url), 'utf8'),
  );
  writeFileSync(join(root, 'file'), Buffer.from(bundle, 'base64'));
  writeFileSync(join(root, 'empty'), '');
  await side(cases, async ([file, words]) => {
    const home = newHome();
    mkdirSync(join(home, file), { recursive: true });
    oneSentence(words, await vouch(home, words), /it is a folder, expected a file; .*VOUCH_HOME/);
    assert.equal(unfinished(home), []);
  });
});

test('files that are named to be read', async () => {
  const root = newHome();
  const home = newHome();
  writeFileSync(join(root, 'file'), '');
  symlinkSync('loop', join(root, 'loop'));
  const places: [string, RegExp][] = [
    [root, /: it is a folder(, expected a file; name another file| without receipts, .*name another)/],
    [join(root, 'file', 'x'), /: a part of its path is a file, expected a folder; name another file/],
    [join(root, 'loop'), /: its symbolic links lead in a circle; name another file/],
    [join(root, 'x'.repeat(300)), /: its name is too long; name another file/],
  ];
  const reading: ((place: string) => string[])[] = [
    (place) => ['verify', place],
    (place) => ['verify', 'evidence', place],
    (place) => ['audit', place],
    (place) => ['groth16', 'verify', place],
    (place) => ['infer', 'm', place, ...NOWHERE],
    (place) => ['policy', 'explain', place],
  ];
  const cases = places.flatMap(([place, sentence]) =>
    reading.map((words) => ({ words: words(place), sentence })),
  );
  await side(cases, async ({ words, sentence }) => oneSentence(words, await vouch(home, words), sentence));
});

test('a pipe is written to, and stays one', async (t) => {
  if (process.platform === 'win32') t.skip('pipes with names are of Unix');
  const [root, home] = [newHome(), newHome()];
  const pipe = join(root, 'pipe');
  execFileSync('mkfifo', [pipe]);
  const words = ['evidence', ...NONCE, '--provider', 'simulated', '--out', pipe];
  const [text, { code, stderr }] = await Promise.all([readFile(pipe, 'utf8'), vouch(home, words)]);
  assert.is(code, 0, stderr);
  assert.is(JSON.parse(text).hardware, false);
  assert.ok(statSync(pipe).isFIFO());
});

test('a link is followed: what it leads to is replaced, the link stays', async () => {
  const [root, home] = [newHome(), newHome()];
  writeFileSync(join(root, 'file'), 'before');
  symlinkSync('file', join(root, 'link'));
  const words = ['evidence', ...NONCE, '--provider', 'simulated', '--out', join(root, 'link')];
  assert.is((await vouch(home, words)).code, 0);
  assert.is(JSON.parse(readFileSync(join(root, 'file'), 'utf8')).hardware, false);
  assert.equal(readdirSync(root).sort(), ['file', 'link']);
});

test('nothing of an output is there while the work runs, so nothing is left when it is killed', async (t) => {
  if (process.platform === 'win32') t.skip('pipes with names are of Unix');
  const [root, home] = [newHome(), newHome()];
  // Evidence that never comes: the command has looked at its output, and waits.
  execFileSync('mkfifo', [join(root, 'pipe')]);
  const running = start(home, ['policy', 'init', join(root, 'pipe'), '--out', join(root, 'new', 'out')]);
  // A pipe can be opened for writing, without waiting, once somebody reads it.
  let reader: number | undefined;
  while (reader === undefined) {
    try {
      reader = openSync(join(root, 'pipe'), constants.O_WRONLY | constants.O_NONBLOCK);
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  running.kill('SIGKILL');
  await running.ended;
  closeSync(reader);
  assert.equal(readdirSync(join(root, 'new')), []);
});

test.run();
