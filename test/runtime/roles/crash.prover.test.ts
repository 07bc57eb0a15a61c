/** A SIGKILL in the middle of a proof, for each kind of process; the slow tier does it in every phase, ten times in a row. */
import { suite } from '../../harness.ts';
import { KILLS, surviveAll } from './crash-kills.ts';

const test = suite('crash', { timeoutMs: 300_000 });
/** All workers, and what dies while the witness is computed, come with the slow tier. */
const kills = KILLS.filter(([title]) => !/^all workers|while witnessing/.test(title));
test(`a small proof survives each kill: ${kills.map(([title]) => title.split(':')[0]).join('; ')}`, (t) =>
  surviveAll(t, kills));
test.run();
