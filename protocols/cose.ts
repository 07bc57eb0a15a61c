/**
 * Signed statements: COSE_Sign1 (RFC 9052 section 4.2) with EdDSA on Ed25519 (RFC 9053 section 2.2).
 *
 *   statement = 18([protected, {}, payload, signature (64)])     CBOR tag 18, deterministic CBOR
 *   protected = bstr of {1: -8 (EdDSA), 3: content type (tstr)}
 *   signed    = CBOR of ["Signature1", protected, h'', payload]
 *
 * The content type is signed and compared, so a statement of one kind never passes for another. Nothing else
 * is accepted: no other header, algorithm, key id, detached payload or untagged form. Signatures are verified
 * by the strict rule of ed25519.ts, so a statement has one valid encoding per signature.
 *
 * Not guaranteed: whose key it is. That comes from evidence, or from a pinned root.
 */
import { ed25519 } from '@noble/curves/ed25519.js';
import { Tagged } from 'cborg';
import { z } from 'zod';
import { byteString, byteStringBetween, decodeCbor, encodeCbor } from './cbor.ts';
import { PUBLIC_KEY_BYTES, SIGNATURE_BYTES, verifyByWebCrypto, verifyEd25519 } from './ed25519.ts';
import { type Bytes, concat, equal, fromHex, sha256Hex, unshared } from './encoding.ts';
import { VouchError } from './errors.ts';
import { native } from './native-crypto.ts';

export const SIGNATURE_KEY_BYTES = PUBLIC_KEY_BYTES;
const SEED_BYTES = 32;
const SIGN1_TAG = 18;
const ALG_EDDSA = -8;
/** Tag, headers and signature of a statement are at most this long. */
const STATEMENT_OVERHEAD_BYTES = 256;

/** An Ed25519 key that signs, and whose private half is not given out. */
export interface Signer {
  /** 32 bytes */
  readonly publicKey: Bytes;
  /** 64 bytes */
  sign(message: Uint8Array): Promise<Uint8Array>;
}

/** A fresh signing key: for one boot, never stored. */
export async function generateSigner(): Promise<Signer> {
  if (native !== undefined) {
    const { publicKey, sign } = native.generateEd25519();
    return signer(publicKey, sign);
  }
  const pair = (await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify'])) as CryptoKeyPair;
  const publicKey = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey));
  return signer(publicKey, byWebCrypto(pair.privateKey));
}

// RFC 8410 section 7: PrivateKeyInfo { version 0, id-Ed25519, OCTET STRING { OCTET STRING seed } }.
const PKCS8_PREFIX = fromHex('302e020100300506032b657004220420');

/** The signing key of a 32-byte seed (RFC 8032): for keys that must outlive a process. */
export async function signerFromSeed(seed: Uint8Array): Promise<Signer> {
  if (seed.length !== SEED_BYTES) throw new RangeError(`signing seed: expected ${SEED_BYTES} bytes`);
  const pkcs8 = concat(PKCS8_PREFIX, seed);
  try {
    const publicKey = unshared(ed25519.getPublicKey(seed));
    if (native !== undefined) return signer(publicKey, native.signerEd25519(pkcs8));
    const key = await crypto.subtle.importKey('pkcs8', pkcs8, 'Ed25519', false, ['sign']);
    return signer(publicKey, byWebCrypto(key));
  } finally {
    pkcs8.fill(0);
  }
}

const signer = (
  publicKey: Bytes,
  sign: (message: Uint8Array) => Uint8Array | Promise<Uint8Array>,
): Signer => ({ publicKey, sign: async (message) => sign(message) });

const byWebCrypto =
  (key: CryptoKey) =>
  async (message: Uint8Array): Promise<Uint8Array> =>
    new Uint8Array(await crypto.subtle.sign('Ed25519', key, unshared(message)));

const protectedHeader = (contentType: string) =>
  encodeCbor(
    new Map<number, unknown>([
      [1, ALG_EDDSA],
      [3, contentType],
    ]),
  );

const toBeSigned = (contentType: string, payload: Uint8Array) =>
  encodeCbor(['Signature1', protectedHeader(contentType), new Uint8Array(), payload]);

/** Signs `payload` as a statement of this content type. */
export async function signStatement(
  by: Signer,
  contentType: string,
  payload: Uint8Array,
): Promise<Uint8Array> {
  const signature = await by.sign(toBeSigned(contentType, payload));
  return encodeCbor(new Tagged(SIGN1_TAG, [protectedHeader(contentType), {}, payload, signature]));
}

/**
 * The payload of a statement signed by `publicKey`. Throws `too-large`, `bad-message` for another shape or
 * content type, `signature-rejected` for a wrong signature or key.
 */
export function verifyStatement(
  publicKey: Uint8Array,
  contentType: string,
  statement: Uint8Array,
  limits: { maxPayloadBytes: number },
): Uint8Array {
  const { payload, signature } = partsOf(contentType, statement, limits);
  if (!signatureHolds(publicKey, toBeSigned(contentType, payload), signature)) {
    throw new VouchError('signature-rejected', `statement ${contentType}: the signature is not by this key`);
  }
  return payload;
}

/**
 * Lets WebCrypto look at a statement that is about to be verified, where nothing native can do it at once: in a page that takes an
 * eighth of the time of JavaScript. What it holds to be signed, `verifyStatement` then finds known; all else is judged there.
 */
export async function verifyAhead(
  publicKey: Uint8Array,
  contentType: string,
  statement: Uint8Array,
  limits: { maxPayloadBytes: number },
): Promise<void> {
  if (native !== undefined) return;
  const { payload, signature } = partsOf(contentType, statement, limits);
  const message = toBeSigned(contentType, payload);
  if (await verifyByWebCrypto(publicKey, message, signature)) remember(nameOf(publicKey, message, signature));
}

/** The payload of a statement, whoever signed it: for finding out whose it says it is. Throws as above. */
export const unverifiedPayload = (
  contentType: string,
  statement: Uint8Array,
  limits: { maxPayloadBytes: number },
): Uint8Array => partsOf(contentType, statement, limits).payload;

function partsOf(
  contentType: string,
  statement: Uint8Array,
  { maxPayloadBytes }: { maxPayloadBytes: number },
): { payload: Uint8Array; signature: Uint8Array } {
  const [header, , payload, signature] = decodeCbor(statement, {
    schema: Sign1,
    what: `statement ${contentType}`,
    maxBytes: maxPayloadBytes + STATEMENT_OVERHEAD_BYTES,
    tag: SIGN1_TAG,
  });
  if (payload.length > maxPayloadBytes) {
    throw new VouchError(
      'bad-message',
      `statement ${contentType}: expected a payload of at most ${maxPayloadBytes} bytes, got ${payload.length}`,
    );
  }
  if (!equal(header, protectedHeader(contentType))) {
    throw new VouchError(
      'bad-message',
      `statement: expected EdDSA and content type ${contentType}, got another header`,
    );
  }
  return { payload, signature };
}

const Sign1 = z
  .instanceof(Tagged)
  .transform(({ value }) => value as unknown)
  .pipe(
    z.tuple([
      byteStringBetween(1, STATEMENT_OVERHEAD_BYTES),
      z.strictObject({}),
      byteStringBetween(0, Number.POSITIVE_INFINITY),
      byteString(SIGNATURE_BYTES),
    ]),
  );

/**
 * Statements whose signature held, by a digest of key, signature and signed bytes. The evidence in a receipt is
 * verified with every receipt of a session, and in JavaScript one verification takes longer than the rest of them.
 * A name gets in only after the full verification, and stands for exactly these bytes.
 */
const held = new Set<string>();
const MAX_HELD = 1024;

function signatureHolds(publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  // Fixed lengths, so that the parts of the name cannot run into each other.
  if (publicKey.length !== SIGNATURE_KEY_BYTES || signature.length !== SIGNATURE_BYTES) return false;
  const name = nameOf(publicKey, message, signature);
  if (held.has(name)) return true;
  if (!verifyEd25519(publicKey, message, signature)) return false;
  remember(name);
  return true;
}

const nameOf = (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): string =>
  sha256Hex(publicKey, signature, message);

function remember(name: string): void {
  if (held.size >= MAX_HELD) held.delete(held.values().next().value!);
  held.add(name);
}
