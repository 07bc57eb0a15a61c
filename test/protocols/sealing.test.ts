import { inspect } from 'node:util';
import { randomBytes, utf8 } from '../../protocols/encoding.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import {
  createReplayGuard,
  decryptBlob,
  encryptBlob,
  generateBlobKey,
  generateSealingKeyPair,
  MAX_PLAINTEXT_BYTES,
  open,
  prepareSeal,
  SEAL_OVERHEAD_BYTES,
  SEALING_INFO,
  sealTo,
} from '../../protocols/sealing.ts';
import { assert, suite } from '../harness.ts';

const test = suite('sealing');
const context = { info: SEALING_INFO.infer, aad: utf8('vouch.v1.infer.credit.e1') };
const text = utf8('one application');

async function errorOf(work: Promise<unknown>): Promise<VouchError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof VouchError) return error;
    throw error;
  }
  throw new Error('expected a VouchError, got a result');
}
const codeOf = async (work: Promise<unknown>) => (await errorOf(work)).code;

test('a request and its reply travel', async () => {
  const pair = await generateSealingKeyPair();
  const request = await sealTo(pair.publicKey, text, context);
  assert.is(request.sealed.length, text.length + 2 + 32 + 16);
  const opened = await open(pair, request.sealed, context);
  assert.equal(opened.plaintext, text);
  assert.equal(opened.enc, request.sealed.slice(2, 34));
  const reply = await opened.sealReply(utf8('approved'));
  assert.equal(await request.openReply(reply), utf8('approved'));
  assert.is(reply.length, 32 + 'approved'.length + 16);
});

test('empty messages travel, too', async () => {
  const pair = await generateSealingKeyPair();
  const request = await sealTo(pair.publicKey, new Uint8Array(), { info: SEALING_INFO.shard });
  const opened = await open(pair, request.sealed, { info: SEALING_INFO.shard });
  assert.is(opened.plaintext.length, 0);
  assert.is((await request.openReply(await opened.sealReply(new Uint8Array()))).length, 0);
});

test('a view and shared memory are sealed like any bytes', async () => {
  const pair = await generateSealingKeyPair();
  const shared = new Uint8Array(new SharedArrayBuffer(64)).fill(7);
  for (const bytes of [shared, new Uint8Array(100).fill(7).subarray(10, 74)]) {
    const request = await sealTo(pair.publicKey, bytes, { ...context, aad: bytes });
    const opened = await open(pair, request.sealed, { ...context, aad: bytes });
    assert.equal([...opened.plaintext], [...bytes]);
    assert.equal([...(await request.openReply(await opened.sealReply(bytes)))], [...bytes]);
  }
});

test('two seals of one message share nothing', async () => {
  const pair = await generateSealingKeyPair();
  const [a, b] = await Promise.all([
    sealTo(pair.publicKey, text, context),
    sealTo(pair.publicKey, text, context),
  ]);
  assert.not.equal(a.sealed.slice(2, 34), b.sealed.slice(2, 34));
  assert.not.equal(a.sealed.slice(34), b.sealed.slice(34));
});

test('a flipped bit anywhere, and every other length, is refused with one and the same error', async () => {
  const pair = await generateSealingKeyPair();
  const { sealed } = await sealTo(pair.publicKey, text, context);
  const messages = new Set<string>();
  const expectRefusal = async (bytes: Uint8Array) => {
    const error = await errorOf(open(pair, bytes, context));
    assert.is(error.code, 'seal-rejected');
    assert.is(error.cause, undefined);
    messages.add(messageOf(error));
  };
  for (let bit = 0; bit < sealed.length * 8; bit += 3) {
    const flipped = sealed.slice();
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    await expectRefusal(flipped);
  }
  // The highest bit of an X25519 coordinate is ignored by the curve, but not by HPKE.
  const highBit = sealed.slice();
  highBit[31]! ^= 0x80;
  await expectRefusal(highBit);
  for (let length = 0; length < sealed.length; length += 5) await expectRefusal(sealed.subarray(0, length));
  await expectRefusal(Uint8Array.of(...sealed, 0));
  assert.is(messages.size, 1);
});

test('another key, purpose or aad does not open', async () => {
  const pair = await generateSealingKeyPair();
  const other = await generateSealingKeyPair();
  const { sealed } = await sealTo(pair.publicKey, text, context);
  assert.is(await codeOf(open(other, sealed, context)), 'seal-rejected');
  assert.is(await codeOf(open(pair, sealed, { ...context, info: SEALING_INFO.shard })), 'seal-rejected');
  assert.is(await codeOf(open(pair, sealed, { info: context.info })), 'seal-rejected');
  assert.is(
    await codeOf(open(pair, sealed, { ...context, aad: utf8('vouch.v1.infer.credit.e2') })),
    'seal-rejected',
  );
});

test('a reply opens only for its own request, and not when it was changed', async () => {
  const pair = await generateSealingKeyPair();
  const [a, b] = await Promise.all([
    sealTo(pair.publicKey, text, context),
    sealTo(pair.publicKey, text, context),
  ]);
  const opened = await open(pair, a.sealed, context);
  const reply = await opened.sealReply(text);
  assert.is(await codeOf(b.openReply(reply)), 'seal-rejected');
  for (const at of [0, 31, 32, reply.length - 1]) {
    const flipped = reply.slice();
    flipped[at]! ^= 1;
    assert.is(await codeOf(a.openReply(flipped)), 'seal-rejected');
  }
  assert.is(await codeOf(a.openReply(reply.subarray(0, 47))), 'seal-rejected');
  assert.not.equal(await opened.sealReply(text), reply);
});

test('public keys of the wrong length or of small order are refused', async () => {
  const one = Uint8Array.of(1, ...new Uint8Array(31));
  for (const key of [new Uint8Array(0), new Uint8Array(31), new Uint8Array(33), new Uint8Array(32), one]) {
    assert.is(await codeOf(sealTo(key, text, context)), 'seal-rejected');
  }
});

test('a message above the limit is refused before any work', async () => {
  const pair = await generateSealingKeyPair();
  // Only the length is looked at: this allocates address space, not memory.
  const huge = new Uint8Array(MAX_PLAINTEXT_BYTES + SEAL_OVERHEAD_BYTES + 1);
  assert.is(await codeOf(sealTo(pair.publicKey, huge, context)), 'too-large');
  assert.is(await codeOf(open(pair, huge, context)), 'seal-rejected');
  assert.is(await codeOf(encryptBlob(generateBlobKey(), huge, utf8(''))), 'too-large');
  // Keys that do not work are not even tried.
  assert.is(await codeOf(sealTo(new Uint8Array(32), huge, context)), 'too-large');
  assert.is(await codeOf(encryptBlob(new Uint8Array(16), huge, utf8(''))), 'too-large');
});

test('a replayed message is refused, also when both copies arrive at once', async () => {
  const pair = await generateSealingKeyPair();
  const replays = createReplayGuard();
  const { sealed } = await sealTo(pair.publicKey, text, context);
  await open(pair, sealed, { ...context, replays });
  assert.is(await codeOf(open(pair, sealed, { ...context, replays })), 'replayed');
  const second = await sealTo(pair.publicKey, text, context);
  const results = await Promise.allSettled(
    [1, 2, 3].map(() => open(pair, second.sealed, { ...context, replays })),
  );
  assert.is(results.filter(({ status }) => status === 'fulfilled').length, 1);
  assert.is(replays.size, 2);
});

test('the replay guard counts only what opened, and fails closed when full', async () => {
  const pair = await generateSealingKeyPair();
  const replays = createReplayGuard({ limit: 2 });
  for (let i = 0; i < 5; i++) {
    assert.is(await codeOf(open(pair, randomBytes(100), { ...context, replays })), 'seal-rejected');
  }
  assert.is(replays.size, 0);
  const requests = await Promise.all([1, 2, 3].map(() => sealTo(pair.publicKey, text, context)));
  await open(pair, requests[0]!.sealed, { ...context, replays });
  await open(pair, requests[1]!.sealed, { ...context, replays });
  assert.is(await codeOf(open(pair, requests[2]!.sealed, { ...context, replays })), 'busy');
  assert.is(await codeOf(open(pair, requests[1]!.sealed, { ...context, replays })), 'replayed');
});

test('a blob opens with its key and aad only', async () => {
  const key = generateBlobKey();
  const blob = await encryptBlob(key, text, utf8('credit'));
  assert.is(blob.length, text.length + 12 + 16);
  assert.equal(await decryptBlob(key, blob, utf8('credit')), text);
  assert.is(await codeOf(decryptBlob(generateBlobKey(), blob, utf8('credit'))), 'seal-rejected');
  assert.is(await codeOf(decryptBlob(key, blob, utf8('other'))), 'seal-rejected');
  for (const at of [0, 11, 12, blob.length - 1]) {
    const flipped = blob.slice();
    flipped[at]! ^= 1;
    assert.is(await codeOf(decryptBlob(key, flipped, utf8('credit'))), 'seal-rejected');
  }
  assert.is(await codeOf(decryptBlob(key, blob.subarray(0, 27), utf8('credit'))), 'seal-rejected');
  await encryptBlob(new Uint8Array(16), text, utf8('')).then(
    () => assert.unreachable('a short key was taken'),
    (error) => assert.instance(error, RangeError),
  );
});

test('private keys cannot be exported and do not show', async () => {
  const pair = await generateSealingKeyPair();
  for (const format of ['jwk', 'pkcs8'] as const) {
    await crypto.subtle.exportKey(format, pair.handle.privateKey).then(
      () => assert.unreachable('the private key was exported'),
      (error) => assert.ok(error),
    );
  }
  assert.is(JSON.stringify(pair.handle.privateKey), '{}');
  assert.not.match(inspect(pair.handle, { depth: 10 }), /[0-9a-f]{64}/);
});

test('4 MB, the size of a large shard, travel whole', async () => {
  const pair = await generateSealingKeyPair();
  const body = randomBytes(64 * 1024);
  const large = new Uint8Array(4 * 1024 * 1024);
  for (let at = 0; at < large.length; at += body.length) large.set(body, at);
  const { sealed } = await sealTo(pair.publicKey, large, context);
  const { plaintext } = await open(pair, sealed, context);
  assert.is(Buffer.compare(plaintext, large), 0);
});

test('what is prepared is for one message', async () => {
  const pair = await generateSealingKeyPair();
  const prepared = await prepareSeal(pair.publicKey, context.info);
  const { sealed } = await prepared.seal(text, context.aad);
  assert.equal((await open(pair, sealed, context)).plaintext, text);
  const again = await prepared.seal(text, context.aad).catch((error: unknown) => error);
  assert.instance(again, RangeError);
});

test.run();
