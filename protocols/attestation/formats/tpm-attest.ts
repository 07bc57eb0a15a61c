/**
 * Reads TPM 2.0 quotes: TPMS_ATTEST with TPMS_QUOTE_INFO, and TPMT_SIGNATURE (TPM 2.0 Library, part 2 "Structures",
 * sections 10.12 and 11.3). Nothing is verified here.
 */
import { hex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import type { PcrBank } from '../demands.ts';
import { MAX_ATTEST_BYTES, MAX_TPM_SIGNATURE_BYTES } from '../limits.ts';
import { createReader, type Reader } from '../reader.ts';

const GENERATED = 0xff544347;
const ATTEST_QUOTE = 0x8018;
/** TPMU_NAME and TPMT_HA with the largest hash. */
const MAX_NAME_BYTES = 66;
const MAX_SELECTIONS = 4;
const MAX_SELECT_BYTES = 3;

/** TPM_ALG_ID; SHA-1 is refused. */
const BANKS: ReadonlyMap<number, PcrBank> = new Map([
  [0x0b, 'sha256'],
  [0x0c, 'sha384'],
  [0x0d, 'sha512'],
  [0x12, 'sm3_256'],
]);

export interface TpmAttest {
  /** the bytes signed */
  readonly bytes: Uint8Array;
  /** name of the attestation key with its ancestors */
  readonly qualifiedSigner: Uint8Array;
  /** what the verifier asked with */
  readonly extraData: Uint8Array;
  /** milliseconds since the TPM was cleared */
  readonly clock: bigint;
  readonly resetCount: number;
  readonly restartCount: number;
  /** whether the clock was never set back */
  readonly safe: boolean;
  readonly firmwareVersion: bigint;
  /** in the order in which their values were hashed */
  readonly selection: readonly { readonly bank: PcrBank; readonly indices: readonly number[] }[];
  readonly pcrDigest: Uint8Array;
}

/** TPM structures are big-endian. */
const big = ({ take }: Reader, bytes: number): number =>
  take(bytes).reduce((value, byte) => value * 256 + byte, 0);
const big64 = (reader: Reader): bigint => (BigInt(big(reader, 4)) << 32n) | BigInt(big(reader, 4));
const sized = (reader: Reader, most: number, what: string): Uint8Array => {
  const size = big(reader, 2);
  if (size > most) throw new VouchError('bad-file', `${what}: expected at most ${most} bytes, got ${size}`);
  return reader.take(size);
};

/** Whether bytes look like a quote: TPMS_ATTEST, or TPM2B_ATTEST with its size in front. */
export const isTpmAttest = (bytes: Uint8Array): boolean =>
  bytes.length <= MAX_ATTEST_BYTES && [0, 2].some((at) => hex(bytes.subarray(at, at + 6)) === 'ff5443478018');

/** Throws `bad-file`. */
export function parseTpmAttest(given: Uint8Array, what = 'TPM quote'): TpmAttest {
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  if (given.length > MAX_ATTEST_BYTES)
    refuse(`expected at most ${MAX_ATTEST_BYTES} bytes, got ${given.length}`);
  const bytes = given[0] === GENERATED >>> 24 ? given : sizedWhole(given, what);
  const reader = createReader(bytes, what);
  if (big(reader, 4) !== GENERATED) refuse('expected TPM_GENERATED_VALUE: no TPM made this');
  const type = big(reader, 2);
  if (type !== ATTEST_QUOTE) refuse(`expected a quote (0x8018), got 0x${type.toString(16)}`);
  const qualifiedSigner = sized(reader, MAX_NAME_BYTES, `${what}: signer`);
  const extraData = sized(reader, MAX_NAME_BYTES, `${what}: extra data`);
  const clock = big64(reader);
  const resetCount = big(reader, 4);
  const restartCount = big(reader, 4);
  const safe = big(reader, 1);
  if (safe > 1) refuse('clock: expected safe to be 0 or 1');
  const firmwareVersion = big64(reader);
  const count = big(reader, 4);
  if (count < 1 || count > MAX_SELECTIONS) refuse(`expected 1 to ${MAX_SELECTIONS} PCR banks, got ${count}`);
  const selection = Array.from({ length: count }, () => {
    const algorithm = big(reader, 2);
    const bank = BANKS.get(algorithm) ?? refuse(`PCR bank 0x${algorithm.toString(16)} is not taken`);
    const size = big(reader, 1);
    if (size > MAX_SELECT_BYTES) refuse(`expected at most ${8 * MAX_SELECT_BYTES} PCRs`);
    const bits = reader.take(size);
    const indices = Array.from({ length: 8 * size }, (_, i) => i).filter(
      (i) => (bits[i >> 3]! >> (i & 7)) & 1,
    );
    return { bank, indices };
  });
  if (new Set(selection.map(({ bank }) => bank)).size !== count) refuse('expected each PCR bank once');
  if (selection.every(({ indices }) => indices.length === 0)) refuse('expected at least one PCR');
  const pcrDigest = sized(reader, 64, `${what}: PCR digest`);
  reader.end();
  return {
    bytes,
    qualifiedSigner,
    extraData,
    clock,
    resetCount,
    restartCount,
    safe: safe === 1,
    firmwareVersion,
    selection,
    pcrDigest,
  };
}

function sizedWhole(bytes: Uint8Array, what: string): Uint8Array {
  const reader = createReader(bytes, what);
  const value = sized(reader, MAX_ATTEST_BYTES, what);
  reader.end();
  return value;
}

export interface TpmSignature {
  readonly scheme: 'RSASSA' | 'RSAPSS' | 'ECDSA' | 'SM2';
  readonly hash: PcrBank;
  /** RSA: the number; else r and s, as short as the TPM wrote them */
  readonly parts: readonly Uint8Array[];
}

const SCHEMES: ReadonlyMap<number, TpmSignature['scheme']> = new Map([
  [0x14, 'RSASSA'],
  [0x16, 'RSAPSS'],
  [0x18, 'ECDSA'],
  [0x1b, 'SM2'],
]);

/** TPMT_SIGNATURE; throws `bad-file`. */
export function parseTpmSignature(bytes: Uint8Array): TpmSignature {
  const what = 'TPM signature';
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  if (bytes.length > MAX_TPM_SIGNATURE_BYTES)
    refuse(`expected at most ${MAX_TPM_SIGNATURE_BYTES} bytes, got ${bytes.length}`);
  const reader = createReader(bytes, what);
  const scheme = SCHEMES.get(big(reader, 2)) ?? refuse('expected RSASSA, RSAPSS, ECDSA or SM2');
  const hash = BANKS.get(big(reader, 2)) ?? refuse('expected SHA-2 or SM3');
  if ((scheme === 'SM2') !== (hash === 'sm3_256')) refuse(`${scheme} does not go with ${hash}`);
  const parts = scheme.startsWith('RSA')
    ? [sized(reader, 1024, what)]
    : [sized(reader, 66, what), sized(reader, 66, what)];
  reader.end();
  return { scheme, hash, parts };
}

/** Whether bytes are one, exactly. */
export function isTpmSignature(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0 || !SCHEMES.has(bytes[1]!) || bytes.length > MAX_TPM_SIGNATURE_BYTES) return false;
  try {
    parseTpmSignature(bytes);
    return true;
  } catch {
    return false;
  }
}
