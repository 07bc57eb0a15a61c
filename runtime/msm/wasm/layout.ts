/**
 * Where things lie in a thread's memory. Addresses below `HEAP` are fixed when the module is written; what depends on
 * an operation's size comes after it. A point is its coordinates' limbs, ten f64 a degree; a slot is a point with two
 * words after it:
 *
 *   state    0 for infinity; else the number of the last batch that changed the point
 *   link     a bucket's unpaired overflow entry while these are merged; an overflow entry's bucket
 */
import { CONSTANT_BYTES, LIMBS } from './fma-field.ts';

/** 1 for G1, whose coordinates are in Fq; 2 for G2, whose are in Fq2. */
export type Degree = 1 | 2;

export const COORDINATE_BYTES = (degree: Degree): number => degree * LIMBS * 8;
export const POINT_STRIDE = (degree: Degree): number => 2 * COORDINATE_BYTES(degree);
export const SLOT_STRIDE = (degree: Degree): number => POINT_STRIDE(degree) + 16;
/** Two coordinates side by side in lanes. */
export const PAIR_BYTES = (degree: Degree): number => degree * LIMBS * 16;

/** Additions that share an inversion; a multiple of 4. */
export const BATCH = 1024;
/** Points that are held back because the batch that is being filled changes their bucket already. */
export const OVERFLOW = 4096;

let next = CONSTANT_BYTES;
function region(bytes: number): number {
  const at = next;
  next += Math.ceil(bytes / 64) * 64;
  return at;
}

/** Additions waiting for their batch. */
export const PENDING = region(4);
/** The number of the batch that is being filled; from 2 on. */
export const STAMP = region(4);
/** Points in the overflow. */
export const WAITING = region(4);
/** Coordinates for intermediate results. */
export const SCRATCH = region(24 * PAIR_BYTES(2));
/** Two pairs of coordinates with different x, which are never changed: they fill a batch up. */
export const FILLERS = region(2 * SLOT_STRIDE(2));
/** Takes the results that nobody wants. */
export const TRASH = region(SLOT_STRIDE(2));
/** Per two additions: the addresses of both summands' targets, sources (lowest bit: negated) and results. */
export const ITEM_BYTES = 32;
export const ITEMS = region((BATCH / 2) * ITEM_BYTES);
/** Per two additions: x2 - x1, y2 - y1, the product so far (later the inverse), x1 + x2. */
export const RECORD_BYTES = (degree: Degree): number => 4 * PAIR_BYTES(degree);
export const RECORDS = region((BATCH / 2) * RECORD_BYTES(2));
/** The overflow's points, and two lists of addresses of them. */
export const ENTRIES = region(OVERFLOW * SLOT_STRIDE(2));
export const ENTRY_LISTS = region(2 * OVERFLOW * 4);
/** From here on an operation's own data. */
export const HEAP = region(0);
