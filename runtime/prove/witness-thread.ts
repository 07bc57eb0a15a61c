/** Start-up code of the thread that computes a witness (circuits/groth16/calculator.ts), in Node. */
import { parentPort, workerData } from 'node:worker_threads';
import { type CalculatorInput, type CalculatorReply, calculate } from '../../circuits/groth16/calculator.ts';
import { VouchError } from '../../protocols/errors.ts';

// Lines of a circuit's log are posted only where they are asked for: ours log nothing but secrets.
const { wasm, input, logs } = workerData as {
  wasm: Uint8Array<ArrayBuffer>;
  input: CalculatorInput;
  logs?: boolean;
};
const port = parentPort!;
const post = (reply: CalculatorReply) =>
  port.postMessage(reply, 'witness' in reply ? [reply.witness.buffer] : []);

async function run(): Promise<void> {
  try {
    const onLog = logs ? (log: string) => post({ log }) : undefined;
    post({ witness: await calculate(wasm, input, { onLog }) });
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    post({ code: error.code as 'witness-rejected' | 'bad-file', message: error.message });
  }
}
// What it throws ends the thread with that error.
void run();
