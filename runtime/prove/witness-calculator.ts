/** Computes witnesses in threads of Node, one for each call, because a calculator may run for ever. */
import { Worker } from 'node:worker_threads';
import type {
  CalculatorInput,
  CalculatorOptions,
  CalculatorReply,
} from '../../circuits/groth16/calculator.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { THREAD_SOURCES } from '../msm/threads/sources.ts';

/** The built package has `.js` files only. */
const ownFile = () =>
  new URL(`./witness-thread.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url);

export interface CalculateOptions extends CalculatorOptions {
  readonly signal?: AbortSignal | undefined;
}

/** As `calculate`, and `cancelled` when aborted. */
export async function calculateWitness(
  wasm: Uint8Array,
  input: CalculatorInput,
  { signal, onLog }: CalculateOptions = {},
): Promise<Uint8Array> {
  const { nodeWitness: source } = THREAD_SOURCES;
  const worker = new Worker(source ?? ownFile(), {
    eval: source !== undefined,
    workerData: { wasm, input, logs: onLog !== undefined },
    // Of the process's own flags some (--input-type, --inspect-brk) would keep a thread from starting.
    execArgv: [],
  });
  const stop = (): void => void worker.terminate();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    return await new Promise<Uint8Array>((resolve, reject) => {
      worker.on('message', (reply: CalculatorReply) => {
        if ('log' in reply) onLog?.(reply.log);
        else if ('witness' in reply) resolve(reply.witness);
        else reject(new VouchError(reply.code, reply.message));
      });
      worker.once('error', (error) =>
        // Its memory ran out, or its stack: what a calculator does is its maker's.
        reject(new VouchError('bad-file', `witness calculator: its thread failed (${messageOf(error)})`)),
      );
      worker.once('exit', () => {
        reject(
          signal?.aborted
            ? new VouchError('cancelled', 'computing the witness was cancelled')
            : new VouchError('internal', 'the witness thread ended without a result'),
        );
      });
      if (signal?.aborted) stop();
    });
  } finally {
    signal?.removeEventListener('abort', stop);
    await worker.terminate();
  }
}
