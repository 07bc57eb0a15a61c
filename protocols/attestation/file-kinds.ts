/** What a file may hold, and how rows of the table of files (evidence-files.ts) say so. */
import { VouchError } from '../errors.ts';
import type { BoundFacts } from './binding-recipes.ts';
import type { Collateral } from './collateral.ts';
import type { Evidence } from './formats/format.ts';
import type { SecondOpinion, ServiceKey } from './nras.ts';
import { type Parsed, parsedOnce } from './parsed.ts';
import { base64Bytes, hexBytes } from './text-bytes.ts';

export interface NamedBytes {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** What one file holds, as lists to be joined. */
export type Contents = Partial<Omit<Collateral, 'digests'>> & {
  readonly evidence?: readonly Evidence[];
  readonly opinions?: readonly Parsed<SecondOpinion>[];
  readonly serviceKeys?: readonly ServiceKey[];
  /** what the file says that the CPU's report data binds */
  readonly facts?: BoundFacts;
  /** evidence of whole machines, each with what belongs to it and to no other */
  readonly machines?: readonly Contents[];
};

/** A file's bytes, as text where they are text, and as JSON where that text is JSON. */
export interface Content {
  readonly bytes: Uint8Array;
  readonly text: Parsed<string | undefined>;
  readonly json: Parsed<unknown>;
}

/** What a file may hold. */
export interface FileKind {
  /** for a piece of evidence, that of its format */
  readonly name: string;
  /** whether a verdict can be given on it, and not only with its help */
  readonly evidence: boolean;
  /** for people */
  readonly title: string;
  /** Never throws. */
  readonly recognise: (content: Content) => boolean;
  /** Throws a coded error for what has the outer form only. */
  readonly read: (content: Content) => Contents;
}

/** Hex and base64 are taken off first. */
export function contentOf(given: Uint8Array): Content {
  const bytes = fromHexText(given) ?? fromBase64Text(given) ?? given;
  const text = parsedOnce(() => plainPem(textOf(bytes)?.trimStart()));
  return { bytes, text, json: parsedOnce(() => jsonOf(text())) };
}

/** Undefined for a text that is no JSON object or array. */
function jsonOf(text: string | undefined): unknown {
  if (text === undefined || !/^[{[]/.test(text)) return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Intel's service sends chains in headers, percent-encoded, and some keep them so. */
function plainPem(text: string | undefined): string | undefined {
  if (!text?.startsWith('-----BEGIN%20')) return text;
  try {
    return decodeURIComponent(text.trim());
  } catch {
    return text;
  }
}

function textOf(bytes: Uint8Array): string | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they tell binary files from text
    return /[\x00-\x08\x0e-\x1f]/.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}

const latin1 = (bytes: Uint8Array): string => new TextDecoder('latin1').decode(bytes);

/** Text of nothing but hex digits and white space, `0x` in front or not, as bytes; undefined for anything else. */
function fromHexText(bytes: Uint8Array): Uint8Array | undefined {
  // Cheap to say no: whatever is binary shows it at once.
  if (bytes.length < 4 || !/^[0-9A-Fa-fxX\s]*$/.test(latin1(bytes.subarray(0, 4)))) return undefined;
  return hexBytes(latin1(bytes).replaceAll(/\s/g, ''));
}

/** Text of nothing but base64 or base64url and white space, as bytes; undefined for anything else. */
function fromBase64Text(bytes: Uint8Array): Uint8Array | undefined {
  // Shorter texts than any evidence may be words.
  if (bytes.length < 160 || !/^[A-Za-z0-9+/_=\s-]*$/.test(latin1(bytes.subarray(0, 64)))) return undefined;
  try {
    return base64Bytes(latin1(bytes).replaceAll(/\s/g, ''));
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return undefined;
  }
}
