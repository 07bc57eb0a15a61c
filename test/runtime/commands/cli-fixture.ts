/** The command line in a process of its own, with a `.vouch` of its own, as a person on some host has it. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { BIN_DIR } from '../nats/nats-fixture.ts';

const CLI = fileURLToPath(new URL('../../../runtime/commands/cli.ts', import.meta.url));
const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
export const CLI_WORDS = `${process.execPath} ${CLI}`;
const OWN_SERVER = join(BIN_DIR, 'nats-server');

const homes: string[] = [];
const children = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  for (const home of homes) rmSync(home, { recursive: true, force: true });
});

/** A folder for one installation; gone when the test process ends. */
export function newHome(): string {
  const home = mkdtempSync(join(tmpdir(), 'vouch-cli-'));
  homes.push(home);
  return home;
}

function environment(home: string): NodeJS.ProcessEnv {
  const server = process.env.NATS_SERVER || (existsSync(OWN_SERVER) ? OWN_SERVER : undefined);
  return { ...process.env, VOUCH_HOME: home, ...(server ? { NATS_SERVER: server } : {}) };
}

/** Stops a group of its own when this process ends, a SIGKILL by the test runner included. */
function guardOf(pid: number): ChildProcess {
  const guard = spawn('/bin/sh', ['-c', 'read -r _; kill -TERM -- "-$1"', 'sh', String(pid)], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  guard.stdin!.on('error', () => {});
  return guard;
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Started {
  readonly pid: number;
  readonly ended: Promise<Ended>;
  /** Resolves at the first line of either output that matches; rejects when the process ends before. */
  line(pattern: RegExp): Promise<string>;
  /** Resolves as soon as what it has printed matches, in the middle of a line, too. */
  shows(pattern: RegExp): Promise<void>;
  /** As a terminal does it: to the whole process group. */
  interrupt(): void;
  kill(signal: NodeJS.Signals): void;
  /** Goes away as `| head` does. */
  closeStdout(): void;
}

/** Starts `vouch` with these words, in this process's folder unless `cwd` is another. */
export const start = (home: string, words: readonly string[], input = '', cwd?: string): Started =>
  launch(home, [process.execPath, CLI, ...words], { cwd, begin: (stdin) => void stdin.end(input) });

/** The same by way of something else, such as `ip netns exec NAME`. */
export const startBy = (prefix: readonly string[], home: string, words: readonly string[], input = '') =>
  launch(home, [...prefix, process.execPath, CLI, ...words], { begin: (stdin) => void stdin.end(input) });

/**
 * Starts a command in a terminal of its own (util-linux's `script` makes one), where a Ctrl-C that is typed goes to every
 * process of the foreground. What it prints comes as one output. Undefined where there is no such program.
 */
export function startInTerminal(
  home: string,
  command: string,
): (Started & { type(keys: string): void }) | undefined {
  try {
    if (!execFileSync('script', ['--version'], { encoding: 'utf8' }).includes('util-linux')) return undefined;
  } catch {
    return undefined;
  }
  let type: (keys: string) => void = () => {};
  // In place of the shell: some shells stay, hear the same Ctrl-C, and end with 130 whatever the command said.
  const words = ['script', '--quiet', '--return', '--command', `exec ${command}`, '/dev/null'];
  const started = launch(home, words, {
    cwd: ROOT,
    begin: (stdin) => {
      type = (keys) => void stdin.write(keys);
    },
  });
  return { ...started, type };
}
export const CTRL_C = '\u0003';

function launch(
  home: string,
  [program, ...words]: readonly string[],
  { cwd, begin }: { cwd?: string | undefined; begin(stdin: Writable): void },
): Started {
  const child = spawn(program!, words, {
    ...(cwd === undefined ? {} : { cwd }),
    env: environment(home),
    stdio: ['pipe', 'pipe', 'pipe'],
    detached: true,
  });
  children.add(child);
  const guard = guardOf(child.pid!);
  child.stdin!.on('error', () => {});
  begin(child.stdin!);
  const seen: string[] = [];
  const waiting = new Set<() => void>();
  const collect = (stream: NodeJS.ReadableStream) => {
    let text = '';
    stream.on('data', (part: Buffer) => {
      text += part.toString();
      for (const look of waiting) look();
    });
    createInterface({ input: stream }).on('line', (line) => {
      seen.push(line);
      for (const look of waiting) look();
    });
    return () => text;
  };
  const [stdout, stderr] = [collect(child.stdout!), collect(child.stderr!)];
  const ended = new Promise<Ended>((resolve) => {
    child.once('close', (code) => {
      children.delete(child);
      guard.kill('SIGKILL');
      resolve({ code, stdout: stdout(), stderr: stderr() });
    });
  });
  /** Looks at whatever comes until `find` has an answer. */
  const watch = <T>(pattern: RegExp, find: () => T | undefined): Promise<T> => {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const look = () => {
      const found = find();
      if (found !== undefined) resolve(found);
    };
    waiting.add(look);
    void ended.then(({ code, stderr: said }) =>
      reject(
        new Error(`${program} ${words.slice(0, 3).join(' ')} ended with ${code} before ${pattern}:\n${said}`),
      ),
    );
    look();
    return promise.finally(() => waiting.delete(look));
  };
  return {
    pid: child.pid!,
    ended,
    line: (pattern) => watch(pattern, () => seen.find((line) => pattern.test(line))),
    shows: (pattern) =>
      watch(pattern, () => (pattern.test(stdout() + stderr()) ? null : undefined)).then(() => {}),
    interrupt: () => void process.kill(-child.pid!, 'SIGINT'),
    kill: (signal) => void child.kill(signal),
    closeStdout: () => void child.stdout!.destroy(),
  };
}

/** Runs `vouch` with these words to its end. */
export const vouch = (home: string, words: readonly string[], input = '', cwd?: string): Promise<Ended> =>
  start(home, words, input, cwd).ended;

/** What still runs with this home: in its command line, its environment or as its folder. */
export function processesOf(home: string): string[] {
  if (process.platform !== 'linux') {
    return execFileSync('ps', ['-axww', '-o', 'pid=,command='], { encoding: 'utf8' })
      .split('\n')
      .filter((line) => line.includes(home));
  }
  const read = (path: string, how: (path: string) => string) => {
    try {
      return how(path).replaceAll('\0', ' ');
    } catch {
      return '';
    }
  };
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map((pid) => ({
      command: read(`/proc/${pid}/cmdline`, (path) => readFileSync(path, 'utf8')),
      all:
        read(`/proc/${pid}/environ`, (path) => readFileSync(path, 'utf8')) +
        read(`/proc/${pid}/cwd`, (path) => readlinkSync(path)),
    }))
    .filter(({ command, all }) => command !== '' && `${command} ${all}`.includes(home))
    .map(({ command }) => command);
}

/** Files that a writer left unfinished. */
export const unfinished = (home: string): string[] =>
  (readdirSync(home, { recursive: true, encoding: 'utf8' }) as string[]).filter((name) =>
    /\.tmp$|\.build-/.test(name),
  );

/** Waits until `test` holds; `ms` only bounds a hang, which then has a name. */
export async function eventually(
  what: string,
  test: () => boolean | Promise<boolean>,
  ms = 60_000,
): Promise<void> {
  const until = performance.now() + ms;
  while (!(await test())) {
    if (performance.now() > until) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
