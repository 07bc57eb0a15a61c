/** What a policy wants of the PCRs that a verified quote covers, judged on its claims alone. */
import type { Recorder } from '../checklist.ts';
import type { TpmPolicy } from '../demands.ts';

/** By bank and index, as claims list them. */
export type ClaimedPcrs = Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;

/** Checks that every quote has to pass, whatever the policy names. */
export const TPM_DEMANDS = ['tpm.pcrs'] as const;

/** Records whether each PCR that the policy names was quoted with one of its values. */
export function judgePcrs(
  id: string,
  claimed: ClaimedPcrs,
  accepted: TpmPolicy['pcrs'],
  record: Recorder,
): void {
  const named = Object.entries(accepted).flatMap(([bank, pcrs]) =>
    Object.entries(pcrs).map(([index, allowed]) => ({ bank, index, allowed })),
  );
  const wrong = named.filter(
    ({ bank, index, allowed }) => claimed[bank]?.[index]?.some((value) => allowed.includes(value)) !== true,
  );
  record(
    id,
    wrong.length === 0,
    'policy-rejected',
    wrong.length === 0
      ? `${named.length} demanded`
      : `not as demanded: ${wrong.map(({ bank, index }) => `${bank}:${index}`).join(', ')}`,
  );
}
