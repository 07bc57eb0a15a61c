/** What a policy demands of an SNP report: patch levels, firmware, guest policy, build, platform and chip. */
import { equal, hex } from '../../encoding.ts';
import type { Recorder } from '../checklist.ts';
import { type Demands, measurementAccepted, type SnpPolicy } from '../demands.ts';
import type { AmdProduct } from '../roots/amd.ts';
import { floorsOf, SNP_FLOORS_DATE } from './sev-snp-floors.ts';
import { type SnpReport, type SnpTcb, TCB_COMPONENTS, tcbOf } from './sev-snp-report.ts';

/** What a policy may demand of a report that holds. */
export type SnpDemands = Pick<Demands, 'debug' | 'measurements' | 'reportData' | 'amd'>;

/** Records what the policy wants of a report: its TCB, its guest and its platform. */
export function checkDemands(
  report: SnpReport,
  product: AmdProduct,
  policy: SnpDemands,
  record: Recorder,
): void {
  checkTcb(report, product, policy.amd, record);
  checkGuest(report, policy, record);
  checkPlatform(report, policy.amd, record);
}

function checkTcb(report: SnpReport, product: AmdProduct, policy: SnpPolicy, record: Recorder): void {
  const versions = { reported: report.reportedTcb, committed: report.committedTcb, launch: report.launchTcb };
  const demanded = TCB_COMPONENTS.filter((component) => policy.minimumTcb[component] !== undefined);
  const faults = Object.entries(versions).flatMap(([name, bytes]) => {
    const tcb = tcbOf(product, bytes);
    return demanded
      .filter((component) => (tcb[component] ?? -1) < policy.minimumTcb[component]!)
      .map((component) => `${name} ${component} ${tcb[component] ?? 'none'}`);
  });
  const minimum =
    demanded.length === 0 ? 'none demanded' : `at least ${describeTcb(policy.minimumTcb as SnpTcb)}`;
  record(
    'snp.minimum-tcb',
    faults.length === 0,
    'policy-rejected',
    faults.length === 0 ? minimum : `${faults.join(', ')}, but ${minimum} demanded`,
  );
  checkFloors(report, product, policy, versions, record);
  checkMitigations(report, policy, record);
  const committed =
    report.currentVersion === report.committedVersion && equal(report.currentTcb, report.committedTcb);
  const { minimumFirmware: least } = policy;
  const recent = least === undefined || atLeast(report.committedVersion, least);
  record(
    'snp.firmware',
    (committed || policy.uncommittedFirmware) && recent,
    'policy-rejected',
    recent
      ? `${report.currentVersion} (${describeTcb(tcbOf(product, report.currentTcb))}) is ${committed ? '' : 'not '}committed`
      : `committed ${report.committedVersion}, at least ${least} demanded`,
  );
}

/** What AMD's bulletins call mitigated. */
function checkFloors(
  report: SnpReport,
  product: AmdProduct,
  { tcbFloors }: SnpPolicy,
  versions: Readonly<Record<string, Uint8Array>>,
  record: Recorder,
): void {
  if (tcbFloors === 'none') return;
  const floors = floorsOf(product, report);
  const below = Object.entries(versions).flatMap(([name, bytes]) => {
    const tcb = tcbOf(product, bytes);
    return TCB_COMPONENTS.filter((component) => (tcb[component] ?? 0) < (floors[component] ?? 0)).map(
      (component) => `${name} ${component} ${tcb[component] ?? 0}`,
    );
  });
  const bulletins = `what AMD's bulletins up to ${SNP_FLOORS_DATE} call mitigated on ${product}: ${describeTcb(floors)}`;
  record(
    'snp.tcb-floor',
    below.length === 0,
    'policy-rejected',
    below.length === 0 ? `at least ${bulletins}` : `${below.join(', ')} is below ${bulletins}`,
  );
}

function checkMitigations({ mitigations, version }: SnpReport, policy: SnpPolicy, record: Recorder): void {
  const { launch, current } = policy.mitigations;
  if (launch.length + current.length === 0) return;
  if (mitigations === undefined) {
    record('snp.mitigations', false, 'policy-rejected', `a report of version ${version} states none`);
    return;
  }
  const missing = (vector: bigint, bits: readonly number[]) =>
    bits.filter((bit) => ((vector >> BigInt(bit)) & 1n) === 0n);
  const faults = [
    ...missing(mitigations.launch, launch).map((bit) => `launch bit ${bit}`),
    ...missing(mitigations.current, current).map((bit) => `current bit ${bit}`),
  ];
  const found = `launch 0x${mitigations.launch.toString(16)}, current 0x${mitigations.current.toString(16)}`;
  const detail = faults.length === 0 ? found : `${found}; not set: ${faults.join(', ')}`;
  record('snp.mitigations', faults.length === 0, 'policy-rejected', detail);
}

/** Bits of PLATFORM_INFO; what new firmware adds means nothing here. */
const SMT = 0n;
const FEATURES: Readonly<Record<SnpPolicy['platformFeatures'][number], bigint>> = {
  tsme: 1n,
  ecc: 2n,
  'rapl-disabled': 3n,
  'ciphertext-hiding': 4n,
  'alias-checked': 5n,
  'iommu-write-safe': 6n,
  tio: 7n,
};

function checkPlatform({ platformInfo }: SnpReport, policy: SnpPolicy, record: Recorder): void {
  const has = (bit: bigint) => ((platformInfo >> bit) & 1n) === 1n;
  const missing = policy.platformFeatures.filter((feature) => !has(FEATURES[feature]));
  const faults = [
    ...(has(SMT) && !policy.smt ? ['two threads run on a core'] : []),
    ...(missing.length > 0 ? [`not turned on: ${missing.join(', ')}`] : []),
  ];
  const bits = `platform info 0x${platformInfo.toString(16)}`;
  record('snp.platform', faults.length === 0, 'policy-rejected', [bits, ...faults].join(', '));
}

const atLeast = (version: string, least: string): boolean => {
  const [have, want] = [version, least].map((text) => text.split('.').map(Number));
  const at = have!.findIndex((number, i) => number !== want![i]);
  return at < 0 || have![at]! > want![at]!;
};

function checkGuest(report: SnpReport, policy: SnpDemands, record: Recorder): void {
  const { debug, migrationAgent } = report.policy;
  const { amd, measurements, reportData } = policy;
  record('snp.debug', !debug || policy.debug, 'policy-rejected', `debug mode is ${debug ? 'on' : 'off'}`);
  record(
    'snp.migration',
    !migrationAgent || amd.migration,
    'policy-rejected',
    `a migration agent is ${migrationAgent ? '' : 'not '}allowed`,
  );
  const asker = report.vmpl === 0xffffffff ? 'the host' : `VMPL ${report.vmpl}`;
  record('snp.vmpl', report.vmpl <= amd.maximumVmpl, 'policy-rejected', `asked for by ${asker}`);
  if (measurements !== undefined) {
    const reported = registersOf(report);
    const accepted = measurementAccepted(measurements, reported);
    record('snp.measurement', accepted, 'policy-rejected', reported.measurement);
  }
  if (reportData !== undefined) {
    const found = hex(report.reportData);
    record('snp.report-data', reportData === found, 'policy-rejected', found);
  }
  if (amd.chipIds !== undefined) {
    const chip = hex(report.chipId);
    const named = report.signingKey === 'VCEK' && amd.chipIds.some((id) => id.padEnd(128, '0') === chip);
    const found = report.signingKey === 'VCEK' ? chip.slice(0, 16) : 'a VLEK names no chip';
    record('snp.chip-allowed', named, 'policy-rejected', found);
  }
}

/** What a policy may name. */
export const registersOf = (report: SnpReport) => ({
  measurement: hex(report.measurement),
  hostData: hex(report.hostData),
  familyId: hex(report.familyId),
  imageId: hex(report.imageId),
  idKeyDigest: hex(report.idKeyDigest),
  authorKeyDigest: hex(report.authorKeyDigest),
  guestSvn: report.guestSvn,
});

/** Patch levels, for people. */
export const describeTcb = (tcb: SnpTcb): string =>
  TCB_COMPONENTS.flatMap((component) =>
    tcb[component] === undefined ? [] : `${component} ${tcb[component]}`,
  ).join(' ');
