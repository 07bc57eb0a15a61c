/** Runs one test file in a process group of its own and reads what uvu and the harness print. */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { stripVTControlCharacters } from 'node:util';
import type { TestFile } from './discovery.ts';

export interface FileResult extends TestFile {
  readonly seconds: number;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** "suite: title: reason" of each skipped test */
  readonly skips: readonly string[];
  /** tests that are left to the slow tier */
  readonly later: number;
  /** why the file failed as a whole */
  readonly problem?: string;
  /** stdout and stderr as they came, the last 256 KiB */
  readonly output: string;
}

export interface FileOptions {
  readonly timeoutMs: number;
  readonly env: NodeJS.ProcessEnv;
}

const OUTPUT_CHARACTERS = 256 * 1024;
/** How long a process may live on after its last test before it counts as one that never ends. */
const LINGER_MS = 10_000;
/** uvu's last words are about 80 characters */
const SUMMARY_CHARACTERS = 200;
const SUMMARY = /Total:\s+(\d+)\s+Passed:\s+(\d+)\s+Skipped:\s+(\d+)\s+Duration:/g;

const running = new Set<ChildProcess>();

/** Kills every test process and all that they started. */
export function killAll(): void {
  for (const child of running) killGroup(child);
}

function killGroup(child: ChildProcess): void {
  try {
    process.kill(-child.pid!, 'SIGKILL');
  } catch {
    // nothing of the group is left
  }
}

export async function runFile(file: TestFile, { timeoutMs, env }: FileOptions): Promise<FileResult> {
  const started = performance.now();
  const child = spawn(process.execPath, [file.path], {
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  let output = '';
  let stdout = '';
  let problem: string | undefined;
  let linger: NodeJS.Timeout | undefined;
  const stop = (why: string) => {
    problem ??= why;
    killGroup(child);
  };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-OUTPUT_CHARACTERS);
    stdout = (stdout + text).slice(-OUTPUT_CHARACTERS);
    if (stdout.slice(-SUMMARY_CHARACTERS).search(SUMMARY) >= 0) {
      clearTimeout(linger);
      linger = setTimeout(
        () => stop('the tests ended but the process did not: something is still open'),
        LINGER_MS,
      );
    }
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-OUTPUT_CHARACTERS);
  });
  const closed = new Promise((resolve) => child.once('close', resolve));
  const timer = setTimeout(() => stop(`the file took longer than ${timeoutMs / 1000} s`), timeoutMs);
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve) =>
    child.once('exit', (...how) => resolve(how)),
  );
  clearTimeout(timer);
  clearTimeout(linger);
  killGroup(child);
  running.delete(child);
  // whoever escaped the group may hold the pipes open for ever
  await Promise.race([closed, sleep(1000, undefined, { ref: false })]);
  child.stdout.destroy();
  child.stderr.destroy();
  const seconds = (performance.now() - started) / 1000;
  return { ...file, seconds, output, ...count(stripVTControlCharacters(stdout), problem, code, signal) };
}

function count(
  stdout: string,
  stopped: string | undefined,
  code: number | null,
  signal: NodeJS.Signals | null,
) {
  const skips = [...stdout.matchAll(/^##vouch-skip (.*)$/gm)].map((match) => match[1]!);
  const later = Number(/^##vouch-slow (\d+)$/m.exec(stdout)?.[1] ?? 0);
  const summary = [...stdout.matchAll(SUMMARY)].at(-1);
  if (!summary) {
    const how = signal ? `was killed by ${signal}` : `ended with exit code ${code}`;
    const problem = stopped ?? `the file ${how} without a summary; does it call test.run()?`;
    return { passed: 0, failed: 1, skipped: skips.length, skips, later, problem };
  }
  const [total, ok, uvuSkipped] = summary.slice(1).map(Number) as [number, number, number];
  // A test that skips itself counts as passed for uvu. A file without tests may say why in a line of its own.
  const passed = Math.max(0, ok - skips.length);
  const skipped = skips.length + uvuSkipped;
  const failed = total - ok;
  const problem =
    stopped ??
    (failed === 0 && code !== 0 ? `the file ended with ${signal ?? `exit code ${code}`}` : undefined);
  return {
    passed,
    failed: problem && failed === 0 ? 1 : failed,
    skipped,
    skips,
    later,
    ...(problem && { problem }),
  };
}
