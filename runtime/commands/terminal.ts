/** The process's two outputs and its signals: what a program reads goes to stdout, everything else to stderr. */
import { printableJson, printableLines } from '../../protocols/printable.ts';
import type { Log } from '../home/log.ts';

/** Writes what a program may read: text as it is, anything else as a line of JSON. */
export type Print = (value: unknown) => void;

// Both may hold what others have sent.
export const print: Print = (value) =>
  void process.stdout.write(`${typeof value === 'string' ? printableLines(value) : printableJson(value)}\n`);
export const say: Log = (line) => void process.stderr.write(`${printableLines(line)}\n`);

export const INTERRUPTED = 130;
let stopping = false;

/** Whether a signal has asked this process to stop. */
export const isStopping = (): boolean => stopping;

/** Aborted by the first Ctrl-C or SIGTERM; a second one ends the process at once. */
export function interruption(): AbortSignal {
  const controller = new AbortController();
  const onSignal = () => {
    if (controller.signal.aborted) process.exit(INTERRUPTED);
    say(process.stderr.isTTY ? '\nstopping; once more to end at once' : 'stopping');
    stopping = true;
    controller.abort();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  process.on('SIGHUP', onSignal);
  return controller.signal;
}

export const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) =>
    signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve(), { once: true }),
  );
