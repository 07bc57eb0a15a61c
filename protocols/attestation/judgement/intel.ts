/**
 * What a policy wants of a verified Intel quote, judged on its claims alone: the enclave or TD as such, its build, report
 * data, least SVNs and which platforms. Demands of TCB levels stand with Intel's own statements
 * (formats/intel-statements.ts), which say when and why.
 */
import { fromHex } from '../../encoding.ts';
import type { Checklist, Recorder } from '../checklist.ts';
import { type Demands, measurementAccepted, type Reported } from '../demands.ts';
import { bitField, describeBits } from '../formats/intel-quote.ts';
import { reaches } from '../formats/intel-tcb.ts';
import type { enclaveClaims } from '../formats/sgx.ts';
import { TD_ATTRIBUTE, TD_UNTRUSTED, type tdClaims } from '../formats/tdx.ts';
import { checkBits } from './bits.ts';

/** What the quote's platform says of itself beside the enclave or TD. */
interface PlatformClaims {
  readonly qeIsvSvn: number;
  readonly platformId?: string;
  readonly pceSvn?: number;
  readonly componentSvns?: readonly number[];
}
export type TdQuoteClaims = ReturnType<typeof tdClaims> & PlatformClaims & { readonly platform: 'tdx' };
export type EnclaveQuoteClaims = ReturnType<typeof enclaveClaims> &
  PlatformClaims & { readonly platform: 'sgx' };

/** Checks that every quote of the kind has to pass, whatever the policy names. */
export const TD_DEMANDS = ['tdx.debug', 'tdx.sept-ve-disable', 'tdx.service-td'] as const;
export const ENCLAVE_DEMANDS = ['sgx.debug'] as const;

export function judgeIntelClaims(
  claims: TdQuoteClaims | EnclaveQuoteClaims,
  policy: Demands,
  { record }: Pick<Checklist, 'record'>,
): void {
  const { platform, reportData } = claims;
  if (claims.platform === 'tdx') judgeTd(claims, policy, record);
  else judgeEnclave(claims, policy, record);
  if (policy.measurements !== undefined) {
    const accepted = measurementAccepted(policy.measurements, registersOf(claims));
    record(`${platform}.measurement`, accepted, 'policy-rejected', claims.measurement);
  }
  if (policy.reportData !== undefined) {
    record(`${platform}.report-data`, reportData === policy.reportData, 'policy-rejected', reportData);
  }
  judgePlatform(claims, policy, record);
}

/** What a policy's builds may name. */
function registersOf(claims: TdQuoteClaims | EnclaveQuoteClaims): Reported {
  if (claims.platform === 'sgx') {
    const { measurement, mrsigner, isvProdId, isvSvn, configId, configSvn } = claims;
    return { measurement, mrsigner, isvProdId, isvSvn, configId, configSvn };
  }
  const { measurement, rtmrs, mrseam, mrconfigid, mrowner, mrownerconfig } = claims;
  const registers = Object.fromEntries(rtmrs.map((register, i) => [`rtmr${i}`, register]));
  return { measurement, ...registers, mrseam, mrconfigid, mrowner, mrownerconfig };
}

const DEBUG_NAMES: Readonly<Record<number, string>> = {
  0: 'DEBUG',
  4: 'HGS_PLUS_PROF',
  5: 'PERF_PROF',
  6: 'PMT_PROF',
};

function judgeTd(claims: TdQuoteClaims, policy: Demands, record: Recorder): void {
  const { septVeDisable, serviceTds, tdAttributes, xfam } = policy.intel;
  const attributes = bitField(fromHex(claims.tdAttributes));
  const untrusted = attributes & TD_UNTRUSTED;
  record(
    'tdx.debug',
    untrusted === 0n || policy.debug,
    'policy-rejected',
    untrusted === 0n
      ? 'debug and profiling are off'
      : `${describeBits(untrusted, DEBUG_NAMES)} set: the host can observe the TD`,
  );
  const disabled = (attributes & TD_ATTRIBUTE.septVeDisable) !== 0n;
  record(
    'tdx.sept-ve-disable',
    disabled || !septVeDisable,
    'policy-rejected',
    disabled
      ? 'set'
      : `not set${septVeDisable ? ': the host can raise #VE on memory accesses' : ', not demanded'}`,
  );
  const { mrservicetd, initServiceTd, currentServiceTd } = claims;
  const bound = [mrservicetd, initServiceTd, currentServiceTd].filter(
    (hash) => hash !== undefined && !/^0*$/.test(hash),
  );
  // A TD 1.0 body does not say which service TD would move it.
  const hidden = mrservicetd === undefined && (attributes & TD_ATTRIBUTE.migratable) !== 0n;
  record(
    'tdx.service-td',
    serviceTds === 'any' || (!hidden && bound.every((hash) => serviceTds.includes(hash!))),
    'policy-rejected',
    bound.length > 0
      ? `MRSERVICETD ${[...new Set(bound)].join(', ')}`
      : hidden
        ? 'the TD may be migrated, and the quote does not say by whom'
        : 'no service TD is bound',
  );
  checkBits('tdx.attributes', claims.tdAttributes, tdAttributes, record);
  checkBits('tdx.xfam', claims.xfam, xfam, record);
}

function judgeEnclave({ debug, attributes }: EnclaveQuoteClaims, policy: Demands, record: Recorder): void {
  record(
    'sgx.debug',
    !debug || policy.debug,
    'policy-rejected',
    `debug mode is ${debug ? 'on: the host can read the enclave' : 'off'}`,
  );
  checkBits('sgx.attributes', attributes.slice(0, 16), policy.intel.sgxAttributes, record);
  checkBits('sgx.xfrm', attributes.slice(16), policy.intel.sgxXfrm, record);
}

function judgePlatform(
  claims: TdQuoteClaims | EnclaveQuoteClaims,
  { intel: { minimumSvns: least, platformIds } }: Demands,
  record: Recorder,
): void {
  const { platform, platformId, componentSvns, pceSvn, qeIsvSvn } = claims;
  const tee = claims.platform === 'tdx' ? [...fromHex(claims.teeTcbSvn)] : undefined;
  const one = (value: number | undefined) => (value === undefined ? undefined : [value]);
  const demands = Object.entries({
    cpu: [componentSvns, least.cpu],
    pce: [one(pceSvn), one(least.pce)],
    qe: [[qeIsvSvn], one(least.qe)],
    tee: [tee, tee && least.tee],
  } as const);
  const made = demands.filter(([, [, wanted]]) => wanted !== undefined);
  if (made.length > 0) {
    const below = made.filter(([, [have, wanted]]) => have === undefined || !reaches(have, wanted!));
    record(
      `${platform}.minimum-svns`,
      below.length === 0,
      'policy-rejected',
      below.length === 0
        ? made.map(([name]) => name).join(', ')
        : below
            .map(([name, [have, wanted]]) => `${name} ${have?.join('.') ?? 'unknown'} < ${wanted!.join('.')}`)
            .join(', '),
    );
  }
  if (platformIds !== undefined) {
    const known = platformId !== undefined && platformIds.includes(platformId);
    record(`${platform}.platform-id`, known, 'policy-rejected', platformId ?? 'not stated');
  }
}

/** The checks that a policy's own demands add; they fail closed where there are no claims to judge. */
export const intelDemands = (
  platform: 'sgx' | 'tdx',
  { measurements, reportData, intel }: Demands,
): readonly string[] =>
  Object.entries({
    measurement: measurements,
    'report-data': reportData,
    'platform-id': intel.platformIds,
    ...(platform === 'tdx'
      ? { attributes: intel.tdAttributes, xfam: intel.xfam }
      : { attributes: intel.sgxAttributes, xfrm: intel.sgxXfrm }),
  }).flatMap(([name, demand]) => (demand === undefined ? [] : [`${platform}.${name}`]));
