/**
 * Makes keys, certificates and CRLs, so that the negatives of a chain can be tested with signatures that hold.
 * A DER writer with just what X.509 needs; the product only reads.
 */
import { concat, sha256Hex, unshared, utf8 } from '../../protocols/encoding.ts';

type Part = Uint8Array<ArrayBuffer>;

export function der(tag: number, ...parts: readonly Uint8Array[]): Part {
  const value = concat(...parts);
  const { length } = value;
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return concat(Uint8Array.of(tag, ...size), value);
}

export function oid(text: string): Part {
  const [first, second, ...rest] = text.split('.').map(Number) as [number, number, ...number[]];
  const bytes = [first * 40 + second, ...rest].flatMap((arc) => {
    const septets = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) septets.unshift((left & 0x7f) | 0x80);
    return septets;
  });
  return der(0x06, Uint8Array.from(bytes));
}

export const sequence = (...parts: readonly Uint8Array[]): Part => der(0x30, ...parts);
export const integer = (value: number): Part =>
  der(0x02, value < 0x80 ? Uint8Array.of(value) : Uint8Array.of(0, value));
export const octets = (bytes: Uint8Array): Part => der(0x04, bytes);
const bits = (bytes: Uint8Array): Part => der(0x03, Uint8Array.of(0), bytes);
const boolean = (value: boolean): Part => der(0x01, Uint8Array.of(value ? 0xff : 0));
const nothing = der(0x05);
export const name = (common: string): Part =>
  sequence(der(0x31, sequence(oid('2.5.4.3'), der(0x0c, utf8(common)))));
export const time = (date: Date): Part => der(0x18, utf8(date.toISOString().replaceAll(/[-:T]|\.\d+/g, '')));

export interface Extension {
  readonly id: string;
  readonly critical?: boolean;
  readonly value: Uint8Array;
}
export const extension = ({ id, critical, value }: Extension): Part =>
  sequence(oid(id), ...(critical ? [boolean(true)] : []), octets(value));

export const basicConstraints = (authority: boolean, pathLength?: number): Extension => ({
  id: '2.5.29.19',
  critical: true,
  value: sequence(
    ...(authority ? [boolean(true)] : []),
    ...(pathLength === undefined ? [] : [integer(pathLength)]),
  ),
});
/** Bits as in RFC 5280: 0 = digitalSignature, 5 = keyCertSign, 6 = cRLSign. */
export const keyUsage = (...which: readonly number[]): Extension => {
  const value = which.reduce((sum, bit) => sum | (0x80 >> bit), 0);
  return { id: '2.5.29.15', critical: true, value: der(0x03, Uint8Array.of(0, value)) };
};
export const AUTHORITY = [basicConstraints(true), keyUsage(5, 6)];

/** `RSA-PSS-256`: with SHA-256, as Google signs. */
export type KeyKind = 'P-256' | 'P-384' | 'RSA-PSS' | 'RSA-PSS-256';
export interface Maker {
  readonly common: string;
  readonly kind: KeyKind;
  readonly privateKey: CryptoKey;
  readonly spki: Part;
}

/** A name with a fresh key. */
export async function maker(common: string, kind: KeyKind = 'P-384'): Promise<Maker> {
  const algorithm =
    kind === 'RSA-PSS' || kind === 'RSA-PSS-256'
      ? {
          name: 'RSA-PSS',
          hash: HASH[kind].name,
          modulusLength: 2048,
          publicExponent: Uint8Array.of(1, 0, 1),
        }
      : { name: 'ECDSA', namedCurve: kind };
  const pair = (await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as CryptoKeyPair;
  const spki = new Uint8Array(await crypto.subtle.exportKey('spki', pair.publicKey));
  return { common, kind, privateKey: pair.privateKey, spki };
}

/** ECDSA as r || s, with SHA-384. */
export async function signRaw({ privateKey }: Maker, data: Uint8Array): Promise<Part> {
  return new Uint8Array(
    await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-384' }, privateKey, unshared(data)),
  );
}

/** Of RSA-PSS, whose salts are as long as its hashes. */
const HASH = {
  'RSA-PSS': { name: 'SHA-384', id: sequence(oid('2.16.840.1.101.3.4.2.2'), nothing), bytes: 48 },
  'RSA-PSS-256': { name: 'SHA-256', id: sequence(oid('2.16.840.1.101.3.4.2.1'), nothing), bytes: 32 },
} as const;
const algorithmOf = ({ kind }: Maker): Part => {
  if (kind !== 'RSA-PSS' && kind !== 'RSA-PSS-256') return sequence(oid('1.2.840.10045.4.3.3'));
  const { id, bytes } = HASH[kind];
  return sequence(
    oid('1.2.840.113549.1.1.10'),
    sequence(der(0xa0, id), der(0xa1, sequence(oid('1.2.840.113549.1.1.8'), id)), der(0xa2, integer(bytes))),
  );
};

/** As a certificate of `issuer` would be signed: RSA-PSS, or ECDSA as DER. */
export async function sign(issuer: Maker, body: Part): Promise<Part> {
  if (issuer.kind === 'RSA-PSS' || issuer.kind === 'RSA-PSS-256') {
    const algorithm = { name: 'RSA-PSS', saltLength: HASH[issuer.kind].bytes };
    return new Uint8Array(await crypto.subtle.sign(algorithm, issuer.privateKey, body));
  }
  return derSignature(await signRaw(issuer, body));
}

/** r || s as SEQUENCE {r, s}. */
export function derSignature(raw: Uint8Array): Part {
  const half = raw.length / 2;
  const number = (bytes: Uint8Array) => {
    const start = bytes.findIndex((byte) => byte !== 0);
    const digits = bytes.subarray(start);
    return der(0x02, ...(digits[0]! >= 0x80 ? [Uint8Array.of(0)] : []), digits);
  };
  return sequence(number(raw.subarray(0, half)), number(raw.subarray(half)));
}

/** What is signed, and whatever comes after the signature. */
export const signed = async (issuer: Maker, body: Part, ...after: readonly Uint8Array[]): Promise<Part> =>
  sequence(body, algorithmOf(issuer), bits(await sign(issuer, body)), ...after);

export interface CertificateOptions {
  readonly extensions?: readonly Extension[];
  readonly serial?: number;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

/** The certificate by which `issuer` certifies `subject`, DER. */
export function certify(issuer: Maker, subject: Maker, options: CertificateOptions = {}): Promise<Part> {
  const { extensions = [], serial = 1 } = options;
  const { notBefore = new Date('2024-01-01'), notAfter = new Date('2034-01-01') } = options;
  const body = sequence(
    der(0xa0, integer(2)),
    integer(serial),
    algorithmOf(issuer),
    name(issuer.common),
    sequence(time(notBefore), time(notAfter)),
    name(subject.common),
    subject.spki,
    ...(extensions.length === 0 ? [] : [der(0xa3, sequence(...extensions.map(extension)))]),
  );
  return signed(issuer, body);
}

/** A CRL, DER. */
export function revoke(
  issuer: Maker,
  serials: readonly number[],
  {
    thisUpdate = new Date('2024-06-01'),
    nextUpdate = new Date('2030-06-01'),
    extensions = [] as Extension[],
  } = {},
): Promise<Part> {
  const entries = serials.map((serial) => sequence(integer(serial), time(thisUpdate)));
  const body = sequence(
    integer(1),
    algorithmOf(issuer),
    name(issuer.common),
    time(thisUpdate),
    time(nextUpdate),
    ...(entries.length === 0 ? [] : [sequence(...entries)]),
    ...(extensions.length === 0 ? [] : [der(0xa0, sequence(...extensions.map(extension)))]),
  );
  return signed(issuer, body);
}

export const fingerprint = (certificate: Uint8Array): string => sha256Hex(certificate);

/** The same bytes with one bit of the byte at `at` changed. */
export function flip(bytes: Uint8Array, at: number, mask = 1): Part {
  const copy = Uint8Array.from(bytes);
  copy[at]! ^= mask;
  return copy;
}
