/**
 * Verification of an evidence document against a policy: pure, offline, with every check named. What the CPU and the
 * GPUs signed is checked by their formats (formats/*.ts); what ties them to each other, to the verifier's nonce, to
 * keys and to a model is the same for all (document-demands.ts). Every required check must pass; one that could not
 * run counts as failed.
 *
 * Two times matter. Chains, collateral and revocation are judged `now`, by the verifier's clock, because the signer's
 * cannot be trusted; freshness is the age of the evidence when it was relied upon.
 *
 * Not guaranteed: that the measured code is good (a measurement says which code, the policy's author says whether to
 * trust it), that CPU and GPU are in one machine (before TDISP both can be relayed: SECURITY.md), and the document's
 * time, which is the host's: against replay only the nonce helps.
 */
import { equal, hex } from '../encoding.ts';
import { parse } from '../envelope.ts';
import { messageOf, VouchError } from '../errors.ts';
import { parseCertificate, parseCertificates } from './certificate.ts';
import { type Check, type Checklist, createChecklist, type Verdict } from './checklist.ts';
import { NO_FILES } from './collateral.ts';
import {
  bindingOf,
  cpuOf,
  EvidenceDocument,
  evidenceDigest,
  gpuOf,
  isHardware,
  labelOf,
  stapledOf,
} from './document.ts';
import {
  checkBinding,
  checkCollateral,
  checkFreshness,
  checkGpuBound,
  checkPolicy,
  type DocumentQuestion,
  type ParsedDocument,
} from './document-demands.ts';
import { judgeEndorsements } from './firmware-endorsement.ts';
import type { Part, Question } from './formats/format.ts';
import { areOneFamily, formatNamed, judgeAll } from './formats/registry.ts';
import { parsedOnce } from './parsed.ts';
import { completePolicy, type Policy } from './policy.ts';
import { judgeProvenance } from './provenance.ts';
import { type Binding, type GpuState, gpuNonce, reportData } from './report-data.ts';

/** What evidence says, once its signatures hold. */
export interface Claims {
  readonly platform: string;
  /** whether every part of the evidence, GPUs included, comes from hardware */
  readonly hardware: boolean;
  readonly label: 'SIMULATED' | 'HARDWARE';
  /** lower-case hex */
  readonly measurement: string;
  readonly debug: boolean;
  /** by the host's clock */
  readonly issuedAt: Date;
  /** what CPU and GPUs say beyond that, by their formats */
  readonly cpu?: unknown;
  readonly gpus?: unknown;
}

export interface EvidenceQuestion extends DocumentQuestion {
  /** an EvidenceDocument, not yet checked */
  readonly document: unknown;
}

export interface EvidenceReport {
  readonly verdict: Verdict;
  readonly checks: readonly Check[];
  /** present when the CPU's own signatures hold, whatever the verdict */
  readonly claims?: Claims;
  /** what the evidence binds; present only when the verdict is `accept` */
  readonly binding?: Binding;
  /** the key to seal to, by the suite that the policy names; present only when the verdict is `accept` */
  readonly sealingKey?: Uint8Array;
  /** evidence digest of the document, lower-case hex */
  readonly digest?: string;
}

const REQUIRED = [
  'evidence.document',
  'evidence.format',
  'evidence.hardware',
  'policy.platform',
  'policy.measurement',
  'policy.debug',
  'policy.sealing',
  'evidence.fresh',
  'binding.nonce',
  'binding.model-commitment',
  'binding.required',
  'binding.report-data',
  'gpu.bound',
] as const;

/** Verifies evidence. Never throws for what the document holds: that is a failed check. */
export async function verifyEvidence(question: EvidenceQuestion): Promise<EvidenceReport> {
  return verify(() => parse(EvidenceDocument, question.document, 'evidence'), question);
}

/** The same for a document whose fields have been checked, as a receipt's bundle holds one. */
export const verifyDocument = (
  document: EvidenceDocument,
  question: DocumentQuestion,
): Promise<EvidenceReport> => verify(() => document, question);

async function verify(read: () => EvidenceDocument, question: DocumentQuestion): Promise<EvidenceReport> {
  const { policy } = question;
  const list = createChecklist(REQUIRED);
  const { record } = list;

  let parsed: ParsedDocument;
  try {
    parsed = parseDocument(read());
    record('evidence.document', true, 'evidence-rejected', 'a document of version 2');
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    record('evidence.document', false, 'evidence-rejected', messageOf(error));
    return list.result('');
  }
  const { document, binding, gpu } = parsed;
  const prefix = labelOf(document);

  const cpu = await judgeCpu(parsed, question, list);
  const claims = cpu?.cpu;
  if (claims !== undefined) {
    record(
      'evidence.hardware',
      document.hardware === isHardware(document),
      'evidence-rejected',
      `the document says hardware: ${document.hardware}, its parts are ${document.cpu.format}${
        gpu === undefined ? '' : ` and ${gpu.devices.map(({ format }) => format).join(', ')}`
      }`,
    );
    checkPolicy(claims, policy, record);
    record(
      'binding.report-data',
      equal(claims.reportData, parsed.reportData),
      'evidence-rejected',
      'the report data is compared with the hash of nonce, keys, commitment, enclave id, time and GPU evidence',
    );
  }
  checkFreshness(binding.time, question.usedAt ?? question.now, policy, record);
  checkBinding(parsed, question, list);
  const gpus = gpu === undefined ? undefined : await judgeDevices(gpu, parsed, question, list);
  checkGpuBound(parsed, claims, policy, list);
  checkCollateral(document, question.collateral, list);
  const statements = await judgeStatements(cpu, question);

  const own = list.result(prefix);
  const parts = [cpu, gpus, ...statements].filter((part) => part !== undefined);
  const verdict = [own, ...parts].every((part) => part.verdict === 'accept') ? 'accept' : 'reject';
  const labelled = (part: Part) => part.checks.map((one) => ({ ...one, detail: prefix + one.detail }));
  const hardware = isHardware(document);
  return {
    verdict,
    checks: eachOnce([...own.checks, ...parts.flatMap(labelled)]),
    digest: evidenceDigest(document),
    ...(claims === undefined
      ? {}
      : {
          claims: {
            platform: claims.platform,
            hardware,
            label: hardware ? 'HARDWARE' : 'SIMULATED',
            measurement: claims.measurement,
            debug: claims.debug,
            issuedAt: binding.time,
            ...(cpu?.claims === undefined ? {} : { cpu: cpu.claims }),
            ...(gpus?.claims === undefined ? {} : { gpus: gpus.claims }),
          },
        }),
    ...(verdict === 'accept'
      ? { binding, sealingKey: policy.sealing === 'x-wing' ? binding.xWingKey! : binding.hpkeKey }
      : {}),
  };
}

/** The CPU and the GPUs may both be simulated, and then make one check each of the same name. */
const eachOnce = (checks: readonly Check[]): Check[] =>
  checks.filter(({ id }, i) => checks.findIndex((check) => check.id === id) === i);

/** Throws `bad-message`, and what a damaged certificate gives. */
function parseDocument(document: EvidenceDocument): ParsedDocument {
  const cpu = cpuOf(document);
  const gpu = gpuOf(document);
  const certificates = cpu.certificates.map((der) => parseCertificate(der, 'evidence.cpu.certificates'));
  const binding = bindingOf(document);
  const ocsp = stapledOf(document).map((response) => () => response);
  return { document, cpu, certificates, gpu, ocsp, binding, reportData: reportData(binding) };
}

/** The CPU's own signatures and what the policy wants of them; nothing for a format that is not known. */
async function judgeCpu(
  { cpu, certificates, ocsp }: ParsedDocument,
  question: DocumentQuestion,
  { record }: Checklist,
): Promise<Part | undefined> {
  const { format, evidence } = cpu;
  const known = formatNamed(format);
  if (known?.inDocuments !== true || known.signedBy !== 'cpu') {
    record('evidence.format', false, 'evidence-rejected', `format ${format} is not known here`);
    return undefined;
  }
  const given = { ...NO_FILES, certificates, ocsp };
  const part = onlyPart(
    await judgeAll([{ format, bytes: evidence }], { ...formatQuestion(question), given }),
  );
  const { platform = known.platform } = part?.cpu ?? {};
  const fits = platform === known.platform;
  const detail = fits
    ? `format ${format} is known`
    : `the document says ${format}, the evidence is ${platform}`;
  record('evidence.format', fits, 'evidence-rejected', detail);
  return part;
}

/** What others say of the measurement; documents bring nothing of it, the verifier's folder does. */
async function judgeStatements(
  cpu: Part | undefined,
  { policy, collateral, now, roots }: DocumentQuestion,
): Promise<Pick<Part, 'verdict' | 'checks'>[]> {
  const parts = cpu === undefined ? [] : [cpu];
  const cpus = parts.flatMap((part) => part.cpu ?? []);
  const about = { given: NO_FILES, store: collateral ?? NO_FILES, alone: true, now };
  const statements = [
    await judgeEndorsements({ ...about, cpus, policy: policy.gce, roots: roots?.gce }),
    await judgeProvenance({ ...about, parts, policy: policy.provenance, pins: roots?.provenance }),
  ];
  return statements.filter((one) => one !== undefined);
}

/** The question for the formats; the report data is compared here, for all of them. */
const formatQuestion = ({ policy, collateral = NO_FILES, now, roots }: DocumentQuestion): Question => ({
  given: NO_FILES,
  store: collateral,
  policy: { ...completePolicy(policy), reportData: undefined },
  now,
  roots,
  // Whether GPUs are missing is seen from what the report data binds.
  withCpu: false,
});

/** The devices' own signatures; nothing when they are not all of formats that go together. */
async function judgeDevices(
  { ccMode, ready, devices }: GpuState,
  { binding, ocsp }: ParsedDocument,
  question: DocumentQuestion,
  { require, record }: Checklist,
): Promise<Part | undefined> {
  const formats = [...new Set(devices.map(({ format }) => format))];
  const signers = formats.map((name) => formatNamed(name)?.signedBy);
  const known =
    areOneFamily(formats) &&
    signers.includes('gpu') &&
    signers.every((signer) => signer === 'gpu' || signer === 'switch');
  require(['gpu.format']);
  record('gpu.format', known, 'evidence-rejected', `GPU evidence of format ${formats.join(' and ')}`);
  if (question.policy.gpu?.secondOpinionKeys !== undefined) {
    require(['nras.devices']);
    record(
      'nras.devices',
      false,
      'policy-rejected',
      'documents bring no second opinion, the policy demands one',
    );
  }
  if (!known) return undefined;
  const evidence = devices.map(({ format, evidence: bytes, certificates }) => ({
    format,
    bytes,
    certificates: parsedOnce(() => parseCertificates(certificates)),
  }));
  const parts = await judgeAll(evidence, {
    ...formatQuestion(question),
    given: { ...NO_FILES, ocsp },
    nonce: hex(gpuNonce(binding)),
    guest: { ccMode, ready },
  });
  return onlyPart(parts);
}

/** What the CPU signed, or all devices together, is judged as one; a part that nobody reads would count as accepted. */
function onlyPart(parts: readonly Part[]): Part | undefined {
  if (parts.length > 1) throw new TypeError(`expected one judgement, got ${parts.length}`);
  return parts[0];
}

/**
 * The report for a receipt by the same evidence, of a verifier that accepted the document before, in the same session
 * and under the same policy: only its age is judged anew.
 */
export function stillFresh(report: EvidenceReport, policy: Policy, usedAt: Date): EvidenceReport {
  const list = createChecklist(['evidence.fresh']);
  const issuedAt = report.claims?.issuedAt ?? new Date(Number.NaN);
  checkFreshness(issuedAt, usedAt, policy, list.record);
  const { verdict, checks } = list.result(report.claims?.label === 'HARDWARE' ? '' : 'SIMULATED: ');
  const others = report.checks.filter(({ id }) => id !== 'evidence.fresh');
  return {
    ...report,
    verdict: report.verdict === 'accept' ? verdict : 'reject',
    checks: [...others, ...checks],
  };
}

/** Throws the first failed check of a report as a VouchError with that check's code; returns when it accepts. */
export function demandAccepted(
  { verdict, checks }: { verdict: Verdict; checks: readonly Check[] },
  what = 'evidence',
): void {
  if (verdict === 'accept') return;
  const failed = checks.find(({ status }) => status === 'fail');
  throw new VouchError(
    failed?.code ?? 'evidence-rejected',
    `${what} rejected: ${failed?.id ?? 'a required check'}: ${failed?.detail ?? 'was not made'}`,
  );
}
