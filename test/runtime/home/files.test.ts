/** Files are there whole or not at all, once for all processes, and sizes are known before memory is taken. */
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { VouchError } from '../../../protocols/errors.ts';
import {
  createWhole,
  demandWritable,
  fileErrorOf,
  makeFolder,
  readNamed,
  readTextIfThere,
  writeWhole,
} from '../../../runtime/home/files.ts';
import { keptSecret, knownSecret } from '../../../runtime/home/kept-secret.ts';
import { assert, suite } from '../../harness.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('files');

const errorOf = (work: () => unknown): Promise<VouchError> =>
  Promise.resolve()
    .then(work)
    .then(
      () => assert.unreachable('it was accepted') as never,
      (error: VouchError) => error,
    );

test('a file is written whole, private, with the folders that it needs, and replaced whole', async (t) => {
  const root = await temporaryFolder(t);
  const file = join(root, 'a', 'b', 'file');
  await writeWhole(file, 'one');
  await writeWhole(file, 'two', { mode: 0o644, sync: false });
  assert.is(await readFile(file, 'utf8'), 'two');
  assert.equal(await readdir(join(root, 'a', 'b')), ['file']);
  if (process.platform === 'win32') return;
  assert.is((await stat(join(root, 'a'))).mode & 0o777, 0o700);
  assert.is((await stat(file)).mode & 0o777, 0o644);
});

test('of many that create a file at once one is told so, and all read the same', async (t) => {
  const file = join(await temporaryFolder(t), 'new', 'file');
  const created = await Promise.all(Array.from({ length: 8 }, (_, i) => createWhole(file, `${i}`)));
  assert.is(created.filter(Boolean).length, 1);
  assert.is(await readFile(file, 'utf8'), `${created.indexOf(true)}`);
  assert.is(await createWhole(file, 'late'), false);
  const secret = join(file, '..', 'secret');
  assert.is(knownSecret(secret, 'a test'), undefined);
  const secrets = await Promise.all(Array.from({ length: 8 }, () => keptSecret(secret, 'a test')));
  for (const one of secrets) assert.equal(one, secrets[0]);
  assert.equal((await readdir(join(file, '..'))).sort(), ['file', 'secret']);
});

test('a damaged secret is reported and not replaced', async (t) => {
  const file = join(await temporaryFolder(t), 'secret');
  await writeFile(file, 'no secret');
  const { code, message } = await errorOf(() => keptSecret(file, 'a test'));
  assert.is(code, 'bad-file');
  assert.match(message, /expected 32 bytes as hex: a test; delete it to get a new one$/);
  assert.is(await readFile(file, 'utf8'), 'no secret');
});

test('many that make a folder at once all have it', async (t) => {
  const deep = join(await temporaryFolder(t), 'a', 'b', 'c', 'd');
  await Promise.all(Array.from({ length: 8 }, () => makeFolder(deep)));
  assert.ok((await stat(deep)).isDirectory());
});

test('a link that leads nowhere is replaced, one that leads to a file is followed', async (t) => {
  const root = await temporaryFolder(t);
  await symlink('nothing', join(root, 'dangling'));
  await writeWhole(join(root, 'dangling'), 'text');
  assert.is(await readFile(join(root, 'dangling'), 'utf8'), 'text');
  await symlink('dangling', join(root, 'link'));
  await writeWhole(join(root, 'link'), 'more');
  assert.is(await readlink(join(root, 'link')), 'dangling');
  assert.is(await readFile(join(root, 'dangling'), 'utf8'), 'more');
});

test('looking whether a file can be written leaves it as it is', async (t) => {
  const root = await temporaryFolder(t);
  await writeFile(join(root, 'file'), 'before');
  await demandWritable(join(root, 'file'));
  await demandWritable(join(root, 'new'));
  assert.equal(await readdir(root), ['file']);
  assert.is(await readFile(join(root, 'file'), 'utf8'), 'before');
});

test('a file that is too large is refused, one without a size as soon as it is', async (t) => {
  const root = await temporaryFolder(t);
  await writeFile(join(root, 'file'), '12345');
  assert.is(new TextDecoder().decode(readNamed(join(root, 'file'), 'data', 5)), '12345');
  assert.match(
    (await errorOf(() => readNamed(join(root, 'file'), 'data', 4))).message,
    /^data .*file: expected at most 4 bytes, got 5$/,
  );
  if (process.platform === 'win32') return;
  assert.is((await errorOf(() => readNamed('/dev/zero', 'data', 100_000))).code, 'too-large');
  assert.is(readNamed('/dev/null', 'data').byteLength, 0);
});

test('a pipe of the shell is read to its end', async (t) => {
  if (process.platform === 'win32') t.skip('pipes with names are of Unix');
  const pipe = join(await temporaryFolder(t), 'pipe');
  await promisify(execFile)('mkfifo', [pipe]);
  const writing = promisify(execFile)('sh', ['-c', 'head -c 200000 /dev/zero > "$1"', 'sh', pipe]);
  assert.is(readNamed(pipe, 'data').byteLength, 200_000);
  await writing;
});

test('no file is not the same as one that cannot be read', async (t) => {
  const root = await temporaryFolder(t);
  assert.is(readTextIfThere(join(root, 'none'), 'data'), undefined);
  assert.is((await errorOf(() => readTextIfThere(root, 'data'))).code, 'bad-file');
  await writeFile(join(root, 'file'), '');
  assert.is((await errorOf(() => readTextIfThere(join(root, 'file', 'x'), 'data'))).code, 'bad-file');
});

test('what nobody put into words: files are, sockets and programs are not', async (t) => {
  const root = await temporaryFolder(t);
  await mkdir(join(root, 'folder'));
  const error = await errorOf(() => readFile(join(root, 'folder')));
  assert.match(fileErrorOf(error)!.message, /it is a folder, expected a file/);
  const full = Object.assign(new Error('ENOSPC: no space left on device, write'), {
    code: 'ENOSPC',
    syscall: 'write',
  });
  assert.is(fileErrorOf(full)!.code, 'storage-full');
  assert.is(fileErrorOf(await errorOf(() => promisify(execFile)(join(root, 'none')))), undefined);
  assert.is(fileErrorOf(new TypeError('ours')), undefined);
  assert.is(fileErrorOf(undefined), undefined);
});

test.run();
