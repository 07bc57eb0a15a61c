/** What is kept of earlier proofs and cannot be read or written costs time, and never a proof. */
import { mkdir, readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256Hex, utf8 } from '../../../protocols/encoding.ts';
import { openFile } from '../../../runtime/home/file-source.ts';
import { folder } from '../../../runtime/home/home.ts';
import { checkOnce, digestOf, tableStore, tuningStore } from '../../../runtime/prove/cache.ts';
import { assert, suite } from '../../harness.ts';
import { useHome } from '../home/home-fixture.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('cache of proving');

test('folders where its files are expected', async (t) => {
  useHome();
  const path = join(await temporaryFolder(t), 'key');
  await writeFile(path, 'content');
  await mkdir(folder('cache', 'digests', sha256Hex(utf8(path))), { recursive: true });
  await mkdir(folder('cache', 'tables', 'one'), { recursive: true });
  {
    await using file = await openFile(path, 'proving key');
    assert.is(await digestOf(file), sha256Hex(utf8('content')));
  }
  await tableStore.write('one', new Uint8Array(8));
  assert.is(await tableStore.read('one', new Uint8Array(8)), false);
});

test('files where its folders are expected', async (t) => {
  useHome();
  const path = join(await temporaryFolder(t), 'key');
  await writeFile(path, 'content');
  // Old enough to be remembered.
  await utimes(path, 0, 0);
  for (const name of ['checked-keys', 'gpu']) {
    await mkdir(folder('cache'), { recursive: true });
    await writeFile(folder('cache', name), '');
  }
  let checks = 0;
  const check = async () => {
    checks += 1;
  };
  await checkOnce('points of a key', check);
  await checkOnce('points of a key', check);
  await checkOnce('points of another key', check);
  // What cannot be written is remembered for as long as the process lives.
  assert.is(checks, 2);
  assert.is(await tuningStore().read('adapter'), undefined);
  assert.equal(
    (await readdir(folder('cache'))).filter((name) => name.endsWith('.tmp')),
    [],
  );
});

test.run();
