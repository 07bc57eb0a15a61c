/**
 * What runs a language model, behind one interface: llama.cpp in this process (llama-engine.ts) or a server of OpenAI's API on
 * loopback (upstream-engine.ts). An engine answers one request of one requester at a time per `generate`, and keeps nothing of
 * it: no prompt, no prefix, no cache is there for the next.
 */

/** As OpenAI's chat API has it, so that templates and upstreams take it as it is. */
export interface ChatMessage {
  /** `prompt`: text to continue as it stands, without the chat template; then the only message. */
  readonly role: 'system' | 'developer' | 'user' | 'assistant' | 'tool' | 'prompt';
  readonly content: string;
  readonly name?: string;
  /** what an assistant has called, and which of its calls a `tool` answers */
  readonly tool_calls?: unknown;
  readonly tool_call_id?: string;
}

export interface TextRequest {
  readonly messages: readonly ChatMessage[];
  readonly maxTokens: number;
  /** 0: always the likeliest token */
  readonly temperature: number;
  /** 0 < p <= 1 */
  readonly topP: number;
  readonly seed?: number;
  /** The text ends before the first of these. */
  readonly stop?: readonly string[];
  /** `tools` of OpenAI's chat API */
  readonly tools?: unknown;
  /** `response_format` of OpenAI's chat API */
  readonly responseFormat?: unknown;
}

/** The text of one token or more: whole code points. */
export interface TextPiece {
  readonly text: string;
  readonly tokens: number;
}

export interface TextEnd {
  readonly finish: 'stop' | 'length' | 'cancelled' | 'tool_calls';
  readonly promptTokens: number;
  readonly completionTokens: number;
  /** `tool_calls` of OpenAI's chat API */
  readonly toolCalls?: unknown;
}

export interface TextEngine {
  readonly provider: { readonly name: string; readonly version: string; readonly build: string };
  /** Resolves with why, once the engine can answer nothing more. */
  readonly lost: Promise<string>;
  /**
   * Yields text as it is made; a consumer that does not come back for more stops the making. An abort ends it with
   * `cancelled`. Throws `bad-input` for a request that this model cannot answer, `device-lost` where the engine failed.
   */
  generate(request: TextRequest, signal: AbortSignal): AsyncGenerator<TextPiece, TextEnd>;
  [Symbol.asyncDispose](): Promise<void>;
}
