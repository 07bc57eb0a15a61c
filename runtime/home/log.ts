/** Where a part of the program says what it does, and how that gets into a file whose disk may be full. */
import { fstatSync, writeSync } from 'node:fs';

/** From what only a search for a fault needs to what somebody has to look at. */
export const LOG_LEVELS = ['debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export const LOG_FORMATS = ['text', 'json'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** What programs may look for in a record; logger.ts says what each may hold, and drops the rest. */
export interface LogFields {
  /** default: info */
  readonly level?: LogLevel;
  /** the actor that says it */
  readonly role?: string;
  readonly id?: string;
  /** the error's id, as in the reply and in the monitor */
  readonly error?: string;
  readonly code?: string;
  /** a change of state, as the monitor sees it */
  readonly event?: string;
  readonly from?: string;
  readonly to?: string;
  readonly seq?: number;
}

/** One line for the person who runs it, and what programs may look for in it. Never a secret. */
export interface Log {
  (line: string, fields?: LogFields): void;
  /** whether records of the level debug are wanted; they are not made otherwise */
  detailed?: boolean;
}

/**
 * Lines to stderr. In a file, which an actor's log is, a line that finds no room is dropped: nobody stops working because he
 * cannot say so. How many were dropped is said when there is room again.
 */
export function stderrLines(fd = 2): (line: string) => void {
  let isFile: boolean | undefined;
  let dropped = 0;
  return (line) => {
    // Writing to a pipe or a terminal this way could fail only because it is busy.
    isFile ??= fstatSync(fd).isFile();
    if (!isFile) return void process.stderr.write(`${line}\n`);
    const missing = dropped > 0 ? `(${dropped} lines are missing here: the log could not be written)\n` : '';
    const bytes = Buffer.from(`${missing}${line}\n`);
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      dropped = 0;
    } catch {
      dropped += 1;
    }
  };
}
