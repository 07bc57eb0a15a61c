/** Signs with SM2, for tests only: what protocols/attestation/sm2.ts verifies. */
import { Sm2Point } from '../../protocols/attestation/sm2.ts';
import { concat, fromHex, hex, randomBytes } from '../../protocols/encoding.ts';

const ORDER = Sm2Point.CURVE().n;
const modulo = (value: bigint): bigint => ((value % ORDER) + ORDER) % ORDER;
const bytesOf = (value: bigint) => fromHex(value.toString(16).padStart(64, '0'));
const random = () => modulo(BigInt(`0x${hex(randomBytes(40))}`));

export interface Sm2Key {
  readonly secret: bigint;
  /** 0x04 || x || y */
  readonly key: Uint8Array;
}

export function sm2Key(): Sm2Key {
  const secret = random();
  return { secret, key: Sm2Point.BASE.multiply(secret).toBytes(false) };
}

/** r || s */
export function sm2Sign({ secret }: Sm2Key, digest: Uint8Array): Uint8Array {
  for (;;) {
    const k = random();
    const r = modulo(BigInt(`0x${hex(digest)}`) + Sm2Point.BASE.multiply(k).toAffine().x);
    const s = modulo(Sm2Point.Fn.inv(modulo(1n + secret)) * (k - r * secret));
    if (r !== 0n && s !== 0n && modulo(r + k) !== 0n) return concat(bytesOf(r), bytesOf(s));
  }
}
