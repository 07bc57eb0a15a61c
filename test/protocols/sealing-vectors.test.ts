/**
 * An HPKE of our own, written from RFC 9180 on other primitives (noble's curve and HMAC, node's AES), is checked
 * against published vectors and then opens and makes what protocols/sealing.ts makes and opens. RFC 9180 prints
 * no vector for our suite (X25519, HKDF-SHA256, AES-256-GCM), so its AES-128-GCM vector checks the oracle's key
 * schedule, and a vector of BoringSSL's test data its AES-256-GCM.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { x25519 } from '@noble/curves/ed25519.js';
import { expand, extract } from '@noble/hashes/hkdf.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { concat, fromHex, hex, randomBytes, utf8 } from '../../protocols/encoding.ts';
import {
  generateSealingKeyPair,
  open,
  SEALING_INFO,
  type SealingKeyPair,
  sealTo,
} from '../../protocols/sealing.ts';
import { assert, suite } from '../harness.ts';

const test = suite('sealing vectors');

type AeadId = 1 | 2;
const keyBytes = { 1: 16, 2: 32 } as const;
const uint16 = (value: number) => Uint8Array.of(value >> 8, value & 0xff);
const none = new Uint8Array();

function aesGcm(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array) {
  const name = key.length === 16 ? 'aes-128-gcm' : 'aes-256-gcm';
  return {
    seal(plaintext: Uint8Array) {
      const cipher = createCipheriv(name, key, nonce);
      cipher.setAAD(aad);
      return concat(cipher.update(plaintext), cipher.final(), cipher.getAuthTag());
    },
    open(sealed: Uint8Array) {
      const decipher = createDecipheriv(name, key, nonce);
      decipher.setAAD(aad);
      decipher.setAuthTag(sealed.subarray(-16));
      return concat(decipher.update(sealed.subarray(0, -16)), decipher.final());
    },
  };
}

/** RFC 9180 sections 4, 4.1 and 5.1, base mode, from the Diffie-Hellman result on. */
function keySchedule(aead: AeadId, dh: Uint8Array, enc: Uint8Array, recipient: Uint8Array, info: Uint8Array) {
  const labelled = (suiteId: Uint8Array) => ({
    extract: (salt: Uint8Array, label: string, ikm: Uint8Array) =>
      extract(sha256, concat(utf8('HPKE-v1'), suiteId, utf8(label), ikm), salt),
    expand: (prk: Uint8Array, label: string, data: Uint8Array, length: number) =>
      expand(sha256, prk, concat(uint16(length), utf8('HPKE-v1'), suiteId, utf8(label), data), length),
  });
  const kem = labelled(concat(utf8('KEM'), uint16(0x20)));
  const hpke = labelled(concat(utf8('HPKE'), uint16(0x20), uint16(1), uint16(aead)));
  const sharedSecret = kem.expand(
    kem.extract(none, 'eae_prk', dh),
    'shared_secret',
    concat(enc, recipient),
    32,
  );
  const context = concat(
    Uint8Array.of(0),
    hpke.extract(none, 'psk_id_hash', none),
    hpke.extract(none, 'info_hash', info),
  );
  const secret = hpke.extract(sharedSecret, 'secret', none);
  const exporterSecret = hpke.expand(secret, 'exp', context, 32);
  return {
    sharedSecret,
    exporterSecret,
    key: hpke.expand(secret, 'key', context, keyBytes[aead]),
    nonce: hpke.expand(secret, 'base_nonce', context, 12),
    exported: (label: Uint8Array, length: number) => hpke.expand(exporterSecret, 'sec', label, length),
  };
}

const sender = (aead: AeadId, secretKey: Uint8Array, recipient: Uint8Array, info: Uint8Array) => {
  const enc = x25519.getPublicKey(secretKey);
  return { enc, ...keySchedule(aead, x25519.getSharedSecret(secretKey, recipient), enc, recipient, info) };
};
const recipient = (aead: AeadId, secretKey: Uint8Array, enc: Uint8Array, info: Uint8Array) =>
  keySchedule(aead, x25519.getSharedSecret(secretKey, enc), enc, x25519.getPublicKey(secretKey), info);

/** RFC 9458 section 4.4 from the exported secret on. */
function replyKey(secret: Uint8Array, enc: Uint8Array, nonce: Uint8Array, length: number) {
  const prk = extract(sha256, secret, concat(enc, nonce));
  return { prk, key: expand(sha256, prk, utf8('key'), length), iv: expand(sha256, prk, utf8('nonce'), 12) };
}

async function importPair(secretKey: Uint8Array): Promise<SealingKeyPair> {
  const publicKey = x25519.getPublicKey(secretKey);
  const pkcs8 = concat(fromHex('302e020100300506032b656e04220420'), secretKey);
  return {
    suite: 'x25519',
    publicKey,
    handle: {
      privateKey: await crypto.subtle.importKey('pkcs8', pkcs8, 'X25519', false, ['deriveBits']),
      publicKey: await crypto.subtle.importKey('raw', concat(publicKey), 'X25519', true, []),
    },
  };
}

const INFO = utf8('Ode on a Grecian Urn');
const BEAUTY = utf8('Beauty is truth, truth beauty');
const AAD = utf8('Count-0');

test('the oracle agrees with RFC 9180 appendix A.1.1', () => {
  const skR = fromHex('4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8');
  const skE = fromHex('52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736');
  const pkR = x25519.getPublicKey(skR);
  assert.is(hex(pkR), '3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d');
  const ours = sender(1, skE, pkR, INFO);
  assert.is(hex(ours.enc), '37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431');
  assert.is(hex(ours.sharedSecret), 'fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc');
  assert.is(hex(ours.key), '4531685d41d65f03dc48f6b8302c05b0');
  assert.is(hex(ours.nonce), '56d890e5accaaf011cff4b7d');
  assert.is(hex(ours.exporterSecret), '45ff1c2e220db587171952c0592d5f5ebe103f1561a2614e38f2ffd47e99e3f8');
  assert.is(
    hex(aesGcm(ours.key, ours.nonce, AAD).seal(BEAUTY)),
    'f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a',
  );
  assert.equal(recipient(1, skR, ours.enc, INFO).key, ours.key);
});

test('the oracle agrees with BoringSSL on X25519, HKDF-SHA256, AES-256-GCM', () => {
  const pkR = fromHex('ac66bae9ffa270cf4a89ed9f274e30c0456babae2572aaaf002ff0d8884ab018');
  const skE = fromHex('28e212563a8b6f068af7ff17400ff1baf23612b7a738bbaf5dfb321b2b5b431a');
  const { key, nonce } = sender(2, skE, pkR, INFO);
  assert.is(
    hex(aesGcm(key, nonce, AAD).seal(BEAUTY)),
    '23ded2d5d90ea89d975dac4792b297240f194952d7421aacbff0474100052b6bb8aa58d18ef6c42b6960e2e28f',
  );
});

test('the oracle agrees with RFC 9458 appendix A on the reply', () => {
  const skR = fromHex('3c168975674b2fa8e465970b79c8dcf09f1c741626480bd4c6162fc5b6a98e1a');
  const enc = fromHex('4b28f881333e7c164ffc499ad9796f877f4e1051ee6d31bad19dec96c208b472');
  const info = concat(utf8('message/bhttp request\0'), fromHex('01002000010001'));
  const secret = recipient(1, skR, enc, info).exported(utf8('message/bhttp response'), 16);
  assert.is(hex(secret), '62d87a6ba569ee81014c2641f52bea36');
  const responseNonce = fromHex('c789e7151fcba46158ca84b04464910d');
  const { prk, key, iv } = replyKey(secret, enc, responseNonce, 16);
  assert.is(hex(prk), '979aaeae066cf211ab407b31ae49767f344e1501e475c84e8aff547cc5a683db');
  assert.is(hex(key), '5d0172a080e428b16d298c4ea0db620d');
  assert.is(hex(iv), 'f6bf1aeb88d6df87007fa263');
  assert.is(hex(aesGcm(key, iv, none).seal(fromHex('0140c8'))), '86f9013e404feea014e7be4a441f234f857fbd');
});

test('what the oracle seals opens here, and our reply opens there', async () => {
  const skR = randomBytes(32);
  const info = SEALING_INFO.infer;
  const there = sender(2, randomBytes(32), x25519.getPublicKey(skR), utf8(info));
  const sealed = concat(uint16(0x20), there.enc, aesGcm(there.key, there.nonce, AAD).seal(BEAUTY));
  const opened = await open(await importPair(skR), sealed, { info, aad: AAD });
  assert.equal([...opened.plaintext], [...BEAUTY]);
  const reply = await opened.sealReply(utf8('approved'));
  const { key, iv } = replyKey(
    there.exported(utf8('vouch/v2/reply'), 32),
    there.enc,
    reply.subarray(0, 32),
    32,
  );
  assert.equal(aesGcm(key, iv, none).open(reply.subarray(32)), utf8('approved'));
});

test('what is sealed here opens in the oracle, and its reply opens here', async () => {
  const skR = randomBytes(32);
  const info = SEALING_INFO.shard;
  const request = await sealTo(x25519.getPublicKey(skR), BEAUTY, { info, aad: AAD });
  assert.equal(request.sealed.subarray(0, 2), uint16(0x20));
  const enc = request.sealed.subarray(2, 34);
  const there = recipient(2, skR, enc, utf8(info));
  assert.equal(aesGcm(there.key, there.nonce, AAD).open(request.sealed.subarray(34)), BEAUTY);
  const nonce = randomBytes(32);
  const { key, iv } = replyKey(there.exported(utf8('vouch/v2/reply'), 32), enc, nonce, 32);
  const reply = concat(nonce, aesGcm(key, iv, none).seal(utf8('point')));
  assert.equal(await request.openReply(reply), utf8('point'));
});

test('a generated pair is an X25519 pair', async () => {
  const pair = await generateSealingKeyPair();
  const secretKey = randomBytes(32);
  const publicKey = await crypto.subtle.importKey(
    'raw',
    concat(x25519.getPublicKey(secretKey)),
    'X25519',
    true,
    [],
  );
  const shared = await crypto.subtle.deriveBits(
    { name: 'X25519', public: publicKey },
    pair.handle.privateKey,
    256,
  );
  assert.equal([...new Uint8Array(shared)], [...x25519.getSharedSecret(secretKey, pair.publicKey)]);
});

test.run();
