/**
 * Attacker: a client with ordinary credentials who wants a coordinator's disk and memory. He stores blobs that say that they
 * are gigabytes (a manifest may name one small chunk five thousand times), keys that carry more than a key has, and keys of
 * other circuits; and asks for proofs with them. What a coordinator keeps is what it reads, which is little more than a
 * header before key and circuit have the same shape, and never more than its budget.
 */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readBinFile, writeBinFile } from '../../circuits/groth16/binfile.ts';
import { readZkey, writeZkey } from '../../circuits/groth16/zkey.ts';
import { sha256Hex, utf8 } from '../../protocols/encoding.ts';
import type { RemoteError } from '../../protocols/envelope.ts';
import { subjects } from '../../protocols/subjects.ts';
import { folder } from '../../runtime/home/home.ts';
import { putBlob } from '../../runtime/nats/blobs.ts';
import { assert, suite } from '../harness.ts';
import { smallSubject, startProving } from '../runtime/roles/proof-fixture.ts';

const test = suite('attack: fill the disk', { timeoutMs: 180_000 });

const MIB = 1024 * 1024;

async function bytesIn(directory: string): Promise<number> {
  const names = await readdir(directory).catch(() => []);
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(directory, name))).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

test('of what is no key of the circuit a coordinator reads a header', async (t) => {
  const subject = await smallSubject();
  const fixture = await startProving(t, subject);
  const { client } = fixture;
  await fixture.process('coordinator', 'c1');
  const outcome = async (key: string) =>
    (await fixture.ask({ key })).done.then(
      () => 'published',
      (error: RemoteError) => `${error.code}: ${error.message}`,
    );
  const kept = () => bytesIn(folder('cache', 'blobs'));

  // 5,000 times the same MiB: 5 GB for the price of one chunk, and one that says more than a blob may have.
  const zeros = new Uint8Array(MIB);
  const append = async (bytes: Uint8Array) => {
    const digest = sha256Hex(bytes);
    await client.append(subjects.key(client.id, digest), bytes, { msgId: crypto.randomUUID() });
    return digest;
  };
  const chunk = { sha256: await append(zeros), size: zeros.byteLength };
  const bomb = (count: number) => {
    const manifest = {
      type: 'vouch.blob',
      version: 1,
      size: count * zeros.byteLength,
      chunks: Array(count).fill(chunk),
    };
    return append(utf8(JSON.stringify(manifest)));
  };
  assert.match(await outcome(await bomb(5_000)), /^bad-file: \.zkey file: it does not begin with "zkey"/);
  assert.match(await outcome(await bomb(5_001)), /^bad-file: blob \w+: expected a manifest/);
  assert.ok((await kept()) < 8 * MIB);

  // The right key with 40 MiB that are no part of it, and a key with two wires more.
  const right = readBinFile(new Uint8Array(subject.zkey), 'zkey', 1);
  const sections = Array.from({ length: 10 }, (_, index) => [index + 1, right.section(index + 1)] as const);
  const junk = crypto.getRandomValues(new Uint8Array(65_536));
  const stuffing = new Uint8Array(40 * MIB);
  for (let at = 0; at < stuffing.byteLength; at += junk.byteLength) {
    junk[0] = at / junk.byteLength;
    junk[1] = at / junk.byteLength / 256;
    stuffing.set(junk, at);
  }
  const zkey = readZkey(new Uint8Array(subject.zkey));
  const wider = writeZkey({
    ...zkey,
    variables: zkey.variables + 2,
    points: {
      A: Buffer.concat([zkey.points.A, zkey.points.A.subarray(0, 128)]),
      B1: Buffer.concat([zkey.points.B1, zkey.points.B1.subarray(0, 128)]),
      B2: Buffer.concat([zkey.points.B2, zkey.points.B2.subarray(0, 256)]),
      C: Buffer.concat([zkey.points.C, zkey.points.C.subarray(0, 128)]),
      H: zkey.points.H,
    },
  });
  const before = await kept();
  const other = await outcome((await putBlob(client, 'keys', wider)).digest);
  assert.match(other, /^key-rejected: proving key: nVars is \d+, the circuit's is \d+/);
  const stuffed = writeBinFile('zkey', 1, [[99, stuffing], ...sections]);
  await fixture.process('worker', 'w1');
  // It is a right key: a proof is made with it, and the rest of the file is never read.
  assert.is(await outcome((await putBlob(client, 'keys', stuffed)).digest), 'published');
  assert.ok((await kept()) - before < 2 * subject.zkey.byteLength + 12 * MIB, `${await kept()} bytes`);
});

test.run();
