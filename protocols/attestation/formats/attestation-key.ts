/**
 * Attestation keys that sign for a TPM: those at hand, and whether a policy trusts the one that signed, pinned by itself
 * or certified up to a root that the policy pins.
 */
import { equal, hex, sha256Hex } from '../../encoding.ts';
import type { Certificate, RevocationList } from '../certificate.ts';
import { chainCheckIds, recordChain, verifyChain } from '../chain.ts';
import { type Checklist, createChecklist } from '../checklist.ts';
import type { TpmPolicy } from '../demands.ts';
import type { OcspResponse } from '../ocsp.ts';
import type { Parsed } from '../parsed.ts';
import type { PublicKey } from '../signature.ts';

/** At hand to choose from: certificates, keys to try, issuers of one key. */
const MAX_CERTIFICATES = 256;
const MAX_KEYS = 32;
const MAX_ISSUERS = 16;

export interface AttestationKey {
  readonly key: PublicKey;
  readonly name: string;
  /** its certificate, where it has one, and those that could lead to a root */
  readonly certificate?: Certificate;
  readonly others: readonly Certificate[];
}

/** The keys at hand: of certificates that are no authority, and bare ones. */
export function attestationKeys(
  certificates: readonly Certificate[],
  keys: readonly PublicKey[],
): AttestationKey[] {
  const pool = certificates
    .toSorted((a, b) => (a.fingerprint < b.fingerprint ? -1 : 1))
    .slice(0, MAX_CERTIFICATES);
  const certified = pool
    .filter(({ authority }) => !authority)
    .slice(0, MAX_KEYS)
    .map((leaf) => ({
      key: leaf.key,
      name: leaf.subjectName || 'a certified key',
      certificate: leaf,
      others: issuersOf(leaf, pool),
    }));
  const named = keys.toSorted((a, b) => (hex(a.spki) < hex(b.spki) ? -1 : 1));
  const bare = named.slice(0, MAX_KEYS).map((key) => {
    return { key, name: `key ${sha256Hex(key.spki).slice(0, 16)}`, others: [] };
  });
  return [...certified, ...bare];
}

/** Those who may stand above a certificate, by names alone. */
function issuersOf(leaf: Certificate, pool: readonly Certificate[]): Certificate[] {
  const found = new Set<Certificate>();
  let names = [leaf.issuer];
  while (names.length > 0 && found.size < MAX_ISSUERS) {
    const next = pool.filter((one) => !found.has(one) && names.some((name) => equal(name, one.subject)));
    for (const one of next.slice(0, MAX_ISSUERS)) found.add(one);
    names = next.map(({ issuer }) => issuer);
  }
  return [...found].slice(0, MAX_ISSUERS);
}

/** Whose keys a policy trusts, and by what is known of revocation. */
export type KeyTrust = Pick<TpmPolicy, 'roots' | 'keys' | 'revocation'> & {
  readonly crls?: readonly Parsed<RevocationList>[] | undefined;
  readonly ocsp?: readonly Parsed<OcspResponse>[] | undefined;
  readonly now: Date;
};

/**
 * Of several certificates of the key that signed, one that the policy trusts; where it trusts none, any, to be refused
 * by its own checks. The order in which they came decides nothing.
 */
export async function pickSigner(
  signers: readonly AttestationKey[],
  trust: KeyTrust,
): Promise<AttestationKey | undefined> {
  if (signers.length < 2) return signers[0];
  for (const signer of signers) {
    const list = createChecklist(['any.key']);
    await checkSigner(signer, trust, 'any', list);
    if (list.result('').verdict === 'accept') return signer;
  }
  return signers[0];
}

/** Records `<prefix>.key`: pinned by itself, or certified up to a root that the policy pins. */
export async function checkSigner(
  signer: AttestationKey,
  trust: KeyTrust,
  prefix: string,
  { record, require }: Pick<Checklist, 'record' | 'require'>,
): Promise<void> {
  const digest = sha256Hex(signer.key.spki);
  if (trust.keys.includes(digest)) {
    record(`${prefix}.key`, true, 'policy-rejected', `${digest.slice(0, 16)}, pinned by the policy`);
    return;
  }
  const { certificate } = signer;
  if (certificate === undefined || trust.roots.length === 0) {
    const why = certificate === undefined ? 'has no certificate' : 'the policy pins no roots';
    record(
      `${prefix}.key`,
      false,
      'policy-rejected',
      `key ${digest} is not pinned by the policy, and ${why}`,
    );
    return;
  }
  require(chainCheckIds(`${prefix}.chain`));
  const chain = await verifyChain({
    certificates: [certificate, ...signer.others],
    rootFingerprints: trust.roots,
    crls: trust.crls,
    ocsp: trust.ocsp,
    revocation: trust.revocation,
    now: trust.now,
  });
  recordChain(chain, `${prefix}.chain`, record);
  const detail = chain.passed
    ? `certified by ${chain.path[1]?.subjectName ?? ''}`
    : 'its certificate does not hold';
  record(`${prefix}.key`, chain.passed, 'evidence-rejected', detail);
}
