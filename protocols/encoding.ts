/**
 * Bytes and their text forms, plain hashes and canonical JSON. Everything that is hashed or signed goes
 * through here so that there is one form of each value: hex is lower case, base64url has no padding
 * (RFC 4648 section 5), JSON is RFC 8785. Decoders refuse every second spelling of the same bytes.
 */
import { sha256 as nobleSha256, sha512 as nobleSha512 } from '@noble/hashes/sha2.js';
import { VouchError } from './errors.ts';
import { native, type TextCoder } from './native-crypto.ts';

/** Bytes that WebCrypto accepts: not backed by shared memory. */
export type Bytes = Uint8Array<ArrayBuffer>;

const encoder = new TextEncoder();

export const utf8 = (text: string): Bytes => encoder.encode(text);

/** Well-formed UTF-8 as text; throws `bad-message` otherwise. */
export function fromUtf8(bytes: Uint8Array, field = 'text'): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new VouchError('bad-message', `${field}: expected UTF-8 text, got other bytes`);
  }
}

/** The same bytes for WebCrypto; copies only what lies in shared memory. */
export function unshared(bytes: Uint8Array): Bytes {
  return bytes.buffer instanceof ArrayBuffer ? (bytes as Bytes) : new Uint8Array(bytes);
}

export function concat(...parts: readonly Uint8Array[]): Bytes {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Whether both hold the same bytes; the time depends on the lengths only. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a[i]! ^ b[i]!;
  return difference === 0;
}

/** Cryptographically strong random bytes. */
export const randomBytes = (length: number): Bytes => crypto.getRandomValues(new Uint8Array(length));

/** SHA-256, 32 bytes. Synchronous, in a browser in JavaScript: for small inputs (there about 5 ms a megabyte). */
export const sha256 = (...parts: readonly Uint8Array[]): Bytes =>
  native?.sha256(parts) ?? unshared(nobleSha256(concat(...parts)));

/** SHA-512, 64 bytes. */
export const sha512 = (...parts: readonly Uint8Array[]): Bytes => unshared(nobleSha512(concat(...parts)));

/** SHA-256 as lower-case hex: how digests are written everywhere in Vouch. */
export const sha256Hex = (...parts: readonly Uint8Array[]): string => hex(sha256(...parts));

/** What texts of bytes are made and read with; a test judges both by the same texts. */
export const inJavaScript: TextCoder = {
  encode: (bytes, encoding) => (encoding === 'hex' ? hexOf(bytes) : base64urlOf(bytes)),
  decode: (text, encoding) => (encoding === 'hex' ? bytesOfHex(text) : bytesOfBase64url(text)),
};
const coder = native ?? inJavaScript;

export const hex = (bytes: Uint8Array): string => coder.encode(bytes, 'hex');

/** Lower-case hex to bytes; `length` in bytes when fixed. Throws `bad-message`. */
export function fromHex(text: string, field = 'hex', length?: number): Bytes {
  const bytes = coder.decode(text, 'hex');
  if (bytes === undefined || (length !== undefined && bytes.length !== length)) {
    const expected = length === undefined ? 'pairs of' : `${2 * length}`;
    throw new VouchError(
      'bad-message',
      `${field}: expected ${expected} lower-case hex digits, got ${text.length} characters`,
    );
  }
  return bytes;
}

export const base64url = (bytes: Uint8Array): string => coder.encode(bytes, 'base64url');

/** Unpadded base64url to bytes; a length or final bits that no encoder writes are refused. Throws `bad-message`. */
export function fromBase64url(text: string, field = 'base64url', length?: number): Bytes {
  const bytes = coder.decode(text, 'base64url');
  if (bytes === undefined) {
    throw new VouchError(
      'bad-message',
      `${field}: expected unpadded base64url, got ${text.length} characters that are not`,
    );
  }
  if (length !== undefined && bytes.length !== length) {
    throw new VouchError(
      'bad-message',
      `${field}: expected ${length} bytes in base64url, got ${bytes.length}`,
    );
  }
  return bytes;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

function hexOf(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += HEX[byte];
  return text;
}

function bytesOfHex(text: string): Bytes | undefined {
  if (!/^([0-9a-f]{2})*$/.test(text)) return undefined;
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
/** Code of a character -> its six bits, or 64 for what is none of the alphabet. */
const SIX_BITS = Uint8Array.from({ length: 128 }, (_, code) => {
  const at = BASE64URL.indexOf(String.fromCharCode(code));
  return at < 0 ? 64 : at;
});
/** Two characters for every twelve bits. */
const PAIRS = Array.from({ length: 4096 }, (_, bits) => BASE64URL[bits >> 6]! + BASE64URL[bits & 63]!);

function base64urlOf(bytes: Uint8Array): string {
  let text = '';
  let at = 0;
  for (; at + 2 < bytes.length; at += 3) {
    const bits = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
    text += PAIRS[bits >> 12]! + PAIRS[bits & 4095]!;
  }
  if (at + 2 === bytes.length) {
    const bits = (bytes[at]! << 10) | (bytes[at + 1]! << 2);
    text += PAIRS[bits >> 6]! + BASE64URL[bits & 63]!;
  } else if (at + 1 === bytes.length) text += PAIRS[bytes[at]! << 4]!;
  return text;
}

function bytesOfBase64url(text: string): Bytes | undefined {
  if (text.length % 4 === 1) return undefined;
  const bytes = new Uint8Array((text.length * 3) >> 2);
  let bits = 0;
  let count = 0;
  let at = 0;
  for (let i = 0; i < text.length; i++) {
    const six = SIX_BITS[text.charCodeAt(i)] ?? 64;
    if (six === 64) return undefined;
    bits = ((bits << 6) | six) & 0xffff;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes[at++] = bits >> count;
  }
  // What is left of the last character has to be zero.
  return (bits & ((1 << count) - 1)) === 0 ? bytes : undefined;
}

/**
 * RFC 8785 (JSON Canonicalization Scheme): no white space, members sorted by UTF-16 code units, numbers and
 * strings as ECMAScript writes them. Throws TypeError for what JSON cannot carry (undefined, NaN, BigInt, lone
 * surrogates, class instances) instead of dropping it.
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'number' && Number.isFinite(value)) return JSON.stringify(value);
  if (typeof value === 'string' && value.isWellFormed()) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype) {
    const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${members.map(([name, member]) => `${canonicalJson(name)}:${canonicalJson(member)}`).join(',')}}`;
  }
  throw new TypeError(`canonical JSON: cannot carry a value of type ${typeof value}`);
}
