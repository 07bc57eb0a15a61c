/**
 * Certificate chains up to a root that is pinned by its SHA-256 fingerprint (RFC 5280 section 6, without
 * policies and name constraints): names, signatures, dates, who may sign, how many may follow, and revocation
 * by CRL. Pure: the clock and all certificates are arguments.
 *
 * Not guaranteed: that a certificate says what its user needs; vendors' extensions are their formats' matter.
 */
import { hex } from '../encoding.ts';
import { messageOf, VouchError } from '../errors.ts';
import type { Certificate, RevocationList } from './certificate.ts';
import type { Check, Recorder } from './checklist.ts';
import type { Parsed } from './parsed.ts';
import { type SignatureVerifier, verifySignature } from './signature.ts';

/** Certificates on a path, leaf and root included. */
const MAX_PATH = 8;
/** Certificates and CRLs to choose from. */
const MAX_POOL = 32;

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
  /**
   * `required`: every certificate whose issuer may sign CRLs must be covered by a current one.
   * `where-named`: every certificate that names where its CRL is (section 4.2.1.13) must be covered.
   * `if-present` (default): only the CRLs at hand count; these must be genuine and current all the same.
   */
  readonly revocation?: RevocationMode | undefined;
  /** when CRLs have to be current; default `now` */
  readonly revokedBy?: Date | undefined;
  /** remembers what several chains of one judgement share */
  readonly verify?: SignatureVerifier | undefined;
}

export type RevocationMode = 'required' | 'where-named' | 'if-present';

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
    return { passed: all.every(({ status }) => status === 'pass'), checks: all, path };
  };

  const {
    certificates: [leaf, ...others],
    own = [],
    crls = [],
  } = question;
  let lists: RevocationList[];
  try {
    if (others.length + own.length > MAX_POOL || crls.length > MAX_POOL) {
      throw new VouchError('too-large', `expected at most ${MAX_POOL} certificates and CRLs`);
    }
    lists = crls.map((list) => list());
    record('certificates', undefined, `${others.length + own.length + 1} certificates, ${lists.length} CRLs`);
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    record('certificates', messageOf(error), '');
    return report([]);
  }

  const { path, fault: broken } = await buildPath(leaf, [...others, ...own], rootFingerprints, verify);
  const unused = question.exact && others.find((certificate) => !path.includes(certificate));
  const fault = broken ?? (unused ? `${unused.subjectName} is not part of the chain` : undefined);
  const names = path.map(({ subjectName }) => subjectName).join(' <- ');
  if (!record('path', fault, `${names} (pinned root)`)) return report(path);
  record(
    'dates',
    path.map((certificate) => dateFault(certificate, now)).find(Boolean),
    `valid on ${day(now)}`,
  );
  record('constraints', constraintFault(path), 'each issuer may sign, path lengths hold');
  record(
    'revocation',
    ...(await checkRevocation(path, lists, revocation, question.revokedBy ?? now, verify)),
  );
  return report(path);
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

const same = (a: Uint8Array, b: Uint8Array): boolean => hex(a) === hex(b);

async function buildPath(
  leaf: Certificate,
  pool: readonly Certificate[],
  roots: readonly string[],
  verify: SignatureVerifier,
): Promise<{ path: Certificate[]; fault?: string }> {
  const path = [leaf];
  for (let last = leaf; !roots.includes(last.fingerprint); last = path.at(-1)!) {
    if (path.length === MAX_PATH)
      return { path, fault: `expected at most ${MAX_PATH} certificates in a row` };
    const named = pool.filter(
      (candidate) => same(candidate.subject, last.issuer) && !path.includes(candidate),
    );
    if (named.length === 0) {
      const self = same(last.subject, last.issuer);
      const what = self
        ? 'is a root that is not pinned'
        : `has no certificate of its issuer ${last.issuerName}`;
      return { path, fault: `${last.subjectName} (${last.fingerprint.slice(0, 16)}) ${what}` };
    }
    const issuer = await firstThat(named, ({ key }) =>
      verify(key, last.algorithm, last.signature, last.signed),
    );
    if (issuer === undefined) {
      return { path, fault: `signature of ${last.issuerName} on ${last.subjectName} does not hold` };
    }
    path.push(issuer);
  }
  return { path };
}

async function firstThat<T>(
  items: readonly T[],
  test: (item: T) => Promise<boolean>,
): Promise<T | undefined> {
  for (const item of items) if (await test(item)) return item;
  return undefined;
}

const day = (time: Date): string =>
  Number.isNaN(time.getTime()) ? 'no date' : time.toISOString().slice(0, 10);

// Written so that an invalid `now` (NaN) fails.
function dateFault({ subjectName, notBefore, notAfter }: Certificate, now: Date): string | undefined {
  if (!(now >= notBefore)) return `${subjectName} is not valid before ${day(notBefore)}`;
  if (!(now <= notAfter)) return `${subjectName} is stale: it expired on ${day(notAfter)}`;
  return undefined;
}

const CRL_DISTRIBUTION_POINTS = '2.5.29.31';
/** Extensions that are handled here; any other one that is critical stops a chain (section 4.2). */
const HANDLED = ['2.5.29.15', '2.5.29.19'];

function constraintFault(path: readonly Certificate[]): string | undefined {
  for (const [depth, { subjectName, extensions, authority, usage, pathLength }] of path.entries()) {
    for (const [oid, { critical }] of extensions) {
      if (critical && !HANDLED.includes(oid)) return `${subjectName}: critical extension ${oid} is not known`;
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

/** The fault, if any, and what to say without one. */
async function checkRevocation(
  path: readonly Certificate[],
  lists: readonly RevocationList[],
  mode: RevocationMode,
  now: Date,
  verify: SignatureVerifier,
): Promise<[string | undefined, string]> {
  let covered = 0;
  for (let depth = 0; depth + 1 < path.length; depth++) {
    const certificate = path[depth]!;
    const issuer = path[depth + 1]!;
    // A CA that may not sign CRLs cannot revoke; its own issuer can revoke the whole CA.
    if (issuer.usage?.has('cRLSign') === false) continue;
    const own = lists.filter((list) => same(list.issuer, issuer.subject));
    let current = false;
    let stale: string | undefined;
    for (const list of own) {
      if (!(await verify(issuer.key, list.algorithm, list.signature, list.signed))) {
        return [`signature of the CRL of ${list.issuerName} does not hold`, ''];
      }
      if (list.revoked.has(certificate.serial)) return [`${certificate.subjectName} is revoked`, ''];
      if (!(now >= list.thisUpdate))
        stale = `CRL of ${list.issuerName} is from the future: ${day(list.thisUpdate)}`;
      else if (!(now <= list.nextUpdate)) {
        stale = `CRL of ${list.issuerName} is stale: its next was due on ${day(list.nextUpdate)}`;
      } else current = true;
    }
    if (!current && stale !== undefined) return [stale, ''];
    const named = certificate.extensions.has(CRL_DISTRIBUTION_POINTS);
    if (!current && (mode === 'required' || (mode === 'where-named' && named)))
      return [`no CRL of ${issuer.subjectName}: revocation is unknown`, ''];
    if (current) covered += 1;
  }
  return [undefined, covered > 0 ? `not revoked (${covered} CRLs)` : 'no CRL at hand, none demanded'];
}
