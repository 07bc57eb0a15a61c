/**
 * Sorts files by what they hold, whatever they are called: evidence, and what belongs to it. Binary formats may
 * come as hex or base64 text, as tools print them. Only the outer form is looked at: nothing here says that anything is
 * genuine.
 */

import { fromHex } from '../encoding.ts';
import { messageOf, VouchError } from '../errors.ts';
import {
  type Certificate,
  fromBase64,
  parseCertificate,
  parsePublicKey,
  parseRevocationList,
  readPem,
  splitCertificates,
} from './certificate.ts';
import { looksLikeEventLog } from './formats/eventlog.ts';
import {
  type IntelCollateral,
  mergeCollateral,
  NO_COLLATERAL,
  readIntelCollateral,
} from './formats/intel-collateral.ts';
import { looksLikeQuote } from './formats/intel-quote.ts';
import { isSwitchReport, parseGpuEvidenceFile } from './formats/nvidia-report.ts';
import { parseCertificateTable, SNP_REPORT_BYTES } from './formats/sev-snp-report.ts';
import { sniff } from './formats/sniff.ts';
import { isPcrText, type PcrValues, parsePcrs } from './formats/tpm-quote.ts';
import type { PublicKey } from './signature.ts';

export interface NamedBytes {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** A device's report; from NVIDIA's own files with its certificates. */
export interface DeviceFile {
  readonly report: Uint8Array;
  readonly certificates?: readonly Uint8Array[];
}

/** Files by what they hold, in the order in which they came. */
export interface SortedFiles {
  readonly quotes: readonly NamedBytes[];
  readonly snpReports: readonly NamedBytes[];
  readonly gpus: readonly DeviceFile[];
  readonly switches: readonly DeviceFile[];
  readonly eventLogs: readonly NamedBytes[];
  readonly hyperEnclaves: readonly NamedBytes[];
  readonly tpmQuotes: readonly NamedBytes[];
  readonly tpmSignatures: readonly NamedBytes[];
  /** one entry a file */
  readonly pcrs: readonly PcrValues[];
  /** attestation keys without a certificate */
  readonly keys: readonly PublicKey[];
  readonly certificates: readonly Certificate[];
  /** DER */
  readonly crls: readonly Uint8Array[];
  readonly intel: IntelCollateral;
  /** reference integrity manifests: XML */
  readonly manifests: readonly NamedBytes[];
  /** what is none of these, and why */
  readonly unknown: readonly { readonly name: string; readonly reason: string }[];
}

type Growing = {
  -readonly [K in keyof SortedFiles]: SortedFiles[K] extends readonly (infer T)[] ? T[] : SortedFiles[K];
};

/** Never throws for what the files hold. */
export function sortFiles(files: readonly NamedBytes[]): SortedFiles {
  const sorted: Growing = {
    quotes: [],
    snpReports: [],
    gpus: [],
    switches: [],
    eventLogs: [],
    hyperEnclaves: [],
    tpmQuotes: [],
    tpmSignatures: [],
    pcrs: [],
    keys: [],
    certificates: [],
    crls: [],
    intel: NO_COLLATERAL,
    manifests: [],
    unknown: [],
  };
  for (const file of files) {
    try {
      recognise(file, sorted);
    } catch (error) {
      if (!(error instanceof VouchError)) throw error;
      sorted.unknown.push({ name: file.name, reason: messageOf(error) });
    }
  }
  const { crls, certificates } = sorted;
  const loose = { ...NO_COLLATERAL, crls, certificates: certificates.map(({ der }) => der) };
  return { ...sorted, intel: mergeCollateral(sorted.intel, loose) };
}

function recognise({ name, bytes: given }: NamedBytes, sorted: Growing): void {
  const bytes = fromHexText(given) ?? fromBase64Text(given) ?? given;
  if (looksLikeQuote(bytes)) sorted.quotes.push({ name, bytes });
  else if (looksLikeEventLog(bytes)) sorted.eventLogs.push({ name, bytes });
  // The ACPI table that says where firmware keeps the event log: nothing to verify in it.
  else if (bytes.length === CCEL_TABLE_BYTES && startsWith(bytes, 'CCEL')) return;
  else readOthers(name, bytes, sniff(bytes), sorted);
}

function readOthers(name: string, bytes: Uint8Array, kind: ReturnType<typeof sniff>, sorted: Growing): void {
  if (kind === 'snp-report') sorted.snpReports.push({ name, bytes });
  // What a guest gets when it asks for report and certificates at once.
  else if (kind === 'snp-extended-report') {
    const { certificates, crls } = parseCertificateTable(bytes.subarray(SNP_REPORT_BYTES));
    sorted.snpReports.push({ name, bytes: bytes.subarray(0, SNP_REPORT_BYTES) });
    addCertificates(certificates, crls, sorted);
  } else if (kind === 'snp-certificate-table') {
    const { certificates, crls } = parseCertificateTable(bytes);
    addCertificates(certificates, crls, sorted);
  } else if (kind === 'gpu-report') sorted.gpus.push({ report: bytes });
  else if (kind === 'switch-report') sorted.switches.push({ report: bytes });
  else if (kind === 'gpu-evidence-file') {
    for (const one of parseGpuEvidenceFile(bytes)) {
      (isSwitchReport(one.report) ? sorted.switches : sorted.gpus).push(one);
    }
  } else if (kind === 'rim') sorted.manifests.push({ name, bytes });
  else if (kind === 'hyperenclave-quote') sorted.hyperEnclaves.push({ name, bytes });
  else if (kind === 'tpm-quote') sorted.tpmQuotes.push({ name, bytes });
  else if (kind === 'tpm-signature') sorted.tpmSignatures.push({ name, bytes });
  else if (bytes[0] !== DER_SEQUENCE) readText(bytes, sorted);
  else if (kind === 'crl') addCertificates([], [bytes], sorted);
  else addCertificates(splitCertificates(bytes), [], sorted);
}

/** JSON or PEM; text only, so that damaged evidence which happens to hold PEM does not pass for it. */
function readText(bytes: Uint8Array, sorted: Growing): void {
  const text = plainPem(textOf(bytes)?.trimStart());
  if (text !== undefined && isPcrText(text)) sorted.pcrs.push(parsePcrs(text));
  else if (text?.startsWith('{')) {
    const intel = readIntelCollateral(text);
    if (intel === undefined) throw new VouchError('bad-input', 'JSON that is no collateral known here');
    sorted.intel = mergeCollateral(sorted.intel, intel);
  } else if (text?.includes('-----BEGIN ')) {
    const keys = readPem(text, 'PUBLIC KEY', 'keys').map((der) => parsePublicKey(der));
    sorted.keys.push(...keys);
    const certificates = readPem(text, 'CERTIFICATE', 'certificates');
    const crls = readPem(text, 'X509 CRL', 'CRLs');
    if (keys.length === 0 || certificates.length + crls.length > 0)
      addCertificates(certificates, crls, sorted);
  } else {
    const reason = bytes.length === 0 ? 'the file is empty' : 'neither evidence nor what belongs to it';
    throw new VouchError('bad-input', reason);
  }
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

const DER_SEQUENCE = 0x30;
const CCEL_TABLE_BYTES = 56;

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

/** Every one of them has to be well-formed. */
function addCertificates(ders: readonly Uint8Array[], crls: readonly Uint8Array[], sorted: Growing): void {
  if (ders.length + crls.length === 0) {
    throw new VouchError('bad-input', 'PEM that holds neither certificates nor CRLs');
  }
  const certificates = ders.map((der) => parseCertificate(der));
  for (const der of crls) parseRevocationList(der);
  sorted.certificates.push(...certificates);
  sorted.crls.push(...crls);
}
