/**
 * Whether an Ed25519 signature holds (RFC 8032 section 5.1.7), by one rule wherever this runs:
 *
 *   - public key A and R are canonical encodings (y < p) and not points of small order; s < L
 *   - [s]B = R + [k]A, without cofactor: R is compared as bytes
 *
 * Engines differ in all of these ("Taming the many EdDSAs", Chalkias, Garillot, Nikolaenko, SSR 2020), so keys and
 * encodings are checked here before an engine is asked, and engines are asked for nothing but the equation: OpenSSL's on
 * Node, JavaScript elsewhere, and WebCrypto's where there is time to wait for it. Two readers of a signature then never disagree.
 *
 * Not guaranteed: constant time, which verification does not need.
 */
import { ed25519 } from '@noble/curves/ed25519.js';
import { equal, fromHex, sha512 } from './encoding.ts';
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
  if (!isSound(publicKey, signature)) return false;
  try {
    return engine(publicKey, message, signature);
  } catch {
    return false;
  }
}

/** Whether key, R and s are encoded as they have to be. */
const isSound = (publicKey: Uint8Array, signature: Uint8Array): boolean =>
  publicKey.length === PUBLIC_KEY_BYTES &&
  signature.length === SIGNATURE_BYTES &&
  isSoundPoint(publicKey) &&
  isSoundPoint(signature.subarray(0, 32)) &&
  integerOf(signature.subarray(32)) < L;

/**
 * The same by WebCrypto. False as well where it has no Ed25519, or is not found to judge by the equation without cofactor: only
 * true is an answer, and whoever needs the other one asks `verifyEd25519`. Never throws.
 */
export async function verifyByWebCrypto(
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  if (!isSound(publicKey, signature)) return false;
  trusted ??= judgesAsWeDo();
  return (await trusted) && (await equationByWebCrypto(publicKey, message, signature));
}

async function equationByWebCrypto(
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
): Promise<boolean> {
  try {
    const key = await crypto.subtle.importKey('raw', new Uint8Array(publicKey), 'Ed25519', false, ['verify']);
    return await crypto.subtle.verify('Ed25519', key, new Uint8Array(signature), new Uint8Array(message));
  } catch {
    return false;
  }
}

let trusted: Promise<boolean> | undefined;
/** Cases 3 and 4 of "Taming the many EdDSAs": one key of mixed order, which holds, and holds with the cofactor only. */
const MIXED_KEY = 'cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d';
const HOLDS = [
  '9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79',
  '9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009',
] as const;
const HOLDS_BY_COFACTOR = [
  'e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c',
  '160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed5125ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09',
] as const;
async function judgesAsWeDo(): Promise<boolean> {
  const verdict = ([message, signature]: readonly [string, string]) =>
    equationByWebCrypto(fromHex(MIXED_KEY), fromHex(message), fromHex(signature));
  return (await verdict(HOLDS)) && !(await verdict(HOLDS_BY_COFACTOR));
}
