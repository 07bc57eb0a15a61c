/**
 * How a long job shows itself: bars on a terminal, plain lines elsewhere, always on stderr so that stdout
 * stays a program's.
 */

import { MultiBar, type SingleBar } from 'cli-progress';
import { printable, printableLines } from '../../protocols/printable.ts';

export interface Progress {
  /** Shows how far the part of this name is; it appears on first use. `note` says what is counted, or how it ended. */
  set(name: string, done: number, total: number, note?: string): void;
  /** A line of text above the bars. */
  line(text: string): void;
  /** Leaves the last state on the screen. Nothing may be shown afterwards, but stopping again is harmless. */
  stop(): void;
}

const INDENT = '    ';
const NAME_WIDTH = 15;
const BAR_WIDTH = 24;
/** Between two lines about the same part, where there are no bars. */
const LINE_MS = 2_000;

/** Bars when `stream` is a terminal, else few lines: the beginning of a part, now and then, and its end. */
export function createProgress(stream: NodeJS.WriteStream = process.stderr): Progress {
  const shown = stream.isTTY ? bars(stream) : lines(stream);
  return {
    // Names of workers and phases come from others.
    set: (name, done, total, note = '') => shown.set(printable(name), done, total, printable(note)),
    line: (text) => shown.line(printableLines(text)),
    stop: () => shown.stop(),
  };
}

/** `12/19 shards`; a part of one piece is only begun or done. */
function ratio(done: number, total: number, note: string): string {
  if (total === 1) return done === 1 ? note || 'done' : '...';
  const width = String(total).length;
  return `${String(done).padStart(width)}/${total}${note && ` ${note}`}`;
}

function bars(stream: NodeJS.WriteStream): Progress {
  const multi = new MultiBar({
    stream,
    format: (_, { value, total }, { name, note }: { name: string; note: string }) => {
      const full = Math.round((BAR_WIDTH * Math.min(value, total)) / total);
      const bar = '='.repeat(full).padEnd(BAR_WIDTH, '.');
      return `${INDENT}${name.padEnd(NAME_WIDTH)} [${bar}] ${ratio(value, total, note)}`.slice(
        0,
        (stream.columns ?? 80) - 1,
      );
    },
    hideCursor: true,
    clearOnComplete: false,
    // Whoever handles the signals also calls stop().
    gracefulExit: false,
    forceRedraw: true,
    emptyOnZero: true,
  });
  const byName = new Map<string, SingleBar>();
  let stopped = false;
  return {
    set(name, done, total, note = '') {
      const most = Math.max(total, 1);
      const bar = byName.get(name) ?? multi.create(most, done, { name, note });
      byName.set(name, bar);
      bar.setTotal(most);
      bar.update(done, { name, note });
    },
    line: (text) => multi.log(`${text}\n`),
    stop() {
      // A second one would draw the bars again.
      if (!stopped) multi.stop();
      stopped = true;
    },
  };
}

function lines(stream: NodeJS.WritableStream): Progress {
  const last = new Map<string, { at: number; text: string; complete: boolean }>();
  return {
    set(name, done, total, note = '') {
      // That a part of one piece has begun is worth a bar, not a line.
      if (total === 1 && done === 0) return;
      const text = `${INDENT}${name.padEnd(NAME_WIDTH)} ${ratio(done, total, note)}`;
      const complete = done >= total;
      const before = last.get(name);
      const now = performance.now();
      if (before?.text === text || before?.complete) return;
      if (before && !complete && now - before.at < LINE_MS) return;
      last.set(name, { at: now, text, complete });
      stream.write(`${text}\n`);
    },
    line: (text) => void stream.write(`${text}\n`),
    stop() {},
  };
}
