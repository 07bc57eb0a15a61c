/** The start-up code of one of a pool's threads in Node: answers `{id, call, args}` with `{id, result}` or `{id, error}`. */
import { parentPort, workerData } from 'node:worker_threads';
import { createKernel, type KernelModules } from './kernel.ts';
import { answerRequest, type ThreadRequest } from './thread.ts';

const port = parentPort!;
const kernel = createKernel(workerData as KernelModules);

port.on('message', (request: ThreadRequest) => {
  const { reply, transfer } = answerRequest(kernel, request);
  port.postMessage(reply, transfer);
});
