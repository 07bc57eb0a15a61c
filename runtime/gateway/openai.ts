/**
 * OpenAI's API in front of models that answer in text. A stream gives text as it comes, before its receipt is there; it ends with a
 * reason and `[DONE]` only once the receipt over all of it was verified, and with an error otherwise: whoever
 * acts on a stream before its end acts on what nobody has signed yet.
 */
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ZodType } from 'zod';
import { VouchError } from '../../protocols/errors.ts';
import type { ChatReceipt, ChatStream } from '../client/chat.ts';
import { embeddingRequest, vectorsIn } from '../inference/embedding.ts';
import type { TextPiece, TextRequest } from '../inference/text-engine.ts';
import * as shapes from './openai-shapes.ts';

/** A comment goes out where nothing was said for so long, so that nobody on the way takes the connection for dead. */
const COMMENT_MS = 15_000;
/** A runner that is busy is asked again after so long, for so long. */
const BUSY_MS = 50;
const BUSY_TRIES = 20;

/** Who is asked: a client of Vouch. */
export interface ChatBackend {
  /** The models that answer in text. */
  models(): Promise<readonly { readonly name: string; readonly vendor: string }[]>;
  /** Throws `unknown-model`, and `bad-input` for a model that does not answer in text. */
  defaults(model: string): Promise<shapes.Defaults>;
  chat(options: {
    readonly model: string;
    readonly request: TextRequest;
    readonly signal: AbortSignal;
  }): ChatStream;
  /** Whether an error says that the service has changed since its evidence was verified; the next `chat` verifies anew. */
  changed(model: string, error: unknown): boolean;
  /** An answer whose receipt was verified. */
  answered(model: string, receipt: ChatReceipt): Promise<void>;
}

export interface OpenAiOptions {
  readonly backend: ChatBackend;
  /** Reads a body; throws `bad-input`. */
  readonly body: <T>(schema: ZodType<T>, request: FastifyRequest) => T;
  /** Holds a place among the requests in hand. Throws `busy`. */
  readonly admit: () => Disposable;
  /** The first piece of an answer came after so many seconds. */
  readonly begun: (model: string, seconds: number) => void;
  /** How an error is said to whoever asked, and its status. */
  readonly told: (error: unknown) => {
    readonly status: number;
    readonly code: string;
    readonly message: string;
  };
}

interface Begun {
  readonly stream: ChatStream;
  readonly pieces: AsyncIterator<TextPiece>;
  /** already read, so that what is refused at once is an error of HTTP */
  readonly first: IteratorResult<TextPiece>;
}

/** How one kind of answer is said. */
interface Speech {
  readonly id: string;
  readonly object: 'chat.completion' | 'text_completion';
  choice(text: string, end?: ChatReceipt): Record<string, unknown>;
  delta(text: string, end?: ChatReceipt): Record<string, unknown>;
}

export function openAi({ backend, body, admit, begun, told }: OpenAiOptions) {
  async function begin(model: string, request: TextRequest, signal: AbortSignal): Promise<Begun> {
    const began = performance.now();
    let renewed = false;
    for (let tries = 1; ; tries++) {
      const stream = backend.chat({ model, request, signal });
      const pieces = stream[Symbol.asyncIterator]();
      try {
        const first = await pieces.next();
        begun(model, (performance.now() - began) / 1000);
        return { stream, pieces, first };
      } catch (error) {
        if (!renewed && backend.changed(model, error)) renewed = true;
        else if (error instanceof VouchError && error.code === 'busy' && tries < BUSY_TRIES)
          await sleep(BUSY_MS * tries);
        else throw error;
      }
    }
  }
  /** Aborted when whoever asked hangs up. */
  const hungUp = (reply: FastifyReply): AbortSignal => {
    const abort = new AbortController();
    reply.raw.once('close', () => abort.abort());
    // A model may think for longer than a connection may be idle.
    reply.raw.socket?.setTimeout(0);
    return abort.signal;
  };
  const finished = async (model: string, stream: ChatStream): Promise<ChatReceipt> => {
    const receipt = await stream.receipt;
    await backend.answered(model, receipt);
    if (receipt.end.finish === 'cancelled')
      throw new VouchError('cancelled', 'the answer was broken off; what came of it has a receipt');
    return receipt;
  };
  const created = () => Math.floor(Date.now() / 1000);

  async function whole(model: string, { stream, pieces, first }: Begun) {
    let text = '';
    for (let next = first; !next.done; next = await pieces.next()) text += next.value.text;
    return { text, receipt: await finished(model, stream) };
  }

  async function* events(
    model: string,
    { stream, pieces, first }: Begun,
    speech: Speech,
    includeUsage: boolean,
  ): AsyncGenerator<string> {
    const base = { id: speech.id, object: chunkOf(speech.object), created: created(), model };
    const event = (value: unknown) => `data: ${JSON.stringify(value)}\n\n`;
    const chunk = (choices: unknown[], rest: object = includeUsage ? { usage: null } : {}) =>
      event({ ...base, choices, ...rest });
    try {
      let next: Promise<IteratorResult<TextPiece>> = Promise.resolve(first);
      for (;;) {
        const piece = await orSilence(next);
        if (piece === undefined) {
          yield ': still there\n\n';
          continue;
        }
        if (piece.done) break;
        yield chunk([speech.delta(piece.value.text)]);
        next = pieces.next();
      }
      const receipt = await finished(model, stream);
      const vouch = vouchedFor(receipt);
      yield chunk([speech.delta('', receipt)], { ...(includeUsage ? { usage: null } : {}), vouch });
      if (includeUsage) yield chunk([], { usage: shapes.usageOf(receipt.end), vouch });
      yield 'data: [DONE]\n\n';
    } catch (error) {
      const { status, code, message } = told(error);
      yield event(shapes.failureOf(status, code, message));
    }
  }

  async function answer(
    reply: FastifyReply,
    model: string,
    request: TextRequest,
    streamed: { readonly usage: boolean } | undefined,
    speech: Speech,
  ) {
    const place = admit();
    let kept = false;
    try {
      const began = await begin(model, request, hungUp(reply));
      if (streamed) {
        const said = Readable.from(events(model, began, speech, streamed.usage), { objectMode: false });
        kept = true;
        // At its end, and also where whoever asked hung up before the first of it was read: he wants no more of it.
        said.once('close', () => {
          place[Symbol.dispose]();
          began.stream.cancel();
        });
        reply.type('text/event-stream; charset=utf-8').header('X-Accel-Buffering', 'no');
        return reply.send(said);
      }
      const { text, receipt } = await whole(model, began);
      return signed(reply, receipt).send({
        id: speech.id,
        object: speech.object,
        created: created(),
        model,
        choices: [speech.choice(text, receipt)],
        usage: shapes.usageOf(receipt.end),
        vouch: vouchedFor(receipt),
      });
    } finally {
      if (!kept) place[Symbol.dispose]();
    }
  }
  const streamedBy = ({
    stream,
    stream_options,
  }: Pick<shapes.ChatCompletionRequest, 'stream' | 'stream_options'>) =>
    stream === true ? { usage: stream_options?.include_usage === true } : undefined;

  return {
    async models() {
      const models = await backend.models();
      return {
        object: 'list',
        data: models.map(({ name, vendor }) => ({ id: name, object: 'model', created: 0, owned_by: vendor })),
      };
    },
    async chatCompletions(request: FastifyRequest, reply: FastifyReply) {
      const asked = body(shapes.ChatCompletionRequest, request);
      const made = shapes.textRequestOf(asked, await backend.defaults(asked.model));
      return answer(reply, asked.model, made, streamedBy(asked), chatSpeech());
    },
    async completions(request: FastifyRequest, reply: FastifyReply) {
      const asked = body(shapes.CompletionRequest, request);
      const made = shapes.promptRequestOf(asked, await backend.defaults(asked.model));
      return answer(reply, asked.model, made, streamedBy(asked), textSpeech());
    },
    async embeddings(request: FastifyRequest, reply: FastifyReply) {
      using _place = admit();
      const { model, input, encoding_format } = body(shapes.EmbeddingsRequest, request);
      await backend.defaults(model);
      const texts = [input].flat();
      const began = await begin(model, embeddingRequest(texts), hungUp(reply));
      const { text, receipt } = await whole(model, began);
      const vectors = vectorsIn(text, texts.length);
      const { promptTokens } = receipt.end;
      return signed(reply, receipt).send({
        object: 'list',
        model,
        data: vectors.map((vector, index) => ({
          object: 'embedding',
          index,
          embedding:
            encoding_format === 'base64' ? Buffer.from(vector.buffer).toString('base64') : [...vector],
        })),
        usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
        vouch: vouchedFor(receipt),
      });
    },
  };
}

/** The next piece, or undefined where it takes long; then the same is to be waited for again. */
async function orSilence<T>(next: Promise<T>): Promise<T | undefined> {
  const enough = new AbortController();
  try {
    return await Promise.race([
      next,
      sleep(COMMENT_MS, undefined, { signal: enough.signal, ref: false }).catch(() => undefined),
    ]);
  } finally {
    enough.abort();
  }
}

const chunkOf = (object: Speech['object']): string =>
  object === 'chat.completion' ? 'chat.completion.chunk' : object;

const vouchedFor = ({ end, report }: ChatReceipt): shapes.Vouched => ({
  receipt: end.receiptId,
  verdict: report.verdict,
  evidence: report.claims?.label ?? '',
});

function signed(reply: FastifyReply, receipt: ChatReceipt): FastifyReply {
  const { receipt: id, verdict, evidence } = vouchedFor(receipt);
  return reply.headers({ 'Vouch-Receipt': id, 'Vouch-Verdict': verdict, 'Vouch-Evidence': evidence });
}

const reasonOf = (end: ChatReceipt | undefined): string | null => end?.end.finish ?? null;

function chatSpeech(): Speech {
  let opened = false;
  const callsOf = (end: ChatReceipt | undefined) =>
    Array.isArray(end?.end.toolCalls) ? (end.end.toolCalls as object[]) : undefined;
  return {
    id: `chatcmpl-${crypto.randomUUID()}`,
    object: 'chat.completion',
    choice(text, end) {
      const tool_calls = callsOf(end);
      const content = text === '' && tool_calls ? null : text;
      const message = { role: 'assistant', content, refusal: null, ...(tool_calls ? { tool_calls } : {}) };
      return { index: 0, message, logprobs: null, finish_reason: reasonOf(end) };
    },
    delta(text, end) {
      const role = opened ? {} : { role: 'assistant' };
      opened = true;
      const tool_calls = callsOf(end)?.map((call, index) => ({ index, ...call }));
      const content = text === '' ? {} : { content: text };
      return {
        index: 0,
        delta: { ...role, ...content, ...(tool_calls ? { tool_calls } : {}) },
        logprobs: null,
        finish_reason: reasonOf(end),
      };
    },
  };
}

function textSpeech(): Speech {
  const said = (text: string, end?: ChatReceipt) => ({
    index: 0,
    text,
    logprobs: null,
    finish_reason: reasonOf(end),
  });
  return { id: `cmpl-${crypto.randomUUID()}`, object: 'text_completion', choice: said, delta: said };
}
