/** The last part of a sum, on the host: the few hundred points that the device leaves are doubled and added. */

import type { Group } from '../../../circuits/groth16/engine.ts';
import { readCoordinate } from '../../../circuits/groth16/field.ts';
import { G1, type G1Point, G2, type G2Point, writeG1, writeG2 } from '../../../circuits/groth16/point.ts';
import { SCALAR_BYTES } from '../../../protocols/bn254.ts';
import { COORDINATE_BYTES } from './coordinate.ts';
import type { Windows } from './windows.ts';

type Bytes = Uint8Array<ArrayBuffer>;

/** Adds up what the pieces leave: points by the power of two that they stand for. */
export function createRemainder(group: Group, { bits, sets }: Windows) {
  return group === 'G1' ? remainderOf(G1_POINTS, bits, sets) : remainderOf(G2_POINTS, bits, sets);
}

interface Points<P> {
  readonly group: Group;
  readonly zero: P;
  readonly read: (xs: Bytes, ys: Bytes, offset: number) => P;
  readonly write: (point: P) => Bytes;
}
const what = 'a point from the GPU';
const G1_POINTS: Points<G1Point> = {
  group: 'G1',
  zero: G1.ZERO,
  read: (xs, ys, at) => G1.fromAffine({ x: readCoordinate(xs, at, what), y: readCoordinate(ys, at, what) }),
  write: writeG1,
};
const G2_POINTS: Points<G2Point> = {
  group: 'G2',
  zero: G2.ZERO,
  read: (xs, ys, at) => {
    const pair = (bytes: Bytes) => ({
      c0: readCoordinate(bytes, at, what),
      c1: readCoordinate(bytes, at + SCALAR_BYTES, what),
    });
    return G2.fromAffine({ x: pair(xs), y: pair(ys) });
  },
  write: writeG2,
};

function remainderOf<P extends { add(other: P): P; double(): P }>(
  { group, zero, read, write }: Points<P>,
  bits: number,
  sets: number,
) {
  /** the coefficient of 2^i */
  const powers: P[] = [];
  const size = COORDINATE_BYTES[group];
  return {
    add({ xs, ys }: { xs: Bytes; ys: Bytes }): void {
      for (let index = 0; index < sets * bits; index++) {
        const at = index * size;
        const range = (bytes: Bytes) => bytes.subarray(at, at + size);
        if ([range(xs), range(ys)].every((bytes) => bytes.every((byte) => byte === 0))) continue;
        // First the sum of all buckets, whose factors are their index plus one; then those of bits 0, 1, ...
        const power = Math.floor(index / bits) * bits + Math.max(0, (index % bits) - 1);
        powers[power] = (powers[power] ?? zero).add(read(xs, ys, at));
      }
    },
    sum(): Bytes {
      let total = zero;
      for (let power = powers.length - 1; power >= 0; power--)
        total = total.double().add(powers[power] ?? zero);
      return write(total);
    },
  };
}
