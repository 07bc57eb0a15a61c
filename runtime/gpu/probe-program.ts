/** A program: prints the first adapter that WebGPU finds here, or why there is none, as JSON (`Answer` of probe.ts). */
import { messageOf } from '../../protocols/errors.ts';
import { findAdapter, summaryOf } from './adapter.ts';
import type { Answer } from './probe.ts';

const answer: Answer = await findAdapter().then(summaryOf, (error: unknown) => ({ none: messageOf(error) }));
// Dawn keeps threads that would hold the process.
process.stdout.write(`\n${JSON.stringify(answer)}`, () => process.exit());
