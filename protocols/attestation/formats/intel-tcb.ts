/**
 * Which TCB level a platform is at, by Intel's published procedure (Intel PCS API version 4, "TCB info"; for
 * modules of TDX 1.5 and later, "TDX module identities"): the first level, in the order in which Intel lists
 * them, whose SVNs are all reached. No level means that Intel vouches for none.
 */
import { equal } from '../../encoding.ts';
import { type QeIdentity, type TcbInfo, TcbStatus } from './intel-collateral.ts';
import type { PckPlatform } from './intel-pck.ts';
import type { SgxReport, TdReport } from './intel-quote.ts';

export interface TcbLevel {
  readonly status: TcbStatus;
  /** when Intel last called this level up to date */
  readonly date: Date;
  /** when a better level took its place; absent for the best */
  readonly superseded?: Date;
  readonly advisories: readonly string[];
}

interface Listed {
  readonly tcbStatus: TcbStatus;
  readonly tcbDate: Date;
  readonly advisoryIDs: readonly string[];
}

function firstReached<T extends Listed>(levels: readonly T[], reached: (level: T) => boolean) {
  const index = levels.findIndex(reached);
  const level = levels[index];
  if (level === undefined) return undefined;
  const later = levels
    .slice(0, index)
    .map(({ tcbDate }) => tcbDate.getTime())
    .filter((time) => time > level.tcbDate.getTime());
  return {
    status: level.tcbStatus,
    date: level.tcbDate,
    ...(later.length > 0 ? { superseded: new Date(Math.min(...later)) } : {}),
    advisories: level.advisoryIDs,
  };
}

/** Every SVN from index `from` on is at least the demanded one. */
export const reaches = (have: ArrayLike<number>, demanded: readonly number[], from = 0): boolean =>
  demanded.every((svn, i) => i < from || have[i]! >= svn);

/** The platform's level; undefined when none is reached, or a TD's level is asked of TCB info without any for TDX. */
export function platformLevel(info: TcbInfo, pck: PckPlatform, td?: TdReport): TcbLevel | undefined {
  return firstReached(info.tcbLevels, (level) => {
    if (!reaches(pck.componentSvns, level.sgx) || pck.pceSvn < level.pceSvn) return false;
    if (td === undefined) return true;
    // Since TDX 1.5 the module's own SVN and major version are judged by its identity.
    return level.tdx !== undefined && reaches(td.teeTcbSvn, level.tdx, moduleVersion(td) === 0 ? 0 : 2);
  });
}

const moduleVersion = ({ teeTcbSvn }: TdReport): number => teeTcbSvn[1]!;

const moduleName = (version: number): string => `TDX_${version.toString(16).padStart(2, '0')}`;
const identityOf = ({ tdxModuleIdentities }: TcbInfo, version: number) =>
  tdxModuleIdentities.find(({ id }) => id.toLowerCase() === moduleName(version).toLowerCase());

export interface ModuleMatch {
  /** what the module was compared with */
  readonly name: string;
  readonly genuine: boolean;
  /** undefined when no level is reached; modules before 1.5 have none of their own */
  readonly level: TcbLevel | 'of the platform' | undefined;
}

/** The TDX module's identity; undefined when the TCB info has none for it. */
export function matchModule(info: TcbInfo, td: TdReport): ModuleMatch | undefined {
  const version = moduleVersion(td);
  const name = moduleName(version);
  const identity = identityOf(info, version);
  const expected = version === 0 ? info.tdxModule : identity;
  if (expected === undefined) return undefined;
  return {
    name,
    genuine:
      equal(td.mrSignerSeam, expected.mrsigner) &&
      equal(masked(td.seamAttributes, expected.attributesMask), expected.attributes),
    level:
      version === 0
        ? 'of the platform'
        : firstReached(identity?.tcbLevels ?? [], ({ tcb }) => td.teeTcbSvn[0]! >= tcb.isvsvn),
  };
}

/** Names what in the quoting enclave's report is not as its identity says; empty when all is. */
export function qeMismatches(identity: QeIdentity, report: SgxReport): string[] {
  const comparisons: readonly [string, boolean][] = [
    ['MISCSELECT', equal(masked(report.miscSelect, identity.miscselectMask), identity.miscselect)],
    ['attributes', equal(masked(report.attributes, identity.attributesMask), identity.attributes)],
    ['MRSIGNER', equal(report.mrSigner, identity.mrsigner)],
    ['ISVPRODID', report.isvProdId === identity.isvprodid],
  ];
  return comparisons.filter(([, same]) => !same).map(([name]) => name);
}

export const qeLevel = (identity: QeIdentity, { isvSvn }: SgxReport): TcbLevel | undefined =>
  firstReached(identity.tcbLevels, ({ tcb }) => isvSvn >= tcb.isvsvn);

/** Intel's expected value is what remains after the mask. */
const masked = (bytes: Uint8Array, mask: Uint8Array): Uint8Array => bytes.map((byte, i) => byte & mask[i]!);

/** What Intel's library says of a TD that runs on a module updated since: only a relaunch makes it up to date. */
export type RelaunchStatus = 'TDRelaunchAdvised' | 'TDRelaunchAdvisedConfigurationNeeded';

/**
 * Whether a TD is out of date only because it was launched under an older module than the one that runs now, by its
 * TEE_TCB_SVN2 (Intel SGX and TDX DCAP Quote Verification Library, TDRelaunchCheck). Bodies of TD 1.0 do not tell.
 */
export function relaunchStatus(
  info: TcbInfo,
  pck: PckPlatform,
  td: TdReport,
  {
    level,
    module,
    qe,
  }: { level?: TcbLevel | undefined; module?: TcbLevel | undefined; qe?: TcbLevel | undefined },
): RelaunchStatus | undefined {
  const now = td.teeTcbSvn2;
  const sgx = platformLevel(info, pck)?.status;
  const latest = info.tcbLevels[0]?.tdx;
  if (now === undefined || sgx === undefined || level === undefined || latest === undefined) return undefined;
  if (qe === undefined || qe.status === 'OutOfDate' || qe.status === 'Revoked') return undefined;
  if (sgx.startsWith('OutOfDate') || sgx === 'Revoked' || module?.status !== 'OutOfDate') return undefined;
  const tdx = converge(level.status, [module.status]);
  if (!tdx.startsWith('OutOfDate')) return undefined;
  const best = now[1] === 0 ? latest[0] : identityOf(info, now[1]!)?.tcbLevels[0]?.tcb.isvsvn;
  if (best === undefined || now[0]! < best || now[2]! < latest[2]!) return undefined;
  const configure = [sgx, tdx].some((status) => status.includes('Configuration'));
  return configure ? 'TDRelaunchAdvisedConfigurationNeeded' : 'TDRelaunchAdvised';
}

const RANK: readonly TcbStatus[] = TcbStatus.options;

/** One status for a platform with its module and quoting enclave (Intel's "TCB status convergence"). */
export function converge(platform: TcbStatus, parts: readonly TcbStatus[]): TcbStatus {
  return parts.reduce((status, part) => {
    if (part === 'OutOfDate' && status.startsWith('Configuration')) return 'OutOfDateConfigurationNeeded';
    return RANK.indexOf(part) > RANK.indexOf(status) ? part : status;
  }, platform);
}
