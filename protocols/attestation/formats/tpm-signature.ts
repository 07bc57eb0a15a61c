/**
 * Signatures of TPM quotes that travel without their structure, as clients of Azure's vTPM and `tpm2_quote -f plain`
 * write them: the number of RSASSA alone, or DER of ECDSA's two. They do not say the hash: SHA-256, and SHA-384 for a
 * curve of 384 bits, as the default templates have it.
 */

import { VouchError } from '../../errors.ts';
import { fromDerSignature } from '../signature.ts';
import { isTpmSignature, parseTpmSignature, type TpmSignature } from './tpm-attest.ts';

/** Moduli of 2048, 3072 and 4096 bits. */
const RSA_BYTES = [256, 384, 512];

/** Whether bytes may be one: nothing but their length says so. */
export const mayBeRawSignature = (bytes: Uint8Array): boolean => RSA_BYTES.includes(bytes.length);

/** ECDSA's numbers as DER; undefined for anything else. */
function derSignature(bytes: Uint8Array): TpmSignature | undefined {
  for (const [hash, size] of [
    ['sha256', 32],
    ['sha384', 48],
  ] as const) {
    const raw = fromDerSignature(bytes, size);
    if (raw !== undefined)
      return { scheme: 'ECDSA', hash, parts: [raw.subarray(0, size), raw.subarray(size)] };
  }
  return undefined;
}

/** Whether bytes are a TPM's signature, with its structure or as DER. */
export const isQuoteSignature = (bytes: Uint8Array): boolean =>
  isTpmSignature(bytes) || derSignature(bytes) !== undefined;

/** Reads one; throws `bad-file`. */
export const parseQuoteSignature = (bytes: Uint8Array): TpmSignature =>
  derSignature(bytes) ?? parseTpmSignature(bytes);

/** A signature with its structure, or the number alone; throws `bad-file`. */
export function rawRsaSignature(bytes: Uint8Array): TpmSignature {
  if (isTpmSignature(bytes)) return parseTpmSignature(bytes);
  if (!mayBeRawSignature(bytes)) {
    throw new VouchError(
      'bad-file',
      `TPM signature: expected ${RSA_BYTES.join(', ')} bytes, got ${bytes.length}`,
    );
  }
  return { scheme: 'RSASSA', hash: 'sha256', parts: [bytes] };
}
