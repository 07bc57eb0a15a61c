/** The start-up code of one of a pool's threads in Node: answers `{id, call, args}` with `{id, result}` or `{id, error}`. */
import { parentPort, workerData } from 'node:worker_threads';
import { createKernel, type Kernel, type KernelModules } from './kernel.ts';
import type { ThreadReply, ThreadRequest } from './pool.ts';

const port = parentPort!;
const kernel: Kernel = createKernel(workerData as KernelModules);

port.on('message', ({ id, call, args }: ThreadRequest) => {
  try {
    const result = (kernel[call] as (...args: unknown[]) => ThreadReply['result'])(...args);
    const reply: ThreadReply = { id, result };
    port.postMessage(
      reply,
      [result ?? []].flat().map(({ buffer }) => buffer),
    );
  } catch (error) {
    const reply: ThreadReply = { id, error: error instanceof Error ? error.message : String(error) };
    port.postMessage(reply);
  } finally {
    // The copies that were sent here may hold secrets.
    for (const arg of args) if (arg instanceof Uint8Array) arg.fill(0);
  }
});
