/** Whose turn it is on a GPU that proofs share with inferences: by a clock that the test moves. */
import { createTurns, type SharedTurns } from '../../../../runtime/msm/webgpu/turns.ts';
import { assert, suite, type TestContext } from '../../../harness.ts';

const test = suite('turns on a shared GPU');

function clocked(t: TestContext, share: number) {
  let now = 0;
  const turns = createTurns({ share, now: () => now });
  const others = { present: false, busy: false };
  const hear = (said: Partial<typeof others>) => turns.hear(Object.assign(others, said));
  // Whoever still waits is let go.
  t.defer(() => hear({ present: false }));
  return {
    turns,
    hear,
    /** Time goes by, and is noticed. */
    async pass(ms: number) {
      now += ms;
      hear({});
      await settled();
    },
  };
}
/** Everything that was waiting for its turn has had it. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Asks for a turn; `over` is there once it has come. */
function ask(turns: SharedTurns, signal?: AbortSignal) {
  const asked: { over?: () => void; error?: Error } = {};
  turns.begin(signal).then(
    (over) => {
      asked.over = over;
    },
    (error) => {
      asked.error = error;
    },
  );
  return asked;
}

test('alone nothing waits; beside a runner one submit at a time, and shorter', async (t) => {
  const { turns, hear } = clocked(t, 0.1);
  const alone = turns.targetMs;
  const both = [ask(turns), ask(turns)];
  await settled();
  for (const { over } of both) over!();
  hear({ present: true });
  assert.ok(turns.targetMs <= alone / 4);
  const [first, second] = [ask(turns), ask(turns)];
  await settled();
  assert.ok(first.over);
  assert.not.ok(second.over);
  first.over();
  await settled();
  assert.ok(second.over);
});

test('while an inference is under way, nothing is submitted; then at once', async (t) => {
  const { turns, hear, pass } = clocked(t, 0);
  hear({ present: true, busy: true });
  const waiting = ask(turns);
  await pass(3_600_000);
  assert.not.ok(waiting.over);
  hear({ busy: false });
  await settled();
  assert.ok(waiting.over);
  assert.is(turns.waitedMs, 3_600_000);
});

test('inferences without an end leave proofs their share, whatever a submit takes', async (t) => {
  for (const share of [0.05, 0.1, 0.5])
    for (const submitMs of [2, 10, 300]) {
      const { turns, hear, pass } = clocked(t, share);
      hear({ present: true, busy: true });
      let had = 0;
      let submits = 0;
      for (let at = 0; at < 400 * (submitMs / share); ) {
        const asked = ask(turns);
        await settled();
        for (; !asked.over; at++) await pass(1);
        await pass(submitMs);
        asked.over();
        at += submitMs;
        had += submitMs;
        submits++;
        if (submits === 40) {
          // Never more; less because the first turn is waited for, and because the clock goes by whole milliseconds.
          assert.ok(had / at > 0.85 * share && had / at < 1.01 * share, `${share}, ${submitMs}: ${had / at}`);
          break;
        }
      }
      assert.is(submits, 40, `${share}, ${submitMs}`);
    }
});

test('many short inferences do not let proofs save up for a burst', async (t) => {
  const { turns, hear, pass } = clocked(t, 0.1);
  hear({ present: true });
  for (let i = 0; i < 1_000; i++) {
    hear({ busy: true });
    await pass(3);
    hear({ busy: false });
    await pass(3);
  }
  hear({ busy: true });
  const first = ask(turns);
  await settled();
  assert.ok(first.over, 'the part of one submit was saved');
  await pass(10);
  first.over();
  const second = ask(turns);
  await pass(50);
  assert.not.ok(second.over, 'and no more than that');
});

test('a share of all never waits', async (t) => {
  const { turns, hear } = clocked(t, 1);
  hear({ present: true, busy: true });
  const both = [ask(turns), ask(turns)];
  await settled();
  assert.ok(both.every(({ over }) => over));
});

test('a runner that is gone is busy no more; a turn that was given up is nobody’s', async (t) => {
  const { turns, hear } = clocked(t, 0);
  const joined: string[] = [];
  turns.onPresent(() => joined.push('came'));
  hear({ present: true, busy: true });
  const abort = new AbortController();
  const [given, waiting] = [ask(turns, abort.signal), ask(turns)];
  abort.abort();
  await settled();
  assert.is((given.error as { code?: string } | undefined)?.code, 'cancelled');
  assert.is((await turns.begin(abort.signal).catch((error) => error)).code, 'cancelled');
  hear({ present: false, busy: true });
  await settled();
  assert.ok(waiting.over);
  hear({ present: true });
  assert.equal(joined, ['came', 'came']);
});

test('the split is of the last ten seconds', async (t) => {
  const { turns, hear, pass } = clocked(t, 0.1);
  assert.equal(turns.split(), { proofs: 0, inferences: 0 });
  hear({ present: true });
  const asked = ask(turns);
  await settled();
  await pass(2_000);
  asked.over!();
  asked.over!();
  hear({ busy: true });
  await pass(6_000);
  hear({ busy: false });
  await pass(2_000);
  assert.equal(turns.split(), { proofs: 0.2, inferences: 0.6 });
  for (let i = 0; i < 30; i++) {
    await pass(1_000);
    turns.split();
  }
  assert.equal(turns.split(), { proofs: 0, inferences: 0 });
});

test.run();
