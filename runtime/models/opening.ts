/**
 * Opens the encrypted chunks of a large model: decrypts them, compares them with the commitment and writes them where they belong. A
 * chunk of 4 MiB is some 5 ms of one core, so that threads do it where there are many.
 */
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { Bytes } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { type ChunkPlace, chunkCipher, SEALED_CHUNK_OVERHEAD } from '../../protocols/weights-chunks.ts';
import { readFrom, writeTo } from '../home/file-ranges.ts';

/** A thread takes longer to start than so many chunks take. */
const CHUNKS_OF_A_THREAD = 64;
const MAX_THREADS = 8;

/** A chunk that is to be opened, of the part that its opener was made for. */
export interface SealedChunk {
  readonly index: number;
  /** of the chunk, as the commitment has it */
  readonly leaf: Uint8Array;
  /** of its plaintext */
  readonly bytes: number;
  /** its ciphertext, which is handed over, or the file that has it and nothing else */
  readonly sealed: Bytes | string;
  /** the file that it is written to, and where */
  readonly target: { readonly file: string; readonly offset: number };
}

export interface Openers extends AsyncDisposable {
  /** How many chunks are to be given at a time, so that nobody waits for the next one. */
  readonly lanes: number;
  /**
   * Gives back the ciphertext that was handed over, when the chunk is written: nothing is, unless it is the committed one. Throws `seal-rejected` and
   * `commitment-mismatch`, which name part and chunk, `bad-file` for no file of its size, and `out-of-memory` where it cannot be written.
   */
  open(chunk: SealedChunk): Promise<Bytes>;
}

/** Opens chunks one after another, because they share a room, which holds the last one in plaintext. Keeps nothing of `key` itself. */
export function createOpener(key: Uint8Array, place: ChunkPlace): Openers['open'] {
  const cipher = chunkCipher(key, place);
  let [read, plain] = [new Uint8Array(), new Uint8Array()];
  const open = async ({ index, leaf, bytes, sealed, target }: SealedChunk): Promise<Bytes> => {
    if (plain.length < bytes) {
      read = new Uint8Array(bytes + SEALED_CHUNK_OVERHEAD);
      plain = new Uint8Array(bytes);
    }
    const chunk = plain.subarray(0, bytes);
    const isFile = typeof sealed === 'string';
    const given = isFile ? readFrom(sealed, read.subarray(0, bytes + SEALED_CHUNK_OVERHEAD)) : sealed;
    await cipher.open(index, given, leaf, chunk);
    writeTo(target.file, target.offset, chunk);
    return isFile ? new Uint8Array() : given;
  };
  let last: Promise<unknown> = Promise.resolve();
  return (chunk) => {
    const opened = last.then(() => open(chunk));
    last = opened.catch(() => {});
    return opened;
  };
}

/** What a thread is started with. */
export interface Opening {
  /** The model's key: the thread overwrites its copy. */
  readonly key: Uint8Array;
  readonly place: ChunkPlace;
}
/** What it is asked. */
export interface Question extends SealedChunk {
  readonly number: number;
}
export interface Answer {
  readonly number: number;
  readonly sealed?: Bytes;
  readonly failure?: Pick<VouchError, 'code' | 'message'>;
}

/** Whoever opens the chunks of a part, here or in threads, which end when it is disposed. */
export function startOpeners(key: Uint8Array, place: ChunkPlace): Openers {
  const few = Math.floor(place.chunks / CHUNKS_OF_A_THREAD);
  const threads = Math.min(MAX_THREADS, availableParallelism(), few);
  if (threads < 2) return { lanes: 2, open: createOpener(key, place), async [Symbol.asyncDispose]() {} };
  const waiting = new Map<number, PromiseWithResolvers<Bytes>>();
  let failed: Error | undefined;
  const fail = (error: Error) => {
    failed = error;
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  const workers = Array.from({ length: threads }, () => {
    const worker = new Worker(ownFile(), {
      workerData: { key, place } satisfies Opening,
      // Of the process's own flags some (--input-type, --inspect-brk) would keep a thread from starting.
      execArgv: [],
      // Chunks lie outside of its heap.
      resourceLimits: { maxYoungGenerationSizeMb: 2 },
    });
    worker.on('message', ({ number, sealed, failure }: Answer) => {
      const asked = waiting.get(number);
      waiting.delete(number);
      if (failure) asked?.reject(new VouchError(failure.code, failure.message));
      else asked?.resolve(sealed!);
    });
    worker.on('error', fail);
    worker.on('exit', (code) => fail(new Error(`the thread that opens chunks ended with code ${code}`)));
    return worker;
  });
  let count = 0;
  return {
    lanes: 2 * threads,
    open(chunk) {
      if (failed) return Promise.reject(failed);
      const number = count++;
      const asked = Promise.withResolvers<Bytes>();
      waiting.set(number, asked);
      const question: Question = { ...chunk, number };
      workers[number % threads]!.postMessage(
        question,
        typeof chunk.sealed === 'string' ? [] : [chunk.sealed.buffer],
      );
      return asked.promise;
    },
    async [Symbol.asyncDispose]() {
      for (const worker of workers) {
        worker.removeAllListeners('exit');
        await worker.terminate();
      }
    },
  };
}

/** The built package has `.js` files only. */
const ownFile = () =>
  new URL(`./opening-thread.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url);
