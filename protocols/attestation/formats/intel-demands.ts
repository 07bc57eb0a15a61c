/**
 * What a policy demands of an Intel quote beside Intel's own levels: the build, the report data, least SVNs, and which
 * platforms. Demands of the enclave or TD as such stand with sgx.ts and tdx.ts, those of TCB levels with
 * intel-statements.ts.
 */
import { hex } from '../../encoding.ts';
import type { Checklist } from '../checklist.ts';
import { type Demands, measurementAccepted } from '../demands.ts';
import type { PckPlatform } from './intel-pck.ts';
import type { IntelQuote } from './intel-quote.ts';
import { reaches } from './intel-tcb.ts';
import { enclaveRegisters } from './sgx.ts';
import { tdRegisters } from './tdx.ts';

/** The build and the report data. */
export function checkDemands(
  { body: { report, tee } }: IntelQuote,
  { measurements, reportData }: Demands,
  { require, record }: Checklist,
  prefix: string,
): void {
  if (measurements !== undefined) {
    require([`${prefix}.measurement`]);
    const reported = tee === 'sgx' ? enclaveRegisters(report) : tdRegisters(report);
    const accepted = measurementAccepted(measurements, reported);
    record(`${prefix}.measurement`, accepted, 'policy-rejected', reported.measurement);
  }
  if (reportData !== undefined) {
    require([`${prefix}.report-data`]);
    const found = hex(report.reportData);
    record(`${prefix}.report-data`, found === reportData, 'policy-rejected', found);
  }
}

/** What a policy demands of the platform beside Intel's own levels. */
export function checkPlatform(
  { body, qeReport }: IntelQuote,
  pck: PckPlatform | undefined,
  { intel: { minimumSvns: least, platformIds } }: Demands,
  { require, record }: Checklist,
  prefix: string,
): void {
  const tee = body.tee === 'tdx' ? body.report.teeTcbSvn : undefined;
  const demands = Object.entries({
    cpu: [pck?.componentSvns, least.cpu],
    pce: [pck && [pck.pceSvn], least.pce === undefined ? undefined : [least.pce]],
    qe: [[qeReport.isvSvn], least.qe === undefined ? undefined : [least.qe]],
    tee: [tee && [...tee], tee && least.tee],
  } as const);
  const made = demands.filter(([, [, wanted]]) => wanted !== undefined);
  if (made.length > 0) {
    require([`${prefix}.minimum-svns`]);
    const below = made.filter(([, [have, wanted]]) => have === undefined || !reaches(have, wanted!));
    record(
      `${prefix}.minimum-svns`,
      below.length === 0,
      'policy-rejected',
      below.length === 0
        ? made.map(([name]) => name).join(', ')
        : below
            .map(([name, [have, wanted]]) => `${name} ${have?.join('.') ?? 'unknown'} < ${wanted!.join('.')}`)
            .join(', '),
    );
  }
  if (platformIds === undefined) return;
  require([`${prefix}.platform-id`]);
  if (pck === undefined) return;
  const id = hex(pck.platformId);
  record(`${prefix}.platform-id`, platformIds.includes(id), 'policy-rejected', id);
}
