/**
 * Signed certificate timestamps (RFC 6962, sections 3.2 and 3.3): that a log of certificates has promised to show a
 * certificate to everybody, who can then see whom its issuer certified. The promise covers the certificate without the
 * extension that holds it, which is put together again here.
 */
import { concat, hex, sha256, sha256Hex } from '../encoding.ts';
import { VouchError } from '../errors.ts';
import type { Certificate } from './certificate.ts';
import { childrenOf, contextTag, elementsOf, expectTag, oidOf, readDer, TAG } from './der.ts';
import { type PublicKey, verifySignature } from './signature.ts';

const SCT_LIST = '1.3.6.1.4.1.11129.2.4.2';
const VERSION_1 = 0;
/** SHA-256 with ECDSA (RFC 5246, section 7.4.1.4.1). */
const ECDSA_SHA256 = '0403';
const MAX_SCTS = 16;
const what = 'signed certificate timestamps';

interface Timestamp {
  /** SHA-256 of the log's key, lower-case hex */
  readonly log: string;
  /** timestamp and extensions, as they are signed */
  readonly timestamp: Uint8Array;
  readonly extensions: Uint8Array;
  readonly signature: Uint8Array;
}

/**
 * The log, by the SHA-256 of its key, that has promised to show `certificate` by `issuer`; undefined when none of those
 * whose keys are given has. Throws `bad-file` for a list that is not well-formed.
 */
export async function loggedBy(
  certificate: Certificate,
  issuer: PublicKey,
  keys: readonly PublicKey[],
): Promise<string | undefined> {
  const extension = certificate.extensions.get(SCT_LIST);
  if (extension === undefined) return undefined;
  const body = bodyWithout(certificate, SCT_LIST);
  const size = Uint8Array.of(body.length >> 16, body.length >> 8, body.length);
  for (const { log, timestamp, extensions, signature } of timestampsIn(extension.value)) {
    const key = keys.find(({ spki }) => sha256Hex(spki) === log);
    if (key === undefined) continue;
    // Version, certificate_timestamp, then a precertificate's entry.
    const signed = concat(
      Uint8Array.of(VERSION_1, 0),
      timestamp,
      Uint8Array.of(0, 1),
      sha256(issuer.spki),
      size,
      body,
      extensions,
    );
    if (await verifySignature(key, { name: 'ECDSA', hash: 'SHA-256' }, signature, signed)) return log;
  }
  return undefined;
}

/** Fields with a length of two bytes in front; numbers are big-endian in TLS. */
function* vectors(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; ) {
    const length = bytes[at]! * 256 + (bytes[at + 1] ?? 0);
    const end = at + 2 + length;
    if (at + 2 > bytes.length || end > bytes.length) {
      throw new VouchError('bad-file', `${what}: expected fields that lie inside of the list`);
    }
    yield bytes.subarray(at + 2, end);
    at = end;
  }
}

function timestampsIn(extension: Uint8Array): Timestamp[] {
  const lists = [...vectors(readDer(extension, what, TAG.octetString).value)];
  if (lists.length !== 1) throw new VouchError('bad-file', `${what}: expected one list`);
  const found: Timestamp[] = [];
  for (const entry of vectors(lists[0]!)) {
    if (found.length === MAX_SCTS) throw new VouchError('bad-file', `${what}: expected at most ${MAX_SCTS}`);
    // Version, log, timestamp: 41 bytes; then extensions, algorithm and signature.
    const length = (entry[41] ?? 0) * 256 + (entry[42] ?? 0);
    const at = 43 + length;
    const [signature, ...rest] = [...vectors(entry.subarray(at + 2))];
    if (entry.length < at + 4 || signature === undefined || rest.length > 0) {
      throw new VouchError('bad-file', `${what}: expected a signature at the end of each`);
    }
    // What newer versions say is for those who know them.
    if (entry[0] !== VERSION_1 || hex(entry.subarray(at, at + 2)) !== ECDSA_SHA256) continue;
    found.push({
      log: hex(entry.subarray(1, 33)),
      timestamp: entry.subarray(33, 41),
      extensions: entry.subarray(41, at),
      signature,
    });
  }
  return found;
}

/** What is signed of a certificate, had it been without that extension. */
function bodyWithout({ signed }: Certificate, id: string): Uint8Array {
  const parts = childrenOf(readDer(signed, what, TAG.sequence), what).map(({ tag, value, raw }) => {
    if (tag !== contextTag(3)) return raw;
    const kept = elementsOf(readDer(value, what, TAG.sequence).value, what).filter((extension) => {
      const [first] = childrenOf(expectTag(extension, TAG.sequence, what), what);
      return oidOf(first, what) !== id;
    });
    return element(contextTag(3), element(TAG.sequence, ...kept.map((one) => one.raw)));
  });
  return element(TAG.sequence, ...parts);
}

/** DER in its shortest form; certificates are shorter than 64 KiB. */
function element(tag: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const value = concat(...parts);
  const { length } = value;
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return concat(Uint8Array.of(tag, ...size), value);
}
