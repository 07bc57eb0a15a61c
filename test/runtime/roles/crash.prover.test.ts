/** A SIGKILL in the middle of a proof, for each kind of process; the slow tier does all of this ten times in a row. */
import { suite } from '../../harness.ts';
import { KILLS, surviveAll } from './crash-kills.ts';

const test = suite('crash', { timeoutMs: 300_000 });
test(
  `a small proof survives each kill: ${KILLS.map(([title]) => title.split(':')[0]).join('; ')}`,
  surviveAll,
);
test.run();
