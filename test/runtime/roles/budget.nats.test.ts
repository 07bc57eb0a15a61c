/** The coordinators' shared count: no two of them grant the same last proof, and none forgets. */
import { BUCKETS } from '../../../protocols/streams.ts';
import { DEFAULT_TERMS, type Terms } from '../../../protocols/terms.ts';
import { grant } from '../../../runtime/roles/budget.ts';
import { assert, suite } from '../../harness.ts';
import { codeOf, startFixture } from '../nats/nats-fixture.ts';

const test = suite('budget');

const terms: Terms = { ...DEFAULT_TERMS, requester: { perDay: 3 }, all: { ever: 5 } };
const asked = (requester: string, job: string) => ({ requester, job, time: Date.now() });

test('of ten requests at once at two coordinators as many are granted as the budget has', async (t) => {
  const { bus } = await startFixture(t);
  const coordinators = [await bus('coordinator', 'a'), await bus('coordinator', 'b')];
  const outcomes = await Promise.allSettled(
    Array.from({ length: 10 }, (_, i) =>
      grant(coordinators[i % 2]!, 'credit', terms, asked('bank', `job-${i}`)),
    ),
  );
  const refusals = outcomes.flatMap((outcome) =>
    outcome.status === 'rejected' ? [outcome.reason as { code: string }] : [],
  );
  assert.equal(
    refusals.map(({ code }) => code),
    Array(7).fill('terms-refused'),
  );
  const [first] = coordinators;
  const granted = outcomes.findIndex(({ status }) => status === 'fulfilled');
  await grant(first!, 'credit', terms, asked('bank', `job-${granted}`));
  await grant(first!, 'credit', terms, asked('shop', 'other'));
  await grant(first!, 'marketing', terms, asked('bank', 'other'));
});

test('what is older than a day is counted for ever, whatever the requester is called', async (t) => {
  const { bus } = await startFixture(t);
  const coordinator = await bus('coordinator', 'a');
  const once: Terms = { ...DEFAULT_TERMS, requester: { ever: 1 }, all: {} };
  const day = 86_400_000;
  for (const requester of ['bank', '__proto__', 'constructor']) {
    const at = (job: string, time: number) => grant(coordinator, requester, once, { requester, job, time });
    await at('first', 0);
    assert.is(await codeOf(at('second', 2 * day)), 'terms-refused', requester);
    // Another's proof moves the first into what is only counted.
    await grant(coordinator, requester, once, { requester: 'other', job: 'third', time: 2 * day });
    assert.is(await codeOf(at('fourth', 2 * day)), 'terms-refused', requester);
  }
});

test('a count that is damaged grants nothing', async (t) => {
  const { bus } = await startFixture(t);
  const coordinator = await bus('coordinator', 'a');
  await coordinator.bucket(BUCKETS.budgets).put('credit', new TextEncoder().encode('{"version":1}'));
  assert.is(await codeOf(grant(coordinator, 'credit', terms, asked('bank', 'job'))), 'bad-file');
});

test.run();
