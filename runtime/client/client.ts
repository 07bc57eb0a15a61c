/**
 * What a client of Vouch does: verify a service's evidence, seal a request, open and check the answer, ask for a
 * proof and check it. Everything it relies on it verifies itself; NATS only carries.
 */
import type { EvidenceDocument } from '../../protocols/attestation/document.ts';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { demandAccepted, type EvidenceReport, verifyEvidence } from '../../protocols/attestation/verify.ts';
import { encodeCbor } from '../../protocols/cbor.ts';
import { EvidenceReply, EvidenceRequest } from '../../protocols/enclave.ts';
import { fromBase64url, fromUtf8, hex, randomBytes, utf8 } from '../../protocols/encoding.ts';
import {
  decodeHeader,
  decodeMessage,
  ENVELOPE_HEADER,
  ErrorReply,
  encodeHeader,
  freshNonce,
  parse,
  RemoteError,
} from '../../protocols/envelope.ts';
import { VouchError } from '../../protocols/errors.ts';
import {
  AnswerPlaintext,
  type InferencePlaintext,
  InferReply,
  InferRequest,
  requestBytes,
  responseBytes,
  SealedError,
} from '../../protocols/inference.ts';
import type { ModelManifest, VerifiedManifest } from '../../protocols/manifest.ts';
import type { PublishedProof } from '../../protocols/proof.ts';
import {
  bundleOf,
  type ReceiptQuestion,
  type ReceiptReport,
  verifyReceipt,
} from '../../protocols/receipt.ts';
import { SEALING_INFO } from '../../protocols/sealing.ts';
import { subjects } from '../../protocols/subjects.ts';
import { collateralFor } from '../attest/collateral.ts';
import { readManifest } from '../models/manifests.ts';
import type { Bus } from '../nats/bus.ts';
import { ask } from '../nats/service.ts';
import { verifyWithSnarkjs } from '../prove/snarkjs.ts';
import { type ProofQuestion, type ProofReport, verifyPublished } from '../verdict/published-proof.ts';
import { demandPinned } from '../verdict/vendor.ts';
import { demandConsistent } from './answer.ts';
import { createNonces, type Nonces } from './nonces.ts';
import { createSealer, type Sealer } from './sealer.ts';

/** A service whose evidence was verified; good for as long as the policy says. */
export interface VerifiedService {
  readonly manifest: ModelManifest;
  /** the same as its vendor signed it */
  readonly published: VerifiedManifest;
  readonly document: EvidenceDocument;
  readonly nonce: string;
  readonly report: EvidenceReport;
  /** evidence digest of the document */
  readonly digest: string;
  /** what has that digest */
  readonly evidence: Uint8Array;
  /** by the suite that the policy names */
  readonly sealingKey: Uint8Array;
  /** for requests for rows */
  readonly nonces: Nonces;
  readonly sealer: Sealer;
}

/**
 * Asks for evidence with a fresh nonce and verifies it. `published`: the manifest, where the caller has it; the policy's
 * pins hold for it in any case. Throws `evidence-rejected`, `policy-rejected`, `signature-rejected`, ...
 */
export async function verifyService(
  bus: Bus,
  source: string,
  model: string,
  policy: Policy,
  published?: VerifiedManifest,
): Promise<VerifiedService> {
  published ??= await readManifest(bus, model);
  demandPinned(published, { policy });
  const { manifest } = published;
  const nonce = freshNonce();
  const { body } = await ask(bus, [EvidenceRequest, EvidenceReply], {
    subject: subjects.evidence(model, bus.id),
    source,
    body: { nonce },
  }).catch((error: unknown) => {
    if (!(error instanceof VouchError) || error.code !== 'no-responder') throw error;
    throw new VouchError(
      'no-responder',
      `model ${model}: it is published, but nobody serves it now; start one: vouch start enclave gpu runner --model ${model}`,
    );
  });
  const report = await verifyEvidence({
    document: body.document,
    policy,
    nonce,
    modelCommitment: manifest.commitment,
    now: new Date(),
    collateral: collateralFor(policy),
  });
  demandClock(report);
  demandAccepted(report);
  return {
    manifest,
    published,
    document: body.document,
    nonce,
    report,
    digest: report.digest!,
    evidence: encodeCbor(body.document),
    sealingKey: report.sealingKey!,
    nonces: createNonces(),
    sealer: createSealer(report.sealingKey!, SEALING_INFO.infer),
  };
}

/** Evidence over our own nonce was made just now: where its age says otherwise, a clock is wrong. */
function demandClock({ checks, claims }: EvidenceReport): void {
  const statusOf = (id: string) => checks.find((check) => check.id === id)?.status;
  if (statusOf('evidence.fresh') !== 'fail' || statusOf('binding.nonce') !== 'pass' || !claims) return;
  const ahead = Math.round((Date.now() - claims.issuedAt.getTime()) / 1000);
  throw new VouchError(
    'evidence-rejected',
    `evidence rejected: evidence.fresh: your clock is ${Math.abs(ahead)} s ${ahead > 0 ? 'ahead of' : 'behind'} the enclave's, which made this evidence just now; set the one that is wrong`,
  );
}

export interface Inference {
  readonly answer: AnswerPlaintext;
  /** the receipt bundle, as stored */
  readonly bundle: Uint8Array;
  readonly receipt: ReceiptReport;
  /** what the receipt's digests are keyed with; whoever keeps them can show what was asked and answered */
  readonly salts: { readonly request: string; readonly response: string };
  readonly nonce: string;
  /** what the evidence was asked for with */
  readonly evidenceNonce: string;
  /** the sealed bytes that went out, to show that a replay is refused */
  readonly sealed: Uint8Array;
}

/** Seals one application, and returns the answer once its receipt is verified. Throws what the runner says, or `receipt-rejected`. */
export const infer = (
  bus: Bus,
  source: string,
  service: VerifiedService,
  policy: Policy,
  row: readonly string[],
  options: { timeoutMs?: number } = {},
): Promise<Inference> =>
  service.nonces.use(async (nonce) => {
    const { manifest, document } = service;
    const subject = subjects.infer(manifest.name, document.enclave, bus.id);
    const [requestSalt, responseSalt] = [randomBytes(32), randomBytes(32)];
    const plaintext: InferencePlaintext = {
      version: 2,
      nonce,
      evidence: service.digest,
      requestSalt: hex(requestSalt),
      responseSalt: hex(responseSalt),
      row: [...row],
    };
    const text = utf8(JSON.stringify(plaintext));
    const { sealed, openReply } = await service.sealer.seal(text, utf8(subject));
    const replied = sendSealed(bus, source, service, sealed, options);
    service.sealer.prepare();
    const reply = await replied;
    const opened: unknown = JSON.parse(fromUtf8(await openReply(reply), 'answer'));
    if (typeof opened === 'object' && opened !== null && 'error' in opened)
      throw new RemoteError(parse(SealedError, opened, 'answer').error);
    const answer = parse(AnswerPlaintext, opened, 'answer');
    if (answer.version !== 3)
      throw new VouchError('bad-message', `answer.version: expected 3, got ${answer.version}`);
    // The evidence is that which this client verified, whatever the runner has.
    const bundle = bundleOf(fromBase64url(answer.receipt, 'receipt'), service.evidence);
    const receipt = await verifiedReceipt(bundle, service, policy, {
      nonce,
      request: { salt: requestSalt, body: requestBytes(row) },
      response: { salt: responseSalt, body: responseBytes(answer) },
    });
    demandConsistent(answer, manifest, receipt);
    return {
      answer,
      bundle,
      receipt,
      salts: { request: hex(requestSalt), response: hex(responseSalt) },
      nonce,
      evidenceNonce: service.nonce,
      sealed,
    };
  });

/** The report on a receipt of this service over what was asked and answered. Throws what `demandAccepted` does. */
export async function verifiedReceipt(
  bundle: Uint8Array,
  service: VerifiedService,
  policy: Policy,
  own: Required<Pick<ReceiptQuestion, 'nonce' | 'request' | 'response'>>,
): Promise<ReceiptReport> {
  const report = await verifyReceipt(bundle, {
    policy,
    now: new Date(),
    accepted: service.report,
    manifest: service.published,
    evidenceNonce: service.nonce,
    ...own,
  });
  demandAccepted(report, 'receipt');
  return report;
}

/** Sends sealed bytes to the service's enclave and returns the sealed reply; throws the coded error of a refusal. */
export async function sendSealed(
  bus: Bus,
  source: string,
  { manifest, document }: VerifiedService,
  sealed: Uint8Array,
  { timeoutMs = 30_000 }: { timeoutMs?: number } = {},
): Promise<Uint8Array> {
  const subject = subjects.infer(manifest.name, document.enclave, bus.id);
  const asked = { id: crypto.randomUUID(), subject };
  const { enclave } = document;
  const header = encodeHeader(InferRequest, { ...asked, source, body: { enclave } });
  const reply = await bus.request(subject, sealed, { headers: { [ENVELOPE_HEADER]: header }, timeoutMs });
  const text = reply.headers[ENVELOPE_HEADER];
  if (text === undefined) throw new RemoteError(decodeMessage(ErrorReply, asked, reply.data).body);
  if (decodeHeader(InferReply, asked, text).body.enclave !== enclave)
    throw new VouchError('bad-message', 'infer.reply: it is of another enclave');
  return reply.data;
}

/**
 * `verifyPublished` as this installation asks it: with its own folder of collateral, snarkjs beside it, and this moment for
 * the clock.
 */
export const verifyProof = (
  published: PublishedProof,
  question: Pick<ProofQuestion, 'policy' | 'modelCommitment' | 'job'>,
): Promise<ProofReport> =>
  verifyPublished(published, {
    ...question,
    now: new Date(),
    collateral: collateralFor(question.policy),
    second: verifyWithSnarkjs,
  });
