import { encode, Tagged } from 'cborg';
import { encodeCbor } from '../../protocols/cbor.ts';
import { generateSigner, signerFromSeed, signStatement, verifyStatement } from '../../protocols/cose.ts';
import { fromHex, hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { assert, suite } from '../harness.ts';

const test = suite('cose', { timeoutMs: 60_000 });
const TYPE = 'application/vouch-test';
const limits = { maxPayloadBytes: 100 };
const codeOf = (work: () => unknown): string => {
  try {
    work();
    return 'none';
  } catch (error) {
    if (error instanceof VouchError) return error.code;
    throw error;
  }
};

test('a seed gives the key and signature of RFC 8032 section 7.1, test 2', async () => {
  const signer = await signerFromSeed(
    fromHex('4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb'),
  );
  assert.is(hex(signer.publicKey), '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c');
  assert.is(
    hex(await signer.sign(Uint8Array.of(0x72))),
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da' +
      '085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
  );
});

test('a statement has the documented layout and verifies', async () => {
  const signer = await generateSigner();
  const payload = utf8('payload');
  const statement = await signStatement(signer, TYPE, payload);
  assert.equal(verifyStatement(signer.publicKey, TYPE, statement, limits), payload);
  const header = encodeCbor(
    new Map<number, unknown>([
      [1, -8],
      [3, TYPE],
    ]),
  );
  const signed = encodeCbor(['Signature1', header, new Uint8Array(), payload]);
  const expected = encodeCbor(new Tagged(18, [header, {}, payload, await signer.sign(signed)]));
  assert.is(hex(statement), hex(expected));
});

test('a flipped bit anywhere is refused', async () => {
  const signer = await generateSigner();
  const statement = await signStatement(signer, TYPE, utf8('payload'));
  for (let bit = 0; bit < statement.length * 8; bit++) {
    const flipped = statement.slice();
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    assert.not.equal(
      codeOf(() => verifyStatement(signer.publicKey, TYPE, flipped, limits)),
      'none',
      `bit ${bit}`,
    );
  }
});

test('another key, content type, size or form is refused', async () => {
  const signer = await generateSigner();
  const other = await generateSigner();
  const statement = await signStatement(signer, TYPE, utf8('payload'));
  const verify = (bytes: Uint8Array, { key = signer.publicKey as Uint8Array, type = TYPE } = {}) =>
    codeOf(() => verifyStatement(key, type, bytes, limits));
  assert.is(verify(statement), 'none');
  assert.is(verify(statement, { key: other.publicKey }), 'signature-rejected');
  assert.is(verify(statement, { key: new Uint8Array(31) }), 'signature-rejected');
  assert.is(verify(statement, { type: 'application/vouch-other' }), 'bad-message');
  assert.is(verify(statement.subarray(1)), 'bad-message');
  assert.is(verify(await signStatement(signer, TYPE, new Uint8Array(101))), 'bad-message');
  assert.is(verify(await signStatement(signer, TYPE, new Uint8Array(1000))), 'too-large');
  // A header that is not signed must not carry anything.
  const header = encodeCbor(
    new Map<number, unknown>([
      [1, -8],
      [3, TYPE],
    ]),
  );
  const signature = await signer.sign(encodeCbor(['Signature1', header, new Uint8Array(), utf8('p')]));
  assert.is(verify(encode(new Tagged(18, [header, {}, utf8('p'), signature]))), 'none');
  assert.is(verify(encode(new Tagged(18, [header, { x: 1 }, utf8('p'), signature]))), 'bad-message');
  assert.is(verify(encode(new Tagged(17, [header, {}, utf8('p'), signature]))), 'bad-message');
});

test('a key of small order signs nothing', () => {
  // The neutral element as key and R, S = 0: lenient verifiers accept this for every message.
  const neutral = Uint8Array.of(1, ...new Uint8Array(31));
  const header = encodeCbor(
    new Map<number, unknown>([
      [1, -8],
      [3, TYPE],
    ]),
  );
  const signature = new Uint8Array(64);
  signature[0] = 1;
  const statement = encodeCbor(new Tagged(18, [header, {}, utf8('anything'), signature]));
  assert.is(
    codeOf(() => verifyStatement(neutral, TYPE, statement, limits)),
    'signature-rejected',
  );
});

test.run();
