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
import {
  isDer,
  isPublicKeyDer,
  looksLikeRevocationList,
  parseCertificate,
  parsePublicKey,
  parseRevocationList,
  readPem,
  splitCertificates,
} from './certificate.ts';
import type { Collateral } from './collateral.ts';
import { isDstackAttestation } from './dstack-attestation.ts';
import { hclContents } from './evidence-azure.ts';
import { dstackContents, isEvidenceJson, JSON_KINDS } from './evidence-json.ts';
import { type Contents, contentOf, type FileKind, type NamedBytes } from './file-kinds.ts';
import { isHclReport } from './formats/azure-hcl.ts';
import { isVtpmQuote, parseVtpmQuote } from './formats/azure-vtpm.ts';
import { looksLikeEventLog } from './formats/eventlog.ts';
import { isJsonLog } from './formats/eventlog-json.ts';
import type { Evidence, Format } from './formats/format.ts';
import { mergeCollateral, NO_COLLATERAL, readIntelCollateral } from './formats/intel-collateral.ts';
import { deviceEvidenceIn, isDeviceEvidence } from './formats/nvidia-evidence-list.ts';
import { FORMATS } from './formats/registry.ts';
import { isRim, parseRim } from './formats/rim.ts';
import {
  isCertificateTable,
  isSnpReport,
  parseCertificateTable,
  SNP_REPORT_BYTES,
} from './formats/sev-snp-report.ts';
import { isSnpResponse, reportInResponse } from './formats/sev-snp-response.ts';
import { isPcrText, parsePcrs } from './formats/tpm-pcrs.ts';
import {
  isQuoteSignature,
  mayBeRawSignature,
  parseQuoteSignature,
  rawRsaSignature,
} from './formats/tpm-signature.ts';
import { joined } from './json-fields.ts';
import {
  looksLikeKeySet,
  looksLikeNrasTokens,
  parseKeySet,
  parseNrasTokens,
  type SecondOpinion,
  type ServiceKey,
} from './nras.ts';
import { looksLikeOcspResponse, type OcspResponse, parseOcspResponse } from './ocsp.ts';
import { type Parsed, parsedOnce } from './parsed.ts';
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

const collateral: readonly FileKind[] = [
  {
    name: 'event-log',
    evidence: false,
    title: "a TD's event log, as firmware or dstack keeps it",
    recognise: ({ bytes, json }) => looksLikeEventLog(bytes) || isJsonLog(json()),
    read: ({ bytes }) => ({ eventLogs: [bytes] }),
  },
  {
    name: 'ccel-table',
    evidence: false,
    title: 'the ACPI table that says where firmware keeps the event log: nothing to verify in it',
    recognise: ({ bytes }) => bytes.length === CCEL_TABLE_BYTES && startsWith(bytes, 'CCEL'),
    read: () => ({}),
  },
  {
    name: 'sev-snp-certificates',
    evidence: false,
    title: "AMD's certificates and CRLs in a host's table",
    recognise: ({ bytes }) => isCertificateTable(bytes),
    read: ({ bytes }) => readTable(bytes),
  },
  {
    name: 'tpm-signature',
    evidence: false,
    title: 'the signature of a TPM quote',
    recognise: ({ bytes }) => isQuoteSignature(bytes),
    read: ({ bytes }) => ({ tpmSignatures: [parsedOnce(() => parseQuoteSignature(bytes))] }),
  },
  {
    name: 'rim',
    evidence: true,
    title: 'a reference integrity manifest',
    recognise: ({ bytes }) => isRim(bytes),
    read: ({ bytes }) => ({ manifests: [parsedOnce(() => parseRim(bytes))] }),
  },
  {
    name: 'ocsp',
    evidence: false,
    title: "an OCSP response: a vendor's word on single certificates",
    recognise: ({ bytes }) => looksLikeOcspResponse(bytes),
    read: ({ bytes }) => readOcsp([bytes]),
  },
  {
    name: 'crl',
    evidence: false,
    title: 'a list of revoked certificates as DER',
    recognise: ({ bytes }) => looksLikeRevocationList(bytes),
    read: ({ bytes }) => readCertificates([], [bytes]),
  },
  {
    name: 'certificates',
    evidence: false,
    title: 'certificates as DER',
    recognise: ({ bytes }) =>
      isDer(bytes) &&
      !looksLikeRevocationList(bytes) &&
      !looksLikeOcspResponse(bytes) &&
      !isPublicKeyDer(bytes) &&
      !isQuoteSignature(bytes),
    read: ({ bytes }) => readCertificates(splitCertificates(bytes), []),
  },
  {
    name: 'public-key',
    evidence: false,
    title: 'a public key as DER, as tpm2_readpublic writes it',
    recognise: ({ bytes }) => isPublicKeyDer(bytes),
    read: ({ bytes }) => ({ keys: [parsePublicKey(bytes)] }),
  },
  {
    name: 'nras-tokens',
    evidence: false,
    title: "what NVIDIA's attestation service found: a second opinion beside reports of GPUs",
    recognise: ({ text }) => looksLikeNrasTokens(text() ?? ''),
    read: ({ text }) => {
      const opinion = parseNrasTokens(text() ?? '');
      return { opinions: [() => opinion] };
    },
  },
  {
    name: 'jwk-set',
    evidence: false,
    title: 'keys that an attestation service signs with',
    recognise: ({ text }) => looksLikeKeySet(text() ?? ''),
    read: ({ text }) => ({ serviceKeys: parseKeySet(text() ?? '') }),
  },
  {
    name: 'pcrs',
    evidence: false,
    title: 'PCR values',
    recognise: ({ text }) => isPcrText(text() ?? ''),
    read: ({ text }) => ({ pcrs: [parsePcrs(text() ?? '')] }),
  },
  {
    name: 'json',
    evidence: false,
    title: "JSON, of which Intel's statements about platforms are read",
    recognise: (content) =>
      content.text()?.startsWith('{') === true &&
      !isPcrText(content.text() ?? '') &&
      !looksLikeKeySet(content.text() ?? '') &&
      !isEvidenceJson(content) &&
      !isDeviceEvidence(content.json()) &&
      !isUnread(content),
    read: ({ text }) => {
      const intel = readIntelCollateral(text() ?? '');
      if (intel === undefined) throw new VouchError('bad-input', 'JSON that is no collateral known here');
      return { intel };
    },
  },
  {
    // Text only, so that damaged evidence which happens to hold PEM does not pass for it.
    name: 'pem',
    evidence: false,
    title: 'certificates, CRLs, OCSP responses or keys as PEM',
    recognise: ({ text }) =>
      text()?.includes('-----BEGIN ') === true && !/^[{[]/.test(text() ?? '') && !isPcrText(text() ?? ''),
    read: ({ text }) => readPemText(text() ?? ''),
  },
  {
    // Its length is all that it can be told by, so it comes last.
    name: 'rsa-signature',
    evidence: false,
    title: 'what has the length of an RSA signature',
    recognise: (content) =>
      mayBeRawSignature(content.bytes) &&
      content.text() === undefined &&
      !isUnread(content) &&
      !MARKED.some((looks) => looks(content.bytes)),
    read: ({ bytes }) => ({ tpmSignatures: [parsedOnce(() => rawRsaSignature(bytes))] }),
  },
];

/** What is known by its first bytes, however long it is. */
const MARKED: readonly ((bytes: Uint8Array) => boolean)[] = [
  ...Object.values<Format>(FORMATS).map(({ recognise }) => recognise),
  isHclReport,
  isVtpmQuote,
  isCertificateTable,
  isQuoteSignature,
  isRim,
  isDer,
  looksLikeEventLog,
];

/** In the order in which they are tried. */
export const FILE_KINDS: readonly FileKind[] = [...UNREAD_FORMATS, ...formats, ...containers, ...collateral];

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

function readPemText(text: string): Contents {
  const keys = readPem(text, 'PUBLIC KEY', 'keys').map((der) => parsePublicKey(der));
  const certificates = readPem(text, 'CERTIFICATE', 'certificates');
  const crls = readPem(text, 'X509 CRL', 'CRLs');
  const own = { keys, ...readOcsp(readPem(text, 'OCSP RESPONSE', 'OCSP responses')) };
  if (keys.length + own.ocsp.length > 0 && certificates.length + crls.length === 0) return own;
  return { ...own, ...readCertificates(certificates, crls) };
}

/** Every one of them has to be well-formed. */
function readOcsp(ders: readonly Uint8Array[]): { ocsp: readonly Parsed<OcspResponse>[] } {
  const ocsp = ders.map((der) => parsedOnce(() => parseOcspResponse(der)));
  for (const response of ocsp) response();
  return { ocsp };
}

function readTable(bytes: Uint8Array): Contents {
  const { certificates, crls } = parseCertificateTable(bytes);
  // A host may have none, and what else it hands out is passed over.
  return certificates.length + crls.length === 0 ? {} : readCertificates(certificates, crls);
}

/** Every one of them has to be well-formed. */
function readCertificates(ders: readonly Uint8Array[], lists: readonly Uint8Array[]): Contents {
  if (ders.length + lists.length === 0) {
    throw new VouchError('bad-input', 'PEM that holds neither certificates nor CRLs');
  }
  const certificates = ders.map((der) => parseCertificate(der));
  const crls = lists.map((der) => parsedOnce(() => parseRevocationList(der)));
  for (const list of crls) list();
  return { certificates, crls };
}

const CCEL_TABLE_BYTES = 56;

/** A host that hands out no certificates ends its table where it starts. */
const isEmptyTable = (bytes: Uint8Array): boolean =>
  bytes.length >= 24 && bytes.length % 8 === 0 && bytes.every((byte) => byte === 0);

const startsWith = (bytes: Uint8Array, text: string): boolean =>
  String.fromCharCode(...bytes.subarray(0, text.length)) === text;
