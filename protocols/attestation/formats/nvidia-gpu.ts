/**
 * Verifies the reports of NVIDIA GPUs (Hopper, Blackwell): the device's chain to NVIDIA's root, its signature over
 * request and response, the nonce, the firmware id, and every measurement against the signed manifests of driver
 * and vBIOS; for several GPUs that they are different ones in one mode. Pure: clock, certificates, CRLs and
 * manifests are arguments.
 *
 * Not guaranteed: that this GPU is the one attached to the guest that asked (a report can be relayed; the guest's
 * own evidence has to bind it), that NVSwitches are genuine, and CC mode, which only a measured guest can state.
 */
import { equal, hex } from '../../encoding.ts';
import { messageOf, VouchError } from '../../errors.ts';
import { type Certificate, parseCertificate } from '../certificate.ts';
import { chainCheckIds, recordChain, verifyChain } from '../chain.ts';
import { attempting, type Check, createChecklist, type Recorder, type Verdict } from '../checklist.ts';
import type { GpuArchitecture, GpuPolicy } from '../policy.ts';
import { NVIDIA_DEVICE_ROOTS } from '../roots/nvidia.ts';
import { rememberSignatures, type SignatureVerifier, verifyEcdsa } from '../signature.ts';
import {
  certificateFwid,
  type GpuEvidence,
  type GpuMode,
  type GpuReport,
  MAX_GPUS,
  parseGpuReport,
} from './nvidia-report.ts';
import { checkRim, parseRim, type Rim, rimCheckIds } from './rim.ts';

export interface GpuQuestion {
  readonly gpus: readonly GpuEvidence[];
  /** manifests, in any order; those of other versions are not used */
  readonly rims: readonly Uint8Array[];
  /** the 32 bytes that the verifier asked with; without it nothing is accepted */
  readonly nonce?: Uint8Array | undefined;
  /** what the guest says of its GPUs; trusted as far as the guest's own evidence goes */
  readonly guest?: { readonly ccMode: 'on' | 'off' | 'devtools'; readonly ready: boolean } | undefined;
  /** DER */
  readonly crls?: readonly Uint8Array[] | undefined;
  readonly policy: GpuPolicy;
  readonly now: Date;
  /** fingerprints; NVIDIA's own unless others are to be trusted */
  readonly roots?: { readonly device: readonly string[]; readonly rim: readonly string[] } | undefined;
}

/** What a GPU's report says. Bytes are lower-case hex. */
export interface GpuClaims {
  readonly platform: 'nvidia-gpu';
  readonly architecture: GpuArchitecture;
  /** such as GH100 */
  readonly chip: string;
  /** SHA-256 fingerprint of the device's own certificate, the same under every firmware */
  readonly device: string;
  /** serial number of the attestation key's certificate */
  readonly serial: string;
  readonly driverVersion: string;
  readonly vbiosVersion: string;
  readonly project: string;
  readonly projectSku: string;
  readonly chipSku: string;
  readonly mode: GpuMode;
  readonly switches: readonly string[];
  readonly nonce: string;
  readonly fwid?: string;
}

export interface GpuResult {
  readonly verdict: Verdict;
  readonly checks: readonly Check[];
  /** of the GPUs whose signature and chain hold, whatever the verdict */
  readonly claims: readonly GpuClaims[];
}

/** The device's chain: attestation key, device, provisioner, product, root. */
const CHAIN_LENGTH = 5;
/** Index of the measurement that only counts while the first video decoder is in use. */
const NVDEC0_INDEX = 35;

const EACH = [
  'gpu.report',
  'gpu.certificates',
  ...chainCheckIds('gpu.chain'),
  'gpu.signature',
  'gpu.nonce',
  'gpu.fwid',
  'gpu.architecture',
  'gpu.mode',
] as const;
const MANIFESTS = ['rim.driver', 'rim.vbios'] as const;

/**
 * Verifies the GPUs of one machine. The checks of the second one are named `gpu.2.signature` and so on. Never
 * throws for what the evidence holds: that is a failed check.
 */
export async function verifyGpu(question: GpuQuestion): Promise<GpuResult> {
  const { gpus, policy, guest } = question;
  const list = createChecklist(['gpu.count', 'gpu.distinct', 'gpu.one-mode']);
  const { record } = list;
  const wanted = policy.count ?? gpus.length;
  record(
    'gpu.count',
    gpus.length > 0 && gpus.length === wanted && gpus.length <= MAX_GPUS,
    'policy-rejected',
    `${gpus.length} GPUs, ${policy.count ?? `1 to ${MAX_GPUS}`} demanded`,
  );
  if (guest === undefined && policy.guestState === 'if-present') {
    list.omit('gpu.cc-mode', 'not stated by a guest, not demanded');
  } else list.require(['gpu.cc-mode', 'gpu.ready']);
  if (guest !== undefined) {
    record('gpu.cc-mode', guest.ccMode === 'on', 'policy-rejected', `CC mode is ${guest.ccMode}`);
    record('gpu.ready', guest.ready, 'policy-rejected', `the GPUs are ${guest.ready ? '' : 'not '}ready`);
  }
  const verify = rememberSignatures();
  const results: { report: GpuReport; claims: GpuClaims | undefined; device: string }[] = [];
  for (const [i, evidence] of gpus.slice(0, MAX_GPUS).entries()) {
    const named = (id: string) => (i === 0 ? id : id.replace(/^(gpu|rim)\./, `$1.${i + 1}.`));
    const own = {
      record: (...[id, ...rest]: Parameters<Recorder>) => record(named(id), ...rest),
      require: (ids: readonly string[]) => list.require(ids.map(named)),
      omit: (id: string, why: string) => list.omit(named(id), why),
    };
    own.require(EACH);
    const result = await checkGpu(evidence, { ...question, verify }, own);
    if (result !== undefined) results.push(result);
  }
  if (results.length === gpus.length && gpus.length > 0) {
    const devices = new Set(results.map(({ device }) => device));
    record(
      'gpu.distinct',
      devices.size === gpus.length,
      'evidence-rejected',
      `${devices.size} different of ${gpus.length}`,
    );
    checkModes(
      results.map(({ report }) => report),
      policy,
      list,
    );
  }
  const claims = results.flatMap((result) => (result.claims === undefined ? [] : [result.claims]));
  return { ...list.result(''), claims };
}

/** All GPUs in one mode; behind switches, all at the same ones. */
function checkModes(reports: readonly GpuReport[], { switches }: GpuPolicy, list: OwnList): void {
  const modes = new Set(reports.map(({ mode }) => mode));
  list.record(
    'gpu.one-mode',
    modes.size === 1,
    'evidence-rejected',
    `mode ${[...modes].join(' and ')}${modes.size === 1 ? '' : ': mixed'}`,
  );
  if (!modes.has('ppcie')) return;
  list.require(['gpu.topology']);
  const seen = new Set(reports.map((report) => report.switches.join(' ')));
  const count = reports[0]!.switches.length;
  const fits = seen.size === 1 && count > 0 && (switches === undefined || count === switches);
  list.record(
    'gpu.topology',
    fits,
    'evidence-rejected',
    seen.size > 1
      ? 'the GPUs are not all at the same switches'
      : `every GPU is at ${count} switches${switches === undefined ? '' : `, ${switches} demanded`}`,
  );
}

type JudgedQuestion = GpuQuestion & { readonly verify: SignatureVerifier };

interface OwnList {
  readonly record: Recorder;
  readonly require: (ids: readonly string[]) => void;
  readonly omit: (id: string, why: string) => void;
}

async function checkGpu(
  evidence: GpuEvidence,
  question: JudgedQuestion,
  list: OwnList,
): Promise<{ report: GpuReport; claims: GpuClaims | undefined; device: string } | undefined> {
  const { policy, now, crls, nonce, roots, verify } = question;
  const { record } = list;
  const attempt = attempting(record);
  const report = attempt(
    'gpu.report',
    () => parseGpuReport(evidence.report),
    ({ measurements }) => `SPDM 1.1, ${measurements.size} measurements`,
  );
  const chainOf = attempt(
    'gpu.certificates',
    () => orderChain(evidence.certificates),
    ({ leaf }) => leaf.subjectName,
  );
  if (report === undefined || chainOf === undefined) return undefined;
  const { leaf, others } = chainOf;

  const chain = await verifyChain({
    leaf: leaf.der,
    intermediates: others.map(({ der }) => der),
    exact: true,
    rootFingerprints: roots?.device ?? NVIDIA_DEVICE_ROOTS,
    crls,
    revocation: policy.revocation,
    now,
    verify,
  });
  recordChain(chain, 'gpu.chain', record);
  const signed = await verifyEcdsa(leaf.key, 'SHA-384', report.signature, report.signed);
  record('gpu.signature', signed, 'signature-rejected', `${signed ? '' : 'not '}by ${leaf.subjectName}`);
  if (nonce !== undefined) {
    const fresh = equal(nonce, report.requestNonce);
    const found = hex(report.requestNonce).slice(0, 16);
    record(
      'gpu.nonce',
      fresh,
      'evidence-rejected',
      fresh ? found : `expected ${hex(nonce).slice(0, 16)}, got ${found}`,
    );
  }
  checkFwid(report, leaf, policy, list);
  const chip = chipOf(leaf.subjectName) ?? chipOf(chain.path[1]?.subjectName ?? '') ?? '';
  const architecture = architectureOf(chip);
  record(
    'gpu.architecture',
    architecture !== undefined && policy.architectures.includes(architecture),
    'policy-rejected',
    `${chip || leaf.subjectName} is ${architecture ?? 'of no known architecture'}`,
  );
  record('gpu.mode', policy.modes.includes(report.mode), 'policy-rejected', `mode ${report.mode}`);
  checkVersion('gpu.driver', report.driverVersion, policy.drivers, list);
  checkVersion('gpu.vbios', report.vbiosVersion, policy.vbioses, list);

  const device = chain.path[1]?.fingerprint ?? '';
  if (policy.devices !== undefined) {
    record(
      'gpu.device-allowed',
      policy.devices.includes(device),
      'policy-rejected',
      `device ${device.slice(0, 16)}`,
    );
  }
  await checkManifests(report, chip, question, list);
  const held = signed && chain.checks.every(({ name, status }) => name !== 'path' || status === 'pass');
  const claims: GpuClaims | undefined =
    held && architecture !== undefined
      ? {
          platform: 'nvidia-gpu',
          architecture,
          chip,
          device,
          serial: leaf.serial,
          driverVersion: report.driverVersion,
          vbiosVersion: report.vbiosVersion,
          project: report.project,
          projectSku: report.projectSku,
          chipSku: report.chipSku,
          mode: report.mode,
          switches: report.switches,
          nonce: hex(report.requestNonce),
          ...(report.fwid === undefined ? {} : { fwid: hex(report.fwid) }),
        }
      : undefined;
  return { report, claims, device };
}

/** Five certificates of which one is no authority; throws `bad-file` or `evidence-rejected`. */
function orderChain(certificates: readonly Uint8Array[]): { leaf: Certificate; others: Certificate[] } {
  const refuse = (reason: string): never => {
    throw new VouchError('evidence-rejected', reason);
  };
  if (certificates.length !== CHAIN_LENGTH) {
    return refuse(`expected a chain of ${CHAIN_LENGTH} certificates, got ${certificates.length}`);
  }
  const parsed = certificates.map((der, i) => parseCertificate(der, `certificate ${i + 1}`));
  const leaves = parsed.filter(({ authority }) => !authority);
  const [leaf] = leaves;
  if (leaf === undefined || leaves.length > 1) {
    return refuse(`expected one certificate of an attestation key, got ${leaves.length}`);
  }
  if (leaf.key.type !== 'EC' || leaf.key.curve !== 'P-384') return refuse('expected a P-384 attestation key');
  if (leaf.usage?.has('digitalSignature') === false) return refuse('the attestation key may not sign');
  return { leaf, others: parsed.filter((certificate) => certificate !== leaf) };
}

/** Names start with the chip: GH100 A01 GSP FMC LF. */
const chipOf = (name: string): string | undefined => /^[A-Z]{2}[0-9]{3}(?= |$)/.exec(name)?.[0];

function architectureOf(chip: string): GpuArchitecture | undefined {
  if (chip.startsWith('GH')) return 'hopper';
  return chip.startsWith('GB') ? 'blackwell' : undefined;
}

function checkFwid(report: GpuReport, leaf: Certificate, policy: GpuPolicy, list: OwnList): void {
  if (report.fwid === undefined) {
    if (policy.fwid === 'if-present') list.omit('gpu.fwid', 'the driver does not report it, not demanded');
    else list.record('gpu.fwid', false, 'evidence-rejected', 'the report states no firmware id');
    return;
  }
  try {
    const certified = certificateFwid(leaf);
    const matches = certified !== undefined && equal(certified, report.fwid);
    const found =
      certified === undefined ? 'the certificate states none' : `certified ${hex(certified).slice(0, 16)}`;
    list.record(
      'gpu.fwid',
      matches,
      'evidence-rejected',
      `reported ${hex(report.fwid).slice(0, 16)}, ${found}`,
    );
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    list.record('gpu.fwid', false, 'evidence-rejected', messageOf(error));
  }
}

function checkVersion(
  id: string,
  version: string,
  allowed: readonly string[] | undefined,
  list: OwnList,
): void {
  if (allowed === undefined) return;
  list.record(id, allowed.includes(version), 'policy-rejected', `version ${version}`);
}

async function checkManifests(
  report: GpuReport,
  chip: string,
  question: JudgedQuestion,
  list: OwnList,
): Promise<void> {
  const { policy, crls, now, roots, verify } = question;
  const rims = readManifests(question.rims, list);
  if (rims === undefined) return;
  const used: Rim[] = [];
  for (const id of MANIFESTS) {
    const kind = id === 'rim.driver' ? 'driver' : 'vbios';
    const version = kind === 'driver' ? report.driverVersion : report.vbiosVersion;
    const candidates = rims.filter((rim) => rim.kind === kind);
    if (candidates.length === 0 && policy.rims === 'if-present') {
      list.omit(`${id}.version`, `no manifest for ${version} at hand, none demanded`);
      continue;
    }
    list.require([`${id}.version`, `${id}.product`, ...rimCheckIds(id)]);
    const fitting = candidates.filter((rim) => rim.version.toUpperCase() === version);
    const rim = fitting.find(({ product }) => sameFamily(product, chip)) ?? fitting[0];
    const others = candidates.map((candidate) => candidate.version).join(', ') || 'none';
    const detail = rim === undefined ? `expected a manifest for ${version}, got ${others}` : `for ${version}`;
    list.record(`${id}.version`, rim !== undefined, 'evidence-rejected', detail);
    if (rim === undefined) continue;
    list.record(
      `${id}.product`,
      sameFamily(rim.product, chip),
      'evidence-rejected',
      `for ${rim.product} on ${chip}`,
    );
    const trust = { crls, revocation: policy.revocation, now, roots: roots?.rim, verify };
    await checkRim(rim, trust, id, list.record);
    used.push(rim);
  }
  if (used.length > 0) checkMeasurements(report, used, list);
  else if (policy.rims === 'if-present') list.omit('gpu.measurements', 'no manifest at hand, none demanded');
  else list.require(['gpu.measurements']);
}

function readManifests(files: readonly Uint8Array[], list: OwnList): Rim[] | undefined {
  try {
    return files.map((bytes, i) => parseRim(bytes, `RIM ${i + 1}`));
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    list.record('rim.document', false, 'evidence-rejected', messageOf(error));
    return undefined;
  }
}

/** GH100 and GH100; GB202 and GB20X: manifests name a family by its first digit. */
const sameFamily = (product: string, chip: string): boolean =>
  chip !== '' && product.slice(0, 3).toUpperCase() === chip.slice(0, 3);

/** Every active index of the manifests must be measured, with one of its values; none may be active in two. */
function checkMeasurements(report: GpuReport, rims: readonly Rim[], list: OwnList): void {
  list.require(['gpu.measurement-indices', 'gpu.measurements']);
  const expected = new Map<number, readonly string[]>();
  const twice: number[] = [];
  for (const { measurements } of rims) {
    for (const [index, { active, values }] of measurements) {
      if (!active) continue;
      if (expected.has(index)) twice.push(index);
      expected.set(index, values);
    }
  }
  list.record(
    'gpu.measurement-indices',
    twice.length === 0 && expected.size > 0,
    'evidence-rejected',
    twice.length === 0 ? `${expected.size} active` : `${twice.join(', ')} active in both manifests`,
  );
  const skipped = report.nvdec0 === false && expected.delete(NVDEC0_INDEX);
  const wrong = [...expected].filter(([index, values]) => {
    // A manifest counts from 0, SPDM from 1.
    const measured = report.measurements.get(index + 1);
    return measured === undefined || !values.includes(hex(measured.value));
  });
  const matching = `${expected.size - wrong.length} of ${expected.size} match`;
  const names = wrong.slice(0, 16).map(([index]) => index);
  list.record(
    'gpu.measurements',
    wrong.length === 0 && expected.size > 0,
    'evidence-rejected',
    `${matching}${wrong.length === 0 ? '' : `, not ${names.join(', ')}`}${skipped ? ', NVDEC0 is off' : ''}`,
  );
}
