/** X-Wing against the vectors of draft-connolly-cfrg-xwing-kem-08, appendix C, and inside a seal. */
import { fromHex, hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import {
  createReplayGuard,
  generateSealingKeyPair,
  open,
  SEALING_INFO,
  sealTo,
} from '../../protocols/sealing.ts';
import { createXWing, X_WING_ENC_BYTES, X_WING_PUBLIC_KEY_BYTES } from '../../protocols/x-wing.ts';
import { assert, suite } from '../harness.ts';

const test = suite('x-wing');
const kem = createXWing();
const context = { info: SEALING_INFO.infer, aad: utf8('vouch.v1.infer.credit.e1') };

/**
 * Of public key and ciphertext only the ends are here: the shared secret depends on all of the first, and
 * decapsulation, which encrypts again and compares, on all of the second.
 */
const VECTORS = [
  {
    seed: '7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26',
    eseed:
      '3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e235b8cc873c23dc62b8d260169afa2f75ab916a58d974918835d25e6a435085b2',
    ss: 'd2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384',
    pk: ['e2236b35a8c24b39b10aa1323a96a919', '16223593d4ba32d9abac8cd049040ef6534'],
    ct: ['b83aa828d4d62b9a83ceffe1d3d3bb1e', '0e41d354274a079d3e6fb2e15'],
  },
  {
    seed: 'badfd6dfaac359a5efbb7bcc4b59d538df9a04302e10c8bc1cbf1a0b3a5120ea',
    eseed:
      '17cda7cfad765f5623474d368ccca8af0007cd9f5e4c849f167a580b14aabdefaee7eef47cb0fca9767be1fda69419dfb927e9df07348b196691abaeb580b32d',
    ss: 'f2e86241c64d60f6649fbc6c5b7d17180b780a3f34355e64a85749949c45f150',
    pk: ['0333285fa253661508c9fb444852caa4', '926d96ea8a160b8843f1c89c62'],
    ct: ['c93beb22326705699bbc3d1d0aa6339b', 'ea4127ae66312f4ae3ea155b67'],
  },
  {
    seed: 'ef58538b8d23f87732ea63b02b4fa0f4873360e2841928cd60dd4cee8cc0d4c9',
    eseed:
      '22a96188d032675c8ac850933c7aff1533b94c834adbb69c6115bad4692d8619f90b0cdf8a7b9c264029ac185b70b83f2801f2f4b3f70c593ea3aeeb613a7f1b',
    ss: '953f7f4e8c5b5049bdc771d1dffada0dd961477d1a2ae0988baa7ea6898d893f',
    pk: ['36244278824f77c621c660892c1c3886', '99f555dcc2b787ea4f6f16ffdf66952461'],
    ct: ['0d2e38cbf17a2e2e4e0c87a94ca1e770', '7c825590688d203523f527161137334'],
  },
];

for (const [i, { seed, eseed, ss, pk, ct }] of VECTORS.entries()) {
  test(`vector ${i + 1} of the draft`, async () => {
    const pair = await kem.deriveKeyPair(fromHex(seed));
    const publicKey = hex(new Uint8Array(await kem.serializePublicKey(pair.publicKey)));
    assert.is(publicKey.length, 2 * X_WING_PUBLIC_KEY_BYTES);
    assert.ok(publicKey.startsWith(pk[0]!) && publicKey.endsWith(pk[1]!));
    const made = await kem.encap({ recipientPublicKey: pair.publicKey, ekm: fromHex(eseed) });
    const enc = hex(new Uint8Array(made.enc));
    assert.is(enc.length, 2 * X_WING_ENC_BYTES);
    assert.ok(enc.startsWith(ct[0]!) && enc.endsWith(ct[1]!));
    assert.is(hex(new Uint8Array(made.sharedSecret)), ss);
    assert.is(hex(new Uint8Array(await kem.decap({ recipientKey: pair, enc: made.enc }))), ss);
  });
}

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'none',
    (error: unknown) => (error instanceof VouchError ? error.code : String(error)),
  );

test('a request sealed by X-Wing travels, and its reply', async () => {
  const keys = await Promise.all([generateSealingKeyPair(), generateSealingKeyPair('x-wing')]);
  for (const { publicKey } of keys) {
    const request = await sealTo(publicKey, utf8('one application'), context);
    const opened = await open(keys, request.sealed, context);
    assert.equal(opened.plaintext, utf8('one application'));
    assert.equal(await request.openReply(await opened.sealReply(utf8('good'))), utf8('good'));
  }
});

test('a message names its suite, and opens by no other', async () => {
  const [old, hybrid] = await Promise.all([generateSealingKeyPair(), generateSealingKeyPair('x-wing')]);
  const { sealed } = await sealTo(hybrid.publicKey, utf8('a'), context);
  assert.equal(sealed.subarray(0, 2), Uint8Array.of(0x64, 0x7a));
  assert.is(await codeOf(open(old, sealed, context)), 'seal-rejected');
  const renamed = sealed.slice();
  renamed.set([0, 0x20]);
  assert.is(await codeOf(open([old, hybrid], renamed, context)), 'seal-rejected');
  assert.is(await codeOf(open([], sealed, context)), 'seal-rejected');
});

test('a flipped bit in either half of the encapsulated key, or after it, is refused', async () => {
  const pair = await generateSealingKeyPair('x-wing');
  const { sealed } = await sealTo(pair.publicKey, utf8('one application'), context);
  for (const at of [0, 1, 2, 600, 1089, 1090, 1121, 1122, sealed.length - 1]) {
    const flipped = sealed.slice();
    flipped[at]! ^= 1;
    assert.is(await codeOf(open(pair, flipped, context)), 'seal-rejected', `byte ${at}`);
  }
  for (const length of [0, 1, 2, 1122, 1137]) {
    assert.is(await codeOf(open(pair, sealed.subarray(0, length), context)), 'seal-rejected');
  }
  const other = await generateSealingKeyPair('x-wing');
  assert.is(await codeOf(open(other, sealed, context)), 'seal-rejected');
});

test('a replayed message is refused', async () => {
  const pair = await generateSealingKeyPair('x-wing');
  const replays = createReplayGuard();
  const { sealed } = await sealTo(pair.publicKey, utf8('a'), context);
  await open(pair, sealed, { ...context, replays });
  assert.is(await codeOf(open(pair, sealed, { ...context, replays })), 'replayed');
});

test('public keys of another length, and ML-KEM keys that are not reduced, are refused', async () => {
  const { publicKey } = await generateSealingKeyPair('x-wing');
  const wrong = publicKey.slice().fill(0xff, 0, 1152);
  const small = publicKey.slice().fill(0, 1184);
  for (const key of [publicKey.subarray(1), wrong, small, new Uint8Array(1217)]) {
    assert.is(await codeOf(sealTo(key, utf8('a'), context)), 'seal-rejected');
  }
});

test('nothing that prints a key pair shows the private one', async () => {
  const pair = await generateSealingKeyPair('x-wing');
  assert.not.match(JSON.stringify(pair.handle), /mlKem|bytes/);
});

test.run();
