/** HMAC-SHA256 (RFC 2104) and HKDF-SHA256 (RFC 5869), computed where they are called: on Node by its own cryptography, elsewhere in JavaScript. */
import { expand } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256 as nobleSha256 } from '@noble/hashes/sha2.js';
import { type Bytes, concat, unshared } from './encoding.ts';
import { native } from './native-crypto.ts';

const HASH_BYTES = 32;

/** 32 bytes. A key of no bytes counts as one of zeros. */
export const hmacSha256 = (key: Uint8Array, message: Uint8Array): Bytes =>
  native?.hmacSha256(key, message) ?? unshared(hmac(nobleSha256, key, message));

/** HKDF-Extract, 32 bytes. */
export const hkdfExtract = (salt: Uint8Array, ikm: Uint8Array): Bytes => hmacSha256(salt, ikm);

/** HKDF-Expand to `length` bytes. RangeError for a `prk` of less than 32 bytes. */
export function hkdfExpand(prk: Uint8Array, info: Uint8Array, length: number): Bytes {
  // One block is all that keys and nonces take.
  if (length > HASH_BYTES) return unshared(expand(nobleSha256, prk, info, length));
  if (prk.length < HASH_BYTES) throw new RangeError(`HKDF: expected a key of ${HASH_BYTES} bytes or more`);
  return hmacSha256(prk, concat(info, Uint8Array.of(1))).slice(0, length);
}
