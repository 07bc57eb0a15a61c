/**
 * What a client of Vouch does: verify a service's evidence, seal a request, open and check the answer, ask for a
 * proof and check it. Everything it relies on it verifies itself; NATS only carries.
 */
import { type VerificationKey, verify } from '../../circuits/groth16/verify.ts';
import type { EvidenceDocument } from '../../protocols/attestation/document.ts';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { demandAccepted, type EvidenceReport, verifyEvidence } from '../../protocols/attestation/verify.ts';
import { verifyStatement } from '../../protocols/cose.ts';
import { EvidenceReply, EvidenceRequest, type ModelManifest } from '../../protocols/enclave.ts';
import {
  canonicalJson,
  equal,
  fromBase64url,
  fromHex,
  fromUtf8,
  hex,
  randomBytes,
  sha256,
  sha256Hex,
  utf8,
} from '../../protocols/encoding.ts';
import {
  decodeHeader,
  decodeMessage,
  ENVELOPE_HEADER,
  ErrorReply,
  encodeHeader,
  encodeMessage,
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
import {
  PROOF_CONTENT_TYPE,
  ProofCancel,
  ProofCancelled,
  ProofProgress,
  ProofRequest,
  PublishedProof,
  type QualityStatement,
} from '../../protocols/proof.ts';
import { type ReceiptReport, verifyReceipt } from '../../protocols/receipt.ts';
import { SEALING_INFO, sealTo } from '../../protocols/sealing.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { subjects } from '../../protocols/subjects.ts';
import { collateralFor } from '../attest/collateral.ts';
import { freshNonce } from '../attest/identity.ts';
import { readManifest } from '../models/obtain.ts';
import type { Bus } from '../nats/bus.ts';
import { ask } from '../nats/service.ts';
import { verifyWithSnarkjs } from '../prove/snarkjs.ts';

/** A service whose evidence was verified; good for as long as the policy says. */
export interface VerifiedService {
  readonly manifest: ModelManifest;
  readonly document: EvidenceDocument;
  readonly nonce: string;
  readonly report: EvidenceReport;
  /** evidence digest of the document */
  readonly digest: string;
  /** by the suite that the policy names */
  readonly sealingKey: Uint8Array;
}

/** Asks for evidence with a fresh nonce and verifies it. Throws `evidence-rejected`, `policy-rejected`, ... */
export async function verifyService(
  bus: Bus,
  source: string,
  model: string,
  policy: Policy,
): Promise<VerifiedService> {
  const manifest = await readManifest(bus, model);
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
  demandAccepted(report);
  return {
    manifest,
    document: body.document,
    nonce,
    report,
    digest: report.digest!,
    sealingKey: report.sealingKey!,
  };
}

export interface Inference {
  readonly answer: AnswerPlaintext;
  /** the receipt bundle, as stored */
  readonly bundle: Uint8Array;
  readonly receipt: ReceiptReport;
  /** what the receipt's digests are keyed with; whoever keeps them can show what was asked and answered */
  readonly salts: { readonly request: string; readonly response: string };
  readonly nonce: string;
  /** the sealed bytes that went out, to show that a replay is refused */
  readonly sealed: Uint8Array;
}

/** Seals one application, and returns the answer once its receipt is verified. Throws what the runner says, or `receipt-rejected`. */
export async function infer(
  bus: Bus,
  source: string,
  service: VerifiedService,
  policy: Policy,
  row: readonly string[],
  options: { timeoutMs?: number } = {},
): Promise<Inference> {
  const { manifest, document } = service;
  const subject = subjects.infer(manifest.name, document.enclave, bus.id);
  const [requestSalt, responseSalt] = [randomBytes(32), randomBytes(32)];
  const nonce = freshNonce();
  const plaintext: InferencePlaintext = {
    version: 1,
    nonce,
    evidence: service.digest,
    requestSalt: hex(requestSalt),
    responseSalt: hex(responseSalt),
    row: [...row],
  };
  const { sealed, openReply } = await sealTo(service.sealingKey, utf8(JSON.stringify(plaintext)), {
    info: SEALING_INFO.infer,
    aad: utf8(subject),
  });
  const reply = await sendSealed(bus, source, service, sealed, options);
  const opened: unknown = JSON.parse(fromUtf8(await openReply(reply), 'answer'));
  const failed = SealedError.safeParse(opened);
  if (failed.success) throw new RemoteError(failed.data.error);
  const answer = parse(AnswerPlaintext, opened, 'answer');
  const bundle = fromBase64url(answer.receipt, 'receipt');
  const receipt = await verifyReceipt(bundle, {
    policy,
    now: new Date(),
    accepted: service.report,
    releasePolicy: manifest.policy,
    nonce,
    evidenceNonce: service.nonce,
    modelCommitment: manifest.commitment,
    request: { salt: requestSalt, body: requestBytes(row) },
    response: { salt: responseSalt, body: responseBytes(answer) },
  });
  demandAccepted(receipt, 'receipt');
  return {
    answer,
    bundle,
    receipt,
    salts: { request: hex(requestSalt), response: hex(responseSalt) },
    nonce,
    sealed,
  };
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
  const header = encodeHeader(InferRequest, { subject, source, body: { enclave: document.enclave } });
  const reply = await bus.request(subject, sealed, { headers: { [ENVELOPE_HEADER]: header }, timeoutMs });
  const text = reply.headers[ENVELOPE_HEADER];
  if (text === undefined) throw new RemoteError(decodeMessage(ErrorReply, null, reply.data).body);
  decodeHeader(InferReply, null, text);
  return reply.data;
}

/** What takes a request for a proof back. `secret`: 32 bytes, hex. */
export interface ProofTicket {
  readonly job: string;
  readonly secret: string;
}

export interface ProofWait {
  /** Called with the ticket before the request is sent. */
  readonly onTicket?: (ticket: ProofTicket) => unknown;
  readonly onProgress?: (progress: ProofProgress) => void;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * Asks for a proof under a new job id and waits for it. The request is durable: it survives a coordinator's crash. Who
 * stops waiting by `signal` takes the request back.
 */
export async function requestProof(
  bus: Bus,
  source: string,
  statement: QualityStatement,
  wait: ProofWait = {},
): Promise<PublishedProof> {
  const job = crypto.randomUUID();
  const ticket = { job, secret: hex(randomBytes(32)) };
  await wait.onTicket?.(ticket);
  const subject = subjects.proofRequest(statement.statement, bus.id, job);
  const done = awaitProof(bus, job, wait);
  // The request may fail first; the wait is then given up.
  done.catch(() => {});
  const body = { job, statement, cancel: sha256Hex(fromHex(ticket.secret, 'secret')) };
  await bus.append(subject, encodeMessage(ProofRequest, { subject, source, body }), { msgId: job });
  try {
    return await done;
  } catch (error) {
    if (wait.signal?.aborted) await cancelProof(bus, source, ticket).catch(() => false);
    throw error;
  }
}

/** How long the coordinator that works on a job has to answer. */
const CANCEL_MS = 2_000;

/**
 * Takes a request back. True when a coordinator has stopped working on it; false when nobody does now: if it still waits
 * it is dropped when its turn comes. Throws `bad-input` for a secret that is not the request's, `conflict` when the proof
 * is published or about to be.
 */
export async function cancelProof(bus: Bus, source: string, ticket: ProofTicket): Promise<boolean> {
  const subject = subjects.control('proof-job', ticket.job, 'cancel');
  try {
    const question = { subject, source, body: ticket, timeoutMs: CANCEL_MS };
    const { body } = await ask(bus, [ProofCancel, ProofCancelled], question);
    return body.job === ticket.job;
  } catch (error) {
    if (!(error instanceof VouchError && error.code === 'timeout')) throw error;
  }
  // Silence means that nobody works on it: it waits, or it is over.
  if (await bus.getLast(STREAMS.proofs.name, subjects.proof(bus.id, ticket.job)))
    throw new VouchError('conflict', `job ${ticket.job}: its proof is published, which cannot be taken back`);
  return false;
}

/** Waits for the proof of a job. Throws the coordinator's coded error when the job failed, `timeout`, `cancelled`. */
export async function awaitProof(
  bus: Bus,
  job: string,
  { onProgress, timeoutMs = 15 * 60_000, signal }: ProofWait = {},
): Promise<PublishedProof> {
  const subject = subjects.proof(bus.id, job);
  const { promise, resolve, reject } = Promise.withResolvers<PublishedProof>();
  const progress = bus.subscribe(subjects.progress(bus.id, job), (received) => {
    const { body } = decodeMessage(ProofProgress, received.subject, received.data);
    onProgress?.(body);
    if (body.error) reject(new RemoteError({ ...body.error, errorId: job, retryable: false }));
    if (body.phase === 'published') void look();
  });
  const look = async () => {
    const stored = await bus.getLast(STREAMS.proofs.name, subject);
    if (stored) resolve(decodeMessage(PublishedProof, subject, stored.data).body);
  };
  // Progress is lossy: the stream is what counts, so it is looked at as well.
  const timer = setInterval(() => void look().catch(() => {}), 2_000);
  const late = setTimeout(
    () =>
      reject(
        new VouchError(
          'timeout',
          `job ${job}: no proof within ${timeoutMs / 1000} s; it may still come, on ${subject}`,
        ),
      ),
    timeoutMs,
  );
  const abort = () => reject(new VouchError('cancelled', `job ${job}: no longer waited for`));
  signal?.addEventListener('abort', abort, { once: true });
  // It may have come while the caller was doing something else.
  if (signal?.aborted) abort();
  try {
    return await promise;
  } finally {
    clearInterval(timer);
    clearTimeout(late);
    signal?.removeEventListener('abort', abort);
    progress.unsubscribe();
  }
}

export interface ProofCheck {
  readonly id: string;
  readonly status: 'pass' | 'fail';
  readonly detail: string;
}

export interface ProofReport {
  readonly verified: boolean;
  readonly checks: readonly ProofCheck[];
}

/**
 * Checks a published proof offline: the pairing equation (by our verifier and by snarkjs), the public signals against the statement,
 * the maker's signature and evidence. Whether the key encodes the circuit is `keyLink`'s question, not this one's.
 */
export async function verifyProof(
  { record, signature, maker }: PublishedProof,
  { policy, modelCommitment }: { policy: Policy; modelCommitment?: string | undefined },
): Promise<ProofReport> {
  const checks: ProofCheck[] = [];
  const note = (id: string, passed: boolean, detail: string) =>
    checks.push({ id, status: passed ? 'pass' : 'fail', detail });
  const attempt = async (id: string, detail: string, check: () => boolean | Promise<boolean>) => {
    try {
      note(id, await check(), detail);
    } catch (error) {
      note(id, false, `${detail}: ${(error as Error).message}`);
    }
  };
  const { statement } = record;
  const bytes = utf8(canonicalJson(record));
  const key = record.verificationKey as unknown as VerificationKey;
  // Two verifiers, because each has faults of its own: ours looks at every point's curve and subgroup, snarkjs is old.
  await attempt('proof.groth16', 'the points are of their groups and the pairing equation holds', () =>
    verify(key, record.publicSignals, record.proof),
  );
  await attempt('proof.groth16-snarkjs', 'snarkjs says the same', () =>
    verifyWithSnarkjs(key, record.publicSignals, record.proof),
  );
  note(
    'proof.public-signals',
    canonicalJson(record.publicSignals) ===
      canonicalJson([statement.commitment, String(statement.threshold)]),
    `commitment and threshold ${statement.threshold} are the proof's public signals`,
  );
  note(
    'proof.threshold',
    statement.threshold <= statement.rows,
    `${statement.threshold} of ${statement.rows} rows`,
  );
  if (modelCommitment !== undefined) {
    note(
      'proof.model-commitment',
      statement.commitment === modelCommitment,
      'the commitment is the one that was expected',
    );
  }
  const evidence = await verifyEvidence({
    document: maker,
    policy,
    nonce: sha256Hex(bytes),
    modelCommitment: statement.commitment,
    now: new Date(),
    usedAt: new Date(record.time),
    collateral: collateralFor(policy),
  });
  note(
    'proof.maker-evidence',
    evidence.verdict === 'accept',
    evidence.checks.find(({ status }) => status === 'fail')?.detail ??
      `${evidence.claims?.label}: the maker's evidence satisfies the policy`,
  );
  await attempt('proof.maker-signature', 'the maker signed this very record', () =>
    equal(
      verifyStatement(
        fromBase64url(maker.receiptKey ?? '', 'maker key', 32),
        PROOF_CONTENT_TYPE,
        fromBase64url(signature, 'signature'),
        {
          maxPayloadBytes: 32,
        },
      ),
      sha256(bytes),
    ),
  );
  return { verified: checks.every(({ status }) => status === 'pass'), checks };
}
