/**
 * Evidence that services hand out in JSON of their own, unwrapped into what is read here anyway: dstack and Phala,
 * Tinfoil, Confidential Containers, Azure, Nitro. Each spelling is one row; what a row does not name is said by nobody
 * and proves nothing. A field that a row names has to hold what it says, so that nothing that came is passed over.
 * Sources stand with the rows.
 */
import { equal, sha256 } from '../encoding.ts';
import { parseCertificate } from './certificate.ts';
import { PCR_BANKS, type PcrBank } from './demands.ts';
import { type DstackVtpm, isDstackAttestation, parseDstackAttestation } from './dstack-attestation.ts';
import { readAzure, readAzureCertificates, readAzureRequest } from './evidence-azure.ts';
import { readTinfoil, readTinfoilBundle, TINFOIL } from './evidence-tinfoil.ts';
import type { Content, Contents, FileKind } from './file-kinds.ts';
import { isNitroDocument } from './formats/nitro-document.ts';
import { deviceEvidenceIn } from './formats/nvidia-evidence-list.ts';
import { isSnpJson, snpReportOf } from './formats/sev-snp-json.ts';
import { parseQuoteSignature } from './formats/tpm-signature.ts';
import {
  bytesIn,
  certificatesIn,
  cpuEvidence,
  eventLogIn,
  type Fields,
  facts,
  fieldsOf,
  isAbsent,
  machine,
  nested,
  optionalBytes,
  refuse,
} from './json-fields.ts';
import { MAX_EVENT_LOG_BYTES, MAX_EVIDENCE_BYTES } from './limits.ts';
import { parsedOnce } from './parsed.ts';
import { bytesOfJson } from './text-bytes.ts';

const MAX_MACHINES = 64;

/** dstack's GetQuote, Confidential Containers' attester, clouds' metadata services, ITA clients. */
function readQuoteJson(fields: Fields): Contents {
  const what = 'quote in JSON';
  const bytes = bytesIn(fields, 'quote', what);
  const stated = optionalBytes(fields, 'report_data', what);
  return machine(
    { evidence: [cpuEvidence(bytes, what)] },
    eventLogIn(fields.event_log, `${what}: event_log`),
    eventLogIn(fields.cc_eventlog, `${what}: cc_eventlog`),
    eventLogIn(fields.aa_eventlog, `${what}: aa_eventlog`),
    stated === undefined ? {} : facts('dstack', { data: stated }),
  );
}

/** github.com/confidential-containers/guest-components, attester for SNP: {attestation_report, cert_chain}. */
function readSnpJson({ attestation_report: report, cert_chain: chain }: Fields): Contents {
  const what = 'SNP report in JSON';
  if (!isAbsent(chain) && !Array.isArray(chain)) return refuse(what, 'cert_chain: expected a list');
  const entries = ((chain ?? []) as unknown[]).map(
    (entry) => fieldsOf(entry) ?? refuse(what, 'expected cert_type and data'),
  );
  // What has no type of AMD's is somebody else's.
  const own = entries.filter(
    ({ cert_type: type }) => typeof type === 'string' && /^(?:VCEK|VLEK|ASK|ARK)$/i.test(type),
  );
  return machine(
    { evidence: [cpuEvidence(snpReportOf(report), what)] },
    ...own.map(({ data }) =>
      certificatesIn(
        textOrBytes(bytesOfJson(data, MAX_EVIDENCE_BYTES) ?? refuse(what, 'data: expected bytes')),
        what,
      ),
    ),
  );
}

/** dstack's own attestation: what one platform signed, and the report data that it has to have. */
export function dstackContents(bytes: Uint8Array): Contents {
  const what = 'dstack attestation';
  const { evidence, certificates, eventLog, reportData, vtpm } = parseDstackAttestation(bytes);
  return machine(
    { evidence: [cpuEvidence(evidence, what)] },
    ...certificates.map((one) => certificatesIn(textOrBytes(one), what)),
    eventLog === undefined ? {} : { eventLogs: [eventLog] },
    vtpm === undefined ? {} : vtpmContents(vtpm, evidence),
    facts('dstack', { data: reportData }),
  );
}

/** The vTPM of a TD on Google's machines has to have signed the hash of the quote. */
function vtpmContents({ attest, signature, pcrs, certificate }: DstackVtpm, quote: Uint8Array): Contents {
  const banks = new Map<PcrBank, Map<number, Uint8Array>>();
  for (const { bank, index, value } of pcrs) {
    const known = PCR_BANKS.find((name) => name === bank);
    if (known !== undefined) banks.set(known, (banks.get(known) ?? new Map()).set(index, value));
  }
  return {
    evidence: [{ ...cpuEvidence(attest, 'dstack attestation: vTPM'), answers: sha256(quote) }],
    tpmSignatures: [parsedOnce(() => parseQuoteSignature(signature))],
    pcrs: [banks],
    certificates: [parseCertificate(certificate, 'dstack attestation: vTPM')],
  };
}

/** PEM as text; DER as numbers. */
const textOrBytes = (bytes: Uint8Array): unknown =>
  bytes[0] === 0x2d ? new TextDecoder('latin1').decode(bytes) : [...bytes];

const attestationIn = ({ attestation }: Fields): Uint8Array | undefined => {
  const bytes = typeof attestation === 'string' ? bytesOfJson(attestation, MAX_EVENT_LOG_BYTES) : undefined;
  return bytes !== undefined && isDstackAttestation(bytes) ? bytes : undefined;
};

/** github.com/nearai/private-ml-sdk and Phala's gateways: a quote, GPU evidence, and the key that signs answers. */
function readPhala(fields: Fields): Contents {
  const what = 'Phala report';
  const gpu = isAbsent(fields.nvidia_payload) ? undefined : nested(fields.nvidia_payload, what);
  const devices =
    gpu === undefined || isEmptyList(gpu) ? [] : deviceEvidenceIn(gpu, `${what}: nvidia_payload`);
  const nonce = optionalBytes(fields, 'request_nonce', what);
  const address = optionalBytes(fields, 'signing_address', what);
  const { tls_cert_fingerprint: digest } = fields;
  const plain = typeof digest === 'string' ? digest.replace(/^sha256:/, '') : digest;
  const tlsKey = optionalBytes({ tls_cert_fingerprint: plain }, 'tls_cert_fingerprint', what);
  const quote = bytesIn(fields, 'intel_quote', what);
  // Some hand the same quote out twice; whoever reads the other one has to get the one that is judged.
  const again = optionalBytes(fields, 'quote', what);
  if (again !== undefined && !equal(again, quote)) return refuse(what, 'expected quote to be intel_quote');
  const stated = nonce === undefined || address === undefined ? undefined : { nonce, address };
  return machine(
    { evidence: [cpuEvidence(quote, what), ...devices] },
    eventLogIn(fields.event_log, `${what}: event_log`),
    stated === undefined ? {} : facts('phala', { ...stated, ...(tlsKey === undefined ? {} : { tlsKey }) }),
  );
}

/** What a machine without GPUs hands out. */
const isEmptyList = (gpu: unknown): boolean => {
  const list = fieldsOf(gpu)?.evidence_list;
  return Array.isArray(list) && list.length === 0;
};

const PHALA_FIELDS = [
  'intel_quote',
  'nvidia_payload',
  'event_log',
  'signing_address',
  'request_nonce',
  'tls_cert_fingerprint',
];
const PHALA_LISTS = ['all_attestations', 'attestations', 'model_attestations', 'gateway_attestation'];

function readPhalaList(fields: Fields): Contents {
  const all = [fields, ...PHALA_LISTS.flatMap((name) => fields[name] ?? [])].map((one) => fieldsOf(one));
  const reports = all.filter((one) => one !== undefined && Object.hasOwn(one, 'intel_quote')) as Fields[];
  if (all.some((one) => one === undefined)) return refuse('Phala report', 'expected reports in its lists');
  if (reports.length > MAX_MACHINES) {
    return refuse('Phala report', `expected at most ${MAX_MACHINES} machines, got ${reports.length}`);
  }
  // The report of the first machine stands beside the list of all, field by field the same.
  const once = new Map(reports.map((one) => [JSON.stringify(PHALA_FIELDS.map((name) => one[name])), one]));
  return { machines: [...once.values()].flatMap((one) => readPhala(one).machines ?? []) };
}

/** github.com/Dstack-TEE/private-ai-gateway: report of an attested inference service ("aci/1"). */
function readAci(fields: Fields): Contents {
  const what = 'ACI report';
  const attestation = fieldsOf(fields.attestation) ?? refuse(what, 'expected attestation');
  const evidence = fieldsOf(attestation.evidence) ?? refuse(what, 'expected attestation.evidence');
  return machine(
    { evidence: [cpuEvidence(bytesIn(evidence, 'quote', what), what)] },
    eventLogIn(evidence.event_log, `${what}: event_log`),
    facts('dstack', { data: bytesIn(attestation, 'report_data', what) }),
  );
}

const NITRO_FIELDS = [
  'attestation_document',
  'attestationDocument',
  'attestation_doc',
  'attestationDoc',
  'attestation_report',
  'document',
  'attestation',
  'evidence',
];
const nitroField = (fields: Fields): string | undefined =>
  NITRO_FIELDS.find((name) => {
    const bytes =
      typeof fields[name] === 'string' ? bytesOfJson(fields[name], MAX_EVIDENCE_BYTES) : undefined;
    return bytes !== undefined && isNitroDocument(bytes);
  });

interface Row {
  readonly name: string;
  readonly evidence: boolean;
  readonly title: string;
  readonly fits: (fields: Fields) => boolean;
  readonly read: (fields: Fields) => Contents;
}

const has = (fields: Fields, ...names: readonly string[]): boolean =>
  names.every((name) => Object.hasOwn(fields, name));

/** The first row that fits is meant. */
const ROWS: readonly Row[] = [
  {
    name: 'azure-evidence',
    evidence: true,
    title: "an Azure confidential VM's HCL report and the quote of its vTPM, in JSON",
    fits: (fields) =>
      has(fields, 'hcl_report') || (has(fields, 'report', 'quote') && fieldsOf(fields.quote) !== undefined),
    read: readAzure,
  },
  {
    name: 'azure-attestation-request',
    evidence: true,
    title: 'evidence and runtime data, as Microsoft Azure Attestation takes them',
    fits: (fields) => has(fields, 'runtimeData') && (has(fields, 'quote') || has(fields, 'report')),
    read: readAzureRequest,
  },
  {
    name: 'azure-certificates',
    evidence: false,
    title: "AMD's certificates, as Azure's metadata service hands them out",
    fits: (fields) => has(fields, 'vcekCert'),
    read: readAzureCertificates,
  },
  {
    name: 'tinfoil-bundle',
    evidence: true,
    title: "a bundle of Tinfoil's attestation service",
    fits: (fields) => has(fields, 'enclaveAttestationReport'),
    read: readTinfoilBundle,
  },
  {
    name: 'tinfoil-document',
    evidence: true,
    title: 'an attestation document of Tinfoil',
    fits: ({ format }) => typeof format === 'string' && format.startsWith(TINFOIL),
    read: readTinfoil,
  },
  {
    name: 'phala-report',
    evidence: true,
    title: 'an attestation report of Phala or NEAR AI',
    fits: (fields) =>
      has(fields, 'intel_quote') ||
      PHALA_LISTS.some((name) =>
        [fields[name]].flat().some((one) => Object.hasOwn(fieldsOf(one) ?? {}, 'intel_quote')),
      ),
    read: readPhalaList,
  },
  {
    name: 'aci-report',
    evidence: true,
    title: 'an attestation report of an inference service (ACI)',
    fits: ({ api_version: version }) => typeof version === 'string' && version.startsWith('aci/'),
    read: readAci,
  },
  {
    name: 'dstack-attestation-in-json',
    evidence: true,
    title: "dstack's own attestation in JSON",
    fits: (fields) => attestationIn(fields) !== undefined,
    read: (fields) => dstackContents(attestationIn(fields)!),
  },
  {
    name: 'sev-snp-in-json',
    evidence: true,
    title: 'an SEV-SNP report in fields of JSON, as the attester of Confidential Containers hands it on',
    fits: ({ attestation_report: report }) => isSnpJson(report),
    read: readSnpJson,
  },
  {
    name: 'quote-in-json',
    evidence: true,
    title: 'a quote in JSON, as dstack, Confidential Containers and metadata services hand it out',
    fits: ({ quote }) => typeof quote === 'string' && quote.length > 512,
    read: readQuoteJson,
  },
  {
    name: 'nitro-in-json',
    evidence: true,
    title: 'a Nitro document in JSON',
    fits: (fields) => nitroField(fields) !== undefined,
    read: (fields) =>
      machine({
        evidence: [cpuEvidence(bytesIn(fields, nitroField(fields)!, 'Nitro document'), 'Nitro document')],
      }),
  },
];

/** One answer a file, which every row asks for. */
const rows = new WeakMap<Content, { readonly row: Row | undefined }>();

function rowOf(content: Content): Row | undefined {
  const fields = fieldsOf(content.json());
  const known = rows.get(content) ?? { row: fields && ROWS.find(({ fits }) => fits(fields)) };
  rows.set(content, known);
  return known.row;
}

/** Whether a row of this table reads it. */
export const isEvidenceJson = (content: Content): boolean => rowOf(content) !== undefined;

export const JSON_KINDS: readonly FileKind[] = ROWS.map((row) => ({
  name: row.name,
  evidence: row.evidence,
  title: row.title,
  recognise: (content) => rowOf(content) === row,
  read: ({ json }) => row.read(fieldsOf(json())!),
}));
