/**
 * Google's endorsement of the firmware that a confidential virtual machine started with, beside the report or quote that
 * measured it: the chain up to Google's root, the signature (RSA-PSS with SHA-256), and that it names the measurement. What
 * a policy wants of it is judgement/google.ts's matter.
 *
 * Not guaranteed: that the firmware is good, only that Google says it is its own; what runs after the firmware, which a
 * TD's RTMRs and a vTPM's PCRs measure; and revocation, about which Google publishes nothing.
 */
import { VouchError } from '../errors.ts';
import type { Certificate, RevocationList } from './certificate.ts';
import { chainCheckIds, recordChain, verifyChain } from './chain.ts';
import { attempting, type Checklist, createChecklist, refused } from './checklist.ts';
import { type Collateral, certificatesOf, crlsOf } from './collateral.ts';
import type { CpuClaims, Part } from './formats/format.ts';
import type { EndorsementClaims, GceEndorsement, Golden } from './formats/gce-endorsement.ts';
import { judgeEndorsementClaims } from './judgement/google.ts';
import type { Parsed } from './parsed.ts';
import { GOOGLE_TCB_ROOT_URL, GOOGLE_TCB_ROOTS } from './roots/google.ts';
import { verifyRsa } from './signature.ts';
import type { GcePolicy } from './software-demands.ts';

export interface EndorsementQuestion {
  readonly given: Collateral;
  readonly store: Collateral;
  /** what the machine's CPU says, once its signatures hold */
  readonly cpus: readonly CpuClaims[];
  /** whether what was given is about this machine alone */
  readonly alone: boolean;
  /** present: an endorsement is demanded */
  readonly policy: GcePolicy | undefined;
  readonly now: Date;
  /** fingerprints; Google's own unless others are to be trusted */
  readonly roots?: readonly string[] | undefined;
}

export interface EndorsementResult extends Pick<Part, 'verdict' | 'checks'> {
  readonly claims?: EndorsementClaims;
}

const REQUIRED = [
  'gce.endorsement',
  ...chainCheckIds('gce.chain'),
  'gce.signature',
  'gce.measurement',
] as const;
const SALT_BYTES = 32;
/** Google's own tool demands provenance of what was signed since then. */
const PROVENANCE_SINCE = new Date('2024-08-02T00:00:00Z');

/** Undefined where there is no endorsement and none is demanded. Never throws for what endorsements hold. */
export async function judgeEndorsements(
  question: EndorsementQuestion,
): Promise<EndorsementResult | undefined> {
  const { given, store, policy, cpus } = question;
  if (given.endorsements.length > 0) return judgeGiven(given.endorsements, question);
  // Those in store are about many machines: the newest that holds is taken, the others are passed over.
  const about = store.endorsements.filter((one) => names(one, cpus));
  const stored = await Promise.all(about.map((one) => examine(one, question)));
  const own = newest(stored);
  if (own !== undefined) return finished(own, question);
  if (policy === undefined) return undefined;
  const list = createChecklist(REQUIRED);
  const missing = "the policy demands Google's endorsement of the firmware, and none of it is at hand";
  list.record('gce.endorsement', false, 'policy-rejected', missing);
  return list.result('');
}

/** What one endorsement came to; `read` is present when chain and signature hold. */
interface Outcome {
  readonly list: Checklist;
  readonly unpinned: boolean;
  readonly read?: GceEndorsement;
  readonly claims?: EndorsementClaims | undefined;
}

const newest = (outcomes: readonly Outcome[]): Outcome | undefined =>
  outcomes
    .filter(({ claims }) => claims !== undefined)
    .sort(
      ({ claims: a }, { claims: b }) => Date.parse(b!.signedAt) - Date.parse(a!.signedAt) || a!.svn - b!.svn,
    )[0];

/** One that does not hold is a failure; one about other firmware is none beside the right one. */
async function judgeGiven(
  endorsements: readonly Parsed<GceEndorsement>[],
  question: EndorsementQuestion,
): Promise<EndorsementResult> {
  const outcomes = await Promise.all(endorsements.map((one) => examine(one, question)));
  const forged = outcomes.filter(({ read, unpinned }) => read === undefined && !unpinned);
  if (forged.length > 0) return refused(forged.map(({ list }) => list.result('')));
  const own = newest(outcomes);
  const [any] = outcomes.filter(({ read }) => read !== undefined);
  return finished(own ?? any ?? outcomes[0]!, question);
}

function finished(
  { list, read, unpinned, claims }: Outcome,
  { policy, alone, cpus }: EndorsementQuestion,
): EndorsementResult {
  if (unpinned) {
    const why = `no root that is pinned is at hand: bring ${GOOGLE_TCB_ROOT_URL}`;
    if (policy !== undefined) list.record('gce.chain', false, 'policy-rejected', why);
    else for (const id of REQUIRED.slice(1)) list.omit(id, why);
  } else if (claims !== undefined) {
    list.record('gce.measurement', true, 'evidence-rejected', `of machines with ${describe(claims.of)}`);
    judgeEndorsementClaims(claims, policy, list.record);
    return { ...list.result(''), claims };
  } else if (read !== undefined) {
    const found = cpus.map(({ platform, measurement }) => `${platform} ${measurement}`).join(', ');
    const detail = `it does not name the measurement of ${found || 'a report or quote that holds'}`;
    // Beside several machines it may be about another one.
    if (alone || policy !== undefined) list.record('gce.measurement', false, 'evidence-rejected', detail);
    else list.omit('gce.measurement', detail);
  }
  return list.result('');
}

const describe = (of: Golden['of']): string =>
  'vcpus' in of
    ? `${of.vcpus} virtual CPUs`
    : 'svsm' in of
      ? 'an SVSM'
      : `${of.ramGib} GiB${of.earlyAccept ? ', accepted by the firmware' : ''}`;

/** Chain and signature, and whether it is about a CPU of this machine. */
async function examine(endorsement: Parsed<GceEndorsement>, question: EndorsementQuestion): Promise<Outcome> {
  const { policy, now, given, store, cpus } = question;
  const list = createChecklist(REQUIRED);
  const read = attempting(list.record)(
    'gce.endorsement',
    endorsement,
    ({ source, signedAt }) => `signed on ${dayOf(signedAt)}, built from ${source || 'what it does not say'}`,
  );
  if (read === undefined) return { list, unpinned: false };
  if (read.source === '' && read.signedAt > PROVENANCE_SINCE) {
    const unsaid = 'it does not say which source the firmware was built from';
    list.record('gce.endorsement', false, 'evidence-rejected', unsaid);
  }
  const roots = question.roots ?? policy?.roots ?? GOOGLE_TCB_ROOTS;
  const own = [
    ...read.authorities,
    ...[given, store].flatMap((files) => certificatesOf('other', files)),
  ].filter(({ authority }) => authority);
  if (!own.some(({ fingerprint }) => roots.includes(fingerprint))) return { list, unpinned: true };
  await checkSigned(read, { own, roots, now, crls: crlsOf('other', question) }, list);
  const holds = list
    .result('')
    .checks.every(({ id, status }) => status === 'pass' || id === 'gce.measurement');
  return holds ? { list, unpinned: false, read, claims: claimsFor(read, cpus) } : { list, unpinned: false };
}

const dayOf = (date: Date): string => date.toISOString().slice(0, 10);

async function checkSigned(
  { certificate, signed, signature }: GceEndorsement,
  trust: {
    readonly own: readonly Certificate[];
    readonly roots: readonly string[];
    readonly now: Date;
    readonly crls: readonly Parsed<RevocationList>[];
  },
  { record }: Checklist,
): Promise<void> {
  const { own, roots, now, crls } = trust;
  const chain = await verifyChain({ certificates: [certificate], own, rootFingerprints: roots, now, crls });
  recordChain(chain, 'gce.chain', record);
  const algorithm = { name: 'RSA-PSS', hash: 'SHA-256', saltLength: SALT_BYTES } as const;
  const holds = await verifyRsa(certificate.key, algorithm, signature, signed);
  record('gce.signature', holds, 'signature-rejected', holds ? 'by that key' : 'not by that key');
}

/** Whether it says that it is about one of these, before anything is verified. */
function names(endorsement: Parsed<GceEndorsement>, cpus: readonly CpuClaims[]): boolean {
  try {
    return claimsFor(endorsement(), cpus) !== undefined;
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return false;
  }
}

function claimsFor(read: GceEndorsement, cpus: readonly CpuClaims[]): EndorsementClaims | undefined {
  for (const { platform, measurement } of cpus) {
    const named = read.platforms.get(platform);
    const golden = named?.golden.find((one) => one.measurement === measurement);
    if (named === undefined || golden === undefined) continue;
    const { source, firmware, signedAt } = read;
    return {
      by: 'google',
      svn: named.svn,
      source,
      firmware,
      signedAt: signedAt.toISOString(),
      of: golden.of,
    };
  }
  return undefined;
}
