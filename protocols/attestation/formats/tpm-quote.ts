/**
 * Verifies TPM 2.0 quotes: who signed, that it answers the verifier's nonce, and the PCR values whose digest was quoted
 * (TPM 2.0 Library, part 1, section 32). Pure: clock, keys and certificates are arguments.
 *
 * Not guaranteed: that the attestation key lives in a TPM and signs only what the TPM made. Who certified the key,
 * or whoever pins it in a policy, has to have seen that; and a discrete TPM's bus can be tapped.
 */
import { concat, equal, fromHex, hex, sha256Hex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import type { Certificate, RevocationList } from '../certificate.ts';
import { attempting, type Check, createChecklist, type Verdict } from '../checklist.ts';
import { type Collateral, certificatesOf, crlsOf, ocspOf, pcrsOf } from '../collateral.ts';
import type { PcrBank, TpmPolicy } from '../demands.ts';
import { judgePcrs, TPM_DEMANDS } from '../judgement/tpm.ts';
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
import { BANK_BYTES, type PcrValues, pcrDigest, quotedValues } from './tpm-pcrs.ts';

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
  /** those that a CPU vouches for: whoever asks has to see that its evidence binds them (machines.ts) */
  readonly boundKeys?: readonly PublicKey[] | undefined;
  readonly pcrs: PcrValues;
  /** whether the nonce is a CPU's evidence that came with it: a TPM that nobody is asked to trust then adds nothing */
  readonly besideCpu?: boolean | undefined;
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
  ...TPM_DEMANDS,
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
  const bound = question.boundKeys?.some(({ spki }) => signer !== undefined && equal(spki, signer.key.spki));
  if (bound) record('tpm.key', true, 'evidence-rejected', "the vTPM's, as azure.runtime-data says");
  else if (question.besideCpu && asksNothing(policy)) {
    list.omit(
      'tpm.key',
      'the policy pins no roots and no keys of TPMs: what this one says counts for nothing',
    );
  } else if (signer !== undefined) await checkSigner(signer, trust, 'tpm', list);
  if (nonce === undefined && bound) {
    list.omit('tpm.nonce', 'none was given to compare with: the quote may be old');
  } else if (nonce !== undefined) {
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
  if (signer === undefined) return list.result('');
  const claims: TpmClaims = {
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
  };
  judgePcrs('tpm.pcrs', claims.pcrs, policy.pcrs, record);
  return { ...list.result(''), claims };
}

const asksNothing = ({ roots, keys, pcrs }: TpmPolicy): boolean =>
  roots.length + keys.length + Object.keys(pcrs).length === 0;

async function signersOf(
  data: Uint8Array,
  signature: TpmSignature,
  { certificates, keys, boundKeys = [] }: Pick<TpmQuestion, 'certificates' | 'keys' | 'boundKeys'>,
): Promise<AttestationKey[]> {
  const found: AttestationKey[] = [];
  for (const candidate of attestationKeys(certificates, [...boundKeys, ...keys])) {
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
  if (key.type !== 'EC') return false;
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

/**
 * Quotes and their signatures, which do not say to each other that they belong together: of several, each quote takes
 * the signature that holds over it, and the PCR values that it covers.
 */
export async function judgeTpm(quotes: readonly Piece<TpmAttest>[], question: Question): Promise<Part[]> {
  const { given, store, policy, now, nonce } = question;
  const { tpmSignatures } = given;
  if (quotes.length + tpmSignatures.length === 0) return [];
  if (quotes.length !== tpmSignatures.length) {
    const detail = `expected a signature for each TPM quote, got ${quotes.length} quotes and ${tpmSignatures.length} signatures`;
    const check: Check = { id: 'evidence.tpm', status: 'fail', code: 'evidence-rejected', detail };
    return [{ verdict: 'reject', checks: [check] }];
  }
  const signers = {
    certificates: [...certificatesOf('other', given), ...certificatesOf('other', store)],
    keys: given.keys,
    boundKeys: given.runtimes.flatMap(({ key }) => key ?? []),
  };
  const left = [...tpmSignatures];
  const parts: Part[] = [];
  for (const { parsed, answers } of quotes) {
    const own = left.length === 1 ? 0 : await indexThat(left, (one) => holds(parsed, one, signers));
    const [signature] = left.splice(Math.max(own, 0), 1);
    const result = await verifyTpm({
      ...signers,
      attest: parsed,
      signature: signature!,
      pcrs: pcrsFor(parsed, signature!, given),
      policy: policy.tpm,
      besideCpu: answers !== undefined,
      nonce: answers ?? (nonce === undefined ? undefined : fromHex(nonce)),
      crls: crlsOf('other', question),
      ocsp: ocspOf(question),
      now,
    });
    parts.push(withPlatform(result, 'tpm', 'tpm', policy));
  }
  return parts;
}

async function indexThat<T>(items: readonly T[], test: (item: T) => Promise<boolean>): Promise<number> {
  for (const [i, item] of items.entries()) if (await test(item)) return i;
  return -1;
}

/** What `test` gives; undefined where a piece cannot be read, which its own checks say. */
function readable<T>(test: () => T): T | undefined {
  try {
    return test();
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return undefined;
  }
}

async function holds(
  attest: Parsed<TpmAttest>,
  signature: Parsed<TpmSignature>,
  signers: Parameters<typeof signersOf>[2],
): Promise<boolean> {
  const read = readable(() => ({ data: attest().bytes, signature: signature() }));
  return read !== undefined && (await signersOf(read.data, read.signature, signers)).length > 0;
}

/** Those of one file whose digest was quoted; of all files where none are. */
function pcrsFor(attest: Parsed<TpmAttest>, signature: Parsed<TpmSignature>, given: Collateral): PcrValues {
  const quoted = (pcrs: PcrValues): boolean | undefined =>
    readable(() => {
      const values = quotedValues(attest(), pcrs);
      return values !== undefined && equal(pcrDigest(signature().hash, values), attest().pcrDigest);
    });
  return given.pcrs.length < 2 ? pcrsOf(given) : (given.pcrs.find((pcrs) => quoted(pcrs)) ?? pcrsOf(given));
}
