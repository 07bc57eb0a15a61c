/**
 * Which wires of a circuit are bits, by its constraints alone: the constant 1; each wire w with a constraint
 * k w * m (w - 1) = 0 or k w * m w = k m w; and each that a constraint makes 0 or 1 whatever the bits are that it is made
 * of, as in x + y - 2 x y. It says the same for every witness, so what follows from it shows nothing of one.
 *
 * Not all of them are found: a wire may be a bit by several constraints together.
 */
import { ELEMENT_BYTES, R, readElement } from './field.ts';
import type { R1cs } from './r1cs.ts';

/** Bits that one wire may be made of: all their values are tried. */
const MAX_BITS = 5;
/** Constraints come mostly in the order in which wires follow from each other. */
const MAX_PASSES = 8;

/** One bit for each wire, from the lowest of the first byte on: 1 for a bit. */
export function bitWires({ variables, terms }: R1cs): Uint8Array {
  const bits = new Uint8Array(Math.ceil(variables / 8));
  const isBit = (wire: number) => (bits[wire >> 3]! >> (wire & 7)) & 1;
  const { count, matrix, row, column, values } = terms;
  const value = (term: number) => readElement(values, term * ELEMENT_BYTES);

  /** The only wire of a constraint that is not known to be a bit, and the bits; undefined where there are more or none. */
  const openWire = (first: number, end: number) => {
    let wire = -1;
    const known: number[] = [];
    for (let term = first; term < end; term++) {
      const it = column[term]!;
      if (it === 0 || it === wire || known.includes(it)) continue;
      if (isBit(it) && known.length < MAX_BITS) known.push(it);
      else if (!isBit(it) && wire === -1) wire = it;
      else return undefined;
    }
    return wire === -1 ? undefined : { wire, known };
  };

  /** Does the constraint of these terms make the wire a bit, for all values of the bits? */
  const becomesBit = (first: number, end: number, wire: number, known: readonly number[]): boolean => {
    // Each combination as `constant + slope * wire`, for every assignment.
    for (let assignment = 0; assignment < 2 ** known.length; assignment++) {
      const constant = [0n, 0n, 0n];
      const slope = [0n, 0n, 0n];
      for (let term = first; term < end; term++) {
        const it = column[term]!;
        if (it === wire) slope[matrix[term]!]! += value(term);
        else if (it === 0 || (assignment >> known.indexOf(it)) & 1) constant[matrix[term]!]! += value(term);
      }
      const [a, b, c] = constant as [bigint, bigint, bigint];
      const [da, db, dc] = slope as [bigint, bigint, bigint];
      // q2 w^2 + q1 w + q0 = 0
      const q2 = (da * db) % R;
      const q1 = (((a * db + b * da - dc) % R) + R) % R;
      const q0 = (((a * b - c) % R) + R) % R;
      if (q2 === 0n) {
        // w = -q0 / q1
        if (q1 === 0n || (q0 !== 0n && (q0 + q1) % R !== 0n)) return false;
      } else if (q0 !== 0n || (q2 + q1) % R !== 0n) return false;
    }
    return true;
  };

  bits[0] = 1;
  for (let pass = 0, changed = true; changed && pass < MAX_PASSES; pass++) {
    changed = false;
    for (let first = 0; first < count; ) {
      let end = first + 1;
      while (end < count && row[end] === row[first]) end++;
      const open = openWire(first, end);
      if (open && becomesBit(first, end, open.wire, open.known)) {
        bits[open.wire >> 3]! |= 1 << (open.wire & 7);
        changed = true;
      }
      first = end;
    }
  }
  return bits;
}
