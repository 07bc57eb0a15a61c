/**
 * What an SGX enclave's report says of the enclave itself (Intel SDM volume 3D, section 34.7.1 ATTRIBUTES and
 * section 34.16 REPORT). The signatures on it are `intel-verify.ts`'s matter.
 */
import { hex } from '../../encoding.ts';
import type { Recorder } from '../checklist.ts';
import type { Demands } from '../demands.ts';
import { bitField, describeBits, type SgxReport } from './intel-quote.ts';

const ATTRIBUTE = {
  INIT: 1n << 0n,
  DEBUG: 1n << 1n,
  MODE64BIT: 1n << 2n,
  PROVISIONKEY: 1n << 4n,
  EINITTOKENKEY: 1n << 5n,
  CET: 1n << 6n,
  KSS: 1n << 7n,
  AEXNOTIFY: 1n << 10n,
} as const;
const KNOWN = Object.values(ATTRIBUTE).reduce((all, bit) => all | bit, 0n);

export const SGX_CHECKS = ['sgx.debug', 'sgx.reserved-bits'] as const;

export function checkEnclave(report: SgxReport, policy: Demands, record: Recorder): void {
  const flags = bitField(report.attributes.subarray(0, 8));
  const debug = (flags & ATTRIBUTE.DEBUG) !== 0n;
  record(
    'sgx.debug',
    !debug || policy.debug,
    'policy-rejected',
    `debug mode is ${debug ? 'on: the host can read the enclave' : 'off'}`,
  );
  const unknown = flags & ~KNOWN;
  const initialised = (flags & ATTRIBUTE.INIT) !== 0n;
  record(
    'sgx.reserved-bits',
    unknown === 0n && report.reservedZero && initialised,
    'evidence-rejected',
    unknown !== 0n
      ? `attributes: reserved ${describeBits(unknown)} set`
      : !report.reservedZero
        ? 'reserved fields of the report are not zero'
        : initialised
          ? 'all zero'
          : 'attributes: INIT is not set',
  );
}

/** What a policy may name. */
export const enclaveRegisters = (report: SgxReport) => ({
  measurement: hex(report.mrEnclave),
  mrsigner: hex(report.mrSigner),
  isvProdId: report.isvProdId,
  isvSvn: report.isvSvn,
});

export const enclaveClaims = (report: SgxReport) => ({
  ...enclaveRegisters(report),
  mrenclave: hex(report.mrEnclave),
  attributes: hex(report.attributes),
  debug: (bitField(report.attributes.subarray(0, 8)) & ATTRIBUTE.DEBUG) !== 0n,
  reportData: hex(report.reportData),
});
