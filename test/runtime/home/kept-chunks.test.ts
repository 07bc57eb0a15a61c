import { createHash, randomBytes } from 'node:crypto';
import { chmod, readdir, readFile, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { keepChunks } from '../../../runtime/home/kept-chunks.ts';
import { assert, suite } from '../../harness.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('kept chunks');

const chunk = (size: number) => {
  const bytes = new Uint8Array(randomBytes(size));
  return { bytes, digest: createHash('sha256').update(bytes).digest('hex') };
};

test('chunks survive a restart, and what somebody has changed on disk does not count', async (t) => {
  const folder = join(await temporaryFolder(t), 'bases');
  const { bytes, digest } = chunk(1000);
  const kept = keepChunks(folder, 1e6);
  assert.is(await kept.get(digest), undefined);
  await kept.put(digest, bytes);
  const again = keepChunks(folder, 1e6);
  assert.equal(await again.digests(), [digest]);
  assert.equal(Buffer.from((await again.get(digest))!), Buffer.from(bytes));
  // The operator of a worker writes its disk: another point under the same name, cut off, longer.
  const other = Uint8Array.from(bytes);
  other[17]! ^= 1;
  for (const damaged of [other, bytes.subarray(0, 999), new Uint8Array(0), Buffer.concat([bytes, bytes])]) {
    await writeFile(join(folder, digest), damaged);
    assert.is(await again.get(digest), undefined);
    assert.equal(await readdir(folder), [], 'a damaged file is gone, so that it is fetched again');
    await again.put(digest, bytes);
  }
  assert.ok(await again.get(digest));
});

test('the folder never holds more than its budget: what was used least lately goes first', async (t) => {
  const folder = join(await temporaryFolder(t), 'bases');
  const kept = keepChunks(folder, 16_000);
  const chunks = Array.from({ length: 16 }, () => chunk(1000));
  for (const [index, { digest, bytes }] of chunks.entries()) {
    await kept.put(digest, bytes);
    // A second apart, and long ago.
    await utimes(join(folder, digest), index, index);
  }
  assert.ok(await kept.get(chunks[0]!.digest));
  for (let index = 0; index < 40; index++) {
    const { digest, bytes } = chunk(1000);
    await kept.put(digest, bytes);
    const sizes = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name))));
    assert.ok(sizes.reduce((sum, { length }) => sum + length, 0) <= 16_000);
    if (index > 2) continue;
    const there = await readdir(folder);
    assert.ok(there.includes(chunks[0]!.digest), 'the one that was read stays');
    assert.not(there.includes(chunks[1]!.digest));
  }
  // One that is larger than all there is room for is not kept, and moves nothing out.
  const before = await readdir(folder);
  const large = chunk(20_000);
  await kept.put(large.digest, large.bytes);
  assert.equal((await readdir(folder)).sort(), before.sort());
});

test('where nothing can be written nothing is kept, which is said once, and the work goes on', async (t) => {
  const home = await temporaryFolder(t);
  const folder = join(home, 'bases');
  // A file lies where the folder would be: it cannot be made, whoever asks.
  await writeFile(folder, 'in the way');
  const said: string[] = [];
  const kept = keepChunks(folder, 1e6, (reason) => said.push(reason));
  for (let index = 0; index < 3; index++) {
    const { digest, bytes } = chunk(100);
    await kept.put(digest, bytes);
    assert.is(await kept.get(digest), undefined);
  }
  assert.is(said.length, 1);
  // A full disk: /dev/shm or the like cannot be made small here, so a budget of nothing stands for it.
  const none = keepChunks(join(home, 'none'), 0, (reason) => said.push(reason));
  const { digest, bytes } = chunk(100);
  await none.put(digest, bytes);
  assert.is(await none.get(digest), undefined);
  assert.match(said[1]!, /no room/);
  await chmod(folder, 0o600);
});

test.run();
