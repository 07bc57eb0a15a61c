/**
 * Repeats what failed only because NATS was away or restarting. The work must be safe to repeat; whatever else goes
 * wrong is thrown at once.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type ErrorCode, VouchError } from '../../protocols/errors.ts';

const AWAY: readonly ErrorCode[] = ['nats-unreachable', 'timeout', 'not-ready', 'no-responder'];

/** Throws the last error after `forMs` milliseconds, `cancelled` when aborted. */
export async function retry<T>(
  work: () => Promise<T>,
  options: { forMs: number; signal?: AbortSignal | undefined },
): Promise<T> {
  const deadline = performance.now() + options.forMs;
  for (let pause = 50; ; pause = Math.min(pause * 2, 1000)) {
    try {
      return await work();
    } catch (error) {
      const away = error instanceof VouchError && AWAY.includes(error.code);
      if (!away || performance.now() + pause > deadline) throw error;
      await sleep(pause, undefined, options.signal ? { signal: options.signal } : {}).catch(() => {
        throw new VouchError('cancelled', 'cancelled while waiting for NATS to come back', { cause: error });
      });
    }
  }
}
