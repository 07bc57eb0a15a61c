/** Start-up code of the thread that computes witnesses (msm/threads/calculators.ts), in Node. */
import { parentPort } from 'node:worker_threads';
import { answerQuestion, type CalculatorQuestion } from '../msm/threads/calculators.ts';

const port = parentPort!;
// What it throws ends the thread with that error.
port.on('message', (question: CalculatorQuestion) => {
  void answerQuestion(question, (reply, transfer) => port.postMessage(reply, transfer));
});
