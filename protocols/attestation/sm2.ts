/**
 * SM2 signatures and the SM3 hash, the Chinese national standards (GB/T 32918.2 and .5, GB/T 32905; in English
 * draft-sca-cfrg-sm3 and draft-shen-sm2-ecdsa), which WebCrypto does not have. The group is noble's.
 *
 * Not guaranteed: constant time, which public keys and signatures do not need.
 */
import { weierstrass } from '@noble/curves/abstract/weierstrass.js';
import { type Bytes, concat, hex, utf8 } from '../encoding.ts';

/** The recommended curve, OID 1.2.156.10197.1.301. */
export const Sm2Point = weierstrass({
  p: 0xfffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffffn,
  n: 0xfffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123n,
  h: 1n,
  a: 0xfffffffeffffffffffffffffffffffffffffffff00000000fffffffffffffffcn,
  b: 0x28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93n,
  Gx: 0x32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7n,
  Gy: 0xbc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0n,
});
const { a: A, b: B, n: ORDER } = Sm2Point.CURVE();
// A table of the generator, made at the first signature.
Sm2Point.BASE.precompute(8);
const BYTES = 32;

/** What a signer is called where nothing else is agreed on (GM/T 0009-2012). */
export const DEFAULT_ID = utf8('1234567812345678');

const bigint = (bytes: Uint8Array): bigint => BigInt(`0x${hex(bytes) || '0'}`);
const fixed = (value: bigint): Bytes => {
  const bytes = new Uint8Array(BYTES);
  for (let i = BYTES - 1, rest = value; i >= 0; i--, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  return bytes;
};

/**
 * What is signed: SM3(Z || message), where Z binds the curve, the key and the signer's name; without a name it is
 * SM3(message), as a TPM signs.
 */
export function sm2Digest(key: Uint8Array, message: Uint8Array, id: Uint8Array | undefined): Bytes {
  if (id === undefined) return sm3(message);
  const { x, y } = Sm2Point.BASE.toAffine();
  const bits = 8 * id.length;
  const z = sm3(
    concat(
      Uint8Array.of(bits >> 8, bits & 0xff),
      id,
      fixed(A),
      fixed(B),
      fixed(x),
      fixed(y),
      key.subarray(1),
    ),
  );
  return sm3(concat(z, message));
}

/** Whether `signature` (r || s, 64 bytes) is by `key` (0x04 || x || y) over a digest. Never throws. */
export function verifySm2(key: Uint8Array, digest: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== 2 * BYTES || key.length !== 1 + 2 * BYTES || key[0] !== 4) return false;
  const r = bigint(signature.subarray(0, BYTES));
  const s = bigint(signature.subarray(BYTES));
  if (r === 0n || r >= ORDER || s === 0n || s >= ORDER) return false;
  const t = (r + s) % ORDER;
  if (t === 0n) return false;
  let point: ReturnType<typeof Sm2Point.fromBytes>;
  try {
    point = Sm2Point.fromBytes(key);
  } catch {
    return false;
  }
  const sum = Sm2Point.BASE.multiplyUnsafe(s).add(point.multiplyUnsafe(t));
  return !sum.is0() && (bigint(digest) + sum.toAffine().x) % ORDER === r;
}

const INITIAL = [
  0x7380166f, 0x4914b2b9, 0x172442d7, 0xda8a0600, 0xa96f30bc, 0x163138aa, 0xe38dee4d, 0xb0fb0e4e,
] as const;
const rotate = (word: number, by: number): number => (word << by) | (word >>> (32 - by));

/** SM3, 32 bytes. */
export function sm3(message: Uint8Array): Bytes {
  const padded = new Uint8Array(Math.ceil((message.length + 9) / 64) * 64);
  padded.set(message);
  padded[message.length] = 0x80;
  const view = new DataView(padded.buffer);
  // Inputs are far below 2^53 bits.
  view.setUint32(padded.length - 8, Math.floor(message.length / 2 ** 29));
  view.setUint32(padded.length - 4, (message.length * 8) >>> 0);
  const state = Int32Array.from(INITIAL, (word) => word | 0);
  const words = new Int32Array(68);
  for (let block = 0; block < padded.length; block += 64) {
    for (let i = 0; i < 16; i++) words[i] = view.getInt32(block + 4 * i);
    for (let i = 16; i < 68; i++) {
      const mixed = words[i - 16]! ^ words[i - 9]! ^ rotate(words[i - 3]!, 15);
      words[i] = mixed ^ rotate(mixed, 15) ^ rotate(mixed, 23) ^ rotate(words[i - 13]!, 7) ^ words[i - 6]!;
    }
    compress(state, words);
  }
  const digest = new Uint8Array(32);
  const out = new DataView(digest.buffer);
  state.forEach((word, i) => {
    out.setInt32(4 * i, word);
  });
  return digest;
}

function compress(state: Int32Array, words: Int32Array): void {
  let [a, b, c, d, e, f, g, h] = state as unknown as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  for (let i = 0; i < 64; i++) {
    const first = i < 16;
    const constant = rotate(first ? 0x79cc4519 : 0x7a879d8a, i % 32);
    const ss1 = rotate((rotate(a, 12) + e + constant) | 0, 7);
    const ff = first ? a ^ b ^ c : (a & b) | (a & c) | (b & c);
    const gg = first ? e ^ f ^ g : (e & f) | (~e & g);
    const tt1 = (ff + d + (ss1 ^ rotate(a, 12)) + (words[i]! ^ words[i + 4]!)) | 0;
    const tt2 = (gg + h + ss1 + words[i]!) | 0;
    d = c;
    c = rotate(b, 9);
    b = a;
    a = tt1;
    h = g;
    g = rotate(f, 19);
    f = e;
    e = tt2 ^ rotate(tt2, 9) ^ rotate(tt2, 17);
  }
  [a, b, c, d, e, f, g, h].forEach((word, i) => {
    state[i] = state[i]! ^ word;
  });
}
