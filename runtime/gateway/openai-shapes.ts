/**
 * Shapes of OpenAI's API, as far as the gateway speaks it (platform.openai.com/docs/api-reference): what a request may hold, and
 * how answers, chunks and errors look. What would change an answer and is not understood is refused; what is only advice to
 * OpenAI's own service (`user`, `store`, `metadata`, ...) is ignored.
 */
import { z } from 'zod';
import { VouchError } from '../../protocols/errors.ts';
import type { ChatMessage, TextEnd, TextRequest } from '../inference/text-engine.ts';

const Part = z.object({ type: z.string(), text: z.string().optional() });
const Message = z
  .object({
    role: z.enum(['system', 'developer', 'user', 'assistant', 'tool']),
    content: z.union([z.string(), z.array(Part)]).nullish(),
    name: z.string().max(64).nullish(),
    tool_calls: z.array(z.unknown()).nullish(),
    tool_call_id: z.string().max(256).nullish(),
  })
  .meta({ id: 'ChatMessage' });

/** Of both ways to ask for text. */
const Sampling = z.object({
  model: z.string().min(1).max(128),
  max_tokens: z.int().min(1).nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  seed: z.int().min(0).nullish(),
  stop: z.union([z.string().min(1).max(256), z.array(z.string().min(1).max(256)).max(16)]).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
  // What has no meaning here but one.
  n: z.literal(1, 'expected one answer to a request').nullish(),
  best_of: z.literal(1, 'expected one answer to a request').nullish(),
  presence_penalty: z.literal(0, 'expected no penalty: none is applied').nullish(),
  frequency_penalty: z.literal(0, 'expected no penalty: none is applied').nullish(),
  logit_bias: z.record(z.string(), z.never('expected no bias: none is applied')).nullish(),
});
export const ChatCompletionRequest = Sampling.extend({
  messages: z.array(Message).min(1).max(4096),
  max_completion_tokens: z.int().min(1).nullish(),
  tools: z.array(z.unknown()).max(128).nullish(),
  tool_choice: z.enum(['auto', 'none'], 'expected auto or none: a model is not forced').nullish(),
  response_format: z.object({ type: z.string() }).loose().nullish(),
  logprobs: z.literal(false, 'expected false: no probabilities leave').nullish(),
}).meta({ id: 'ChatCompletionRequest' });
export type ChatCompletionRequest = z.infer<typeof ChatCompletionRequest>;

export const CompletionRequest = Sampling.extend({
  prompt: z.union([z.string(), z.array(z.string()).length(1)]),
  echo: z.literal(false, 'expected false: the prompt is not repeated').nullish(),
  suffix: z.literal('', 'expected none: texts are continued at their end').nullish(),
  logprobs: z.null('expected none: no probabilities leave').optional(),
}).meta({ id: 'CompletionRequest' });
export type CompletionRequest = z.infer<typeof CompletionRequest>;

export const EmbeddingsRequest = z
  .object({
    model: z.string().min(1).max(128),
    input: z.union([z.string().min(1), z.array(z.string().min(1)).min(1).max(256)]),
    encoding_format: z.enum(['float', 'base64']).nullish(),
    dimensions: z.null('expected none: vectors are as long as the model makes them').optional(),
  })
  .meta({ id: 'EmbeddingsRequest' });

/** Which receipt vouches for an answer; beside what OpenAI's API has, in the last chunk of a stream. */
export const Vouched = z
  .object({ receipt: z.string().describe('its id'), verdict: z.string(), evidence: z.string() })
  .meta({ id: 'Vouched' });
export type Vouched = z.infer<typeof Vouched>;

const Usage = z.object({ prompt_tokens: z.int(), completion_tokens: z.int(), total_tokens: z.int() });
const Choice = z.object({ index: z.literal(0), finish_reason: z.string().nullable() });
const Answer = z.object({
  id: z.string(),
  created: z.int(),
  model: z.string(),
  usage: Usage,
  vouch: Vouched,
});
export const ChatCompletion = Answer.extend({
  object: z.literal('chat.completion'),
  choices: z.array(
    Choice.extend({
      message: z.object({
        role: z.literal('assistant'),
        content: z.string().nullable(),
        tool_calls: z.array(z.unknown()).optional(),
      }),
    }),
  ),
}).meta({ id: 'ChatCompletion' });
export const Completion = Answer.extend({
  object: z.literal('text_completion'),
  choices: z.array(Choice.extend({ text: z.string() })),
}).meta({ id: 'Completion' });
export const EmbeddingList = z
  .object({
    object: z.literal('list'),
    model: z.string(),
    data: z.array(
      z.object({
        object: z.literal('embedding'),
        index: z.int(),
        embedding: z.union([z.array(z.number()), z.string()]),
      }),
    ),
    usage: z.object({ prompt_tokens: z.int(), total_tokens: z.int() }),
    vouch: Vouched,
  })
  .meta({ id: 'EmbeddingList' });
export const ModelList = z
  .object({
    object: z.literal('list'),
    data: z.array(
      z.object({
        id: z.string(),
        object: z.literal('model'),
        created: z.int(),
        owned_by: z.string().describe("the vendor's fingerprint"),
      }),
    ),
  })
  .meta({ id: 'ModelList' });

/** What a model's vendor lets answers be where a request says nothing. */
export interface Defaults {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
}

function sampled(asked: z.infer<typeof Sampling>, defaults: Defaults): Omit<TextRequest, 'messages'> {
  const { max_tokens, temperature, top_p, seed, stop } = asked;
  return {
    maxTokens: max_tokens ?? defaults.maxTokens,
    temperature: temperature ?? defaults.temperature,
    topP: top_p ?? defaults.topP,
    ...(seed == null ? {} : { seed }),
    ...(stop == null ? {} : { stop: [stop].flat() }),
  };
}

export function textRequestOf(asked: ChatCompletionRequest, defaults: Defaults): TextRequest {
  const { messages, max_completion_tokens, tools, tool_choice, response_format } = asked;
  return {
    ...sampled({ ...asked, max_tokens: max_completion_tokens ?? asked.max_tokens }, defaults),
    messages: messages.map(messageOf),
    ...(tools == null || tools.length === 0 || tool_choice === 'none' ? {} : { tools }),
    ...(response_format == null || response_format.type === 'text'
      ? {}
      : { responseFormat: response_format }),
  };
}

export const promptRequestOf = (asked: CompletionRequest, defaults: Defaults): TextRequest => ({
  ...sampled(asked, defaults),
  messages: [{ role: 'prompt', content: [asked.prompt].flat()[0]! }],
});

function messageOf(
  { role, content, name, tool_calls, tool_call_id }: z.infer<typeof Message>,
  i: number,
): ChatMessage {
  const parts = Array.isArray(content) ? content : [{ type: 'text', text: content ?? '' }];
  const foreign = parts.find(({ type, text }) => type !== 'text' || text === undefined);
  if (foreign)
    throw new VouchError(
      'bad-input',
      `request.messages.${i}.content: expected text, got a part of type ${foreign.type.slice(0, 40)}`,
    );
  return {
    role,
    content: parts.map(({ text }) => text).join(''),
    ...(name == null ? {} : { name }),
    ...(tool_calls == null ? {} : { tool_calls }),
    ...(tool_call_id == null ? {} : { tool_call_id }),
  };
}

export const usageOf = ({ promptTokens, completionTokens }: TextEnd): z.infer<typeof Usage> => ({
  prompt_tokens: promptTokens,
  completion_tokens: completionTokens,
  total_tokens: promptTokens + completionTokens,
});

const KINDS: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  403: 'permission_error',
  429: 'rate_limit_error',
};
/** An error as OpenAI's clients read it. */
export const failureOf = (status: number, code: string, message: string) => ({
  error: {
    message,
    type: KINDS[status] ?? (status < 500 ? 'invalid_request_error' : 'server_error'),
    param: null,
    code: code === 'unknown-model' ? 'model_not_found' : code,
  },
});
