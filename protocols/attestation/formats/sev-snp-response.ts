/**
 * The answer of /dev/sev-guest to a request for a report, as tools dump it: struct snp_report_resp of the Linux kernel
 * around MSG_REPORT_RSP (AMD 56860), a header of 32 bytes, the report, and zeros up to the buffer's size.
 */
import { isSnpReport, SNP_REPORT_BYTES } from './sev-snp-report.ts';

/** In front of a report in the answer of /dev/sev-guest: status, size and reserved bytes (struct snp_report_resp). */
const SNP_RESPONSE_BYTES = 32;
const MAX_SNP_RESPONSE_BYTES = 4096;
export const reportInResponse = (bytes: Uint8Array): Uint8Array =>
  bytes.subarray(SNP_RESPONSE_BYTES, SNP_RESPONSE_BYTES + SNP_REPORT_BYTES);
export const isSnpResponse = (bytes: Uint8Array): boolean =>
  bytes.length >= SNP_RESPONSE_BYTES + SNP_REPORT_BYTES &&
  bytes.length <= MAX_SNP_RESPONSE_BYTES &&
  bytes[4]! + 256 * bytes[5]! === SNP_REPORT_BYTES &&
  bytes.subarray(0, SNP_RESPONSE_BYTES).every((byte, at) => byte === 0 || at === 4 || at === 5) &&
  bytes.subarray(SNP_RESPONSE_BYTES + SNP_REPORT_BYTES).every((byte) => byte === 0) &&
  isSnpReport(reportInResponse(bytes));
