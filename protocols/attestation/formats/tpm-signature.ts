/**
 * Signatures of TPM quotes that travel without their structure: the number of RSASSA alone, as clients of Azure's vTPM
 * and `tpm2_quote -f plain` write it. The hash is that of the TPM's own default template, SHA-256.
 */
import { VouchError } from '../../errors.ts';
import { isTpmSignature, parseTpmSignature, type TpmSignature } from './tpm-attest.ts';

/** Moduli of 2048, 3072 and 4096 bits. */
const RSA_BYTES = [256, 384, 512];

/** Whether bytes may be one: nothing but their length says so. */
export const mayBeRawSignature = (bytes: Uint8Array): boolean => RSA_BYTES.includes(bytes.length);

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
