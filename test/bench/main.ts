/**
 * The main job: how long `npm start` takes, what one private inference costs beside the model's own time, how
 * much memory each process takes, and the proof, step by step, beside snarkjs on the same files.
 *
 * All of it runs on real processes with a VOUCH_HOME of its own. Nothing is downloaded in between: packages and
 * nats-server are there before the clock starts.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { benchmarkGateway } from './gateway.ts';
import { benchmarkInference } from './inference.ts';
import { benchmarkFleet, benchmarkSteps } from './proof.ts';
import { type BenchContext, type Row, RUNS, row } from './result.ts';
import { type Once, startOnce, withStack } from './stack.ts';
import { median } from './statistics.ts';

export async function benchmarkMain(context: BenchContext): Promise<Row[]> {
  const home = await mkdtemp(join(tmpdir(), 'vouch-bench-'));
  // Where our own code, called from here, looks for keys and caches.
  process.env.VOUCH_HOME = home;
  try {
    const { model, rows: starts } = await benchmarkStarts(home, context);
    const { subject, rows } = await withStack({ home, model }, context, async (bus, subject) => ({
      subject,
      rows: [
        ...(await benchmarkInference(bus, subject, context)),
        ...(await benchmarkGateway(subject, context, bus)),
        ...(await benchmarkFleet(bus, subject, context)),
      ],
    }));
    // The stack has stopped: what follows has the machine to itself.
    return [...starts, ...rows, ...(await benchmarkSteps(subject, context))];
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

/** `npm start -- --once`: first runs on an empty home each, then cached ones on the last of these. */
async function benchmarkStarts(home: string, { say, signal }: BenchContext) {
  const run = async (kind: string, number: number): Promise<Once> => {
    const once = await startOnce(home, signal);
    say(`npm start -- --once, ${kind}, ${number} of ${RUNS}: ${once.seconds.toFixed(1)} s`);
    return once;
  };
  const first: Once[] = [];
  for (let i = 1; i <= RUNS; i++) {
    await rm(home, { recursive: true, force: true });
    first.push(await run('first run', i));
  }
  const cached: Once[] = [];
  for (let i = 1; i <= RUNS; i++) cached.push(await run('cached', i));
  const middle = (list: readonly Once[]) => median(list.map(({ seconds }) => seconds));
  const what = 'npm start -- --once';
  return {
    model: cached[0]!.result.model.name,
    rows: [
      row({ name: `${what}, everything cached`, unit: 's', ours: middle(cached), must: 60 }),
      row({ name: `${what}, first run, no downloads`, unit: 's', ours: middle(first), must: 240 }),
      ...memoryRows('peak memory, cached run', cached),
      ...memoryRows('peak memory, first run', first),
    ],
  };
}

function memoryRows(what: string, runs: readonly Once[]): Row[] {
  const names = [...new Set(runs.flatMap(({ memory }) => [...memory.keys()]))].sort();
  return names.map((name) => {
    const peaks = runs.map(({ memory }) => memory.get(name) ?? 0);
    return row({ name: `${what}: ${name}`, unit: 'MiB', ours: median(peaks) / 2 ** 20 });
  });
}
