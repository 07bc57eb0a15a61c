/** Starts a pool's thread in Node. Apart from pool.ts, so that the pool itself stays free of `node:*`. */
import { Worker } from 'node:worker_threads';
import { THREAD_SOURCES } from './sources.ts';
import { giveModules, type StartThread, type ThreadReply } from './thread.ts';

/** The built package has `.js` files only. */
const ownFile = () => new URL(`./worker.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url);

/** An idle thread does not keep the process alive; one that owes an answer does. */
export const startNodeThread: StartThread = (modules, { onReply, onFailure }) => {
  const { node: source } = THREAD_SOURCES;
  const worker = new Worker(source ?? ownFile(), {
    eval: source !== undefined,
    // Of the process's own flags some (--input-type, --inspect-brk) would keep a thread from starting.
    execArgv: [],
    // What a thread computes with lies outside of its heap.
    resourceLimits: { maxYoungGenerationSizeMb: 2 },
  });
  worker.on('message', (reply: ThreadReply) => onReply(reply));
  worker.on('error', onFailure);
  worker.on('exit', (code) => onFailure(new Error(`the thread ended with code ${code}`)));
  giveModules(modules, (made) => worker.postMessage(made));
  // Last, because listening for messages counts as a reason to live on.
  worker.unref();
  return {
    post(request, transfer) {
      worker.ref();
      worker.postMessage(request, transfer);
    },
    rest: () => worker.unref(),
    async terminate() {
      worker.removeAllListeners('exit');
      await worker.terminate();
    },
  };
};
