/**
 * The commitment of a model's files: computed again by the text of docs/PROTOCOL.md with Node's hashes, and changed by
 * everything that is part of it. What is sealed of a model opens in its place only.
 */
import { createHash } from 'node:crypto';
import { encode, rfc8949EncodeOptions } from 'cborg';
import { fieldBytes } from '../../protocols/attestation/report-data.ts';
import { generateSigner } from '../../protocols/cose.ts';
import { base64url, canonicalJson, hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { type ModelManifest, signManifest, verifyManifest } from '../../protocols/manifest.ts';
import { DEFAULT_TERMS, TEXT_TERMS } from '../../protocols/terms.ts';
import { encodeIndex, openIndex, type Part, rootOf, weightsCommitment } from '../../protocols/weights.ts';
import {
  type ChunkCipher,
  chunkCipher,
  leafOf,
  type PartName,
  WEIGHTS_CHUNK_BYTES,
} from '../../protocols/weights-chunks.ts';
import { assert, suite } from '../harness.ts';

const test = suite('weights');

const SALT = new Uint8Array(32).fill(7);
const DEFAULTS = { context: 8192, maxTokens: 64, temperature: 1, topP: 1 };
const part = (name: PartName, bytes: Uint8Array): Part & { blobs: string[] } => {
  const leaves: Uint8Array[] = [];
  for (let at = 0; at === 0 || at < bytes.length; at += WEIGHTS_CHUNK_BYTES)
    leaves.push(leafOf(bytes.subarray(at, at + WEIGHTS_CHUNK_BYTES)));
  return { name, bytes: bytes.length, leaves, blobs: ['ab'.repeat(32)] };
};
/** Three chunks, the last one shorter. */
const WEIGHTS = new Uint8Array(2 * WEIGHTS_CHUNK_BYTES + 5).fill(1).map((_, i) => i % 251);
const PARTS = [
  part('weights', WEIGHTS),
  part('tokenizer', utf8('tokens')),
  part('template', utf8('{{ messages }}')),
  part('defaults', utf8(canonicalJson(DEFAULTS))),
];
const manifestOf = (changes: Partial<ModelManifest> = {}, parts: readonly Part[] = PARTS) =>
  ({
    name: 'chat',
    commitment: weightsCommitment(SALT, parts),
    commitmentKind: 'hash',
    architecture: {
      type: 'text-model',
      version: 1,
      format: 'gguf',
      parts: parts.map(({ name, bytes }) => ({ name, bytes })),
      defaults: DEFAULTS,
    },
    ...changes,
  }) as ModelManifest;

test('the commitment is what the document says', () => {
  const sha = (...parts: Uint8Array[]) => {
    const hash = createHash('sha256');
    for (const each of parts) hash.update(each);
    return new Uint8Array(hash.digest());
  };
  const leaf = (chunk: Uint8Array) => sha(utf8('vouch/v1/weights-leaf\0'), chunk);
  const node = (a: Uint8Array, b: Uint8Array) => sha(utf8('vouch/v1/weights-node\0'), a, b);
  const chunks = [0, 1, 2].map((i) =>
    leaf(WEIGHTS.subarray(i * WEIGHTS_CHUNK_BYTES, (i + 1) * WEIGHTS_CHUNK_BYTES)),
  );
  const roots = [
    node(node(chunks[0]!, chunks[1]!), chunks[2]!),
    ...['tokens', '{{ messages }}', canonicalJson(DEFAULTS)].map((text) => leaf(utf8(text))),
  ];
  const described = PARTS.map(({ name, bytes }, i) => [name, bytes, roots[i]]);
  const digest = sha(utf8('vouch/v1/weights\0'), SALT, encode(described, rfc8949EncodeOptions));
  digest[31]! &= 0x1f;
  assert.is(hex(fieldBytes(weightsCommitment(SALT, PARTS))), hex(digest));
});

test('roots have the shape of RFC 9162, and no two lists of leaves share one', () => {
  const leaves = Array.from({ length: 9 }, (_, i) => leafOf(Uint8Array.of(i)));
  const roots = leaves.map((_, i) => hex(rootOf(leaves.slice(0, i + 1))));
  assert.is(new Set(roots).size, roots.length);
  const [a, b] = [rootOf(leaves.slice(0, 4)), rootOf(leaves.slice(4, 7))];
  assert.is(hex(rootOf(leaves.slice(0, 7))), hex(rootOf([a, b])), 'four and three');
});

test('whatever is changed of a model changes its commitment', () => {
  const before = weightsCommitment(SALT, PARTS);
  const others = [
    weightsCommitment(SALT.with(0, 8), PARTS),
    weightsCommitment(SALT, PARTS.with(0, part('weights', WEIGHTS.with(WEIGHTS.length - 1, 250)))),
    weightsCommitment(SALT, PARTS.with(0, part('weights', WEIGHTS.subarray(0, -1)))),
    weightsCommitment(SALT, PARTS.with(1, part('tokenizer', utf8('tokenz')))),
    weightsCommitment(SALT, PARTS.with(2, part('template', utf8('{{ message }}')))),
    weightsCommitment(SALT, PARTS.toSpliced(2, 1)),
    // The same bytes under another name.
    weightsCommitment(SALT, [PARTS[0]!, part('template', utf8('tokens')), PARTS[3]!]),
  ];
  assert.is(new Set([before, ...others]).size, others.length + 1);
  assert.throws(() => weightsCommitment(SALT, PARTS.toReversed()), RangeError);
  assert.throws(() => weightsCommitment(SALT, [PARTS[0]!, PARTS[0]!]), RangeError);
});

test('an index is opened for its own manifest only, and says what differs', () => {
  const encoded = encodeIndex({ salt: SALT, parts: PARTS });
  assert.is(openIndex(encoded, manifestOf()).parts.length, 4);
  const refusals: [string, Uint8Array, ModelManifest][] = [
    ['commitment', encodeIndex({ salt: SALT.with(3, 1), parts: PARTS }), manifestOf()],
    [
      'weights, tokenizer, template',
      encodeIndex({ salt: SALT, parts: PARTS.with(1, part('tokenizer', utf8('tokenz'))) }),
      manifestOf(),
    ],
    [
      'weights, tokenizer, template',
      encodeIndex({ salt: SALT, parts: PARTS.with(2, part('template', utf8('{{ Messages }}'))) }),
      manifestOf(),
    ],
    ['its parts are', encodeIndex({ salt: SALT, parts: PARTS.toSpliced(1, 1) }), manifestOf()],
    [
      'defaults',
      encoded,
      manifestOf({
        architecture: { ...manifestOf().architecture, defaults: { ...DEFAULTS, temperature: 2 } },
      }),
    ],
    [
      'do not fit',
      encodeIndex({ salt: SALT, parts: PARTS.with(0, { ...PARTS[0]!, leaves: PARTS[0]!.leaves.slice(1) }) }),
      manifestOf(),
    ],
  ];
  for (const [what, bytes, manifest] of refusals) {
    try {
      openIndex(bytes, manifest);
      assert.unreachable(what);
    } catch (error) {
      assert.ok(error instanceof VouchError && error.code === 'commitment-mismatch', String(error));
      assert.match((error as Error).message, what);
    }
  }
});

test('a chunk opens in its own place: not of another part, number, count, model or key', async () => {
  const key = new Uint8Array(32).fill(9);
  const place = { model: 'chat', commitment: '123', part: 'weights', chunks: 3 } as const;
  // More than the pieces in which it is opened.
  const chunk = new Uint8Array(600_000).map((_, i) => i * i);
  const sealed = await chunkCipher(key, place).seal(1, chunk);
  const opened = new Uint8Array(chunk.length);
  const open = (cipher: ChunkCipher, index = 1, bytes = sealed, leaf = leafOf(chunk)) =>
    cipher.open(index, bytes, leaf, opened);
  await open(chunkCipher(key, place));
  assert.is(Buffer.compare(opened, chunk), 0);
  const changed = sealed.with(-1, sealed.at(-1)! ^ 1);
  const wrong = [
    () => open(chunkCipher(key, place), 2),
    () => open(chunkCipher(key, { ...place, part: 'template' })),
    () => open(chunkCipher(key, { ...place, chunks: 4 })),
    () => open(chunkCipher(key, { ...place, model: 'other' })),
    () => open(chunkCipher(key, { ...place, commitment: '124' })),
    () => open(chunkCipher(key.with(0, 1), place)),
    () => open(chunkCipher(key, place), 1, changed),
    () => open(chunkCipher(key, place), 1, sealed, leafOf(chunk.subarray(1))),
  ];
  for (const [i, attempt] of wrong.entries()) {
    const error = await attempt().then(
      () => undefined,
      (failure: unknown) => failure as VouchError,
    );
    assert.is(error?.code, i === wrong.length - 1 ? 'commitment-mismatch' : 'seal-rejected');
    assert.match(error!.message, /chunk \d of part/);
  }
});

test('a manifest says its kind: text where the commitment is a hash, and only there', async () => {
  const vendor = await generateSigner();
  const content = {
    name: 'chat',
    commitment: '123',
    architecture: {},
    policy: '00'.repeat(32),
    sealedModel: '00'.repeat(32),
    releaseKeys: [base64url(vendor.publicKey)],
    serial: 1,
  };
  const made = await signManifest(vendor, { ...content, commitmentKind: 'hash', terms: TEXT_TERMS });
  assert.is(verifyManifest(made).manifest.commitmentKind, 'hash');
  for (const wrong of [
    { ...content, terms: TEXT_TERMS },
    { ...content, commitmentKind: 'hash' as const, terms: DEFAULT_TERMS },
  ])
    await signManifest(vendor, wrong).then(
      () => assert.unreachable('it was signed'),
      (error: Error) => assert.match(error.message, 'answers in text'),
    );
  // The kind is part of what is signed.
  const { commitmentKind: _, ...stripped } = made.manifest;
  assert.throws(() => verifyManifest({ ...made, manifest: stripped as ModelManifest }));
});

test.run();
