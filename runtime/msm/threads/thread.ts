/** What a pool's thread does with a request, in Node (worker.ts) and in a browser (web-worker.ts). */
import type { Kernel } from './kernel.ts';
import type { ThreadReply, ThreadRequest } from './pool.ts';

/** The answer, and the buffers that move with it. */
export function answerRequest(
  kernel: Kernel,
  { id, call, args }: ThreadRequest,
): { readonly reply: ThreadReply; readonly transfer: ArrayBuffer[] } {
  try {
    const result = (kernel[call] as (...args: unknown[]) => ThreadReply['result'])(...args);
    return { reply: { id, result }, transfer: [result ?? []].flat().map(({ buffer }) => buffer) };
  } catch (error) {
    return { reply: { id, error: error instanceof Error ? error.message : String(error) }, transfer: [] };
  } finally {
    // The copies that were sent here may hold secrets.
    for (const arg of args) if (arg instanceof Uint8Array) arg.fill(0);
  }
}
