/**
 * What an SGX enclave's report says of the enclave itself (Intel SDM volume 3D, section 34.7.1 ATTRIBUTES and
 * section 34.16 REPORT). The signatures on it are `intel-verify.ts`'s matter, what a
 * policy wants of it is judgement/intel.ts's.
 */
import { hex } from '../../encoding.ts';
import type { Recorder } from '../checklist.ts';
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

/** Records `sgx.reserved-bits`: an enclave that was initialised, with nothing set that is not known here. */
export function checkReserved(report: SgxReport, record: Recorder): void {
  const flags = bitField(report.attributes.subarray(0, 8));
  const unknown = flags & ~KNOWN;
  const initialised = (flags & ATTRIBUTE.INIT) !== 0n;
  record(
    'sgx.reserved-bits',
    unknown === 0n && report.reservedZero && initialised,
    'evidence-rejected',
    unknown !== 0n
      ? `attributes: ${describeBits(unknown)} set, reserved or newer than what is read here`
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
  configId: hex(report.configId),
  configSvn: report.configSvn,
});

export const enclaveClaims = (report: SgxReport) => ({
  ...enclaveRegisters(report),
  mrenclave: hex(report.mrEnclave),
  attributes: hex(report.attributes),
  debug: (bitField(report.attributes.subarray(0, 8)) & ATTRIBUTE.DEBUG) !== 0n,
  reportData: hex(report.reportData),
});
