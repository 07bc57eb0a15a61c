/**
 * Sorts files by what they hold, whatever they are called: evidence, and what belongs to it. Binary formats may
 * come as hex or base64 text, as tools print them. Only the outer form is looked at: nothing here says that anything is
 * genuine.
 *
 * Every kind of file is one row of one table: the formats of evidence (formats/registry.ts), then what evidence travels
 * in and what belongs to it. No two rows recognise the same bytes.
 */

import { fromHex } from '../encoding.ts';
import { messageOf, VouchError } from '../errors.ts';
import {
  fromBase64,
  isDer,
  looksLikeRevocationList,
  parseCertificate,
  parseCertificates,
  parsePublicKey,
  parseRevocationList,
  readPem,
  splitCertificates,
} from './certificate.ts';
import type { Collateral } from './collateral.ts';
import { looksLikeEventLog } from './formats/eventlog.ts';
import type { Evidence, Format } from './formats/format.ts';
import { mergeCollateral, NO_COLLATERAL, readIntelCollateral } from './formats/intel-collateral.ts';
import { isGpuEvidenceFile, isSwitchReport, parseGpuEvidenceFile } from './formats/nvidia-report.ts';
import { FORMATS } from './formats/registry.ts';
import { isRim, parseRim } from './formats/rim.ts';
import {
  isCertificateTable,
  isSnpReport,
  parseCertificateTable,
  SNP_REPORT_BYTES,
} from './formats/sev-snp-report.ts';
import { isTpmSignature, parseTpmSignature } from './formats/tpm-attest.ts';
import { isPcrText, parsePcrs } from './formats/tpm-pcrs.ts';
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

export interface NamedBytes {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** Files by what they hold, in the order in which they came. */
export interface SortedFiles extends Collateral {
  readonly evidence: readonly Evidence[];
  /** what NVIDIA's service found, and the keys that it signs with */
  readonly opinions: readonly Parsed<SecondOpinion>[];
  readonly serviceKeys: readonly ServiceKey[];
  /** what is neither evidence nor belongs to it, and why */
  readonly unknown: readonly { readonly name: string; readonly reason: string }[];
}

/** What one file holds, as lists to be joined. */
type Contents = Partial<Omit<SortedFiles, 'unknown' | 'digests'>>;

/** A file's bytes, as text where they are text. */
export interface Content {
  readonly bytes: Uint8Array;
  readonly text: Parsed<string | undefined>;
}

/** What a file may hold. */
export interface FileKind {
  /** for a piece of evidence, that of its format */
  readonly name: string;
  /** whether a verdict can be given on it, and not only with its help */
  readonly evidence: boolean;
  /** for people */
  readonly title: string;
  /** Never throws. */
  readonly recognise: (content: Content) => boolean;
  /** Throws a coded error for what has the outer form only. */
  readonly read: (content: Content) => Contents;
}

const formats: readonly FileKind[] = Object.entries<Format>(FORMATS).map(([format, row]) => ({
  name: format,
  evidence: true,
  title: `evidence of ${row.title}`,
  recognise: ({ bytes }) => row.recognise(bytes),
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
    name: 'nvidia-evidence-file',
    evidence: true,
    title: "GPU evidence with its certificates, as NVIDIA's tools write it",
    recognise: ({ bytes }) => isGpuEvidenceFile(bytes),
    read: ({ bytes }) => ({
      evidence: parseGpuEvidenceFile(bytes).map(({ report, certificates }) => ({
        format: isSwitchReport(report) ? 'nvidia-switch' : 'nvidia-gpu',
        bytes: report,
        certificates: parsedOnce(() => parseCertificates(certificates)),
      })),
    }),
  },
];

const collateral: readonly FileKind[] = [
  {
    name: 'event-log',
    evidence: false,
    title: "a TD's event log",
    recognise: ({ bytes }) => looksLikeEventLog(bytes),
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
    recognise: ({ bytes }) => isTpmSignature(bytes),
    read: ({ bytes }) => ({ tpmSignatures: [parsedOnce(() => parseTpmSignature(bytes))] }),
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
      isDer(bytes) && !looksLikeRevocationList(bytes) && !looksLikeOcspResponse(bytes),
    read: ({ bytes }) => readCertificates(splitCertificates(bytes), []),
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
    recognise: ({ text }) =>
      text()?.startsWith('{') === true && !isPcrText(text() ?? '') && !looksLikeKeySet(text() ?? ''),
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
      text()?.includes('-----BEGIN ') === true && !text()?.startsWith('{') && !isPcrText(text() ?? ''),
    read: ({ text }) => readPemText(text() ?? ''),
  },
];

/** In the order in which they are tried. */
export const FILE_KINDS: readonly FileKind[] = [...formats, ...containers, ...collateral];

/** What kind of file bytes are, by their outer form; undefined for what is neither evidence nor belongs to it. */
export const kindOf = (bytes: Uint8Array): FileKind | undefined => {
  const content = contentOf(bytes);
  return FILE_KINDS.find(({ recognise }) => recognise(content));
};

/** Never throws for what the files hold. */
export function sortFiles(files: readonly NamedBytes[]): SortedFiles {
  const unknown: SortedFiles['unknown'][number][] = [];
  const all: Contents[] = [];
  for (const { name, bytes } of files) {
    try {
      all.push(readFile(contentOf(bytes)));
    } catch (error) {
      if (!(error instanceof VouchError)) throw error;
      unknown.push({ name, reason: messageOf(error) });
    }
  }
  const crls = all.flatMap((contents) => contents.crls ?? []);
  const certificates = all.flatMap((contents) => contents.certificates ?? []);
  const intel = all.flatMap((contents) => contents.intel ?? []);
  return {
    evidence: all.flatMap((contents) => contents.evidence ?? []),
    opinions: all.flatMap((contents) => contents.opinions ?? []),
    serviceKeys: all.flatMap((contents) => contents.serviceKeys ?? []),
    certificates,
    crls,
    ocsp: all.flatMap((contents) => contents.ocsp ?? []),
    keys: all.flatMap((contents) => contents.keys ?? []),
    pcrs: all.flatMap((contents) => contents.pcrs ?? []),
    tpmSignatures: all.flatMap((contents) => contents.tpmSignatures ?? []),
    eventLogs: all.flatMap((contents) => contents.eventLogs ?? []),
    intel: mergeCollateral(...intel, { ...NO_COLLATERAL, crls, certificates }),
    manifests: all.flatMap((contents) => contents.manifests ?? []),
    unknown,
  };
}

function readFile(content: Content): Contents {
  const kind = FILE_KINDS.find(({ recognise }) => recognise(content));
  if (kind !== undefined) return kind.read(content);
  const reason = content.bytes.length === 0 ? 'the file is empty' : 'neither evidence nor what belongs to it';
  throw new VouchError('bad-input', reason);
}

/** Hex and base64 are taken off first. */
export function contentOf(given: Uint8Array): Content {
  const bytes = fromHexText(given) ?? fromBase64Text(given) ?? given;
  return { bytes, text: parsedOnce(() => plainPem(textOf(bytes)?.trimStart())) };
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

/** Intel's service sends chains in headers, percent-encoded, and some keep them so. */
function plainPem(text: string | undefined): string | undefined {
  if (!text?.startsWith('-----BEGIN%20')) return text;
  try {
    return decodeURIComponent(text.trim());
  } catch {
    return text;
  }
}

function textOf(bytes: Uint8Array): string | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they tell binary files from text
    return /[\x00-\x08\x0e-\x1f]/.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}

const CCEL_TABLE_BYTES = 56;

/** A host that hands out no certificates ends its table where it starts. */
const isEmptyTable = (bytes: Uint8Array): boolean =>
  bytes.length >= 24 && bytes.length % 8 === 0 && bytes.every((byte) => byte === 0);

const startsWith = (bytes: Uint8Array, text: string): boolean =>
  String.fromCharCode(...bytes.subarray(0, text.length)) === text;

/** Text of nothing but hex digits and white space, as bytes; undefined for anything else. */
function fromHexText(bytes: Uint8Array): Uint8Array | undefined {
  // Cheap to say no: whatever is binary shows it at once.
  if (
    bytes.length < 4 ||
    bytes.subarray(0, 4).some((byte) => !/[0-9A-Fa-f\s]/.test(String.fromCharCode(byte)))
  ) {
    return undefined;
  }
  const text = new TextDecoder('latin1').decode(bytes).replaceAll(/\s/g, '');
  const hexText = text.length > 0 && text.length % 2 === 0 && !/[^0-9A-Fa-f]/.test(text);
  return hexText ? fromHex(text.toLowerCase()) : undefined;
}

/** Text of nothing but padded base64 and white space, as bytes; undefined for anything else. */
function fromBase64Text(bytes: Uint8Array): Uint8Array | undefined {
  // Shorter texts than any evidence may be words.
  if (
    bytes.length < 256 ||
    bytes.subarray(0, 64).some((byte) => !/[A-Za-z0-9+/=\s]/.test(String.fromCharCode(byte)))
  ) {
    return undefined;
  }
  try {
    return fromBase64(new TextDecoder('latin1').decode(bytes), 'base64');
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return undefined;
  }
}
