/** Every kill ten times in a row, on the small circuit. */
import { suite } from '../../harness.ts';
import { surviveAll } from './crash-kills.ts';

const test = suite('crash, ten times', { timeoutMs: 300_000 });
for (let round = 1; round <= 10; round++) test(`round ${round}`, (t) => surviveAll(t));
test.run();
