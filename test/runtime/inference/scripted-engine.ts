/**
 * An engine that says what a test wants, a word at a time: where not what a model says is tested, but what becomes of it.
 * It keeps count of what it was asked and how far it went.
 */
import type { TextEnd, TextEngine, TextPiece, TextRequest } from '../../../runtime/inference/text-engine.ts';

export interface Script {
  /** What it says to a request: pieces of one token each; what is no array may wait. */
  readonly say: (request: TextRequest, signal: AbortSignal) => Iterable<string> | AsyncIterable<string>;
}

export interface ScriptedEngine extends TextEngine {
  /** pieces that were asked for */
  readonly said: () => number;
  /** requests that were stopped */
  readonly stopped: () => number;
  lose(why: string): void;
}

export function scriptedEngine({ say }: Script): ScriptedEngine {
  let said = 0;
  let stopped = 0;
  const lost = Promise.withResolvers<string>();
  return {
    provider: { name: 'script', version: '1', build: 'test' },
    lost: lost.promise,
    lose: lost.resolve,
    said: () => said,
    stopped: () => stopped,
    async *generate(request: TextRequest, signal: AbortSignal): AsyncGenerator<TextPiece, TextEnd> {
      const promptTokens = request.messages.reduce((sum, { content }) => sum + content.length, 0);
      let completionTokens = 0;
      let ended = false;
      // Whoever stops it aborts, or asks for no more, as when an answer cannot be sent on.
      try {
        for await (const text of say(request, signal)) {
          if (signal.aborted) break;
          if (completionTokens >= request.maxTokens) {
            ended = true;
            return { finish: 'length', promptTokens, completionTokens };
          }
          completionTokens += 1;
          said += 1;
          yield { text, tokens: 1 };
        }
        ended = !signal.aborted;
        return { finish: ended ? 'stop' : 'cancelled', promptTokens, completionTokens };
      } finally {
        if (!ended) stopped += 1;
      }
    },
    async [Symbol.asyncDispose]() {},
  };
}
