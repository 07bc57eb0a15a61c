/**
 * Receipts: what an enclave signs about one answer, verified offline together with its evidence.
 *
 *   receipt = statement "application/vouch-receipt+cbor" (protocols/cose.ts) by the receipt key that the
 *             evidence binds, over the deterministic CBOR map
 *             {"v": 3, "id": tstr, "enclave": tstr, "evidence": bstr 32, "policy": bstr 32, "model": bstr 32,
 *              "manifest": bstr 32, "answers": tstr, "request": bstr 32, "response": bstr 32, "nonce": bstr 16..64,
 *              "sequence": uint, "time": uint}
 *     id        lower-case hex of the first 16 bytes of
 *               SHA-256("vouch/v1/receipt-id" || 0x00 || enclave || 0x00 || nonce):
 *               whoever chose the nonce knows where the receipt will be, and a nonce has one receipt
 *     evidence  SHA-256 of the evidence document as a CBOR map: what CPU and GPUs signed, and all that it binds
 *     policy    digest of the policy under which the model's key was released to the enclave, as its key-brokers signed
 *     model     model commitment, the field element in 32 bytes little-endian
 *     manifest  digest of the model's manifest (protocols/manifest.ts)
 *     answers   what the answer holds: "decision", "rounded" or "exact"
 *     request   HMAC-SHA256(request salt, "vouch/v1/request" || 0x00 || body)
 *     response  HMAC-SHA256(response salt, "vouch/v1/response" || 0x00 || body)
 *     nonce     the client's, from inside the sealed request
 *     sequence  receipts signed by this enclave since it started, from 0
 *     time      seconds since 1970 by the host's clock, which nobody vouches for
 *   A receipt of an answer in text (protocols/chat.ts) has "v": 4, "answers": "text", and besides
 *             {"commitment": "hash", "engine": {"name": tstr, "version": tstr, "build": tstr}, "finish": tstr,
 *              "promptTokens": uint, "completionTokens": uint}
 *     commitment  the kind of the model commitment (protocols/weights.ts): it names weights, and nothing is proved with it
 *     engine      what computed, as it says of itself
 *     finish      why the text ends: "stop", "length", "tool_calls", or "cancelled": then it covers what was sent until then
 *   bundle  = {"v": 3, "receipt": bstr, "evidence": EvidenceDocument as a CBOR map with its JSON names and values}
 *
 * The salts are 32 random bytes each, chosen by the client, and travel only inside the seal: without them
 * neither an application nor a yes/no answer can be guessed from its digest, and showing one salt opens one
 * of the two. A bundle with any byte changed is refused.
 *
 * Not guaranteed: when it happened (freshness is the nonce), and that the enclave signed no other receipt.
 *
 * One file, although it is long: a receipt is made, carried and judged by one layout.
 */
import { z } from 'zod';
import { type Check, createChecklist, type Verdict } from './attestation/checklist.ts';
import type { Collateral } from './attestation/collateral.ts';
import { EvidenceDocument, evidenceDigest, isHardware, labelOf } from './attestation/document.ts';
import { CLOCK_SKEW_SECONDS } from './attestation/document-demands.ts';
import type { VendorRoots } from './attestation/formats/format.ts';
import { MAX_DOCUMENT_BYTES } from './attestation/limits.ts';
import { type Parsed, parsedOnce } from './attestation/parsed.ts';
import type { Policy } from './attestation/policy.ts';
import { fieldBytes, fieldFromBytes } from './attestation/report-data.ts';
import { type EvidenceReport, stillFresh, verifyDocument } from './attestation/verify.ts';
import { byteString, byteStringBetween, decodeCbor, encodeCbor } from './cbor.ts';
import { type Signer, signStatement, verifyAhead, verifyStatement } from './cose.ts';
import { concat, equal, fromBase64url, fromHex, hex, sha256, sha256Hex, utf8 } from './encoding.ts';
import { Id } from './envelope.ts';
import { messageOf, VouchError } from './errors.ts';
import { hmacSha256 } from './hkdf.ts';
import type { VerifiedManifest } from './manifest.ts';
import { ANSWER_KINDS, type AnswerKind } from './terms.ts';

export const SALT_BYTES = 32;
const RECEIPT_TYPE = 'application/vouch-receipt+cbor';
const MAX_PAYLOAD_BYTES = 1024;
export const MAX_RECEIPT_BYTES = 2048;
/** A bundle is at most this long. */
export const MAX_BUNDLE_BYTES = MAX_RECEIPT_BYTES + MAX_DOCUMENT_BYTES;

const Common = z.strictObject({
  id: Id,
  enclave: Id,
  evidence: byteString(32),
  policy: byteString(32),
  model: byteString(32),
  manifest: byteString(32),
  request: byteString(32),
  response: byteString(32),
  nonce: byteStringBetween(16, 64),
  sequence: z.int().min(0),
  time: z
    .int()
    .min(0)
    .max(2 ** 40),
});

/** Why a text ends. */
export const FINISHES = ['stop', 'length', 'cancelled', 'tool_calls'] as const;
const Payload = z.discriminatedUnion('v', [
  Common.extend({ v: z.literal(3), answers: z.enum(ANSWER_KINDS) }),
  Common.extend({
    v: z.literal(4),
    answers: z.literal('text'),
    commitment: z.literal('hash'),
    engine: z.strictObject({
      name: z.string().min(1).max(32),
      version: z.string().min(1).max(64),
      build: z.string().min(1).max(96),
    }),
    finish: z.enum(FINISHES),
    promptTokens: z.int().min(0),
    completionTokens: z.int().min(0),
  }),
]);

const Bundle = z.strictObject({
  v: z.literal(3),
  receipt: byteStringBetween(1, MAX_RECEIPT_BYTES),
  evidence: EvidenceDocument,
});

/** What a receipt says. Digests and the nonce are lower-case hex, the commitment is decimal. */
export interface ReceiptClaims {
  readonly enclave: string;
  readonly evidence: string;
  readonly policy: string;
  readonly modelCommitment: string;
  /** digest of the model's manifest */
  readonly manifest: string;
  readonly answers: AnswerKind | 'text';
  /** where the answer is text */
  readonly text?: TextClaims;
  readonly request: string;
  readonly response: string;
  readonly nonce: string;
  readonly sequence: number;
  readonly time: Date;
}

/** What a receipt says of an answer in text besides. */
export interface TextClaims {
  /** what computed, as it says of itself */
  readonly engine: { readonly name: string; readonly version: string; readonly build: string };
  readonly finish: (typeof FINISHES)[number];
  readonly promptTokens: number;
  readonly completionTokens: number;
}

export interface ReceiptBundle {
  /** COSE_Sign1 */
  readonly receipt: Uint8Array;
  readonly evidence: EvidenceDocument;
}

/** One side of an exchange, for its digest. */
export interface Salted {
  /** 32 bytes */
  readonly salt: Uint8Array;
  readonly body: Uint8Array;
}

/** Lower-case hex digest of a request's body under the client's request salt. */
export const requestDigest = (request: Salted): string => saltedDigest('vouch/v1/request', request);
/** Lower-case hex digest of an answer's body under the client's response salt. */
export const responseDigest = (response: Salted): string => saltedDigest('vouch/v1/response', response);

function saltedDigest(domain: string, { salt, body }: Salted): string {
  if (salt.length !== SALT_BYTES) throw new RangeError(`salt: expected ${SALT_BYTES} bytes`);
  return hex(hmacSha256(salt, concat(utf8(`${domain}\0`), body)));
}

/** The id of the receipt for a nonce (lower-case hex): 32 hex digits. */
export const receiptId = (enclave: string, nonce: string): string =>
  hex(sha256(utf8(`vouch/v1/receipt-id\0${enclave}\0`), fromHex(nonce, 'nonce')).subarray(0, 16));

/** Signs a receipt. The caller counts `sequence` and has checked that the nonce is new. */
export async function signReceipt(
  signer: Signer,
  claims: ReceiptClaims,
): Promise<{ id: string; receipt: Uint8Array }> {
  const id = receiptId(claims.enclave, claims.nonce);
  const payload = {
    id,
    enclave: claims.enclave,
    evidence: fromHex(claims.evidence, 'evidence digest', 32),
    policy: fromHex(claims.policy, 'policy digest', 32),
    model: fieldBytes(claims.modelCommitment),
    manifest: fromHex(claims.manifest, 'manifest digest', 32),
    answers: claims.answers,
    ...(claims.text ? { v: 4, commitment: 'hash', ...claims.text } : { v: 3 }),
    request: fromHex(claims.request, 'request digest', 32),
    response: fromHex(claims.response, 'response digest', 32),
    nonce: fromHex(claims.nonce, 'nonce'),
    sequence: claims.sequence,
    time: Math.floor(claims.time.getTime() / 1000),
  };
  return { id, receipt: await signStatement(signer, RECEIPT_TYPE, encodeCbor(Payload.parse(payload))) };
}

export const encodeReceiptBundle = ({ receipt, evidence }: ReceiptBundle): Uint8Array =>
  bundleOf(receipt, encodeCbor(EvidenceDocument.parse(evidence)));

/** The bundle of a receipt and of evidence whose encoding the caller has made before, of a checked document. */
export const bundleOf = (receipt: Uint8Array, evidence: Uint8Array): Uint8Array =>
  concat(BUNDLE_PREFIX, RECEIPT_NAME, encodeCbor(receipt), EVIDENCE_NAME, evidence);

/** The first bytes of every bundle: a map of three whose first member is `"v": 3`. */
const BUNDLE_PREFIX = encodeCbor({ v: 3 }).with(0, 0xa3);

/** Whether bytes begin like a bundle; says nothing about the rest. */
export const looksLikeReceipt = (bytes: Uint8Array): boolean =>
  equal(bytes.subarray(0, BUNDLE_PREFIX.length), BUNDLE_PREFIX);

const RECEIPT_NAME = encodeCbor('receipt');
const EVIDENCE_NAME = encodeCbor('evidence');

/** The evidence is frozen: receipts that carry the same have one copy. */
export interface DecodedBundle extends ReceiptBundle {
  readonly evidenceDigest: string;
}

/** Throws `too-large` or `bad-message`. Proves nothing: see `verifyReceipt`. */
export function decodeReceiptBundle(bytes: Uint8Array): DecodedBundle {
  const known = readAgain(bytes);
  if (known !== undefined) return known;
  const { receipt, evidence } = decodeCbor(bytes, {
    schema: Bundle,
    what: 'receipt bundle',
    maxBytes: MAX_BUNDLE_BYTES,
  });
  const digest = evidenceDigest(evidence);
  // Its encoding is the end of the bundle's, and has this digest, because there is one encoding.
  if (seen.size >= MAX_SEEN) seen.delete(seen.keys().next().value!);
  seen.set(digest, frozen(evidence));
  return { receipt, evidence, evidenceDigest: digest };
}

/**
 * Evidence that was decoded and checked before, by the digest of its very bytes: all receipts of a session carry the same,
 * and reading it takes longer than the rest of a receipt.
 */
const seen = new Map<string, EvidenceDocument>();
const MAX_SEEN = 64;

function readAgain(bytes: Uint8Array): DecodedBundle | undefined {
  const start = concat(BUNDLE_PREFIX, RECEIPT_NAME);
  if (bytes.length > MAX_BUNDLE_BYTES || !equal(bytes.subarray(0, start.length), start)) return undefined;
  // A receipt has from 256 to 2,048 bytes: the length is in the two bytes after 0x59.
  const at = start.length + 3;
  const [kind, high = 0, low = 0] = bytes.subarray(start.length);
  const length = (high << 8) | low;
  const end = at + length;
  if (kind !== 0x59 || length < 256 || length > MAX_RECEIPT_BYTES) return undefined;
  const evidenceAt = end + EVIDENCE_NAME.length;
  if (!equal(bytes.subarray(end, evidenceAt), EVIDENCE_NAME)) return undefined;
  const digest = sha256Hex(bytes.subarray(evidenceAt));
  const evidence = seen.get(digest);
  return evidence && { receipt: bytes.slice(at, end), evidence, evidenceDigest: digest };
}

/** Nobody changes what others read as well. */
function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null) Object.values(Object.freeze(value)).forEach(frozen);
  return value;
}

/** A bundle of which each layer is parsed once, on first use, and throws what is wrong with it. */
export interface ParsedReceipt {
  readonly bundle: Parsed<DecodedBundle>;
  /** of the statement, once the signature by the key in the evidence holds */
  readonly payload: Parsed<Uint8Array>;
  readonly claims: Parsed<ReceiptClaims & { readonly id: string }>;
}

/** For whoever reads a receipt before he verifies it. Never throws. */
export function parseReceipt(bytes: Uint8Array): ParsedReceipt {
  const bundle = parsedOnce(() => decodeReceiptBundle(bytes));
  const payload = parsedOnce(() => signedPayload(bundle().receipt, bundle().evidence));
  return { bundle, payload, claims: parsedOnce(() => decodeClaims(payload())) };
}

const parsedReceipt = (receipt: Uint8Array | ParsedReceipt): ParsedReceipt =>
  receipt instanceof Uint8Array ? parseReceipt(receipt) : receipt;

/**
 * What a bundle's receipt says, if its signature holds under the key in the bundle's evidence; undefined otherwise. Who
 * signed it, and whether that evidence is any good, only `verifyReceipt` tells.
 */
export function readReceipt(
  receipt: Uint8Array | ParsedReceipt,
): (ReceiptClaims & { readonly id: string }) | undefined {
  try {
    return parsedReceipt(receipt).claims();
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return undefined;
  }
}

/** Throws for a receipt that is not signed by the key in its evidence. */
function signedPayload(receipt: Uint8Array, { receiptKey }: EvidenceDocument): Uint8Array {
  if (receiptKey === null) throw new VouchError('receipt-rejected', 'the evidence binds no receipt key');
  const key = fromBase64url(receiptKey, 'evidence.receiptKey', 32);
  return verifyStatement(key, RECEIPT_TYPE, receipt, { maxPayloadBytes: MAX_PAYLOAD_BYTES });
}

/** The same ahead of time: see `verifyAhead`. What is wrong with it, `signedPayload` says. */
async function signatureAhead(receipt: Uint8Array, { receiptKey }: EvidenceDocument): Promise<void> {
  try {
    const key = fromBase64url(receiptKey ?? '', 'evidence.receiptKey', 32);
    await verifyAhead(key, RECEIPT_TYPE, receipt, { maxPayloadBytes: MAX_PAYLOAD_BYTES });
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
  }
}

export interface ReceiptQuestion {
  /** what the verifier demands of the evidence */
  readonly policy: Policy;
  /** the verifier's clock: chains and collateral are judged by it */
  readonly now: Date;
  /** for evidence of hardware */
  readonly collateral?: Collateral | undefined;
  /** see EvidenceQuestion */
  readonly roots?: VendorRoots | undefined;
  /**
   * The report by which this verifier accepted evidence under this policy earlier in the session. A receipt by the very
   * same document is then judged by it, because verifying hardware's evidence takes far longer than all the rest.
   */
  readonly accepted?: EvidenceReport | undefined;
  /** the model's manifest, of a vendor that the verifier knows: what it says counts where nothing else is given */
  readonly manifest?: VerifiedManifest | undefined;
  /** digest of the policy that the verifier demands for the model's key; default: the manifest's */
  readonly releasePolicy?: string | undefined;
  /** the nonce that was sealed into the request, lower-case hex */
  readonly nonce?: string | undefined;
  /** the nonce that the evidence was asked for with, lower-case hex */
  readonly evidenceNonce?: string | undefined;
  /** default: the manifest's, else the policy's */
  readonly modelCommitment?: string | undefined;
  readonly request?: Salted | undefined;
  readonly response?: Salted | undefined;
}

export interface ReceiptReport {
  readonly verdict: Verdict;
  /** the receipt's checks, then the evidence's */
  readonly checks: readonly Check[];
  /** present when the signature holds, whatever the verdict */
  readonly claims?: ReceiptClaims & { readonly id: string; readonly label: 'SIMULATED' | 'HARDWARE' };
  readonly evidence?: EvidenceReport;
}

const REQUIRED = [
  'receipt.bundle',
  'receipt.signature',
  'receipt.claims',
  'receipt.id',
  'receipt.evidence',
  'receipt.model-commitment',
  'receipt.enclave',
  'receipt.policy',
  'receipt.manifest',
  'receipt.answers',
  'receipt.time',
  'receipt.nonce',
  'receipt.request',
  'receipt.response',
] as const;

/**
 * Verifies a receipt bundle offline, with nothing but the bundle, a policy and, for hardware, collateral. The evidence
 * has to satisfy `policy` and to have been fresh when the receipt was signed. What the question leaves out (nonce, request, response) is shown as skipped and does
 * not count; a stranger without salts can still verify everything else. Never throws for what the bundle holds.
 */
export async function verifyReceipt(
  receipt: Uint8Array | ParsedReceipt,
  question: ReceiptQuestion,
): Promise<ReceiptReport> {
  const parsed = parsedReceipt(receipt);
  const list = createChecklist(REQUIRED);
  const { record } = list;
  const attempt = <T>(id: string, done: string, work: () => T): T | undefined => {
    try {
      const value = work();
      record(id, true, 'receipt-rejected', done);
      return value;
    } catch (error) {
      record(id, false, 'receipt-rejected', messageOf(error));
      return undefined;
    }
  };

  const bundle = attempt('receipt.bundle', 'a bundle of version 3', parsed.bundle);
  if (bundle === undefined) return list.result('');
  const { evidence: document } = bundle;
  const prefix = labelOf(document);

  await signatureAhead(bundle.receipt, document);
  const payload = attempt('receipt.signature', 'signed by the receipt key in the evidence', parsed.payload);
  if (payload === undefined) return list.result(prefix);
  const claims = attempt('receipt.claims', 'a receipt of a version that is known here', parsed.claims);
  if (claims === undefined) return list.result(prefix);

  const digest = bundle.evidenceDigest;
  const { accepted, manifest } = question;
  const expected = {
    policy: question.releasePolicy ?? manifest?.manifest.policy,
    commitment: question.modelCommitment ?? manifest?.manifest.commitment ?? question.policy.commitment,
  };
  const evidence =
    accepted?.verdict === 'accept' && accepted.digest === digest
      ? stillFresh(accepted, question.policy, claims.time)
      : await verifyDocument(document, {
          policy: question.policy,
          nonce: question.evidenceNonce,
          modelCommitment: expected.commitment,
          now: question.now,
          usedAt: claims.time,
          collateral: question.collateral,
          roots: question.roots,
        });
  /** Compares what the receipt says with what it does not say itself; without that there is nothing to compare. */
  const compare = (id: string, what: string, got: string, other: string, value: string | undefined) => {
    if (value === undefined) return list.omit(id, `not compared: ${other} is not known here`);
    const agrees = equal(utf8(got), utf8(value));
    record(id, agrees, 'receipt-rejected', `${what} ${agrees ? 'agrees with' : 'differs from'} ${other}`);
  };
  const { id, enclave, nonce } = claims;
  compare('receipt.id', 'the id', id, 'the one that enclave and nonce give', receiptId(enclave, nonce));
  compare('receipt.evidence', 'the digest', claims.evidence, 'that of the evidence beside it', digest);
  compare('receipt.enclave', 'the enclave', enclave, "the evidence's", document.enclave);
  const signed = "the vendor's manifest";
  const demanded = question.releasePolicy === undefined ? signed : 'the policy that was demanded';
  compare('receipt.policy', "the key's release policy", claims.policy, demanded, expected.policy);
  compare('receipt.manifest', "the manifest's digest", claims.manifest, signed, manifest?.digest);
  const kind = manifest?.manifest.terms.answers;
  compare('receipt.answers', `what the answer holds (${claims.answers})`, claims.answers, signed, kind);
  const sealed = 'the one that was sealed into the request';
  compare('receipt.nonce', 'the nonce', nonce, sealed, question.nonce);
  const request = question.request && requestDigest(question.request);
  compare('receipt.request', 'the digest', claims.request, 'that of the request and its salt', request);
  const response = question.response && responseDigest(question.response);
  compare('receipt.response', 'the digest', claims.response, 'that of the answer and its salt', response);
  const known = expected.commitment;
  record(
    'receipt.model-commitment',
    claims.modelCommitment === document.modelCommitment &&
      (known === undefined || claims.modelCommitment === known),
    'commitment-mismatch',
    `the model commitment${claims.text ? ', a hash of the weights,' : ''} is compared with the evidence's${known === undefined ? '' : ' and with the expected one'}`,
  );
  // Written so that an invalid date (NaN) fails.
  const ahead = (claims.time.getTime() - question.now.getTime()) / 1000;
  record(
    'receipt.time',
    ahead <= CLOCK_SKEW_SECONDS,
    'receipt-rejected',
    `signed ${claims.time.toISOString()}`,
  );

  const result = list.result(prefix);
  return {
    verdict: result.verdict === 'accept' && evidence.verdict === 'accept' ? 'accept' : 'reject',
    checks: [...result.checks, ...evidence.checks],
    claims: { ...claims, label: isHardware(document) ? 'HARDWARE' : 'SIMULATED' },
    evidence,
  };
}

function decodeClaims(bytes: Uint8Array): ReceiptClaims & { id: string } {
  const payload = decodeCbor(bytes, { schema: Payload, what: 'receipt', maxBytes: MAX_PAYLOAD_BYTES });
  const text = payload.v === 4 ? textClaims(payload) : undefined;
  return {
    id: payload.id,
    enclave: payload.enclave,
    evidence: hex(payload.evidence),
    policy: hex(payload.policy),
    modelCommitment: fieldFromBytes(payload.model),
    manifest: hex(payload.manifest),
    answers: payload.answers,
    ...(text ? { text } : {}),
    request: hex(payload.request),
    response: hex(payload.response),
    nonce: hex(payload.nonce),
    sequence: payload.sequence,
    time: new Date(payload.time * 1000),
  };
}

const textClaims = ({ engine, finish, promptTokens, completionTokens }: TextClaims): TextClaims => ({
  engine,
  finish,
  promptTokens,
  completionTokens,
});
