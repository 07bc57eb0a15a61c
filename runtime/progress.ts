/**
 * How a long job shows itself: bars on a terminal, plain lines elsewhere, always on stderr so that stdout
 * stays a program's.
 */
import { MultiBar, type SingleBar } from 'cli-progress';

export interface Progress {
  /** Sets a named bar; it appears on first use. `total` 0 hides the ratio. */
  set(name: string, done: number, total: number, note?: string): void;
  /** A line of text above the bars. */
  line(text: string): void;
  /** Leaves the last state on the screen. */
  stop(): void;
}

/** Bars when `stream` is a terminal, else at most one line a second per name and one when it is complete. */
export function createProgress(stream: NodeJS.WriteStream = process.stderr): Progress {
  return stream.isTTY ? bars(stream) : lines(stream);
}

function bars(stream: NodeJS.WriteStream): Progress {
  const multi = new MultiBar(
    {
      stream,
      format: '  {name} {bar} {value}/{total} {note}',
      barsize: 28,
      hideCursor: true,
      clearOnComplete: false,
      gracefulExit: false,
      forceRedraw: true,
    },
    { format: 'vouch', barCompleteChar: '=', barIncompleteChar: '.' } as never,
  );
  const byName = new Map<string, SingleBar>();
  return {
    set(name, done, total, note = '') {
      const payload = { name: name.padEnd(16), note };
      const bar = byName.get(name);
      if (!bar) {
        byName.set(name, multi.create(Math.max(total, 1), done, payload));
        return;
      }
      bar.setTotal(Math.max(total, 1));
      bar.update(done, payload);
    },
    line: (text) => multi.log(`${text}\n`),
    stop: () => multi.stop(),
  };
}

function lines(stream: NodeJS.WritableStream): Progress {
  const last = new Map<string, { at: number; text: string }>();
  return {
    set(name, done, total, note = '') {
      const text = `  ${name.padEnd(16)} ${done}/${total} ${note}`.trimEnd();
      const before = last.get(name);
      const now = performance.now();
      if (before?.text === text || (before && done < total && now - before.at < 1000)) return;
      last.set(name, { at: now, text });
      stream.write(`${text}\n`);
    },
    line: (text) => void stream.write(`${text}\n`),
    stop() {},
  };
}
