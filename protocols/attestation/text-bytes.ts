/**
 * Bytes in the text forms in which tools hand evidence out: hex, with or without `0x`, base64 and base64url, padded or
 * not, and arrays of numbers in JSON. A text that is both hex and base64 is taken for hex, as every tool means it.
 */
import { fromBase64url, fromHex } from '../encoding.ts';
import { VouchError } from '../errors.ts';
import { fromBase64 } from './certificate.ts';

const white = /[\t\n\r ]/g;

/** Undefined for a text that is none of these; the empty text is no bytes at all. */
export function bytesOfText(text: string): Uint8Array | undefined {
  const digits = text.replaceAll(white, '');
  return hexBytes(digits) ?? base64Bytes(digits);
}

/** Hex with or without `0x`. */
export function hexBytes(text: string): Uint8Array | undefined {
  const digits = text.startsWith('0x') || text.startsWith('0X') ? text.slice(2) : text;
  if (digits.length === 0 || digits.length % 2 !== 0 || /[^0-9A-Fa-f]/.test(digits)) return undefined;
  return fromHex(digits.toLowerCase());
}

/** Base64 or base64url; padding may be left out. */
export function base64Bytes(text: string): Uint8Array | undefined {
  try {
    const digits = text.replace(/={1,2}$/, '');
    if (digits.length === 0 || digits.length % 4 === 1) return undefined;
    if (/[-_]/.test(digits)) return fromBase64url(digits);
    return fromBase64(digits.padEnd(Math.ceil(digits.length / 4) * 4, '='), 'base64');
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return undefined;
  }
}

/** What a value of JSON stands for, text or an array of numbers; undefined for anything else. */
export function bytesOfJson(value: unknown, most: number): Uint8Array | undefined {
  if (typeof value === 'string') return value.length > 3 * most ? undefined : bytesOfText(value);
  if (!Array.isArray(value) || value.length === 0 || value.length > most) return undefined;
  const isByte = (one: unknown): one is number =>
    typeof one === 'number' && Number.isInteger(one) && one >= 0 && one < 256;
  return value.every(isByte) ? Uint8Array.from(value) : undefined;
}
