/**
 * llama.cpp in this process, through node-llama-cpp. Each request has a context of its own, so a cache and batches of its own, made for it
 * and freed after it: llama.cpp clears a cache when it makes it, and nothing is found again by prefix.
 *
 * Not guaranteed: that freed memory is overwritten at once, or that two requests at a time do not feel each other's load.
 */
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { openFile } from '../home/file-source.ts';
import type { Log } from '../home/log.ts';
import { createPrompter } from './chat-prompt.ts';
import { asksForEmbedding, embeddingAnswer, type Vectors } from './embedding.ts';
import type { Llama, LlamaModel, LlamaModule, Token } from './llama-binding.ts';
import { LLAMA_VERSION, type LlamaPlace, obtainLlama } from './llama-package.ts';
import type { TextEnd, TextEngine, TextPiece, TextRequest } from './text-engine.ts';
import { firstOf, tokenOutlet, undecided } from './text-outlet.ts';
import { TOOL_CALL, toolCallsIn } from './tool-calls.ts';

/** Requests at a time; each has a context, whose size the model and `context` decide. */
const DEFAULT_STREAMS = 32;
const DEFAULT_CONTEXT = 8192;
const MAX_SCHEMA_BYTES = 64 * 1024;
/** Tensors, and entries of metadata, of a file. */
const MAX_ENTRIES = 1_000_000n;

export interface LlamaOptions extends LlamaPlace {
  /** the verified GGUF; it is read once and may be gone afterwards */
  readonly file: string;
  /** tokens of prompt and answer together; default: what the model was trained on, 8192 at most */
  readonly context?: number | undefined;
  /** a chat template instead of the file's own */
  readonly template?: string | undefined;
  /** requests at a time; more are refused as `busy` */
  readonly streams?: number | undefined;
  /** processor threads; default: llama.cpp's choice */
  readonly threads?: number | undefined;
  readonly say: Log;
}

/** Installs llama.cpp where it is missing, and loads the model. Throws `not-ready`, or `bad-file` for one it does not take. */
export async function openLlama(options: LlamaOptions): Promise<TextEngine> {
  const { file, template, threads, streams = DEFAULT_STREAMS, say, build = 'cpu' } = options;
  await demandGguf(file);
  const { llama: module, jinja, digest } = await obtainLlama(say, options);
  let llama: Llama;
  try {
    llama = await module.getLlama({
      gpu: build === 'cpu' ? false : build,
      // Neither compiled nor downloaded: the library is the one whose digest was taken.
      build: 'never',
      skipDownload: true,
      usePrebuiltBinaries: true,
      progressLogs: false,
      debug: false,
      // Its log could quote a request.
      logLevel: 'disabled',
      logger: () => {},
      ...(threads === undefined ? {} : { maxThreads: threads }),
    });
  } catch (error) {
    throw new VouchError('not-ready', `llama.cpp does not start (${build}): ${messageOf(error)}`, {
      cause: error,
    });
  }
  let model: LlamaModel;
  let promptOf: ReturnType<typeof createPrompter>;
  try {
    // Not mapped: what was verified is read once, and what happens to the file later does not matter.
    model = await llama.loadModel({ modelPath: file, useMmap: false });
    promptOf = createPrompter(model, jinja, template);
  } catch (error) {
    await llama.dispose();
    throw new VouchError('bad-file', `llama.cpp does not take the model: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const contextSize = Math.min(options.context ?? DEFAULT_CONTEXT, model.trainContextSize);
  const { promise: lost, resolve: lose } = Promise.withResolvers<string>();
  const closing = new Set<Promise<unknown>>();
  let active = 0;
  let ended: string | undefined;
  const end = (why: string) => {
    ended ??= why;
    lose(ended);
  };
  llama.onDispose.createListener(() => end('llama.cpp was closed'));

  /** A place among the streams for as long as `work` runs. */
  const admit = () => {
    if (ended !== undefined) throw new VouchError('device-lost', `llama.cpp: ${ended}`);
    if (active >= streams)
      throw new VouchError('busy', `the model answers ${streams} requests at a time; try again`);
    active += 1;
    return {
      [Symbol.dispose]() {
        active -= 1;
      },
    };
  };
  /** Frees a context when its last step is done, which an answer that was cancelled does not wait for. */
  const release = (...steps: (() => unknown)[]) => {
    const closed = (async () => {
      for (const step of steps) await step();
    })().catch(() => {});
    closing.add(closed);
    closed.finally(() => closing.delete(closed));
  };
  const lacksMemory = (error: unknown): boolean =>
    (error as Error).constructor?.name === 'InsufficientMemoryError';
  /** Does the engine still make a token of anything? For want of memory it may make none now. */
  const works = async (): Promise<boolean> => {
    try {
      const context = await model.createContext({ sequences: 1, contextSize: Math.min(contextSize, 64) });
      try {
        const evaluation = context
          .getSequence()
          .evaluate(model.tokenize('a'), { temperature: 0, topP: 1, topK: 0, minP: 0 });
        await evaluation.next();
        await evaluation.return();
      } finally {
        await context.dispose();
      }
      return true;
    } catch (error) {
      return lacksMemory(error);
    }
  };
  let trial: Promise<boolean> | undefined;
  /** What one request ran into. It ends the engine only where the engine answers nobody any more. */
  const failed = async (error: unknown): Promise<VouchError> => {
    if (error instanceof VouchError) return error;
    const why = messageOf(error);
    if (lacksMemory(error))
      return new VouchError('out-of-memory', 'there is no memory for a further context; try again', {
        cause: error,
      });
    // Requests that fail together ask once.
    if (ended === undefined)
      trial ??= works().finally(() => {
        trial = undefined;
      });
    if ((await trial) && ended === undefined)
      return new VouchError('internal', `llama.cpp did not answer this request: ${why}`, { cause: error });
    end(why);
    return new VouchError('device-lost', `llama.cpp failed: ${why}`, { cause: error });
  };

  async function* generate(request: TextRequest, signal: AbortSignal): AsyncGenerator<TextPiece, TextEnd> {
    using _place = admit();
    const prompt = promptOf(request);
    if (prompt.length === 0)
      throw new VouchError('bad-input', 'messages: expected a prompt that is not empty');
    const room = contextSize - prompt.length;
    if (room < 1)
      throw new VouchError(
        'bad-input',
        `messages: the prompt has ${prompt.length} tokens, and the context ${contextSize} for prompt and answer together; shorten it`,
      );
    const limit = Math.min(request.maxTokens, room);
    const grammar = await grammarOf(llama, module, model, request.responseFormat);
    const { temperature, topP, seed, stop = [] } = request;
    const calls = request.tools === undefined ? [] : [TOOL_CALL];
    const outlet = tokenOutlet<Token>((tokens, before) => model.detokenize(tokens, false, before));
    let completionTokens = 0;
    const ending = (finish: TextEnd['finish'], toolCalls?: unknown): TextEnd => ({
      finish,
      promptTokens: prompt.length,
      completionTokens,
      ...(toolCalls === undefined ? {} : { toolCalls }),
    });
    if (signal.aborted) return ending('cancelled');

    let held = '';
    let unsaid = 0;
    let stopped = false;
    const aborted = new Promise<'aborted'>((resolve) =>
      signal.addEventListener('abort', () => resolve('aborted'), { once: true }),
    );
    /** What of the held text may leave now; `all` at the end. */
    const take = (all: boolean): TextPiece | undefined => {
      const call = firstOf(held, calls);
      const sure = call >= 0 ? call : held.length - (all ? 0 : undecided(held, [...stop, ...calls]));
      const text = held.slice(0, sure);
      held = held.slice(sure);
      if (text === '') return undefined;
      const piece = { text, tokens: unsaid };
      unsaid = 0;
      return piece;
    };
    let dispose: () => unknown = () => {};
    let finish: TextEnd['finish'] = 'stop';
    try {
      const threaded = threads === undefined ? {} : { threads };
      const context = await model.createContext({ sequences: 1, contextSize, ...threaded });
      dispose = () => context.dispose();
      const evaluation = context.getSequence().evaluate(prompt, {
        temperature,
        topP,
        topK: 0,
        minP: 0,
        ...(seed === undefined ? {} : { seed }),
        ...(grammar === undefined ? {} : { grammarEvaluationState: grammar }),
      });
      dispose = async () => {
        await evaluation.return().catch(() => {});
        await context.dispose();
      };
      for (;;) {
        const next = await Promise.race([evaluation.next(), aborted]);
        if (next === 'aborted' || signal.aborted) {
          finish = 'cancelled';
          break;
        }
        if (next.done) break;
        completionTokens += 1;
        unsaid += 1;
        held += outlet.push(next.value);
        const at = firstOf(held, stop);
        if (at >= 0) {
          held = held.slice(0, at);
          stopped = true;
          break;
        }
        const piece = take(false);
        if (piece) yield piece;
        if (completionTokens >= limit) {
          finish = 'length';
          break;
        }
      }
    } catch (error) {
      throw await failed(error);
    } finally {
      release(dispose);
    }
    if (!stopped) held += outlet.flush();
    const last = take(true);
    if (last) yield last;
    if (held === '') return ending(finish);
    // What is left begins with a call: all of it calls, or text like the rest.
    const toolCalls = finish === 'stop' ? toolCallsIn(held) : undefined;
    if (toolCalls) return ending('tool_calls', toolCalls);
    yield { text: held, tokens: unsaid };
    return ending(finish);
  }

  async function vectorsOf(texts: readonly string[], signal: AbortSignal): Promise<Vectors> {
    const inputs = texts.map((text, i) => {
      const tokens = model.tokenize(text);
      if (tokens.length < 1 || tokens.length > contextSize)
        throw new VouchError(
          'bad-input',
          `input.${i}: expected 1 to ${contextSize} tokens, got ${tokens.length}`,
        );
      return tokens;
    });
    using _place = admit();
    let context: Awaited<ReturnType<LlamaModel['createEmbeddingContext']>> | undefined;
    try {
      context = await model.createEmbeddingContext({
        contextSize,
        ...(threads === undefined ? {} : { threads }),
      });
      const vectors: Float32Array[] = [];
      for (const input of inputs) {
        if (signal.aborted) throw new VouchError('cancelled', 'embeddings were given up');
        const { vector } = await context.getEmbeddingFor(input);
        vectors.push(Float32Array.from(vector));
      }
      return { vectors, tokens: inputs.reduce((sum, { length }) => sum + length, 0) };
    } catch (error) {
      throw await failed(error);
    } finally {
      release(() => context?.dispose());
    }
  }

  return {
    provider: {
      name: 'llama.cpp',
      version: `${llama.llamaCppRelease.release} (node-llama-cpp ${LLAMA_VERSION})`,
      build: `${build} ${digest}`,
    },
    lost,
    generate: (request, signal) =>
      asksForEmbedding(request) ? embeddingAnswer(request, signal, vectorsOf) : generate(request, signal),
    async [Symbol.asyncDispose]() {
      end('llama.cpp was closed');
      await Promise.all(closing);
      await llama.dispose();
    },
  };
}

/** Throws `bad-file` for what is no GGUF at all: its readers would look for billions of tensors in it. */
async function demandGguf(file: string): Promise<void> {
  await using source = await openFile(file, 'model');
  const head = Buffer.alloc(24);
  if (source.byteLength >= head.length) await source.read(0, head);
  const counts = [head.readBigUInt64LE(8), head.readBigUInt64LE(16)];
  if (
    head.toString('latin1', 0, 4) !== 'GGUF' ||
    ![2, 3].includes(head.readUInt32LE(4)) ||
    counts.some((count) => count > MAX_ENTRIES)
  )
    throw new VouchError('bad-file', `model ${file}: expected a file in the format GGUF, version 2 or 3`);
}

/** The grammar of `response_format`, where it asks for one. Throws `bad-input` for a schema that cannot be held to. */
async function grammarOf(
  llama: Llama,
  { LlamaGrammarEvaluationState }: LlamaModule,
  model: LlamaModel,
  format: unknown,
): Promise<unknown> {
  if (format === undefined || format === null) return undefined;
  const { type, json_schema: named } = format as { type?: unknown; json_schema?: { schema?: unknown } };
  if (type === 'text') return undefined;
  try {
    if (type === 'json_object')
      return new LlamaGrammarEvaluationState({ model, grammar: await llama.getGrammarFor('json') });
    if (type === 'json_schema' && typeof named?.schema === 'object' && named.schema !== null) {
      if (JSON.stringify(named.schema).length > MAX_SCHEMA_BYTES) throw new Error('it is too large');
      const grammar = await llama.createGrammarForJsonSchema(named.schema);
      return new LlamaGrammarEvaluationState({ model, grammar });
    }
  } catch (error) {
    throw new VouchError(
      'bad-input',
      `response_format: this schema is not understood: ${messageOf(error).slice(0, 300)}`,
    );
  }
  throw new VouchError(
    'bad-input',
    'response_format: expected type text, json_object, or json_schema with a schema',
  );
}
