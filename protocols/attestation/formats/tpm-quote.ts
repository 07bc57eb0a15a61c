/**
 * Verifies TPM 2.0 quotes: who signed, that it answers the verifier's nonce, and the PCR values whose digest was quoted
 * (TPM 2.0 Library, part 1, section 32). Pure: clock, keys and certificates are arguments.
 *
 * Not guaranteed: that the attestation key lives in a TPM and signs only what the TPM made. Who certified the key,
 * or whoever pins it in a policy, has to have seen that; and a discrete TPM's bus can be tapped.
 */
import { concat, equal, fromHex, hex, sha256Hex } from '../../encoding.ts';
import type { Certificate, RevocationList } from '../certificate.ts';
import { attempting, type Check, createChecklist, type Verdict } from '../checklist.ts';
import { certificatesOf, crlsOf, ocspOf, pcrsOf } from '../collateral.ts';
import type { PcrBank, TpmPolicy } from '../demands.ts';
import type { OcspResponse } from '../ocsp.ts';
import type { Parsed } from '../parsed.ts';
import {
  COORDINATE_BYTES,
  type Curve,
  type Hash,
  type PublicKey,
  verifyEcdsa,
  verifyRsa,
} from '../signature.ts';
import { sm2Digest, verifySm2 } from '../sm2.ts';
import { type AttestationKey, attestationKeys, checkSigner, pickSigner } from './attestation-key.ts';
import { type Part, type Piece, type Question, withPlatform } from './format.ts';
import type { TpmAttest, TpmSignature } from './tpm-attest.ts';
import { BANK_BYTES, checkPcrs, type PcrValues, pcrDigest, quotedValues } from './tpm-pcrs.ts';

const WEB_HASH: Readonly<Partial<Record<PcrBank, Hash>>> = {
  sha256: 'SHA-256',
  sha384: 'SHA-384',
  sha512: 'SHA-512',
};

export interface TpmQuestion {
  readonly attest: Parsed<TpmAttest>;
  readonly signature: Parsed<TpmSignature>;
  /** the attestation key's and its issuers', in any order */
  readonly certificates: readonly Certificate[];
  /** attestation keys that came without a certificate */
  readonly keys: readonly PublicKey[];
  readonly pcrs: PcrValues;
  readonly policy: TpmPolicy;
  /** what the verifier asked with; without it nothing is accepted */
  readonly nonce?: Uint8Array | undefined;
  readonly crls?: readonly Parsed<RevocationList>[] | undefined;
  readonly ocsp?: readonly Parsed<OcspResponse>[] | undefined;
  readonly now: Date;
}

export interface TpmClaims {
  readonly platform: 'tpm';
  /** SHA-256 of the attestation key's SubjectPublicKeyInfo */
  readonly key: string;
  readonly nonce: string;
  /** by bank and index */
  readonly pcrs: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
  readonly resetCount: number;
  readonly restartCount: number;
  readonly clockSafe: boolean;
  readonly firmwareVersion: string;
}

export interface TpmResult {
  readonly verdict: Verdict;
  readonly checks: readonly Check[];
  /** present when the signature and the PCR digest hold, whatever the verdict */
  readonly claims?: TpmClaims;
}

const REQUIRED = [
  'tpm.quote',
  'tpm.signature-format',
  'tpm.signature',
  'tpm.key',
  'tpm.nonce',
  'tpm.pcr-digest',
  'tpm.pcrs',
] as const;

/** Never throws for what the evidence holds: that is a failed check. */
export async function verifyTpm(question: TpmQuestion): Promise<TpmResult> {
  const { policy, nonce, now, crls, ocsp } = question;
  const list = createChecklist(REQUIRED);
  const { record } = list;
  const attempt = attempting(record);
  const attest = attempt('tpm.quote', question.attest, ({ selection }) =>
    selection.map(({ bank, indices }) => `${bank}:${indices.join(',')}`).join('+'),
  );
  const signature = attempt(
    'tpm.signature-format',
    question.signature,
    ({ scheme, hash }) => `${scheme} with ${hash}`,
  );
  if (attest === undefined || signature === undefined) return list.result('');

  const trust = { ...policy, crls, ocsp, now };
  const signer = await pickSigner(await signersOf(attest.bytes, signature, question), trust);
  record(
    'tpm.signature',
    signer !== undefined,
    'signature-rejected',
    signer === undefined ? 'by none of the keys at hand' : `by ${signer.name}`,
  );
  if (signer !== undefined) await checkSigner(signer, trust, 'tpm', list);
  if (nonce !== undefined) {
    const fresh = equal(nonce, attest.extraData);
    const answered = hex(attest.extraData);
    const detail = fresh ? answered.slice(0, 16) : `expected ${hex(nonce)}, got ${answered || 'none'}`;
    record('tpm.nonce', fresh, 'evidence-rejected', detail);
  }
  const values = quotedValues(attest, question.pcrs);
  const digested = values !== undefined && equal(pcrDigest(signature.hash, values), attest.pcrDigest);
  record(
    'tpm.pcr-digest',
    digested,
    'evidence-rejected',
    digested
      ? `recomputed from ${values.length} values`
      : values === undefined
        ? 'not all values of the quoted PCRs are at hand'
        : 'the values at hand are not those that were quoted',
  );
  if (!digested) return list.result('');
  checkPcrs(values, policy.pcrs, 'tpm.pcrs', record);
  if (signer === undefined) return list.result('');
  return {
    ...list.result(''),
    claims: {
      platform: 'tpm',
      key: sha256Hex(signer.key.spki),
      nonce: hex(attest.extraData),
      pcrs: Object.fromEntries(
        attest.selection.map(({ bank }) => [
          bank,
          Object.fromEntries(
            values.filter((one) => one.bank === bank).map(({ index, value }) => [index, [hex(value)]]),
          ),
        ]),
      ),
      resetCount: attest.resetCount,
      restartCount: attest.restartCount,
      clockSafe: attest.safe,
      firmwareVersion: attest.firmwareVersion.toString(16).padStart(16, '0'),
    },
  };
}

async function signersOf(
  data: Uint8Array,
  signature: TpmSignature,
  { certificates, keys }: TpmQuestion,
): Promise<AttestationKey[]> {
  const found: AttestationKey[] = [];
  for (const candidate of attestationKeys(certificates, keys)) {
    if (await signed(candidate.key, signature, data)) found.push(candidate);
  }
  return found;
}

async function signed(
  key: PublicKey,
  { scheme, hash, parts }: TpmSignature,
  data: Uint8Array,
): Promise<boolean> {
  const web = WEB_HASH[hash];
  if (key.type === 'RSA') {
    if (web === undefined || (scheme !== 'RSASSA' && scheme !== 'RSAPSS')) return false;
    if (scheme === 'RSASSA') return verifyRsa(key, { name: 'RSASSA-PKCS1-v1_5', hash: web }, parts[0]!, data);
    // The salt is as long as the hash, or, by older versions of the library, as long as fits.
    const most = key.bits / 8 - BANK_BYTES[hash] - 2;
    for (const saltLength of [BANK_BYTES[hash], most]) {
      if (await verifyRsa(key, { name: 'RSA-PSS', hash: web, saltLength }, parts[0]!, data)) return true;
    }
    return false;
  }
  const raw = fixedParts(parts, key.curve);
  if (raw === undefined) return false;
  if (scheme === 'SM2') {
    return key.curve === 'SM2' && verifySm2(key.point, sm2Digest(key.point, data, undefined), raw);
  }
  return scheme === 'ECDSA' && web !== undefined && verifyEcdsa(key, web, raw, data);
}

function fixedParts(parts: readonly Uint8Array[], curve: Curve): Uint8Array | undefined {
  const bytes = COORDINATE_BYTES[curve];
  if (parts.length !== 2 || parts.some((part) => part.length > bytes)) return undefined;
  return concat(...parts.map((part) => concat(new Uint8Array(bytes - part.length), part)));
}

/** One quote and its signature, which do not say to each other that they belong together. */
export async function judgeTpm(quotes: readonly Piece<TpmAttest>[], question: Question): Promise<Part[]> {
  const { given, store, policy, now, nonce } = question;
  const { tpmSignatures } = given;
  if (quotes.length + tpmSignatures.length === 0) return [];
  const [quote, ...moreQuotes] = quotes;
  const [signature, ...moreSignatures] = tpmSignatures;
  if (quote === undefined || signature === undefined || moreQuotes.length + moreSignatures.length > 0) {
    const detail = `expected one TPM quote and one signature, got ${quotes.length} and ${tpmSignatures.length}`;
    const check: Check = { id: 'evidence.tpm', status: 'fail', code: 'evidence-rejected', detail };
    return [{ verdict: 'reject', checks: [check] }];
  }
  const result = await verifyTpm({
    attest: quote.parsed,
    signature,
    certificates: [...certificatesOf('other', given), ...certificatesOf('other', store)],
    keys: given.keys,
    pcrs: pcrsOf(given),
    policy: policy.tpm,
    nonce: nonce === undefined ? undefined : fromHex(nonce),
    crls: crlsOf('other', question),
    ocsp: ocspOf(question),
    now,
  });
  return [withPlatform(result, 'tpm', 'tpm', policy)];
}
