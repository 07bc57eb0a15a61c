/**
 * Evidence that services hand out in JSON of their own, unwrapped into what is read here anyway: dstack and Phala,
 * Tinfoil, Confidential Containers, Azure, and NVIDIA's tools. Each spelling is one row; what a row does not name is
 * said by nobody and proves nothing. A field that a row names has to hold what it says, so that nothing that came is
 * passed over. Sources stand with the rows.
 */
import { sha256, utf8 } from '../encoding.ts';
import { VouchError } from '../errors.ts';
import type { BoundFacts, FactValues } from './binding-recipes.ts';
import { parseCertificate, readPem } from './certificate.ts';
import { isDstackAttestation, parseDstackAttestation } from './dstack-attestation.ts';
import type { Content, Contents, FileKind } from './file-kinds.ts';
import { isHclReport, parseHclReport, runtimeDataOf } from './formats/azure-hcl.ts';
import type { Evidence, Format } from './formats/format.ts';
import { mergeCollateral } from './formats/intel-collateral.ts';
import { isNitroDocument } from './formats/nitro-document.ts';
import { deviceEvidenceIn } from './formats/nvidia-evidence-list.ts';
import { FORMATS } from './formats/registry.ts';
import { isTpmAttest } from './formats/tpm-attest.ts';
import { rawRsaSignature } from './formats/tpm-signature.ts';
import { gunzip, isGzip } from './inflate.ts';
import { MAX_EVENT_LOG_BYTES, MAX_EVIDENCE_BYTES } from './limits.ts';
import { parsedOnce } from './parsed.ts';
import { bytesOfJson, bytesOfText } from './text-bytes.ts';

type Fields = Readonly<Record<string, unknown>>;
const MAX_MACHINES = 64;

const fieldsOf = (value: unknown): Fields | undefined =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
const refuse = (what: string, reason: string): never => {
  throw new VouchError('bad-file', `${what}: ${reason}`);
};
const isAbsent = (value: unknown): boolean => value === undefined || value === null || value === '';

/** The bytes of a field that has to be there. */
function bytesIn(fields: Fields, name: string, what: string, most = MAX_EVIDENCE_BYTES): Uint8Array {
  const bytes = bytesOfJson(fields[name], most);
  if (bytes === undefined || bytes.length > most) {
    return refuse(what, `${name}: expected up to ${most} bytes as hex, base64 or a list of numbers`);
  }
  return bytes;
}
const optionalBytes = (fields: Fields, name: string, what: string): Uint8Array | undefined =>
  isAbsent(fields[name]) ? undefined : bytesIn(fields, name, what);

/** JSON that came as text inside of JSON, or as it stands. */
function nested(value: unknown, what: string): unknown {
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value) as unknown;
  } catch {
    return refuse(what, 'expected JSON inside of a text');
  }
}

/** What one CPU or a machine's TPM signed, by its own outer form. */
function cpuEvidence(bytes: Uint8Array, what: string): Evidence {
  const found = Object.entries<Format>(FORMATS).find(
    ([, { signedBy, recognise }]) => (signedBy === 'cpu' || signedBy === 'tpm') && recognise(bytes),
  );
  if (found?.[1].notInFiles !== undefined) return refuse(what, found[1].notInFiles);
  const format =
    found?.[0] ?? refuse(what, 'expected a quote, an SNP report or a Nitro document, got other bytes');
  return { format, bytes };
}

/** PEM or DER, as text or bytes, one or several. */
function certificatesIn(value: unknown, what: string): Contents {
  const text = typeof value === 'string' ? value : '';
  const ders = text.includes('-----BEGIN')
    ? readPem(text, 'CERTIFICATE', what)
    : [bytesOfJson(value, MAX_EVIDENCE_BYTES) ?? refuse(what, 'expected certificates as PEM or DER')];
  if (ders.length === 0) return refuse(what, 'expected certificates');
  return { certificates: ders.map((der) => parseCertificate(der, what)) };
}

/** Several contents as one. */
export function joined(parts: readonly Contents[]): Contents {
  const lists = new Map<string, unknown[]>();
  let facts: BoundFacts | undefined;
  for (const { facts: own, intel, ...part } of parts) {
    facts ??= own;
    for (const [name, list] of Object.entries(part)) {
      lists.set(name, [...(lists.get(name) ?? []), ...((list as unknown[]) ?? [])]);
    }
  }
  const intel = parts.flatMap((part) => part.intel ?? []);
  return {
    ...(Object.fromEntries(lists) as Contents),
    ...(intel.length === 0 ? {} : { intel: mergeCollateral(...intel) }),
    ...(facts === undefined ? {} : { facts }),
  };
}

const machine = (...parts: readonly Contents[]): Contents => ({ machines: [joined(parts)] });

/** An event log in any of its forms; nothing where the field is absent. */
function eventLogIn(value: unknown, what: string): Contents {
  if (isAbsent(value) || (Array.isArray(value) && value.length === 0)) return {};
  if (typeof value === 'string' && !/^\s*\[/.test(value)) {
    const log = bytesOfText(value);
    if (log === undefined || log.length > MAX_EVENT_LOG_BYTES) return refuse(what, 'expected an event log');
    return { eventLogs: [log] };
  }
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text === '[]' ? {} : { eventLogs: [utf8(text)] };
}

const facts = (recipe: BoundFacts['recipe'], values: FactValues): Contents => ({ facts: { recipe, values } });

/** dstack's GetQuote, Confidential Containers' attester, clouds' metadata services, ITA clients. */
function readQuoteJson(fields: Fields): Contents {
  const what = 'quote in JSON';
  const bytes = bytesIn(fields, 'quote', what);
  const stated = optionalBytes(fields, 'report_data', what);
  return machine(
    { evidence: [cpuEvidence(bytes, what)] },
    eventLogIn(fields.event_log, `${what}: event_log`),
    eventLogIn(fields.cc_eventlog, `${what}: cc_eventlog`),
    stated === undefined ? {} : facts('dstack', { data: stated }),
  );
}

/** dstack's own attestation: what one platform signed, and the report data that it has to have. */
export function dstackContents(bytes: Uint8Array): Contents {
  const what = 'dstack attestation';
  const { evidence, certificates, eventLog, reportData } = parseDstackAttestation(bytes);
  return machine(
    { evidence: [cpuEvidence(evidence, what)] },
    ...certificates.map((one) => certificatesIn(textOrBytes(one), what)),
    eventLog === undefined ? {} : { eventLogs: [eventLog] },
    facts('dstack', { data: reportData }),
  );
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
  const devices = gpu === undefined ? [] : deviceEvidenceIn(gpu, `${what}: nvidia_payload`);
  const nonce = optionalBytes(fields, 'request_nonce', what);
  const address = optionalBytes(fields, 'signing_address', what);
  const tlsKey = optionalBytes(fields, 'tls_cert_fingerprint', what);
  const stated = nonce === undefined || address === undefined ? undefined : { nonce, address };
  return machine(
    { evidence: [cpuEvidence(bytesIn(fields, 'intel_quote', what), what), ...devices] },
    eventLogIn(fields.event_log, `${what}: event_log`),
    stated === undefined ? {} : facts('phala', { ...stated, ...(tlsKey === undefined ? {} : { tlsKey }) }),
  );
}

const PHALA_LISTS = ['all_attestations', 'attestations', 'model_attestations', 'gateway_attestation'];

function readPhalaList(fields: Fields): Contents {
  const all = [fields, ...PHALA_LISTS.flatMap((name) => fields[name] ?? [])].map((one) => fieldsOf(one));
  const reports = all.filter((one) => one !== undefined && Object.hasOwn(one, 'intel_quote')) as Fields[];
  if (all.some((one) => one === undefined)) return refuse('Phala report', 'expected reports in its lists');
  if (reports.length > MAX_MACHINES) {
    return refuse('Phala report', `expected at most ${MAX_MACHINES} machines, got ${reports.length}`);
  }
  // The report of the first machine stands beside the list of all.
  const once = new Map(reports.map((one) => [JSON.stringify(one.intel_quote), one]));
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

const TINFOIL = 'https://tinfoil.sh/predicate/';

/** Documents of version 1 and 2: a report or quote, compressed or not (github.com/tinfoilsh/verifier). */
function tinfoilBody(fields: Fields, what: string): Contents {
  const packed = bytesIn(fields, 'body', what);
  const bytes = isGzip(packed) ? gunzip(packed, MAX_EVIDENCE_BYTES) : packed;
  return { evidence: [cpuEvidence(bytes, what)] };
}

/** Version 3 of early 2026: keys, nonce and digests side by side (github.com/tinfoilsh/cvmimage). */
function readTinfoilKeys(fields: Fields, what: string): Contents {
  const cpu = fieldsOf(fields.cpu) ?? refuse(what, 'expected cpu');
  const bound = fieldsOf(fields.report_data);
  const devices = (name: string): Evidence[] =>
    isAbsent(fields[name]) ? [] : deviceEvidenceIn(fields[name], `${what}: ${name}`);
  const digest = (name: string): Uint8Array | undefined =>
    isAbsent(fields[name]) ? undefined : sha256(utf8(JSON.stringify(fields[name])));
  const gpuEvidence = digest('gpu');
  const switchEvidence = digest('nvswitch');
  return machine(
    {
      evidence: [cpuEvidence(bytesIn(cpu, 'report', what), what), ...devices('gpu'), ...devices('nvswitch')],
    },
    isAbsent(fields.vcek) ? {} : certificatesIn(fields.vcek, `${what}: vcek`),
    bound === undefined
      ? {}
      : facts('tinfoil-v3-keys', {
          tlsKey: bytesIn(bound, 'tls_key_fp', what),
          hpkeKey: bytesIn(bound, 'hpke_key', what),
          nonce: bytesIn(bound, 'nonce', what),
          ...(gpuEvidence === undefined ? {} : { gpuEvidence }),
          ...(switchEvidence === undefined ? {} : { switchEvidence }),
        }),
  );
}

/** Version 3: two sections whose bytes are hashed as they travel (github.com/tinfoilsh/tinfoil-go, verify/document). */
function readTinfoilDocument(fields: Fields, what: string): Contents {
  const cpu = fieldsOf(fields.cpu_evidence) ?? refuse(what, 'expected cpu_evidence');
  const challenge = fieldsOf(fields.challenge) ?? refuse(what, 'expected challenge');
  const section = (name: string): Uint8Array =>
    typeof fields[name] === 'string'
      ? bytesIn(fields, name, what, 4 * MAX_EVIDENCE_BYTES)
      : utf8(JSON.stringify(fields[name]));
  const [cryptoMaterial, deviceEvidence] = [section('crypto_material'), section('device_evidence')];
  const list = fieldsOf(nested(new TextDecoder().decode(deviceEvidence), `${what}: device_evidence`))?.items;
  if (!Array.isArray(list)) return refuse(what, 'device_evidence: expected items');
  const devices = list.flatMap((item: unknown) =>
    deviceEvidenceIn(nested(fieldsOf(item)?.evidence, what), `${what}: device_evidence`),
  );
  const endorsements = Array.isArray(fields.collateral) ? fields.collateral.map(fieldsOf) : [];
  const certificates = endorsements.flatMap((entry) => {
    const data = entry?.data ?? entry?.data_base64;
    return /vcek|vlek/i.test(JSON.stringify([entry?.id, entry?.format])) && !isAbsent(data)
      ? [certificatesIn(data, `${what}: collateral`)]
      : [];
  });
  return machine(
    { evidence: [cpuEvidence(bytesIn(cpu, 'report_base64', what), what), ...devices] },
    ...certificates,
    facts('tinfoil-v3', {
      nonce: bytesIn(challenge, 'nonce', what),
      cryptoMaterial: sha256(cryptoMaterial),
      deviceEvidence: sha256(deviceEvidence),
    }),
  );
}

function readTinfoil(fields: Fields): Contents {
  const what = 'Tinfoil document';
  if (fields.format === `${TINFOIL}attestation/v3`) {
    return Object.hasOwn(fields, 'cpu') ? readTinfoilKeys(fields, what) : readTinfoilDocument(fields, what);
  }
  return machine(tinfoilBody(fields, what));
}

/** The bundle of Tinfoil's attestation service: a document with the certificates that it needs. */
function readTinfoilBundle(fields: Fields): Contents {
  const what = 'Tinfoil bundle';
  const document = fieldsOf(fields.enclaveAttestationReport) ?? refuse(what, 'expected a document');
  const inner = readTinfoil(document).machines ?? [];
  // The certificate that the enclave serves is no part of the evidence's chain; its key is what is bound.
  const served = isAbsent(fields.enclaveCert) ? undefined : certificatesIn(fields.enclaveCert, what);
  const leaf = served?.certificates?.[0];
  return machine(
    ...inner,
    isAbsent(fields.vcek) ? {} : certificatesIn(fields.vcek, `${what}: vcek`),
    leaf === undefined ? {} : facts('tinfoil-v2', { tlsKey: sha256(leaf.key.spki) }),
  );
}

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
function readAzure(fields: Fields): Contents {
  const what = 'Azure evidence';
  const report = bytesIn(fields, Object.hasOwn(fields, 'hcl_report') ? 'hcl_report' : 'report', what);
  if (!isHclReport(report)) return refuse(what, 'expected an HCL report');
  const quote = fields.td_quote ?? undefined;
  return machine(
    hclContents(report),
    vtpmQuote(fields.tpm_quote ?? fields.quote, `${what}: quote of the vTPM`),
    isAbsent(fields.vcek) ? {} : certificatesIn(fields.vcek, `${what}: vcek`),
    quote === undefined ? {} : { evidence: [cpuEvidence(bytesIn(fields, 'td_quote', what), what)] },
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
function readAzureRequest(fields: Fields): Contents {
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
const readAzureCertificates = (fields: Fields): Contents =>
  certificatesIn(`${String(fields.vcekCert)}\n${String(fields.certificateChain ?? '')}`, 'Azure THIM');

const NITRO_FIELDS = [
  'attestation_document',
  'attestationDocument',
  'attestation_doc',
  'document',
  'attestation',
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

const rowOf = ({ json }: Content): Row | undefined => {
  const fields = fieldsOf(json());
  return fields === undefined ? undefined : ROWS.find(({ fits }) => fits(fields));
};

/** Whether a row of this table reads it. */
export const isEvidenceJson = (content: Content): boolean => rowOf(content) !== undefined;

export const JSON_KINDS: readonly FileKind[] = ROWS.map((row) => ({
  name: row.name,
  evidence: row.evidence,
  title: row.title,
  recognise: (content) => rowOf(content) === row,
  read: ({ json }) => row.read(fieldsOf(json())!),
}));
