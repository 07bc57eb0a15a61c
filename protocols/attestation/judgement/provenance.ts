/** Whose statements about what was measured a policy wants, judged on what verified statements claim. */

import { printable } from '../../printable.ts';
import type { Checklist } from '../checklist.ts';
import { describeSigner, type ProvenanceClaims } from '../provenance-claims.ts';
import type { ProvenancePolicy } from '../software-demands.ts';

type Identity = ProvenancePolicy['identities'][number];

/** Of statements that all hold, those count whom the policy wants; without a policy, none has to be anybody's. */
export function judgeProvenanceClaims(
  claims: readonly ProvenanceClaims[],
  policy: ProvenancePolicy | undefined,
  { record, omit }: Pick<Checklist, 'record' | 'omit'>,
): void {
  const who = claims.map(describeSigner).join('; ');
  if (policy === undefined) omit('provenance.identity', `signed by ${who}; no policy says who should have`);
  const wanted = claims.filter(({ predicateType, ...claim }) =>
    policy === undefined
      ? true
      : (policy.predicates?.includes(predicateType) ?? true) &&
        policy.identities.some((identity) => isOf(claim, identity)),
  );
  if (policy !== undefined) {
    const types = [
      ...new Set(claims.map(({ predicateType }) => printable(predicateType) || 'a signed file')),
    ].join(', ');
    record(
      'provenance.identity',
      wanted.length > 0,
      'policy-rejected',
      wanted.length > 0
        ? wanted.map(describeSigner).join('; ')
        : `none of those whom the policy names, or about something else: ${who} (${types})`,
    );
  }
  const named = new Set(wanted.flatMap(({ registers }) => registers));
  const missing = (policy?.registers ?? []).filter((register) => !named.has(register));
  record(
    'provenance.measurement',
    missing.length === 0,
    'policy-rejected',
    missing.length === 0
      ? `named as measured: ${[...named].join(', ')}`
      : `no statement that counts names ${missing.join(', ')}`,
  );
}

function isOf(
  { issuer, subject, repository }: Pick<ProvenanceClaims, 'issuer' | 'subject' | 'repository'>,
  wanted: Identity,
): boolean {
  return (
    issuer === wanted.issuer &&
    (wanted.subject === undefined || fits(subject, wanted.subject)) &&
    (wanted.repository === undefined || repository === wanted.repository)
  );
}

/** Whether a text is as a pattern says, whose `*` stand for any characters. */
export function fits(text: string, pattern: string): boolean {
  const [start = '', ...rest] = pattern.split('*');
  const end = rest.pop();
  if (end === undefined) return text === pattern;
  if (!text.startsWith(start)) return false;
  let at = start.length;
  for (const part of rest) {
    const found = text.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return text.length - end.length >= at && text.endsWith(end);
}
