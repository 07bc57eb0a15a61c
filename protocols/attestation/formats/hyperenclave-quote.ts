/**
 * Reads HyperEnclave's quotes (github.com/HyperEnclave/hyperenclave, src/enclave/report.rs): an SGX-style header and
 * report body, the TPM's quote, their signatures, and the certificate of the TPM's key. Nothing is verified here.
 *
 *     0 header (48)   48 report body (384)   432 length of what follows, u32 little-endian
 *   436 SM2 r || s over the report body, signer's name 01..0E
 *   500 hypervisor key x || y   564 TPMS_ATTEST (147)   711 SM2 r || s over SM3 of it   775 certificate (DER), or none
 *
 * The structure's own comment puts the certificate at 776; both places are read, byte 775 being zero then.
 */
import { concat, hex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { type Certificate, parseCertificate } from '../certificate.ts';
import { readDer, TAG } from '../der.ts';
import { MAX_HYPERENCLAVE_BYTES } from '../limits.ts';
import { type Parsed, parsedOnce } from '../parsed.ts';
import { createReader } from '../reader.ts';
import { parseSgxReport, type SgxReport } from './intel-quote.ts';
import { parseTpmAttest, type TpmAttest } from './tpm-attest.ts';

export const VERSION = 1;
const SIGN_TYPE = 4;
const HEADER_BYTES = 48;
const REPORT_BYTES = 384;
const SM2_BYTES = 64;
const ATTEST_BYTES = 147;
const LEAST_BYTES = HEADER_BYTES + REPORT_BYTES + 4 + 3 * SM2_BYTES + ATTEST_BYTES;

export interface HyperEnclaveQuote {
  readonly report: SgxReport;
  readonly signature: Uint8Array;
  /** 0x04 || x || y */
  readonly hypervisorKey: Uint8Array;
  readonly attest: TpmAttest;
  readonly attestSignature: Uint8Array;
  /** of the attestation key, where the quote holds it */
  readonly certificate?: Parsed<Certificate>;
}

/** Whether bytes begin like one. */
export const isHyperEnclaveQuote = (bytes: Uint8Array): boolean =>
  bytes.length >= LEAST_BYTES &&
  bytes.length <= MAX_HYPERENCLAVE_BYTES &&
  hex(bytes.subarray(0, 4)) === '01000400' &&
  hex(bytes.subarray(564, 570)) === 'ff5443478018';

/** Throws `bad-file`, or `bad-version` for a version or type of signature that is not known. */
export function parseHyperEnclaveQuote(bytes: Uint8Array): HyperEnclaveQuote {
  const what = 'HyperEnclave quote';
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  if (bytes.length > MAX_HYPERENCLAVE_BYTES) {
    refuse(`expected at most ${MAX_HYPERENCLAVE_BYTES} bytes, got ${bytes.length}`);
  }
  const { take, uint, zeros, left, end } = createReader(bytes, what);
  const version = uint(2);
  const signType = uint(2);
  if (version !== VERSION || signType !== SIGN_TYPE) {
    throw new VouchError(
      'bad-version',
      `${what}: expected version ${VERSION} with signature type ${SIGN_TYPE}, got ${version} with ${signType}`,
    );
  }
  // No signature covers the header, and the hypervisor writes nothing else into it.
  zeros(HEADER_BYTES - 4);
  const report = parseSgxReport(take(REPORT_BYTES));
  const declared = uint(4);
  if (declared > left()) refuse(`expected ${declared} bytes of signature, got ${left()}`);
  const padding = left() - declared;
  const signature = take(SM2_BYTES);
  const hypervisorKey = concat(Uint8Array.of(4), take(SM2_BYTES));
  const attest = parseTpmAttest(take(ATTEST_BYTES), `${what}: TPM quote`);
  if (attest.bytes.length !== ATTEST_BYTES) refuse(`TPM quote: expected ${ATTEST_BYTES} bytes`);
  const attestSignature = take(SM2_BYTES);
  const rest = left() - padding;
  if (rest < 0) refuse(`expected at least ${LEAST_BYTES - 436} bytes of signature, got ${declared}`);
  const tail = take(rest);
  const der = tail[0] === 0 ? tail.subarray(1) : tail;
  // The buffer is larger than the quote.
  zeros(padding);
  end();
  if (der.length > 0) readDer(der, `${what}: certificate`, TAG.sequence);
  return {
    report,
    signature,
    hypervisorKey,
    attest,
    attestSignature,
    ...(der.length > 0 ? { certificate: parsedOnce(() => parseCertificate(der)) } : {}),
  };
}
