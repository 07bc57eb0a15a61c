/**
 * Opens the encrypted chunks of a large model: decrypted, and compared with the commitment. Both are work of one core, 3 ms for
 * 4 MiB, so that chunks are opened by threads where there are many.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { VouchError } from '../../protocols/errors.ts';
import { type ChunkPlace, chunkCipher, demandLeaf } from '../../protocols/weights.ts';

/** A thread takes longer to start than so many chunks take. */
const CHUNKS_OF_A_THREAD = 32;
const MAX_THREADS = 8;

export interface Question {
  readonly number: number;
  /** The model's key: whoever has answered overwrites it. */
  readonly key: Uint8Array;
  readonly place: ChunkPlace;
  readonly index: number;
  /** of the chunk, as the commitment has it */
  readonly leaf: Uint8Array;
  /** handed over */
  readonly sealed: Uint8Array<ArrayBuffer>;
}
export type Answer = { readonly number: number } & (
  | {
      readonly chunk: Uint8Array<ArrayBuffer>;
      /** given back */
      readonly sealed: Uint8Array<ArrayBuffer>;
    }
  | { readonly failure: Pick<VouchError, 'code' | 'message'> }
);

export interface Openers extends AsyncDisposable {
  /** How many chunks are to be given at a time, so that nobody waits for the next one. */
  readonly lanes: number;
  /**
   * The chunk, which is the one of that leaf, and what it was made of: bytes that are given are the caller's again then. Throws
   * `seal-rejected` and `commitment-mismatch`, which name part and chunk.
   */
  open(question: Omit<Question, 'number' | 'key'>): Promise<Opened>;
}
interface Opened {
  readonly chunk: Uint8Array<ArrayBuffer>;
  readonly sealed: Uint8Array<ArrayBuffer>;
}

/** The work itself. Overwrites the key that it was given. */
export async function openChunk({
  key,
  place,
  index,
  leaf,
  sealed,
}: Omit<Question, 'number'>): Promise<Opened> {
  const cipher = chunkCipher(key, place);
  key.fill(0);
  const chunk = await cipher.open(index, sealed);
  demandLeaf(place.model, place.part, index, chunk, leaf);
  return { chunk, sealed };
}

/** Whoever opens so many chunks under one key, here or in threads, which end with it. */
export function startOpeners(key: Uint8Array, chunks: number): Openers {
  const threads = Math.min(MAX_THREADS, availableParallelism(), Math.floor(chunks / CHUNKS_OF_A_THREAD));
  if (threads < 2)
    return {
      lanes: 2,
      open: (question) => openChunk({ ...question, key: key.slice() }),
      async [Symbol.asyncDispose]() {},
    };
  const waiting = new Map<number, PromiseWithResolvers<Opened>>();
  const settle = (number: number) => {
    const found = waiting.get(number);
    waiting.delete(number);
    return found;
  };
  let failed: Error | undefined;
  const fail = (error: Error) => {
    failed = error;
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  const workers = Array.from({ length: threads }, () => {
    const worker = new Worker(ownFile(), {
      // Of the process's own flags some (--input-type, --inspect-brk) would keep a thread from starting.
      execArgv: [],
      // Chunks lie outside of its heap.
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
    });
    worker.on('message', (answer: Answer) => {
      const asked = settle(answer.number);
      if ('failure' in answer) asked?.reject(new VouchError(answer.failure.code, answer.failure.message));
      else asked?.resolve(answer);
    });
    worker.on('error', fail);
    worker.on('exit', (code) => fail(new Error(`the thread that opens chunks ended with code ${code}`)));
    return worker;
  });
  let count = 0;
  return {
    lanes: 2 * threads,
    open(question) {
      if (failed) return Promise.reject(failed);
      const number = count++;
      const asked = Promise.withResolvers<Opened>();
      waiting.set(number, asked);
      const whole: Question = { ...question, number, key };
      workers[number % threads]!.postMessage(whole, [question.sealed.buffer]);
      return asked.promise;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(
        workers.map((worker) => {
          worker.removeAllListeners('exit');
          return worker.terminate();
        }),
      );
    },
  };
}

/** The built package has `.js` files only. */
const ownFile = () =>
  new URL(`./opening-thread.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url);
