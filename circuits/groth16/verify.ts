/**
 * Groth16 verification (eprint 2016/260, section 3.2) and the JSON forms of snarkjs: verification key and proof.
 * "Verified" says that the key's circuit holds for these public signals, not what that circuit is, nor that the
 * key's maker has forgotten its secrets.
 */
import { bn254 } from '@noble/curves/bn254.js';
import { concat } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { CurveEngine, EngineOptions } from './engine.ts';
import { elementBytes, R } from './field.ts';
import {
  G1,
  type G1Point,
  type G2Point,
  g1Strings,
  g2Strings,
  knownG1,
  knownG2,
  POINT_BYTES,
  parseDecimal,
  parseG1,
  parseG2,
  writeG1,
  writeG2,
} from './point.ts';
import type { ZkeyContent } from './zkey.ts';

/** A proof as snarkjs has it: decimal strings, projective with z = 1. */
export interface Proof {
  readonly pi_a: string[];
  readonly pi_b: string[][];
  readonly pi_c: string[];
  readonly protocol: 'groth16';
  readonly curve: 'bn128';
}

/** A verification key as `snarkjs zkey export verificationkey` writes it. */
export interface VerificationKey {
  readonly protocol: 'groth16';
  readonly curve: 'bn128';
  readonly nPublic: number;
  readonly vk_alpha_1: string[];
  readonly vk_beta_2: string[][];
  readonly vk_gamma_2: string[][];
  readonly vk_delta_2: string[][];
  /** e(alpha, beta), for verifiers that use it; `verify` does not. */
  readonly vk_alphabeta_12: string[][][];
  /** nPublic + 1 points. */
  readonly IC: string[][];
}

type KeyPoints = Pick<ZkeyContent, 'publics' | 'header' | 'ic'>;

/** The verification key inside a proving key, with snarkjs's members in snarkjs's order. */
export function verificationKey(zkey: KeyPoints): VerificationKey {
  const { alpha, beta, gamma, delta, ic } = verifyingPoints(zkey);
  const alphaBeta = bn254.pairing(alpha, beta);
  return {
    protocol: 'groth16',
    curve: 'bn128',
    nPublic: zkey.publics,
    vk_alpha_1: g1Strings(alpha),
    vk_beta_2: g2Strings(beta),
    vk_gamma_2: g2Strings(gamma),
    vk_delta_2: g2Strings(delta),
    vk_alphabeta_12: [alphaBeta.c0, alphaBeta.c1].map((half) =>
      [half.c0, half.c1, half.c2].map(({ c0, c1 }) => [String(c0), String(c1)]),
    ),
    IC: ic.map(g1Strings),
  };
}

/** What the equation is about, as points of their groups. */
export interface VerifyingPoints {
  readonly alpha: G1Point;
  readonly beta: G2Point;
  readonly gamma: G2Point;
  readonly delta: G2Point;
  /** One for the constant 1 and one for each public signal. */
  readonly ic: readonly G1Point[];
}
export interface ProofPoints {
  readonly a: G1Point;
  readonly b: G2Point;
  readonly c: G1Point;
}

/** The verifying points inside a proving key, which were checked when it was read. */
export function verifyingPoints({ publics, header, ic }: KeyPoints): VerifyingPoints {
  return {
    alpha: knownG1(header.alpha1, 'alpha1'),
    beta: knownG2(header.beta2, 'beta2'),
    gamma: knownG2(header.gamma2, 'gamma2'),
    delta: knownG2(header.delta2, 'delta2'),
    ic: Array.from({ length: publics + 1 }, (_, index) =>
      knownG1(ic.subarray(index * POINT_BYTES.G1, (index + 1) * POINT_BYTES.G1), `IC[${index}]`),
    ),
  };
}

/** Whether e(A, B) = e(alpha, beta) e(IC(signals), gamma) e(C, delta). As many signals as the key has, below r. */
export function holds(
  { alpha, beta, gamma, delta, ic }: VerifyingPoints,
  signals: readonly bigint[],
  { a, b, c }: ProofPoints,
): boolean {
  const [constant, ...bases] = ic;
  // Signals are public, so the time may show them; most of a bit circuit's are 0 or 1.
  const inputs = bases.reduce((sum, base, index) => sum.add(base.multiplyUnsafe(signals[index]!)), constant!);
  const pairs: Array<{ g1: G1Point; g2: G2Point }> = [
    { g1: a.negate(), g2: b },
    { g1: alpha, g2: beta },
    { g1: inputs, g2: gamma },
    { g1: c, g2: delta },
  ];
  // A pair with infinity contributes one to the product; noble refuses to compute it.
  const product = bn254.pairingBatch(pairs.filter(({ g1, g2 }) => !g1.is0() && !g2.is0()));
  return bn254.fields.Fp12.eql(product, bn254.fields.Fp12.ONE);
}

/** A proof's points in zkey form. */
export interface ProofBytes {
  readonly a: Uint8Array;
  readonly b: Uint8Array;
  readonly c: Uint8Array;
}

/** As `holds`, by an engine, for points that are known to be points: the key's, and those of one's own proof. */
export async function holdsBy(
  curve: CurveEngine,
  { header, ic }: Pick<KeyPoints, 'header' | 'ic'>,
  signals: readonly bigint[],
  { a, b, c }: ProofBytes,
  options: EngineOptions = {},
): Promise<boolean> {
  const inputs = await curve.msm('G1', ic, concat(...[1n, ...signals].map(elementBytes)), options);
  const negative = writeG1(knownG1(a, 'pi_a').negate());
  const left = concat(negative, header.alpha1, inputs, c);
  const right = concat(b, header.beta2, header.gamma2, header.delta2);
  return curve.pairingsCancel(left, right, options);
}

export function parseVerificationKey(key: VerificationKey): VerifyingPoints {
  if (key?.protocol !== 'groth16' || key.curve !== 'bn128') {
    throw new VouchError('bad-file', 'verification key: expected protocol "groth16" and curve "bn128"');
  }
  if (!Array.isArray(key.IC) || key.IC.length !== key.nPublic + 1) {
    throw new VouchError('bad-file', 'verification key: expected one point of IC more than nPublic');
  }
  return {
    alpha: parseG1(key.vk_alpha_1, 'verification key: vk_alpha_1'),
    beta: parseG2(key.vk_beta_2, 'verification key: vk_beta_2'),
    gamma: parseG2(key.vk_gamma_2, 'verification key: vk_gamma_2'),
    delta: parseG2(key.vk_delta_2, 'verification key: vk_delta_2'),
    ic: key.IC.map((point, index) => parseG1(point, `verification key: IC[${index}]`)),
  };
}

/**
 * Does the proof hold? Signals are decimal strings below r. `bad-file` when key, proof or signals are malformed (a
 * point off its curve included). About 50 ms, and up to 4 ms more for each public signal.
 */
export function verify(key: VerificationKey, publicSignals: readonly string[], proof: Proof): boolean {
  return verifyWith(parseVerificationKey(key), publicSignals, proof);
}

/** As `verify`, with a key that was parsed. */
export function verifyWith(points: VerifyingPoints, publicSignals: readonly string[], proof: Proof): boolean {
  const { signals, ...parsed } = parseProof(points, publicSignals, proof);
  return holds(points, signals, parsed);
}

/** Signals that are added up before other work has its turn: some hundredths of a second. */
const SIGNALS_AT_ONCE = 1024;

/** As `verifyWith`, by arithmetic that is quicker: one sum for all public signals. */
export async function verifyBy(
  curve: Pick<CurveEngine, 'msm' | 'pairingsCancel'>,
  points: VerifyingPoints,
  publicSignals: readonly string[],
  proof: Proof,
): Promise<boolean> {
  const { signals, a, b, c } = parseProof(points, publicSignals, proof);
  const scalars = [1n, ...signals];
  let inputs = G1.ZERO;
  for (let from = 0; from < scalars.length; from += SIGNALS_AT_ONCE) {
    const bases = points.ic.slice(from, from + SIGNALS_AT_ONCE).map(writeG1);
    const factors = scalars.slice(from, from + SIGNALS_AT_ONCE).map(elementBytes);
    inputs = inputs.add(knownG1(await curve.msm('G1', concat(...bases), concat(...factors)), 'inputs'));
  }
  const { alpha, beta, gamma, delta } = points;
  return curve.pairingsCancel(
    concat(...[a.negate(), alpha, inputs, c].map(writeG1)),
    concat(...[b, beta, gamma, delta].map(writeG2)),
  );
}

function parseProof(
  points: VerifyingPoints,
  publicSignals: readonly string[],
  proof: Proof,
): ProofPoints & { readonly signals: readonly bigint[] } {
  if (proof?.protocol !== 'groth16' || proof.curve !== 'bn128') {
    throw new VouchError('bad-file', 'proof: expected protocol "groth16" and curve "bn128"');
  }
  if (!Array.isArray(publicSignals) || publicSignals.length !== points.ic.length - 1) {
    throw new VouchError(
      'bad-file',
      `public signals: expected an array of ${points.ic.length - 1}, as many as the verification key is for`,
    );
  }
  const signals = publicSignals.map((signal, index) => parseDecimal(signal, R, `public signal ${index}`));
  return {
    signals,
    a: parseG1(proof.pi_a, 'proof: pi_a'),
    b: parseG2(proof.pi_b, 'proof: pi_b'),
    c: parseG1(proof.pi_c, 'proof: pi_c'),
  };
}
