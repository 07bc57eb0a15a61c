/** Start-up code of a thread that opens chunks of models (opening.ts). */
import { parentPort } from 'node:worker_threads';
import { VouchError } from '../../protocols/errors.ts';
import { type Answer, createOpener, type Question } from './opening.ts';

const port = parentPort!;
const open = createOpener();
let last: Promise<void> = Promise.resolve();

async function answer({ number, key, ...chunk }: Question): Promise<void> {
  try {
    const sealed = await open(key, chunk);
    // What was read from a file lies in the room of the next chunk: nobody wants it back.
    const handed = typeof chunk.sealed === 'string' ? new Uint8Array() : sealed;
    port.postMessage({ number, sealed: handed } satisfies Answer, [handed.buffer]);
  } catch (error) {
    // Anything else ends the thread with that error.
    if (!(error instanceof VouchError)) throw error;
    port.postMessage({ number, failure: { code: error.code, message: error.message } } satisfies Answer);
  } finally {
    key.fill(0);
  }
}

port.on('message', (question: Question) => {
  // One after another, because they share the opener's room.
  last = last.then(() => answer(question));
});
