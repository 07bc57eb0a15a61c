/**
 * Bytes and their text forms, plain hashes and canonical JSON. Everything that is hashed or signed goes
 * through here so that there is one form of each value: hex is lower case, base64url has no padding
 * (RFC 4648 section 5), JSON is RFC 8785. Decoders refuse every second spelling of the same bytes.
 */
import { sha256 as nobleSha256, sha512 as nobleSha512 } from '@noble/hashes/sha2.js';
import { VouchError } from './errors.ts';

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

/** SHA-256, 32 bytes. Synchronous and in JavaScript: for small inputs (about 5 ms a megabyte). */
export const sha256 = (...parts: readonly Uint8Array[]): Bytes => unshared(nobleSha256(concat(...parts)));

/** SHA-512, 64 bytes. */
export const sha512 = (...parts: readonly Uint8Array[]): Bytes => unshared(nobleSha512(concat(...parts)));

/** SHA-256 as lower-case hex: how digests are written everywhere in Vouch. */
export const sha256Hex = (...parts: readonly Uint8Array[]): string => hex(sha256(...parts));

export function hex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0');
  return text;
}

/** Lower-case hex to bytes; `length` in bytes when fixed. Throws `bad-message`. */
export function fromHex(text: string, field = 'hex', length?: number): Bytes {
  if (!/^([0-9a-f]{2})*$/.test(text) || (length !== undefined && text.length !== 2 * length)) {
    const expected = length === undefined ? 'pairs of' : `${2 * length}`;
    throw new VouchError(
      'bad-message',
      `${field}: expected ${expected} lower-case hex digits, got ${text.length} characters`,
    );
  }
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

export function base64url(bytes: Uint8Array): string {
  let binary = '';
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** Unpadded base64url to bytes; a length or final bits that no encoder writes are refused. Throws `bad-message`. */
export function fromBase64url(text: string, field = 'base64url', length?: number): Bytes {
  let bytes: Bytes | undefined;
  if (/^[A-Za-z0-9_-]*$/.test(text) && text.length % 4 !== 1) {
    const binary = atob(text.replaceAll('-', '+').replaceAll('_', '/'));
    bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
    if (base64url(bytes) !== text) bytes = undefined;
  }
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
