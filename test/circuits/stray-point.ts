import { bn254 } from '@noble/curves/bn254.js';
import { G2, type G2Point, writeG2 } from '../../circuits/groth16/point.ts';

const { Fp2 } = bn254.fields;

/** A point of the twist that is not in the subgroup of order r, in zkey form. */
export const strayPoint = (): Uint8Array => writeG2(strayG2());

/** The same as a point. */
export function strayG2(): G2Point {
  for (let c0 = 1n; ; c0++) {
    const x = { c0, c1: 0n };
    try {
      const y = Fp2.sqrt(Fp2.add(Fp2.mul(Fp2.sqr(x), x), G2.CURVE().b));
      const point = G2.fromAffine({ x, y });
      if (!point.isTorsionFree()) return point;
    } catch {
      // no point has this x
    }
  }
}
