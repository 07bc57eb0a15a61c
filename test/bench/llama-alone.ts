/** llama.cpp used directly in a process of its own: `llama-alone.ts FOLDER MODEL REQUESTS`; prints the peak of its memory in bytes. */
import { openLlama } from '../../runtime/inference/llama-engine.ts';
import { answerOf, asking } from '../runtime/inference/llama-fixture.ts';
import { peakOfSelf } from './own-peak.ts';

const [folder, file, requests] = process.argv.slice(2) as [string, string, string];
const engine = await openLlama({ file, folder, threads: 1, say: () => {} });
for (let i = 0; i < Number(requests); i++) await answerOf(engine, asking('hello', { maxTokens: 32 }));
console.log(peakOfSelf());
await engine[Symbol.asyncDispose]();
