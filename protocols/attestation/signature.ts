/**
 * Signatures of hardware vendors, verified by WebCrypto: ECDSA on P-256 and P-384, RSA-PSS and RSA PKCS#1 v1.5; Ed25519
 * for logs by ed25519.ts. ECDSA takes both values of s, as hardware signs. SM2 with SM3 is verified by sm2.ts.
 *
 * Not guaranteed: constant time, which public keys and signatures do not need.
 */
import { verifyEd25519 as verifyStrictly } from '../ed25519.ts';
import { type Bytes, concat, hex, sha256Hex, unshared } from '../encoding.ts';
import { childrenOf, type DerElement, expectTag, oidOf, readDer, smallInteger, TAG } from './der.ts';
import { DEFAULT_ID, sm2Digest, verifySm2 } from './sm2.ts';

export type Hash = 'SHA-256' | 'SHA-384' | 'SHA-512';
export type Curve = 'P-256' | 'P-384' | 'SM2';

/** What a signature's AlgorithmIdentifier says. */
export type SignatureAlgorithm =
  | { readonly name: 'ECDSA'; readonly hash: Hash }
  | { readonly name: 'SM2' }
  | { readonly name: 'RSA-PSS'; readonly hash: Hash; readonly saltLength: number }
  | { readonly name: 'RSASSA-PKCS1-v1_5'; readonly hash: Hash };

export type PublicKey =
  | { readonly type: 'EC'; readonly curve: Curve; readonly spki: Uint8Array; readonly point: Uint8Array }
  | { readonly type: 'RSA'; readonly bits: number; readonly spki: Uint8Array }
  | { readonly type: 'Ed25519'; readonly spki: Uint8Array; readonly point: Uint8Array };

export const COORDINATE_BYTES: Readonly<Record<Curve, number>> = { 'P-256': 32, 'P-384': 48, SM2: 32 };
const MIN_RSA_BITS = 2048;
const MAX_RSA_BITS = 8192;

/** Whether `signature` (r || s, big-endian, each as long as the field) over `data` is by `key`. Never throws. */
export async function verifyEcdsa(
  key: PublicKey,
  hash: Hash,
  signature: Uint8Array,
  data: Uint8Array,
): Promise<boolean> {
  if (key.type !== 'EC' || key.curve === 'SM2') return false;
  if (signature.length !== 2 * COORDINATE_BYTES[key.curve]) return false;
  return verifyWith(key, { name: 'ECDSA', namedCurve: key.curve }, { name: 'ECDSA', hash }, signature, data);
}

/** Whether the signature of a certificate or a CRL, as it stands there, is by `key`. Never throws. */
export async function verifySignature(
  key: PublicKey,
  algorithm: SignatureAlgorithm,
  signature: Uint8Array,
  data: Uint8Array,
): Promise<boolean> {
  if (algorithm.name === 'ECDSA' || algorithm.name === 'SM2') {
    const raw = key.type === 'EC' ? fromDerSignature(signature, COORDINATE_BYTES[key.curve]) : undefined;
    if (key.type !== 'EC' || raw === undefined) return false;
    if (algorithm.name === 'ECDSA') return verifyEcdsa(key, algorithm.hash, raw, data);
    return key.curve === 'SM2' && verifySm2(key.point, sm2Digest(key.point, data, DEFAULT_ID), raw);
  }
  return verifyRsa(key, algorithm, signature, data);
}

/** Whether an Ed25519 signature over `data` is by `key`, by the rule of ed25519.ts. Never throws. */
export const verifyEd25519 = async (
  key: PublicKey,
  signature: Uint8Array,
  data: Uint8Array,
): Promise<boolean> => key.type === 'Ed25519' && verifyStrictly(key.point, data, signature);

export type SignatureVerifier = typeof verifySignature;

/** Verifies each signature once, however often it is asked about; for the duration of one judgement. */
export function rememberSignatures(): SignatureVerifier {
  const known = new Map<string, Promise<boolean>>();
  return (key, algorithm, signature, data) => {
    const id = `${JSON.stringify(algorithm)} ${sha256Hex(key.spki)} ${hex(signature)} ${sha256Hex(data)}`;
    const found = known.get(id) ?? verifySignature(key, algorithm, signature, data);
    known.set(id, found);
    return found;
  };
}

/** Whether an RSA signature over `data` is by `key`, of 2048 to 8192 bits. Never throws. */
export async function verifyRsa(
  key: PublicKey,
  algorithm: Exclude<SignatureAlgorithm, { readonly name: 'ECDSA' | 'SM2' }>,
  signature: Uint8Array,
  data: Uint8Array,
): Promise<boolean> {
  if (key.type !== 'RSA' || key.bits < MIN_RSA_BITS || key.bits > MAX_RSA_BITS) return false;
  return verifyWith(key, { name: algorithm.name, hash: algorithm.hash }, algorithm, signature, data);
}

async function verifyWith(
  key: PublicKey,
  imported: EcKeyImportParams | RsaHashedImportParams | Algorithm,
  algorithm: EcdsaParams | RsaPssParams | Algorithm,
  signature: Uint8Array,
  data: Uint8Array,
): Promise<boolean> {
  try {
    const handle = await crypto.subtle.importKey('spki', unshared(key.spki), imported, false, ['verify']);
    return await crypto.subtle.verify(algorithm, handle, unshared(signature), unshared(data));
  } catch {
    // A point off the curve or a modulus that no implementation takes.
    return false;
  }
}

/** SEQUENCE {r, s} as r || s; undefined when it is not that, or a number is not in its shortest form. */
export function fromDerSignature(signature: Uint8Array, coordinateBytes: number): Bytes | undefined {
  try {
    const parts = childrenOf(readDer(signature, 'signature', TAG.sequence), 'signature');
    if (parts.length !== 2) return undefined;
    const numbers = parts.map((part) => fixedInteger(part, coordinateBytes));
    return numbers.every((number) => number !== undefined) ? concat(...numbers) : undefined;
  } catch {
    return undefined;
  }
}

function fixedInteger(element: DerElement, bytes: number): Bytes | undefined {
  const { tag, value } = element;
  const first = value[0];
  if (tag !== TAG.integer || first === undefined || first >= 0x80) return undefined;
  if (first === 0 && value.length > 1 && value[1]! < 0x80) return undefined;
  const digits = first === 0 ? value.subarray(1) : value;
  if (digits.length > bytes) return undefined;
  return concat(new Uint8Array(bytes - digits.length), digits);
}

const ECDSA: Readonly<Record<string, Hash>> = {
  '1.2.840.10045.4.3.2': 'SHA-256',
  '1.2.840.10045.4.3.3': 'SHA-384',
  '1.2.840.10045.4.3.4': 'SHA-512',
};
const PKCS1: Readonly<Record<string, Hash>> = {
  '1.2.840.113549.1.1.11': 'SHA-256',
  '1.2.840.113549.1.1.12': 'SHA-384',
  '1.2.840.113549.1.1.13': 'SHA-512',
};
const HASHES: Readonly<Record<string, Hash>> = {
  '2.16.840.1.101.3.4.2.1': 'SHA-256',
  '2.16.840.1.101.3.4.2.2': 'SHA-384',
  '2.16.840.1.101.3.4.2.3': 'SHA-512',
};
const SM2_WITH_SM3 = '1.2.156.10197.1.501';
const RSA_PSS = '1.2.840.113549.1.1.10';
const MGF1 = '1.2.840.113549.1.1.8';

/** A hash as an AlgorithmIdentifier or by its identifier; undefined for any other. */
export const hashOf = (oid: string): Hash | undefined => HASHES[oid];

/** An AlgorithmIdentifier of a signature (RFC 5758, RFC 4055); undefined for one that is not taken. */
export function signatureAlgorithm(element: DerElement, what: string): SignatureAlgorithm | undefined {
  const [identifier, parameters, ...rest] = childrenOf(expectTag(element, TAG.sequence, what), what);
  const oid = oidOf(identifier, what);
  if (rest.length > 0) return undefined;
  if (oid === RSA_PSS) return parameters === undefined ? undefined : pssParameters(parameters, what);
  const ecdsa = ECDSA[oid];
  if (ecdsa !== undefined) return parameters === undefined ? { name: 'ECDSA', hash: ecdsa } : undefined;
  // Some write the NULL, which the standard leaves out.
  if (oid === SM2_WITH_SM3) {
    return parameters === undefined || parameters.tag === TAG.null ? { name: 'SM2' } : undefined;
  }
  const pkcs1 = PKCS1[oid];
  if (pkcs1 === undefined || parameters?.tag !== TAG.null) return undefined;
  return { name: 'RSASSA-PKCS1-v1_5', hash: pkcs1 };
}

/** The hash must be named: the default of RFC 4055 is SHA-1. Both uses of a hash must be the same one. */
function pssParameters(element: DerElement, what: string): SignatureAlgorithm | undefined {
  const [hash, mask, salt, trailer, ...rest] = childrenOf(expectTag(element, TAG.sequence, what), what);
  if (hash?.tag !== 0xa0 || mask?.tag !== 0xa1 || salt?.tag !== 0xa2 || rest.length > 0) return undefined;
  if (trailer !== undefined) {
    if (trailer.tag !== 0xa3 || smallInteger(readDer(trailer.value, what), what) !== 1) return undefined;
  }
  const name = hashIdentifier(readDer(hash.value, what), what);
  const [generator, inner] = childrenOf(readDer(mask.value, what, TAG.sequence), what);
  if (name === undefined || oidOf(generator, what) !== MGF1 || inner === undefined) return undefined;
  if (hashIdentifier(inner, what) !== name) return undefined;
  const saltLength = smallInteger(readDer(salt.value, what), what);
  return saltLength <= 64 ? { name: 'RSA-PSS', hash: name, saltLength } : undefined;
}

function hashIdentifier(element: DerElement, what: string): Hash | undefined {
  return HASHES[oidOf(childrenOf(expectTag(element, TAG.sequence, what), what)[0], what)];
}
