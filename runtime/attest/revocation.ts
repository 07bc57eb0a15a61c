/**
 * Asks vendors whether certificates are revoked: OCSP responders and CRLs, at the places that the certificates name. Only
 * the hosts of vendors are asked: a certificate comes from a stranger, who must not choose what this host connects to.
 * What is brought home is signed, and judged anew by whoever verifies evidence with it.
 */
import {
  type Certificate,
  parseCertificates,
  parseRevocationList,
} from '../../protocols/attestation/certificate.ts';
import { MAX_CRL_BYTES, MAX_OCSP_BYTES } from '../../protocols/attestation/limits.ts';
import {
  isAbout,
  type OcspResponse,
  ocspRequest,
  parseOcspResponse,
} from '../../protocols/attestation/ocsp.ts';
import { checkRevocation } from '../../protocols/attestation/revocation.ts';
import { crlPlace, ocspPlace } from '../../protocols/attestation/revocation-places.ts';
import { verifySignature } from '../../protocols/attestation/signature.ts';
import { equal, randomBytes } from '../../protocols/encoding.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';

const HOSTS = [
  'ocsp.ndis.nvidia.com',
  'crl.ndis.nvidia.com',
  'kdsintf.amd.com',
  'api.trustedservices.intel.com',
  'certificates.trustedservices.intel.com',
];
const TIMEOUT_MS = 10_000;
const NONCE_BYTES = 32;

/** Sends a request and returns the whole answer; throws when there is none. */
export type Ask = (url: string, body: Uint8Array | undefined, most: number) => Promise<Uint8Array>;

const ask: Ask = async (url, body, most) => {
  const response = await fetch(url, {
    redirect: 'error',
    signal: AbortSignal.timeout(TIMEOUT_MS),
    ...(body === undefined
      ? {}
      : {
          method: 'POST',
          headers: { 'content-type': 'application/ocsp-request' },
          body: Uint8Array.from(body),
        }),
  });
  if (!response.ok) throw new VouchError('not-ready', `the server answered ${response.status}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (bytes.length > most)
    throw new VouchError('too-large', `expected at most ${most} bytes, got ${bytes.length}`);
  return bytes;
};

/** What is to be learnt of one certificate, and where. */
interface Place {
  readonly certificate: Certificate;
  readonly issuer: Certificate;
  readonly ocsp: string | undefined;
  readonly crl: string | undefined;
}

/** What was brought home, DER, and what was not, in words. */
export interface Fetched {
  readonly files: readonly Uint8Array[];
  readonly faults: readonly string[];
}

export interface FetchOptions {
  /** a responder to ask instead of those that the certificates name */
  readonly responder?: string | undefined;
  /** whether lists are fetched as well; default false */
  readonly lists?: boolean | undefined;
  readonly now?: Date | undefined;
  readonly ask?: Ask | undefined;
}

/** Asks about `certificates` and all above them that are among these or `pool`. */
export async function fetchRevocation(
  certificates: readonly Certificate[],
  pool: readonly Certificate[],
  { responder, lists = false, now = new Date(), ask: send = ask }: FetchOptions = {},
): Promise<Fetched> {
  const places = placesOf(certificates, pool, responder);
  const jobs = places.flatMap((place) => [
    ...(place.ocsp === undefined
      ? []
      : [{ what: `OCSP about ${place.certificate.subjectName}`, run: () => fetchAnswer(place, send, now) }]),
    ...(lists && place.crl !== undefined
      ? [{ what: `CRL of ${place.issuer.subjectName}`, run: () => fetchList(place, send) }]
      : []),
  ]);
  const outcomes = await Promise.allSettled(jobs.map(({ run }) => run()));
  return {
    files: outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : [])),
    faults: outcomes.flatMap((outcome, i) =>
      outcome.status === 'rejected' ? [`${jobs[i]!.what}: ${messageOf(outcome.reason)}`] : [],
    ),
  };
}

/** Each certificate once. One that names no responder is asked about where those above it are, if its issuer revokes. */
function placesOf(
  certificates: readonly Certificate[],
  pool: readonly Certificate[],
  responder: string | undefined,
): Place[] {
  const all = new Map([...certificates, ...pool].map((one) => [one.fingerprint, one]));
  const issuerOf = ({ issuer, fingerprint }: Certificate) =>
    [...all.values()].find((one) => one.fingerprint !== fingerprint && equal(one.subject, issuer));
  const places = new Map<string, Place>();
  const add = (certificate: Certificate): void => {
    const issuer = issuerOf(certificate);
    if (issuer === undefined || places.has(certificate.fingerprint)) return;
    const own = ocspPlace(certificate);
    const above = issuer.usage?.has('cRLSign') === false ? undefined : ocspPlace(issuer);
    const named = own ?? above;
    places.set(certificate.fingerprint, {
      certificate,
      issuer,
      ocsp: named === undefined ? undefined : (responder ?? named),
      crl: crlPlace(certificate),
    });
    add(issuer);
  };
  for (const certificate of certificates) add(certificate);
  return [...places.values()];
}

/** A URL at a vendor's host; throws `policy-rejected` for any other. */
function vendorsOwn(url: string, responder: boolean): string {
  const { hostname, protocol } = new URL(url);
  const web = protocol === 'https:' || protocol === 'http:';
  if (!web || (!responder && !HOSTS.includes(hostname))) {
    throw new VouchError('policy-rejected', `${url}: expected a vendor's host: ${HOSTS.join(', ')}`);
  }
  return url;
}

async function fetchAnswer({ certificate, issuer, ocsp }: Place, send: Ask, now: Date): Promise<Uint8Array> {
  const nonce = randomBytes(NONCE_BYTES);
  const named = [ocspPlace(certificate), ocspPlace(issuer)].includes(ocsp);
  const der = await send(vendorsOwn(ocsp!, !named), ocspRequest(certificate, issuer, nonce), MAX_OCSP_BYTES);
  const response = parseOcspResponse(der);
  await demandOwn(response, { certificate, issuer, nonce, now });
  return der;
}

/** Throws for a response to somebody else, about something else, or not signed for this issuer. */
async function demandOwn(
  response: OcspResponse,
  {
    certificate,
    issuer,
    nonce,
    now,
  }: { certificate: Certificate; issuer: Certificate; nonce: Uint8Array; now: Date },
): Promise<void> {
  if (response.nonce !== undefined && !equal(response.nonce, nonce)) {
    throw new VouchError('evidence-rejected', 'the response answers another nonce');
  }
  const answer = response.answers.find((one) => isAbout(one, certificate, issuer));
  if (answer === undefined)
    throw new VouchError('evidence-rejected', 'the response is about another certificate');
  if (answer.status === 'unknown') throw new VouchError('not-ready', 'the responder does not know it');
  const { fault, revoked } = await checkRevocation({
    path: [certificate, issuer],
    lists: [],
    responses: [response],
    pool: [],
    mode: 'if-present',
    now,
    verify: verifySignature,
  });
  // That a certificate is revoked is worth to be kept.
  if (fault !== undefined && !revoked) throw new VouchError('evidence-rejected', fault);
}

async function fetchList({ issuer, crl }: Place, send: Ask): Promise<Uint8Array> {
  const bytes = await send(vendorsOwn(crl!, false), undefined, MAX_CRL_BYTES);
  const list = parseRevocationList(bytes);
  if (!(await verifySignature(issuer.key, list.algorithm, list.signature, list.signed))) {
    throw new VouchError('evidence-rejected', 'its signature does not hold');
  }
  return bytes;
}

/** For how long what was asked about the same certificates is used again, and after how long a failure is tried again. */
const KEEP_MS = 3_600_000;
const RETRY_MS = 300_000;

/** Asks about chains of DER for documents to bring along, again only from time to time. Throws `bad-file` for what is no certificate. */
export function createStapler(
  send: Ask = ask,
): (chains: readonly (readonly Uint8Array[])[]) => Promise<Uint8Array[]> {
  const kept = new Map<string, { readonly until: number; readonly files: readonly Uint8Array[] }>();
  return async (chains) => {
    const known = parseCertificates(chains.flat());
    const key = known.map(({ fingerprint }) => fingerprint).join(' ');
    const found = kept.get(key);
    if (found !== undefined && found.until > Date.now()) return [...found.files];
    const { files, faults } = await fetchRevocation(known, [], { ask: send });
    // One machine has one set of GPUs: what was asked about others is of no more use.
    kept.clear();
    kept.set(key, { until: Date.now() + (faults.length > 0 ? RETRY_MS : KEEP_MS), files });
    return [...files];
  };
}
