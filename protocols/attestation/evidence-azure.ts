/**
 * Evidence of Azure's confidential VMs, unwrapped: the HCL report as the vTPM keeps it, the JSON in which clients put it
 * together with a quote (github.com/confidential-containers/trustee), requests to Microsoft Azure Attestation, and the
 * certificates that Azure's metadata service hands out.
 */
import type { Contents } from './file-kinds.ts';
import { isHclReport, parseHclReport, runtimeDataOf } from './formats/azure-hcl.ts';
import { isTpmAttest } from './formats/tpm-attest.ts';
import { rawRsaSignature } from './formats/tpm-signature.ts';
import {
  bytesIn,
  certificatesIn,
  cpuEvidence,
  type Fields,
  fieldsOf,
  isAbsent,
  machine,
  nested,
  optionalBytes,
  refuse,
} from './json-fields.ts';
import { parsedOnce } from './parsed.ts';
import { bytesOfJson } from './text-bytes.ts';

/** The quote of a vTPM as clients write it down: {message, signature, pcrs}. */
function vtpmQuote(value: unknown, what: string): Contents {
  const fields = fieldsOf(value) ?? refuse(what, 'expected message, signature and pcrs');
  const message = bytesIn(fields, 'message', what);
  if (!isTpmAttest(message)) return refuse(what, 'message: expected a TPM quote');
  const signature = bytesIn(fields, 'signature', what);
  const { pcrs } = fields;
  if (!Array.isArray(pcrs) || pcrs.length === 0 || pcrs.length > 24) {
    return refuse(what, 'pcrs: expected 1 to 24 values');
  }
  const values = pcrs.map((pcr: unknown) => bytesOfJson(pcr, 64));
  if (values.some((value) => value?.length !== 32)) return refuse(what, 'pcrs: expected values of 32 bytes');
  return {
    evidence: [{ format: 'tpm', bytes: message }],
    tpmSignatures: [parsedOnce(() => rawRsaSignature(signature))],
    pcrs: [new Map([['sha256', new Map(values.map((value, index) => [index, value!]))]])],
  };
}

/** github.com/confidential-containers/trustee, deps/verifier: evidence of Azure's confidential VMs, versions 0 to 2. */
export function readAzure(fields: Fields): Contents {
  const what = 'Azure evidence';
  const report = bytesIn(fields, Object.hasOwn(fields, 'hcl_report') ? 'hcl_report' : 'report', what);
  if (!isHclReport(report)) return refuse(what, 'expected an HCL report');
  const attested = fields.tpm_quote ?? fields.quote;
  return machine(
    hclContents(report),
    isAbsent(attested) ? {} : vtpmQuote(attested, `${what}: quote of the vTPM`),
    isAbsent(fields.vcek) ? {} : certificatesIn(fields.vcek, `${what}: vcek`),
    isAbsent(fields.td_quote) ? {} : { evidence: [cpuEvidence(bytesIn(fields, 'td_quote', what), what)] },
  );
}

/** What an HCL report holds: the CPU's report, where a verifier can use it, and the runtime data that it binds. */
export function hclContents(bytes: Uint8Array): Contents {
  const { snpReport, runtime } = parseHclReport(bytes);
  return {
    evidence: snpReport === undefined ? [] : [{ format: 'sev-snp', bytes: snpReport }],
    runtimes: [runtime],
  };
}

/** Requests to Microsoft Azure Attestation (REST API, "Attestation"): evidence and the runtime data that it binds. */
export function readAzureRequest(fields: Fields): Contents {
  const what = 'Azure attestation request';
  const data = fieldsOf(fields.runtimeData) ?? refuse(what, 'expected runtimeData');
  const runtime = runtimeDataOf(bytesIn(data, 'data', what));
  if (Object.hasOwn(fields, 'quote')) {
    return machine({ evidence: [cpuEvidence(bytesIn(fields, 'quote', what), what)], runtimes: [runtime] });
  }
  const packed = new TextDecoder().decode(bytesIn(fields, 'report', what));
  const report = fieldsOf(nested(packed, what)) ?? refuse(what, 'report: expected SnpReport');
  const chain = optionalBytes(report, 'VcekCertChain', what);
  return machine(
    { evidence: [cpuEvidence(bytesIn(report, 'SnpReport', what), what)], runtimes: [runtime] },
    chain === undefined ? {} : certificatesIn(new TextDecoder().decode(chain), `${what}: VcekCertChain`),
  );
}

/** What Azure's metadata service answers at /metadata/THIM/amd/certification. */
export const readAzureCertificates = (fields: Fields): Contents =>
  certificatesIn(`${String(fields.vcekCert)}\n${String(fields.certificateChain ?? '')}`, 'Azure THIM');
