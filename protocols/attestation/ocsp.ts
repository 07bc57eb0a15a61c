/**
 * Reads OCSP responses (RFC 6960, DER) and writes the requests that they answer: what a vendor's responder says of
 * single certificates at a time. The optional nonce (RFC 9654) is read and written; whoever asked compares the two.
 * Nothing is verified here: revocation.ts does.
 */
import { sha1 } from '@noble/hashes/legacy.js';
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import { concat, equal, hex, sha256Hex } from '../encoding.ts';
import { VouchError } from '../errors.ts';
import {
  type Certificate,
  commonName,
  extensionsIn,
  keyBits,
  parseCertificate,
  signedParts,
} from './certificate.ts';
import {
  childrenOf,
  contextTag,
  type DerElement,
  elementsOf,
  expectTag,
  oidOf,
  readDer,
  smallInteger,
  TAG,
  timeOf,
} from './der.ts';
import { MAX_OCSP_BYTES } from './limits.ts';
import { type Parsed, parsedOnce } from './parsed.ts';
import type { SignatureAlgorithm } from './signature.ts';

const ENUMERATED = 0x0a;
const BASIC = '1.3.6.1.5.5.7.48.1.1';
const OCSP_NONCE = '1.3.6.1.5.5.7.48.1.2';
const SHA1 = '1.3.14.3.2.26';
/** Of issuer names and keys. SHA-1 only finds the certificate: the response's own signature never uses it. */
const HASHES: Readonly<Record<string, (bytes: Uint8Array) => Uint8Array>> = {
  [SHA1]: sha1,
  '2.16.840.1.101.3.4.2.1': sha256,
  '2.16.840.1.101.3.4.2.2': sha384,
  '2.16.840.1.101.3.4.2.3': sha512,
};
/** What a responder answers instead of saying anything: why there is nothing to verify. */
const REFUSALS: Readonly<Record<number, string>> = {
  1: 'malformedRequest',
  2: 'internalError',
  3: 'tryLater',
  5: 'sigRequired',
  6: 'unauthorized',
};
/** Reasons of RFC 5280, section 5.3.1. */
const REASONS: Readonly<Record<number, string>> = {
  0: 'unspecified',
  1: 'keyCompromise',
  2: 'cACompromise',
  3: 'affiliationChanged',
  4: 'superseded',
  5: 'cessationOfOperation',
  6: 'certificateHold',
  8: 'removeFromCRL',
  9: 'privilegeWithdrawn',
  10: 'aACompromise',
};
const MAX_ANSWERS = 64;
const MAX_CERTIFICATES = 8;

/** SHA-1, by which responders name keys. */
export const sha1Of = (bytes: Uint8Array): Uint8Array => sha1(bytes);

/** What a response says of one certificate. */
export interface OcspAnswer {
  readonly hash: (bytes: Uint8Array) => Uint8Array;
  readonly issuerNameHash: Uint8Array;
  readonly issuerKeyHash: Uint8Array;
  /** as in `Certificate.serial` */
  readonly serial: string;
  readonly status: 'good' | 'revoked' | 'unknown';
  /** when it was revoked or put on hold */
  readonly revokedAt?: Date;
  /** such as keyCompromise; absent where none is stated */
  readonly reason?: string;
  readonly thisUpdate: Date;
  readonly nextUpdate?: Date;
}

export interface OcspResponse {
  /** SHA-256, lower-case hex */
  readonly fingerprint: string;
  readonly signed: Uint8Array;
  readonly algorithm: SignatureAlgorithm;
  readonly signature: Uint8Array;
  /** who signs, by the DER of the name or by the SHA-1 of the key */
  readonly responder: { readonly name: Uint8Array } | { readonly keyHash: Uint8Array };
  readonly responderName: string;
  readonly producedAt: Date;
  readonly answers: readonly OcspAnswer[];
  readonly nonce?: Uint8Array;
  /** those that came along, the responder's among them */
  readonly certificates: Parsed<readonly Certificate[]>;
}

const refuse = (what: string, reason: string): never => {
  throw new VouchError('bad-file', `${what}: ${reason}`);
};

/** Whether DER has the outer form of an OCSP response: a status where others have a sequence. */
export function looksLikeOcspResponse(bytes: Uint8Array): boolean {
  if (bytes[0] !== TAG.sequence) return false;
  try {
    const [first] = elementsOf(bytes, '');
    const [status] = childrenOf(first!, '');
    return status?.tag === ENUMERATED;
  } catch {
    return false;
  }
}

/** Reads one response; throws `bad-file`, also for one in which the responder refuses to answer. */
export function parseOcspResponse(der: Uint8Array, what = 'OCSP response'): OcspResponse {
  if (der.length > MAX_OCSP_BYTES) {
    return refuse(what, `expected at most ${MAX_OCSP_BYTES} bytes, got ${der.length}`);
  }
  const [status, holder, ...beyond] = childrenOf(readDer(der, what, TAG.sequence), what);
  const code = enumerated(status, what);
  if (code !== 0) return refuse(what, `the responder answered ${REFUSALS[code] ?? `status ${code}`}`);
  if (beyond.length > 0) return refuse(what, 'expected nothing after the response');
  const inner = readDer(expectTag(holder, contextTag(0), what).value, what, TAG.sequence);
  const [type, octets, ...more] = childrenOf(inner, what);
  if (oidOf(type, what) !== BASIC || more.length > 0) return refuse(what, 'expected a basic response');
  const basic = signedParts(expectTag(octets, TAG.octetString, what).value, what, 1);

  const parts = childrenOf(basic.body, what);
  if (parts[0]?.tag === contextTag(0)) {
    if (smallInteger(readDer(parts.shift()!.value, what), what) !== 0)
      return refuse(what, 'expected version 1');
  }
  const responder = responderOf(parts.shift(), what);
  const producedAt = generalizedTime(parts.shift(), what);
  const answers = childrenOf(expectTag(parts.shift(), TAG.sequence, what), what);
  const extensions = explicitExtensions(parts.shift(), what, [OCSP_NONCE]);
  if (parts.length > 0) return refuse(what, 'expected nothing after the extensions');
  if (answers.length === 0 || answers.length > MAX_ANSWERS) {
    return refuse(what, `expected 1 to ${MAX_ANSWERS} answers, got ${answers.length}`);
  }
  const nonce = extensions.get(OCSP_NONCE);
  const ders = certificatesOf(basic.rest[0], what);
  return {
    fingerprint: sha256Hex(der),
    signed: basic.body.raw,
    algorithm: basic.algorithm.value,
    signature: basic.signature,
    ...responder,
    producedAt,
    answers: answers.map((answer) => answerOf(answer, what)),
    ...(nonce === undefined ? {} : { nonce: nonceIn(nonce.value) }),
    certificates: parsedOnce(() => ders.map((one) => parseCertificate(one, `${what}: certificate`))),
  };
}

function enumerated(element: DerElement | undefined, what: string): number {
  const { value } = expectTag(element, ENUMERATED, what);
  return value.length === 1 ? value[0]! : refuse(what, 'expected a small number');
}

/** GeneralizedTime alone: UTCTime has no place here. */
const generalizedTime = (element: DerElement | undefined, what: string): Date =>
  timeOf(expectTag(element, TAG.generalizedTime, what), what);

function responderOf(
  element: DerElement | undefined,
  what: string,
): Pick<OcspResponse, 'responder' | 'responderName'> {
  if (element?.tag === contextTag(1)) {
    const name = readDer(element.value, what, TAG.sequence);
    return { responder: { name: name.raw }, responderName: commonName(name, what) };
  }
  const { value } = readDer(expectTag(element, contextTag(2), what).value, what, TAG.octetString);
  if (value.length !== 20) return refuse(what, 'responder: expected the SHA-1 of a key');
  return { responder: { keyHash: value }, responderName: `key ${hex(value)}` };
}

function explicitExtensions(element: DerElement | undefined, what: string, known: readonly string[] = []) {
  if (element === undefined) return new Map<string, never>();
  const extensions = extensionsIn(readDer(expectTag(element, contextTag(1), what).value, what), what);
  for (const [oid, { critical }] of extensions) {
    if (critical && !known.includes(oid)) return refuse(what, `critical extension ${oid} not known`);
  }
  return extensions;
}

/** In an OCTET STRING of its own, which older responders leave out. */
function nonceIn(value: Uint8Array): Uint8Array {
  const wrapped = value[0] === TAG.octetString && value[1] === value.length - 2;
  return wrapped ? value.subarray(2) : value;
}

function certificatesOf(element: DerElement | undefined, what: string): Uint8Array[] {
  if (element === undefined) return [];
  const list = childrenOf(readDer(expectTag(element, contextTag(0), what).value, what, TAG.sequence), what);
  if (list.length > MAX_CERTIFICATES)
    return refuse(what, `expected at most ${MAX_CERTIFICATES} certificates`);
  return list.map(({ raw }) => raw);
}

function answerOf(element: DerElement, what: string): OcspAnswer {
  const parts = childrenOf(expectTag(element, TAG.sequence, what), what);
  const [algorithm, name, key, serial, ...more] = childrenOf(
    expectTag(parts.shift(), TAG.sequence, what),
    what,
  );
  const [identifier] = childrenOf(expectTag(algorithm, TAG.sequence, what), what);
  const hash = HASHES[oidOf(identifier, what)];
  if (hash === undefined || more.length > 0)
    return refuse(what, 'expected certificates named by SHA-1 or SHA-2');
  const state = statusOf(parts.shift(), what);
  const thisUpdate = generalizedTime(parts.shift(), what);
  const next = parts[0]?.tag === contextTag(0) ? parts.shift() : undefined;
  explicitExtensions(parts.shift(), what);
  if (parts.length > 0) return refuse(what, 'expected nothing after the extensions of an answer');
  return {
    hash,
    issuerNameHash: expectTag(name, TAG.octetString, what).value,
    issuerKeyHash: expectTag(key, TAG.octetString, what).value,
    serial: hex(expectTag(serial, TAG.integer, what).value),
    ...state,
    thisUpdate,
    ...(next === undefined ? {} : { nextUpdate: generalizedTime(readDer(next.value, what), what) }),
  };
}

function statusOf(
  element: DerElement | undefined,
  what: string,
): Pick<OcspAnswer, 'status' | 'revokedAt' | 'reason'> {
  if (element?.tag === contextTag(0, false) && element.value.length === 0) return { status: 'good' };
  if (element?.tag === contextTag(2, false) && element.value.length === 0) return { status: 'unknown' };
  const [time, holder, ...rest] = childrenOf(expectTag(element, contextTag(1), what), what);
  if (rest.length > 0) return refuse(what, 'expected a time and a reason of revocation');
  const revokedAt = generalizedTime(time, what);
  if (holder === undefined) return { status: 'revoked', revokedAt };
  const code = enumerated(readDer(expectTag(holder, contextTag(0), what).value, what), what);
  return { status: 'revoked', revokedAt, reason: REASONS[code] ?? `reason ${code}` };
}

/** Whether an answer is about the certificate that this issuer certified. */
export const isAbout = (
  { hash, issuerNameHash, issuerKeyHash, serial }: OcspAnswer,
  certificate: Certificate,
  issuer: Certificate,
): boolean =>
  serial === certificate.serial &&
  equal(issuerNameHash, hash(issuer.subject)) &&
  equal(issuerKeyHash, hash(keyBits(issuer.key)));

const write = (tag: number, ...parts: readonly Uint8Array[]): Uint8Array => {
  const value = concat(...parts);
  const { length } = value;
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return concat(Uint8Array.of(tag, ...size), value);
};
const OID_SHA1 = Uint8Array.of(0x06, 5, 0x2b, 0x0e, 3, 2, 0x1a);
const OID_NONCE = Uint8Array.of(0x06, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2);

/** The request for what is known of one certificate, DER: by SHA-1, which every responder takes, and with a nonce. */
export function ocspRequest(certificate: Certificate, issuer: Certificate, nonce: Uint8Array): Uint8Array {
  const serial = Uint8Array.from(certificate.serial.match(/../g) ?? [], (digits) =>
    Number.parseInt(digits, 16),
  );
  const id = write(
    TAG.sequence,
    write(TAG.sequence, OID_SHA1, write(TAG.null)),
    write(TAG.octetString, sha1(issuer.subject)),
    write(TAG.octetString, sha1(keyBits(issuer.key))),
    write(TAG.integer, serial),
  );
  const extension = write(TAG.sequence, OID_NONCE, write(TAG.octetString, write(TAG.octetString, nonce)));
  const list = write(TAG.sequence, write(TAG.sequence, id));
  return write(TAG.sequence, write(TAG.sequence, list, write(contextTag(2), write(TAG.sequence, extension))));
}
