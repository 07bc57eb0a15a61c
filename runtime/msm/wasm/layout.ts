/**
 * Where things lie in memory. Constants come first, for all threads; then a region per thread, whose parts are at
 * fixed offsets from `env.base`; what depends on an operation's size comes after these and is named by its address.
 *
 * A point is its coordinates' limbs, 8 bytes each, of both components where there are two; infinity is all zero. A slot
 * is a point with two words after it:
 *
 *   state    0 for infinity; else the number of the last batch that changed the point
 *   link     a bucket's unpaired overflow entry while these are merged; an overflow entry's bucket
 */
import { base, type I32, i32 } from './assembler.ts';

/** 1 for G1, whose coordinates are in Fq; 2 for G2, whose are in Fq2. */
export type Degree = 1 | 2;

/** Additions that share an inversion; a multiple of 4. */
export const BATCH = 1024;
/** Points that are held back because the batch that is being filled changes their bucket already. */
export const OVERFLOW = 4096;
/** Per two additions: the addresses of both summands' targets, sources (lowest bit: negated) and results. */
export const ITEM_BYTES = 32;

export type Layout = ReturnType<typeof createLayout>;

/** For fields of this many limbs. */
export function createLayout(limbs: number) {
  const pointBytes = (degree: Degree): number => 2 * degree * limbs * 8;
  const slotBytes = (degree: Degree): number => pointBytes(degree) + 16;
  /** Two coordinates side by side in lanes. */
  const pairBytes = (degree: Degree): number => degree * limbs * 16;
  /** Four of them (field.ts). */
  const quadBytes = (degree: Degree): number => 2 * pairBytes(degree);
  /** Per four additions: x2 - x1, y2 - y1, the product so far (later the inverse), x1 + x2. */
  const recordBytes = (degree: Degree): number => 4 * quadBytes(degree);

  let next = 0;
  const region = (bytes: number): number => {
    const at = next;
    next += Math.ceil(bytes / 64) * 64;
    return at;
  };
  return {
    pointBytes,
    slotBytes,
    pairBytes,
    quadBytes,
    recordBytes,
    /** Offsets in a thread's region. Additions waiting for their batch. */
    pending: region(4),
    /** The number of the batch that is being filled; from 2 on: 0 is infinity's, 1 that of points that wait for none. */
    stamp: region(4),
    /** Points in the overflow. */
    waiting: region(4),
    /** Coordinates for intermediate results. */
    scratch: region(12 * quadBytes(2)),
    /** Two points with different x, which are never changed: they fill a batch up. */
    fillers: region(2 * slotBytes(2)),
    /** Takes the results that nobody wants. */
    trash: region(slotBytes(2)),
    items: region((BATCH / 2) * ITEM_BYTES),
    records: region((BATCH / 4) * recordBytes(2)),
    /** The overflow's points, and two lists of addresses of them. */
    entries: region(OVERFLOW * slotBytes(2)),
    entryLists: region(2 * OVERFLOW * 4),
    /** Bytes of a thread's region. */
    threadBytes: region(0),
  };
}

/** The address of what lies at an offset in the running thread's region. */
export const here = (offset: number): I32 => i32.add(base, i32.const(offset));
