/**
 * Whether an Ed25519 signature holds (RFC 8032 section 5.1.7), by one rule wherever this runs:
 *
 *   - public key A and R are canonical encodings (y < p) and not points of small order; s < L
 *   - [s]B = R + [k]A, without cofactor: R is compared as bytes
 *
 * Engines differ in all of these ("Taming the many EdDSAs", Chalkias, Garillot, Nikolaenko, SSR 2020), so keys and
 * encodings are checked here before an engine is asked, and engines are asked for nothing but the equation: OpenSSL's on
 * Node, JavaScript elsewhere. Two readers of a signature then never disagree.
 *
 * Not guaranteed: constant time, which verification does not need.
 */
import { ed25519 } from '@noble/curves/ed25519.js';
import { equal, sha512 } from './encoding.ts';
import { native } from './native-crypto.ts';

export const PUBLIC_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;

/** The order of the base point. */
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const P = 2n ** 255n - 19n;
/** y of the eight points whose order divides 8 (order 4: 0; 1 and 2: 1, -1; 8: the others); their signs do not matter. */
const Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022n;
const SMALL_ORDER: ReadonlySet<bigint> = new Set([0n, 1n, P - 1n, Y8, P - Y8]);

function integerOf(littleEndian: Uint8Array): bigint {
  let value = 0n;
  for (let i = littleEndian.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(littleEndian[i]!);
  return value;
}

function isSoundPoint(encoded: Uint8Array): boolean {
  const y = integerOf(encoded) & (2n ** 255n - 1n);
  return y < P && !SMALL_ORDER.has(y);
}

/** The equation. Asked only about what has passed the checks; throws or is false for what is no point. */
export type Ed25519Engine = (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean;

export const inJavaScript: Ed25519Engine = (publicKey, message, signature) => {
  const { Point } = ed25519;
  const a = Point.fromBytes(publicKey, false);
  const r = signature.subarray(0, 32);
  const k = integerOf(sha512(r, publicKey, message)) % L;
  const expected = Point.BASE.multiplyUnsafe(integerOf(signature.subarray(32))).subtract(a.multiplyUnsafe(k));
  return equal(expected.toBytes(), r);
};

/** Whether `signature` over `message` is by `publicKey`. Never throws. */
export function verifyEd25519(
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
  engine: Ed25519Engine = native?.verifyEd25519 ?? inJavaScript,
): boolean {
  if (publicKey.length !== PUBLIC_KEY_BYTES || signature.length !== SIGNATURE_BYTES) return false;
  if (!isSoundPoint(publicKey) || !isSoundPoint(signature.subarray(0, 32))) return false;
  if (integerOf(signature.subarray(32)) >= L) return false;
  try {
    return engine(publicKey, message, signature);
  } catch {
    return false;
  }
}
