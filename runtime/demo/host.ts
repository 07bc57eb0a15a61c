/**
 * The host's part: one actor of each kind under a supervisor. Enclave, GPU device, runner and key-broker run in
 * this process; the coordinator and the workers in processes of their own.
 */
import { VouchError } from '../../protocols/errors.ts';
import type { Role } from '../../protocols/subjects.ts';
import { folder } from '../home/home.ts';
import type { Log } from '../home/log.ts';
import { credentials } from '../installation/credentials.ts';
import { startProcess } from '../roles/child.ts';
import { type RunningRole, startRole, untilUp } from '../roles/host.ts';
import { rolesAsChild } from '../roles/start.ts';
import { type ChildSpec, supervisorRole } from '../roles/supervisor.ts';

export const HOST = 'host-1';
const ENCLAVE = 'enclave-1';
const START_MS = 180_000;

export interface HostOptions {
  readonly url: string;
  readonly model: string;
  readonly workers: number;
  readonly log: Log;
}

export interface Host {
  /** Resolves when all children are up. Throws `not-ready`. */
  readonly ready: Promise<void>;
  /** The roles in this process; they change when the supervisor starts them again. */
  role(role: Role): RunningRole;
  stop(): Promise<void>;
}

/** Starts the host; it can be stopped before it is ready. */
export async function startHost({ url, model, workers, log }: HostOptions): Promise<Host> {
  const creds = folder('creds');
  let local: readonly RunningRole[] = [];

  const process = (role: 'worker' | 'coordinator', id: string): ChildSpec => ({
    id,
    essential: role === 'coordinator',
    start: async () => {
      await credentials(role, id, creds);
      return startProcess(role, id, ['--nats', url, '--creds', creds]);
    },
  });
  const enclave = rolesAsChild(
    ['broker', 'runner', 'gpu', 'enclave'],
    { url, creds, id: ENCLAVE, log, model },
    (running) => {
      local = running;
    },
  );
  const renewed = () => credentials('supervisor', HOST, creds);
  const supervisor = await startRole(
    { role: 'supervisor', id: HOST, url, creds: await renewed(), renewed, log },
    supervisorRole([
      enclave,
      ...Array.from({ length: workers }, (_, i) => process('worker', `worker-${i + 1}`)),
      // Stopped first, while its workers can still finish what it has asked for.
      process('coordinator', 'coordinator-1'),
    ]),
  );
  const ready = untilUp(supervisor, START_MS);
  // A caller that stops the host may never look.
  ready.catch(() => {});
  return {
    ready,
    role(role) {
      const found = local.find((one) => one.role === role);
      if (!found) throw new VouchError('not-ready', `no ${role} runs on this host`);
      return found;
    },
    stop: () => supervisor.stop(),
  };
}
