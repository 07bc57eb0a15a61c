/**
 * What a prover can see of a proving key's points without the ceremony's files: that they are points of their
 * groups, and that what the key holds in both groups agrees (beta, delta, and B with B2). A prover that skips this
 * can be made to leak: a point on another curve or of small order turns a sum into a few bits of the witness, and
 * a B1 that differs from B2 unblinds the proof's third point (compare eprint 2017/587, on subversion).
 *
 * Sums with random coefficients stand for all points of a section at once: a pair that disagrees goes unnoticed with
 * probability 2^-128; a B2 outside of the subgroup in each round with about 1/10069, the cofactor's least factor. The
 * engine must add points of the whole curve rightly, so it may not use the subgroup's endomorphism here.
 *
 * Not shown: that A, B, C and H are made from the circuit, or from one tau (the ceremony's file shows it).
 */
import { bn254 } from '@noble/curves/bn254.js';
import { VouchError } from '../../protocols/errors.ts';
import { type CurveEngine, type EngineOptions, type MsmEngine, SECTION_GROUP, SECTIONS } from './engine.ts';
import { ELEMENT_BYTES } from './field.ts';
import { G1, type G1Point, G2, type G2Point, POINT_BYTES, readG1, readG2 } from './point.ts';
import type { ProvingKey } from './zkey.ts';

/** Bytes of the coefficients that compare B1 with B2. */
const WIDE = 16;
/** Coefficients of 2 bytes see the subgroup as well as wide ones do, at a fraction of the cost: 2^-39 with these. */
const NARROW = 2;
const NARROW_ROUNDS = 2;
/** What getRandomValues gives at a time. */
const RANDOM_BYTES = 65_536;
/** Points in memory at a time. */
const BATCH = 2 ** 16;

/**
 * Throws `key-rejected` naming what is wrong. `key` multiplies the key's own sections; its answers are checked as
 * points but believed as sums, and `curve` is believed about single points.
 */
export async function checkKey(
  zkey: ProvingKey,
  key: MsmEngine,
  curve: Pick<CurveEngine, 'firstOffCurve'>,
  options: EngineOptions = {},
): Promise<void> {
  const { alpha1, beta1, beta2, delta1, delta2 } = zkey.header;
  readG1(alpha1, 'alpha1');
  demandSame('beta', readG1(beta1, 'beta1'), readG2(beta2, 'beta2'));
  demandSame('delta', readG1(delta1, 'delta1'), readG2(delta2, 'delta2'));
  for (const section of SECTIONS) {
    const { length } = zkey.range(section);
    const size = POINT_BYTES[SECTION_GROUP[section]];
    for (let from = 0; from < length; from += BATCH * size) {
      if (options.signal?.aborted) throw new VouchError('cancelled', 'checking the key was cancelled');
      const bytes = new Uint8Array(Math.min(BATCH * size, length - from));
      await zkey.read(section, bytes, from);
      const bad = await curve.firstOffCurve(SECTION_GROUP[section], bytes, options);
      if (bad >= 0) {
        throw rejected(
          `point ${from / size + bad} of section ${section} is not on the curve, or not reduced`,
        );
      }
    }
  }
  const subgroupSum = async (coefficients: Uint8Array): Promise<G2Point> => {
    const sum = await key.msm('B2', coefficients, options);
    try {
      return readG2(sum, 'B2');
    } catch {
      throw rejected('section B2 has points outside of the subgroup');
    }
  };
  for (let round = 0; round < NARROW_ROUNDS; round++)
    await subgroupSum(randomCoefficients(zkey.variables, NARROW));
  const wide = randomCoefficients(zkey.variables, WIDE);
  const left = readG1(await key.msm('B1', wide, options), 'B1');
  demandSame('B1 and B2', left, await subgroupSum(wide));
}

/** e(left, G2) = e(G1, right): the same multiple of both generators. */
function demandSame(what: string, left: G1Point, right: G2Point): void {
  const same =
    left.is0() || right.is0()
      ? left.is0() && right.is0()
      : bn254.fields.Fp12.eql(
          bn254.pairingBatch([
            { g1: left, g2: G2.BASE },
            { g1: G1.BASE.negate(), g2: right },
          ]),
          bn254.fields.Fp12.ONE,
        );
  if (!same)
    throw rejected(`${what}: the points of the two groups are not the same multiples of the generators`);
}

/** `count` scalars of which the lowest `width` bytes are random, 32 bytes each. */
function randomCoefficients(count: number, width: number): Uint8Array {
  const bytes = new Uint8Array(count * ELEMENT_BYTES);
  const random = new Uint8Array(Math.min(count * width, RANDOM_BYTES - (RANDOM_BYTES % width)));
  for (let i = 0, at = random.byteLength; i < count; i++, at += width) {
    if (at === random.byteLength) {
      crypto.getRandomValues(random);
      at = 0;
    }
    bytes.set(random.subarray(at, at + width), i * ELEMENT_BYTES);
  }
  return bytes;
}

const rejected = (why: string) => new VouchError('key-rejected', `proving key: ${why}`);
