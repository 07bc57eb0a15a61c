/** What a policy wants of a verified SNP report, judged on its claims alone: patch levels, firmware, guest, build, chip. */
import { fromHex } from '../../encoding.ts';
import type { Recorder } from '../checklist.ts';
import { type Demands, measurementAccepted, type SnpPolicy } from '../demands.ts';
import type { SnpClaims } from '../formats/sev-snp-claims.ts';
import { describeTcb, type SnpTcb, TCB_COMPONENTS } from '../formats/sev-snp-report.ts';
import { floorsOf, SNP_FLOORS_DATE } from './amd-floors.ts';

/** What a policy may demand of a report that holds. */
export type SnpDemands = Pick<Demands, 'debug' | 'measurements' | 'reportData' | 'amd'>;

/** Checks that every report has to pass, whatever the policy names. */
export const SNP_DEMANDS = [
  'snp.minimum-tcb',
  'snp.firmware',
  'snp.debug',
  'snp.migration',
  'snp.vmpl',
  'snp.platform',
] as const;

export function judgeSnpClaims(claims: SnpClaims, policy: SnpDemands, record: Recorder): void {
  const { amd, measurements, reportData } = policy;
  judgeTcb(claims, amd, record);
  judgeFirmware(claims, amd, record);
  judgeMitigations(claims, amd, record);
  judgeGuest(claims, policy, record);
  judgePlatform(claims, amd, record);
  judgeIdBlock(claims, amd, record);
  if (measurements !== undefined) {
    const accepted = measurementAccepted(measurements, registersOf(claims));
    record('snp.measurement', accepted, 'policy-rejected', claims.measurement);
  }
  if (reportData !== undefined) {
    record('snp.report-data', reportData === claims.reportData, 'policy-rejected', claims.reportData);
  }
  if (amd.chipIds !== undefined) {
    const { chipId } = claims;
    const named = amd.chipIds.some((id) => id.padEnd(128, '0') === chipId?.padEnd(128, '0'));
    record('snp.chip-allowed', named, 'policy-rejected', chipId ?? 'a VLEK names no chip');
  }
  checkId('snp.report-id', claims.reportId, amd.reportIds, record);
  checkId('snp.report-id-ma', claims.reportIdMa, amd.reportIdMas, record);
}

/** What a policy's builds may name. */
const registersOf = ({
  measurement,
  hostData,
  familyId,
  imageId,
  idKeyDigest,
  authorKeyDigest,
  guestSvn,
}: SnpClaims) => ({ measurement, hostData, familyId, imageId, idKeyDigest, authorKeyDigest, guestSvn });

function checkId(id: string, found: string, wanted: readonly string[] | undefined, record: Recorder): void {
  if (wanted !== undefined) record(id, wanted.includes(found), 'policy-rejected', found);
}

/** Those of `tcb` that are below `least`, by name. */
const belowIn = (tcb: SnpTcb, least: SnpTcb, name: string): string[] =>
  TCB_COMPONENTS.filter(
    (component) => least[component] !== undefined && (tcb[component] ?? -1) < least[component],
  ).map((component) => `${name} ${component} ${tcb[component] ?? 'none'}`);

function judgeTcb({ tcb, product, cpuid }: SnpClaims, policy: SnpPolicy, record: Recorder): void {
  const versions = Object.entries({ reported: tcb.reported, committed: tcb.committed, launch: tcb.launch });
  const below = (least: SnpTcb) => versions.flatMap(([name, version]) => belowIn(version, least, name));
  const least = policy.minimumTcb as SnpTcb;
  const faults = below(least);
  const demanded = Object.keys(least).length === 0 ? 'none demanded' : `at least ${describeTcb(least)}`;
  record(
    'snp.minimum-tcb',
    faults.length === 0,
    'policy-rejected',
    faults.length === 0 ? demanded : `${faults.join(', ')}, but ${demanded} demanded`,
  );
  if (policy.tcbFloors === 'none') return;
  const floors = floorsOf(product, { ...(cpuid === undefined ? {} : { cpuid }) });
  const open = below(floors);
  const bulletins = `what AMD's bulletins up to ${SNP_FLOORS_DATE} call mitigated on ${product}: ${describeTcb(floors)}`;
  record(
    'snp.tcb-floor',
    open.length === 0,
    'policy-rejected',
    open.length === 0 ? `at least ${bulletins}` : `${open.join(', ')} is below ${bulletins}`,
  );
}

function judgeFirmware(
  { tcb, firmware, committedFirmware }: SnpClaims,
  policy: SnpPolicy,
  record: Recorder,
): void {
  const committed = firmware === committedFirmware && describeTcb(tcb.current) === describeTcb(tcb.committed);
  const { minimumFirmware: least } = policy;
  const recent = least === undefined || atLeast(committedFirmware, least);
  record(
    'snp.firmware',
    (committed || policy.uncommittedFirmware) && recent,
    'policy-rejected',
    recent
      ? `${firmware} (${describeTcb(tcb.current)}) is ${committed ? '' : 'not '}committed`
      : `committed ${committedFirmware}, at least ${least} demanded`,
  );
}

/** Of versions such as 1.55.8. */
const atLeast = (version: string, least: string): boolean => {
  const [have, want] = [version, least].map((text) => text.split('.').map(Number));
  const at = have!.findIndex((number, i) => number !== want![i]);
  return at < 0 || have![at]! > want![at]!;
};

function judgeMitigations(
  { mitigations, reportVersion }: SnpClaims,
  policy: SnpPolicy,
  record: Recorder,
): void {
  const { launch, current } = policy.mitigations;
  if (launch.length + current.length === 0) return;
  if (mitigations === undefined) {
    record('snp.mitigations', false, 'policy-rejected', `a report of version ${reportVersion} states none`);
    return;
  }
  const missing = (name: 'launch' | 'current', bits: readonly number[]) =>
    bits.filter((bit) => !isSet(mitigations[name], bit)).map((bit) => `${name} bit ${bit}`);
  const faults = [...missing('launch', launch), ...missing('current', current)];
  const found = `launch ${mitigations.launch}, current ${mitigations.current}`;
  const detail = faults.length === 0 ? found : `${found}; not set: ${faults.join(', ')}`;
  record('snp.mitigations', faults.length === 0, 'policy-rejected', detail);
}

/** Of 64 bits as a number in hex. */
const isSet = (bits: string, bit: number): boolean => ((BigInt(`0x${bits}`) >> BigInt(bit)) & 1n) === 1n;

/** Bits of PLATFORM_INFO; what new firmware adds means nothing here. */
const SMT = 0;
const FEATURES: Readonly<Record<SnpPolicy['platformFeatures'][number], number>> = {
  tsme: 1,
  ecc: 2,
  'rapl-disabled': 3,
  'ciphertext-hiding': 4,
  'alias-checked': 5,
  'iommu-write-safe': 6,
  tio: 7,
};

function judgePlatform({ platformInfo }: SnpClaims, policy: SnpPolicy, record: Recorder): void {
  const missing = policy.platformFeatures.filter((feature) => !isSet(platformInfo, FEATURES[feature]));
  const faults = [
    ...(isSet(platformInfo, SMT) && !policy.smt ? ['two threads run on a core'] : []),
    ...(missing.length > 0 ? [`not turned on: ${missing.join(', ')}`] : []),
  ];
  const bits = `platform info 0x${BigInt(`0x${platformInfo}`).toString(16)}`;
  record('snp.platform', faults.length === 0, 'policy-rejected', [bits, ...faults].join(', '));
}

function judgeGuest({ guestPolicy, vmpl }: SnpClaims, policy: SnpDemands, record: Recorder): void {
  const { debug, migrationAgent, abiMajor, abiMinor } = guestPolicy;
  const { amd } = policy;
  record('snp.debug', !debug || policy.debug, 'policy-rejected', `debug mode is ${debug ? 'on' : 'off'}`);
  record(
    'snp.migration',
    !migrationAgent || amd.migration,
    'policy-rejected',
    `a migration agent is ${migrationAgent ? '' : 'not '}allowed`,
  );
  const asker = vmpl === 0xffffffff ? 'the host' : `VMPL ${vmpl}`;
  record('snp.vmpl', vmpl <= amd.maximumVmpl, 'policy-rejected', `asked for by ${asker}`);
  const { minimumAbi, ...flags } = amd.guestPolicy;
  const abi = `${abiMajor}.${abiMinor}`;
  const faults = [
    ...(minimumAbi === undefined || atLeast(abi, minimumAbi)
      ? []
      : [`ABI ${abi}, at least ${minimumAbi} demanded`]),
    ...(Object.entries(flags) as [keyof typeof flags, boolean | undefined][]).flatMap(([name, wanted]) =>
      wanted === undefined || guestPolicy[name] === wanted
        ? []
        : [`${name} is ${guestPolicy[name] ? 'on' : 'off'}`],
    ),
  ];
  if (minimumAbi === undefined && Object.values(flags).every((flag) => flag === undefined)) return;
  const detail = faults.length === 0 ? 'as demanded' : faults.join(', ');
  record('snp.guest-policy', faults.length === 0, 'policy-rejected', detail);
}

/** An ID block names who built the guest: its key's digest, and that of an author's key where one signed the first. */
function judgeIdBlock(
  { idKeyDigest, authorKeyDigest, authorKeyEnabled }: SnpClaims,
  { idBlock, idKeys, authorKeys }: SnpPolicy,
  record: Recorder,
): void {
  if (idBlock === 'any' && idKeys === undefined && authorKeys === undefined) return;
  const present = fromHex(idKeyDigest).some((byte) => byte !== 0);
  const trusted =
    (idKeys === undefined && authorKeys === undefined) ||
    idKeys?.includes(idKeyDigest) === true ||
    (authorKeyEnabled && authorKeys?.includes(authorKeyDigest) === true);
  const keys = `ID key ${idKeyDigest}${authorKeyEnabled ? `, author key ${authorKeyDigest}` : ''}`;
  record(
    'snp.id-block',
    present && trusted,
    'policy-rejected',
    !present
      ? 'the guest was launched without an ID block'
      : `${keys}${trusted ? '' : ': neither is trusted'}`,
  );
}
