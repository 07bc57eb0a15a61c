/**
 * Deterministic CBOR (RFC 8949 section 4.2.1): shortest forms, definite lengths, map keys in bytewise order.
 * What is decoded here is encoded again and must give the very same bytes, so one value has one encoding and
 * a flipped byte cannot hide. No floats with an integer value, no undefined, no integers beyond 2^53.
 */
import { decode, encode, rfc8949EncodeOptions, Tagged } from 'cborg';
import { z } from 'zod';
import { type Bytes, equal } from './encoding.ts';
import { parse } from './envelope.ts';
import { VouchError } from './errors.ts';

/** A byte string of exactly `length` bytes. */
export const byteString = (length: number) => byteStringBetween(length, length);

export const byteStringBetween = (least: number, most: number) =>
  z.custom<Uint8Array>(
    (value) => value instanceof Uint8Array && value.length >= least && value.length <= most,
    least === most ? `expected ${least} bytes` : `expected ${least} to ${most} bytes`,
  );

export const encodeCbor = (value: unknown): Bytes => encode(value, rfc8949EncodeOptions);

/**
 * Decodes at most `maxBytes` of deterministic CBOR and checks it against `schema`. `tag`: the one CBOR tag that
 * may occur, delivered as a cborg `Tagged`. Throws `too-large` or `bad-message`.
 */
export function decodeCbor<T>(
  bytes: Uint8Array,
  { schema, what, maxBytes, tag }: { schema: z.ZodType<T>; what: string; maxBytes: number; tag?: number },
): T {
  if (bytes.length > maxBytes) {
    throw new VouchError('too-large', `${what}: expected at most ${maxBytes} bytes, got ${bytes.length}`);
  }
  let value: unknown;
  let canonical = false;
  try {
    value = decode(bytes, {
      strict: true,
      allowIndefinite: false,
      allowUndefined: false,
      allowBigInt: false,
      rejectDuplicateMapKeys: true,
      tags: tag === undefined ? {} : Tagged.preserve(tag),
    });
    canonical = equal(encodeCbor(value), bytes);
  } catch {
    canonical = false;
  }
  if (!canonical)
    throw new VouchError('bad-message', `${what}: expected deterministic CBOR, got other bytes`);
  return parse(schema, value, what);
}
