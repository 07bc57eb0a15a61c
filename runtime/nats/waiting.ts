/**
 * Requests that wait for their answers on one subscription, each by a token of its own. The library can do that as well, and makes
 * an error with its stack for every request that is answered, which took a tenth of an inference (DECISIONS 173).
 *
 * Tokens are random, because others may publish to an inbox.
 */
import { lastToken } from '../../protocols/subjects.ts';

export interface Waiting<Answer> {
  /** Where answers arrive: to be subscribed to. */
  readonly filter: string;
  /**
   * Sends a request that is to be answered to `reply`, and waits. Throws what `send` throws, what `ended` gives after `timeoutMs` or when
   * the signal aborts, and what `refuse` is given.
   */
  ask(
    subject: string,
    send: (reply: string) => void,
    until: {
      readonly timeoutMs: number;
      readonly signal?: AbortSignal | undefined;
      readonly ended: (why: 'timeout' | 'cancelled') => Error;
    },
  ): Promise<Answer>;
  /** An answer has come to this subject; one that nobody waits for is dropped. */
  settle(reply: string, answer: Answer): void;
  /** Nothing may be published to this subject: ends one that was. With `filter` no answers are heard any more: ends all. */
  refuse(subject: string, error: Error): void;
}

interface Asked<Answer> {
  readonly subject: string;
  /** takes the clock and the signal away */
  readonly stop: () => void;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

/** `inbox`: a subject that nobody else listens to. */
export function createWaiting<Answer>(inbox: string): Waiting<Answer> {
  const asked = new Map<string, Asked<Answer>>();
  const filter = `${inbox}.*`;
  /** Who waited by this token, and waits no more. */
  const take = (token: string): Asked<Answer> | undefined => {
    const one = asked.get(token);
    asked.delete(token);
    one?.stop();
    return one;
  };
  return {
    filter,
    ask(subject, send, { timeoutMs, signal, ended }) {
      const token = crypto.randomUUID();
      const { promise, resolve, reject } = Promise.withResolvers<Answer>();
      const timer = setTimeout(() => take(token)?.reject(ended('timeout')), timeoutMs);
      const onAbort = () => take(token)?.reject(ended('cancelled'));
      signal?.addEventListener('abort', onAbort, { once: true });
      const stop = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
      };
      asked.set(token, { subject, stop, resolve, reject });
      try {
        send(`${inbox}.${token}`);
      } catch (error) {
        take(token)?.reject(error);
      }
      return promise;
    },
    settle: (reply, answer) => take(lastToken(reply))?.resolve(answer),
    refuse(subject, error) {
      for (const [token, one] of [...asked]) {
        if (subject !== filter && one.subject !== subject) continue;
        take(token)?.reject(error);
        // The server says it once for each message.
        if (subject !== filter) return;
      }
    },
  };
}
