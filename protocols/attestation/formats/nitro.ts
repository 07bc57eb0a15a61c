/**
 * Verifies attestation documents of AWS Nitro Enclaves and NitroTPM: the signature, the chain up to AWS's root at the
 * time at which the document was signed (AWS Nitro Enclaves user guide, "Verifying
 * the root of trust"). Pure: clock and CRLs are arguments.
 *
 * Certificates of these documents live for hours, so their dates are judged at the document's own time; whether any of
 * them is revoked is judged by the verifier's clock. AWS names CRLs in the certificates of regions and zones alone.
 *
 * Not guaranteed: when the document was made, unless it answers the verifier's nonce; and that AWS, which runs the
 * hypervisor and signs, did not look inside.
 */
import { equal, fromHex, hex } from '../../encoding.ts';
import { type Certificate, parseCertificates, type RevocationList } from '../certificate.ts';
import { chainCheckIds, recordChain, verifyChain } from '../chain.ts';
import { attempting, type Check, createChecklist, type Recorder, type Verdict } from '../checklist.ts';
import { crlsOf, ocspOf } from '../collateral.ts';
import {
  judgeNitroClaims,
  NITRO_DEMANDS,
  type NitroDemands,
  nitroDemands,
  nitroRegisters,
} from '../judgement/nitro.ts';
import type { OcspResponse } from '../ocsp.ts';
import type { Parsed } from '../parsed.ts';
import { AWS_NITRO_ROOTS } from '../roots/aws.ts';
import { verifyEcdsa } from '../signature.ts';
import { type Part, type Piece, type Question, withPlatform } from './format.ts';
import { isZero } from './intel-quote.ts';
import type { NitroClaims } from './nitro-claims.ts';
import type { NitroDocument } from './nitro-document.ts';

/** Seconds by which AWS's clock may be ahead of the verifier's. */
const CLOCK_SKEW_SECONDS = 60;

export interface NitroQuestion {
  readonly document: Parsed<NitroDocument>;
  readonly policy: NitroDemands;
  /** what the verifier asked with; absent: whatever the document answers is taken */
  readonly nonce?: Uint8Array | undefined;
  readonly crls?: readonly Parsed<RevocationList>[] | undefined;
  readonly ocsp?: readonly Parsed<OcspResponse>[] | undefined;
  readonly now: Date;
  /** fingerprints; AWS's own unless others are to be trusted */
  readonly roots?: readonly string[] | undefined;
}

export interface NitroResult {
  readonly verdict: Verdict;
  readonly checks: readonly Check[];
  /** present when signature and chain hold, whatever the verdict */
  readonly claims?: NitroClaims;
}

const REQUIRED = [
  'nitro.document',
  'nitro.certificates',
  ...chainCheckIds('nitro.chain'),
  'nitro.signature',
  'nitro.time',
  ...NITRO_DEMANDS,
] as const;

/** Never throws for what the document holds: that is a failed check. */
export async function verifyNitro(question: NitroQuestion): Promise<NitroResult> {
  const { policy, nonce, now, crls, roots = AWS_NITRO_ROOTS } = question;
  const list = createChecklist(REQUIRED);
  const { record } = list;
  const attempt = attempting(record);
  const document = attempt('nitro.document', question.document, ({ of, moduleId, unknown }) => {
    const rest = unknown.length === 0 ? '' : `; not read: ${unknown.join(', ')}`;
    return `${of} ${moduleId}${rest}`;
  });
  if (document === undefined) return list.result('');
  const certificates = attempt(
    'nitro.certificates',
    () => parseCertificates(document.certificates),
    ({ length }) => `${length} in the document`,
  );
  if (certificates === undefined) return list.result('');
  const [leaf, ...others] = certificates as [Certificate, ...Certificate[]];
  const chain = await verifyChain({
    certificates: [leaf, ...others],
    rootFingerprints: roots,
    now: document.time,
    crls,
    ocsp: question.ocsp,
    revocation: policy.nitro.revocation === 'required' ? 'where-named' : 'if-present',
    revokedBy: now,
  });
  recordChain(chain, 'nitro.chain', record);
  const signed = await verifyEcdsa(leaf.key, 'SHA-384', document.signature, document.signed);
  record('nitro.signature', signed, 'signature-rejected', signed ? 'by that key' : 'not by that key');
  checkTime(document.time, now, record);
  if (nonce === undefined)
    list.omit('nitro.nonce', 'none was given to compare with: the document may be old');
  else {
    list.require(['nitro.nonce']);
    const answered = document.nonce === undefined ? 'none' : hex(document.nonce);
    const fresh = document.nonce !== undefined && equal(document.nonce, nonce);
    const detail = fresh ? answered : `expected ${hex(nonce)}, got ${answered}`;
    record('nitro.nonce', fresh, 'evidence-rejected', detail);
  }
  list.require(nitroDemands(policy));
  if (!signed || !chain.passed) return list.result('');
  const claims = claimsOf(document);
  judgeNitroClaims(claims, policy, record);
  return { ...list.result(''), claims };
}

// Written so that an invalid `now` (NaN) fails.
function checkTime(time: Date, now: Date, record: Recorder): void {
  const age = Math.round((now.getTime() - time.getTime()) / 1000);
  const detail = `signed at ${time.toISOString()}, ${Math.abs(age)} s ${age < 0 ? 'from now' : 'ago'}`;
  record('nitro.time', age >= -CLOCK_SKEW_SECONDS, 'evidence-rejected', detail);
}

function claimsOf(document: NitroDocument): NitroClaims {
  const { of, pcrs, moduleId, time, publicKey, userData, nonce } = document;
  const image = pcrs.get(0);
  const enclave = of === 'enclave';
  return {
    platform: enclave ? 'nitro' : 'nitro-tpm',
    measurement: enclave && image !== undefined ? hex(image) : '',
    pcrs: Object.fromEntries([...pcrs].map(([index, value]) => [index, hex(value)])),
    // Enclaves that run in debug mode attest to zeros (user guide, "Getting an enclave's measurements").
    debug: enclave && (image === undefined || isZero(image)),
    moduleId,
    time: time.toISOString(),
    ...(publicKey === undefined ? {} : { publicKey: hex(publicKey) }),
    ...(userData === undefined ? {} : { userData: hex(userData) }),
    ...(nonce === undefined ? {} : { nonce: hex(nonce) }),
  };
}

/** Each document by itself. */
export async function judgeNitro(
  pieces: readonly Piece<NitroDocument>[],
  question: Question,
): Promise<Part[]> {
  const { policy, now, nonce, roots } = question;
  const parts: Part[] = [];
  for (const { parsed } of pieces) {
    const result = await verifyNitro({
      document: parsed,
      policy,
      nonce: nonce === undefined ? undefined : fromHex(nonce),
      crls: crlsOf('other', question),
      ocsp: ocspOf(question),
      now,
      roots: roots?.nitro,
    });
    const { claims } = result;
    const part = withPlatform(result, claims?.platform ?? 'nitro', 'nitro', policy);
    if (claims === undefined) parts.push(part);
    else {
      const { platform, measurement, debug } = claims;
      const { userData = new Uint8Array(0) } = parsed();
      const registers = nitroRegisters(claims);
      parts.push({ ...part, cpu: { platform, measurement, registers, debug, reportData: userData } });
    }
  }
  return parts;
}
