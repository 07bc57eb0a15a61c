/**
 * Sorts files by what they hold, whatever they are called: evidence, and what belongs to it. Binary formats may
 * come as hex or base64 text, as tools print them. Only the outer form is looked at: nothing here says that anything is
 * genuine.
 *
 * Every kind of file is one row of one table: what is known and refused (unread-formats.ts), the formats of evidence
 * (formats/registry.ts), then what evidence travels in and what belongs to it. No two rows recognise the same bytes.
 */
import { messageOf, VouchError } from '../errors.ts';
import type { BoundFacts } from './binding-recipes.ts';
import type { Collateral } from './collateral.ts';
import { COLLATERAL_KINDS, isEmptyTable, readTable } from './collateral-files.ts';
import { isDstackAttestation } from './dstack-attestation.ts';
import { hclContents } from './evidence-azure.ts';
import { dstackContents, isEvidenceJson, JSON_KINDS } from './evidence-json.ts';
import { type Contents, contentOf, type FileKind, type NamedBytes } from './file-kinds.ts';
import { isHclReport } from './formats/azure-hcl.ts';
import { isVtpmQuote, parseVtpmQuote } from './formats/azure-vtpm.ts';
import type { Evidence, Format } from './formats/format.ts';
import { mergeCollateral, NO_COLLATERAL } from './formats/intel-collateral.ts';
import { deviceEvidenceIn, isDeviceEvidence } from './formats/nvidia-evidence-list.ts';
import { FORMATS } from './formats/registry.ts';
import { isCertificateTable, isSnpReport, SNP_REPORT_BYTES } from './formats/sev-snp-report.ts';
import { isSnpResponse, reportInResponse } from './formats/sev-snp-response.ts';
import { joined } from './json-fields.ts';
import type { SecondOpinion, ServiceKey } from './nras.ts';
import type { Parsed } from './parsed.ts';
import { isUnread, UNREAD_FORMATS } from './unread-formats.ts';

export { type Content, contentOf, type FileKind, type NamedBytes } from './file-kinds.ts';

/** Files by what they hold, in the order in which they came. */
export interface SortedFiles extends Collateral {
  readonly evidence: readonly Evidence[];
  /** what the CPU's report data is said to bind, and by which rule */
  readonly facts?: BoundFacts | undefined;
  /** machines whose evidence came in one file, each with what belongs to it */
  readonly machines: readonly { readonly name: string; readonly files: SortedFiles }[];
  /** what NVIDIA's service found, and the keys that it signs with */
  readonly opinions: readonly Parsed<SecondOpinion>[];
  readonly serviceKeys: readonly ServiceKey[];
  /** what is neither evidence nor belongs to it, and why */
  readonly unknown: readonly { readonly name: string; readonly reason: string }[];
}

const formats: readonly FileKind[] = Object.entries<Format>(FORMATS).map(([format, row]) => ({
  name: format,
  evidence: true,
  title: `evidence of ${row.title}`,
  recognise: (content) => row.recognise(content.bytes) && !isUnread(content),
  read: ({ bytes }) => {
    if (row.notInFiles !== undefined) throw new VouchError('bad-input', row.notInFiles);
    return { evidence: [{ format, bytes }] };
  },
}));

/** What evidence travels in. */
const containers: readonly FileKind[] = [
  {
    name: 'sev-snp-with-certificates',
    evidence: true,
    title: 'an SNP report followed by its certificates, as a guest gets them when it asks for both',
    recognise: ({ bytes }) =>
      isSnpReport(bytes.subarray(0, SNP_REPORT_BYTES)) &&
      (isCertificateTable(bytes.subarray(SNP_REPORT_BYTES)) ||
        isEmptyTable(bytes.subarray(SNP_REPORT_BYTES))),
    read: ({ bytes }) => ({
      ...readTable(bytes.subarray(SNP_REPORT_BYTES)),
      evidence: [{ format: 'sev-snp', bytes: bytes.subarray(0, SNP_REPORT_BYTES) }],
    }),
  },
  {
    name: 'sev-snp-response',
    evidence: true,
    title: 'the answer of /dev/sev-guest with an SNP report in it',
    recognise: ({ bytes }) => isSnpResponse(bytes),
    read: ({ bytes }) => ({ evidence: [{ format: 'sev-snp', bytes: reportInResponse(bytes) }] }),
  },
  {
    name: 'azure-hcl-report',
    evidence: true,
    title: "an Azure confidential VM's HCL report, out of its vTPM",
    recognise: ({ bytes }) => isHclReport(bytes),
    read: ({ bytes }) => hclContents(bytes),
  },
  {
    name: 'azure-vtpm-quote',
    evidence: true,
    title: 'a quote of a vTPM with its signature and PCR values, as az-cvm-vtpm writes it',
    recognise: ({ bytes }) => isVtpmQuote(bytes),
    read: ({ bytes }) => parseVtpmQuote(bytes),
  },
  {
    name: 'dstack-attestation',
    evidence: true,
    title: "dstack's own attestation of version 0",
    recognise: ({ bytes }) => isDstackAttestation(bytes),
    read: ({ bytes }) => dstackContents(bytes),
  },
  {
    name: 'nvidia-evidence-file',
    evidence: true,
    title: "evidence of GPUs and switches with its certificates, as NVIDIA's tools write it",
    recognise: (content) =>
      isDeviceEvidence(content.json()) && !isEvidenceJson(content) && !isUnread(content),
    read: ({ json }) => ({ evidence: deviceEvidenceIn(json()) }),
  },
  ...JSON_KINDS.map((kind) => ({
    ...kind,
    recognise: (content: Parameters<FileKind['recognise']>[0]) =>
      kind.recognise(content) && !isUnread(content),
  })),
];

/** In the order in which they are tried. */
export const FILE_KINDS: readonly FileKind[] = [
  ...UNREAD_FORMATS,
  ...formats,
  ...containers,
  ...COLLATERAL_KINDS,
];

/** What kind of file bytes are, by their outer form; undefined for what is neither evidence nor belongs to it. */
export const kindOf = (bytes: Uint8Array): FileKind | undefined => {
  const content = contentOf(bytes);
  return FILE_KINDS.find(({ recognise }) => recognise(content));
};

/** Never throws for what the files hold. */
export function sortFiles(files: readonly NamedBytes[]): SortedFiles {
  const unknown: SortedFiles['unknown'][number][] = [];
  const machines: SortedFiles['machines'][number][] = [];
  const all: Contents[] = [];
  for (const { name, bytes } of files) {
    try {
      const { machines: whole = [], ...contents } = readFile(contentOf(bytes));
      all.push(contents);
      for (const [i, one] of whole.entries()) {
        machines.push({ name: whole.length > 1 ? `${name}, ${i + 1}` : name, files: collected(one) });
      }
    } catch (error) {
      if (!(error instanceof VouchError)) throw error;
      unknown.push({ name, reason: messageOf(error) });
    }
  }
  return { ...collected(joined(all)), machines, unknown };
}

/** With empty lists for what is absent. */
function collected(contents: Contents): SortedFiles {
  const { crls = [], certificates = [], intel = NO_COLLATERAL } = contents;
  return {
    evidence: [],
    opinions: [],
    serviceKeys: [],
    ocsp: [],
    keys: [],
    pcrs: [],
    tpmSignatures: [],
    eventLogs: [],
    manifests: [],
    endorsements: [],
    provenances: [],
    runtimes: [],
    ...contents,
    certificates,
    crls,
    intel: mergeCollateral(intel, { ...NO_COLLATERAL, crls, certificates }),
    machines: [],
    unknown: [],
  };
}

function readFile(content: ReturnType<typeof contentOf>): Contents {
  const kind = FILE_KINDS.find(({ recognise }) => recognise(content));
  if (kind !== undefined) return kind.read(content);
  const reason = content.bytes.length === 0 ? 'the file is empty' : 'neither evidence nor what belongs to it';
  throw new VouchError('bad-input', reason);
}
