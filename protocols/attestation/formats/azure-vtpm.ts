/**
 * Reads the file in which the Rust library az-cvm-vtpm keeps a quote of a vTPM (github.com/kinvolk/azure-cvm-tooling,
 * `Quote` as bincode): the RSASSA signature and the TPMS_ATTEST, each with its length in eight bytes, then the number of
 * PCRs and their SHA-256 values.
 */
import { VouchError } from '../../errors.ts';
import type { Contents } from '../file-kinds.ts';
import { MAX_ATTEST_BYTES } from '../limits.ts';
import { parsedOnce } from '../parsed.ts';
import { createReader } from '../reader.ts';
import { isTpmAttest } from './tpm-attest.ts';
import { mayBeRawSignature, rawRsaSignature } from './tpm-signature.ts';

const PCR_BYTES = 32;
const MAX_PCRS = 24;

/** Lengths are below 65536 in what is taken here. */
const lengthAt = (bytes: Uint8Array, at: number): number => {
  const [low = 0, high = 0, ...rest] = bytes.subarray(at, at + 8);
  return rest.length === 6 && rest.every((byte) => byte === 0) ? low + 256 * high : -1;
};

export function isVtpmQuote(bytes: Uint8Array): boolean {
  const signature = lengthAt(bytes, 0);
  if (signature < 0 || !mayBeRawSignature(bytes.subarray(8, 8 + signature))) return false;
  const attest = lengthAt(bytes, 8 + signature);
  return attest > 0 && isTpmAttest(bytes.subarray(16 + signature, 16 + signature + attest));
}

/** Throws `bad-file`. */
export function parseVtpmQuote(bytes: Uint8Array): Contents {
  const what = 'vTPM quote';
  const { take, uint, end } = createReader(bytes, what);
  const length = (most: number): number => {
    const size = uint(6);
    if (size > most || uint(2) !== 0)
      throw new VouchError('bad-file', `${what}: expected lengths up to ${most}`);
    return size;
  };
  const signature = take(length(512));
  const message = take(length(MAX_ATTEST_BYTES));
  const values = Array.from({ length: length(MAX_PCRS) }, () => take(PCR_BYTES));
  end();
  return {
    evidence: [{ format: 'tpm', bytes: message }],
    tpmSignatures: [parsedOnce(() => rawRsaSignature(signature))],
    pcrs: [new Map([['sha256', new Map(values.map((value, index) => [index, value]))]])],
  };
}
