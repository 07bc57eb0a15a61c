/** A synthetic feed of a large fleet, and how the page keeps up: for the test, which prints it, and for the benchmark, which bounds it. */
import type { Page } from 'playwright-core';
import type { Feed } from '../../../runtime/monitor/feed.ts';
import { quantile } from '../../bench/statistics.ts';
import { beats, host, moves } from './page-fixture.ts';

const WORKERS = 200;
const TRANSITIONS = 500;
/** Five of them so often are ten thousand a minute. */
const EVERY_MS = 30;

export interface Load {
  readonly hash: string;
  /** milliseconds between frames */
  readonly frames: readonly number[];
  /** tasks above 50 ms, as the browser records them */
  readonly long: readonly number[];
  /** processor time of the page's main thread, and how often the page changed meanwhile: what others do beside it does not count */
  readonly cpuMs: number;
  readonly updates: number;
}

export const cpuOf = ({ cpuMs, updates }: Load): number => cpuMs / Math.max(1, updates);
export const longestOf = ({ long }: Load): number => Math.max(0, ...long);
export const sayLoad = (load: Load): string =>
  `${load.hash}: ${TRANSITIONS} transitions of ${WORKERS} workers in 3 s: ${load.long.length} tasks of more than 50 ms, the longest ${Math.round(longestOf(load))} ms; between frames p50 ${Math.round(quantile(load.frames, 0.5))} ms, p99 ${Math.round(quantile(load.frames, 0.99))} ms; ${Math.round(cpuOf(load))} ms of the processor for each of ${load.updates} updates`;

/** On the two pages that show every worker; resolves when each has shown the last state of them. */
export async function underLoad(page: Page, feed: Feed): Promise<Load[]> {
  const worker = (i: number) => `worker-${i % WORKERS}`;
  for (let i = 0; i < WORKERS; i++) beats(feed, 'worker', worker(i), 'idle', 0);
  await host(page, worker(WORKERS - 1)).waitFor();
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Performance.setTimeDomain', { timeDomain: 'threadTicks' });
  await devtools.send('Performance.enable');
  const cpuTime = async (): Promise<number> => {
    const { metrics } = await devtools.send('Performance.getMetrics');
    return 1000 * (metrics.find(({ name }) => name === 'TaskDuration')?.value ?? 0);
  };
  const loads: Load[] = [];
  for (const [hash, base] of [
    ['#/', 0],
    ['#/fleet', 3],
  ] as const) {
    await page.evaluate((to) => {
      location.hash = to;
    }, hash);
    await row(page, 'worker-99').waitFor();
    await page.evaluate(measure);
    const before = await cpuTime();
    for (let sent = 0; sent < TRANSITIONS; ) {
      for (let i = 0; i < 5; i++, sent++) {
        const seq = base + Math.floor(sent / WORKERS) + 1;
        moves(feed, 'worker', worker(sent), [stateAt(seq)], { first: seq });
      }
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
    await row(page, 'worker-99')
      .getByText(stateAt(base + 3))
      .waitFor();
    const measured = await page.evaluate(() => {
      const { frames, long, updates } = globalThis as unknown as Record<'frames' | 'long', number[]> & {
        updates: () => number;
      };
      return { frames, long, updates: updates() };
    });
    loads.push({ hash, ...measured, cpuMs: (await cpuTime()) - before });
  }
  return loads;
}

const stateAt = (seq: number): string => (seq % 2 ? 'computing' : 'idle');
const row = (page: Page, id: string) =>
  page.locator('main tbody tr', { has: page.locator('th', { hasText: new RegExp(`^${id}(?!\\d)`) }) });

/** Runs in the page. */
function measure(): void {
  const frames: number[] = [];
  const long: number[] = [];
  let last = performance.now();
  const frame = () => {
    frames.push(performance.now() - last);
    last = performance.now();
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  new PerformanceObserver((list) => {
    long.push(...list.getEntries().map(({ duration }) => duration));
  }).observe({ type: 'longtask' });
  let updates = 0;
  new MutationObserver(() => {
    updates += 1;
  }).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
  Object.assign(globalThis, { frames, long, updates: () => updates });
}
