/**
 * A reader of DER (X.690 section 10), as strict as the certificates of evidence allow: definite and shortest
 * lengths, one-byte tags, nothing after the end. It descends only where it is asked to, so deep nesting costs
 * nothing, and its values are views of the input, never copies.
 *
 * Not checked: that every primitive is in its one canonical form, because vendors write explicit defaults.
 * Whatever was signed is compared and verified as the bytes that came.
 */
import { VouchError } from '../errors.ts';

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** The tag of a context-specific element: [number], constructed or primitive. */
export const contextTag = (number: number, constructed = true): number =>
  (constructed ? 0xa0 : 0x80) | number;

export interface DerElement {
  readonly tag: number;
  /** the contents */
  readonly value: Uint8Array;
  /** tag, length and contents: what a signature covers */
  readonly raw: Uint8Array;
}

const refuse = (what: string, expected: string): never => {
  throw new VouchError('bad-file', `${what}: expected DER with ${expected}`);
};

function elementAt(bytes: Uint8Array, start: number, what: string): DerElement {
  const tag = bytes[start];
  let length = bytes[start + 1];
  if (tag === undefined || length === undefined) return refuse(what, 'a tag and a length');
  if ((tag & 0x1f) === 0x1f) return refuse(what, 'one-byte tags');
  let at = start + 2;
  if (length >= 0x80) {
    const size = length & 0x7f;
    // Four bytes of length reach 4 GiB, more than any input; 0 would be the indefinite form.
    if (size === 0 || size > 4 || at + size > bytes.length) return refuse(what, 'a definite length');
    length = 0;
    for (let i = 0; i < size; i++) length = length * 256 + bytes[at + i]!;
    if (length < 0x80 || bytes[at] === 0) return refuse(what, 'the shortest length');
    at += size;
  }
  if (length > bytes.length - at) return refuse(what, 'all of its contents');
  return { tag, value: bytes.subarray(at, at + length), raw: bytes.subarray(start, at + length) };
}

/** The one element that `bytes` is; throws `bad-file`. */
export function readDer(bytes: Uint8Array, what: string, tag?: number): DerElement {
  const element = elementAt(bytes, 0, what);
  if (element.raw.length !== bytes.length) return refuse(what, 'nothing after its end');
  return expectTag(element, tag ?? element.tag, what);
}

/** The elements inside a constructed one, in order; throws `bad-file`. */
export function childrenOf(element: DerElement, what: string): DerElement[] {
  if ((element.tag & 0x20) === 0) return refuse(what, 'a constructed element');
  return elementsOf(element.value, what);
}

/** The elements that `bytes` is a series of; throws `bad-file`. */
export function elementsOf(bytes: Uint8Array, what: string): DerElement[] {
  const elements: DerElement[] = [];
  for (let at = 0; at < bytes.length; ) {
    const child = elementAt(bytes, at, what);
    elements.push(child);
    at += child.raw.length;
  }
  return elements;
}

/** The element itself when it has this tag; throws `bad-file` for another or none. */
export function expectTag(element: DerElement | undefined, tag: number, what: string): DerElement {
  if (element?.tag !== tag) {
    const found = element === undefined ? 'none' : `0x${element.tag.toString(16)}`;
    return refuse(what, `tag 0x${tag.toString(16)}, got ${found}`);
  }
  return element;
}

/** An object identifier as dotted decimal; throws `bad-file`. */
export function oidOf(element: DerElement | undefined, what: string): string {
  const { value } = expectTag(element, TAG.oid, what);
  // Longer identifiers than any that is registered would make the numbers inexact.
  if (value.length === 0 || value.length > 32 || value.at(-1)! >= 0x80) {
    return refuse(what, 'an object identifier');
  }
  const arcs: number[] = [];
  let arc = 0;
  for (const byte of value) {
    arc = arc * 128 + (byte & 0x7f);
    if (!Number.isSafeInteger(arc)) return refuse(what, 'an object identifier of small numbers');
    if (byte >= 0x80) continue;
    if (arcs.length === 0) {
      const first = Math.min(Math.trunc(arc / 40), 2);
      arcs.push(first, arc - 40 * first);
    } else arcs.push(arc);
    arc = 0;
  }
  return arcs.join('.');
}

/** A small number that is not negative (at most 32 bits); throws `bad-file`. */
export function smallInteger(element: DerElement | undefined, what: string): number {
  const { value } = expectTag(element, TAG.integer, what);
  if (value.length === 0 || value.length > 5 || value[0]! >= 0x80) return refuse(what, 'a small integer');
  if (value[0] === 0 && value.length > 1 && value[1]! < 0x80) return refuse(what, 'the shortest integer');
  const number = value.reduce((sum, byte) => sum * 256 + byte, 0);
  return number < 2 ** 32 ? number : refuse(what, 'a small integer');
}

/** The bytes of a bit string of whole bytes; throws `bad-file`. */
export function wholeBits(element: DerElement | undefined, what: string): Uint8Array {
  const { value } = expectTag(element, TAG.bitString, what);
  return value[0] === 0 ? value.subarray(1) : refuse(what, 'a bit string of whole bytes');
}

/** Text of the string types that names and extensions use; throws `bad-file`. */
export function textOf(element: DerElement | undefined, what: string): string {
  const tags: readonly number[] = [TAG.utf8String, TAG.printableString, TAG.ia5String];
  if (element === undefined || !tags.includes(element.tag)) return refuse(what, 'a string');
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(element.value);
  } catch {
    return refuse(what, 'UTF-8 text');
  }
}

/** UTCTime or GeneralizedTime to the second in UTC (RFC 5280 section 4.1.2.5); throws `bad-file`. */
export function timeOf(element: DerElement | undefined, what: string): Date {
  const text = element === undefined ? '' : String.fromCharCode(...element.value.subarray(0, 16));
  const short = element?.tag === TAG.utcTime;
  const match = (
    short ? /^(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/ : /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/
  ).exec(text);
  if (match === null || (!short && element?.tag !== TAG.generalizedTime))
    return refuse(what, 'a time in UTC');
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const full = short ? year + (year < 50 ? 2000 : 1900) : year;
  const time = new Date(Date.UTC(full, month - 1, day, hour, minute, second));
  // Date.UTC rolls a 31st of February over and takes years below 100 for 19xx.
  const valid = time.getUTCFullYear() === full && time.getUTCMonth() === month - 1;
  if (!valid || time.getUTCDate() !== day || hour > 23 || minute > 59 || second > 59) {
    return refuse(what, 'a time that exists');
  }
  return time;
}
