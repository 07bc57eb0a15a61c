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

/** A chunk that is to be opened. */
export interface SealedChunk {
  readonly place: ChunkPlace;
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
   * Gives the ciphertext back when the chunk is written: nothing is, unless it is the committed one. Throws `seal-rejected` and
   * `commitment-mismatch`, which name part and chunk, `bad-file` for no file of its size, and `out-of-memory` where it cannot be written.
   */
  open(chunk: SealedChunk): Promise<Bytes>;
}

/** Opens chunks one after another, always in the same room. The room holds the last one in plaintext. */
export function createOpener(): (key: Uint8Array, chunk: SealedChunk) => Promise<Bytes> {
  let [read, plain] = [new Uint8Array(), new Uint8Array()];
  return async (key, { place, index, leaf, bytes, sealed: given, target }) => {
    if (plain.length < bytes) {
      read = new Uint8Array(bytes + SEALED_CHUNK_OVERHEAD);
      plain = new Uint8Array(bytes);
    }
    const sealed =
      typeof given === 'string' ? readFrom(given, read.subarray(0, bytes + SEALED_CHUNK_OVERHEAD)) : given;
    const chunk = plain.subarray(0, bytes);
    await chunkCipher(key, place).open(index, sealed, leaf, chunk);
    writeTo(target.file, target.offset, chunk);
    return sealed;
  };
}

/** What a thread is asked. */
export interface Question extends SealedChunk {
  readonly number: number;
  /** The model's key: whoever has answered overwrites his copy. */
  readonly key: Uint8Array;
}
export interface Answer {
  readonly number: number;
  /** the ciphertext, given back */
  readonly sealed?: Bytes;
  readonly failure?: Pick<VouchError, 'code' | 'message'>;
}

/** Whoever opens so many chunks under one key, here or in threads, which end when it is disposed. */
export function startOpeners(key: Uint8Array, chunks: number): Openers {
  const threads = Math.min(MAX_THREADS, availableParallelism(), Math.floor(chunks / CHUNKS_OF_A_THREAD));
  if (threads < 2) {
    const open = createOpener();
    // One after another, because they share their room.
    let last: Promise<unknown> = Promise.resolve();
    return {
      lanes: 2,
      open(chunk) {
        const opened = last.then(() => open(key, chunk));
        last = opened.catch(() => {});
        return opened;
      },
      async [Symbol.asyncDispose]() {},
    };
  }
  const waiting = new Map<number, PromiseWithResolvers<Bytes>>();
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
      const question: Question = { ...chunk, number, key };
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
