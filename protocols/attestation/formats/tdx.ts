/**
 * What a TD's report says of the TD itself (Intel TDX Module ABI Specification: ATTRIBUTES, XFAM,
 * TDREPORT_STRUCT). The signatures on it and the TDX module's identity are `intel-verify.ts`'s matter.
 */
import { hex } from '../../encoding.ts';
import type { Recorder } from '../checklist.ts';
import type { Demands } from '../demands.ts';
import { bitField, describeBits, isZero, type TdReport } from './intel-quote.ts';

const SEPT_VE_DISABLE = 1n << 28n;
const MIGRATABLE = 1n << 29n;
/** DEBUG and the profiling bits: with any of bits 0 to 7 a TD is not to be trusted. */
const UNTRUSTED = 0xffn;
const DEBUG_NAMES: Readonly<Record<number, string>> = {
  0: 'DEBUG',
  4: 'HGS_PLUS_PROF',
  5: 'PERF_PROF',
  6: 'PMT_PROF',
};
/** Bits 0-7 as above; ICSSD, SERVTD_EXT, LASS, SEPT_VE_DISABLE, MIGRATABLE, PKS, KL, TPA, PERFMON. */
const KNOWN_ATTRIBUTES = [0, 4, 5, 6, 16, 17, 27, 28, 29, 30, 31, 62, 63].reduce(
  (all, bit) => all | (1n << BigInt(bit)),
  0n,
);
/** x87 and SSE are always on. */
const XFAM_ALWAYS = 0x3n;
/** Those, AVX, AVX-512, PT, PKRU, CET, user interrupts, LBR, AMX, APX. */
const KNOWN_XFAM = 0xedbe7n;

export const TDX_CHECKS = [
  'tdx.debug',
  'tdx.sept-ve-disable',
  'tdx.reserved-bits',
  'tdx.service-td',
] as const;

export function checkTd(report: TdReport, policy: Demands, record: Recorder): void {
  const { septVeDisable, serviceTds } = policy.intel;
  const attributes = bitField(report.tdAttributes);
  const untrusted = attributes & UNTRUSTED;
  record(
    'tdx.debug',
    untrusted === 0n || policy.debug,
    'policy-rejected',
    untrusted === 0n
      ? 'debug and profiling are off'
      : `${describeBits(untrusted, DEBUG_NAMES)} set: the host can observe the TD`,
  );
  const disabled = (attributes & SEPT_VE_DISABLE) !== 0n;
  record(
    'tdx.sept-ve-disable',
    disabled || !septVeDisable,
    'policy-rejected',
    disabled
      ? 'set'
      : `not set${septVeDisable ? ': the host can raise #VE on memory accesses' : ', not demanded'}`,
  );
  const xfam = bitField(report.xfam);
  const unknown = attributes & ~KNOWN_ATTRIBUTES;
  const unknownXfam = xfam & ~KNOWN_XFAM;
  record(
    'tdx.reserved-bits',
    unknown === 0n && unknownXfam === 0n && (xfam & XFAM_ALWAYS) === XFAM_ALWAYS,
    'evidence-rejected',
    unknown !== 0n
      ? `attributes: ${describeBits(unknown)} set, reserved or newer than what is read here`
      : unknownXfam !== 0n
        ? `XFAM: ${describeBits(unknownXfam)} set, reserved or newer than what is read here`
        : 'reserved bits of attributes and XFAM are zero',
  );
  const { mrServiceTd, extended } = report;
  const bound = [mrServiceTd, extended?.initServiceTd, extended?.currentServiceTd]
    .filter((hash) => hash !== undefined && !isZero(hash))
    .map((hash) => hex(hash!));
  // A TD 1.0 body does not say which service TD would move it.
  const hidden = mrServiceTd === undefined && (attributes & MIGRATABLE) !== 0n;
  record(
    'tdx.service-td',
    serviceTds === 'any' || (!hidden && bound.every((hash) => serviceTds.includes(hash))),
    'policy-rejected',
    bound.length > 0
      ? `MRSERVICETD ${[...new Set(bound)].join(', ')}`
      : hidden
        ? 'the TD may be migrated, and the quote does not say by whom'
        : 'no service TD is bound',
  );
}

/** What a policy may name. */
export const tdRegisters = (report: TdReport) => ({
  measurement: hex(report.mrTd),
  ...Object.fromEntries(report.rtmrs.map((register, i) => [`rtmr${i}`, hex(register)])),
  mrseam: hex(report.mrSeam),
  mrconfigid: hex(report.mrConfigId),
  mrowner: hex(report.mrOwner),
  mrownerconfig: hex(report.mrOwnerConfig),
});

export const tdClaims = (report: TdReport) => ({
  measurement: hex(report.mrTd),
  mrtd: hex(report.mrTd),
  rtmrs: report.rtmrs.map(hex),
  mrseam: hex(report.mrSeam),
  mrconfigid: hex(report.mrConfigId),
  mrowner: hex(report.mrOwner),
  mrownerconfig: hex(report.mrOwnerConfig),
  tdAttributes: hex(report.tdAttributes),
  xfam: hex(report.xfam),
  teeTcbSvn: hex(report.teeTcbSvn),
  ...(report.teeTcbSvn2 === undefined ? {} : { teeTcbSvn2: hex(report.teeTcbSvn2) }),
  ...(report.mrServiceTd === undefined ? {} : { mrservicetd: hex(report.mrServiceTd) }),
  ...(report.extended === undefined
    ? {}
    : {
        vmid: report.extended.vmid,
        tdId: hex(report.extended.tdId),
        devInfo: hex(report.extended.devInfo),
        initServiceTd: hex(report.extended.initServiceTd),
        initServiceTdAttributes: hex(report.extended.initServiceTdAttributes),
        initCpuSvn: hex(report.extended.initCpuSvn),
        initTeeTcbSvn: hex(report.extended.initTeeTcbSvn),
        initFmspc: hex(report.extended.initFmspc),
        currentServiceTd: hex(report.extended.currentServiceTd),
        currentServiceTdAttributes: hex(report.extended.currentServiceTdAttributes),
      }),
  debug: (bitField(report.tdAttributes) & UNTRUSTED) !== 0n,
  reportData: hex(report.reportData),
});
