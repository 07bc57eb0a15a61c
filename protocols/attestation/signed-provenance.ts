/**
 * Verifies a Sigstore bundle offline (github.com/sigstore/architecture-docs, client-spec.md): when it was signed, by the
 * log of signatures or a timestamp authority; the chain up to the root of those who certify identities, at that time;
 * that a log of certificates shows the certificate; that the log holds this very signature; and the signature.
 *
 * What signed statements are about, and who may have made them, is provenance.ts's matter.
 */
import { equal, hex, sha256, sha256Hex } from '../encoding.ts';
import { messageOf, VouchError } from '../errors.ts';
import { type Certificate, fromBase64, parseCertificate, parsePublicKey } from './certificate.ts';
import { chainCheckIds, recordChain, verifyChain } from './chain.ts';
import type { Checklist, Recorder } from './checklist.ts';
import type { SigstoreBundle } from './formats/sigstore-bundle.ts';
import { parsedOnce } from './parsed.ts';
import {
  CERTIFICATE_LOG_KEYS,
  FULCIO_CERTIFICATES,
  REKOR_KEYS,
  TIMESTAMP_CERTIFICATES,
} from './roots/sigstore.ts';
import { loggedBy } from './sct.ts';
import { type PublicKey, verifySignature } from './signature.ts';
import type { ProvenancePins } from './software-demands.ts';
import { checkTimestamp, EXTENDED_KEY_USAGE, mayDo } from './timestamp-token.ts';
import { inclusionFault, loggedSignature, promisedBy } from './transparency-log.ts';

export interface ProvenanceTrust extends ProvenancePins {
  /** at hand beside those that are built in; what is not pinned means nothing */
  readonly certificates: readonly Certificate[];
  readonly keys: readonly PublicKey[];
  readonly now: Date;
}

/** The checks that `checkBundle` makes. */
export const BUNDLE_CHECKS = [
  'provenance.time',
  ...chainCheckIds('provenance.chain'),
  'provenance.certificate-log',
  'provenance.log',
  'provenance.signature',
] as const;

const CLOCK_SKEW_SECONDS = 60;
const CODE_SIGNING = '1.3.6.1.5.5.7.3.3';
/** Critical where a certificate has no other name. */
const SUBJECT_ALTERNATIVE_NAME = '2.5.29.17';

const builtIn = parsedOnce(() => ({
  certificates: [...FULCIO_CERTIFICATES, ...TIMESTAMP_CERTIFICATES].map((text) =>
    parseCertificate(fromBase64(text, 'Sigstore')),
  ),
  keys: [...REKOR_KEYS, ...CERTIFICATE_LOG_KEYS].map((text) => parsePublicKey(fromBase64(text, 'Sigstore'))),
}));

/**
 * `artifacts`: what may have been signed where the bundle holds a digest alone; the one of them that was is returned, for
 * a statement its payload. Undefined when a check failed.
 */
export async function checkBundle(
  bundle: SigstoreBundle,
  artifacts: readonly Uint8Array[],
  trust: ProvenanceTrust,
  list: Pick<Checklist, 'record'>,
): Promise<Uint8Array | undefined> {
  const { record } = list;
  const keys = [...builtIn().keys, ...trust.keys];
  const named = (digests: readonly string[]) => keys.filter(({ spki }) => digests.includes(sha256Hex(spki)));
  const logs = named(trust.logs);
  const [leaf] = bundle.certificates;

  const time = await checkTime(bundle, logs, trust, record);
  const at = time ?? leaf.notBefore;
  const chain = await verifyChain({
    certificates: bundle.certificates as [Certificate, ...Certificate[]],
    own: [...builtIn().certificates, ...trust.certificates].filter(({ authority }) => authority),
    rootFingerprints: trust.roots,
    now: at,
    handled: [SUBJECT_ALTERNATIVE_NAME, EXTENDED_KEY_USAGE],
  });
  recordChain(chain, 'provenance.chain', record);
  const maySign = attempted('provenance.chain', record, () => mayDo(leaf, CODE_SIGNING)) === true;
  if (!maySign) record('provenance.chain', false, 'evidence-rejected', 'its key may not sign code');
  const issuer = chain.path[1];
  const shown =
    issuer !== undefined &&
    (await loggedBy(leaf, issuer.key, named(trust.certificateLogs)).catch((error: unknown) => {
      if (error instanceof VouchError) return undefined;
      throw error;
    }));
  record(
    'provenance.certificate-log',
    typeof shown === 'string',
    'evidence-rejected',
    typeof shown === 'string'
      ? `log ${shown.slice(0, 16)} shows the certificate`
      : 'no log of certificates that is pinned has promised to show the certificate',
  );
  const logged = await checkLog(bundle, logs, record);
  const signed = signedOf(bundle, artifacts);
  const holds = signed !== undefined && (await isSigned(leaf.key, bundle.signature, signed));
  record(
    'provenance.signature',
    holds,
    'signature-rejected',
    holds
      ? 'by that key'
      : signed === undefined
        ? `over something else: SHA-256 ${bundle.content.kind === 'artifact' ? hex(bundle.content.digest) : ''}`
        : 'not by that key, or not by ECDSA',
  );
  const whole = time !== undefined && logged && chain.passed && maySign && typeof shown === 'string';
  return whole && holds ? signed : undefined;
}

/** By ECDSA, with the hash of the curve's length; on P-384 some sign a SHA-256 digest. */
async function isSigned(key: PublicKey, signature: Uint8Array, data: Uint8Array): Promise<boolean> {
  if (key.type !== 'EC') return false;
  for (const hash of key.curve === 'P-256' ? (['SHA-256'] as const) : (['SHA-384', 'SHA-256'] as const)) {
    if (await verifySignature(key, { name: 'ECDSA', hash }, signature, data)) return true;
  }
  return false;
}

function attempted<T>(id: string, record: Recorder, work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    record(id, false, 'evidence-rejected', messageOf(error));
    return undefined;
  }
}

function signedOf({ content }: SigstoreBundle, artifacts: readonly Uint8Array[]): Uint8Array | undefined {
  if (content.kind === 'statement') return content.signed;
  return artifacts.find((artifact) => equal(sha256(artifact), content.digest));
}

/** When it was signed: every pinned party that says so has to say a time at which the certificate was valid. */
async function checkTime(
  { entry, certificates: [leaf], timestamps, signature }: SigstoreBundle,
  logs: readonly PublicKey[],
  trust: ProvenanceTrust,
  record: Recorder,
): Promise<Date | undefined> {
  const fail = (why: string): undefined => {
    record('provenance.time', false, 'evidence-rejected', why);
  };
  const times: Date[] = [];
  if (entry.promise !== undefined) {
    if ((await promisedBy(entry, logs)) === undefined)
      return fail('no log that is pinned has signed the time');
    times.push(new Date(Number(entry.time) * 1000));
  }
  const authorities = [...builtIn().certificates, ...trust.certificates];
  let unpinned = 'neither a log nor a timestamp authority says when it was signed';
  for (const token of timestamps) {
    const { pinned, fault } = await checkTimestamp(token, signature, {
      authorities,
      roots: trust.timestampRoots,
    });
    if (fault === undefined) times.push(token.time);
    else if (pinned) return fail(fault);
    // What others say beside a party that is pinned means nothing here.
    else unpinned = fault;
  }
  if (times.length === 0) return fail(unpinned);
  const { notBefore, notAfter } = leaf;
  // Written so that an invalid date (NaN) fails.
  const wrong = times.find(
    (time) =>
      !(time >= notBefore && time <= notAfter) ||
      !(time.getTime() <= trust.now.getTime() + CLOCK_SKEW_SECONDS * 1000),
  );
  if (wrong !== undefined) {
    const said = Number.isNaN(wrong.getTime()) ? 'a time that does not exist' : wrong.toISOString();
    return fail(
      `signed at ${said}, the certificate was valid from ${notBefore.toISOString()} to ${notAfter.toISOString()}`,
    );
  }
  record('provenance.time', true, 'evidence-rejected', `signed at ${times[0]!.toISOString()}`);
  return times[0];
}

/** That the log has the entry, and the entry is of this signature, certificate and digest. */
async function checkLog(
  { entry, certificates: [leaf], signature, content }: SigstoreBundle,
  logs: readonly PublicKey[],
  record: Recorder,
): Promise<boolean> {
  const id = 'provenance.log';
  const fail = (why: string) => record(id, false, 'evidence-rejected', why);
  const logged = attempted(id, record, () => loggedSignature(entry));
  if (logged === undefined) return false;
  const digest =
    content.kind === 'artifact'
      ? content.digest
      : sha256(logged.of === 'payload' ? content.payload : content.signed);
  if (!equal(logged.signature, signature)) return fail('the entry is of another signature');
  if (!equal(logged.certificate, leaf.der)) return fail('the entry is of another certificate');
  if (!equal(logged.digest, digest)) return fail('the entry is of something else that was signed');
  if (entry.inclusion !== undefined) {
    const fault = await inclusionFault(entry.body, entry.inclusion, logs);
    if (fault !== undefined) return fail(fault);
  } else if ((await promisedBy(entry, logs)) === undefined) {
    return fail('neither a proof of inclusion nor the promise of a log that is pinned');
  }
  // What the log has signed, and no more: newer logs leave an entry's other numbers to the bundle.
  const { inclusion } = entry;
  const where =
    inclusion === undefined
      ? `entry ${entry.index} promised`
      : `entry ${inclusion.index} among ${inclusion.size}`;
  return record(id, true, 'evidence-rejected', where);
}
