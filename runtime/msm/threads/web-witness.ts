/** Start-up code of the thread that computes witnesses (calculators.ts), in a browser. */
import { answerQuestion, type CalculatorQuestion } from './calculators.ts';

addEventListener('message', ({ data }: MessageEvent<CalculatorQuestion>) => {
  const failed = (error: unknown) =>
    // Outside of the promise, so that it becomes the thread's error.
    setTimeout(() => {
      throw error;
    });
  answerQuestion(data, (reply, transfer) => postMessage(reply, { transfer })).catch(failed);
});
