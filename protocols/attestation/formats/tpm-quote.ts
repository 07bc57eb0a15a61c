/**
 * Reads and verifies TPM 2.0 quotes: TPMS_ATTEST with TPMS_QUOTE_INFO, TPMT_SIGNATURE, and the PCR values whose
 * digest was quoted (TPM 2.0 Library, part 2 "Structures", sections 10.12 and 11.3, and part 1, section 32). Pure:
 * clock, keys and certificates are arguments.
 *
 * Not guaranteed: that the attestation key lives in a TPM and signs only what the TPM made. Who certified the key,
 * or whoever pins it in a policy, has to have seen that; and a discrete TPM's bus can be tapped.
 */
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import { concat, equal, fromHex, hex, sha256Hex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { type Certificate, parseCertificate } from '../certificate.ts';
import { recordChain, verifyChain } from '../chain.ts';
import { attempting, type Check, createChecklist, type Recorder, type Verdict } from '../checklist.ts';
import { PCR_BANKS, type PcrBank, type TpmPolicy } from '../policy.ts';
import { createReader, type Reader } from '../reader.ts';
import {
  COORDINATE_BYTES,
  type Curve,
  type Hash,
  type PublicKey,
  verifyEcdsa,
  verifyRsa,
} from '../signature.ts';
import { sm2Digest, sm3, verifySm2 } from '../sm2.ts';

const GENERATED = 0xff544347;
const ATTEST_QUOTE = 0x8018;
/** TPMU_NAME and TPMT_HA with the largest hash. */
const MAX_NAME_BYTES = 66;
const MAX_SELECTIONS = 4;
const MAX_SELECT_BYTES = 3;
export const MAX_ATTEST_BYTES = 512;
const MAX_SIGNATURE_BYTES = 1100;
const MAX_PCR_TEXT = 64 * 1024;
/** At hand to choose from: certificates, keys to try, issuers of one key. */
const MAX_CERTIFICATES = 256;
const MAX_KEYS = 32;
const MAX_ISSUERS = 16;

/** TPM_ALG_ID; SHA-1 is refused. */
const BANKS: ReadonlyMap<number, PcrBank> = new Map([
  [0x0b, 'sha256'],
  [0x0c, 'sha384'],
  [0x0d, 'sha512'],
  [0x12, 'sm3_256'],
]);
const BANK_HASH: Readonly<Record<PcrBank, (bytes: Uint8Array) => Uint8Array>> = {
  sha256,
  sha384,
  sha512,
  sm3_256: sm3,
};
const BANK_BYTES: Readonly<Record<PcrBank, number>> = { sha256: 32, sha384: 48, sha512: 64, sm3_256: 32 };
const WEB_HASH: Readonly<Partial<Record<PcrBank, Hash>>> = {
  sha256: 'SHA-256',
  sha384: 'SHA-384',
  sha512: 'SHA-512',
};

export interface TpmAttest {
  /** the bytes signed */
  readonly bytes: Uint8Array;
  /** name of the attestation key with its ancestors */
  readonly qualifiedSigner: Uint8Array;
  /** what the verifier asked with */
  readonly extraData: Uint8Array;
  /** milliseconds since the TPM was cleared */
  readonly clock: bigint;
  readonly resetCount: number;
  readonly restartCount: number;
  /** whether the clock was never set back */
  readonly safe: boolean;
  readonly firmwareVersion: bigint;
  /** in the order in which their values were hashed */
  readonly selection: readonly { readonly bank: PcrBank; readonly indices: readonly number[] }[];
  readonly pcrDigest: Uint8Array;
}

/** TPM structures are big-endian. */
const big = ({ take }: Reader, bytes: number): number =>
  take(bytes).reduce((value, byte) => value * 256 + byte, 0);
const big64 = (reader: Reader): bigint => (BigInt(big(reader, 4)) << 32n) | BigInt(big(reader, 4));
const sized = (reader: Reader, most: number, what: string): Uint8Array => {
  const size = big(reader, 2);
  if (size > most) throw new VouchError('bad-file', `${what}: expected at most ${most} bytes, got ${size}`);
  return reader.take(size);
};

/** Whether bytes look like a quote: TPMS_ATTEST, or TPM2B_ATTEST with its size in front. */
export const isTpmAttest = (bytes: Uint8Array): boolean =>
  bytes.length <= MAX_ATTEST_BYTES && [0, 2].some((at) => hex(bytes.subarray(at, at + 6)) === 'ff5443478018');

/** Throws `bad-file`. */
export function parseTpmAttest(given: Uint8Array, what = 'TPM quote'): TpmAttest {
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  if (given.length > MAX_ATTEST_BYTES)
    refuse(`expected at most ${MAX_ATTEST_BYTES} bytes, got ${given.length}`);
  const bytes = given[0] === GENERATED >>> 24 ? given : sizedWhole(given, what);
  const reader = createReader(bytes, what);
  if (big(reader, 4) !== GENERATED) refuse('expected TPM_GENERATED_VALUE: no TPM made this');
  const type = big(reader, 2);
  if (type !== ATTEST_QUOTE) refuse(`expected a quote (0x8018), got 0x${type.toString(16)}`);
  const qualifiedSigner = sized(reader, MAX_NAME_BYTES, `${what}: signer`);
  const extraData = sized(reader, MAX_NAME_BYTES, `${what}: extra data`);
  const clock = big64(reader);
  const resetCount = big(reader, 4);
  const restartCount = big(reader, 4);
  const safe = big(reader, 1);
  if (safe > 1) refuse('clock: expected safe to be 0 or 1');
  const firmwareVersion = big64(reader);
  const count = big(reader, 4);
  if (count < 1 || count > MAX_SELECTIONS) refuse(`expected 1 to ${MAX_SELECTIONS} PCR banks, got ${count}`);
  const selection = Array.from({ length: count }, () => {
    const algorithm = big(reader, 2);
    const bank = BANKS.get(algorithm) ?? refuse(`PCR bank 0x${algorithm.toString(16)} is not taken`);
    const size = big(reader, 1);
    if (size > MAX_SELECT_BYTES) refuse(`expected at most ${8 * MAX_SELECT_BYTES} PCRs`);
    const bits = reader.take(size);
    const indices = Array.from({ length: 8 * size }, (_, i) => i).filter(
      (i) => (bits[i >> 3]! >> (i & 7)) & 1,
    );
    return { bank, indices };
  });
  if (new Set(selection.map(({ bank }) => bank)).size !== count) refuse('expected each PCR bank once');
  if (selection.every(({ indices }) => indices.length === 0)) refuse('expected at least one PCR');
  const pcrDigest = sized(reader, 64, `${what}: PCR digest`);
  reader.end();
  return {
    bytes,
    qualifiedSigner,
    extraData,
    clock,
    resetCount,
    restartCount,
    safe: safe === 1,
    firmwareVersion,
    selection,
    pcrDigest,
  };
}

function sizedWhole(bytes: Uint8Array, what: string): Uint8Array {
  const reader = createReader(bytes, what);
  const value = sized(reader, MAX_ATTEST_BYTES, what);
  reader.end();
  return value;
}

export interface TpmSignature {
  readonly scheme: 'RSASSA' | 'RSAPSS' | 'ECDSA' | 'SM2';
  readonly hash: PcrBank;
  /** RSA: the number; else r and s, as short as the TPM wrote them */
  readonly parts: readonly Uint8Array[];
}

const SCHEMES: ReadonlyMap<number, TpmSignature['scheme']> = new Map([
  [0x14, 'RSASSA'],
  [0x16, 'RSAPSS'],
  [0x18, 'ECDSA'],
  [0x1b, 'SM2'],
]);

/** TPMT_SIGNATURE; throws `bad-file`. */
export function parseTpmSignature(bytes: Uint8Array): TpmSignature {
  const what = 'TPM signature';
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  if (bytes.length > MAX_SIGNATURE_BYTES)
    refuse(`expected at most ${MAX_SIGNATURE_BYTES} bytes, got ${bytes.length}`);
  const reader = createReader(bytes, what);
  const scheme = SCHEMES.get(big(reader, 2)) ?? refuse('expected RSASSA, RSAPSS, ECDSA or SM2');
  const hash = BANKS.get(big(reader, 2)) ?? refuse('expected SHA-2 or SM3');
  if ((scheme === 'SM2') !== (hash === 'sm3_256')) refuse(`${scheme} does not go with ${hash}`);
  const parts = scheme.startsWith('RSA')
    ? [sized(reader, 1024, what)]
    : [sized(reader, 66, what), sized(reader, 66, what)];
  reader.end();
  return { scheme, hash, parts };
}

/** Whether bytes are one, exactly. */
export function isTpmSignature(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0 || !SCHEMES.has(bytes[1]!) || bytes.length > MAX_SIGNATURE_BYTES) return false;
  try {
    parseTpmSignature(bytes);
    return true;
  } catch {
    return false;
  }
}

/** PCR values by bank and index. */
export type PcrValues = ReadonlyMap<PcrBank, ReadonlyMap<number, Uint8Array>>;

/** Whether a text lists PCRs, as `tpm2_pcrread` prints them or as JSON. */
export const isPcrText = (text: string): boolean =>
  /^\s*\{?\s*"?(?:sha1|sha256|sha384|sha512|sm3_256)"?\s*:/.test(text);

/**
 * What `tpm2_pcrread` prints (`sha256:` and lines `0 : 0x...`), or JSON {bank: {index: hex}}. Banks that are not taken
 * are left out; throws `bad-file`.
 */
export function parsePcrs(text: string): PcrValues {
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `PCR values: ${reason}`);
  };
  if (text.length > MAX_PCR_TEXT) refuse(`expected at most ${MAX_PCR_TEXT} characters, got ${text.length}`);
  const banks = new Map<PcrBank, Map<number, Uint8Array>>();
  let values: Map<number, Uint8Array> | undefined;
  let bytes = 0;
  const names: readonly string[] = PCR_BANKS;
  // One grammar for both: braces, quotes and commas of the JSON say nothing that the order does not.
  for (const line of text.split(/[\n,{}]/)) {
    const clean = line.replaceAll(/["\r\t ]/g, '');
    if (clean === '') continue;
    const [, name, value = ''] =
      /^([a-z0-9_]{1,8}):(?:0x)?([0-9A-Fa-f]*)$/.exec(clean) ?? refuse('unexpected text');
    if (value === '') {
      const bank = names.includes(name!) ? (name as PcrBank) : undefined;
      if (bank === undefined && name !== 'sha1') refuse(`bank ${name} is not known`);
      if (bank !== undefined && banks.has(bank)) refuse(`expected bank ${bank} once`);
      values = new Map();
      bytes = bank === undefined ? 20 : BANK_BYTES[bank];
      if (bank !== undefined) banks.set(bank, values);
      continue;
    }
    const index = /^(?:[0-9]|1[0-9]|2[0-3])$/.test(name!) ? Number(name) : refuse('expected PCRs 0 to 23');
    if (values === undefined || values.has(index)) return refuse(`PCR ${index}: expected it once, in a bank`);
    if (value.length !== 2 * bytes) refuse(`PCR ${index}: expected ${bytes} bytes as hex`);
    values.set(index, fromHex(value.toLowerCase()));
  }
  return banks;
}

export interface TpmQuestion {
  /** TPMS_ATTEST or TPM2B_ATTEST */
  readonly attest: Uint8Array;
  /** TPMT_SIGNATURE */
  readonly signature: Uint8Array;
  /** DER of the attestation key's certificate and its issuers, in any order */
  readonly certificates: readonly Uint8Array[];
  /** attestation keys that came without a certificate */
  readonly keys: readonly PublicKey[];
  readonly pcrs: PcrValues;
  readonly policy: TpmPolicy;
  /** what the verifier asked with; without it nothing is accepted */
  readonly nonce?: Uint8Array | undefined;
  /** DER */
  readonly crls?: readonly Uint8Array[] | undefined;
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
  const { policy, nonce, now, crls } = question;
  const list = createChecklist(REQUIRED);
  const { record } = list;
  const attempt = attempting(record);
  const attest = attempt(
    'tpm.quote',
    () => parseTpmAttest(question.attest),
    ({ selection }) => selection.map(({ bank, indices }) => `${bank}:${indices.join(',')}`).join('+'),
  );
  const signature = attempt(
    'tpm.signature-format',
    () => parseTpmSignature(question.signature),
    ({ scheme, hash }) => `${scheme} with ${hash}`,
  );
  if (attest === undefined || signature === undefined) return list.result('');

  const signer = await signerOf(attest.bytes, signature, question);
  record(
    'tpm.signature',
    signer !== undefined,
    'signature-rejected',
    signer === undefined ? 'by none of the keys at hand' : `by ${signer.name}`,
  );
  if (signer !== undefined) await checkSigner(signer, { ...policy, crls, now }, 'tpm', list);
  if (nonce !== undefined) {
    const fresh = equal(nonce, attest.extraData);
    const said = hex(attest.extraData).slice(0, 16);
    const detail = fresh ? said : `expected ${hex(nonce).slice(0, 16)}, got ${said || 'none'}`;
    record('tpm.nonce', fresh, 'evidence-rejected', detail);
  }
  const values = quotedValues(attest, question.pcrs);
  const digested =
    values !== undefined &&
    equal(BANK_HASH[signature.hash](concat(...values.map(({ value }) => value))), attest.pcrDigest);
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

export interface QuotedPcr {
  readonly bank: PcrBank;
  readonly index: number;
  readonly value: Uint8Array;
}

/** The values in the order of the quote; undefined when one is missing. */
export function quotedValues({ selection }: TpmAttest, pcrs: PcrValues): QuotedPcr[] | undefined {
  const values = selection.flatMap(({ bank, indices }) =>
    indices.map((index) => ({ bank, index, value: pcrs.get(bank)?.get(index) })),
  );
  return values.every((one): one is QuotedPcr => one.value !== undefined) ? values : undefined;
}

/** Whether each PCR that the policy names was quoted with one of its values. */
export function checkPcrs(
  values: readonly QuotedPcr[],
  accepted: TpmPolicy['pcrs'],
  id: string,
  record: Recorder,
): void {
  const named = Object.entries(accepted).flatMap(([bank, pcrs]) =>
    Object.entries(pcrs).map(([index, allowed]) => ({ bank, index: Number(index), allowed })),
  );
  const wrong = named.filter(({ bank, index, allowed }) => {
    const quoted = values.find((one) => one.bank === bank && one.index === index);
    return quoted === undefined || !allowed.includes(hex(quoted.value));
  });
  record(
    id,
    wrong.length === 0,
    'policy-rejected',
    wrong.length === 0
      ? `${named.length} demanded`
      : `not as demanded: ${wrong.map(({ bank, index }) => `${bank}:${index}`).join(', ')}`,
  );
}

export interface AttestationKey {
  readonly key: PublicKey;
  readonly name: string;
  /** DER of its certificate, where it has one, and of those that could lead to a root */
  readonly certificate?: Uint8Array;
  readonly others: readonly Uint8Array[];
}

/** The keys at hand: of certificates that are no authority, and bare ones. Those that cannot be read are left out. */
export function attestationKeys(
  certificates: readonly Uint8Array[],
  keys: readonly PublicKey[],
): AttestationKey[] {
  const parsed = certificates.slice(0, MAX_CERTIFICATES).flatMap((der) => {
    try {
      return [parseCertificate(der)];
    } catch (error) {
      if (!(error instanceof VouchError)) throw error;
      return [];
    }
  });
  const certified = parsed
    .filter(({ authority }) => !authority)
    .slice(0, MAX_KEYS)
    .map((leaf) => ({
      key: leaf.key,
      name: leaf.subjectName || 'a certified key',
      certificate: leaf.der,
      others: issuersOf(leaf, parsed).map(({ der }) => der),
    }));
  const bare = keys.slice(0, MAX_KEYS).map((key) => {
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

async function signerOf(
  data: Uint8Array,
  signature: TpmSignature,
  { certificates, keys }: TpmQuestion,
): Promise<AttestationKey | undefined> {
  for (const candidate of attestationKeys(certificates, keys)) {
    if (await signed(candidate.key, signature, data)) return candidate;
  }
  return undefined;
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

/** Records `<prefix>.key`: pinned by itself, or certified up to a root that the policy pins. */
export async function checkSigner(
  signer: AttestationKey,
  trust: Pick<TpmPolicy, 'roots' | 'keys' | 'revocation'> & {
    readonly crls?: readonly Uint8Array[] | undefined;
    readonly now: Date;
  },
  prefix: string,
  { record, require }: Pick<ReturnType<typeof createChecklist>, 'record' | 'require'>,
): Promise<void> {
  const digest = sha256Hex(signer.key.spki);
  if (trust.keys.includes(digest)) {
    record(`${prefix}.key`, true, 'policy-rejected', `${digest.slice(0, 16)}, pinned by the policy`);
    return;
  }
  if (signer.certificate === undefined || trust.roots.length === 0) {
    const why = signer.certificate === undefined ? 'has no certificate' : 'the policy pins no roots';
    record(
      `${prefix}.key`,
      false,
      'policy-rejected',
      `key ${digest} is not pinned by the policy, and ${why}`,
    );
    return;
  }
  require([
    `${prefix}.chain`,
    `${prefix}.chain-dates`,
    `${prefix}.chain-constraints`,
    `${prefix}.chain-revocation`,
  ]);
  const chain = await verifyChain({
    leaf: signer.certificate,
    intermediates: signer.others,
    rootFingerprints: trust.roots,
    crls: trust.crls,
    revocation: trust.revocation,
    now: trust.now,
  });
  recordChain(chain, `${prefix}.chain`, record);
  const detail = chain.passed
    ? `certified by ${chain.path[1]?.subjectName ?? ''}`
    : 'its certificate does not hold';
  record(`${prefix}.key`, chain.passed, 'evidence-rejected', detail);
}
