/**
 * Timestamps of an authority (RFC 3161): a CMS SignedData (RFC 5652) over TSTInfo, which names a digest and says when it
 * was there. Needed where a log of signatures states no time of its own.
 */

import { sha384, sha512 } from '@noble/hashes/sha2.js';
import { equal, hex, sha256 } from '../encoding.ts';
import { VouchError } from '../errors.ts';
import { type Certificate, parseCertificate } from './certificate.ts';
import { verifyChain } from './chain.ts';
import {
  childrenOf,
  contextTag,
  type DerElement,
  expectTag,
  oidOf,
  readDer,
  smallInteger,
  TAG,
  timeOf,
} from './der.ts';
import {
  type Hash,
  hashOf,
  type SignatureAlgorithm,
  signatureAlgorithm,
  verifySignature,
} from './signature.ts';

const OID = {
  signedData: '1.2.840.113549.1.7.2',
  timestampInfo: '1.2.840.113549.1.9.16.1.4',
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
} as const;
export const EXTENDED_KEY_USAGE = '2.5.29.37';
const TIME_STAMPING = '1.3.6.1.5.5.7.3.8';
const RSA = '1.2.840.113549.1.1.1';
const SIGNED_DATA_VERSION = 3;
const MAX_BYTES = 16 * 1024;
const what = 'timestamp';

const DIGESTS: Readonly<Record<Hash, (bytes: Uint8Array) => Uint8Array>> = {
  'SHA-256': (bytes) => sha256(bytes),
  'SHA-384': sha384,
  'SHA-512': sha512,
};

export interface TimestampToken {
  readonly time: Date;
  /** what was there then */
  readonly imprint: { readonly hash: Hash; readonly digest: Uint8Array };
  /** TSTInfo, and the attributes that are signed in its place */
  readonly info: Uint8Array;
  readonly attributes: { readonly signed: Uint8Array; readonly digest: Uint8Array };
  readonly hash: Hash;
  readonly algorithm: SignatureAlgorithm;
  readonly signature: Uint8Array;
  /** those that came along */
  readonly certificates: readonly Certificate[];
  /** of the signer's certificate: DER of its issuer, and its serial as in `Certificate.serial` */
  readonly signer: { readonly issuer: Uint8Array; readonly serial: string };
}

const refuse = (reason: string): never => {
  throw new VouchError('bad-file', `${what}: ${reason}`);
};
const children = (element: DerElement | undefined): DerElement[] =>
  childrenOf(expectTag(element, TAG.sequence, what), what);
const hashIn = (identifier: DerElement | undefined): Hash =>
  hashOf(oidOf(children(identifier)[0], what)) ?? refuse('expected SHA-256, SHA-384 or SHA-512');

/** A TimeStampResp whose status is granted; throws `bad-file`. */
export function parseTimestamp(bytes: Uint8Array): TimestampToken {
  if (bytes.length > MAX_BYTES) refuse(`expected at most ${MAX_BYTES} bytes`);
  const [status, content] = childrenOf(readDer(bytes, what, TAG.sequence), what);
  // Granted, or granted with changes.
  if (smallInteger(children(status)[0], what) > 1) refuse('expected one that was granted');
  const [type, explicit] = children(content);
  if (oidOf(type, what) !== OID.signedData) refuse('expected signed data');
  const parts = children(readDer(expectTag(explicit, contextTag(0), what).value, what));
  const [version, digests, encapsulated, ...rest] = parts;
  if (smallInteger(version, what) !== SIGNED_DATA_VERSION) refuse('expected signed data of version 3');
  const [kind, wrapped] = children(encapsulated);
  if (oidOf(kind, what) !== OID.timestampInfo) refuse('expected the content of a timestamp');
  const info = readDer(expectTag(wrapped, contextTag(0), what).value, what, TAG.octetString).value;
  const given = rest.find(({ tag }) => tag === contextTag(0));
  const signers = childrenOf(expectTag(rest.at(-1), TAG.set, what), what);
  if (signers.length !== 1) refuse('expected one signer');
  const signer = signerOf(signers[0]);
  const announced = childrenOf(expectTag(digests, TAG.set, what), what).map(hashIn);
  if (announced.join() !== signer.hash) refuse("expected the signer's digest to be announced");
  return {
    ...infoOf(info),
    info,
    certificates:
      given === undefined ? [] : childrenOf(given, what).map(({ raw }) => parseCertificate(raw, what)),
    ...signer,
  };
}

/** TSTInfo: version, policy, imprint, serial, time. */
function infoOf(info: Uint8Array): Pick<TimestampToken, 'time' | 'imprint'> {
  const [, , imprint, , time] = childrenOf(readDer(info, what, TAG.sequence), what);
  const [identifier, digest] = children(imprint);
  return {
    time: wholeSeconds(time),
    imprint: { hash: hashIn(identifier), digest: expectTag(digest, TAG.octetString, what).value },
  };
}

/** Fractions of seconds are left out: the time is compared with hours. */
function wholeSeconds(element: DerElement | undefined): Date {
  const time = expectTag(element, TAG.generalizedTime, what);
  const text = String.fromCharCode(...time.value.subarray(0, 32)).replace(/\.[0-9]+Z$/, 'Z');
  return timeOf({ ...time, value: Uint8Array.from(text, (letter) => letter.charCodeAt(0)) }, what);
}

function signerOf(
  element: DerElement | undefined,
): Pick<TimestampToken, 'attributes' | 'hash' | 'algorithm' | 'signature' | 'signer'> {
  const [version, sid, digest, attributes, algorithm, signature] = children(element);
  if (smallInteger(version, what) !== 1) refuse('expected a signer by issuer and serial');
  const [issuer, serial] = children(sid);
  const list = expectTag(attributes, contextTag(0), what);
  const values = new Map(
    childrenOf(list, what).map((one) => {
      const [id, set] = children(one);
      const [value, ...others] = childrenOf(expectTag(set, TAG.set, what), what);
      return [oidOf(id, what), others.length > 0 ? undefined : value] as const;
    }),
  );
  if (oidOf(values.get(OID.contentType), what) !== OID.timestampInfo)
    refuse('expected its content type signed');
  // Signed as the SET that they are, not with the tag under which they travel (RFC 5652, section 5.4).
  const signed = list.raw.slice();
  signed[0] = TAG.set;
  const hash = hashIn(digest);
  return {
    attributes: { signed, digest: expectTag(values.get(OID.messageDigest), TAG.octetString, what).value },
    hash,
    algorithm: algorithmOf(expectTag(algorithm, TAG.sequence, what), hash),
    signature: expectTag(signature, TAG.octetString, what).value,
    signer: {
      issuer: expectTag(issuer, TAG.sequence, what).raw,
      serial: hex(expectTag(serial, TAG.integer, what).value),
    },
  };
}

/** CMS may name the kind of key alone, beside the digest's algorithm (RFC 3370, section 3.2). */
function algorithmOf(element: DerElement, hash: Hash): SignatureAlgorithm {
  if (oidOf(children(element)[0], what) === RSA) return { name: 'RSASSA-PKCS1-v1_5', hash };
  return signatureAlgorithm(element, what) ?? refuse('signature algorithm not taken');
}

export interface TimestampTrust {
  readonly authorities: readonly Certificate[];
  /** fingerprints */
  readonly roots: readonly string[];
}

/** Whether the signer is one that is pinned, and why the token does not say that `data` was there at that time. */
export async function checkTimestamp(
  token: TimestampToken,
  data: Uint8Array,
  { authorities, roots }: TimestampTrust,
): Promise<{ readonly pinned: boolean; readonly fault?: string }> {
  const { imprint, info, attributes, hash, time, signer } = token;
  const pool = [...token.certificates, ...authorities];
  const leaf = pool.find(({ issuer, serial }) => equal(issuer, signer.issuer) && serial === signer.serial);
  if (leaf === undefined)
    return { pinned: false, fault: "the certificate of the timestamp's signer is not at hand" };
  const chain = await verifyChain({
    certificates: [leaf],
    own: pool.filter(({ authority }) => authority),
    rootFingerprints: roots,
    now: time,
    handled: [EXTENDED_KEY_USAGE],
  });
  if (!chain.passed || !mayDo(leaf, TIME_STAMPING)) {
    return { pinned: false, fault: "the timestamp's signer is not one that is pinned" };
  }
  const fault = (text: string) => ({ pinned: true, fault: text });
  if (!equal(DIGESTS[imprint.hash](data), imprint.digest)) return fault('the timestamp is of something else');
  if (!equal(DIGESTS[hash](info), attributes.digest)) {
    return fault('the timestamp is not what its signer signed');
  }
  const signed = await verifySignature(leaf.key, token.algorithm, token.signature, attributes.signed);
  return signed ? { pinned: true } : fault("the timestamp's signature does not hold");
}

/** Whether a certificate's extended key usage names a purpose (RFC 5280, section 4.2.1.12). */
export function mayDo({ extensions }: Certificate, purpose: string): boolean {
  const extension = extensions.get(EXTENDED_KEY_USAGE);
  if (extension === undefined) return false;
  const purposes = childrenOf(
    readDer(extension.value, 'extended key usage', TAG.sequence),
    'extended key usage',
  );
  return purposes.some((one) => oidOf(one, 'extended key usage') === purpose);
}
