/**
 * Every test file uses this instead of uvu directly: each test gets a timeout and a `defer` that runs when the
 * test ends, however it ends (uvu has neither). Each file is run in a process of its own by `test/run.ts`,
 * which fails a file that registers no test or never calls `run()`.
 *
 * The runner sets VOUCH_TEST_GREP (only tests whose "suite: title" matches are registered), VOUCH_TEST_SKIP
 * (a reason: every test is reported as skipped and no body runs) and VOUCH_SLOW (tests of the slow tier run as well).
 */
import { writeSync } from 'node:fs';
import { suite as uvuSuite } from 'uvu';
import * as assert from 'uvu/assert';

export { assert };

export interface TestContext {
  /** Registers a clean-up; clean-ups run last in, first out, each within 10 s. */
  defer(cleanup: () => unknown | Promise<unknown>): void;
  /** Ends the test as skipped, visibly, with the reason. */
  skip(reason: string): never;
  /** Aborted when the test times out. */
  readonly signal: AbortSignal;
}

class Skipped extends Error {}

const grep = process.env.VOUCH_TEST_GREP ? new RegExp(process.env.VOUCH_TEST_GREP, 'i') : undefined;
const skipAll = process.env.VOUCH_TEST_SKIP;
const slowToo = process.env.VOUCH_SLOW === '1';

/** A suite of tests. `timeoutMs` holds for each test (default 20 s). */
export function suite(name: string, options: { timeoutMs?: number } = {}) {
  const inner = uvuSuite(name);
  const timeoutMs = options.timeoutMs ?? 20_000;
  const wrap = (title: string, body: (t: TestContext) => unknown | Promise<unknown>) => async () => {
    const cleanups: Array<() => unknown> = [];
    const abort = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        abort.abort();
        reject(new Error(`${name}: "${title}" took longer than ${timeoutMs} ms`));
      }, timeoutMs);
    });
    const context: TestContext = {
      defer: (cleanup) => void cleanups.push(cleanup),
      skip: (reason) => {
        throw new Skipped(reason);
      },
      signal: abort.signal,
    };
    const began = performance.now();
    try {
      if (skipAll) context.skip(skipAll);
      await Promise.race([Promise.resolve().then(() => body(context)), timeout]);
    } catch (error) {
      if (error instanceof Skipped) report('skip', `${name}: ${title}: ${error.message}`);
      // uvu reads `.name` and `.stack` of whatever was thrown
      else throw error instanceof Error ? error : new Error(`the test threw ${String(error)}`);
    } finally {
      clearTimeout(timer);
      for (const cleanup of cleanups.reverse()) {
        await Promise.race([
          Promise.resolve().then(cleanup),
          new Promise((resolve) => setTimeout(resolve, 10_000).unref()),
        ]).catch((error) => console.error(`clean-up of "${title}" failed:`, error));
      }
      // The runner shows what a file prints when it failed, or with --verbose.
      writeSync(1, `\n${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s  ${title}\n`);
    }
  };
  const test = (title: string, body: (t: TestContext) => unknown | Promise<unknown>) => {
    if (!grep || grep.test(`${name}: ${title}`)) inner(title, wrap(title, body));
  };
  let later = 0;
  /** For a further case of what this file tests anyway: it runs with the slow tier, and when the file is named. */
  const slow: typeof test = (title, body) => {
    if (slowToo) test(title, body);
    else later += 1;
  };
  const run = (): void => {
    // The runner reads this line.
    if (later > 0) writeSync(1, `\n##vouch-slow ${later}\n`);
    inner.run();
  };
  return Object.assign(test, { slow, run });
}

/** Says why a test, or a whole file, did not run, for a missing adapter or data folder. */
export function report(kind: 'skip', text: string): void {
  // Synchronous, because the process may be about to exit. The runner reads these lines.
  writeSync(1, `\n##vouch-${kind} ${text}\n`);
}
