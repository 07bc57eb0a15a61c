/**
 * The installation's own certificate authority: one key that certifies this installation's servers and nothing else, so
 * that whoever was given its certificate knows these servers from any other (X.509 v3, RFC 5280; ECDSA on P-256). Key and
 * certificate lie in `.vouch/keys/tls-authority.pem`, mode 0600; the certificate alone travels in credentials.
 *
 * Only what such certificates need is written here. A server's certificate lives for two years and is made anew at
 * every start. There is no revocation: whoever has copied a server's key can pass for the server until its
 * certificate ends, or the authority's file is deleted and all credentials are made again.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto';
import { isIP } from 'node:net';
import path from 'node:path';
import { concat, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { createWhole, readTextIfThere } from '../home/files.ts';

const AUTHORITY_NAME = 'Vouch installation';
const DAY_MS = 86_400_000;
const AUTHORITY_DAYS = 20 * 365;
const SERVER_DAYS = 2 * 365;
const MAX_BYTES = 16 * 1024;

export interface TlsAuthority {
  /** PEM: what others pin */
  readonly certificate: string;
  /** A fresh key and its certificate for these names and addresses. */
  issue(names: readonly string[]): ServerCertificate;
}

export interface ServerCertificate {
  /** PEM */
  readonly certificate: string;
  /** PEM, secret */
  readonly key: string;
  /** SHA-256 of the certificate as browsers show it */
  readonly fingerprint: string;
}

/** Reads the authority of `<stateDir>`, or makes it on first use. Throws `bad-file` when its file is damaged. */
export async function ensureTlsAuthority(stateDir: string): Promise<TlsAuthority> {
  const file = path.join(stateDir, 'keys', 'tls-authority.pem');
  if (readTextIfThere(file, 'TLS authority', MAX_BYTES) === undefined)
    await createWhole(file, newAuthority());
  // Another process may have been first: what lies there now counts.
  const text = readTextIfThere(file, 'TLS authority', MAX_BYTES) ?? '';
  const [own, privateKey] = parsed(text, file);
  return {
    certificate: own.toString(),
    issue(names) {
      const { privateKey: key, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const der = certificate({
        issuer: { name: AUTHORITY_NAME, key: privateKey },
        subject: { name: names[0] ?? 'server', key: publicKey },
        days: SERVER_DAYS,
        extensions: [
          extension('2.5.29.15', true, tlv(0x03, Uint8Array.of(7, 0x80))), // key usage: digitalSignature
          extension('2.5.29.37', false, sequence(oid('1.3.6.1.5.5.7.3.1'))), // extended key usage: serverAuth
          extension('2.5.29.17', false, sequence(...names.map(generalName))),
        ],
      });
      const made = new X509Certificate(der);
      return {
        certificate: made.toString(),
        key: key.export({ type: 'pkcs8', format: 'pem' }) as string,
        fingerprint: made.fingerprint256,
      };
    },
  };
}

function newAuthority(): string {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const der = certificate({
    issuer: { name: AUTHORITY_NAME, key: privateKey },
    subject: { name: AUTHORITY_NAME, key: publicKey },
    days: AUTHORITY_DAYS,
    extensions: [
      // Basic constraints: an authority, with no other below it.
      extension('2.5.29.19', true, sequence(tlv(0x01, Uint8Array.of(0xff)), integer(Uint8Array.of(0)))),
      extension('2.5.29.15', true, tlv(0x03, Uint8Array.of(2, 0x04))), // key usage: keyCertSign
    ],
  });
  return `${privateKey.export({ type: 'pkcs8', format: 'pem' })}${new X509Certificate(der).toString()}`;
}

function parsed(text: string, file: string): [X509Certificate, KeyObject] {
  try {
    const own = new X509Certificate(text.slice(text.indexOf('-----BEGIN CERTIFICATE')));
    const key = createPrivateKey(text);
    if (own.ca && own.checkPrivateKey(key)) return [own, key];
  } catch {
    // said below
  }
  throw new VouchError(
    'bad-file',
    `${file}: expected the TLS authority that Vouch wrote; restore the file, or delete it and make all credentials again`,
  );
}

interface Contents {
  readonly issuer: { readonly name: string; readonly key: KeyObject };
  readonly subject: { readonly name: string; readonly key: KeyObject };
  readonly days: number;
  readonly extensions: readonly Uint8Array[];
}

/** DER of a certificate (RFC 5280, section 4.1). */
function certificate({ issuer, subject, days, extensions }: Contents): Buffer {
  const now = Date.now();
  const spki = subject.key.export({ type: 'spki', format: 'der' });
  const issuerSpki = createPublicKey(issuer.key).export({ type: 'spki', format: 'der' });
  const ecdsaWithSha256 = sequence(oid('1.2.840.10045.4.3.2'));
  const body = sequence(
    tlv(0xa0, integer(Uint8Array.of(2))),
    // 127 random bits (section 4.1.2.2: positive, hard to guess).
    integer(randomBytes(16).map((byte, i) => (i === 0 ? (byte & 0x7f) | 0x40 : byte))),
    ecdsaWithSha256,
    distinguishedName(issuer.name),
    // A day back, because clocks of other hosts may be behind.
    sequence(time(new Date(now - DAY_MS)), time(new Date(now + days * DAY_MS))),
    distinguishedName(subject.name),
    spki,
    tlv(
      0xa3,
      sequence(
        extension('2.5.29.14', false, tlv(0x04, keyId(spki))),
        extension('2.5.29.35', false, sequence(tlv(0x80, keyId(issuerSpki)))),
        ...extensions,
      ),
    ),
  );
  const signature = sign('sha256', body, issuer.key);
  return Buffer.from(sequence(body, ecdsaWithSha256, tlv(0x03, Uint8Array.of(0), signature)));
}

/** Names a key within a chain; any function of it will do. */
const keyId = (spki: Uint8Array): Uint8Array => createHash('sha256').update(spki).digest().subarray(0, 20);

/** Tag, length, value (X.690). */
function tlv(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const value = concat(...parts);
  const { length } = value;
  if (length < 0x80) return concat(Uint8Array.of(tag, length), value);
  return length < 0x100
    ? concat(Uint8Array.of(tag, 0x81, length), value)
    : concat(Uint8Array.of(tag, 0x82, length >> 8, length & 0xff), value);
}
const sequence = (...parts: readonly Uint8Array[]): Uint8Array => tlv(0x30, ...parts);
/** `bytes`: the number in as few bytes as it has, its first bit zero */
const integer = (bytes: Uint8Array): Uint8Array => tlv(0x02, bytes);
const extension = (id: string, critical: boolean, value: Uint8Array): Uint8Array =>
  sequence(oid(id), ...(critical ? [tlv(0x01, Uint8Array.of(0xff))] : []), tlv(0x04, value));
const distinguishedName = (common: string): Uint8Array =>
  sequence(tlv(0x31, sequence(oid('2.5.4.3'), tlv(0x0c, utf8(common.slice(0, 64))))));

function oid(text: string): Uint8Array {
  const [first, second, ...rest] = text.split('.').map(Number) as [number, number, ...number[]];
  const bytes = [first * 40 + second, ...rest].flatMap((arc) => {
    const septets = [arc & 0x7f];
    for (let left = arc >>> 7; left > 0; left >>>= 7) septets.unshift((left & 0x7f) | 0x80);
    return septets;
  });
  return tlv(0x06, Uint8Array.from(bytes));
}

/** UTCTime until 2049, GeneralizedTime from 2050 on (section 4.1.2.5). */
function time(date: Date): Uint8Array {
  const digits = `${date.toISOString().slice(0, 19).replaceAll(/[-:T]/g, '')}Z`;
  return date.getUTCFullYear() < 2050 ? tlv(0x17, utf8(digits.slice(2))) : tlv(0x18, utf8(digits));
}

/** A DNS name or an IP address (section 4.2.1.6). */
function generalName(name: string): Uint8Array {
  const family = isIP(name);
  if (family === 0) return tlv(0x82, utf8(name));
  return tlv(0x87, family === 4 ? Uint8Array.from(name.split('.'), Number) : ipv6Bytes(name));
}

function ipv6Bytes(address: string): Uint8Array {
  // URL spells an address in its shortest form, with IPv4 parts as hex.
  const [head = '', tail] = new URL(`http://[${address.replace(/%.*/, '')}]/`).hostname
    .slice(1, -1)
    .split('::');
  const groups = (text: string | undefined) =>
    text ? text.split(':').map((part) => Number.parseInt(part, 16)) : [];
  const [before, after] = [groups(head), groups(tail)];
  const all = [...before, ...Array.from({ length: 8 - before.length - after.length }, () => 0), ...after];
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}
