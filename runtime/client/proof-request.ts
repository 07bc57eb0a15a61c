/**
 * Asking for a proof, waiting for it, taking the request back. What comes back is compared with the question before
 * anything else is done with it. Progress is what NATS says: it may shorten or lengthen the waiting, and proves nothing.
 */
import { base64url, canonicalJson, fromHex, hex, randomBytes, sha256Hex } from '../../protocols/encoding.ts';
import { decodeMessage, encodeMessage, freshNonce, RemoteError } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import {
  jobOf,
  ProofCancel,
  ProofCancelled,
  ProofProgress,
  type ProofRecord,
  ProofRequest,
  PublishedProof,
  type SealedRow,
  type Statement,
} from '../../protocols/proof.ts';
import { signedRequest } from '../../protocols/requester.ts';
import { STREAMS } from '../../protocols/streams.ts';
import { subjects } from '../../protocols/subjects.ts';
import type { Bus } from '../nats/bus.ts';
import { retry } from '../nats/retry.ts';
import { ask } from '../nats/service.ts';

/** What was asked for: what comes back is compared with it before anything else. */
export interface AskedProof {
  readonly job: string;
  readonly nonce: string;
  readonly statement: Statement;
}

/** A question that nobody has asked before. */
export function questionOf(statement: Statement): AskedProof {
  const nonce = freshNonce();
  return { job: jobOf(nonce, statement), nonce, statement };
}

/** Throws `proof-rejected` for the record of a proof that answers another question, whatever it proves. */
export function demandAnswer(record: ProofRecord, asked: AskedProof): void {
  const fieldsOf = ({ job, nonce, statement }: AskedProof): Record<string, unknown> => ({
    ...statement,
    job,
    nonce,
  });
  const [got, wanted] = [fieldsOf(record), fieldsOf(asked)];
  if (canonicalJson(got) === canonicalJson(wanted)) return;
  const differing = Object.keys({ ...wanted, ...got }).filter((name) => got[name] !== wanted[name]);
  throw new VouchError(
    'proof-rejected',
    `job ${asked.job}: what came back answers another question: ${differing
      .map((name) => `${name} ${got[name]} instead of ${wanted[name]}`)
      .join(', ')}`,
  );
}

/** What takes a request for a proof back. `secret`: 32 bytes, hex. */
export interface ProofTicket {
  readonly job: string;
  readonly secret: string;
}

export interface ProofWait {
  readonly onProgress?: (progress: ProofProgress) => void;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface ProofDemand extends ProofWait {
  /**
   * Stores again what the statement names, on a server that has come back without its data. The request is then sent again;
   * without this it is not.
   */
  readonly storeAgain?: () => Promise<unknown>;
  /** How long a server that has come back is given to be set up again; default: two minutes. */
  readonly againMs?: number;
  /** Rows for a statement that hides its row, sealed for the request on this subject. */
  readonly sealRows?: ((subject: string) => Promise<SealedRow[]>) | undefined;
  /** Called with the ticket before the request is sent. */
  readonly onTicket?: (ticket: ProofTicket) => unknown;
}

/**
 * Asks for a proof under a new job id and waits for it. The request is durable: it survives a coordinator's crash. Who
 * stops waiting by `signal` takes the request back. What comes back is about the very statement that was asked for;
 * nothing else of it is checked yet.
 */
export async function requestProof(
  bus: Bus,
  source: string,
  statement: Statement,
  wait: ProofDemand = {},
): Promise<PublishedProof> {
  const asked = questionOf(statement);
  const { job } = asked;
  const ticket = { job, secret: hex(randomBytes(32)) };
  await wait.onTicket?.(ticket);
  const subject = subjects.proofRequest(statement.statement, bus.id, job);
  const sealedRows = await wait.sealRows?.(subject);
  const over = new AbortController();
  const signal = wait.signal ? AbortSignal.any([wait.signal, over.signal]) : over.signal;
  const done = awaitProof(bus, asked, { ...wait, signal });
  // The request may fail first; the wait is then given up.
  done.catch(() => {});
  const body = signedBy(bus, {
    ...asked,
    ...(sealedRows ? { sealedRows } : {}),
    cancel: sha256Hex(fromHex(ticket.secret, 'secret')),
  });
  const send = () =>
    bus.append(subject, encodeMessage(ProofRequest, { subject, source, body }), { msgId: job });
  const lost = Promise.withResolvers<never>();
  lost.promise.catch(() => {});
  const unwatch = bus.onState((state) => {
    if (state === 'connected') void askAgain(bus, asked, send, { ...wait, signal }).catch(lost.reject);
  });
  try {
    await send();
    return await Promise.race([done, lost.promise]);
  } catch (error) {
    if (wait.signal?.aborted) await cancelProof(bus, source, ticket).catch(() => false);
    throw error;
  } finally {
    unwatch();
    over.abort();
  }
}

const AGAIN_MS = 2 * 60_000;

/**
 * After a connection was lost: sees whether the server still has what this client has stored there. If it has not, it has
 * not got the request either, and both are stored again. Throws `not-ready` when that cannot be, by whom it could be mended.
 */
async function askAgain(
  bus: Bus,
  { job, statement }: AskedProof,
  send: () => Promise<unknown>,
  { storeAgain, signal, againMs: forMs = AGAIN_MS }: ProofDemand,
): Promise<void> {
  if (!storeAgain || !(await isGone(bus, subjects.key(bus.id, statement.key)))) return;
  try {
    await retry(async () => storeAgain(), { forMs, signal });
    await retry(send, { forMs, signal });
  } catch (error) {
    // Lost once more while it was looked at: the next connection looks again.
    if (error instanceof VouchError && error.code === 'nats-unreachable') return;
    throw new VouchError(
      'not-ready',
      `job ${job}: NATS has come back without its data, and does not take the request again (${messageOf(error)}); whoever runs it makes its streams with: vouch provision`,
      { cause: error },
    );
  }
}

/** A request under the name of whoever this connection belongs to. Throws `nats-credentials`. */
export function signedBy(bus: Bus, request: Omit<ProofRequest, 'requester'>): ProofRequest {
  const { jwt, signature } = bus.sign(signedRequest(request));
  return { ...request, requester: { jwt, signature: base64url(signature) } };
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
    if (body.job !== ticket.job)
      throw new VouchError('bad-message', `proof.cancelled: expected job ${ticket.job}, got another`);
    return true;
  } catch (error) {
    if (!(error instanceof VouchError && error.code === 'timeout')) throw error;
  }
  // Silence means that nobody works on it: it waits, or it is over.
  if (await bus.getLast(STREAMS.proofs.name, subjects.proof(bus.id, ticket.job)))
    throw new VouchError('conflict', `job ${ticket.job}: its proof is published, which cannot be taken back`);
  return false;
}

/** Whether a key of ours is certainly not there any more; who cannot tell goes on waiting. */
async function isGone(bus: Bus, key: string): Promise<boolean> {
  try {
    return (await bus.getLast(STREAMS.keys.name, key)) === undefined;
  } catch (error) {
    // No stream answers: it is gone as a whole.
    return error instanceof VouchError && error.code === 'no-responder';
  }
}

/**
 * Waits for the proof that answers a question. Throws the coordinator's coded error when the job failed,
 * `proof-rejected` for an answer to another question, `timeout`, `cancelled`.
 */
export async function awaitProof(
  bus: Bus,
  asked: AskedProof,
  { onProgress, timeoutMs = 15 * 60_000, signal }: ProofWait = {},
): Promise<PublishedProof> {
  const { job } = asked;
  const subject = subjects.proof(bus.id, job);
  const { promise, resolve, reject } = Promise.withResolvers<PublishedProof>();
  let latest = 0;
  const progress = bus.subscribe(subjects.progress(bus.id, job), async (received) => {
    const { body, epoch = latest } = decodeMessage(ProofProgress, received.subject, received.data);
    // A coordinator that has lost the job to another speaks under an older epoch. (Epochs begin anew on a server without data.)
    if (body.job !== job || epoch < latest) return;
    latest = epoch;
    onProgress?.(body);
    if (body.phase === 'published' || body.error) await look();
    // Nobody signs progress: whoever carries it can say that a job has failed.
    if (body.error) {
      const message = `${body.error.message.slice(0, 800)} (so NATS says; a failure is not signed)`;
      reject(new RemoteError({ ...body.error, message, errorId: job, retryable: false }));
    }
  });
  const look = async () => {
    const stored = await bus.getLast(STREAMS.proofs.name, subject).catch(() => undefined);
    if (stored === undefined) return;
    try {
      const { body } = decodeMessage(PublishedProof, subject, stored.data);
      demandAnswer(body.record, asked);
      resolve(body);
    } catch (error) {
      // The subject takes one message, so nothing better will come.
      reject(error);
    }
  };
  const unwatch = bus.onState(() => {
    latest = 0;
  });
  // Progress is lossy: the stream is what counts, so it is looked at as well.
  const timer = setInterval(() => void look(), 2_000);
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
    unwatch();
    clearInterval(timer);
    clearTimeout(late);
    signal?.removeEventListener('abort', abort);
    progress.unsubscribe();
  }
}
