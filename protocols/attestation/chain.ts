/**
 * Certificate chains up to a root that is pinned by its SHA-256 fingerprint (RFC 5280 section 6, without
 * policies and name constraints): names, signatures, dates, who may sign, how many may follow, and revocation by CRL
 * and OCSP (revocation.ts). Pure: the clock and all certificates are arguments.
 *
 * Not guaranteed: that a certificate says what its user needs; vendors' extensions are their formats' matter.
 */
import { equal } from '../encoding.ts';
import { messageOf, VouchError } from '../errors.ts';
import type { Certificate, RevocationList } from './certificate.ts';
import type { Check, Recorder } from './checklist.ts';
import type { OcspResponse } from './ocsp.ts';
import type { Parsed } from './parsed.ts';
import { checkRevocation, day, type RevocationMode } from './revocation.ts';
import { type SignatureVerifier, verifySignature } from './signature.ts';

/** Certificates on a path, leaf and root included. */
const MAX_PATH = 8;
/** Certificates, CRLs and OCSP responses to choose from. */
const MAX_POOL = 32;
const MAX_RESPONSES = 256;

export interface ChainQuestion {
  /** the leaf, then others in any order; the root must be among them or among `own` */
  readonly certificates: readonly [Certificate, ...Certificate[]];
  /** certificates of ours, for chains that leave them out */
  readonly own?: readonly Certificate[] | undefined;
  /** whether every one of `certificates` must be part of the path; default false */
  readonly exact?: boolean | undefined;
  /** lower-case hex SHA-256 of the roots' DER */
  readonly rootFingerprints: readonly string[];
  readonly now: Date;
  /** those of other issuers are ignored; one that cannot be read fails the chain */
  readonly crls?: readonly Parsed<RevocationList>[] | undefined;
  /** those about other certificates are ignored; one that cannot be read fails the chain */
  readonly ocsp?: readonly Parsed<OcspResponse>[] | undefined;
  /**
   * `required`: every certificate whose issuer may sign CRLs, or which names a place to ask, must be covered by a
   * current CRL or OCSP response. `where-named`: only one that names a place. `if-present` (default): only what is at
   * hand counts; it must be genuine and current all the same.
   */
  readonly revocation?: RevocationMode | undefined;
  /** when CRLs and responses have to be current; default `now` */
  readonly revokedBy?: Date | undefined;
  /** critical extensions that the asker checks himself */
  readonly handled?: readonly string[] | undefined;
  /** remembers what several chains of one judgement share */
  readonly verify?: SignatureVerifier | undefined;
}

/** What was checked, in order; a check that an earlier one prevented is `skipped`. */
export const CHAIN_CHECKS = ['certificates', 'path', 'dates', 'constraints', 'revocation'] as const;
export type ChainCheckName = (typeof CHAIN_CHECKS)[number];

export interface ChainCheck {
  readonly name: ChainCheckName;
  readonly status: Check['status'];
  readonly detail: string;
}

export interface ChainReport {
  /** whether every check passed */
  readonly passed: boolean;
  readonly checks: readonly ChainCheck[];
  /** leaf first, root last; complete only when `path` passed */
  readonly path: readonly Certificate[];
  /** whether some certificate of it is known to be revoked */
  readonly revoked: boolean;
}

/** Verifies a chain. Never throws for what the certificates hold: that is a failed check. */
export async function verifyChain(question: ChainQuestion): Promise<ChainReport> {
  const { now, rootFingerprints, revocation = 'if-present', verify = verifySignature } = question;
  const checks = new Map<ChainCheckName, ChainCheck>(
    CHAIN_CHECKS.map((name) => [name, { name, status: 'skipped', detail: 'an earlier check failed' }]),
  );
  const record = (name: ChainCheckName, fault: string | undefined, done: string): boolean => {
    const passed = fault === undefined;
    checks.set(name, { name, status: passed ? 'pass' : 'fail', detail: fault ?? done });
    return passed;
  };
  const report = (path: readonly Certificate[]): ChainReport => {
    const all = [...checks.values()];
    return { passed: all.every(({ status }) => status === 'pass'), checks: all, path, revoked: false };
  };

  const {
    certificates: [leaf, ...others],
    own = [],
    crls = [],
    ocsp = [],
  } = question;
  let lists: RevocationList[];
  let responses: OcspResponse[];
  try {
    if (others.length > MAX_POOL || crls.length > MAX_POOL || ocsp.length > MAX_RESPONSES) {
      throw new VouchError(
        'too-large',
        `expected at most ${MAX_POOL} certificates and CRLs and ${MAX_RESPONSES} OCSP responses`,
      );
    }
    lists = crls.map((list) => list());
    responses = ocsp.map((response) => response());
    record(
      'certificates',
      undefined,
      `${others.length + own.length + 1} certificates, ${lists.length} CRLs, ${responses.length} OCSP responses`,
    );
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    record('certificates', messageOf(error), '');
    return report([]);
  }

  // The same certificate given twice, or given and ours, is one.
  const pool = [...new Map([...own, ...others].map((one) => [one.fingerprint, one])).values()];
  const search = { pool, roots: rootFingerprints, now, verify, steps: 0 };
  const { path, fault: broken } = await buildPath([leaf], search);
  const unused =
    question.exact && others.find((one) => !path.some((used) => used.fingerprint === one.fingerprint));
  const fault = broken ?? (unused ? `${unused.subjectName} is not part of the chain` : undefined);
  const names = path.map(({ subjectName }) => subjectName).join(' <- ');
  if (!record('path', fault, `${names} (pinned root)`)) return report(path);
  record(
    'dates',
    path.map((certificate) => dateFault(certificate, now)).find(Boolean),
    `valid on ${day(now)}`,
  );
  record(
    'constraints',
    constraintFault(path, question.handled ?? []),
    'each issuer may sign, path lengths hold',
  );
  const sources = { path, lists, responses, pool, mode: revocation, now: question.revokedBy ?? now, verify };
  const { fault: unsound, revoked, detail } = await checkRevocation(sources);
  record('revocation', unsound, detail);
  return { ...report(path), revoked };
}

/**
 * Records a chain's checks as `<prefix>` (certificates and path), `<prefix>-dates`, `<prefix>-constraints` and
 * `<prefix>-revocation`; see `chainCheckIds`.
 */
export function recordChain({ checks }: ChainReport, prefix: string, record: Recorder): void {
  for (const { name, status, detail } of checks) {
    if (status === 'skipped') continue;
    const id = name === 'certificates' || name === 'path' ? prefix : `${prefix}-${name}`;
    record(id, status === 'pass', 'evidence-rejected', detail);
  }
}

/** The checks that `recordChain` makes. */
export const chainCheckIds = (prefix: string): readonly string[] => [
  prefix,
  `${prefix}-dates`,
  `${prefix}-constraints`,
  `${prefix}-revocation`,
];

/** Signatures that are looked at for one path: certificates of one name and key could make them endless. */
const MAX_STEPS = 256;

interface Search {
  readonly pool: readonly Certificate[];
  readonly roots: readonly string[];
  readonly now: Date;
  readonly verify: SignatureVerifier;
  steps: number;
}

/**
 * A path from a certificate to a root, over whichever issuers lead to one. Of several the same is taken whatever the
 * order in which certificates came: those valid now first, then the longest valid, then by fingerprint.
 */
async function buildPath(
  path: readonly Certificate[],
  search: Search,
): Promise<{ path: readonly Certificate[]; fault?: string }> {
  const { pool, roots, now, verify } = search;
  const last = path.at(-1)!;
  if (roots.includes(last.fingerprint)) return { path };
  if (path.length === MAX_PATH) return { path, fault: `expected at most ${MAX_PATH} certificates in a row` };
  const named = pool.filter(
    (candidate) => equal(candidate.subject, last.issuer) && !path.includes(candidate),
  );
  if (named.length === 0) {
    const what = equal(last.subject, last.issuer)
      ? 'is a root that is not pinned'
      : `has no certificate of its issuer ${last.issuerName}`;
    return { path, fault: `${last.subjectName} (${last.fingerprint.slice(0, 16)}) ${what}` };
  }
  const fault = `signature of ${last.issuerName} on ${last.subjectName} does not hold`;
  let deepest: { path: readonly Certificate[]; fault?: string } = { path, fault };
  for (const issuer of named.sort(preferredAt(now))) {
    search.steps += 1;
    if (search.steps > MAX_STEPS) return { path, fault: `expected fewer certificates of ${last.issuerName}` };
    if (!(await verify(issuer.key, last.algorithm, last.signature, last.signed))) continue;
    const found = await buildPath([...path, issuer], search);
    if (found.fault === undefined) return found;
    if (found.path.length > deepest.path.length) deepest = found;
  }
  return deepest;
}

const preferredAt =
  (now: Date) =>
  (a: Certificate, b: Certificate): number =>
    Number(dateFault(a, now) !== undefined) - Number(dateFault(b, now) !== undefined) ||
    b.notAfter.getTime() - a.notAfter.getTime() ||
    (a.fingerprint < b.fingerprint ? -1 : 1);

// Written so that an invalid `now` (NaN) fails.
function dateFault({ subjectName, notBefore, notAfter }: Certificate, now: Date): string | undefined {
  if (!(now >= notBefore)) return `${subjectName} is not valid before ${day(notBefore)}`;
  if (!(now <= notAfter)) return `${subjectName} is stale: it expired on ${day(notAfter)}`;
  return undefined;
}

/** Extensions that are handled here; any other one that is critical stops a chain (section 4.2). */
const HANDLED = ['2.5.29.15', '2.5.29.19'];

function constraintFault(path: readonly Certificate[], handled: readonly string[]): string | undefined {
  for (const [depth, { subjectName, extensions, authority, usage, pathLength }] of path.entries()) {
    for (const [oid, { critical }] of extensions) {
      if (critical && !HANDLED.includes(oid) && !handled.includes(oid))
        return `${subjectName}: critical extension ${oid} is not known`;
    }
    if (depth === 0) {
      if (path.length > 1 && authority) return `${subjectName} is a certificate authority, not a leaf`;
      if (usage !== undefined && !usage.has('digitalSignature') && !usage.has('nonRepudiation')) {
        return `${subjectName} may not sign`;
      }
      continue;
    }
    if (!authority) return `${subjectName} is no certificate authority`;
    if (usage?.has('keyCertSign') === false) return `${subjectName} may not sign certificates`;
    if (pathLength !== undefined && depth - 1 > pathLength) {
      return `${subjectName} allows ${pathLength} intermediates below, not ${depth - 1}`;
    }
  }
  return undefined;
}
