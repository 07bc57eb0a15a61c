/**
 * One answer in text. The request is a bulk message whose payload is sealed (sealing.ts); the answer is a sealed stream
 * (sealed-stream.ts), a bulk message for each frame, to the request's inbox. `ChatPlaintext` and `ChatFrame` are what is
 * inside, as JSON.
 *
 * Flow control: frames with text are numbered from 1, and the runner sends none beyond what the client has granted:
 * `credit` of the request, then the largest `upTo` of its `chat.credit` messages. Each such message also says that the client
 * is there: a runner that hears none for LEASE_MS cancels. Frames without text (keep-alives) and the last one need no credit.
 *
 * Not guaranteed: that a cancellation or a credit is the client's own. NATS' rights say so; whoever runs the server could
 * stop a stream in any case, and the receipt then says that it was cancelled.
 */
import { z } from 'zod';
import { canonicalJson, utf8 } from './encoding.ts';
import { base64Text, Digest, Id, messageType, Nonce } from './envelope.ts';
import { FINISHES, MAX_BUNDLE_BYTES } from './receipt.ts';
import { FRAME_BLOCKS } from './sealed-stream.ts';
import { WireError } from './wire-error.ts';

/** A request with its seal. */
export const MAX_SEALED_CHAT_BYTES = 1024 * 1024;
/** Frames with text that a client may grant ahead. */
export const MAX_CREDIT = 1024;
/** Of an answer, in UTF-8: more ends it as `length`. */
export const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
/** How long a runner goes on without a word of the client, and how often that has to say one. */
export const LEASE_MS = 15_000;
export const CREDIT_EVERY_MS = 3_000;
/** How long a client goes on without a frame, and how often a runner that has no text sends an empty one. */
export const SILENCE_MS = 30_000;
export const KEEP_ALIVE_MS = 5_000;

const Enclave = z.object({ enclave: Id.describe('the `<enclave>` of the subject') });
export const ChatRequest = messageType('chat.request', 1, Enclave);
export const ChatFrameReply = messageType('chat.frame', 1, Enclave);

const Stream = Id.describe('`id` of the request');
export const ChatCredit = messageType(
  'chat.credit',
  1,
  z.object({
    stream: Stream,
    upTo: z.int().min(0).describe('the last frame with text that may be sent, counted from 1'),
  }),
);
export const ChatCancel = messageType('chat.cancel', 1, z.object({ stream: Stream }));

const Salt = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'expected 32 bytes as lower-case hex')
  .meta({ title: 'salt' });

const Message = z.strictObject({
  role: z.enum(['system', 'developer', 'user', 'assistant', 'tool', 'prompt']),
  content: z.string(),
  name: z.string().max(64).optional(),
  tool_calls: z.json().optional().describe("as in OpenAI's API"),
  tool_call_id: z.string().max(256).optional(),
});

/** What is asked, as the request digest of a receipt covers it; so unknown fields are errors. */
export const TextQuestion = z.strictObject({
  messages: z.array(Message).min(1).max(4096),
  maxTokens: z.int().min(1).max(1_000_000),
  temperature: z.number().min(0).max(2),
  topP: z.number().gt(0).max(1),
  seed: z.int().min(0).optional(),
  stop: z.array(z.string().min(1).max(256)).max(16).optional(),
  tools: z.json().optional().describe("as in OpenAI's API"),
  responseFormat: z.json().optional().describe("`response_format` of OpenAI's API"),
});
export type TextQuestion = z.infer<typeof TextQuestion>;

export const ChatPlaintext = z.strictObject({
  version: z.literal(1),
  nonce: Nonce.describe('random, of the client, 32 bytes, or 48 of a group; the receipt repeats it'),
  evidence: Digest.describe('SHA-256 of the evidence that the client accepted; the receipt carries it'),
  requestSalt: Salt.describe('random, of the client; keys the request digest'),
  responseSalt: Salt.describe('random, of the client; keys the response digest'),
  question: TextQuestion.describe('what is asked'),
  block: z.literal(FRAME_BLOCKS).describe('what contents of frames are padded to multiples of'),
  batchMs: z.int().min(0).max(1000).describe('text that comes within so many milliseconds is one frame'),
  credit: z.int().min(1).max(MAX_CREDIT).describe('frames with text that may be sent before more is granted'),
});
export type ChatPlaintext = z.infer<typeof ChatPlaintext>;

export const ChatEnd = z.object({
  finish: z.enum(FINISHES).describe('why the text ends'),
  promptTokens: z.int().min(0),
  completionTokens: z.int().min(0),
  toolCalls: z.json().optional().describe("`tool_calls` of OpenAI's API"),
  receiptId: Id.describe('id of the receipt'),
  receiptDigest: Digest.describe('SHA-256 of the receipt bundle'),
  receipt: base64Text(MAX_BUNDLE_BYTES).describe('the receipt bundle'),
});
export type ChatEnd = z.infer<typeof ChatEnd>;

/** The content of a frame: text, nothing (a keep-alive), or, in the last one, the end or why there is none. */
export const ChatFrame = z.union([
  z.object({ end: ChatEnd }),
  z.object({ error: WireError }),
  z.object({ text: z.string(), tokens: z.int().min(0).describe('how many the text has') }),
  z.strictObject({}),
]);
export type ChatFrame = z.infer<typeof ChatFrame>;

/** The bytes that the request digest of a receipt covers. */
export const questionBytes = (question: TextQuestion): Uint8Array => utf8(canonicalJson(question));

/** What an answer holds. */
export interface AnswerText {
  readonly text: string;
  readonly toolCalls?: unknown;
}
/** The bytes that the response digest of a receipt covers: all text that was sent, and the calls of tools. */
export const answerBytes = ({ text, toolCalls }: AnswerText): Uint8Array =>
  utf8(canonicalJson(toolCalls === undefined ? [text] : [text, toolCalls]));
