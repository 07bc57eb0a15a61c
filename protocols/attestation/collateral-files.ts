/**
 * Files that belong to evidence and are none themselves: certificates, what vendors say of their hardware and software,
 * and what else evidence is compared with. Rows of the table of files (evidence-files.ts).
 */
import { VouchError } from '../errors.ts';
import {
  isPublicKeyDer,
  looksLikeCertificate,
  looksLikeRevocationList,
  parseCertificate,
  parsePublicKey,
  parseRevocationList,
  readPem,
  splitCertificates,
} from './certificate.ts';
import { isEvidenceJson } from './evidence-json.ts';
import type { Contents, FileKind } from './file-kinds.ts';
import { isHclReport } from './formats/azure-hcl.ts';
import { isVtpmQuote } from './formats/azure-vtpm.ts';
import { looksLikeEventLog } from './formats/eventlog.ts';
import { isAgentLog } from './formats/eventlog-aael.ts';
import { isJsonLog } from './formats/eventlog-json.ts';
import type { Format } from './formats/format.ts';
import { isGceEndorsement, parseGceEndorsement } from './formats/gce-endorsement.ts';
import { readIntelCollateral } from './formats/intel-collateral.ts';
import { isDeviceEvidence } from './formats/nvidia-evidence-list.ts';
import { FORMATS } from './formats/registry.ts';
import { isRim, parseRim } from './formats/rim.ts';
import { isCertificateTable, parseCertificateTable } from './formats/sev-snp-report.ts';
import { isPcrText, parsePcrs } from './formats/tpm-pcrs.ts';
import {
  isQuoteSignature,
  mayBeRawSignature,
  parseQuoteSignature,
  rawRsaSignature,
} from './formats/tpm-signature.ts';
import { looksLikeKeySet, looksLikeNrasTokens, parseKeySet, parseNrasTokens } from './nras.ts';
import { looksLikeOcspResponse, type OcspResponse, parseOcspResponse } from './ocsp.ts';
import { type Parsed, parsedOnce } from './parsed.ts';
import { bundlesIn, isTrustedRoot, readBundles, readTrustedRoot } from './sigstore-files.ts';
import { isUnread } from './unread-formats.ts';

export const COLLATERAL_KINDS: readonly FileKind[] = [
  {
    name: 'event-log',
    evidence: false,
    title: "a TD's event log, as firmware, dstack or an attestation agent keeps it",
    recognise: ({ bytes, json }) => looksLikeEventLog(bytes) || isAgentLog(bytes) || isJsonLog(json()),
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
    name: 'gce-endorsement',
    evidence: false,
    title: "Google's endorsement of the firmware of its virtual machines",
    recognise: ({ bytes }) => isGceEndorsement(bytes),
    read: ({ bytes }) => readEndorsement(bytes),
  },
  {
    name: 'sigstore-bundle',
    evidence: false,
    title: 'Sigstore bundles: signed statements about what was measured',
    recognise: (content) => bundlesIn(content).length > 0,
    read: readBundles,
  },
  {
    name: 'sigstore-trusted-root',
    evidence: false,
    title: 'certificates and keys of an instance of Sigstore',
    recognise: ({ json }) => isTrustedRoot(json()),
    read: ({ json }) => readTrustedRoot(json()),
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
      looksLikeCertificate(bytes) &&
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
      !isTrustedRoot(content.json()) &&
      bundlesIn(content).length === 0 &&
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
  isGceEndorsement,
  isCertificateTable,
  isQuoteSignature,
  isRim,
  looksLikeCertificate,
  looksLikeOcspResponse,
  looksLikeEventLog,
];

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

export function readTable(bytes: Uint8Array): Contents {
  const { certificates, crls, endorsements } = parseCertificateTable(bytes);
  // A host may have none, and what else it hands out is passed over.
  return {
    ...(certificates.length + crls.length === 0 ? {} : readCertificates(certificates, crls)),
    endorsements: endorsements.flatMap((one) => readEndorsement(one).endorsements ?? []),
  };
}

/** What cannot be read is a failure of the machine that it is about, in its own row. */
const readEndorsement = (bytes: Uint8Array): Contents => ({
  endorsements: [parsedOnce(() => parseGceEndorsement(bytes))],
});

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
export const isEmptyTable = (bytes: Uint8Array): boolean =>
  bytes.length >= 24 && bytes.length % 8 === 0 && bytes.every((byte) => byte === 0);

const startsWith = (bytes: Uint8Array, text: string): boolean =>
  String.fromCharCode(...bytes.subarray(0, text.length)) === text;
