/** Witness calculators in threads of Node. */
import { Worker } from 'node:worker_threads';
import type { CalculatorInput } from '../../circuits/groth16/calculator.ts';
import {
  type CalculateOptions,
  type CalculatorReply,
  type Calculators,
  createCalculators,
} from '../msm/threads/calculators.ts';
import { THREAD_SOURCES } from '../msm/threads/sources.ts';

/** The built package has `.js` files only. */
const ownFile = () =>
  new URL(`./witness-thread.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url);

/** Whose threads stay until `close`; an idle one does not keep the process alive. */
export const openCalculators = (): Calculators =>
  createCalculators(({ onReply, onFailure }) => {
    const { nodeWitness: source } = THREAD_SOURCES;
    const worker = new Worker(source ?? ownFile(), {
      eval: source !== undefined,
      // Of the process's own flags some (--input-type, --inspect-brk) would keep a thread from starting.
      execArgv: [],
    });
    worker.on('message', (reply: CalculatorReply) => onReply(reply));
    worker.on('error', onFailure);
    worker.on('exit', (code) => onFailure(new Error(`the thread ended with code ${code}`)));
    return {
      post(question) {
        worker.ref();
        worker.postMessage(question);
      },
      rest: () => worker.unref(),
      async terminate() {
        worker.removeAllListeners('exit');
        await worker.terminate();
      },
    };
  });

/** One witness, in a thread that ends with it. */
export async function calculateWitness(
  wasm: Uint8Array,
  input: CalculatorInput,
  options: CalculateOptions = {},
): Promise<Uint8Array> {
  await using calculators = openCalculators();
  return await calculators.calculate(wasm, input, options);
}
