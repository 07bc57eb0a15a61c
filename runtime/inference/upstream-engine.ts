/**
 * A language model behind a server of OpenAI's API on loopback: vLLM, TGI, llama-server, in the same TEE. It is asked over plain HTTP, so
 * its process has to belong to what was measured; nothing here shows that it serves the files it was started with.
 *
 * Every request asks for a cache of its own, in the words of those that have a shared one: `cache_salt` (vLLM), `cache_prompt`
 * (llama-server). A server that knows neither may share prefixes between requesters; it has to be started without.
 */
import { Agent, type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { isLoopback } from '../nats/address.ts';
import { asksForEmbedding, embeddingAnswer, type Vectors } from './embedding.ts';
import { eventsOf } from './event-stream.ts';
import type { TextEnd, TextEngine, TextPiece, TextRequest } from './text-engine.ts';
import { demandToolCallsFit, type ToolCall } from './tool-calls.ts';

/** How often it is looked whether the server still listens. */
const PULSE_MS = 1000;
const ASK_MS = 10_000;
/** What a receipt has room for. */
const [MAX_VERSION, MAX_BUILD] = [64, 96];
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

export interface UpstreamOptions {
  /** such as `http://127.0.0.1:8000/v1` */
  readonly url: string;
  /** the name that the server gives the model; default: the only one that it has */
  readonly model?: string | undefined;
}

const Models = z.object({ data: z.array(z.object({ id: z.string().max(256) })).max(1000) });
const ToolCallDelta = z.object({
  index: z.int().min(0).max(127).optional(),
  id: z.string().optional(),
  function: z.object({ name: z.string().optional(), arguments: z.string().optional() }).optional(),
});
const Chunk = z.object({
  choices: z
    .array(
      z.object({
        text: z.string().nullish(),
        delta: z
          .object({ content: z.string().nullish(), tool_calls: z.array(ToolCallDelta).nullish() })
          .optional(),
        finish_reason: z.string().nullish(),
      }),
    )
    .default([]),
  usage: z.object({ prompt_tokens: z.int().min(0), completion_tokens: z.int().min(0).optional() }).nullish(),
});
const Embeddings = z.object({
  data: z.array(z.object({ index: z.int().min(0), embedding: z.array(z.number()) })),
  usage: z.object({ prompt_tokens: z.int().min(0) }).nullish(),
});
const Failure = z.object({ error: z.union([z.string(), z.object({ message: z.string() })]) });

/** Throws `bad-input` for an address beyond loopback, `not-ready` where no such server answers. */
export async function openUpstream({ url, model }: UpstreamOptions): Promise<TextEngine> {
  const base = addressOf(url);
  // An agent of our own: Node's global one may be told to go through a proxy.
  const agent = new Agent({ keepAlive: true });
  const send = (path: string, body: unknown, signal: AbortSignal) => ask(agent, base, path, body, signal);
  const get = async (path: string) => json(await send(path, undefined, AbortSignal.timeout(ASK_MS)));

  let names: string[];
  try {
    names = Models.parse(await get('models')).data.map(({ id }) => id);
  } catch (error) {
    agent.destroy();
    throw new VouchError(
      'not-ready',
      `--upstream ${base.href}: no server of OpenAI's API answers there: ${messageOf(error).slice(0, 200)}`,
    );
  }
  const name = model ?? names[0];
  if (name === undefined || !names.includes(name) || (model === undefined && names.length > 1)) {
    agent.destroy();
    throw new VouchError(
      'bad-input',
      `--upstream ${base.href}: expected a server of one model, or the name of one that it has; it has ${names.join(', ') || 'none'}`,
    );
  }
  const { promise: lost, resolve: lose } = Promise.withResolvers<string>();
  const closed = new AbortController();
  let ended: string | undefined;
  const end = (why: string) => {
    ended ??= why;
    closed.abort();
    agent.destroy();
    lose(ended);
  };
  const gone = () => end(`nothing listens at ${base.host} any more`);
  void (async () => {
    while (!closed.signal.aborted) {
      await sleep(PULSE_MS, undefined, { signal: closed.signal, ref: false }).catch(() => {});
      if (!closed.signal.aborted && !(await listens(base))) gone();
    }
  })();
  /** What a failure means: of this request, or of the server. */
  const failed = async (error: unknown): Promise<VouchError> => {
    if (error instanceof VouchError && error.code !== 'device-lost') return error;
    if (!(await listens(base))) gone();
    return error instanceof VouchError
      ? error
      : new VouchError('device-lost', `the upstream broke off: ${messageOf(error)}`, { cause: error });
  };
  const demandAlive = () => {
    if (ended !== undefined) throw new VouchError('device-lost', `the upstream: ${ended}`);
  };

  async function* generate(request: TextRequest, signal: AbortSignal): AsyncGenerator<TextPiece, TextEnd> {
    demandAlive();
    const stop = AbortSignal.any([signal, closed.signal]);
    const counts = { prompt: 0, completion: undefined as number | undefined, seen: 0 };
    /** by their number, which a server may begin anywhere */
    const calls = new Map<number, ToolCall>();
    let callBytes = 0;
    let finish: string | undefined;
    /** half of a code point that a server cut in two */
    let half = '';
    const ending = (finish: TextEnd['finish']): TextEnd => ({
      finish,
      promptTokens: counts.prompt,
      completionTokens: counts.completion ?? counts.seen,
      ...(calls.size > 0 && finish === 'tool_calls'
        ? { toolCalls: [...calls].sort(([a], [b]) => a - b).map(([, call]) => call) }
        : {}),
    });
    const [path, body] = bodyOf(request, name!);
    let events: ReturnType<typeof eventsOf> | undefined;
    try {
      events = eventsOf(await send(path, body, stop));
      for (;;) {
        const next = await events.next();
        if (next.done) {
          if (!next.value)
            throw new VouchError('device-lost', 'the upstream broke off in the middle of an answer');
          break;
        }
        const { choices, usage } = chunkOf(next.value);
        if (usage) {
          counts.prompt = usage.prompt_tokens;
          counts.completion = usage.completion_tokens;
        }
        const [choice] = choices;
        if (!choice) continue;
        for (const { index = 0, id, function: called } of choice.delta?.tool_calls ?? []) {
          const { name = '', arguments: given = '' } = called ?? {};
          const before = calls.get(index);
          callBytes += (id ?? '').length + name.length + given.length;
          demandToolCallsFit(callBytes);
          calls.set(index, {
            id: id || (before?.id ?? ''),
            type: 'function',
            function: {
              name: (before?.function.name ?? '') + name,
              arguments: (before?.function.arguments ?? '') + given,
            },
          });
        }
        finish = choice.finish_reason ?? finish;
        const text = half + (choice.delta?.content ?? choice.text ?? '');
        half = /[\uD800-\uDBFF]$/.exec(text)?.[0] ?? '';
        const whole = text.slice(0, text.length - half.length);
        if (whole === '') continue;
        counts.seen += 1;
        yield { text: whole, tokens: 1 };
      }
    } catch (error) {
      if (signal.aborted) return ending('cancelled');
      throw await failed(error);
    } finally {
      // Whoever does not want more hangs up, and the server stops.
      await events?.return(false);
    }
    return ending(finish === 'length' || finish === 'tool_calls' ? finish : 'stop');
  }

  async function vectorsOf(texts: readonly string[], signal: AbortSignal): Promise<Vectors> {
    demandAlive();
    try {
      const body = { model: name, input: texts, encoding_format: 'float' };
      const { data, usage } = Embeddings.parse(await json(await send('embeddings', body, signal)));
      const vectors = data
        .sort((a, b) => a.index - b.index)
        .map(({ embedding }) => Float32Array.from(embedding));
      if (vectors.length !== texts.length)
        throw new VouchError(
          'device-lost',
          `the upstream gave ${vectors.length} vectors for ${texts.length} texts`,
        );
      return { vectors, tokens: usage?.prompt_tokens ?? 0 };
    } catch (error) {
      if (signal.aborted) throw new VouchError('cancelled', 'embeddings were given up');
      throw await failed(error);
    }
  }

  return {
    provider: { name: 'upstream', version: await versionOf(get), build: name.slice(0, MAX_BUILD) },
    lost,
    generate: (request, signal) =>
      asksForEmbedding(request) ? embeddingAnswer(request, signal, vectorsOf) : generate(request, signal),
    async [Symbol.asyncDispose]() {
      end('it was closed');
    },
  };
}

function addressOf(url: string): URL {
  const base = URL.parse(url.endsWith('/') ? url : `${url}/`);
  const host = base?.hostname.replace(/^\[(.*)\]$/, '$1') ?? '';
  if (base?.protocol !== 'http:' || !isLoopback(host) || base.username !== '' || base.search !== '')
    throw new VouchError(
      'bad-input',
      `--upstream: expected http:// and an address of this machine's loopback, such as http://127.0.0.1:8000/v1: what leaves the enclave in plain text is not private; got ${url.slice(0, 200)}`,
    );
  return base;
}

/** A chunk is the last of an answer's words, so what does not parse ends the answer. */
function chunkOf(data: string): z.infer<typeof Chunk> {
  try {
    return Chunk.parse(JSON.parse(data));
  } catch (error) {
    throw new VouchError('device-lost', "the upstream sent what is no chunk of OpenAI's API", {
      cause: error,
    });
  }
}

function bodyOf(request: TextRequest, model: string): [path: string, body: unknown] {
  const { messages, maxTokens, temperature, topP, seed, stop, tools, responseFormat } = request;
  const [only] = messages;
  const raw = only?.role === 'prompt' && messages.length === 1;
  return [
    raw ? 'completions' : 'chat/completions',
    {
      model,
      ...(raw ? { prompt: only.content } : { messages }),
      max_tokens: maxTokens,
      temperature,
      top_p: topP,
      ...(seed === undefined ? {} : { seed }),
      ...(stop === undefined || stop.length === 0 ? {} : { stop }),
      ...(tools === undefined ? {} : { tools }),
      ...(responseFormat === undefined ? {} : { response_format: responseFormat }),
      stream: true,
      stream_options: { include_usage: true },
      cache_salt: crypto.randomUUID(),
      cache_prompt: false,
    },
  ];
}

/** vLLM and llama-server say it, each in its way; others do not. */
async function versionOf(get: (path: string) => Promise<unknown>): Promise<string> {
  const answers = await Promise.all(
    ['../version', '../props'].map((path) => get(path).catch(() => undefined)),
  );
  const said = z.object({ version: z.string() }).or(z.object({ build_info: z.string() }));
  for (const answer of answers) {
    const { data } = said.safeParse(answer);
    if (data) return ('version' in data ? data.version : data.build_info).slice(0, MAX_VERSION);
  }
  return 'unknown';
}

/** Sends a request and returns the answer once its head says 200; no redirection is followed. */
async function ask(
  agent: Agent,
  base: URL,
  path: string,
  body: unknown,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const sent: ClientRequest = httpRequest(
    new URL(path, base),
    {
      agent,
      signal,
      method: body === undefined ? 'GET' : 'POST',
      headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
    },
    resolve,
  );
  sent.on('error', reject).end(body === undefined ? undefined : JSON.stringify(body));
  const response = await promise;
  const { statusCode = 0 } = response;
  if (statusCode === 200) return response;
  const said = Failure.safeParse(await json(response).catch(() => undefined)).data?.error;
  const why = (typeof said === 'string' ? said : (said?.message ?? '')).slice(0, 300);
  if (statusCode === 429 || statusCode === 503)
    throw new VouchError('busy', `the upstream is busy (${statusCode}); try again`);
  if (statusCode >= 400 && statusCode < 500)
    throw new VouchError('bad-input', `the upstream refuses the request (${statusCode}): ${why}`);
  throw new VouchError('internal', `the upstream answered ${statusCode}`);
}

async function json(response: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) throw new VouchError('too-large', 'the upstream answers without end');
    chunks.push(chunk);
  }
  return JSON.parse(Buffer.concat(chunks).toString());
}

const listens = ({ hostname, port }: URL): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ host: hostname.replace(/^\[(.*)\]$/, '$1'), port: Number(port || 80) });
    socket.setTimeout(ASK_MS, () => socket.destroy(new Error('no answer')));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
