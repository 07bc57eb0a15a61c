/** The machine that numbers come from. A number without its machine says nothing. */
import { execFileSync } from 'node:child_process';
import { cpus, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import { versionOf } from '../../runtime/commands/version.ts';
import { PACKAGE_ROOT } from '../../runtime/home/home.ts';
import { findNatsServer, type NatsProgram } from '../../runtime/nats/server-program.ts';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly node: string;
  readonly natsServer: string;
  /** the WebGPU adapter, or `none` with the reason; a software driver is none */
  readonly gpu: string;
  /** the load average over a minute before anything was measured: well above 0 means a busy machine */
  readonly loadBefore: number;
}

/** The nats-server that `npm start` of this checkout uses; fetched when there is none. */
export const natsProgram = (): Promise<NatsProgram> =>
  findNatsServer({ binDir: join(PACKAGE_ROOT, '.vouch', 'bin') });

export async function describeMachine(): Promise<Machine> {
  const loadBefore = loadavg()[0]!;
  const processors = cpus();
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.versions.node,
    natsServer: await natsProgram().then(
      ({ version }) => version,
      // A machine without a network may have none, and some benchmarks need none.
      () => 'none',
    ),
    gpu: gpuAdapter(),
    loadBefore: Math.round(loadBefore * 100) / 100,
  };
}

/** The commit, with `+` when files differ from it; `unknown` outside of a clone. */
export const describeCommit = (): string => versionOf().commit ?? 'unknown';

function gpuAdapter(): string {
  // A broken driver takes its process with it.
  const probe = join(PACKAGE_ROOT, 'test', 'gpu-probe.ts');
  try {
    const text = execFileSync(process.execPath, [probe], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: 30_000,
    });
    const found = JSON.parse(text.trim().split('\n').at(-1)!) as { adapter?: string; none?: string };
    if (found.adapter === undefined) return `none (${found.none})`;
    return /\bsoftware\b/.test(found.adapter) ? `none (only in software: ${found.adapter})` : found.adapter;
  } catch {
    return 'none (the probe failed)';
  }
}
