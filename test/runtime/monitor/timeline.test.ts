/** What a timeline says, and what it does not make up. */
import type { ShardNews } from '../../../protocols/proof.ts';
import { emptyModel, type Job, reduce } from '../../../runtime/monitor/model.ts';
import { boundSentences, phaseSpans, planOpenedMs, workerRows } from '../../../runtime/monitor/timeline.ts';
import { assert, suite } from '../../harness.ts';
import { progress } from './monitor-fixture.ts';

const test = suite('monitor timeline');

const jobOf = (
  shards: readonly ShardNews[],
  phases: Job['phases'],
  phase: Job['phase'] = 'dispatching',
): Job => reduce(emptyModel, [progress(phase, 10_000, { shards, phases, total: 9 })]).jobs.get('j1')!;
const run = (
  worker: string,
  sentMs: number,
  endMs: number | undefined,
  more: Partial<ShardNews> = {},
): ShardNews => ({
  shard: `wires-${sentMs}`,
  worker,
  points: 4,
  bytes: 1_000,
  sentMs,
  predictedMs: 100,
  ...(endMs === undefined ? {} : { endMs, end: 'done', computeMs: endMs - sentMs - 50 }),
  ...more,
});
const PHASES = { queued: 10, witnessing: 490, planning: 100, transforming: 400 };

test('phases follow each other, the current one until now; shards begin with the plan', () => {
  const spans = phaseSpans(jobOf([], PHASES), 13_000);
  assert.equal(
    spans.map(({ phase, fromMs, toMs, running }) => [phase, fromMs, toMs, running]),
    [
      ['queued', 0, 10, false],
      ['witnessing', 10, 500, false],
      ['planning', 500, 600, false],
      ['transforming', 600, 1_000, false],
      ['dispatching', 1_000, 4_000, true],
    ],
  );
  assert.is(planOpenedMs(spans), 500);
  assert.is(planOpenedMs([]), 0);
});

test('a worker has a row, its overlapping shards lanes, and a link that is at least so fast', () => {
  const job = jobOf(
    [
      run('w1', 0, 300),
      run('w1', 100, 500),
      run('w1', 320, undefined),
      run('w2', 0, 200, { end: 'refused', computeMs: undefined as never }),
      run('w2', 210, 400, { copy: true, end: 'dropped', computeMs: undefined as never }),
    ],
    PHASES,
  );
  const [w1, w2] = workerRows(job, 500, 4_000);
  assert.equal(
    w1!.runs.map(({ fromMs, toMs, lane }) => [fromMs, toMs, lane]),
    [
      [500, 800, 0],
      [600, 1_000, 1],
      [820, 4_000, 0],
    ],
  );
  assert.equal([w1!.done, w1!.predictedMs, w1!.computedMs, w1!.link], [2, 200, 600, 20_000]);
  assert.equal([w2!.done, w2!.failed, w2!.copies, w2!.link], [0, 1, 1, undefined]);
});

test('what bound a proof is said only of what is known', () => {
  assert.equal(boundSentences([], []), []);
  const long = phaseSpans(jobOf([], { ...PHASES, witnessing: 9_000 }, 'published'), 10_000);
  assert.match(
    boundSentences(long, [])[0]!,
    "went into witnessing: the coordinator's processor is the bound",
  );
  const spans = phaseSpans(jobOf([], { ...PHASES, dispatching: 5_000 }), 10_000);
  const busy = workerRows(jobOf([run('w1', 0, 4_000), run('w2', 0, 2_000)], PHASES), 500, 6_000);
  const sentences = boundSentences(spans, busy);
  assert.match(sentences[1]!, 'computed 74 % of the time: sums are the bound');
  assert.is(sentences[2], 'At the end all waited for w1.');
  const idle = workerRows(jobOf([run('w1', 0, 500), run('w2', 4_000, 4_500)], PHASES), 500, 6_000);
  assert.match(boundSentences(spans, idle)[1]!, 'a further worker would help little');
});

test.run();
