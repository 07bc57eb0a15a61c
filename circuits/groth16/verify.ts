/**
 * Groth16 verification (eprint 2016/260, section 3.2) and the JSON forms of snarkjs: verification key and proof.
 * "Verified" says that the key's circuit holds for these public signals, not what that circuit is, nor that the
 * key's maker has forgotten its secrets.
 */
import { bn254 } from '@noble/curves/bn254.js';
import { VouchError } from '../../protocols/errors.ts';
import { R } from './field.ts';
import {
  type G1Point,
  type G2Point,
  g1Strings,
  g2Strings,
  POINT_BYTES,
  parseDecimal,
  parseG1,
  parseG2,
  readG1,
  readG2,
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

/** The verification key inside a proving key, with snarkjs's members in snarkjs's order. */
export function verificationKey(zkey: Pick<ZkeyContent, 'publics' | 'header' | 'ic'>): VerificationKey {
  const alpha = readG1(zkey.header.alpha1, 'alpha1');
  const beta = readG2(zkey.header.beta2, 'beta2');
  const alphaBeta = bn254.pairing(alpha, beta);
  return {
    protocol: 'groth16',
    curve: 'bn128',
    nPublic: zkey.publics,
    vk_alpha_1: g1Strings(alpha),
    vk_beta_2: g2Strings(beta),
    vk_gamma_2: g2Strings(readG2(zkey.header.gamma2, 'gamma2')),
    vk_delta_2: g2Strings(readG2(zkey.header.delta2, 'delta2')),
    vk_alphabeta_12: [alphaBeta.c0, alphaBeta.c1].map((half) =>
      [half.c0, half.c1, half.c2].map(({ c0, c1 }) => [String(c0), String(c1)]),
    ),
    IC: Array.from({ length: zkey.publics + 1 }, (_, index) =>
      g1Strings(
        readG1(zkey.ic.subarray(index * POINT_BYTES.G1, (index + 1) * POINT_BYTES.G1), `IC[${index}]`),
      ),
    ),
  };
}

/**
 * Does the proof hold? e(A, B) = e(alpha, beta) e(IC(signals), gamma) e(C, delta). Signals are decimal strings below
 * r. `bad-file` when key, proof or signals are malformed (a point off its curve included). About 50 ms, and up to
 * 4 ms more for each public signal.
 */
export function verify(key: VerificationKey, publicSignals: readonly string[], proof: Proof): boolean {
  if (key.protocol !== 'groth16' || key.curve !== 'bn128') {
    throw new VouchError('bad-file', 'verification key: expected protocol "groth16" and curve "bn128"');
  }
  if (proof.protocol !== 'groth16' || proof.curve !== 'bn128') {
    throw new VouchError('bad-file', 'proof: expected protocol "groth16" and curve "bn128"');
  }
  if (
    !Array.isArray(key.IC) ||
    key.IC.length !== publicSignals.length + 1 ||
    key.nPublic !== publicSignals.length
  ) {
    throw new VouchError(
      'bad-file',
      `verification key: it is not for ${publicSignals.length} public signals`,
    );
  }
  const inputs = publicSignals.reduce(
    (sum: G1Point, signal, index) => {
      const base = parseG1(key.IC[index + 1], `verification key: IC[${index + 1}]`);
      // Signals are public, so the time may show them; most of a bit circuit's are 0 or 1.
      return sum.add(base.multiplyUnsafe(parseDecimal(signal, R, `public signal ${index}`)));
    },
    parseG1(key.IC[0], 'verification key: IC[0]'),
  );

  const pairs: Array<{ g1: G1Point; g2: G2Point }> = [
    { g1: parseG1(proof.pi_a, 'proof: pi_a').negate(), g2: parseG2(proof.pi_b, 'proof: pi_b') },
    {
      g1: parseG1(key.vk_alpha_1, 'verification key: vk_alpha_1'),
      g2: parseG2(key.vk_beta_2, 'verification key: vk_beta_2'),
    },
    { g1: inputs, g2: parseG2(key.vk_gamma_2, 'verification key: vk_gamma_2') },
    { g1: parseG1(proof.pi_c, 'proof: pi_c'), g2: parseG2(key.vk_delta_2, 'verification key: vk_delta_2') },
  ];
  // A pair with infinity contributes one to the product; noble refuses to compute it.
  const product = bn254.pairingBatch(pairs.filter(({ g1, g2 }) => !g1.is0() && !g2.is0()));
  return bn254.fields.Fp12.eql(product, bn254.fields.Fp12.ONE);
}
