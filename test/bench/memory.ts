/**
 * Peak memory of a process and of all its descendants. On Linux it is the kernel's own peak (VmHWM of
 * /proc/PID/status, resident pages, shared ones counted in each process); elsewhere the largest that `ps` showed,
 * which can miss a short peak. A process is named by what its command line says it does.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

const EVERY_MS = 250;

interface Seen {
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
  /** bytes */
  readonly peak: number;
}

/** Watches until it is stopped; bytes by the process's name. */
export function watchMemory(root: number): { stop(): ReadonlyMap<string, number> } {
  const peaks = new Map<string, number>();
  const look = () => {
    for (const { command, peak } of descendants(root)) {
      const name = nameOf(command);
      if (name !== undefined) peaks.set(name, Math.max(peaks.get(name) ?? 0, peak));
    }
  };
  const timer = setInterval(look, EVERY_MS);
  return {
    stop() {
      look();
      clearInterval(timer);
      return peaks;
    },
  };
}

/** What a process of ours is called; undefined for shells and other bystanders. */
export function nameOf(command: string): string | undefined {
  const role = /cli\.(?:ts|js) start \w+ --id ([\w-]+)/.exec(command)?.[1];
  if (role) return role;
  if (/^\S*\bnode\b(?: .*)? \S*cli\.(?:ts|js) demo/.test(command)) return 'main';
  if (/circom2\/cli\.js/.test(command)) return 'circuit compiler';
  return /nats-server -c /.test(command) ? 'nats-server' : undefined;
}

function descendants(root: number): Seen[] {
  const all = process.platform === 'linux' ? fromProc() : fromPs();
  const inside = new Set([root]);
  // A child's number may be lower than its parent's, so one pass is not enough.
  for (let size = 0; size !== inside.size; ) {
    size = inside.size;
    for (const { pid, parent } of all) if (inside.has(parent)) inside.add(pid);
  }
  return all.filter(({ pid }) => inside.has(pid));
}

function fromProc(): Seen[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const status = readFileSync(`/proc/${name}/status`, 'utf8');
        const field = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
        const command = readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        return [{ pid: Number(name), parent: field('PPid'), command, peak: field('VmHWM') * 1024 }];
      } catch {
        return []; // It ended meanwhile.
      }
    });
}

function fromPs(): Seen[] {
  const text = execFileSync('ps', ['-A', '-ww', '-o', 'pid=,ppid=,rss=,command='], { encoding: 'utf8' });
  return text.split('\n').flatMap((line) => {
    const [, pid, parent, kib, command] = /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? [];
    if (command === undefined) return [];
    return [{ pid: Number(pid), parent: Number(parent), command, peak: Number(kib) * 1024 }];
  });
}
