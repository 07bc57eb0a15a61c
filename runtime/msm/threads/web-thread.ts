/**
 * Starts a pool's thread in a browser: a module worker that runs web-worker.ts, bundled or served under an address of the
 * page's own. Threads that share memory need a page that is cross-origin isolated.
 */
import { giveModules, type StartThread, type ThreadReply } from './thread.ts';

/** For `PoolOptions.start`: threads whose code is at `address`. */
export const startWebThread =
  (address: string | URL): StartThread =>
  (modules, { onReply, onFailure }) => {
    const worker = new Worker(address, { type: 'module' });
    worker.addEventListener('message', ({ data }: MessageEvent<ThreadReply>) => onReply(data));
    worker.addEventListener('error', (event) =>
      onFailure(new Error(event.message || 'its code did not load')),
    );
    worker.addEventListener('messageerror', () => onFailure(new Error('a reply could not be read')));
    giveModules(modules, (made) => worker.postMessage(made));
    return {
      post: (request, transfer) => worker.postMessage(request, transfer),
      rest: () => {},
      terminate: async () => worker.terminate(),
    };
  };
