/** Processor time, user and system, of a process with all its threads: the kernel's own count (Linux), in ticks of 10 ms. */
import { readdirSync, readFileSync } from 'node:fs';

/** So says POSIX of every Linux that runs Node. */
const TICKS_PER_SECOND = 100;

interface Spent {
  readonly pid: number;
  readonly parent: number;
  readonly ms: number;
}

/** Of all that this process has started and that still runs, itself not counted; milliseconds by process. */
export function processorTimeOfChildren(): ReadonlyMap<number, number> {
  const all = everyProcess();
  const inside = new Set([process.pid]);
  // A child's number may be lower than its parent's, so one pass is not enough.
  for (let size = 0; size !== inside.size; ) {
    size = inside.size;
    for (const { pid, parent } of all) if (inside.has(parent)) inside.add(pid);
  }
  inside.delete(process.pid);
  return new Map(all.filter(({ pid }) => inside.has(pid)).map(({ pid, ms }) => [pid, ms]));
}

/** What the processes of two looks have spent in between; one that began in between counts whole. */
export function spentBetween(
  before: ReadonlyMap<number, number>,
  after: ReadonlyMap<number, number>,
): number {
  let ms = 0;
  for (const [pid, spent] of after) ms += spent - (before.get(pid) ?? 0);
  return ms;
}

/** Of one process. */
export const processorTimeOf = (pid: number): number => readSpent(String(pid))?.ms ?? 0;

const everyProcess = (): Spent[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => readSpent(name) ?? []);

function readSpent(name: string): Spent | undefined {
  try {
    const text = readFileSync(`/proc/${name}/stat`, 'utf8');
    // The second field is the program's name in parentheses, in which anything may stand.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const ticks = Number(fields[11]) + Number(fields[12]);
    return { pid: Number(name), parent: Number(fields[1]), ms: (1000 * ticks) / TICKS_PER_SECOND };
  } catch {
    return undefined; // It ended meanwhile.
  }
}
