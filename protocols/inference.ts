/**
 * One private inference. On the wire both directions are bulk messages whose payload is sealed
 * (protocols/sealing.ts); `InferencePlaintext` and `AnswerPlaintext` are what is inside the seal, as JSON.
 */
import { z } from 'zod';
import { base64Text, Digest, Id, messageType, Nonce } from './envelope.ts';
import { MAX_NUMBER } from './proof.ts';
import { MAX_BUNDLE_BYTES } from './receipt.ts';
import { ANSWER_KINDS } from './terms.ts';
import { WireError } from './wire-error.ts';

export const MAX_SEALED_REQUEST_BYTES = 256 * 1024;

const Enclave = z.object({ enclave: Id.describe('the `<enclave>` of the subject') });
export const InferRequest = messageType('infer.request', 1, Enclave);
export const InferReply = messageType('infer.reply', 1, Enclave);

const Salt = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'expected 32 bytes as lower-case hex')
  .meta({ title: 'salt' });

export const InferencePlaintext = z.strictObject({
  version: z.literal([1, 2]).describe('2: an answer of version 3 is asked for'),
  nonce: Nonce.describe('random, of the client, 32 bytes, or 48 of a group; the receipt repeats it'),
  evidence: Digest.describe('SHA-256 of the evidence that the client accepted; the receipt carries it'),
  requestSalt: Salt.describe('random, of the client; keys the request digest'),
  responseSalt: Salt.describe('random, of the client; keys the response digest'),
  row: z
    .array(z.string().max(256))
    .min(1)
    .max(4096)
    .describe("one application: its cells in the order of the model's public preprocessing"),
});
export type InferencePlaintext = z.infer<typeof InferencePlaintext>;

export const AnswerPlaintext = z
  .object({
    version: z.literal([2, 3]).describe('3: to a request of version 2'),
    answers: z.enum(ANSWER_KINDS).describe("what it holds, by the model's terms"),
    decision: z
      .int()
      .min(-MAX_NUMBER)
      .max(MAX_NUMBER)
      .describe('index of the class; a number, in steps of its label, where the model answers numbers'),
    label: z
      .string()
      .max(64)
      .describe('public name of the class, or the number in its own unit, as a decimal'),
    scores: z
      .array(z.int())
      .min(1)
      .max(1024)
      .optional()
      .describe(
        'one for each output; where `answers` is `exact` the integer logits, as decided on; where it is `rounded` each logit as whole percent of the range that the public architecture allows it; absent where it is `decision`',
      ),
    provider: z.string().max(40).describe('where the graph ran: `webgpu` or `wasm`'),
    modelMicros: z.int().min(0).describe('microseconds that the graph itself took'),
    receiptId: Id.describe('id of the receipt'),
    receiptDigest: Digest.describe('SHA-256 of the receipt bundle'),
    receipt: base64Text(MAX_BUNDLE_BYTES).describe(
      'the receipt bundle; in version 3 the receipt, of which the evidence that the client accepted makes the bundle',
    ),
  })
  .refine(({ answers, scores }) => (answers === 'decision') === (scores === undefined), {
    path: ['scores'],
    message: 'expected scores, unless answers are decisions',
  });
export type AnswerPlaintext = z.infer<typeof AnswerPlaintext>;
/** Instead of an answer, when the request was opened but could not be served. */
export const SealedError = z.object({
  version: z.literal(1),
  error: WireError.describe('why there is no answer'),
});

/** The bytes that the request digest of a receipt covers: the row alone, as canonical JSON. */
export const requestBytes = (row: readonly string[]): Uint8Array =>
  new TextEncoder().encode(JSON.stringify(row));
/** What a model says of one application: all of an answer that comes from it. */
export type Decided = Pick<AnswerPlaintext, 'decision' | 'label' | 'scores'>;
/** The bytes that the response digest of a receipt covers: what the answer holds of the model, and no more. */
export const responseBytes = ({ decision, label, scores }: Decided): Uint8Array =>
  new TextEncoder().encode(JSON.stringify([decision, label, ...(scores === undefined ? [] : [scores])]));
