/** What a policy wants of Google's endorsement of a firmware that was measured, judged on its claims alone. */
import type { Recorder } from '../checklist.ts';
import type { EndorsementClaims } from '../formats/gce-endorsement.ts';
import type { GcePolicy } from '../software-demands.ts';

/** Records nothing where nothing is demanded. */
export function judgeEndorsementClaims(
  { svn, signedAt, firmware }: EndorsementClaims,
  policy: GcePolicy | undefined,
  record: Recorder,
): void {
  if (policy === undefined) return;
  const { minimumSvn, notBefore, firmwares } = policy;
  record('gce.svn', svn >= minimumSvn, 'policy-rejected', `${svn}, at least ${minimumSvn} demanded`);
  if (notBefore !== undefined) {
    const day = signedAt.slice(0, 10);
    record('gce.signed', day >= notBefore, 'policy-rejected', `on ${day}, on ${notBefore} or later demanded`);
  }
  if (firmwares !== undefined) {
    record('gce.firmware', firmwares.includes(firmware), 'policy-rejected', firmware);
  }
}
