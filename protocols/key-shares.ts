/**
 * A model key split over n brokers, any k of which give it back: Shamir's scheme (CACM 22(11), 1979) over the scalar
 * field of BN254, of order r.
 *
 *   key         = 32 bytes = high (16) || low (16), two integers below 2^128: 32 bytes do not fit the field at once
 *   polynomials = one for each half, of degree k - 1: the half, then k - 1 uniform elements
 *   share i     = value of high's polynomial at i (32 bytes, big-endian) || that of low's at i (32); i = 1 to n
 *   commitment  = SHA-256("vouch/v1/share" || 0x00 || i (1 byte) || salt (32) || share), in the public manifest
 *   piece       = salt || share, 96 bytes: what broker i keeps and releases
 *
 * Any k - 1 shares are uniform and independent of the key, whatever the key: each candidate key fits exactly one pair
 * of polynomials through them. The commitments say which share is wrong, and nothing about it: the salt is random, and
 * for k > 1 so is the share. Halves of 2^128 and more are refused, so wrong shares that had their commitments
 * would still be noticed but once in 2^125 times.
 *
 * Not guaranteed: that whoever split the key forgot it, or that brokers do not pool their shares. Arithmetic on BigInt
 * takes time that depends on its operands: split and combine where nobody can time it closely.
 */
import { bn254 } from '@noble/curves/bn254.js';
import { z } from 'zod';
import { concat, equal, fromHex, randomBytes, sha256Hex, utf8 } from './encoding.ts';
import { Digest, Id } from './envelope.ts';
import { VouchError } from './errors.ts';

const KEY_BYTES = 32;
const HALF_BYTES = 16;
const ELEMENT_BYTES = 32;
const SALT_BYTES = 32;
/** salt || share */
export const PIECE_BYTES = SALT_BYTES + 2 * ELEMENT_BYTES;
/** A key is split over at most so many brokers. */
export const MAX_BROKERS = 32;
const { Fr } = bn254.fields;

/** Who holds which share, and how many are needed: the public half of a split. The place in the list is the number. */
export const KeyShares = z
  .strictObject({
    threshold: z.int().min(1).max(MAX_BROKERS).describe('how many shares give the key back'),
    brokers: z
      .array(
        z.strictObject({
          id: Id.describe('the `<broker>` of subjects'),
          commitment: Digest.describe('commitment to its share'),
        }),
      )
      .min(1)
      .max(MAX_BROKERS)
      .describe('share 1 first'),
  })
  .refine(({ threshold, brokers }) => threshold <= brokers.length, 'expected at most as many as brokers')
  .refine(
    ({ brokers }) => new Set(brokers.map(({ id }) => id)).size === brokers.length,
    'expected another broker for each share',
  );
export type KeyShares = z.infer<typeof KeyShares>;

/** One broker's part, secret. */
export interface Piece {
  /** from 1 */
  readonly number: number;
  /** 96 bytes */
  readonly bytes: Uint8Array;
}

/** Uniform below r: 254 random bits, again when they are too large (r is 0.76 of 2^254). */
function randomElement(): bigint {
  for (;;) {
    const bytes = randomBytes(ELEMENT_BYTES);
    bytes[0]! &= 0x3f;
    const value = integer(bytes);
    if (value < Fr.ORDER) return value;
  }
}

const integer = (bytes: Uint8Array): bigint => bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

function bigEndian(value: bigint, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = length - 1, rest = value; i >= 0; i--, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  return bytes;
}

/** Splits a 32-byte key into n pieces, any k of which give it back. */
export function splitKey(key: Uint8Array, threshold: number, n: number): Piece[] {
  if (key.length !== KEY_BYTES) throw new RangeError(`key: expected ${KEY_BYTES} bytes`);
  if (
    !(
      Number.isInteger(threshold) &&
      Number.isInteger(n) &&
      threshold >= 1 &&
      threshold <= n &&
      n <= MAX_BROKERS
    )
  )
    throw new RangeError(`shares: expected 1 <= k <= n <= ${MAX_BROKERS}`);
  const polynomials = [key.subarray(0, HALF_BYTES), key.subarray(HALF_BYTES)].map((half) => [
    integer(half),
    ...Array.from({ length: threshold - 1 }, randomElement),
  ]);
  return Array.from({ length: n }, (_, i) => {
    const at = BigInt(i + 1);
    const values = polynomials.map((coefficients) =>
      coefficients.reduceRight((sum, coefficient) => Fr.add(Fr.mul(sum, at), coefficient), 0n),
    );
    const share = values.map((value) => bigEndian(value, ELEMENT_BYTES));
    return { number: i + 1, bytes: concat(randomBytes(SALT_BYTES), ...share) };
  });
}

/** The commitment to a piece, for the manifest. */
export function commitmentTo({ number, bytes }: Piece): string {
  if (bytes.length !== PIECE_BYTES) throw new RangeError(`piece: expected ${PIECE_BYTES} bytes`);
  return sha256Hex(utf8('vouch/v1/share\0'), Uint8Array.of(number), bytes);
}

/** Whether a piece is the one that the manifest names. */
export const isCommitted = (piece: Piece, { brokers }: KeyShares): boolean => {
  const expected = brokers[piece.number - 1]?.commitment;
  return (
    expected !== undefined &&
    piece.bytes.length === PIECE_BYTES &&
    equal(fromHex(commitmentTo(piece)), fromHex(expected))
  );
};

/**
 * The key from `threshold` pieces (more are ignored). Throws `key-rejected` for too few, one number twice, a piece
 * that is not the one committed to (named), or pieces that are not of one key.
 */
export function combineKey(pieces: readonly Piece[], shares: KeyShares): Uint8Array {
  const used = pieces.slice(0, shares.threshold);
  const rejected = (why: string) => new VouchError('key-rejected', `key shares: ${why}`);
  if (used.length < shares.threshold) throw rejected(`expected ${shares.threshold}, got ${used.length}`);
  if (new Set(used.map(({ number }) => number)).size !== used.length)
    throw rejected('expected different shares, got one twice');
  for (const piece of used) {
    if (!isCommitted(piece, shares))
      throw rejected(
        `share ${piece.number} (broker ${shares.brokers[piece.number - 1]?.id}) is not the one committed to`,
      );
  }
  const halves = [0, 1].map((half) => {
    const begin = SALT_BYTES + half * ELEMENT_BYTES;
    const points = used.map(({ number, bytes }) => ({
      x: BigInt(number),
      y: integer(bytes.subarray(begin, begin + ELEMENT_BYTES)),
    }));
    if (points.some(({ y }) => y >= Fr.ORDER)) throw rejected('a share is not of the field');
    return interpolateAtZero(points);
  });
  if (halves.some((half) => half >> BigInt(8 * HALF_BYTES) !== 0n)) throw rejected('they are not of one key');
  return concat(...halves.map((half) => bigEndian(half, HALF_BYTES)));
}

/** Lagrange: sum of y_i times the product of x_j / (x_j - x_i) over j other than i. */
function interpolateAtZero(points: readonly { readonly x: bigint; readonly y: bigint }[]): bigint {
  return points.reduce((sum, { x, y }) => {
    const others = points.filter((other) => other.x !== x);
    const above = others.reduce((product, other) => Fr.mul(product, other.x), Fr.ONE);
    const below = others.reduce((product, other) => Fr.mul(product, Fr.sub(other.x, x)), Fr.ONE);
    return Fr.add(sum, Fr.mul(y, Fr.div(above, below)));
  }, Fr.ZERO);
}
