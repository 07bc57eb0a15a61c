/**
 * Proofs, public signals and verification keys as others write them: rapidsnark and go-rapidsnark leave `curve` out, gnark
 * says `bn254`, JavaScript passes numbers and BigInts, contracts use hexadecimal. Whatever snarkjs reads as a value is
 * that value here, brought into the one spelling that `verify` takes (verify.ts).
 *
 * What is another value stays refused, where snarkjs is not so strict: numbers that are not below their prime (snarkjs
 * reduces coordinates), negative ones, proofs that say they are of another curve or protocol. Points are not checked
 * here to be on their curve: `verify` does.
 */
import { bn254 } from '@noble/curves/bn254.js';
import { VouchError } from '../../protocols/errors.ts';
import { power, Q, R } from './field.ts';
import type { Proof, VerificationKey } from './verify.ts';

/** Of a point's coordinate or of a signal. */
export type Spelling = string | number | bigint;

/** 78 digits and 64 hexadecimal ones hold every 256-bit number: a hostile string costs no long conversion. */
const DECIMAL = /^0*(\d{1,78})$/;
const HEXADECIMAL = /^0x0*([0-9a-fA-F]{1,64})$/;
/** Zeros in front included. */
const MAX_CHARACTERS = 4096;
/** As snarkjs compares them: letters and digits only, in capitals. */
const CURVE_NAMES = ['BN128', 'BN254', 'ALTBN128'];

const bad = (why: string) => new VouchError('bad-file', why);

function readNumber(value: unknown, bound: bigint, what: string): bigint {
  const number = integerOf(value);
  if (number === undefined) {
    throw bad(`${what}: expected a whole number (decimal, 0x hexadecimal or BigInt), got something else`);
  }
  if (number < 0n) throw bad(`${what}: the number is negative`);
  if (number >= bound) throw bad(`${what}: a number is not below the field's prime`);
  return number;
}

function integerOf(value: unknown): bigint | undefined {
  if (typeof value === 'bigint') return value;
  // Beyond 2^53 a number is not the one that was written.
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : undefined;
  if (typeof value !== 'string' || value.length > MAX_CHARACTERS) return undefined;
  if (/^-\d{1,78}$/.test(value)) return BigInt(value);
  const decimal = DECIMAL.exec(value)?.[1];
  if (decimal !== undefined) return BigInt(decimal);
  const hexadecimal = HEXADECIMAL.exec(value)?.[1];
  return hexadecimal === undefined ? undefined : BigInt(`0x${hexadecimal}`);
}

function list(value: unknown, lengths: readonly number[], what: string): readonly unknown[] {
  if (Array.isArray(value) && lengths.includes(value.length)) return value;
  throw bad(`${what}: expected an array of ${lengths.join(' or ')}`);
}

/** Affine, of two coordinates, or Jacobian (x / z^2, y / z^3), of three. */
function canonicalG1(value: unknown, what: string): string[] {
  const [x, y, z = 1n] = list(value, [2, 3], what).map((each) => readNumber(each, Q, what)) as [
    bigint,
    bigint,
    bigint?,
  ];
  if (z === 0n) return ['0', '1', '0'];
  const inverse = power(z, Q - 2n, Q);
  const square = inverse ** 2n % Q;
  return [(x * square) % Q, (((y * square) % Q) * inverse) % Q, 1n].map(String);
}

function canonicalG2(value: unknown, what: string): string[][] {
  const { Fp2 } = bn254.fields;
  const pairs = list(value, [2, 3], what).map((pair) => {
    const [c0, c1] = list(pair, [2], what).map((each) => readNumber(each, Q, what)) as [bigint, bigint];
    return { c0, c1 };
  });
  const [x, y, z = Fp2.ONE] = pairs as [typeof Fp2.ONE, typeof Fp2.ONE, typeof Fp2.ONE?];
  const strings = (...elements: (typeof Fp2.ONE)[]) => elements.map(({ c0, c1 }) => [String(c0), String(c1)]);
  if (Fp2.is0(z)) return strings(Fp2.ZERO, Fp2.ONE, Fp2.ZERO);
  const inverse = Fp2.inv(z);
  const square = Fp2.sqr(inverse);
  return strings(Fp2.mul(x, square), Fp2.mul(Fp2.mul(y, square), inverse), Fp2.ONE);
}

/** Both may be left out: rapidsnark's proofs have no curve, and its points are of the only one that there is. */
function demandGroth16({ protocol, curve }: { protocol?: unknown; curve?: unknown }, what: string): void {
  if (protocol !== undefined && protocol !== 'groth16') {
    const use = protocol === 'plonk' || protocol === 'fflonk' ? `; use snarkjs (${protocol} verify)` : '';
    throw bad(`${what}: expected protocol "groth16", got ${named(protocol)}${use}`);
  }
  if (curve === undefined) return;
  const plain = typeof curve === 'string' ? curve.toUpperCase().replace(/[^A-Z0-9]/g, '') : '';
  if (!CURVE_NAMES.includes(plain)) throw bad(`${what}: expected curve "bn128", got ${named(curve)}`);
}

/** What a stranger wrote, short. */
const named = (value: unknown) =>
  typeof value === 'string' ? JSON.stringify(value.slice(0, 40)) : typeof value;

function object(value: unknown, what: string): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as never;
  throw bad(
    `${what}: expected an object, got ${Array.isArray(value) ? 'an array' : value === null ? 'null' : typeof value}`,
  );
}

/** `bad-file` with the reason, as for all below. */
export function canonicalProof(value: unknown): Proof {
  const proof = object(value, 'proof');
  demandGroth16(proof, 'proof');
  return {
    pi_a: canonicalG1(proof.pi_a, 'proof: pi_a'),
    pi_b: canonicalG2(proof.pi_b, 'proof: pi_b'),
    pi_c: canonicalG1(proof.pi_c, 'proof: pi_c'),
    protocol: 'groth16',
    curve: 'bn128',
  };
}

export function canonicalSignals(value: unknown): string[] {
  if (!Array.isArray(value)) throw bad('public signals: expected an array');
  return value.map((signal, index) => String(readNumber(signal, R, `public signal ${index}`)));
}

/** `vk_alphabeta_12`, which no verification here uses, is not read. */
export function canonicalKey(value: unknown): VerificationKey {
  const what = 'verification key';
  const key = object(value, what);
  demandGroth16(key, what);
  if (!Array.isArray(key.IC) || key.IC.length === 0)
    throw bad(`${what}: expected IC to be an array of points`);
  const publics = key.IC.length - 1;
  if (key.nPublic !== undefined && integerOf(key.nPublic) !== BigInt(publics)) {
    throw bad(`${what}: expected one point of IC more than nPublic`);
  }
  const g2 = (name: string) => canonicalG2(key[name], `${what}: ${name}`);
  return {
    protocol: 'groth16',
    curve: 'bn128',
    nPublic: publics,
    vk_alpha_1: canonicalG1(key.vk_alpha_1, `${what}: vk_alpha_1`),
    vk_beta_2: g2('vk_beta_2'),
    vk_gamma_2: g2('vk_gamma_2'),
    vk_delta_2: g2('vk_delta_2'),
    vk_alphabeta_12: [],
    IC: key.IC.map((point, index) => canonicalG1(point, `${what}: IC[${index}]`)),
  };
}
