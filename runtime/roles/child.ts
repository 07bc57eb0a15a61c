/**
 * A role in a process of its own: this CLI again, with `start`. The child ends when the pipe to its stdin
 * closes, so it does not outlive a parent that was killed. What it says goes to a log file.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { VouchError } from '../../protocols/errors.ts';
import type { Role } from '../../protocols/subjects.ts';
import { openLog } from '../home/files.ts';
import { folder, LIFELINE, PACKAGE_ROOT } from '../home/home.ts';
import type { RunningChild } from './supervisor.ts';

/** A child says this on stdout when its role is up. */
export const READY_LINE = 'vouch: ready';

const START_MS = 60_000;
const STOP_MS = 40_000;

export interface RoleProcess extends RunningChild {
  readonly pid: number;
}

/** Starts `vouch start <role>` and waits until it is ready. Throws `not-ready` with the place of its log. */
export async function startProcess(role: Role, id: string, args: readonly string[]): Promise<RoleProcess> {
  const logFile = folder('logs', `${role}_${id}.log`);
  await using log = await openLog(logFile);
  const cli = path.join(
    PACKAGE_ROOT,
    import.meta.filename.endsWith('.ts') ? 'runtime/commands/cli.ts' : 'dist/runtime/commands/cli.js',
  );
  const child = spawn(process.execPath, [cli, 'start', role, '--id', id, ...args], {
    stdio: ['pipe', 'pipe', log.fd],
    env: { ...process.env, [LIFELINE]: '1' },
    // Ctrl-C goes to the parent, which stops its children in order.
    detached: true,
  });
  child.stdin?.on('error', () => {});
  const exited = new Promise<number>((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? (signal ? -1 : 1)));
    child.once('error', () => resolve(127));
  });
  const ready = new Promise<void>((resolve) => {
    createInterface({ input: child.stdout! }).on('line', (line) => line === READY_LINE && resolve());
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), START_MS);
  const outcome = await Promise.race([ready, exited]);
  clearTimeout(timer);
  if (outcome !== undefined) {
    throw new VouchError('not-ready', `${role} ${id} did not start (exit ${outcome}); its log is ${logFile}`);
  }
  return { pid: child.pid!, exited, stop: () => stopProcess(child, exited) };
}

async function stopProcess(child: ChildProcess, exited: Promise<number>): Promise<void> {
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await exited;
  clearTimeout(timer);
}
