/**
 * Vectors of texts as an answer in text, so that they travel sealed and are covered by a receipt like any other: a request of
 * prompts whose form is `{"type": "embedding"}` is answered by a line per prompt, base64url of its vector's float32, little-endian.
 */
import { base64url, fromBase64url } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { TextEnd, TextPiece, TextRequest } from './text-engine.ts';

/** `responseFormat` of such a request. */
export const EMBEDDING = { type: 'embedding' } as const;
const MAX_TEXTS = 256;

export interface Vectors {
  readonly vectors: readonly Float32Array[];
  /** tokens of all texts */
  readonly tokens: number;
}

export const embeddingRequest = (texts: readonly string[]): TextRequest => ({
  messages: texts.map((content) => ({ role: 'prompt', content })),
  maxTokens: 1,
  temperature: 0,
  topP: 1,
  responseFormat: EMBEDDING,
});

export const asksForEmbedding = ({ responseFormat }: TextRequest): boolean =>
  (responseFormat as { type?: unknown } | null | undefined)?.type === EMBEDDING.type;

/** Answers such a request. Throws `bad-input` for one with anything but 1 to 256 prompts. */
export async function* embeddingAnswer(
  { messages }: TextRequest,
  signal: AbortSignal,
  embed: (texts: readonly string[], signal: AbortSignal) => Promise<Vectors>,
): AsyncGenerator<TextPiece, TextEnd> {
  const other = messages.find(({ role }) => role !== 'prompt');
  if (other) throw new VouchError('bad-input', `embedding: expected texts, got a message of ${other.role}`);
  const texts = messages.map(({ content }) => content);
  if (texts.length < 1 || texts.length > MAX_TEXTS)
    throw new VouchError('bad-input', `input: expected 1 to ${MAX_TEXTS} texts, got ${texts.length}`);
  const { vectors, tokens } = await embed(texts, signal);
  for (const vector of vectors) {
    const { buffer, byteOffset, byteLength } = vector;
    yield { text: `${base64url(new Uint8Array(buffer, byteOffset, byteLength))}\n`, tokens: 0 };
  }
  return { finish: 'stop', promptTokens: tokens, completionTokens: 0 };
}

/** The vectors in an answer. Throws `bad-message`. */
export function vectorsIn(text: string, count: number): Float32Array[] {
  const lines = text.split('\n').slice(0, -1);
  const vectors = lines.map((line) => {
    const bytes = Uint8Array.from(fromBase64url(line, 'embedding'));
    if (bytes.length % 4 !== 0) throw new VouchError('bad-message', 'embedding: expected whole float32');
    return new Float32Array(bytes.buffer);
  });
  if (vectors.length !== count)
    throw new VouchError('bad-message', `embedding: expected ${count} vectors, got ${vectors.length}`);
  return vectors;
}
