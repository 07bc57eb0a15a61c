/**
 * What a prover checks of a proving key that somebody else made, before a witness meets it. Source of the aim:
 * Fuchsbauer, "Subversion-zero-knowledge SNARKs" (eprint 2017/587); what is checked is what `snarkjs zkey verify` says,
 * without making the key again.
 *
 * `checkKey` takes a key, the circuit and the powers of the key's tau (ptau.ts), and believes none of their makers. With T
 * the powers [1]_1, [tau]_1, ... up to degree 2N - 2, and random coefficients rho that are drawn once all of it is fixed:
 *
 *     powers   e(sum rho_k T_(k+1), G2) = e(sum rho_k T_k, [tau]_2)
 *     A, B1    sum rho_i A_i = <a, T>, sum rho_i B1_i = <b, T>
 *     B2       e(sum rho_i B1_i, G2) = e(G1, sum rho_i B2_i)
 *     IC, C    e(sum rho_i C_i, delta) e(sum rho_i IC_i, G2) =
 *                  e(sum rho_i A_i, beta) e(alpha, sum rho_i B2_i) e(<c, T>, G2)
 *     H        e(sum rho_j H_j, delta) = e(<h, T>, G2)
 *
 * a, b, c are the coefficients of sum rho_i A_i(X) and so on, from the circuit's own matrices by one inverse transform; h
 * are those of sum rho_j L_j(X), with L_j the Lagrange polynomial of the j-th odd point of twice the domain. In the order
 * above, each equation is linear in what is wrong with its section once the sections before it are right, so that a wrong
 * key passes with probability 2^-128 at most, each time that it is tried. Points of B2 outside of the subgroup pass with about
 * (1/10069)^4 = 2^-53 (`checkPoints`). No other point of G2 takes part but four, which are checked singly. That is why
 * neither [alpha tau^k]_1 and [beta tau^k]_1 nor tau's higher powers in G2 are needed: key and circuit stand in for them.
 *
 * H has a freedom which is left to it. A ceremony may lack tau's power 2N - 1, and snarkjs puts zero there: it changes H_j
 * by a multiple of the coefficient of X^(2N-1) in L_j. A quotient times the vanishing polynomial has no such coefficient,
 * so no proof changes, and rho is drawn among the vectors that do not see it.
 *
 * What follows: e(A, B) = e(alpha, beta) e(IC(x), gamma) e(C, delta) holds for every proof that is made with such a key
 * from a witness that satisfies the circuit. r and s make A and B uniform and independent of the witness, for delta
 * is not infinity; and C is the one point that the equation leaves. So a proof depends on the public signals and on
 * nothing else of the witness, whoever made the key. (For a simulator that is efficient one has to know the key's secrets; that
 * they can be had from its maker is the assumption of 2017/587.)
 *
 * Not shown: that nobody knows tau. Who does can forge, which is the verifier's concern and not the prover's.
 */
import { concat, equal } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import {
  type CurveEngine,
  type EngineOptions,
  type FieldEngine,
  type MsmEngine,
  SECTION_GROUP,
  SECTIONS,
} from './engine.ts';
import {
  ELEMENT_BYTES,
  elementBytes,
  MONTGOMERY_R,
  power,
  R,
  readElement,
  rootOfUnity,
  writeElement,
} from './field.ts';
import { G1, G2, type Group, multiplyG1, POINT_BYTES, readG1, readG2, writeG1, writeG2 } from './point.ts';
import { type Powers, powersCount } from './ptau.ts';
import { checkCircuit, qapOf, rowProducts } from './qap.ts';
import type { R1cs } from './r1cs.ts';
import type { ProvingKey } from './zkey.ts';

/** Bytes of a coefficient. */
const WIDE = 16;
/** Coefficients of 2 bytes see the subgroup as well as wide ones do, at a fraction of the cost. */
const NARROW = 2;
/** Rounds with narrow coefficients; that with wide ones is one more. */
const NARROW_ROUNDS = 3;
/** What getRandomValues gives at a time. */
const RANDOM_BYTES = 65_536;
/** Points in memory at a time. */
const BATCH = 2 ** 16;
/** Powers that are added up at a time: the more, the fewer additions; 64 MiB. */
const SUMMED = 2 ** 20;

/** Who computes. Believed about sums and single points, for it is the prover's own. */
export interface CheckEngines {
  /** multiplies the key's own sections */
  readonly key: MsmEngine;
  readonly curve: CurveEngine;
}

/** The whole check. Throws `key-rejected` naming the section that is wrong. */
export async function checkKey(
  zkey: ProvingKey,
  r1cs: R1cs,
  powers: Powers,
  { field, ...engines }: CheckEngines & { readonly field: FieldEngine },
  options: EngineOptions = {},
): Promise<void> {
  const { curve } = engines;
  const { domainSize, variables, publics } = zkey;
  const { alpha1, beta2, gamma2, delta2 } = zkey.header;
  const qap = qapOf(r1cs);
  await checkCircuit(zkey, r1cs, field, options);
  if (2 ** powers.power < domainSize)
    throw rejected(`its powers are for domains of up to 2^${powers.power} rows, it has ${domainSize}`);
  if (!equal(gamma2, GENERATOR.G2)) throw rejected('gamma is not the generator');
  const rho = randomCoefficients(variables, WIDE);
  const { B1, B2 } = await checkPoints(zkey, engines, options, rho);
  const A = await engines.key.msm('A', rho, options);

  const count = powersCount(domainSize);
  const readPowers = async (first: number, many: number) => {
    const points = new Uint8Array(many * POINT_BYTES.G1);
    await powers.readG1(points, first);
    return points;
  };
  for (let first = 0; first < count; first += BATCH)
    await demandOnCurve(
      curve,
      'G1',
      await readPowers(first, Math.min(BATCH, count - first)),
      first,
      'the powers',
      options,
    );
  /** The sum of scalars[k] * T_(from + k) */
  const ofPowers = async (scalars: Uint8Array, from = 0) => {
    let sum = G1.ZERO;
    const many = scalars.byteLength / ELEMENT_BYTES;
    for (let first = 0; first < many; first += SUMMED) {
      const length = Math.min(SUMMED, many - first);
      const own = scalars.subarray(first * ELEMENT_BYTES, (first + length) * ELEMENT_BYTES);
      const part = await curve.msm('G1', await readPowers(from + first, length), own, options);
      sum = sum.add(readG1(part, 'sum'));
    }
    return writeG1(sum);
  };
  const demandProduct = demandProductBy(curve, options);

  const steps = randomCoefficients(powersCount(domainSize) - 1, WIDE);
  await demandProduct(
    'its powers are not those of one tau',
    [await ofPowers(steps, 1), GENERATOR.G2],
    [negated(await ofPowers(steps)), powers.tau2],
  );

  /** The polynomial with these values on the domain, at tau. A product's values carry a factor R, which goes at the end. */
  const atTau = async (values: Uint8Array) => {
    const sum = await ofPowers(await field.ntt(values, true, options));
    return writeG1(multiplyG1(readG1(sum, 'sum'), R_INVERSE));
  };
  const products = await rowProducts(r1cs, qap, rho, field, options);
  const [a, b, c, { scalars, h }] = await Promise.all([
    atTau(products.a),
    atTau(products.b),
    atTau(products.c),
    quotientCoefficients(domainSize, field, options),
  ]);
  if (!equal(A, a)) throw rejected('section A is not made from the circuit');
  if (!equal(B1, b)) throw rejected('section B1 is not made from the circuit');

  const ofPrivate = rho.subarray((publics + 1) * ELEMENT_BYTES);
  const ofPublic = rho.subarray(0, (publics + 1) * ELEMENT_BYTES);
  await demandProduct(
    'sections IC and C are not made from the circuit, alpha, beta and delta',
    [await engines.key.msm('C', ofPrivate, options), delta2],
    [await curve.msm('G1', zkey.ic, ofPublic, options), GENERATOR.G2],
    [negated(A), beta2],
    [negated(alpha1), B2],
    [negated(c), GENERATOR.G2],
  );
  await demandProduct(
    'section H is not made from tau and delta',
    [await engines.key.msm('H', scalars, options), delta2],
    [negated(await ofPowers(h)), GENERATOR.G2],
  );
}

/**
 * What can be seen of a key without circuit and powers: that its points are points of their groups, and that what it
 * holds in both groups agrees (beta, delta, and B1 with B2). For a key whose maker is trusted: it finds what was
 * damaged on the way. Throws `key-rejected` naming what is wrong. Answers the sums that it made with `rho`, 16 random
 * bytes for each wire.
 *
 * Engines must add points of the whole curve rightly, so they may not use the subgroup's endomorphism here.
 */
export async function checkPoints(
  zkey: ProvingKey,
  { key, curve }: CheckEngines,
  options: EngineOptions = {},
  rho: Uint8Array = randomCoefficients(zkey.variables, WIDE),
): Promise<Record<'B1' | 'B2', Uint8Array>> {
  const demandProduct = demandProductBy(curve, options);
  const demandSame = (what: string, left: Uint8Array, right: Uint8Array) =>
    demandProduct(
      `${what}: the points of the two groups are not the same multiples of the generators`,
      [left, GENERATOR.G2],
      [negated(GENERATOR.G1), right],
    );
  const { beta1, beta2, delta1, delta2 } = zkey.header;
  await demandSame('beta', beta1, beta2);
  await demandSame('delta', delta1, delta2);
  for (const section of SECTIONS) {
    const { length } = zkey.range(section);
    const size = POINT_BYTES[SECTION_GROUP[section]];
    for (let from = 0; from < length; from += BATCH * size) {
      const bytes = new Uint8Array(Math.min(BATCH * size, length - from));
      await zkey.read(section, bytes, from);
      await demandOnCurve(curve, SECTION_GROUP[section], bytes, from / size, `section ${section}`, options);
    }
  }
  const ofB2 = async (coefficients: Uint8Array): Promise<Uint8Array> => {
    const sum = await key.msm('B2', coefficients, options);
    try {
      readG2(sum, 'B2');
    } catch {
      throw rejected('section B2 has points outside of the subgroup');
    }
    return sum;
  };
  for (let round = 0; round < NARROW_ROUNDS; round++) await ofB2(randomCoefficients(zkey.variables, NARROW));
  const sums = { B1: await key.msm('B1', rho, options), B2: await ofB2(rho) };
  await demandSame('B1 and B2', sums.B1, sums.B2);
  return sums;
}

/** Throws with these words unless the product of all e(pair) is one. */
const demandProductBy =
  (curve: CurveEngine, options: EngineOptions) =>
  async (why: string, ...pairs: ReadonlyArray<readonly [g1: Uint8Array, g2: Uint8Array]>): Promise<void> => {
    const all = (side: 0 | 1) => concat(...pairs.map((pair) => pair[side]));
    if (!(await curve.pairingsCancel(all(0), all(1), options))) throw rejected(why);
  };

async function demandOnCurve(
  curve: CurveEngine,
  group: Group,
  points: Uint8Array,
  first: number,
  what: string,
  options: EngineOptions,
): Promise<void> {
  if (options.signal?.aborted) throw new VouchError('cancelled', 'checking the key was cancelled');
  const bad = await curve.firstOffCurve(group, points, options);
  if (bad >= 0) throw rejected(`point ${first + bad} of ${what} is not on the curve, or not reduced`);
}

/** Random coefficients of H's points, and those of the polynomial that they make, without the highest: it is zero. */
async function quotientCoefficients(
  size: number,
  field: FieldEngine,
  options: EngineOptions,
): Promise<{ scalars: Uint8Array; h: Uint8Array }> {
  const scalars = randomCoefficients(size, WIDE);
  const last = (size - 1) * ELEMENT_BYTES;
  scalars.fill(0, last);
  // The coefficient of X^(2N-1) in L_j is w^(2j+1) / 2N, for w of order 2N; with w^2j = -1 / w for j = N - 1 the last
  // scalar has to be - sum rho_j w^(2j+2).
  const root = elementBytes((rootOfUnity(Math.log2(size)) * MONTGOMERY_R) % R);
  const terms = await field.scale(scalars, root, root, options);
  let sum = 0n;
  for (let at = 0; at < last; at += ELEMENT_BYTES) sum += readElement(terms, at);
  writeElement((R - (sum % R)) % R, scalars, last);

  const values = new Uint8Array(2 * size * ELEMENT_BYTES);
  // In words: moving 32 bytes by subarray costs more than multiplying them.
  const [from, to] = [new BigUint64Array(scalars.buffer), new BigUint64Array(values.buffer)];
  for (let at = 0; at < from.length; at++) to[2 * at - (at % 4) + 4] = from[at]!;
  const h = await field.ntt(values, true, options);
  return { scalars, h: h.subarray(0, powersCount(size) * ELEMENT_BYTES) };
}

/** `count` scalars of which the lowest `width` bytes are random, 32 bytes each. */
function randomCoefficients(count: number, width: number): Uint8Array<ArrayBuffer> {
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

/** Of Montgomery's radix. */
const R_INVERSE = power(MONTGOMERY_R, R - 2n);
const GENERATOR = { G1: writeG1(G1.BASE), G2: writeG2(G2.BASE) };
const negated = (point: Uint8Array) => writeG1(readG1(point, 'sum').negate());
const rejected = (why: string) => new VouchError('key-rejected', `proving key: ${why}`);
