/**
 * Whether the certificates of a chain are revoked, by the CRLs (RFC 5280) and OCSP responses (RFC 6960) at hand. A CRL is
 * signed by the issuer itself; a response by the issuer, or by a responder that the issuer has certified for just that.
 *
 * What is at hand about a certificate has to be genuine, and the newest of it counts: a good answer lifts an older hold,
 * and nothing lifts any other revocation.
 *
 * Not guaranteed: that a response was made for this verifier. Whoever hands one over can keep back a newer one until
 * the old one runs out; whoever fetches compares the nonce.
 */
import { equal } from '../encoding.ts';
import { VouchError } from '../errors.ts';
import { type Certificate, keyBits, type RevocationList } from './certificate.ts';
import { childrenOf, oidOf, readDer, TAG } from './der.ts';
import { isAbout, type OcspAnswer, type OcspResponse, sha1Of } from './ocsp.ts';
import { crlPlace, ocspPlace } from './revocation-places.ts';
import type { SignatureVerifier } from './signature.ts';

/** Seconds by which a responder's clock may be ahead: what it has just signed is to count. */
const CLOCK_SKEW_MS = 60_000;
/** For how long an answer counts that names no end: newer ones are to be had at any time (RFC 6960, section 2.4). */
const OPEN_ENDED_MS = 86_400_000;
const EXTENDED_KEY_USAGE = '2.5.29.37';
const OCSP_SIGNING = '1.3.6.1.5.5.7.3.9';
const HANDLED = ['2.5.29.15', '2.5.29.19', EXTENDED_KEY_USAGE];
const HOLD = 'certificateHold';

/** `where-named`: of certificates alone that name a place to ask. */
export type RevocationMode = 'required' | 'where-named' | 'if-present';

export interface RevocationQuestion {
  /** leaf first, root last, all signatures verified */
  readonly path: readonly Certificate[];
  readonly lists: readonly RevocationList[];
  readonly responses: readonly OcspResponse[];
  /** certificates at hand, for responders that sent none of their own */
  readonly pool: readonly Certificate[];
  readonly mode: RevocationMode;
  readonly now: Date;
  readonly verify: SignatureVerifier;
}

export interface RevocationResult {
  readonly fault?: string | undefined;
  /** whether the fault is that one of the certificates is revoked or on hold */
  readonly revoked: boolean;
  /** what to say without a fault */
  readonly detail: string;
}

export async function checkRevocation(question: RevocationQuestion): Promise<RevocationResult> {
  const { path, mode } = question;
  const covered = { CRL: 0, OCSP: 0 };
  for (let depth = 0; depth + 1 < path.length; depth++) {
    const certificate = path[depth]!;
    const issuer = path[depth + 1]!;
    const answer = await byResponses(certificate, issuer, question);
    const list = await byLists(certificate, issuer, question);
    const worst = answer.fault === undefined || list.revoked ? list : answer;
    if (worst.fault !== undefined) return { fault: worst.fault, revoked: worst.revoked === true, detail: '' };
    if (answer.current) covered.OCSP += 1;
    if (list.current) covered.CRL += 1;
    if (answer.current || list.current) continue;
    const stale = answer.stale ?? list.stale;
    if (stale !== undefined) return { fault: stale, revoked: false, detail: '' };
    if (
      mode === 'required' ? canBeRevoked(certificate, issuer) : mode === 'where-named' && names(certificate)
    ) {
      return { fault: unknown(certificate, issuer), revoked: false, detail: '' };
    }
  }
  const parts = [
    ...(covered.CRL > 0 ? [`${covered.CRL} CRLs`] : []),
    ...(covered.OCSP > 0 ? [`${covered.OCSP} OCSP responses`] : []),
  ];
  const detail = parts.length > 0 ? `not revoked (${parts.join(', ')})` : 'nothing at hand, none demanded';
  return { revoked: false, detail };
}

/** A CA that may not sign CRLs cannot revoke, unless it names a place; its own issuer can revoke the whole CA. */
const canBeRevoked = (certificate: Certificate, issuer: Certificate): boolean =>
  issuer.usage?.has('cRLSign') !== false || names(certificate);

const names = (certificate: Certificate): boolean =>
  ocspPlace(certificate) !== undefined || crlPlace(certificate) !== undefined;

function unknown(certificate: Certificate, issuer: Certificate): string {
  const place = ocspPlace(certificate) ?? crlPlace(certificate);
  const where = place === undefined ? '' : ` (it names ${place.replaceAll(/[^\x21-\x7e]/g, '?')})`;
  return `no CRL of ${issuer.subjectName} and no OCSP response about ${certificate.subjectName}${where}: revocation is unknown`;
}

/** What one kind of source says of one certificate. */
interface Finding {
  readonly fault?: string;
  /** whether the fault is a revocation */
  readonly revoked?: boolean;
  /** why what there is does not count */
  readonly stale?: string;
  readonly current: boolean;
}

async function byLists(
  certificate: Certificate,
  issuer: Certificate,
  { lists, now, verify }: RevocationQuestion,
): Promise<Finding> {
  if (issuer.usage?.has('cRLSign') === false) return { current: false };
  let current = false;
  let stale: string | undefined;
  for (const list of lists.filter(({ issuer: name }) => equal(name, issuer.subject))) {
    const of = `CRL of ${list.issuerName}`;
    if (!(await verify(issuer.key, list.algorithm, list.signature, list.signed))) {
      return { fault: `signature of the ${of} does not hold`, current };
    }
    if (list.revoked.has(certificate.serial)) {
      return { fault: `${certificate.subjectName} is revoked`, revoked: true, current };
    }
    // Written so that an invalid `now` (NaN) fails.
    if (!(now >= list.thisUpdate)) stale = `${of} is from the future: ${day(list.thisUpdate)}`;
    else if (!(now <= list.nextUpdate)) stale = `${of} is stale: its next was due on ${day(list.nextUpdate)}`;
    else current = true;
  }
  return { current, ...(stale === undefined ? {} : { stale }) };
}

async function byResponses(
  certificate: Certificate,
  issuer: Certificate,
  question: RevocationQuestion,
): Promise<Finding> {
  const { now } = question;
  const about = `OCSP response about ${certificate.subjectName}`;
  const answers: OcspAnswer[] = [];
  for (const response of question.responses) {
    const own = response.answers.filter((answer) => isAbout(answer, certificate, issuer));
    if (own.length === 0) continue;
    const fault = await responseFault(response, issuer, question);
    if (fault !== undefined) return { fault: `${about}: ${fault}`, current: false };
    answers.push(...own);
  }
  if (answers.length === 0) return { current: false };
  const final = answers.find(({ status, reason }) => status === 'revoked' && reason !== HOLD);
  const [newest] = answers
    .filter(({ thisUpdate }) => now.getTime() + CLOCK_SKEW_MS >= thisUpdate.getTime())
    .sort((a, b) => b.thisUpdate.getTime() - a.thisUpdate.getTime() || GRAVITY[b.status] - GRAVITY[a.status]);
  const counting = final ?? newest;
  if (counting === undefined) {
    return { stale: `${about} is from the future: ${day(answers[0]!.thisUpdate)}`, current: false };
  }
  const { status, revokedAt, reason, thisUpdate, nextUpdate } = counting;
  if (status === 'revoked') {
    const what = reason === HOLD ? 'is on hold' : 'is revoked';
    const since = `since ${day(revokedAt!)}${reason === undefined ? '' : `: ${reason}`}`;
    return { fault: `${certificate.subjectName} ${what} ${since} (OCSP)`, revoked: true, current: false };
  }
  if (status === 'unknown') {
    return { fault: `the responder does not know ${certificate.subjectName} (OCSP)`, current: false };
  }
  const until = nextUpdate ?? new Date(thisUpdate.getTime() + OPEN_ENDED_MS);
  return now <= until
    ? { current: true }
    : { stale: `${about} is stale: its next was due on ${until.toISOString()}`, current: false };
}

const GRAVITY: Readonly<Record<OcspAnswer['status'], number>> = { good: 0, unknown: 1, revoked: 2 };

/** Why a response is not the issuer's word; undefined when it is. */
async function responseFault(
  response: OcspResponse,
  issuer: Certificate,
  question: RevocationQuestion,
): Promise<string | undefined> {
  const { now, verify, pool } = question;
  if (!(now.getTime() + CLOCK_SKEW_MS >= response.producedAt.getTime())) {
    return `made in the future: ${response.producedAt.toISOString()}`;
  }
  let certificates: readonly Certificate[];
  try {
    certificates = response.certificates();
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return error.message;
  }
  const signers = [issuer, ...certificates, ...pool].filter((one) => isResponder(response, one));
  let fault = `its responder ${response.responderName} is not at hand`;
  for (const signer of signers) {
    if (!(await verify(signer.key, response.algorithm, response.signature, response.signed))) {
      fault = `signature of ${signer.subjectName} does not hold`;
      continue;
    }
    const wrong =
      signer.fingerprint === issuer.fingerprint ? undefined : await delegateFault(signer, issuer, question);
    if (wrong === undefined) return undefined;
    fault = `its responder ${signer.subjectName} ${wrong}`;
  }
  return fault;
}

const isResponder = ({ responder }: OcspResponse, { subject, key }: Certificate): boolean =>
  'name' in responder ? equal(responder.name, subject) : equal(responder.keyHash, sha1Of(keyBits(key)));

/** Why a certificate may not answer for its issuer (RFC 6960, section 4.2.2.2); undefined when it may. */
async function delegateFault(
  signer: Certificate,
  issuer: Certificate,
  question: RevocationQuestion,
): Promise<string | undefined> {
  const { now, verify } = question;
  const { algorithm, signature, signed, usage, extensions } = signer;
  const certified =
    equal(signer.issuer, issuer.subject) && (await verify(issuer.key, algorithm, signature, signed));
  if (!certified) return `is not certified by ${issuer.subjectName}`;
  if (!mayAnswer(signer)) return 'is not certified for OCSP';
  if (usage?.has('digitalSignature') === false) return 'may not sign';
  for (const [oid, { critical }] of extensions) {
    if (critical && !HANDLED.includes(oid)) return `has a critical extension ${oid} that is not known`;
  }
  if (!(now >= signer.notBefore && now <= signer.notAfter)) return `is not valid on ${day(now)}`;
  // Responders vouch for themselves by a short life; a list that names one counts all the same.
  return (await byLists(signer, issuer, question)).fault;
}

function mayAnswer({ extensions }: Certificate): boolean {
  const usage = extensions.get(EXTENDED_KEY_USAGE);
  if (usage === undefined) return false;
  try {
    const purposes = childrenOf(readDer(usage.value, '', TAG.sequence), '');
    return purposes.some((purpose) => oidOf(purpose, '') === OCSP_SIGNING);
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return false;
  }
}

/** For people; `now` may be no date. */
export const day = (time: Date): string =>
  Number.isNaN(time.getTime()) ? 'no date' : time.toISOString().slice(0, 10);
