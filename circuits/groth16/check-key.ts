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
import { type EngineOptions, type MsmEngine, SECTION_GROUP, SECTIONS } from './engine.ts';
import { ELEMENT_BYTES, Q, readElement } from './field.ts';
import { G1, type G1Point, G2, type G2Point, POINT_BYTES, readG1, readG2 } from './point.ts';
import type { ProvingKey } from './zkey.ts';

/** Bytes of the coefficients that compare B1 with B2. */
const WIDE = 16;
/** Coefficients of 2 bytes see the subgroup as well as wide ones do, at a fraction of the cost: 2^-39 with these. */
const NARROW = 2;
const NARROW_ROUNDS = 2;
/** What getRandomValues gives at a time. */
const RANDOM_BYTES = 65_536;
/** Points checked before others get a turn on this thread. */
const BATCH = 4096;

/** Montgomery's radix, and the curves' constants in the form in which `y^2 R = x^3 + b R^3` for coordinates times R. */
const RADIX = 2n ** 256n % Q;
const B1 = (3n * RADIX ** 3n) % Q;
const TWIST = G2.CURVE().b;
const B2 = [(TWIST.c0 * RADIX ** 3n) % Q, (TWIST.c1 * RADIX ** 3n) % Q] as const;

/**
 * Throws `key-rejected` naming what is wrong. `engine` multiplies the key's own sections; its answers are checked as
 * points but believed as sums. About 4 s at 2^16 on one thread of WASM.
 */
export async function checkKey(
  zkey: ProvingKey,
  engine: MsmEngine,
  options: EngineOptions = {},
): Promise<void> {
  const { alpha1, beta1, beta2, delta1, delta2 } = zkey.header;
  readG1(alpha1, 'alpha1');
  demandSame('beta', readG1(beta1, 'beta1'), readG2(beta2, 'beta2'));
  demandSame('delta', readG1(delta1, 'delta1'), readG2(delta2, 'delta2'));
  for (const section of SECTIONS) {
    const { length } = zkey.range(section);
    const size = POINT_BYTES[SECTION_GROUP[section]];
    const isOnCurve = section === 'B2' ? isOnTwist : isOnG1;
    for (let from = 0; from < length; from += BATCH * size) {
      await otherWork(options.signal);
      const bytes = new Uint8Array(Math.min(BATCH * size, length - from));
      await zkey.read(section, bytes, from);
      for (let at = 0; at < bytes.byteLength; at += size) {
        if (!isOnCurve(bytes, at)) {
          throw rejected(
            `point ${(from + at) / size} of section ${section} is not on the curve, or not reduced`,
          );
        }
      }
    }
  }
  const subgroupSum = async (coefficients: Uint8Array): Promise<G2Point> => {
    const sum = await engine.msm('B2', coefficients, options);
    try {
      return readG2(sum, 'B2');
    } catch {
      throw rejected('section B2 has points outside of the subgroup');
    }
  };
  for (let round = 0; round < NARROW_ROUNDS; round++)
    await subgroupSum(randomCoefficients(zkey.variables, NARROW));
  const wide = randomCoefficients(zkey.variables, WIDE);
  const left = readG1(await engine.msm('B1', wide, options), 'B1');
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

function isOnG1(bytes: Uint8Array, at: number): boolean {
  const x = readElement(bytes, at);
  const y = readElement(bytes, at + ELEMENT_BYTES);
  if (x === 0n && y === 0n) return true;
  return x < Q && y < Q && (y * y * RADIX - x * x * x - B1) % Q === 0n;
}

function isOnTwist(bytes: Uint8Array, at: number): boolean {
  const [x0, x1, y0, y1] = [0, 1, 2, 3].map((index) => readElement(bytes, at + index * ELEMENT_BYTES)) as [
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  if ((x0 | x1 | y0 | y1) === 0n) return true;
  if (x0 >= Q || x1 >= Q || y0 >= Q || y1 >= Q) return false;
  // In Fp2 = Fp[u] / (u^2 + 1): squares, then the cube, written out, because this runs for every point.
  const [s0, s1] = [(x0 + x1) * (x0 - x1), 2n * x0 * x1];
  const left0 = (y0 + y1) * (y0 - y1) * RADIX;
  const left1 = 2n * y0 * y1 * RADIX;
  return (left0 - (s0 * x0 - s1 * x1) - B2[0]) % Q === 0n && (left1 - (s0 * x1 + s1 * x0) - B2[1]) % Q === 0n;
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

const otherWork = async (signal: AbortSignal | undefined): Promise<void> => {
  await new Promise((resume) => setTimeout(resume));
  if (signal?.aborted) throw new VouchError('cancelled', 'checking the key was cancelled');
};

const rejected = (why: string) => new VouchError('key-rejected', `proving key: ${why}`);
