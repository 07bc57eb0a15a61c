/** The kills at full size: the demonstration's 300 rows, a circuit of the domain 2^16, a key of 36 MB. */
import { suite } from '../../harness.ts';
import { KILLS } from './crash-kills.ts';
import { fullSubject, type Subject } from './proof-fixture.ts';

const test = suite('crash at full size', { timeoutMs: 300_000 });
let full: Promise<Subject> | undefined;
for (const [title, run] of KILLS) {
  test(title, async (t) => {
    full ??= fullSubject();
    await run(t, await full);
  });
}
test.run();
