/**
 * What snarkjs's phase 2 hashes: the circuit hash's byte forms and a contribution's transcript and key (snarkjs
 * `src/zkey_contribute.js`, `src/keypair.js`; ffjavascript `src/chacha.js`, `fromRng`). Reproduced so that a key made
 * here passes `snarkjs zkey verify`.
 */
import { bn254 } from '@noble/curves/bn254.js';
import { blake2b } from '@noble/hashes/blake2.js';
import type { Contribution } from './contribution.ts';
import { ELEMENT_BYTES, Q, randomScalar } from './field.ts';
import { G1, type G1Point, G2, type G2Point, multiplyG1, multiplyG2, writeG1, writeG2 } from './point.ts';

const { Fp2 } = bn254.fields;
const Q_RADIX_INVERSE = bn254.fields.Fp.inv(2n ** 256n % Q);

/** A hash that is fed piece by piece. */
export interface RunningHash {
  update(bytes: Uint8Array): RunningHash;
  digest(): Uint8Array;
}

/** blake2b with 64 bytes of output, ceremonies' only hash. In JavaScript, about 20 times slower than a native one. */
export function ceremonyHash(): RunningHash {
  return blake2b.create({ dkLen: 64 });
}

/** Big-endian standard form, in G2 c1 before c0; infinity is zero. */
export function uncompressedG1(point: G1Point): Uint8Array {
  if (point.is0()) return new Uint8Array(2 * ELEMENT_BYTES);
  const { x, y } = point.toAffine();
  return bigEndian(x, y);
}

export function uncompressedG2(point: G2Point): Uint8Array {
  if (point.is0()) return new Uint8Array(4 * ELEMENT_BYTES);
  const { x, y } = point.toAffine();
  return bigEndian(x.c1, x.c0, y.c1, y.c0);
}

/**
 * The first contribution to a fresh key: `delta` times the generator, and the proof that its maker knows it.
 * The record's random point has a logarithm known for a moment to this function, which gives nobody anything.
 */
export function contribution(circuitHash: Uint8Array, delta: bigint, name: string): Contribution {
  const s = multiplyG1(G1.BASE, randomScalar());
  const sx = multiplyG1(s, delta);
  const transcript = ceremonyHash()
    .update(circuitHash)
    .update(uncompressedG1(s))
    .update(uncompressedG1(sx))
    .digest();
  return {
    deltaAfter: writeG1(multiplyG1(G1.BASE, delta)),
    g1s: writeG1(s),
    g1sx: writeG1(sx),
    g2spx: writeG2(multiplyG2(hashToG2(transcript), delta)),
    transcript,
    name,
  };
}

/** snarkjs's map from a hash to G2: draw x from ChaCha20 keyed with the hash until it is on the twist. */
export function hashToG2(hash: Uint8Array): G2Point {
  const view = new DataView(hash.buffer, hash.byteOffset, hash.byteLength);
  const words = chacha20(Array.from({ length: 8 }, (_, index) => view.getUint32(4 * index)));
  const next64 = () => (BigInt(words.next().value) << 32n) | BigInt(words.next().value);
  const coordinate = (): bigint => {
    for (;;) {
      let value = 0n;
      for (let word = 0n; word < 4n; word++) value |= next64() << (64n * word);
      value &= 2n ** 254n - 1n;
      // The draw is taken for the Montgomery form of the coordinate.
      if (value < Q) return (value * Q_RADIX_INVERSE) % Q;
    }
  };
  for (;;) {
    const x = { c0: coordinate(), c1: coordinate() };
    const greatest = (words.next().value & 1) === 1;
    const square = Fp2.add(Fp2.mul(Fp2.sqr(x), x), G2.CURVE().b);
    const root = squareRoot(square);
    if (root === undefined) continue;
    const point = G2.fromAffine({ x, y: greatest === isGreatest(root) ? root : Fp2.neg(root) });
    // The cofactor exceeds r, so it is applied in two parts.
    const cofactor = G2.CURVE().h;
    return point
      .multiplyUnsafe(cofactor >> 1n)
      .double()
      .add(cofactor & 1n ? point : G2.ZERO);
  }
}

type Fp2Element = G2Point['X'];

function squareRoot(square: Fp2Element): Fp2Element | undefined {
  try {
    return Fp2.sqrt(square);
  } catch {
    return undefined;
  }
}

/** Of the two roots the one whose last nonzero coordinate is above (q - 1) / 2. */
function isGreatest({ c0, c1 }: Fp2Element): boolean {
  return (c1 === 0n ? c0 : c1) > (Q - 1n) / 2n;
}

/** ChaCha20's keystream (RFC 8439, section 2.3) as 32-bit words; counter and nonce start at zero. */
function* chacha20(key: readonly number[]): Generator<number, never> {
  const state = Uint32Array.from([0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, ...key, 0, 0, 0, 0]);
  for (; ; state[12]!++) {
    const block = state.slice();
    for (let round = 0; round < 10; round++) {
      for (let column = 0; column < 4; column++)
        quarterRound(block, column, column + 4, column + 8, column + 12);
      for (let diagonal = 0; diagonal < 4; diagonal++) {
        quarterRound(
          block,
          diagonal,
          4 + ((diagonal + 1) % 4),
          8 + ((diagonal + 2) % 4),
          12 + ((diagonal + 3) % 4),
        );
      }
    }
    for (let word = 0; word < 16; word++) yield (block[word]! + state[word]!) >>> 0;
  }
}

function quarterRound(block: Uint32Array, a: number, b: number, c: number, d: number): void {
  const mix = (sum: number, addend: number, target: number, bits: number) => {
    block[sum]! += block[addend]!;
    const mixed = block[target]! ^ block[sum]!;
    block[target] = (mixed << bits) | (mixed >>> (32 - bits));
  };
  mix(a, b, d, 16);
  mix(c, d, b, 12);
  mix(a, b, d, 8);
  mix(c, d, b, 7);
}

function bigEndian(...values: bigint[]): Uint8Array {
  const bytes = new Uint8Array(values.length * ELEMENT_BYTES);
  values.forEach((value, index) => {
    const view = new DataView(bytes.buffer, index * ELEMENT_BYTES, ELEMENT_BYTES);
    for (let word = 0; word < 4; word++)
      view.setBigUint64(8 * word, BigInt.asUintN(64, value >> BigInt(192 - 64 * word)));
  });
  return bytes;
}
