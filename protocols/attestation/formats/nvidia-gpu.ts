/**
 * Verifies the reports of NVIDIA GPUs (Hopper, Blackwell) and of the NVSwitches between them: each device as such
 * (nvidia-device.ts); for several GPUs that they are different ones in one mode; and behind switches that all GPUs are
 * at the same ones, and that these are the switches whose evidence is there. Pure: clock, certificates, CRLs and
 * manifests are arguments.
 *
 * Not guaranteed: that this GPU is the one attached to the guest that asked (a report can be relayed; the guest's
 * own evidence has to bind it), and CC mode, which only a measured guest can state.
 */
import { hex } from '../../encoding.ts';
import { attempting, type Check, createChecklist, type Recorder, type Verdict } from '../checklist.ts';
import type { GpuArchitecture, GpuPolicy } from '../demands.ts';
import {
  GPU_DEMANDS,
  judgeGpuClaims,
  judgeGpuMachine,
  judgeGpuTopology,
  MACHINE_DEMANDS,
} from '../judgement/nvidia.ts';
import { MAX_DEVICES } from '../limits.ts';
import type { Parsed } from '../parsed.ts';
import { rememberSignatures, type SignatureVerifier } from '../signature.ts';
import type { GuestState } from './format.ts';
import type { GpuClaims } from './nvidia-claims.ts';
import {
  checkDevice,
  type DeviceCertificates,
  type DeviceKind,
  type DeviceList,
  type DeviceTrust,
  deviceCheckIds,
} from './nvidia-device.ts';
import {
  checkManifests,
  checkUnclaimed,
  claimedBy,
  type Measured,
  readManifests,
} from './nvidia-manifests.ts';
import type { GpuReport, SwitchReport } from './nvidia-report.ts';
import type { Rim } from './rim.ts';

/** What a device answered, and its certificates. */
export interface Answer<Report> extends DeviceCertificates {
  readonly report: Parsed<Report>;
}

export interface GpuQuestion extends Omit<DeviceTrust, 'verify'> {
  /** remembers signatures over several questions; default: over this one */
  readonly verify?: SignatureVerifier | undefined;
  readonly gpus: readonly Answer<GpuReport>[];
  readonly switches?: readonly Answer<SwitchReport>[] | undefined;
  /** manifests given for these devices, in any order */
  readonly rims: readonly Parsed<Rim>[];
  /** manifests in store, used where none was given */
  readonly storedRims?: readonly Parsed<Rim>[] | undefined;
  readonly guest?: GuestState | undefined;
}

/** What a switch's report says. Bytes are lower-case hex. */
export interface SwitchClaims {
  readonly chip: string;
  readonly device: string;
  readonly biosVersion: string;
  /** device identifiers, of the switch and of the GPUs at its ports */
  readonly pdi: string;
  readonly gpus: readonly string[];
  readonly nonce: string;
}

export interface GpuResult {
  readonly verdict: Verdict;
  readonly checks: readonly Check[];
  /** of the GPUs whose signature and chain hold, whatever the verdict */
  readonly claims: readonly GpuClaims[];
  /** the same, of the switches */
  readonly switches: readonly SwitchClaims[];
}

const EACH_GPU = ['gpu.report', ...deviceCheckIds('gpu'), ...GPU_DEMANDS] as const;
const EACH_SWITCH = ['switch.report', ...deviceCheckIds('switch'), 'switch.architecture'] as const;
/** NVSwitch 3 of Hopper's boards. */
const SWITCH_CHIP = 'LS10';

/**
 * Verifies the GPUs and switches of one machine; switches alone are verified as devices only. The checks of the second
 * GPU are named `gpu.2.signature` and so on. Never throws for what the evidence holds: that is a failed check.
 */
export async function verifyGpu(question: GpuQuestion): Promise<GpuResult> {
  const { gpus, switches = [], policy } = question;
  const list = createChecklist([]);
  const trust: DeviceTrust = { ...question, verify: question.verify ?? rememberSignatures() };
  const manifests = readManifests(question.rims, question.storedRims ?? [], list.record);
  const measured: Reading[] = [];
  const gpuResults: GpuOutcome[] = [];
  const switchResults: SwitchOutcome[] = [];
  if (gpus.length > 0 || switches.length === 0 || policy.count !== undefined) {
    list.require(MACHINE_DEMANDS);
    judgeGpuMachine({ gpus: gpus.length, guest: question.guest }, policy, list);
    for (const [i, evidence] of gpus.slice(0, MAX_DEVICES).entries()) {
      const own = numbered(list, 'gpu', i);
      own.require(EACH_GPU);
      const result = await checkGpu(evidence, trust, own);
      if (result === undefined) continue;
      gpuResults.push(result);
      measured.push({ ...result, list: own });
    }
    if (gpuResults.length === gpus.length && gpus.length > 0) checkTogether(gpuResults, list);
  }
  for (const [i, evidence] of switches.slice(0, MAX_DEVICES).entries()) {
    const own = numbered(list, 'switch', i);
    own.require(EACH_SWITCH);
    const result = await checkSwitch(evidence, trust, own);
    if (result === undefined) continue;
    switchResults.push(result);
    measured.push({ ...result, list: own });
  }
  if (manifests !== undefined) {
    const claimed = claimedBy(
      measured.map(({ device }) => device),
      manifests,
    );
    for (const { device, report, list: own } of measured) {
      await checkManifests(device, report, manifests, claimed, trust, own);
    }
    await checkUnclaimed(manifests, claimed, trust, list);
  }
  if (switches.length > MAX_DEVICES)
    list.record('switch.count', false, 'policy-rejected', `over ${MAX_DEVICES}`);
  const complete = gpuResults.length === gpus.length && switchResults.length === switches.length;
  if (gpus.length > 0 && complete) {
    checkTopology(
      gpuResults.map(({ report }) => report),
      switchResults.map(({ report }) => report),
      policy,
      list,
    );
  }
  return {
    ...list.result(''),
    claims: gpuResults.flatMap(({ claims }) => claims ?? []),
    switches: switchResults.flatMap(({ claims }) => claims ?? []),
  };
}

/** Names the checks of the second device and so on. */
function numbered(list: DeviceList, kind: DeviceKind, i: number): DeviceList {
  const named = (id: string) =>
    i === 0
      ? id
      : kind === 'gpu'
        ? id.replace(/^(gpu|rim)\./, `$1.${i + 1}.`)
        : id.replace(/^(switch|rim\.switch)\./, `$1.${i + 1}.`);
  return {
    record: (...[id, ...rest]: Parameters<Recorder>) => list.record(named(id), ...rest),
    require: (ids) => list.require(ids.map(named)),
    omit: (id, why) => list.omit(named(id), why),
  };
}

/** A device whose measurements are to be compared with manifests, and where that is recorded. */
interface Reading {
  readonly device: Measured;
  readonly report: GpuReport | SwitchReport;
  readonly list: DeviceList;
}

interface GpuOutcome {
  readonly report: GpuReport;
  readonly claims: GpuClaims | undefined;
  readonly fingerprint: string;
  readonly device: Measured;
}

/** Different ones, in one mode. */
function checkTogether(results: readonly GpuOutcome[], { record }: DeviceList): void {
  const devices = new Set(results.map(({ fingerprint }) => fingerprint));
  record(
    'gpu.distinct',
    devices.size === results.length,
    'evidence-rejected',
    `${devices.size} different of ${results.length}`,
  );
  const modes = new Set(results.map(({ report }) => report.mode));
  record(
    'gpu.one-mode',
    modes.size === 1,
    'evidence-rejected',
    `mode ${[...modes].join(' and ')}${modes.size === 1 ? '' : ': mixed'}`,
  );
}

/**
 * Behind switches: every GPU at the same ones, and these are the ones whose evidence is there, each of which sees as
 * many different GPUs as there are (nvtrust, ppcie-verifier).
 */
function checkTopology(
  gpus: readonly GpuReport[],
  switches: readonly SwitchReport[],
  policy: GpuPolicy,
  list: DeviceList,
): void {
  const behind = gpus.some(({ mode }) => mode === 'ppcie');
  if (!behind && switches.length === 0) return;
  list.require(['gpu.topology']);
  judgeGpuTopology({ seen: gpus[0]!.switches.length, evidence: switches.length }, policy, list);
  const fault = topologyFault(gpus, switches);
  const seen = gpus[0]!.switches.length;
  list.record(
    'gpu.topology',
    fault === undefined,
    'evidence-rejected',
    fault ?? `every GPU is at ${seen} switches`,
  );
}

function topologyFault(gpus: readonly GpuReport[], switches: readonly SwitchReport[]): string | undefined {
  if (gpus.some(({ mode }) => mode !== 'ppcie')) return 'switches beside GPUs that are not behind any';
  const sets = new Set(gpus.map((gpu) => gpu.switches.join(' ')));
  if (sets.size > 1) return 'the GPUs are not all at the same switches';
  const seen = gpus[0]!.switches;
  if (seen.length === 0) return 'the GPUs name no switches';
  if (switches.length === 0) return undefined;
  const present = switches.map(({ pdi }) => pdi).sort();
  if (present.join(' ') !== seen.join(' '))
    return 'the evidence is not of the switches that the GPUs see, each once';
  const views = new Set(switches.map((one) => one.gpus.join(' ')));
  if (views.size > 1) return 'the switches do not all see the same GPUs';
  const found = switches[0]!.gpus.length;
  return found === gpus.length
    ? undefined
    : `the switches see ${found} GPUs, there is evidence of ${gpus.length}`;
}

async function checkGpu(
  evidence: Answer<GpuReport>,
  trust: DeviceTrust,
  list: DeviceList,
): Promise<GpuOutcome | undefined> {
  const { record } = list;
  const report = attempting(record)(
    'gpu.report',
    evidence.report,
    ({ measurements }) => `SPDM 1.1, ${measurements.size} measurements`,
  );
  if (report === undefined) return undefined;
  const signer = await checkDevice('gpu', report, evidence, trust, list);
  if (signer === undefined) return undefined;
  const { leaf, chip, fingerprint } = signer;
  const architecture = architectureOf(chip);
  if (architecture === undefined) {
    const found = `${chip || leaf.subjectName} is of no known architecture`;
    record('gpu.architecture', false, 'policy-rejected', found);
  }
  const firmware = [
    { id: 'rim.driver', kind: 'driver', version: report.driverVersion },
    { id: 'rim.vbios', kind: 'vbios', version: report.vbiosVersion },
  ] as const;
  const device: Measured = { kind: 'gpu', firmware, reportedChip: report.chip, certifiedChip: chip };
  const claims: GpuClaims | undefined =
    signer.held && architecture !== undefined
      ? {
          platform: 'nvidia-gpu',
          architecture,
          chip: report.chip || chip,
          device: fingerprint,
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
  if (claims !== undefined) judgeGpuClaims(claims, trust.policy, record);
  return { report, claims, fingerprint, device };
}

function architectureOf(chip: string): GpuArchitecture | undefined {
  if (chip.startsWith('GH')) return 'hopper';
  return chip.startsWith('GB') ? 'blackwell' : undefined;
}

interface SwitchOutcome {
  readonly report: SwitchReport;
  readonly claims: SwitchClaims | undefined;
  readonly device: Measured;
}

async function checkSwitch(
  evidence: Answer<SwitchReport>,
  trust: DeviceTrust,
  list: DeviceList,
): Promise<SwitchOutcome | undefined> {
  const report = attempting(list.record)(
    'switch.report',
    evidence.report,
    ({ measurements }) => `SPDM 1.1, ${measurements.size} measurements`,
  );
  if (report === undefined) return undefined;
  const found = await checkDevice('switch', report, evidence, trust, list);
  if (found === undefined) return undefined;
  const { chip, fingerprint, held } = found;
  list.record('switch.architecture', chip === SWITCH_CHIP, 'policy-rejected', `chip ${chip || 'not named'}`);
  const firmware = [{ id: 'rim.switch', kind: 'vbios', version: report.biosVersion }] as const;
  const { biosVersion, pdi, gpus } = report;
  const nonce = hex(report.requestNonce);
  const claims = held ? { chip, device: fingerprint, biosVersion, pdi, gpus, nonce } : undefined;
  return {
    report,
    claims,
    device: { kind: 'switch', firmware, reportedChip: '', certifiedChip: chip },
  };
}
