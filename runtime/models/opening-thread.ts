/** Start-up code of a thread that opens chunks of models (opening.ts). */
import { parentPort } from 'node:worker_threads';
import { VouchError } from '../../protocols/errors.ts';
import { type Answer, openChunk, type Question } from './opening.ts';

const port = parentPort!;
port.on('message', async ({ number, ...question }: Question) => {
  try {
    const { chunk, sealed } = await openChunk(question);
    const answer: Answer = { number, chunk, sealed };
    port.postMessage(answer, [chunk.buffer, sealed.buffer]);
  } catch (error) {
    // Anything else ends the thread with that error.
    if (!(error instanceof VouchError)) throw error;
    const answer: Answer = { number, failure: { code: error.code, message: error.message } };
    port.postMessage(answer);
  }
});
