/**
 * The keys behind an Intel quote: from the signature on the report up to the pinned root, with the certificates and
 * CRLs that are at hand (Intel SGX PCK Certificate and CRL Profile Specification).
 */
import { concat, equal, fromHex, hex, sha256 } from '../../encoding.ts';
import { messageOf, VouchError } from '../../errors.ts';
import { type Certificate, type RevocationList, readChain } from '../certificate.ts';
import { type ChainReport, recordChain, verifyChain } from '../chain.ts';
import type { Recorder } from '../checklist.ts';
import type { Demands } from '../demands.ts';
import type { Parsed } from '../parsed.ts';
import { type PublicKey, type SignatureVerifier, verifyEcdsa } from '../signature.ts';
import type { IntelCollateral } from './intel-collateral.ts';
import { type PckPlatform, pckPlatform } from './intel-pck.ts';
import type { IntelQuote } from './intel-quote.ts';

const PCK_NAME = 'Intel SGX PCK Certificate';
const PCK_ISSUERS = ['Intel SGX PCK Processor CA', 'Intel SGX PCK Platform CA'];
const CRL_ISSUERS = ['Intel SGX Root CA', ...PCK_ISSUERS];
/** Current CRLs of one issuer that are looked at, the latest. */
const MAX_LISTS = 8;

/** What every step of a verification needs. */
export interface IntelContext {
  readonly tee: 'sgx' | 'tdx';
  readonly record: Recorder;
  readonly policy: Demands;
  readonly collateral: IntelCollateral;
  readonly store: IntelCollateral;
  readonly now: Date;
  readonly roots: readonly string[];
  readonly verify: SignatureVerifier;
  readonly crls: readonly Parsed<RevocationList>[];
  /** certificates that came with the collateral or the quote, for statements that came without their chain */
  readonly pool: Parsed<readonly Certificate[]>;
}

/** The keys from the quote's signature up to Intel's root: which platform they say it is, and whether it is revoked. */
export async function checkKeys(
  quote: IntelQuote,
  context: IntelContext,
): Promise<{ readonly pck?: PckPlatform; readonly revoked: boolean }> {
  const { tee, record } = context;
  const { attestationKey, qeReport, qeAuthData } = quote;
  const signed = await verifyEcdsa(p256Key(attestationKey), 'SHA-256', quote.signature, quote.signed);
  record(
    `${tee}.quote-signature`,
    signed,
    'signature-rejected',
    `header and report are ${signed ? '' : 'not '}signed by the attestation key`,
  );
  // The quoting enclave's report data: the hash of its key and its own data, then zeros.
  const digest = concat(sha256(attestationKey, qeAuthData), new Uint8Array(32));
  const bound = equal(qeReport.reportData, digest);
  record(
    `${tee}.attestation-key`,
    bound,
    'evidence-rejected',
    `the quoting enclave's report data ${bound ? 'names' : 'does not name'} the attestation key`,
  );

  let certificates: readonly Certificate[];
  try {
    certificates = quote.pckChain();
  } catch (error) {
    record(`${tee}.pck-chain`, false, 'evidence-rejected', asEvidence(error));
    return { revoked: false };
  }
  const [leaf, ...others] = certificates;
  if (leaf === undefined) {
    record(`${tee}.pck-chain`, false, 'evidence-rejected', 'the quote holds no certificate');
    return { revoked: false };
  }
  const chain = await chainOf([leaf, ...others], context);
  recordChain(chain, `${tee}.pck-chain`, record);
  const vouched = await verifyEcdsa(leaf.key, 'SHA-256', quote.qeReportSignature, qeReport.bytes);
  record(
    `${tee}.qe-report-signature`,
    vouched,
    'signature-rejected',
    `the quoting enclave's report is ${vouched ? '' : 'not '}signed by the PCK`,
  );
  const issuer = chain.path[1]?.subjectName ?? '';
  const shaped = chain.path.length === 3 && leaf.subjectName === PCK_NAME && PCK_ISSUERS.includes(issuer);
  if (!shaped) {
    record(
      `${tee}.pck-certificate`,
      false,
      'evidence-rejected',
      `expected ${PCK_NAME} by a PCK CA by the root, got ${leaf.subjectName} by ${issuer || 'nobody known'}`,
    );
    return { revoked: chain.revoked };
  }
  try {
    const platform = pckPlatform(leaf);
    record(
      `${tee}.pck-certificate`,
      true,
      'evidence-rejected',
      `by ${issuer}, FMSPC ${hex(platform.fmspc)}, PCE ${platform.pceSvn}`,
    );
    return { pck: platform, revoked: chain.revoked };
  } catch (error) {
    record(`${tee}.pck-certificate`, false, 'evidence-rejected', asEvidence(error));
    return { revoked: chain.revoked };
  }
}

/** Up to the pinned root, with nothing left over. */
export const chainOf = (
  certificates: readonly [Certificate, ...Certificate[]],
  context: IntelContext,
): Promise<ChainReport> =>
  verifyChain({
    certificates,
    exact: true,
    rootFingerprints: context.roots,
    now: context.now,
    crls: context.crls,
    revocation: context.policy.intel.revocation,
    verify: context.verify,
  });

/** Chains that came with CRLs have to lead to the root, whichever of the PCK CAs they are for. */
export async function checkCrlIssuers(context: IntelContext): Promise<void> {
  const { tee, record, collateral, roots, now, verify } = context;
  const names: string[] = [];
  for (const text of collateral.crlChains) {
    let fault: string | undefined;
    try {
      const [leaf, ...others] = readChain(text, 'CRL issuer chain');
      if (leaf === undefined) throw new VouchError('bad-file', 'CRL issuer chain: expected certificates');
      const report = await verifyChain({
        certificates: [leaf, ...others],
        exact: true,
        rootFingerprints: roots,
        now,
        verify,
      });
      // A CRL's issuer is a CA, which a chain's leaf is otherwise not to be.
      fault = report.checks.find(({ name, status }) => name !== 'constraints' && status !== 'pass')?.detail;
      names.push(leaf.subjectName);
    } catch (error) {
      fault = asEvidence(error);
    }
    if (fault !== undefined) {
      record(`${tee}.crl-issuer`, false, 'evidence-rejected', fault);
      return;
    }
  }
  record(`${tee}.crl-issuer`, true, 'evidence-rejected', `${names.join(', ')} up to the pinned root`);
}

/**
 * The lists of Intel's CAs: for each those given, else those in store; of these the current ones, else the latest.
 * One that was given and cannot be read stays, and fails the chains.
 */
export function pickRevocationLists(
  given: readonly Parsed<RevocationList>[],
  stored: readonly Parsed<RevocationList>[],
  now: Date,
): Parsed<RevocationList>[] {
  const unreadable: Parsed<RevocationList>[] = [];
  const byIssuer = new Map<string, RevocationList[]>();
  for (const [lists, mayFail] of [
    [given, false],
    [stored, true],
  ] as const) {
    const known = new Set(byIssuer.keys());
    for (const parsed of lists) {
      try {
        const list = parsed();
        if (!CRL_ISSUERS.includes(list.issuerName) || known.has(list.issuerName)) continue;
        byIssuer.set(list.issuerName, [...(byIssuer.get(list.issuerName) ?? []), list]);
      } catch {
        if (!mayFail) unreadable.push(parsed);
      }
    }
  }
  const picked = [...byIssuer.values()].flatMap((lists) => {
    const latest = lists.toSorted(
      (a, b) =>
        b.thisUpdate.getTime() - a.thisUpdate.getTime() || (hex(a.signature) < hex(b.signature) ? -1 : 1),
    );
    const current = latest.filter(({ thisUpdate, nextUpdate }) => thisUpdate <= now && now <= nextUpdate);
    return current.length > 0 ? current.slice(0, MAX_LISTS) : latest.slice(0, 1);
  });
  return [...picked.map((list) => () => list), ...unreadable.slice(0, 1)];
}

/** Certificates that came loose or with statements, each once; chains that cannot be read are left out. */
export function certificatesAtHand(
  { certificates, tcbInfos, qeIdentities, crlChains }: IntelCollateral,
  pckChain: Parsed<readonly Certificate[]>,
): Certificate[] {
  const texts = [...crlChains, ...[...tcbInfos, ...qeIdentities].flatMap(({ chain }) => chain ?? [])];
  const chains = [pckChain, ...texts.map((text) => () => readChain(text, 'issuer chain'))];
  const found = new Map<string, Certificate>();
  const add = (certificate: Certificate) => found.set(certificate.fingerprint, certificate);
  certificates.forEach(add);
  for (const chain of chains) {
    try {
      chain().forEach(add);
    } catch (error) {
      // Of no use; whatever needs it fails for want of it.
      if (!(error instanceof VouchError)) throw error;
    }
  }
  return [...found.values()];
}

const P256_SPKI = fromHex('3059301306072a8648ce3d020106082a8648ce3d03010703420004');

/** A raw point x || y as a key. */
function p256Key(point: Uint8Array): PublicKey {
  const spki = concat(P256_SPKI, point);
  return { type: 'EC', curve: 'P-256', spki, point: spki.subarray(-65) };
}

/** Parsers' own sentences; anything else is a defect of ours and must be seen. */
export function asEvidence(error: unknown): string {
  if (error instanceof VouchError) return messageOf(error);
  throw error;
}
