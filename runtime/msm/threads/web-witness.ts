/** Start-up code of the thread that computes a witness (circuits/groth16/calculator.ts), in a browser. */
import {
  type CalculatorInput,
  type CalculatorReply,
  calculate,
} from '../../../circuits/groth16/calculator.ts';
import { VouchError } from '../../../protocols/errors.ts';

export interface WitnessQuestion {
  readonly wasm: Uint8Array<ArrayBuffer>;
  readonly input: CalculatorInput;
}

addEventListener('message', async ({ data: { wasm, input } }: MessageEvent<WitnessQuestion>) => {
  const post = (reply: CalculatorReply) =>
    postMessage(reply, { transfer: 'witness' in reply ? [reply.witness.buffer] : [] });
  try {
    post({ witness: await calculate(wasm, input, { onLog: (log) => post({ log }) }) });
  } catch (error) {
    const code = error instanceof VouchError && error.code === 'witness-rejected' ? error.code : 'bad-file';
    post({ code, message: error instanceof Error ? error.message : String(error) });
  }
});
