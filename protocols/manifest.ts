/**
 * A model's manifest: what its vendor says of it in public, under the vendor's signature. A name means nothing without
 * it: whoever may publish could otherwise serve any model under any name.
 *
 *   digest    = SHA-256 of the manifest's canonical JSON (RFC 8785)
 *   signature = statement "application/vouch-manifest+json" (protocols/cose.ts) over the digest, by the vendor key that
 *               the manifest itself names
 *   fingerprint of a vendor = SHA-256 of the 32 bytes of its key, lower-case hex
 *
 * Not guaranteed: who the vendor is. A good signature says that one key stands behind the whole; whose it is, a reader
 * knows by a key or fingerprint that he got elsewhere, or by having seen it before.
 */
import { z } from 'zod';
import { SIGNATURE_KEY_BYTES, type Signer, signStatement, verifyStatement } from './cose.ts';
import { base64url, canonicalJson, equal, fromBase64url, hex, sha256, sha256Hex, utf8 } from './encoding.ts';
import { base64Text, Digest, FieldElement, Id, messageType } from './envelope.ts';
import { VouchError } from './errors.ts';
import { KeyShares, MAX_BROKERS } from './key-shares.ts';
import { Terms } from './terms.ts';

const MANIFEST_TYPE = 'application/vouch-manifest+json';

const SignatureKey = z
  .string()
  .regex(/^[A-Za-z0-9_-]{43}$/, 'expected an Ed25519 key as base64url')
  .meta({ title: 'signature key' });

/** What a vendor signs, so unknown fields are errors. */
export const ModelManifest = z
  .strictObject({
    name: Id.describe('the `<model>` of subjects'),
    commitment: FieldElement.describe('model commitment'),
    commitmentKind: z
      .literal('hash')
      .optional()
      .describe(
        'a commitment to files (section 6): it names them, and no statement about them can be proved; absent: Poseidon, the public input of every statement',
      ),
    architecture: z
      .record(z.string(), z.unknown())
      .describe('public half of the model, class names included; its digest is part of the commitment'),
    terms: Terms.describe('what may be asked of the model, and what its answers hold'),
    policy: Digest.describe("digest of the policy under which key-brokers release the model's key"),
    sealedModel: Digest.describe('blob of the encrypted parameters and salt'),
    shares: KeyShares.optional().describe('how the key is split; absent: any key-broker may hold all of it'),
    releaseKeys: z
      .array(SignatureKey)
      .min(1)
      .max(MAX_BROKERS)
      .describe(
        'by which key-brokers sign what they release: a key for each share, share 1 first; without shares one for all who hold the key',
      ),
    log: Digest.optional().describe(
      "digest of the entry of the vendor's log that has the commitment: the log up to there is fixed; absent: there is none",
    ),
    serial: z
      .int()
      .min(1)
      .describe(
        "rises with every manifest of the name: milliseconds since 1970 by the vendor's clock, or more",
      ),
    vendor: SignatureKey.describe("the vendor's"),
  })
  .refine(
    ({ shares, releaseKeys }) => releaseKeys.length === (shares?.brokers.length ?? 1),
    'expected a release key for each share',
  )
  .refine(
    ({ commitmentKind, terms }) => (commitmentKind === 'hash') === (terms.answers === 'text'),
    'expected answers in text where the commitment is a hash, and only there',
  );
export type ModelManifest = z.infer<typeof ModelManifest>;

export const PublishedManifest = messageType(
  'model.manifest',
  2,
  z.object({
    manifest: ModelManifest.describe('what is signed'),
    signature: base64Text(768).describe("signed statement by the vendor over the manifest's digest"),
  }),
);
export type PublishedManifest = z.infer<typeof PublishedManifest.schema>;

/** A manifest whose signature holds under the key that it names. */
export interface VerifiedManifest extends PublishedManifest {
  /** lower-case hex */
  readonly digest: string;
  /** fingerprint of the vendor's key */
  readonly vendor: string;
}

/**
 * Throws `terms-refused` for a model about which no statement can be proved, because its commitment is a hash: no circuit
 * computes such a model.
 */
export function demandProvable({
  name,
  commitmentKind,
}: Pick<ModelManifest, 'name' | 'commitmentKind'>): void {
  if (commitmentKind === undefined) return;
  throw new VouchError(
    'terms-refused',
    `model ${name}: its commitment is a hash of its files, about which no statement can be proved; expected a model of rows, whose commitment is Poseidon`,
  );
}

/** Throws `bad-input` for a model that answers in text where one of rows is expected. */
export function demandTabular({ name, commitmentKind }: ModelManifest): void {
  if (commitmentKind === undefined) return;
  throw new VouchError(
    'bad-input',
    `model ${name}: it answers in text, not to rows; ask it with: vouch chat ${name}`,
  );
}

/** Of a vendor's key, 32 bytes. */
export const vendorFingerprint = (key: Uint8Array): string => sha256Hex(key);

/** Signs a manifest; its `vendor` is the signer's key. */
export async function signManifest(
  vendor: Signer,
  content: Omit<ModelManifest, 'vendor'>,
): Promise<PublishedManifest> {
  const manifest = ModelManifest.parse({ ...content, vendor: base64url(vendor.publicKey) });
  const digest = sha256(utf8(canonicalJson(manifest)));
  return { manifest, signature: base64url(await signStatement(vendor, MANIFEST_TYPE, digest)) };
}

/** Throws `signature-rejected` or `bad-message` for a manifest that the vendor it names did not sign. */
export function verifyManifest({ manifest, signature }: PublishedManifest): VerifiedManifest {
  const key = fromBase64url(manifest.vendor, 'manifest.vendor', SIGNATURE_KEY_BYTES);
  const digest = sha256(utf8(canonicalJson(manifest)));
  const signed = verifyStatement(key, MANIFEST_TYPE, fromBase64url(signature, 'manifest signature'), {
    maxPayloadBytes: digest.length,
  });
  if (!equal(signed, digest)) {
    throw new VouchError(
      'signature-rejected',
      `manifest of model ${manifest.name}: its vendor signed another one`,
    );
  }
  return { manifest, signature, digest: hex(digest), vendor: vendorFingerprint(key) };
}

/**
 * The fingerprint that a person or a policy names: as it is, or that of a public key. Throws `bad-input`; `field` says
 * where it stands.
 */
export function fingerprintOf(text: string, field: string): string {
  if (/^[0-9a-f]{64}$/.test(text)) return text;
  if (/^[A-Za-z0-9_-]{43}$/.test(text))
    return vendorFingerprint(fromBase64url(text, field, SIGNATURE_KEY_BYTES));
  throw new VouchError(
    'bad-input',
    `${field}: expected a vendor's public key (43 characters) or its fingerprint (64 hex digits), as vouch vendor show prints them`,
  );
}
