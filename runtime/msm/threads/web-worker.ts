/** The start-up code of one of a pool's threads in a browser: its modules come first, then it answers requests. */
import { createKernel, type Kernel, type KernelModules } from './kernel.ts';
import { answerRequest, type ThreadReply, type ThreadRequest } from './thread.ts';

let kernel: Kernel | undefined;

addEventListener('message', ({ data }: MessageEvent<KernelModules | ThreadRequest>) => {
  if (!kernel) {
    kernel = createKernel(data as KernelModules);
    return;
  }
  const { reply, transfer } = answerRequest(kernel, data as ThreadRequest);
  postMessage(reply satisfies ThreadReply, { transfer });
});
