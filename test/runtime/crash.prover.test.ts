/** One process killed at a time, each in the middle of a proof; the slow tier does all of this ten times in a row. */
import { suite } from '../harness.ts';
import { KILLS } from './crash-kills.ts';

const test = suite('crash', { timeoutMs: 120_000 });
for (const [title, run] of KILLS) test(title, run);
test.run();
