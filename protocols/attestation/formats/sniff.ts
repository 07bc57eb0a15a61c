/**
 * Says by its content what a file of AMD, NVIDIA, TPM or HyperEnclave evidence is, so that files can be given in any order. A guess
 * from the outer form only: whatever it says, the reader of that kind still checks everything.
 */
import { sniffCertificates } from '../certificate.ts';
import { isHyperEnclaveQuote } from './hyperenclave.ts';
import { isGpuEvidenceFile, isGpuReport, isSwitchReport } from './nvidia-report.ts';
import { isRim } from './rim.ts';
import { isCertificateTable, isSnpReport, SNP_REPORT_BYTES } from './sev-snp-report.ts';
import { isTpmAttest, isTpmSignature } from './tpm-quote.ts';

export type EvidenceKind =
  | 'snp-report'
  | 'snp-extended-report'
  | 'snp-certificate-table'
  | 'gpu-report'
  | 'switch-report'
  | 'gpu-evidence-file'
  | 'rim'
  | 'tpm-quote'
  | 'tpm-signature'
  | 'hyperenclave-quote'
  | 'certificates'
  | 'crl';

/** The kind of a file; undefined for any other. Never throws. */
export function sniff(bytes: Uint8Array): EvidenceKind | undefined {
  if (isSnpReport(bytes)) return 'snp-report';
  if (
    isSnpReport(bytes.subarray(0, SNP_REPORT_BYTES)) &&
    isCertificateTable(bytes.subarray(SNP_REPORT_BYTES))
  ) {
    return 'snp-extended-report';
  }
  if (isCertificateTable(bytes)) return 'snp-certificate-table';
  if (isSwitchReport(bytes)) return 'switch-report';
  if (isGpuReport(bytes)) return 'gpu-report';
  if (isHyperEnclaveQuote(bytes)) return 'hyperenclave-quote';
  if (isTpmAttest(bytes)) return 'tpm-quote';
  if (isTpmSignature(bytes)) return 'tpm-signature';
  if (isRim(bytes)) return 'rim';
  if (isGpuEvidenceFile(bytes)) return 'gpu-evidence-file';
  return sniffCertificates(bytes);
}
