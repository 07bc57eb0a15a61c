/**
 * X-Wing, a hybrid of X25519 and ML-KEM-768 (draft-connolly-cfrg-xwing-kem-08, section 5), as a KEM of HPKE: what is
 * sealed today stays secret as long as one of the two holds, also from whoever records it and has a quantum computer
 * later. The parts are noble's ML-KEM and the platform's X25519 (five times faster than X25519 in JavaScript, or more);
 * their combination is checked against the draft's vectors.
 *
 *   public key (1216) = ML-KEM-768 public key (1184) || X25519 public key (32)
 *   ciphertext (1120) = ML-KEM-768 ciphertext (1088) || X25519 ephemeral public key (32)
 *   secret (32)       = SHA3-256(ML-KEM secret || X25519 secret || ephemeral key || X25519 public key || LABEL)
 *
 * Not guaranteed: constant time of the ML-KEM half, which is JavaScript, and whose private key lies in this process's
 * memory. There is no authenticated mode.
 */
import type { KemInterface } from '@hpke/core';
import { x25519 } from '@noble/curves/ed25519.js';
import { sha3_256, shake256 } from '@noble/hashes/sha3.js';
import { ml_kem768 } from '@noble/post-quantum/ml-kem.js';
import { type Bytes, concat, randomBytes, unshared } from './encoding.ts';
import { native } from './native-crypto.ts';

const ML_KEM_PUBLIC_BYTES = 1184;
const ML_KEM_CIPHERTEXT_BYTES = 1088;
export const X_WING_PUBLIC_KEY_BYTES = ML_KEM_PUBLIC_BYTES + 32;
export const X_WING_ENC_BYTES = ML_KEM_CIPHERTEXT_BYTES + 32;
export const X_WING_SEED_BYTES = 32;
/** \.//^\ */
const LABEL = Uint8Array.of(0x5c, 0x2e, 0x2f, 0x2f, 0x5e, 0x5c);
/** PrivateKeyInfo of an X25519 key up to its 32 bytes (RFC 8410 section 7). */
const PKCS8 = Uint8Array.of(0x30, 46, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 34, 4, 32);

/** Stand where HPKE's interface wants a CryptoKey: WebCrypto has none for this algorithm. */
interface PublicKey {
  readonly bytes: Bytes;
}
interface PrivateKey {
  readonly mlKem: Uint8Array;
  readonly x25519: CryptoKey;
  readonly x25519Public: Bytes;
}
const asCryptoKey = (key: PublicKey | PrivateKey, type: 'public' | 'private'): CryptoKey => {
  const algorithm = { name: 'X-Wing' };
  const shell = { type, algorithm, extractable: type === 'public', usages: [] };
  // Not enumerable, so that nothing that prints an object shows a private key.
  return Object.defineProperty(shell, 'key', { value: key }) as unknown as CryptoKey;
};
const keyIn = <T extends PublicKey | PrivateKey>(key: CryptoKey): T => (key as unknown as { key: T }).key;

function bytesOf(input: ArrayBufferLike | ArrayBufferView, length: number, what: string): Uint8Array {
  const bytes = ArrayBuffer.isView(input)
    ? new Uint8Array(input.buffer, input.byteOffset, input.byteLength)
    : new Uint8Array(input);
  if (bytes.length !== length) throw new RangeError(`X-Wing ${what}: expected ${length} bytes`);
  return bytes;
}

const importPrivate = (raw: Uint8Array): Promise<CryptoKey> =>
  crypto.subtle.importKey('pkcs8', concat(PKCS8, raw), 'X25519', false, ['deriveBits']);

/** Throws for a public key of small order. */
async function agree(privateKey: CryptoKey, publicKey: Uint8Array): Promise<Uint8Array> {
  const other = await crypto.subtle.importKey('raw', unshared(publicKey), 'X25519', false, []);
  return new Uint8Array(await crypto.subtle.deriveBits({ name: 'X25519', public: other }, privateKey, 256));
}

/** An ephemeral pair; from its 32 private bytes in tests. */
async function ephemeral(raw: Uint8Array | undefined): Promise<{
  publicKey: Uint8Array;
  agree(publicKey: Uint8Array): Uint8Array | Promise<Uint8Array>;
}> {
  if (raw !== undefined) {
    const key = await importPrivate(raw);
    return { publicKey: x25519.getPublicKey(raw), agree: (other) => agree(key, other) };
  }
  if (native) return native.generateX25519();
  const pair = (await crypto.subtle.generateKey('X25519', false, ['deriveBits'])) as CryptoKeyPair;
  return {
    publicKey: new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey)),
    agree: (other) => agree(pair.privateKey, other),
  };
}

async function pairOf(seed: Uint8Array): Promise<CryptoKeyPair> {
  const expanded = shake256(unshared(seed), { dkLen: 96 });
  const mlKem = ml_kem768.keygen(expanded.subarray(0, 64));
  const raw = expanded.subarray(64);
  const x25519Public = unshared(x25519.getPublicKey(raw));
  const privateKey = { mlKem: mlKem.secretKey, x25519: await importPrivate(raw), x25519Public };
  return {
    publicKey: asCryptoKey({ bytes: concat(mlKem.publicKey, x25519Public) }, 'public'),
    privateKey: asCryptoKey(privateKey, 'private'),
  };
}

const combine = (...parts: readonly Uint8Array[]): ArrayBuffer =>
  unshared(sha3_256(concat(...parts, LABEL))).buffer;

const unsupported = async (): Promise<never> => {
  throw new TypeError('X-Wing: private keys are not taken in or given out');
};

/** `ekm` of `encap`: its 64 random bytes, in tests of the draft's vectors only. */
export const createXWing = (): KemInterface => ({
  id: 0x647a,
  secretSize: 32,
  encSize: X_WING_ENC_BYTES,
  publicKeySize: X_WING_PUBLIC_KEY_BYTES,
  privateKeySize: X_WING_SEED_BYTES,
  serializePublicKey: async (key) => keyIn<PublicKey>(key).bytes.slice().buffer,
  deserializePublicKey: async (input) =>
    asCryptoKey({ bytes: unshared(bytesOf(input, X_WING_PUBLIC_KEY_BYTES, 'public key')).slice() }, 'public'),
  serializePrivateKey: unsupported,
  deserializePrivateKey: unsupported,
  importKey: unsupported,
  generateKeyPair: () => pairOf(randomBytes(X_WING_SEED_BYTES)),
  deriveKeyPair: async (seed) => pairOf(bytesOf(seed, X_WING_SEED_BYTES, 'seed')),
  async encap({ recipientPublicKey, ekm }) {
    const { bytes } = keyIn<PublicKey>(recipientPublicKey);
    const x25519Public = bytes.subarray(ML_KEM_PUBLIC_BYTES);
    const random = ekm === undefined ? undefined : bytesOf(ekm as ArrayBuffer, 64, 'ekm');
    const { publicKey, agree } = await ephemeral(random?.subarray(32));
    const mlKem = ml_kem768.encapsulate(bytes.subarray(0, ML_KEM_PUBLIC_BYTES), random?.subarray(0, 32));
    const agreed = await agree(x25519Public);
    return {
      sharedSecret: combine(mlKem.sharedSecret, agreed, publicKey, x25519Public),
      enc: concat(mlKem.cipherText, publicKey).buffer,
    };
  },
  async decap({ recipientKey, enc }) {
    const own = keyIn<PrivateKey>('privateKey' in recipientKey ? recipientKey.privateKey : recipientKey);
    const bytes = bytesOf(enc, X_WING_ENC_BYTES, 'ciphertext');
    const publicKey = bytes.subarray(ML_KEM_CIPHERTEXT_BYTES);
    // A forged ciphertext gives another secret, not an error: the seal's tag then fails.
    const secret = ml_kem768.decapsulate(bytes.subarray(0, ML_KEM_CIPHERTEXT_BYTES), own.mlKem);
    return combine(secret, await agree(own.x25519, publicKey), publicKey, own.x25519Public);
  },
});
