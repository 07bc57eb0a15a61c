/**
 * Reads and verifies reference integrity manifests: SWID tags (ISO/IEC 19770-2) in the TCG Reference Integrity
 * Manifest's information model, signed with an enveloped XML signature (W3C XML Signature 1.1), as NVIDIA
 * publishes them for drivers and vBIOSes. Pure; the signers' chain ends in a root pinned by its fingerprint.
 *
 * Not guaranteed: that a manifest is the newest one, or that what it lists has no known flaw.
 */
import { hex, utf8 } from '../../encoding.ts';
import { messageOf, VouchError } from '../../errors.ts';
import {
  type Certificate,
  fromBase64,
  parseCertificate,
  parseChain,
  type RevocationList,
} from '../certificate.ts';
import { chainCheckIds, recordChain, verifyChain } from '../chain.ts';
import { attempting, type Check, createChecklist, type Recorder, type Verdict } from '../checklist.ts';
import type { OcspResponse } from '../ocsp.ts';
import { type Parsed, parsedOnce } from '../parsed.ts';
import { NVIDIA_RIM_ROOT_CERTIFICATE, NVIDIA_RIM_ROOTS } from '../roots/nvidia.ts';
import { type Hash, type SignatureVerifier, verifyEcdsa } from '../signature.ts';
import { attributeOf, canonicalXml, elementsIn, parseXml, textIn, type XmlElement } from '../xml.ts';

const SWID = 'http://standards.iso.org/iso/19770/-2/2015/schema.xsd';
const DSIG = 'http://www.w3.org/2000/09/xmldsig#';
/** The namespace of the Hash attributes. */
const SHA384 = 'http://www.w3.org/2001/04/xmlenc#sha384';
/** Both are the same function on what the XML reader takes. */
const CANONICALISATIONS = [
  'http://www.w3.org/2006/12/xml-c14n11',
  'http://www.w3.org/TR/2001/REC-xml-c14n-20010315',
];
const ENVELOPED = 'http://www.w3.org/2000/09/xmldsig#enveloped-signature';
const SIGNATURES: Readonly<Record<string, Hash>> = {
  'http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256': 'SHA-256',
  'http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384': 'SHA-384',
  'http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512': 'SHA-512',
};
const DIGESTS: Readonly<Record<string, Hash>> = {
  'http://www.w3.org/2001/04/xmlenc#sha256': 'SHA-256',
  'http://www.w3.org/2001/04/xmldsig-more#sha384': 'SHA-384',
  'http://www.w3.org/2001/04/xmlenc#sha512': 'SHA-512',
};
const MAX_CERTIFICATES = 8;
const MAX_ALTERNATIVES = 64;

export interface RimMeasurement {
  readonly active: boolean;
  readonly name: string;
  /** the values accepted, lower-case hex */
  readonly values: readonly string[];
}

export interface Rim {
  /** by the form of its version: 550.90.07, or 96.00.5E.00.01 */
  readonly kind: 'driver' | 'vbios';
  readonly version: string;
  /** the chip, such as GH100, or a family of chips, such as GB20X */
  readonly product: string;
  /** whether it is about a switch, by its edition or its chip */
  readonly ofSwitch: boolean;
  /** by index, from 0 */
  readonly measurements: ReadonlyMap<number, RimMeasurement>;
  readonly signature: {
    /** the bytes that SignatureValue covers */
    readonly signed: Uint8Array;
    readonly hash: Hash;
    readonly value: Uint8Array;
    /** the document without its signature, canonical, and its digest as stated */
    readonly content: Uint8Array;
    readonly contentHash: Hash;
    readonly contentDigest: Uint8Array;
    /** signer first, at least one */
    readonly certificates: Parsed<readonly Certificate[]>;
  };
}

/** Whether bytes look like a manifest. */
export const isRim = (bytes: Uint8Array): boolean =>
  /^(?:\ufeff)?\s*(?:<\?xml[^>]*>\s*)?<(?:\w+:)?SoftwareIdentity[\s>]/.test(
    new TextDecoder().decode(bytes.subarray(0, 1024)),
  );

/** Reads a manifest; nothing is verified. Throws `bad-file`. */
export function parseRim(bytes: Uint8Array, what = 'RIM'): Rim {
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  const one = (parent: XmlElement, namespace: string, local: string): XmlElement => {
    const found = elementsIn(parent, namespace, local);
    return found.length === 1
      ? found[0]!
      : refuse(`expected one ${local} in ${parent.local}, got ${found.length}`);
  };
  const attribute = (element: XmlElement, local: string, namespace?: string): string =>
    attributeOf(element, local, namespace) ?? refuse(`${element.local}: expected attribute ${local}`);

  const root = parseXml(bytes, what);
  if (root.namespace !== SWID || root.local !== 'SoftwareIdentity') refuse('expected a SoftwareIdentity');
  const meta = one(root, SWID, 'Meta');
  const version = attribute(meta, 'colloquialVersion');
  const kind = kindOf(version) ?? refuse('colloquialVersion: expected the version of a driver or a vBIOS');
  const measurements = new Map<number, RimMeasurement>();
  for (const resource of elementsIn(one(root, SWID, 'Payload'))) {
    if (resource.namespace !== SWID || resource.local !== 'Resource')
      refuse('Payload: expected resources only');
    if (attribute(resource, 'type') !== 'Measurement') refuse('Resource: expected type Measurement');
    const number = (local: string, most: number): number => {
      const text = attribute(resource, local);
      const value = /^(?:0|[1-9][0-9]{0,5})$/.test(text) ? Number(text) : Number.NaN;
      return value <= most ? value : refuse(`Resource: ${local}: expected a number up to ${most}`);
    };
    const index = number('index', 254);
    const active = attribute(resource, 'active').toLowerCase();
    if (active !== 'true' && active !== 'false') refuse('Resource: active: expected True or False');
    const alternatives = number('alternatives', MAX_ALTERNATIVES);
    const digits = 2 * number('size', 64);
    const values = Array.from({ length: alternatives }, (_, i) => {
      const value = attribute(resource, `Hash${i}`, SHA384).toLowerCase();
      const valid = value.length === digits && /^[0-9a-f]+$/.test(value);
      return valid ? value : refuse(`Resource ${index}: Hash${i}: expected ${digits} hex digits`);
    });
    if (values.length === 0) refuse(`Resource ${index}: expected at least one value`);
    if (measurements.has(index)) refuse(`Resource ${index}: expected each index once`);
    measurements.set(index, { active: active === 'true', name: attribute(resource, 'name'), values });
  }
  if (measurements.size === 0) refuse('expected measurements');

  // One signature over the whole document: a second one, or a part, would leave content that nobody signed.
  const signature = one(root, DSIG, 'Signature');
  const info = one(signature, DSIG, 'SignedInfo');
  const algorithm = (parent: XmlElement, local: string) => attribute(one(parent, DSIG, local), 'Algorithm');
  if (!CANONICALISATIONS.includes(algorithm(info, 'CanonicalizationMethod'))) {
    refuse('CanonicalizationMethod: expected Canonical XML');
  }
  const hash = SIGNATURES[algorithm(info, 'SignatureMethod')] ?? refuse('SignatureMethod: expected ECDSA');
  const reference = one(info, DSIG, 'Reference');
  if (attribute(reference, 'URI') !== '') refuse('Reference: expected the whole document');
  const transforms = elementsIn(one(reference, DSIG, 'Transforms')).map((transform) =>
    attribute(transform, 'Algorithm'),
  );
  if (transforms[0] !== ENVELOPED || transforms.slice(1).some((name) => !CANONICALISATIONS.includes(name))) {
    refuse('Transforms: expected enveloped-signature, then Canonical XML');
  }
  const contentHash = DIGESTS[algorithm(reference, 'DigestMethod')] ?? refuse('DigestMethod: expected SHA-2');
  const certificates = elementsIn(
    one(one(signature, DSIG, 'KeyInfo'), DSIG, 'X509Data'),
    DSIG,
    'X509Certificate',
  );
  if (certificates.length === 0 || certificates.length > MAX_CERTIFICATES) {
    refuse(`expected 1 to ${MAX_CERTIFICATES} certificates, got ${certificates.length}`);
  }
  const product = attribute(meta, 'product');
  return {
    kind,
    version,
    product,
    ofSwitch: attributeOf(meta, 'edition')?.toUpperCase() === 'SWITCH' || /^LS_?[0-9]/i.test(product),
    measurements,
    signature: {
      signed: utf8(canonicalXml(info)),
      hash,
      value: fromBase64(textIn(one(signature, DSIG, 'SignatureValue')), what),
      content: utf8(canonicalXml(root, signature)),
      contentHash,
      contentDigest: fromBase64(textIn(one(reference, DSIG, 'DigestValue')), what),
      certificates: chainOf(certificates.map((certificate) => fromBase64(textIn(certificate), what))),
    },
  };
}

/** Parsed when a chain is built from them: a manifest that nothing is compared with needs none. */
const chainOf = (ders: readonly Uint8Array[]): Parsed<readonly Certificate[]> =>
  parsedOnce(() => parseChain(ders));

function kindOf(version: string): Rim['kind'] | undefined {
  if (/^[0-9A-Fa-f]{2}(?:\.[0-9A-Fa-f]{2}){4}$/.test(version)) return 'vbios';
  return /^[0-9]{3,4}(?:\.[0-9]{1,4}){1,3}$/.test(version) ? 'driver' : undefined;
}

export interface RimTrust {
  readonly crls?: readonly Parsed<RevocationList>[] | undefined;
  readonly ocsp?: readonly Parsed<OcspResponse>[] | undefined;
  readonly revocation: 'required' | 'if-present';
  readonly now: Date;
  /** fingerprints; NVIDIA's own unless others are to be trusted */
  readonly roots?: readonly string[] | undefined;
  readonly verify?: SignatureVerifier | undefined;
}

/** The checks that `checkRim` records. */
export const rimCheckIds = (prefix: string): readonly string[] => [
  `${prefix}.digest`,
  `${prefix}.signature`,
  ...chainCheckIds(`${prefix}.chain`),
];

/** Records a manifest's own checks under `prefix`: its digest, its signature and the signer's chain. */
export async function checkRim(
  { signature }: Rim,
  trust: RimTrust,
  prefix: string,
  record: Recorder,
): Promise<void> {
  const digest = new Uint8Array(
    await crypto.subtle.digest(signature.contentHash, signature.content as Uint8Array<ArrayBuffer>),
  );
  const whole = hex(digest) === hex(signature.contentDigest);
  record(
    `${prefix}.digest`,
    whole,
    'signature-rejected',
    whole ? 'of the whole document' : 'the content was changed',
  );

  const certificates = attempting(record)(`${prefix}.chain`, signature.certificates, () => '');
  const [leaf, ...others] = certificates ?? [];
  if (leaf === undefined) return;
  const { roots = NVIDIA_RIM_ROOTS, crls, ocsp, revocation, now, verify } = trust;
  const chain = await verifyChain({
    certificates: [leaf, ...others],
    own: [parseCertificate(fromBase64(NVIDIA_RIM_ROOT_CERTIFICATE, 'RIM root'))],
    exact: true,
    rootFingerprints: roots,
    crls,
    ocsp,
    revocation,
    now,
    verify,
  });
  recordChain(chain, `${prefix}.chain`, record);
  const { key, subjectName, usage } = leaf;
  const allowed = usage?.has('digitalSignature') !== false;
  const signed = allowed && (await verifyEcdsa(key, signature.hash, signature.value, signature.signed));
  const how = signed ? 'by' : allowed ? 'not by' : 'by a key that may not sign:';
  record(`${prefix}.signature`, signed, 'signature-rejected', `${how} ${subjectName}`);
}

export interface RimResult {
  readonly verdict: Verdict;
  readonly checks: readonly Check[];
  readonly rim?: Rim;
}

/** Verifies one manifest on its own. Never throws for what it holds: that is a failed check. */
export async function verifyRim(parsed: Parsed<Rim>, trust: RimTrust): Promise<RimResult> {
  const list = createChecklist(['rim.document', ...rimCheckIds('rim')]);
  let rim: Rim;
  try {
    rim = parsed();
    rim.signature.certificates();
    list.record('rim.document', true, 'bad-file', `${rim.kind} ${rim.version} of ${rim.product}`);
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    list.record('rim.document', false, 'bad-file', messageOf(error));
    return list.result('');
  }
  await checkRim(rim, trust, 'rim', list.record);
  return { ...list.result(''), rim };
}
