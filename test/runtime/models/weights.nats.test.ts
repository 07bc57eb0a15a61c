/**
 * A model's files by way of the brokers and the blob store into memory: whole, checked, and refused by name where a chunk is
 * missing, changed, or another's. The file is larger than a chunk; that no size matters follows from reading by chunks, which
 * the slow tier tries beyond 2 GiB.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bytesSource } from '../../../circuits/groth16/source.ts';
import { concat, hex, utf8 } from '../../../protocols/encoding.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { encryptBlob, generateBlobKey } from '../../../protocols/sealing.ts';
import { STREAMS } from '../../../protocols/streams.ts';
import { subjects } from '../../../protocols/subjects.ts';
import { TEXT_TERMS } from '../../../protocols/terms.ts';
import { defaultsBytes, encodeIndex, weightsCommitment } from '../../../protocols/weights.ts';
import { chunkCipher, leafOf, WEIGHTS_CHUNK_BYTES } from '../../../protocols/weights-chunks.ts';
import { createIdentity } from '../../../runtime/attest/identity.ts';
import { keepChunks } from '../../../runtime/home/kept-chunks.ts';
import { createMemoryFolder } from '../../../runtime/home/memory-folder.ts';
import { modelAad } from '../../../runtime/models/broker-store.ts';
import { obtainModel, readManifest } from '../../../runtime/models/obtain.ts';
import { publishSealed } from '../../../runtime/models/publish.ts';
import { compareText, obtainText, publishText } from '../../../runtime/models/weights.ts';
import { getManifest, putBlob } from '../../../runtime/nats/blobs.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import { startBroker, startHome } from '../home/home-fixture.ts';
import { temporaryFolder } from '../nats/nats-fixture.ts';

const test = suite('weights over NATS', { timeoutMs: 60_000 });

const WEIGHTS = concat(
  ...Array.from({ length: 2 * 1024 + 1 }, (_, i) => new Uint8Array(4096).fill(i)),
  utf8('end'),
);
const DEFAULTS = { context: 256, maxTokens: 64, temperature: 0, topP: 1 };
const TEMPLATE = utf8('{{ messages }}');

async function published(t: TestContext) {
  const home = await startHome(t);
  const manifest = await publishText(home.observer, 'provisioner.test', {
    name: 'chat',
    weights: bytesSource(WEIGHTS),
    template: TEMPLATE,
    defaults: DEFAULTS,
    policy: home.policies.release,
  });
  await home.role('broker', 'broker-1', startBroker);
  const bus = await home.bus('runner', 'e1');
  const asking = [bus, 'runner.e1', await createIdentity('runner', 'e1'), 'chat'] as const;
  return { ...home, manifest, asking };
}
async function refusal(work: Promise<unknown>): Promise<VouchError> {
  const error = await work.then(
    () => assert.unreachable('it was taken'),
    (failure: unknown) => failure,
  );
  assert.ok(error instanceof VouchError, String(error));
  return error as VouchError;
}
const ours = async () => (await readdir('/dev/shm')).filter((name) => name.startsWith('vouch-'));

test('files come into memory as they were, and go with it', async (t) => {
  const { asking, manifest } = await published(t);
  assert.equal([manifest.commitmentKind, manifest.terms.answers], ['hash', 'text']);
  const obtained = await obtainText(asking, createMemoryFolder);
  const { weights, template } = obtained.files;
  const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  assert.is(digest(readFileSync(weights!)), digest(WEIGHTS));
  assert.is(hex(readFileSync(template!)), hex(TEMPLATE));
  assert.match(weights!, /^\/dev\/shm\//);
  assert.is(statSync(weights!).mode & 0o777, 0o400);
  await obtained[Symbol.asyncDispose]();
  assert.not(existsSync(weights!));
});

test('what a killed process has left in memory is removed by the next one', async () => {
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  const [orphan, living] = [`/dev/shm/vouch-${pid}-abcdef`, `/dev/shm/vouch-${process.pid}-abcdef`];
  for (const path of [orphan, living]) await mkdir(path);
  const folder = await createMemoryFolder(1);
  assert.equal([existsSync(orphan), existsSync(living)], [false, true]);
  await folder[Symbol.asyncDispose]();
  await rmdir(living);
});

test('a folder on a disk is refused, before anything is written', async (t) => {
  const { asking } = await published(t);
  const error = await refusal(obtainText(asking, (bytes) => createMemoryFolder(bytes, import.meta.dirname)));
  assert.is(error.code, 'not-ready');
  assert.match(error.message, 'file system in memory');
  assert.is((await refusal(obtainText(asking, () => createMemoryFolder(2 ** 60)))).code, 'out-of-memory');
});

test('a chunk that is missing or changed in the store is refused by name, and nothing is left in memory', async (t) => {
  const { asking, observer, manifest } = await published(t);
  const before = await ours();
  const place = { shelf: 'sealedModels', writer: 'the vendor' } as const;
  const index = await getManifest(observer, place, manifest.sealedModel, { maxBytes: 2 ** 30 });
  const digest = index.chunks[0]!.sha256;
  await observer.append(subjects.sealedModel(digest), utf8('something else'));
  const error = await refusal(obtainText(asking, createMemoryFolder));
  assert.is(error.code, 'bad-file');
  assert.match(error.message, digest);
  assert.equal(await ours(), before);
});

test('encrypted chunks that were kept are read again without the server; what the host has made of them never counts', async (t) => {
  const { asking, observer, manifest } = await published(t);
  const folder = join(await temporaryFolder(t), 'weights');
  const kept = keepChunks(folder, 2 ** 30);
  /** The weights as they are in memory after another load. */
  const load = async () => {
    await using obtained = await obtainText(asking, createMemoryFolder, { kept });
    return readFileSync(obtained.files.weights!);
  };
  const isWhole = async () => Buffer.compare(await load(), WEIGHTS) === 0;
  assert.ok(await isWhole());
  const names = await readdir(folder);
  const files = names.map((name) => readFileSync(join(folder, name)));
  assert.not.ok(
    [WEIGHTS.subarray(4096, 4096 + 64), TEMPLATE].some((part) =>
      files.some((bytes) => bytes.includes(Buffer.from(part))),
    ),
    'nothing of the plaintext is on the disk',
  );
  const leaf = leafOf(WEIGHTS.subarray(0, WEIGHTS_CHUNK_BYTES));
  assert.not.ok(names.includes(hex(leaf)), 'nor a digest by which known weights could be found out');
  const large = names.filter((_, i) => files[i]!.length > WEIGHTS_CHUNK_BYTES);
  assert.is(large.length, 2);
  const [one, other] = large.map((name) => join(folder, name)) as [string, string];
  // The operator of the host: a byte, cut off, the other chunk, a larger file. What is right comes from the server again.
  const before = readFileSync(one);
  const flipped = Buffer.from(before);
  flipped[1000]! ^= 1;
  for (const damaged of [flipped, before.subarray(1), readFileSync(other), Buffer.concat([before, before])]) {
    await writeFile(one, damaged);
    assert.ok(await isWhole());
    assert.is(Buffer.compare(readFileSync(one), before), 0, 'what was damaged is mended');
  }
  // The server has nothing of it any more, but what was read is here.
  const place = { shelf: 'sealedModels', writer: 'the vendor' } as const;
  const index = await getManifest(observer, place, manifest.sealedModel, { maxBytes: 2 ** 30 });
  const stored = [...(await observer.subjectsOf(STREAMS.sealedModels.name, '>')).keys()];
  assert.ok(stored.length > index.chunks.length);
  for (const subject of stored) await observer.append(subject, utf8('something else'));
  assert.ok(await isWhole());
  await writeFile(one, flipped);
  assert.is((await refusal(load())).code, 'bad-file');
});

test('a chunk that is not the committed one is refused, even where it is sealed with the very key', async (t) => {
  const { asking, observer, policies } = await published(t);
  const name = 'chat';
  const defaults = defaultsBytes({ defaults: DEFAULTS });
  const chunks = [
    WEIGHTS.subarray(0, WEIGHTS_CHUNK_BYTES),
    WEIGHTS.subarray(WEIGHTS_CHUNK_BYTES, WEIGHTS_CHUNK_BYTES + 9),
  ];
  const parts = [
    { name: 'weights' as const, bytes: WEIGHTS_CHUNK_BYTES + 9, leaves: chunks.map(leafOf) },
    { name: 'defaults' as const, bytes: defaults.length, leaves: [leafOf(defaults)] },
  ];
  const salt = new Uint8Array(32).fill(1);
  const commitment = weightsCommitment(salt, parts);
  /** Publishes with these bytes where the second chunk should be. */
  const publishWith = async (second: Uint8Array | undefined, at = 1) => {
    const key = generateBlobKey();
    const stored = [];
    for (const part of parts) {
      const cipher = chunkCipher(key, {
        model: name,
        commitment,
        part: part.name,
        chunks: part.leaves.length,
      });
      const sealed =
        part.name === 'weights'
          ? [await cipher.seal(0, chunks[0]!), second ? await cipher.seal(at, second) : new Uint8Array()]
          : [await cipher.seal(0, defaults)];
      const { digest } = await putBlob(observer, 'sealedModels', concat(...sealed));
      stored.push({ ...part, blobs: [digest] });
    }
    const index = await encryptBlob(key, encodeIndex({ salt, parts: stored }), modelAad(name, commitment));
    const { digest } = await putBlob(observer, 'sealedModels', index);
    await publishSealed(
      observer,
      'provisioner.test',
      { name, policy: policies.release },
      {
        commitment,
        commitmentKind: 'hash',
        architecture: {
          type: 'text-model',
          version: 1,
          format: 'gguf',
          parts: parts.map(({ name, bytes }) => ({ name, bytes })),
          defaults: DEFAULTS,
        },
        terms: TEXT_TERMS,
        sealedModel: digest,
        key,
      },
    );
    return obtainText(asking, createMemoryFolder);
  };
  await (await publishWith(chunks[1]!))[Symbol.asyncDispose]();
  const changed = await refusal(publishWith(chunks[1]!.with(3, 1)));
  assert.equal(
    [changed.code, /chunk 1 of part weights/.test(changed.message)],
    ['commitment-mismatch', true],
  );
  const moved = await refusal(publishWith(chunks[1]!, 0));
  assert.equal([moved.code, /chunk 1 of part weights/.test(moved.message)], ['seal-rejected', true]);
  const cut = await refusal(publishWith(undefined));
  assert.equal([cut.code, /chunk 1 of part weights/.test(cut.message)], ['bad-file', true]);
});

test("an upstream's files are compared with the commitment: another byte, size or template is refused", async (t) => {
  const { asking } = await published(t);
  const folder = await mkdtemp(join(tmpdir(), 'vouch-upstream-'));
  const [weights, template] = [join(folder, 'weights'), join(folder, 'template')];
  await writeFile(weights, WEIGHTS);
  await writeFile(template, TEMPLATE);
  assert.is((await compareText(asking, { weights, template })).files.weights, weights);
  assert.match((await refusal(compareText(asking, { weights }))).message, 'part template');
  await writeFile(template, utf8('{{ Messages }}'));
  assert.match(
    (await refusal(compareText(asking, { weights, template }))).message,
    'chunk 0 of part template',
  );
  await writeFile(weights, WEIGHTS.with(WEIGHTS_CHUNK_BYTES, 77));
  assert.match(
    (await refusal(compareText(asking, { weights, template }))).message,
    'chunk 1 of part weights',
  );
  await writeFile(weights, WEIGHTS.subarray(1));
  assert.is((await refusal(compareText(asking, { weights, template }))).code, 'commitment-mismatch');
});

test('such a model is none of rows: whoever wants to compute with it as one is refused', async (t) => {
  const { asking } = await published(t);
  const [bus, source, identity, model] = asking;
  assert.match((await refusal(obtainModel(bus, source, identity, model))).message, 'answers in text');
  assert.is((await readManifest(bus, model)).manifest.commitmentKind, 'hash');
});

test.run();
