/**
 * One private inference. On the wire both directions are bulk messages whose payload is sealed
 * (protocols/sealing.ts); `InferencePlaintext` and `AnswerPlaintext` are what is inside the seal, as JSON.
 */
import { z } from 'zod';
import { Digest, Id, messageType, Nonce } from './envelope.ts';
import { WireError } from './errors.ts';

export const MAX_SEALED_REQUEST_BYTES = 256 * 1024;

export const InferRequest = messageType('infer.request', 1, z.object({ enclave: Id }));
export const InferReply = messageType('infer.reply', 1, z.object({ enclave: Id }));

const Salt = z.string().regex(/^[0-9a-f]{64}$/, 'expected 32 bytes as lower-case hex');

export const InferencePlaintext = z.strictObject({
  version: z.literal(1),
  /** client-chosen, 32 bytes; the receipt repeats it */
  nonce: Nonce,
  /** SHA-256 of the evidence that the client accepted; the receipt will carry it */
  evidence: Digest,
  requestSalt: Salt,
  responseSalt: Salt,
  /** one application: its cells in the order of the model's public preprocessing */
  row: z.array(z.string().max(256)).min(1).max(4096),
});
export type InferencePlaintext = z.infer<typeof InferencePlaintext>;

export const AnswerPlaintext = z.object({
  version: z.literal(1),
  /** index of the class, and its public name */
  decision: z.int().min(0),
  label: z.string().max(64),
  /** the integer logits, as decided on */
  logits: z.array(z.int()),
  /** where the graph ran: `webgpu` or `wasm` */
  provider: z.string().max(40),
  /** microseconds the graph itself took */
  modelMicros: z.number().min(0),
  receiptId: Id,
  /** SHA-256 of the receipt bundle, which `receipt.<model>.<id>` holds */
  receiptDigest: Digest,
  /** base64url of the receipt bundle */
  receipt: z.string().max(64 * 1024),
});
/** Instead of an answer, when the request was opened but could not be served. */
export const SealedError = z.object({ version: z.literal(1), error: WireError });
export type AnswerPlaintext = z.infer<typeof AnswerPlaintext>;

/** The bytes that the request digest of a receipt covers: the row alone, as canonical JSON. */
export const requestBytes = (row: readonly string[]): Uint8Array =>
  new TextEncoder().encode(JSON.stringify(row));
/** The bytes that the response digest of a receipt covers. */
export const responseBytes = (answer: {
  decision: number;
  label: string;
  logits: readonly number[];
}): Uint8Array => new TextEncoder().encode(JSON.stringify([answer.decision, answer.label, answer.logits]));
