/** What a policy wants of a verified document of AWS, judged on its claims alone: debug mode, PCRs, build, user data. */
import type { Recorder } from '../checklist.ts';
import { type Demands, measurementAccepted, type Reported } from '../demands.ts';
import type { NitroClaims } from '../formats/nitro-claims.ts';

/** What a policy may demand of a document that holds. */
export type NitroDemands = Pick<Demands, 'debug' | 'measurements' | 'reportData' | 'nitro'>;

/** Checks that every document has to pass, whatever the policy names. */
export const NITRO_DEMANDS = ['nitro.debug', 'nitro.pcrs'] as const;

/** The checks that a policy's own demands add; they fail closed where there are no claims to judge. */
export const nitroDemands = ({ measurements, reportData }: NitroDemands): string[] => [
  ...(measurements === undefined ? [] : ['nitro.measurement']),
  ...(reportData === undefined ? [] : ['nitro.report-data']),
];

export function judgeNitroClaims(
  claims: NitroClaims,
  { debug: allowed, measurements, reportData, nitro }: NitroDemands,
  record: Recorder,
): void {
  const { platform, debug, measurement, pcrs, userData } = claims;
  const mode = debug ? 'on: PCR0 is zero, and the host can read the console' : 'off';
  record('nitro.debug', !debug || allowed, 'policy-rejected', `debug mode is ${mode}`);
  const wrong = Object.entries(platform === 'nitro' ? nitro.pcrs : nitro.tpmPcrs).filter(
    ([index, accepted]) => !accepted?.includes(pcrs[index] ?? ''),
  );
  record(
    'nitro.pcrs',
    wrong.length === 0,
    'policy-rejected',
    wrong.length === 0
      ? `${Object.keys(pcrs).length} PCRs, as demanded`
      : `not as demanded: ${wrong.map(([index]) => `PCR${index}`).join(', ')}`,
  );
  if (measurements !== undefined) {
    const accepted = measurementAccepted(measurements, nitroRegisters(claims));
    const detail = measurement || 'an instance has no PCR0 of an image';
    record('nitro.measurement', accepted, 'policy-rejected', detail);
  }
  if (reportData !== undefined) {
    const found = userData ?? 'none';
    record('nitro.report-data', found === reportData, 'policy-rejected', `user data ${found}`);
  }
}

/** What a policy may name: PCRs of an enclave. Those of an instance count other things and have other names. */
export const nitroRegisters = ({ platform, measurement, pcrs }: NitroClaims): Reported => ({
  measurement,
  ...(platform === 'nitro'
    ? Object.fromEntries(Object.entries(pcrs).map(([index, value]) => [`pcr${index}`, value]))
    : {}),
});
