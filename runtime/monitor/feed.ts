/**
 * A bounded queue of observations between those who hear and the monitor. When it is full the newest is
 * dropped, and the next one that fits is preceded by the count: the monitor shows it, nobody waits.
 */
import type { Observation } from './observation.ts';

export interface Feed extends AsyncIterable<Observation> {
  push(observation: Observation): void;
  /** Ends the iteration once what is queued was taken. */
  end(): void;
}

/** `limit`: observations that may wait. One reader. */
export function createFeed(limit = 16_384): Feed {
  const waiting: Observation[] = [];
  let overflow = 0;
  let ended = false;
  let wake = () => {};
  return {
    push(observation) {
      if (ended) return;
      if (waiting.length >= limit) {
        overflow += 1;
        return;
      }
      waiting.push(observation);
      wake();
    },
    end() {
      ended = true;
      wake();
    },
    async *[Symbol.asyncIterator]() {
      for (;;) {
        const batch = waiting.splice(0);
        if (overflow > 0) {
          batch.push({ type: 'dropped', at: batch.at(-1)?.at ?? 0, reason: 'overflow', count: overflow });
          overflow = 0;
        }
        yield* batch;
        if (waiting.length > 0) continue;
        if (ended) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}
