/**
 * What a TD's report says of the TD itself (Intel TDX Module ABI Specification: ATTRIBUTES, XFAM,
 * TDREPORT_STRUCT). The signatures on it and the TDX module's identity are `intel-verify.ts`'s matter, what a policy wants
 * of it is judgement/intel.ts's.
 */
import { hex } from '../../encoding.ts';
import type { Recorder } from '../checklist.ts';
import { bitField, describeBits, type TdReport } from './intel-quote.ts';

export const TD_ATTRIBUTE = { septVeDisable: 1n << 28n, migratable: 1n << 29n } as const;
/** DEBUG and the profiling bits: with any of bits 0 to 7 a TD is not to be trusted. */
export const TD_UNTRUSTED = 0xffn;
/** Bits 0-7 as above; ICSSD, SERVTD_EXT, LASS, SEPT_VE_DISABLE, MIGRATABLE, PKS, KL, TPA, PERFMON. */
const KNOWN_ATTRIBUTES = [0, 4, 5, 6, 16, 17, 27, 28, 29, 30, 31, 62, 63].reduce(
  (all, bit) => all | (1n << BigInt(bit)),
  0n,
);
/** x87 and SSE are always on. */
const XFAM_ALWAYS = 0x3n;
/** Those, AVX, AVX-512, PT, PKRU, CET, user interrupts, LBR, AMX, APX. */
const KNOWN_XFAM = 0xedbe7n;

/** Records `tdx.reserved-bits`: nothing is set that is not known here. */
export function checkReserved(report: TdReport, record: Recorder): void {
  const xfam = bitField(report.xfam);
  const unknown = bitField(report.tdAttributes) & ~KNOWN_ATTRIBUTES;
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
}

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
  debug: (bitField(report.tdAttributes) & TD_UNTRUSTED) !== 0n,
  reportData: hex(report.reportData),
});
