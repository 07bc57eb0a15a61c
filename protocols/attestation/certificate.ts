/**
 * X.509 v3 certificates and version 2 CRLs (RFC 5280), read into what a chain's verification needs. Reading
 * checks the form only: nothing here says that a certificate is genuine (see chain.ts).
 */
import { hex, sha256Hex } from '../encoding.ts';
import { VouchError } from '../errors.ts';
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
  textOf,
  timeOf,
  wholeBits,
} from './der.ts';
import { MAX_CERTIFICATE_BYTES, MAX_CRL_BYTES } from './limits.ts';
import {
  COORDINATE_BYTES,
  type Curve,
  type PublicKey,
  type SignatureAlgorithm,
  signatureAlgorithm,
} from './signature.ts';

/** Certificates in one file of text. */
const MAX_BUNDLE = 32;

export interface Extension {
  readonly critical: boolean;
  /** what the octet string holds */
  readonly value: Uint8Array;
}

export interface Certificate {
  readonly der: Uint8Array;
  /** SHA-256 of `der`, lower-case hex */
  readonly fingerprint: string;
  /** what is signed */
  readonly signed: Uint8Array;
  readonly algorithm: SignatureAlgorithm;
  readonly signature: Uint8Array;
  /** contents of the INTEGER as they stand, lower-case hex */
  readonly serial: string;
  /** DER of the names, for comparison */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  /** the last common name, or '' */
  readonly issuerName: string;
  readonly subjectName: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly key: PublicKey;
  readonly authority: boolean;
  /** intermediates that may follow below; absent = any number */
  readonly pathLength?: number;
  /** absent = not restricted */
  readonly usage?: ReadonlySet<KeyUsage>;
  /** by object identifier */
  readonly extensions: ReadonlyMap<string, Extension>;
}

const KEY_USAGES = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const;
export type KeyUsage = (typeof KEY_USAGES)[number];

const EXTENSION = { keyUsage: '2.5.29.15', basicConstraints: '2.5.29.19' } as const;
const COMMON_NAME = '2.5.4.3';

const refuse = (what: string, reason: string): never => {
  throw new VouchError('bad-file', `${what}: ${reason}`);
};

/** Reads one certificate; throws `bad-file`. */
export function parseCertificate(der: Uint8Array, what = 'certificate'): Certificate {
  if (der.length > MAX_CERTIFICATE_BYTES) {
    return refuse(what, `expected at most ${MAX_CERTIFICATE_BYTES} bytes, got ${der.length}`);
  }
  const { body, algorithm, signature } = signedParts(der, what);
  const [version, serial, inner, issuer, validity, subject, spki, ...rest] = childrenOf(body, what);
  if (version?.tag !== contextTag(0) || smallInteger(readDer(version.value, what), what) !== 2) {
    return refuse(what, 'expected X.509 version 3');
  }
  checkInnerAlgorithm(inner, algorithm.raw, what);
  const [notBefore, notAfter, ...others] = childrenOf(expectTag(validity, TAG.sequence, what), what);
  if (others.length > 0) return refuse(what, 'expected two dates');
  // Unique identifiers ([1] and [2], primitive) may come before the extensions and mean nothing here.
  const last = rest.findIndex(({ tag }) => tag === contextTag(3));
  const identifiers = last < 0 ? rest : rest.slice(0, last);
  if (
    identifiers.some(({ tag }) => tag !== 0x81 && tag !== 0x82) ||
    (last >= 0 && last !== rest.length - 1)
  ) {
    return refuse(what, 'expected nothing but extensions after the public key');
  }
  const extensions = extensionsOf(rest[last], what);
  const usage = extensions.get(EXTENSION.keyUsage);
  return {
    der,
    fingerprint: sha256Hex(der),
    signed: body.raw,
    algorithm: algorithm.value,
    signature,
    serial: hex(expectTag(serial, TAG.integer, what).value),
    issuer: expectTag(issuer, TAG.sequence, what).raw,
    subject: expectTag(subject, TAG.sequence, what).raw,
    issuerName: commonName(issuer!, what),
    subjectName: commonName(subject!, what),
    notBefore: timeOf(notBefore, what),
    notAfter: timeOf(notAfter, what),
    key: publicKey(expectTag(spki, TAG.sequence, what), what),
    ...basicConstraints(extensions.get(EXTENSION.basicConstraints), what),
    ...(usage === undefined ? {} : { usage: keyUsage(usage, what) }),
    extensions,
  };
}

/** Reads several; the message of what it throws counts them from 1. Throws `bad-file`. */
export const parseCertificates = (ders: readonly Uint8Array[]): Certificate[] =>
  ders.map((der, i) => parseCertificate(der, `certificate ${i + 1}`));

/** Reads a chain, leaf first. Throws `bad-file`. */
export const parseChain = (ders: readonly Uint8Array[]): Certificate[] =>
  ders.map((der, i) => parseCertificate(der, i === 0 ? 'leaf certificate' : `certificate ${i}`));

export interface RevocationList {
  readonly der: Uint8Array;
  readonly signed: Uint8Array;
  readonly algorithm: SignatureAlgorithm;
  readonly signature: Uint8Array;
  readonly issuer: Uint8Array;
  readonly issuerName: string;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  /** serial numbers as in `Certificate.serial` */
  readonly revoked: ReadonlySet<string>;
}

/** Extensions of a CRL that need no handling here: its number and its issuer's key identifier. */
const CRL_EXTENSIONS = ['2.5.29.20', '2.5.29.35'];

/** Reads one complete, direct CRL with a date for the next; throws `bad-file`. */
export function parseRevocationList(der: Uint8Array, what = 'CRL'): RevocationList {
  if (der.length > MAX_CRL_BYTES) {
    return refuse(what, `expected at most ${MAX_CRL_BYTES} bytes, got ${der.length}`);
  }
  const { body, algorithm, signature } = signedParts(der, what);
  const parts = childrenOf(body, what);
  if (smallInteger(parts.shift(), what) !== 1) return refuse(what, 'expected a CRL of version 2');
  checkInnerAlgorithm(parts.shift(), algorithm.raw, what);
  const issuer = expectTag(parts.shift(), TAG.sequence, what);
  const thisUpdate = timeOf(parts.shift(), what);
  const nextUpdate = timeOf(parts.shift(), what);
  const entries = parts[0]?.tag === TAG.sequence ? childrenOf(parts.shift()!, what) : [];
  const extensions = extensionsOf(parts[0]?.tag === contextTag(0) ? parts.shift() : undefined, what);
  if (parts.length > 0) return refuse(what, 'expected nothing after the extensions');
  for (const [oid, { critical }] of extensions) {
    // A delta or a partial list says so in a critical extension.
    if (critical && !CRL_EXTENSIONS.includes(oid)) return refuse(what, `critical extension ${oid} not known`);
  }
  const revoked = new Set<string>();
  for (const entry of entries) {
    const [serial, , more] = childrenOf(expectTag(entry, TAG.sequence, what), what);
    for (const [oid, { critical }] of more === undefined ? [] : extensionsIn(more, what)) {
      if (critical) return refuse(what, `critical extension ${oid} of an entry not known`);
    }
    revoked.add(hex(expectTag(serial, TAG.integer, what).value));
  }
  return {
    der,
    signed: body.raw,
    algorithm: algorithm.value,
    signature,
    issuer: issuer.raw,
    issuerName: commonName(issuer, what),
    thisUpdate,
    nextUpdate,
    revoked,
  };
}

/** What is signed, by which algorithm, and the signature; `rest` is what may follow, in OCSP responses alone. */
export function signedParts(der: Uint8Array, what: string, mayFollow = 0) {
  const parts = childrenOf(readDer(der, what, TAG.sequence), what);
  const [body, identifier, bits, ...rest] = parts;
  if (parts.length < 3 || rest.length > mayFollow || identifier === undefined) {
    return refuse(what, 'expected three parts');
  }
  const algorithm = signatureAlgorithm(identifier, what);
  if (algorithm === undefined) return refuse(what, 'signature algorithm not taken');
  return {
    body: expectTag(body, TAG.sequence, what),
    algorithm: { value: algorithm, raw: identifier.raw },
    signature: wholeBits(bits, what),
    rest,
  };
}

function checkInnerAlgorithm(inner: DerElement | undefined, outer: Uint8Array, what: string): void {
  if (inner === undefined || hex(inner.raw) !== hex(outer)) {
    refuse(what, 'expected the same signature algorithm inside and outside');
  }
}

function extensionsOf(element: DerElement | undefined, what: string): Map<string, Extension> {
  if (element === undefined) return new Map();
  return extensionsIn(readDer(element.value, what, TAG.sequence), what);
}

export function extensionsIn(sequence: DerElement, what: string): Map<string, Extension> {
  const extensions = new Map<string, Extension>();
  for (const element of childrenOf(expectTag(sequence, TAG.sequence, what), what)) {
    const parts = childrenOf(expectTag(element, TAG.sequence, what), what);
    const oid = oidOf(parts.shift(), what);
    const critical = parts[0]?.tag === TAG.boolean ? parts.shift()!.value[0] === 0xff : false;
    const { value } = expectTag(parts.shift(), TAG.octetString, what);
    if (parts.length > 0) return refuse(what, `extension ${oid}: expected nothing after its value`);
    if (extensions.has(oid)) return refuse(what, `extension ${oid}: expected it once`);
    extensions.set(oid, { critical, value });
  }
  return extensions;
}

function basicConstraints(
  extension: Extension | undefined,
  what: string,
): { authority: boolean; pathLength?: number } {
  if (extension === undefined) return { authority: false };
  const parts = childrenOf(readDer(extension.value, what, TAG.sequence), what);
  const authority = parts[0]?.tag === TAG.boolean ? parts.shift()!.value[0] === 0xff : false;
  if (parts.length === 0) return { authority };
  return { authority, pathLength: smallInteger(parts[0], what) };
}

function keyUsage({ value }: Extension, what: string): Set<KeyUsage> {
  const [, ...bytes] = readDer(value, what, TAG.bitString).value;
  return new Set(KEY_USAGES.filter((_, bit) => ((bytes[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0));
}

/** The last common name, or ''; throws `bad-file`. */
export function commonName(name: DerElement, what: string): string {
  let text = '';
  for (const set of childrenOf(name, what)) {
    for (const pair of childrenOf(expectTag(set, TAG.set, what), what)) {
      const [type, value] = childrenOf(expectTag(pair, TAG.sequence, what), what);
      if (oidOf(type, what) === COMMON_NAME) text = textOf(value, what);
    }
  }
  // For people, in tables of checks.
  return text.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 64);
}

const EC_KEY = '1.2.840.10045.2.1';
const ED25519 = '1.3.101.112';
const RSA_KEYS = ['1.2.840.113549.1.1.1', '1.2.840.113549.1.1.10'];
const CURVES: Readonly<Record<string, Curve>> = {
  '1.2.840.10045.3.1.7': 'P-256',
  '1.3.132.0.34': 'P-384',
  '1.2.156.10197.1.301': 'SM2',
};

/** A SubjectPublicKeyInfo: EC with a named curve and an uncompressed point, RSA, or Ed25519; throws `bad-file`. */
function publicKey(spki: DerElement, what: string): PublicKey {
  const [identifier, bits] = childrenOf(spki, what);
  const [type, parameters] = childrenOf(expectTag(identifier, TAG.sequence, what), what);
  const oid = oidOf(type, what);
  const key = wholeBits(bits, what);
  if (oid === EC_KEY) {
    const curve = CURVES[oidOf(parameters, what)];
    if (curve === undefined || key.length !== 1 + 2 * COORDINATE_BYTES[curve] || key[0] !== 4) {
      return refuse(what, 'expected an uncompressed point on P-256, P-384 or SM2');
    }
    return { type: 'EC', curve, spki: spki.raw, point: key };
  }
  if (oid === ED25519) {
    if (key.length !== 32 || parameters !== undefined) return refuse(what, 'expected an Ed25519 key');
    return { type: 'Ed25519', spki: spki.raw, point: key };
  }
  if (!RSA_KEYS.includes(oid)) return refuse(what, `key type ${oid} not taken`);
  const [modulus] = childrenOf(readDer(key, what, TAG.sequence), what);
  const digits = expectTag(modulus, TAG.integer, what).value;
  return { type: 'RSA', bits: 8 * (digits[0] === 0 ? digits.length - 1 : digits.length), spki: spki.raw };
}

/** The contents of the key's BIT STRING: what key identifiers and OCSP hash (RFC 6960, section 4.1.1). */
export function keyBits({ spki }: PublicKey): Uint8Array {
  const [, bits] = childrenOf(readDer(spki, 'public key', TAG.sequence), 'public key');
  return wholeBits(bits, 'public key');
}

/** A SubjectPublicKeyInfo as it travels alone; throws `bad-file`. */
export const parsePublicKey = (der: Uint8Array, what = 'public key'): PublicKey =>
  publicKey(readDer(der, what, TAG.sequence), what);

/** PEM blocks of one label as bytes; text between blocks is ignored. Throws `bad-file`. */
export function readPem(text: string, label = 'CERTIFICATE', what = 'PEM'): Uint8Array[] {
  const begin = `-----BEGIN ${label}-----`;
  const end = `-----END ${label}-----`;
  const blocks: Uint8Array[] = [];
  for (let at = text.indexOf(begin); at >= 0; at = text.indexOf(begin, at)) {
    const stop = text.indexOf(end, at);
    if (stop < 0) return refuse(what, `expected ${end}`);
    if (blocks.length === MAX_BUNDLE) return refuse(what, `expected at most ${MAX_BUNDLE} blocks`);
    blocks.push(fromBase64(text.slice(at + begin.length, stop), what));
    at = stop + end.length;
  }
  return blocks;
}

/** PEM certificates and nothing else: a damaged label must not make one of them disappear. Throws `bad-file`. */
export function readChain(text: string, what: string): Certificate[] {
  const rest = text.replaceAll(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g, '');
  if (rest.trim() !== '') return refuse(what, 'expected nothing but certificates as PEM');
  return parseChain(readPem(text, 'CERTIFICATE', what));
}

/** Padded base64 with white space; throws `bad-file`. */
export function fromBase64(text: string, what: string): Uint8Array {
  const digits = text.replaceAll(/[\t\n\r ]/g, '');
  if (digits.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(digits))
    return refuse(what, 'expected base64');
  const binary = atob(digits);
  // Bits that no encoder writes would be a second spelling of the same bytes.
  const last = binary.length - (binary.length % 3 || 3);
  if (last >= 0 && !digits.endsWith(btoa(binary.slice(last)))) return refuse(what, 'expected base64');
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

const asText = (bytes: Uint8Array): string => new TextDecoder('latin1').decode(bytes);

/** Certificates of a file, PEM (any number) or DER (one or a series), not yet parsed; throws `bad-file`. */
export function splitCertificates(bytes: Uint8Array, what = 'certificates'): Uint8Array[] {
  const found = isDer(bytes)
    ? elementsOf(bytes, what).map(({ raw }) => raw)
    : readPem(asText(bytes), 'CERTIFICATE', what);
  if (found.length === 0 || found.length > MAX_BUNDLE) {
    return refuse(what, `expected 1 to ${MAX_BUNDLE} certificates, got ${found.length}`);
  }
  return found;
}

/** Whether bytes start like DER. */
const isDer = (bytes: Uint8Array): boolean => bytes[0] === TAG.sequence;

/**
 * Whether bytes start like a certificate, whole or cut off: a sequence whose length needs bytes of its own, and a sequence
 * first in it. Numbers that happen to start with a sequence's tag, as one signature of 256 does, are not taken for one.
 */
export const looksLikeCertificate = (bytes: Uint8Array): boolean => {
  const lengthBytes = (bytes[1] ?? 0) - 0x80;
  return isDer(bytes) && lengthBytes >= 1 && lengthBytes <= 4 && bytes[2 + lengthBytes] === TAG.sequence;
};

/** Whether DER has the outer form of a SubjectPublicKeyInfo: an algorithm, then a bit string. */
export function isPublicKeyDer(bytes: Uint8Array): boolean {
  if (!isDer(bytes)) return false;
  try {
    const [algorithm, bits, ...rest] = childrenOf(readDer(bytes, '', TAG.sequence), '');
    return algorithm?.tag === TAG.sequence && bits?.tag === TAG.bitString && rest.length === 0;
  } catch {
    return false;
  }
}

/** Whether DER has the outer form of a CRL: a version number where a certificate has a tag of its own. */
export function looksLikeRevocationList(bytes: Uint8Array): boolean {
  if (!isDer(bytes)) return false;
  try {
    const [first] = elementsOf(bytes, '');
    const [body] = childrenOf(first!, '');
    const [version] = childrenOf(expectTag(body, TAG.sequence, ''), '');
    return version?.tag === TAG.integer;
  } catch {
    return false;
  }
}
