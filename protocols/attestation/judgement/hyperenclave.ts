/** What a policy wants of a verified quote of HyperEnclave, judged on its claims alone: boot, debug mode, build. */
import type { Recorder } from '../checklist.ts';
import { type Demands, measurementAccepted } from '../demands.ts';
import type { HyperEnclaveClaims } from '../formats/hyperenclave-claims.ts';
import { judgePcrs } from './tpm.ts';

/** What a policy may demand of a quote that holds. */
export type HyperEnclaveDemands = Pick<Demands, 'debug' | 'measurements' | 'reportData' | 'hyperenclave'>;

/** Checks that every quote has to pass, whatever the policy names. */
export const HYPERENCLAVE_DEMANDS = ['hyperenclave.pcrs', 'hyperenclave.debug'] as const;

/** The checks that a policy's own demands add; they fail closed where there are no claims to judge. */
export const hyperEnclaveDemands = ({ measurements, reportData }: HyperEnclaveDemands): string[] => [
  ...(measurements === undefined ? [] : ['hyperenclave.measurement']),
  ...(reportData === undefined ? [] : ['hyperenclave.report-data']),
];

export function judgeHyperEnclaveClaims(
  claims: HyperEnclaveClaims,
  { debug, measurements, reportData, hyperenclave }: HyperEnclaveDemands,
  record: Recorder,
): void {
  judgePcrs('hyperenclave.pcrs', { sm3_256: claims.pcrs }, { sm3_256: hyperenclave.pcrs }, record);
  const mode = claims.debug ? 'on' : 'off';
  record('hyperenclave.debug', !claims.debug || debug, 'policy-rejected', `debug mode is ${mode}`);
  if (measurements !== undefined) {
    const { measurement, mrsigner, isvProdId, isvSvn, configId, configSvn } = claims;
    const registers = { measurement, mrsigner, isvProdId, isvSvn, configId, configSvn };
    const accepted = measurementAccepted(measurements, registers);
    record('hyperenclave.measurement', accepted, 'policy-rejected', measurement);
  }
  if (reportData !== undefined) {
    const same = reportData === claims.reportData;
    record('hyperenclave.report-data', same, 'policy-rejected', claims.reportData);
  }
}
