/**
 * The streams of a runner that answers in text: one for each request, from the first word of the engine to the receipt. An
 * engine is asked for its next words only when a frame may be sent, so that a client that reads slowly slows the engine.
 * Text lives in this file's closures for as long as its stream, and is told to nobody else.
 *
 * The receipt covers what was sent, no more: it is stored before the last frame, which carries it, is made.
 */
import {
  answerBytes,
  type ChatEnd,
  type ChatFrame,
  type ChatPlaintext,
  KEEP_ALIVE_MS,
  LEASE_MS,
  MAX_ANSWER_BYTES,
} from '../../protocols/chat.ts';
import { utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { TextClaims } from '../../protocols/receipt.ts';
import type { FrameSealer } from '../../protocols/sealed-stream.ts';
import type { Claim } from '../home/gpu-users.ts';
import type { TextEnd, TextEngine, TextPiece, TextRequest } from '../inference/text-engine.ts';
import { demandToolCallsFit } from '../inference/tool-calls.ts';

/** Streams of one client at a time. */
const MAX_STREAMS = 32;
/** A frame takes no more text, however much comes within its time. */
const MAX_FRAME_BYTES = 8 * 1024;
/** A client that reads nothing for so long has gone: others wait for its place. */
const STALL_MS = 60_000;
/** How long an engine that was told to stop may take before its stream ends without it. */
const STOP_MS = 2_000;

/** What a client says of its stream from outside. */
export interface Stream {
  /** Frames with text up to this one may be sent. */
  grant(upTo: number): void;
  cancel(): void;
  /** The client is there. */
  hear(): void;
  end(): void;
  readonly cancelled: AbortSignal;
  readonly upTo: number;
  /** Resolves at the next grant. */
  granted(): Promise<void>;
}

export interface Streams {
  /** Throws `busy` for one too many of a client, `replayed` for one that it has already. */
  open(client: string, id: string): Stream;
  of(client: string, id: string): Stream | undefined;
  readonly count: number;
}

export function createStreams({ perClient = MAX_STREAMS, leaseMs = LEASE_MS } = {}): Streams {
  const streams = new Map<string, Map<string, Stream>>();
  return {
    get count() {
      return [...streams.values()].reduce((sum, own) => sum + own.size, 0);
    },
    of: (client, id) => streams.get(client)?.get(id),
    open(client, id) {
      const own = streams.get(client) ?? new Map<string, Stream>();
      if (own.has(id))
        throw new VouchError('replayed', 'chat.request: a stream of this id is under way; choose a new id');
      if (own.size >= perClient)
        throw new VouchError(
          'busy',
          `expected at most ${perClient} streams of one client at a time; wait for one to end`,
        );
      const stream = streamOf(leaseMs, () => {
        own.delete(id);
        if (own.size === 0 && streams.get(client) === own) streams.delete(client);
      });
      own.set(id, stream);
      streams.set(client, own);
      return stream;
    },
  };
}

function streamOf(leaseMs: number, onEnd: () => void): Stream {
  const abort = new AbortController();
  let upTo = 0;
  let next = Promise.withResolvers<void>();
  let heardAt = performance.now();
  const timer = setInterval(
    () => {
      if (performance.now() - heardAt > leaseMs) abort.abort();
    },
    Math.min(1000, leaseMs / 2),
  );
  timer.unref();
  const hear = () => {
    heardAt = performance.now();
  };
  return {
    cancelled: abort.signal,
    get upTo() {
      return upTo;
    },
    granted: () => next.promise,
    grant(wanted) {
      hear();
      if (wanted <= upTo) return;
      upTo = wanted;
      next.resolve();
      next = Promise.withResolvers<void>();
    },
    hear,
    cancel: () => abort.abort(),
    end() {
      clearInterval(timer);
      abort.abort();
      onEnd();
    },
  };
}

/** What an answer was, for its receipt. */
export interface Answered extends Pick<TextClaims, 'finish' | 'promptTokens' | 'completionTokens'> {
  /** what the response digest covers */
  readonly body: Uint8Array;
  readonly toolCalls?: unknown;
}

export interface Answering {
  readonly engine: TextEngine;
  readonly asked: Pick<ChatPlaintext, 'question' | 'batchMs' | 'credit'>;
  readonly stream: Stream;
  /** what the engine computes on, as far as others wait for it */
  readonly gpu: Pick<Claim, 'pause' | 'resume'>;
  /** Hears how many tokens were sent. */
  said(tokens: number): void;
  readonly frames: FrameSealer;
  /** Hands a frame to the client. */
  send(frame: Uint8Array): void;
  /** Signs the receipt and resolves once it is stored. */
  receipt(answered: Answered): Promise<Pick<ChatEnd, 'receiptId' | 'receiptDigest' | 'receipt'>>;
  /** how long a client may grant nothing before its stream is cancelled */
  readonly stallMs?: number;
}

/** Answers one request. Throws what the engine throws, and what storing the receipt does; nothing was sent of that. */
export async function answerInText({
  engine,
  asked,
  stream,
  gpu,
  said,
  frames,
  send,
  receipt,
  stallMs = STALL_MS,
}: Answering): Promise<void> {
  stream.grant(asked.credit);
  const frame = async (content: ChatFrame, last = false) =>
    send(await frames.seal(utf8(JSON.stringify(content)), { last }));
  const stop = new AbortController();
  // Its generator ends by itself; what it still says is nobody's.
  const words = engine.generate(asked.question as TextRequest, stop.signal);
  const onCancel = () => stop.abort();
  stream.cancelled.addEventListener('abort', onCancel, { once: true });
  const cancelled = aborted(stream.cancelled);
  let text = '';
  let bytes = 0;
  let sent = 0;
  let tokens = 0;
  /** What the engine says next; one question is under way at a time. */
  let pending: Promise<IteratorResult<TextPiece, TextEnd>> | undefined;
  const ask = () => {
    pending ??= words.next();
    pending.catch(() => {});
    return pending;
  };
  try {
    let end: TextEnd | undefined;
    let waiting: number | undefined;
    while (end === undefined && !stream.cancelled.aborted) {
      if (sent >= stream.upTo) {
        waiting ??= performance.now();
        gpu.pause();
        if (performance.now() - waiting > stallMs) {
          stream.cancel();
          break;
        }
        await within(KEEP_ALIVE_MS, stream.granted(), cancelled);
        if (sent >= stream.upTo && !stream.cancelled.aborted) await frame({});
        continue;
      }
      waiting = undefined;
      gpu.resume();
      const first = await within(KEEP_ALIVE_MS, ask(), cancelled);
      if (first === undefined) {
        if (!stream.cancelled.aborted) await frame({});
        continue;
      }
      pending = undefined;
      if (first.done) {
        end = first.value;
        break;
      }
      const gathered = { text: first.value.text, tokens: first.value.tokens };
      // The first words leave at once.
      const until = performance.now() + (sent === 0 ? 0 : asked.batchMs);
      while (end === undefined && gathered.text.length < MAX_FRAME_BYTES) {
        const left = until - performance.now();
        if (left <= 0) break;
        const more = await within(left, ask(), cancelled);
        if (more === undefined) break;
        pending = undefined;
        if (more.done) end = more.value;
        else {
          gathered.text += more.value.text;
          gathered.tokens += more.value.tokens;
        }
      }
      if (stream.cancelled.aborted) break;
      bytes += utf8(gathered.text).length;
      if (bytes > MAX_ANSWER_BYTES)
        throw new VouchError('too-large', `answer: expected at most ${MAX_ANSWER_BYTES} bytes of text`);
      await frame(gathered);
      said(gathered.tokens);
      text += gathered.text;
      tokens += gathered.tokens;
      sent += 1;
    }
    const cut = end === undefined;
    if (cut) {
      stop.abort();
      end = await rest(words, pending);
    }
    const toolCalls = cut ? undefined : end?.toolCalls;
    if (toolCalls !== undefined) demandToolCallsFit(utf8(JSON.stringify(toolCalls)).length);
    const answered: Answered = {
      body: answerBytes({ text, toolCalls }),
      finish: cut ? 'cancelled' : end!.finish,
      promptTokens: end?.promptTokens ?? 0,
      completionTokens: cut ? tokens : end!.completionTokens,
      toolCalls,
    };
    const { finish, promptTokens, completionTokens } = answered;
    const stored = await receipt(answered);
    const counts = { finish, promptTokens, completionTokens };
    await frame(
      {
        end: { ...counts, ...(toolCalls === undefined ? {} : { toolCalls: toolCalls as never }), ...stored },
      },
      true,
    );
  } finally {
    stream.cancelled.removeEventListener('abort', onCancel);
    stop.abort();
    void words.return({ finish: 'cancelled', promptTokens: 0, completionTokens: 0 }).catch(() => {});
  }
}

/** The end of an engine that was told to stop, for its counts; undefined where it does not come in time, or has failed. */
async function rest(
  words: AsyncGenerator<TextPiece, TextEnd>,
  pending: Promise<IteratorResult<TextPiece, TextEnd>> | undefined,
): Promise<TextEnd | undefined> {
  const ending = (async () => {
    try {
      let next = await (pending ?? words.next());
      while (!next.done) next = await words.next();
      return next.value;
    } catch {
      return undefined;
    }
  })();
  return within(STOP_MS, ending);
}

function aborted(signal: AbortSignal): Promise<undefined> {
  if (signal.aborted) return Promise.resolve(undefined);
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined), { once: true }));
}

/** What comes first within so many milliseconds; undefined: nothing did. */
async function within<T>(ms: number, ...awaited: readonly Promise<T>[]): Promise<T | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(resolve, ms);
  try {
    return await Promise.race([...awaited, late]);
  } finally {
    clearTimeout(timer);
  }
}
