/**
 * The start-up code of one of a pool's threads in Node: its modules come first, then it answers `{id, call, args}` with
 * `{id, result}` or `{id, error}`.
 */
import { parentPort } from 'node:worker_threads';
import { createKernel, type Kernel, type KernelModules } from './kernel.ts';
import { answerRequest, type ThreadRequest } from './thread.ts';

const port = parentPort!;
let kernel: Kernel | undefined;

port.on('message', (message: KernelModules | ThreadRequest) => {
  if (!kernel) {
    kernel = createKernel(message as KernelModules);
    return;
  }
  const { reply, transfer } = answerRequest(kernel, message as ThreadRequest);
  port.postMessage(reply, transfer);
});
