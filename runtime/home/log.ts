/** Where a part of the program says what it does, and how that gets into a file whose disk may be full. */
import { fstatSync, writeSync } from 'node:fs';

/** One line for the person who runs it. Never a secret. */
export type Log = (line: string) => void;

/**
 * Lines to stderr. In a file, which an actor's log is, a line that finds no room is dropped: nobody stops working because he
 * cannot say so. How many were dropped is said when there is room again.
 */
export function stderrLines(fd = 2): Log {
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
