/** Start-up code of a thread that opens chunks of a model (opening.ts). */
import { parentPort, workerData } from 'node:worker_threads';
import { VouchError } from '../../protocols/errors.ts';
import { type Answer, createOpener, type Opening, type Question } from './opening.ts';

const port = parentPort!;
const { key, place } = workerData as Opening;
const open = createOpener(key, place);
key.fill(0);

port.on('message', async ({ number, ...chunk }: Question) => {
  try {
    const sealed = await open(chunk);
    port.postMessage({ number, sealed } satisfies Answer, [sealed.buffer]);
  } catch (error) {
    // Anything else ends the thread with that error.
    if (!(error instanceof VouchError)) throw error;
    port.postMessage({ number, failure: { code: error.code, message: error.message } } satisfies Answer);
  }
});
