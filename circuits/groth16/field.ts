/**
 * BN254's two primes and the byte form of their elements: 32 bytes, little-endian. "Standard form" is the residue
 * itself; iden3's files keep curve coordinates in Montgomery form, the residue times R = 2^256.
 *
 * Not constant time: BigInt is not. The big loops run in an engine (engine.ts), never here.
 */
import { FIELD_ORDER, SCALAR_BYTES } from '../../protocols/bn254.ts';
import { VouchError } from '../../protocols/errors.ts';

/** The scalars' primes of other curves and fields that circom knows (its --prime). */
const OTHER_PRIMES: Readonly<Record<string, bigint>> = {
  bls12381: 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001n,
  bls12377: 8444461749428370424248824938781546531375899335154063827935233455917409239041n,
  goldilocks: 2n ** 64n - 2n ** 32n + 1n,
  grumpkin: 21888242871839275222246405745257275088696311157297823662689037894645226208583n,
  pallas: 28948022309329048855892746252171976963363056481941560715954676764349967630337n,
  vesta: 28948022309329048855892746252171976963363056481941647379679742748393362948097n,
  secq256r1: 115792089210356248762697446949407573530086143415290314195533631308867097853951n,
};

/** As snarkjs and circom name it: `bn-128`, `bls12-381`, `goldilocks`; the number itself where nobody knows it. */
export function curveNameOf(prime: bigint): string {
  if (prime === R) return 'bn-128';
  const [name] = Object.entries(OTHER_PRIMES).find(([, value]) => value === prime) ?? [];
  return name?.replace(/^bls12(?=\d)/, 'bls12-') ?? `unknown, of prime ${prime}`;
}

/** A field that is not ours, for a message: `BLS12381's`, or `another field's`. */
export function otherFieldOf(prime: bigint): string {
  const [name] = Object.entries(OTHER_PRIMES).find(([, value]) => value === prime) ?? [];
  return name === undefined ? "another field's" : `${name}'s`;
}

/** Bytes of an element of either field. */
export const ELEMENT_BYTES = SCALAR_BYTES;
/** A nonzero entry of a sparse matrix over Fr, as a zkey has it: matrix, row, column (u32 each), value. */
export const ENTRY_BYTES = 3 * 4 + ELEMENT_BYTES;
/** Prime of the coordinates (EIP-196). */
export const Q = 21888242871839275222246405745257275088696311157297823662689037894645226208583n;
/** Prime of the scalars: the order of G1 and G2 (EIP-196). */
export const R = FIELD_ORDER;
/** r - 1 is divisible by 2^28, so this is the largest NTT. */
export const TWO_ADICITY = 28;

/** Montgomery's radix modulo r, and its square: multiplying by the square enters Montgomery form. */
export const MONTGOMERY_R = 2n ** 256n % R;
export const MONTGOMERY_R2 = MONTGOMERY_R ** 2n % R;
const Q_RADIX = 2n ** 256n % Q;
const Q_RADIX_INVERSE = power(Q_RADIX, Q - 2n, Q);

/** The 32 bytes at `offset` as an integer below 2^256. */
export function readElement(bytes: Uint8Array, offset = 0): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, ELEMENT_BYTES);
  let value = 0n;
  for (let at = ELEMENT_BYTES - 8; at >= 0; at -= 8) value = (value << 64n) | view.getBigUint64(at, true);
  return value;
}

/** Writes `value` (below 2^256) as 32 bytes at `offset`. */
export function writeElement(value: bigint, bytes: Uint8Array, offset = 0): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, ELEMENT_BYTES);
  for (let at = 0; at < ELEMENT_BYTES; at += 8)
    view.setBigUint64(at, BigInt.asUintN(64, value >> BigInt(at * 8)), true);
}

/** `value` as 32 bytes of its own. */
export function elementBytes(value: bigint): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(ELEMENT_BYTES);
  writeElement(value, bytes);
  return bytes;
}

/** A coordinate in Montgomery form; it must be reduced, so that a point has one encoding. */
export function readCoordinate(bytes: Uint8Array, offset: number, what: string): bigint {
  const value = readElement(bytes, offset);
  if (value >= Q) {
    throw new VouchError('bad-file', `${what}: a coordinate is not below the field's prime`);
  }
  return (value * Q_RADIX_INVERSE) % Q;
}

export function writeCoordinate(value: bigint, bytes: Uint8Array, offset: number): void {
  writeElement((value * Q_RADIX) % Q, bytes, offset);
}

/** `base ** exponent` modulo `modulus`. */
export function power(base: bigint, exponent: bigint, modulus: bigint = R): bigint {
  let result = 1n;
  for (let square = base % modulus, rest = exponent; rest > 0n; rest >>= 1n) {
    if (rest & 1n) result = (result * square) % modulus;
    square = (square * square) % modulus;
  }
  return result;
}

/** A primitive root of unity of order 2^bits. 5 is the least non-residue of r; snarkjs's domains start there too. */
export function rootOfUnity(bits: number): bigint {
  if (bits < 0 || bits > TWO_ADICITY) throw new RangeError(`no root of unity of order 2^${bits}`);
  return power(5n, (R - 1n) >> BigInt(bits));
}

/**
 * Are all of these 32-byte integers below r? Bytes that are not a multiple of 32 are the caller's error.
 * Compares the top word first, so it costs one read per element.
 */
export function areScalars(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const top = R >> 192n;
  for (let at = 0; at < bytes.byteLength; at += ELEMENT_BYTES) {
    // Almost every scalar differs in the high 32 bits already; only the rest needs BigInt.
    if (view.getUint32(at + 28, true) < Number(top >> 32n)) continue;
    if (readElement(bytes, at) >= R) return false;
  }
  return true;
}

/** A uniform scalar in 1 .. r-1, by rejection sampling (reducing 256 random bits modulo r is biased). */
export function randomScalar(): bigint {
  const bytes = new Uint8Array(ELEMENT_BYTES);
  for (;;) {
    crypto.getRandomValues(bytes);
    // r has 254 bits: without the two highest, a draw is refused about one time in four.
    const value = readElement(bytes) & (2n ** 254n - 1n);
    if (value > 0n && value < R) {
      bytes.fill(0);
      return value;
    }
  }
}
