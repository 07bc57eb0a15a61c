/**
 * Verification of an evidence document against a policy: pure, offline, with every check named. What the CPU and the
 * GPUs signed is checked by their formats (formats/*.ts); what ties them to each other, to the verifier's nonce, to
 * keys and to a model is checked here, the same for all. Every required check must pass; one that could not run counts
 * as failed.
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
import { parseCertificate } from './certificate.ts';
import { type Check, type Checklist, createChecklist, type Recorder, type Verdict } from './checklist.ts';
import {
  bindingOf,
  cpuOf,
  EvidenceDocument,
  evidenceDigest,
  gpuOf,
  isHardware,
  labelOf,
  type Signed,
} from './document.ts';
import { type SortedFiles, sortFiles } from './evidence-files.ts';
import { judgeGpus, judgeQuote, judgeSnp, type Part, type VendorRoots } from './evidence-verdict.ts';
import { SIMULATED, SIMULATED_GPU, verifySimulated, verifySimulatedGpus } from './formats/simulated.ts';
import { completePolicy, measurementAccepted, type Policy } from './policy.ts';
import { type Binding, type GpuState, gpuEvidenceDigest, gpuNonce, reportData } from './report-data.ts';

/** Seconds by which a signer's clock may be ahead of the verifier's. */
export const CLOCK_SKEW_SECONDS = 60;

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

/** What vendors publish about their hardware, sorted, and the digests of the files, where they are known. */
export type Collateral = SortedFiles & { readonly digests?: ReadonlySet<string> };
export const NO_FILES: Collateral = sortFiles([]);

export interface EvidenceQuestion {
  /** an EvidenceDocument, not yet checked */
  readonly document: unknown;
  readonly policy: Policy;
  /** the nonce that the verifier sent, lower-case hex */
  readonly nonce: string;
  /** the commitment that the evidence must bind, where the verifier knows one */
  readonly modelCommitment?: string | undefined;
  /** the verifier's clock */
  readonly now: Date;
  /** when the evidence was relied upon, for its age; default `now` */
  readonly usedAt?: Date | undefined;
  /** for evidence of hardware */
  readonly collateral?: Collateral | undefined;
  /** the vendors' own unless others are to be trusted, which tests alone do */
  readonly roots?: VendorRoots | undefined;
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
  const { policy } = question;
  const list = createChecklist(REQUIRED);
  const { record } = list;

  let parsed: Parsed;
  try {
    parsed = parseDocument(question.document);
    record('evidence.document', true, 'evidence-rejected', 'a document of version 2');
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    record('evidence.document', false, 'evidence-rejected', messageOf(error));
    return list.result('');
  }
  const { document, binding, gpu } = parsed;
  const prefix = labelOf(document);

  const cpu = await judgeCpu(parsed, question, list);
  const { claims } = cpu;
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

  const own = list.result(prefix);
  const parts = [cpu.part, gpus].filter((part) => part !== undefined);
  const verdict = [own, ...parts].every((part) => part.verdict === 'accept') ? 'accept' : 'reject';
  const labelled = (part: Part) => part.checks.map((one) => ({ ...one, detail: prefix + one.detail }));
  const hardware = isHardware(document);
  return {
    verdict,
    checks: [...own.checks, ...parts.flatMap(labelled)],
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
            ...(cpu.part?.claims === undefined ? {} : { cpu: cpu.part.claims }),
            ...(gpus?.claims === undefined ? {} : { gpus: gpus.claims }),
          },
        }),
    ...(verdict === 'accept'
      ? { binding, sealingKey: policy.sealing === 'x-wing' ? binding.xWingKey! : binding.hpkeKey }
      : {}),
  };
}

interface Parsed {
  readonly document: EvidenceDocument;
  readonly cpu: Signed;
  readonly gpu: GpuState | undefined;
  readonly binding: Binding;
  /** what the CPU must have signed */
  readonly reportData: Uint8Array;
}

/** Throws `bad-message`, and what a damaged certificate gives. */
function parseDocument(input: unknown): Parsed {
  const document = parse(EvidenceDocument, input, 'evidence');
  const cpu = cpuOf(document);
  const gpu = gpuOf(document);
  for (const der of cpu.certificates) parseCertificate(der, 'evidence.cpu.certificates');
  const binding = bindingOf(document);
  return { document, cpu, gpu, binding, reportData: reportData(binding) };
}

/** What the CPU's own format says, as far as all formats say it. */
interface CpuClaims {
  readonly platform: string;
  readonly measurement: string;
  readonly debug: boolean;
  readonly reportData: Uint8Array;
  /** of simulated platforms */
  readonly tcb?: readonly number[];
}

/** Simulated evidence records into `list`; that of hardware comes as a part of its own. */
async function judgeCpu(
  { cpu }: Parsed,
  question: EvidenceQuestion,
  list: Checklist,
): Promise<{ claims?: CpuClaims | undefined; part?: Part }> {
  const { policy } = question;
  const { format, evidence } = cpu;
  const known = format === SIMULATED || CPU_FORMATS.includes(format);
  if (!known) {
    list.record('evidence.format', false, 'evidence-rejected', `format ${format} is not known here`);
    return {};
  }
  if (format === SIMULATED) {
    list.record('evidence.format', true, 'evidence-rejected', `format ${format} is known`);
    list.require(['policy.tcb']);
    return { claims: verifySimulated(evidence, policy, list) };
  }
  const file = { name: 'cpu', bytes: evidence };
  const certificates = cpu.certificates.map((der) => parseCertificate(der));
  const files = { ...questionOf(question), given: { ...NO_FILES, certificates } };
  const part = await (format === 'sev-snp' ? judgeSnp(file, files) : judgeQuote(file, files));
  const said = part.claims as (Omit<CpuClaims, 'reportData'> & { reportData: string }) | undefined;
  const fits = said === undefined || said.platform === format;
  const detail = fits
    ? `format ${format} is known`
    : `the document says ${format}, the evidence is ${said.platform}`;
  list.record('evidence.format', fits, 'evidence-rejected', detail);
  const claims = said && {
    platform: said.platform,
    measurement: said.measurement,
    debug: said.debug,
    reportData: Uint8Array.from(said.reportData.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16)),
  };
  return { claims, part };
}
const CPU_FORMATS: readonly string[] = ['sev-snp', 'tdx', 'sgx'];

/** The question for the formats of hardware; the report data is compared here, for all of them. */
const questionOf = ({ policy, collateral = NO_FILES, now, roots }: EvidenceQuestion) => ({
  given: NO_FILES,
  store: collateral,
  policy: { ...completePolicy(policy), reportData: undefined },
  now,
  roots,
});

async function judgeDevices(
  { ccMode, ready, devices }: GpuState,
  { binding }: Parsed,
  question: EvidenceQuestion,
  list: Checklist,
): Promise<Part | undefined> {
  const { policy } = question;
  const nonce = gpuNonce(binding);
  const formats = [...new Set(devices.map(({ format }) => format))];
  // Switches come beside GPUs, never instead of them.
  const nvidia =
    formats.includes('nvidia-gpu') &&
    formats.every((format) => format === 'nvidia-gpu' || format === 'nvidia-switch');
  const known = nvidia || (formats.length === 1 && formats[0] === SIMULATED_GPU);
  list.require(['gpu.format']);
  list.record('gpu.format', known, 'evidence-rejected', `GPU evidence of format ${formats.join(' and ')}`);
  if (!known) return undefined;
  if (nvidia) {
    const of = (wanted: string) =>
      devices
        .filter(({ format }) => format === wanted)
        .map(({ evidence, certificates }) => ({ report: evidence, certificates }));
    return judgeGpus({
      ...questionOf(question),
      given: { ...NO_FILES, gpus: of('nvidia-gpu'), switches: of('nvidia-switch') },
      nonce: hex(nonce),
      guest: { ccMode, ready },
    });
  }
  list.require(['gpu.platform-allowed', 'gpu.count', 'gpu.cc-mode', 'gpu.ready']);
  const { record } = list;
  const allowed = policy.platforms.includes(SIMULATED);
  record(
    'gpu.platform-allowed',
    allowed,
    'policy-rejected',
    `the policy accepts ${policy.platforms.join(', ')}`,
  );
  const wanted = policy.gpu?.count ?? devices.length;
  record(
    'gpu.count',
    devices.length === wanted,
    'policy-rejected',
    `${devices.length} GPUs, ${wanted} demanded`,
  );
  record('gpu.cc-mode', ccMode === 'on', 'policy-rejected', `CC mode is ${ccMode}`);
  record('gpu.ready', ready, 'policy-rejected', `the GPUs are ${ready ? '' : 'not '}ready`);
  const evidence = devices.map((device) => device.evidence);
  verifySimulatedGpus(evidence, nonce, policy, list);
  return undefined;
}

/** Whether the GPU evidence that came is the one that the CPU's report data commits to. */
function checkGpuBound(
  { document, gpu, reportData }: Parsed,
  claims: CpuClaims | undefined,
  policy: Policy,
  { record, omit }: Checklist,
): void {
  const demanded = policy.requiredBinding.includes('gpuEvidence') || policy.gpu?.count !== undefined;
  const { gpuEvidence } = document;
  const fail = (why: string) => record('gpu.bound', false, 'evidence-rejected', why);
  if (gpu === undefined) {
    if (gpuEvidence !== null) fail('the evidence binds GPUs whose evidence is missing');
    else if (demanded) fail('no GPU evidence came, and the policy demands it');
    else omit('gpu.bound', 'no GPU evidence, and none demanded');
  } else if (gpuEvidence === null) fail('GPU evidence came that nothing binds to the CPU');
  else if (gpuEvidence !== hex(gpuEvidenceDigest(gpu))) fail('the evidence binds other GPU evidence');
  else if (claims !== undefined) {
    const bound = equal(claims.reportData, reportData);
    record(
      'gpu.bound',
      bound,
      'evidence-rejected',
      `the CPU's report data ${bound ? 'binds' : 'does not bind'} it`,
    );
  }
}

function checkBinding(
  { document, binding }: Parsed,
  { policy, nonce, modelCommitment }: EvidenceQuestion,
  { record, omit }: Checklist,
): void {
  record(
    'binding.nonce',
    document.nonce === nonce,
    'replayed',
    'the nonce in the evidence is compared with the one asked for',
  );
  if (modelCommitment === undefined) omit('binding.model-commitment', 'no commitment was expected');
  else {
    record(
      'binding.model-commitment',
      document.modelCommitment === modelCommitment,
      'commitment-mismatch',
      `expected model commitment ${modelCommitment}, got ${document.modelCommitment ?? 'none'}`,
    );
  }
  const missing = policy.requiredBinding.filter((name) => binding[name] === undefined);
  record(
    'binding.required',
    missing.length === 0,
    'policy-rejected',
    missing.length === 0 ? 'all that the policy asks for is bound' : `not bound: ${missing.join(', ')}`,
  );
  const sealing = policy.sealing ?? 'x25519';
  const has = sealing === 'x25519' || binding.xWingKey !== undefined;
  record('policy.sealing', has, 'policy-rejected', `${has ? 'a' : 'no'} key for ${sealing} is bound`);
}

function checkPolicy(claims: CpuClaims, policy: Policy, record: Recorder): void {
  const { platform, measurement, debug, tcb } = claims;
  const accepted = (policy.platforms as readonly string[]).includes(platform);
  record('policy.platform', accepted, 'policy-rejected', `platform ${platform}`);
  // Of hardware, the format compares all the registers that the policy names.
  const { measurements = [] } = policy;
  const known =
    tcb === undefined ? measurements.length > 0 : measurementAccepted(measurements, { measurement });
  record('policy.measurement', known, 'policy-rejected', `measurement ${measurement}`);
  record('policy.debug', !debug || policy.debug, 'policy-rejected', `debug mode is ${debug ? 'on' : 'off'}`);
  if (tcb === undefined) return;
  const least = policy.minimumTcb[SIMULATED];
  record(
    'policy.tcb',
    least !== undefined && least.length === tcb.length && least.every((version, i) => tcb[i]! >= version),
    'policy-rejected',
    `TCB ${tcb.join('.')}, at least ${least?.join('.') ?? '(none stated)'} demanded`,
  );
}

function checkFreshness(
  issuedAt: Date,
  usedAt: Date,
  { maxAgeSeconds }: Pick<Policy, 'maxAgeSeconds'>,
  record: Recorder,
): void {
  const age = (usedAt.getTime() - issuedAt.getTime()) / 1000;
  // Written so that an invalid date (NaN) fails.
  const fresh = age <= maxAgeSeconds && age >= -CLOCK_SKEW_SECONDS;
  const detail = `age ${Math.round(age)} s, at most ${maxAgeSeconds} s`;
  record('evidence.fresh', fresh, 'evidence-rejected', detail);
}

/** Which of the files that the document names are at hand: a help to find what is missing, never a failure. */
function checkCollateral(
  { collateral: named }: EvidenceDocument,
  collateral: Collateral | undefined,
  { record, omit }: Checklist,
): void {
  if (named.length === 0) return;
  const missing = named.filter((digest) => collateral?.digests?.has(digest) !== true);
  const id = 'evidence.collateral';
  if (missing.length === 0)
    record(id, true, 'evidence-rejected', `all ${named.length} files named are at hand`);
  else
    omit(id, `not at hand, of ${named.length} files named: ${missing.map((d) => d.slice(0, 16)).join(', ')}`);
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
