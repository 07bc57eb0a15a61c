import { createHash, randomBytes } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CHUNK_BYTES, STREAMS } from '../../../protocols/streams.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { keepChunks } from '../../../runtime/home/kept-chunks.ts';
import {
  blobSource,
  getBlob,
  getChunk,
  getManifest,
  manifestOf,
  type Place,
  putBlob,
} from '../../../runtime/nats/blobs.ts';
import { assert, suite } from '../../harness.ts';
import { bytes, codeOf, startFixture, temporaryFolder } from './nats-fixture.ts';

const test = suite('blobs', { timeoutMs: 180_000 });
const MINE: Place = { shelf: 'keys', writer: 'me' };
const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');

test('what is put is got, by every role that needs it, and put only once', async (t) => {
  const nats = await startFixture(t);
  const client = await nats.bus('client', 'me');
  const worker = await nats.bus('worker', 'w1');
  const provisioner = await nats.bus('provisioner', 'p');
  for (const size of [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES + 77]) {
    const blob = randomBytes(size);
    const progress: number[] = [];
    const { digest } = await putBlob(client, 'keys', blob, {
      onProgress: (done) => void progress.push(done),
    });
    assert.is(digest, manifestOf(blob).digest);
    if (size > 0) assert.is(Math.max(...progress), size);
    assert.equal(Buffer.from(await getBlob(worker, MINE, digest, { maxBytes: size })), blob);
    const count = async () =>
      (await provisioner.subjectsOf(STREAMS.keys.name, subjects.key('me', digest))).size;
    assert.is(await count(), 1);
    await putBlob(client, 'keys', blob);
    assert.is(await count(), 1);
  }
});

test('an interrupted put is resumed', async (t) => {
  const nats = await startFixture(t);
  const provisioner = await nats.bus('provisioner', 'p');
  const client = await nats.bus('client', 'me');
  const blob = randomBytes(40 * 1024);
  const abort = new AbortController();
  const chunkBytes = 1024;
  const first = putBlob(client, 'keys', blob, {
    chunkBytes,
    signal: abort.signal,
    onProgress: (done) => done > 10_000 && abort.abort(),
  });
  assert.is(await codeOf(first), 'cancelled');
  const there = (await provisioner.subjectsOf(STREAMS.keys.name, 'vouch.v1.key.me.*')).size;
  assert.ok(there >= 10 && there < 40, `${there} of 40 chunks`);
  const { digest } = await putBlob(client, 'keys', blob, { chunkBytes });
  assert.equal(Buffer.from(await getBlob(client, MINE, digest, { maxBytes: blob.length })), blob);
  assert.is((await provisioner.subjectsOf(STREAMS.keys.name, 'vouch.v1.key.me.*')).size, 41);
});

test('survives a restart of the server in the middle', async (t) => {
  const nats = await startFixture(t);
  const client = await nats.bus('client', 'me');
  const blob = randomBytes(8 * CHUNK_BYTES);
  let killed = false;
  const { digest } = await putBlob(client, 'keys', blob, {
    onProgress: (done) => {
      if (killed || done < 2 * CHUNK_BYTES) return;
      killed = true;
      process.kill(nats.server.pid, 'SIGKILL');
    },
  });
  killed = false;
  const read = await getBlob(client, MINE, digest, {
    maxBytes: blob.length,
    onProgress: () => {
      if (!killed) process.kill(nats.server.pid, 'SIGKILL');
      killed = true;
    },
  });
  assert.equal(Buffer.from(read), blob);
});

test('the cache is used, checked and written whole', async (t) => {
  const nats = await startFixture(t);
  const client = await nats.bus('client', 'me');
  const cacheDir = join(await temporaryFolder(t), 'cache');
  const kept = keepChunks(cacheDir, 1e6);
  const blob = randomBytes(3000);
  const { digest, manifest } = await putBlob(client, 'keys', blob, { chunkBytes: 1000 });
  await getBlob(client, MINE, digest, { maxBytes: 3000, kept });
  const names = [digest, ...manifest.chunks.map((chunk) => chunk.sha256)].sort();
  assert.equal((await readdir(cacheDir)).sort(), names);
  // A damaged file is fetched again; with the server gone, the cache alone is enough.
  await writeFile(join(cacheDir, manifest.chunks[1]!.sha256), 'damaged');
  assert.equal(Buffer.from(await getBlob(client, MINE, digest, { maxBytes: 3000, kept })), blob);
  await nats.server.stop();
  assert.equal(Buffer.from(await getBlob(client, MINE, digest, { maxBytes: 3000, kept })), blob);
});

test('a blob is stored from a source, and read in parts, without being whole in memory', async (t) => {
  const nats = await startFixture(t);
  const client = await nats.bus('client', 'me');
  const blob = randomBytes(5_000_000);
  const asked: number[] = [];
  const source = {
    byteLength: blob.length,
    read: async (offset: number, target: Uint8Array) => {
      asked.push(target.byteLength);
      target.set(blob.subarray(offset, offset + target.byteLength));
    },
  };
  const { digest, manifest } = await putBlob(client, 'keys', source, { chunkBytes: 1_000 });
  assert.is(Math.max(...asked), 1_000);
  assert.is(digest, manifestOf(blob, 1_000).digest);
  const folder = join(await temporaryFolder(t), 'cache');
  const kept = keepChunks(folder, 1e9);
  const part = new Uint8Array(2_500);
  const opened = blobSource(client, MINE, await getManifest(client, MINE, digest, { maxBytes: 1e9 }), {
    kept,
  });
  await opened.read(1_234_567, part);
  assert.equal(Buffer.from(part), blob.subarray(1_234_567, 1_237_067));
  // Of the key's 5,000 chunks those that were read: nobody else is asked to hold them.
  const touched = manifest.chunks.slice(1_234, 1_238).map(({ sha256 }) => sha256);
  assert.equal((await readdir(folder)).sort(), touched.sort());
  assert.instance(await opened.read(blob.length - 1, part).catch((error: unknown) => error), RangeError);
});

test('what is missing, wrong or too large is refused', async (t) => {
  const nats = await startFixture(t);
  const client = await nats.bus('client', 'me');
  assert.is(await codeOf(getChunk(client, MINE, '0'.repeat(64))), 'bad-file');
  for (const digest of ['', '../../etc/passwd', 'A'.repeat(64)])
    assert.is(await codeOf(getChunk(client, MINE, digest)), 'bad-input');
  // A writer that lies about a digest.
  await client.append(subjects.key('me', '1'.repeat(64)), bytes('something else'));
  assert.is(await codeOf(getChunk(client, MINE, '1'.repeat(64))), 'bad-file');
  const { digest } = await putBlob(client, 'keys', bytes('honest'));
  assert.is(await codeOf(getBlob(client, MINE, digest, { maxBytes: 5 })), 'too-large');
  // A chunk that is no manifest, and a manifest that lies about its size.
  assert.is(await codeOf(getManifest(client, MINE, sha256(bytes('honest')), { maxBytes: 100 })), 'bad-file');
  const lie = bytes(
    JSON.stringify({
      type: 'vouch.blob',
      version: 1,
      size: 5,
      chunks: [{ sha256: '2'.repeat(64), size: 9 }],
    }),
  );
  await client.append(subjects.key('me', sha256(lie)), lie);
  assert.is(await codeOf(getBlob(client, MINE, sha256(lie), { maxBytes: 100 })), 'bad-file');
  // Chunks of other lengths than the first, but for a shorter last one.
  for (const [sizes, code] of [
    [[9, 9, 4], 'read'],
    [[9, 9], 'read'],
    [[9, 4, 9], 'bad-file'],
    [[9, 10], 'bad-file'],
    [[9, 9, 10], 'bad-file'],
  ] as const) {
    const size = sizes.reduce((sum: number, each) => sum + each, 0);
    const chunks = sizes.map((each) => ({ sha256: '2'.repeat(64), size: each }));
    const cut = bytes(JSON.stringify({ type: 'vouch.blob', version: 1, size, chunks }));
    await client.append(subjects.key('me', sha256(cut)), cut);
    const reading = getManifest(client, MINE, sha256(cut), { maxBytes: 100 });
    if (code === 'read') await reading;
    else assert.is(await codeOf(reading), code, sizes.join());
  }
});

test.run();
