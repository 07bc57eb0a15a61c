/** The process's two outputs and its signals: what a program reads goes to stdout, everything else to stderr. */
import { VouchError } from '../../protocols/errors.ts';
import { printableJson, printableLines } from '../../protocols/printable.ts';
import { type Log, stderrLines } from '../home/log.ts';
import type { LoggerOptions } from '../home/logger.ts';

/** Writes what a program may read: text as it is, anything else as a line of JSON. */
export type Print = (value: unknown) => void;

// Both may hold what others have sent.
export const print: Print = (value) =>
  void process.stdout.write(`${typeof value === 'string' ? printableLines(value) : printableJson(value)}\n`);
const stderr = stderrLines();
let sink: Log = (line) => stderr(printableLines(line));
export const say: Log = (line, fields) => sink(line, fields);

/** From now on everything that is said is a record of a log. */
export async function logAs(options: LoggerOptions): Promise<void> {
  const { createLogger } = await import('../home/logger.ts');
  sink = await createLogger(options, stderr);
  say.detailed = sink.detailed === true;
}

export const INTERRUPTED = 130;
let stopping = false;

/** Whether a signal has asked this process to stop. */
export const isStopping = (): boolean => stopping;

/**
 * One Ctrl-C may be heard several times: by way of the terminal, which tells the whole process group, and by way of npm
 * and whoever else started us, who pass on what they hear. Nobody presses it again so soon and means it.
 */
const ECHO_MS = 1_000;

/** Aborted by the first Ctrl-C or SIGTERM; another one a second later or more ends the process at once. */
export function interruption(): AbortSignal {
  const controller = new AbortController();
  let first = 0;
  const onSignal = () => {
    const now = performance.now();
    if (controller.signal.aborted) {
      if (now - first < ECHO_MS) return;
      process.exit(INTERRUPTED);
    }
    first = now;
    say(process.stderr.isTTY ? '\nstopping; once more to end at once' : 'stopping');
    stopping = true;
    controller.abort();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  process.on('SIGHUP', onSignal);
  return controller.signal;
}

/** All that comes in on stdin. Throws `too-large`. */
export async function readStdin(maxBytes: number): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of process.stdin) {
    parts.push(part);
    size += part.length;
    if (size > maxBytes) throw new VouchError('too-large', `stdin: expected at most ${maxBytes} bytes`);
  }
  return Buffer.concat(parts).toString('utf8');
}

export const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) =>
    signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve(), { once: true }),
  );
