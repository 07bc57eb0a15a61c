/**
 * How the monitor's page keeps up with 200 workers and 10,000 transitions a minute: the longest that it holds a frame, and the
 * time between frames. In headless Chromium without a GPU, on two pages that show every worker.
 */

import { opened } from '../runtime/monitor/page-fixture.ts';
import { cpuOf, type Load, longestOf, sayLoad, underLoad } from '../runtime/monitor/page-load.ts';
import { type BenchContext, type Row, row } from './result.ts';
import { median, quantile } from './statistics.ts';

/** Three and a half seconds each. */
const TIMES = 3;

export async function benchmarkMonitor({ say, signal }: BenchContext): Promise<Row[]> {
  const ends: (() => unknown)[] = [];
  try {
    const skip = (reason: string): never => {
      throw new Error(reason);
    };
    const loads: Load[] = [];
    for (let i = 0; i < TIMES && !signal.aborted; i++) {
      const { feed, page } = await opened({ skip, defer: (end) => void ends.push(end) });
      loads.push(...(await underLoad(page, feed)));
      for (const load of loads.slice(-2)) say(sayLoad(load));
    }
    return ['#/', '#/fleet'].flatMap((hash) => {
      const own = loads.filter((load) => load.hash === hash);
      const between = own.flatMap(({ frames }) => frames);
      return [
        row({
          name: `${hash}, one update of the page, processor time`,
          unit: 'ms',
          ours: median(own.map(cpuOf)),
          must: 50,
          aim: 16,
        }),
        row({
          name: `${hash}, the longest task above 50 ms; 0: none`,
          unit: 'ms',
          ours: Math.max(...own.map(longestOf)),
          must: 50,
          aim: 0,
        }),
        row({
          name: `${hash}, between frames, p99`,
          unit: 'ms',
          ours: quantile(between, 0.99),
          must: 50,
          aim: 17,
        }),
      ];
    });
  } finally {
    for (const end of ends.reverse()) await end();
  }
}
