/**
 * Verifies HyperEnclave's quotes (github.com/HyperEnclave/hyperenclave, src/enclave/report.rs; verification
 * as in github.com/asterinas/trustflow and KubeTEE's unified attestation): an SGX-style header and report body, signed
 * with SM2 by a key of the hypervisor, whose hash a TPM holds in PCR 13; the TPM's quote over the platform's PCRs and
 * the report data, signed by its attestation key; that key's certificate, which lists the PCR values.
 *
 * Not guaranteed: anything about real hardware. Only a simulator is public, no evidence by a real platform was at hand,
 * and no root is built in: a policy has to name the platform and its roots or keys.
 */
import { concat, equal, fromHex, hex, sha256Hex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { type Certificate, fromBase64, type RevocationList } from '../certificate.ts';
import { attempting, type Check, createChecklist, type Verdict } from '../checklist.ts';
import { certificatesOf, crlsOf, ocspOf, pcrsOf } from '../collateral.ts';
import { readDer, textOf } from '../der.ts';
import {
  HYPERENCLAVE_DEMANDS,
  type HyperEnclaveDemands,
  hyperEnclaveDemands,
  judgeHyperEnclaveClaims,
} from '../judgement/hyperenclave.ts';
import type { OcspResponse } from '../ocsp.ts';
import type { Parsed } from '../parsed.ts';
import type { PublicKey } from '../signature.ts';
import { sm2Digest, sm3, verifySm2 } from '../sm2.ts';
import { attestationKeys, checkSigner, pickSigner } from './attestation-key.ts';
import { type Part, type Piece, type Question, withPlatform } from './format.ts';
import type { HyperEnclaveClaims } from './hyperenclave-claims.ts';
import { type HyperEnclaveQuote, VERSION } from './hyperenclave-quote.ts';
import { enclaveClaims } from './sgx.ts';
import { type PcrValues, quotedValues } from './tpm-pcrs.ts';

const SM3_BYTES = 32;
const SIGNER = fromHex('0102030405060708090a0b0c0d0e');
/** PCRs quoted: firmware and boot 0 to 9, the hypervisor 12, the hypervisor's key 13. */
const PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13];
/** The certificate's extension: base64 of the PCRs' values, in that order. */
const PCR_LIST = '1.2.86.1';
export const HYPERENCLAVE_LABEL = 'only a simulator is public: never compared with a real platform';

export interface HyperEnclaveQuestion {
  readonly quote: Parsed<HyperEnclaveQuote>;
  /** issuers of the certificate in the quote, or the certificate where it has none */
  readonly certificates: readonly Certificate[];
  /** attestation keys that came without a certificate */
  readonly keys: readonly PublicKey[];
  /** values of the PCRs, where no certificate lists them */
  readonly pcrs: PcrValues;
  readonly policy: HyperEnclaveDemands;
  readonly crls?: readonly Parsed<RevocationList>[] | undefined;
  readonly ocsp?: readonly Parsed<OcspResponse>[] | undefined;
  readonly now: Date;
}

export interface HyperEnclaveResult {
  readonly verdict: Verdict;
  readonly checks: readonly Check[];
  /** present when all signatures and the PCRs hold, whatever the verdict */
  readonly claims?: HyperEnclaveClaims;
}

const REQUIRED = [
  'hyperenclave.quote',
  'hyperenclave.signature',
  'hyperenclave.platform-signature',
  'hyperenclave.key',
  'hyperenclave.report-binding',
  'hyperenclave.pcr-selection',
  'hyperenclave.pcr-digest',
  'hyperenclave.hypervisor-key',
  'hyperenclave.reserved-fields',
  ...HYPERENCLAVE_DEMANDS,
] as const;

/** Never throws for what the evidence holds: that is a failed check. */
export async function verifyHyperEnclave(question: HyperEnclaveQuestion): Promise<HyperEnclaveResult> {
  const { policy, crls, ocsp, now } = question;
  const list = createChecklist(REQUIRED);
  const record = (
    name: string,
    passed: boolean,
    detail: string,
    code: 'evidence-rejected' | 'policy-rejected' | 'signature-rejected' = 'evidence-rejected',
  ) => list.record(`hyperenclave.${name}`, passed, code, detail);
  const quote = attempting(list.record)(
    'hyperenclave.quote',
    question.quote,
    () => `version ${VERSION}; ${HYPERENCLAVE_LABEL}`,
  );
  if (quote === undefined) return list.result('');
  const { report, attest, hypervisorKey } = quote;

  const signed = verifySm2(hypervisorKey, sm2Digest(hypervisorKey, report.bytes, SIGNER), quote.signature);
  record(
    'signature',
    signed,
    `report body ${signed ? '' : 'not '}signed by the hypervisor's key`,
    'signature-rejected',
  );
  const certificates = [...ownCertificate(quote), ...question.certificates];
  const digest = sm2Digest(hypervisorKey, attest.bytes, undefined);
  const trust = { ...policy.hyperenclave, crls, ocsp, now };
  const signers = attestationKeys(certificates, question.keys).filter(
    ({ key }) =>
      key.type === 'EC' && key.curve === 'SM2' && verifySm2(key.point, digest, quote.attestSignature),
  );
  const signer = await pickSigner(signers, trust);
  const by = signer === undefined ? 'by none of the keys at hand' : `by ${signer.name}`;
  record('platform-signature', signer !== undefined, by, 'signature-rejected');
  if (signer !== undefined) {
    await checkSigner(signer, trust, 'hyperenclave', list);
  }

  // TPM2B_DATA with the hash's algorithm in front, as a TPMT_HA.
  const bound = concat(Uint8Array.of(0, 0x12), sm3(report.reportData));
  record(
    'report-binding',
    equal(attest.extraData, bound) || equal(attest.extraData, bound.subarray(2)),
    "the TPM's quote is compared with the hash of the report data",
  );
  const [selection, ...others] = attest.selection;
  const chosen =
    selection?.bank === 'sm3_256' && others.length === 0 && selection.indices.join() === PCRS.join();
  record('pcr-selection', chosen, `${selection?.bank}:${selection?.indices.join(',')}`);
  const pcrs = listedPcrs(signer?.certificate) ?? question.pcrs;
  const values = chosen ? quotedValues(attest, pcrs) : undefined;
  const digested =
    values !== undefined && equal(sm3(concat(...values.map(({ value }) => value))), attest.pcrDigest);
  record(
    'pcr-digest',
    digested,
    values === undefined
      ? 'the values of the PCRs are not at hand'
      : digested
        ? 'recomputed'
        : 'of other values',
  );
  if (values !== undefined) {
    const extended = sm3(concat(new Uint8Array(SM3_BYTES), sm3(hypervisorKey.subarray(1))));
    record(
      'hypervisor-key',
      equal(values.at(-1)!.value, extended),
      "PCR 13 is compared with the hypervisor's key",
    );
  }
  record('reserved-fields', report.reservedZero, report.reservedZero ? 'all zero' : 'not all zero');
  list.require(hyperEnclaveDemands(policy));

  const result = list.result('');
  const passed = (name: string) =>
    result.checks.some(({ id, status }) => id === `hyperenclave.${name}` && status === 'pass');
  const holds = ['signature', 'platform-signature', 'report-binding', 'pcr-digest', 'hypervisor-key'].every(
    passed,
  );
  if (!holds || signer === undefined) return result;
  const claims: HyperEnclaveClaims = {
    platform: 'hyperenclave',
    label: HYPERENCLAVE_LABEL,
    ...enclaveClaims(report),
    key: sha256Hex(signer.key.spki),
    pcrs: Object.fromEntries(values!.map(({ index, value }) => [index, [hex(value)]])),
  };
  judgeHyperEnclaveClaims(claims, policy, list.record);
  return { ...list.result(''), claims };
}

/** The certificate in the quote; none where it cannot be read: what needs it fails for want of it. */
function ownCertificate({ certificate }: HyperEnclaveQuote): Certificate[] {
  try {
    return certificate === undefined ? [] : [certificate()];
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return [];
  }
}

/** The PCR values in the attestation key's certificate; undefined without any. */
function listedPcrs(certificate: Certificate | undefined): PcrValues | undefined {
  try {
    const extension = certificate?.extensions.get(PCR_LIST);
    if (extension === undefined) return undefined;
    const bytes = fromBase64(textOf(readDer(extension.value, PCR_LIST), PCR_LIST), PCR_LIST);
    if (bytes.length !== PCRS.length * SM3_BYTES) return undefined;
    const values = PCRS.map(
      (index, i) => [index, bytes.subarray(i * SM3_BYTES, (i + 1) * SM3_BYTES)] as const,
    );
    return new Map([['sm3_256', new Map(values)]]);
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return undefined;
  }
}

/** Each quote by itself. */
export async function judgeHyperEnclave(
  pieces: readonly Piece<HyperEnclaveQuote>[],
  question: Question,
): Promise<Part[]> {
  const { given, store, policy, now } = question;
  const parts: Part[] = [];
  for (const { parsed } of pieces) {
    const result = await verifyHyperEnclave({
      quote: parsed,
      certificates: [...certificatesOf('other', given), ...certificatesOf('other', store)],
      keys: given.keys,
      pcrs: pcrsOf(given),
      policy,
      crls: crlsOf('other', question),
      ocsp: ocspOf(question),
      now,
    });
    parts.push(withPlatform(result, 'hyperenclave', 'hyperenclave', policy));
  }
  return parts;
}
