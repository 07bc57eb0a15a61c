/**
 * Starts roles by name, with what each needs from the command line or from `.vouch`: the one place that knows
 * all roles. Roles that share a machine (enclave, gpu, runner) share one `Neighbours`.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { type Policy, parsePolicy } from '../../protocols/attestation/policy.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import type { Role } from '../../protocols/subjects.ts';
import { folder, readNamed, writeWhole } from '../context.ts';
import { inState, type RunningRole, type StartRole, startRole, until } from '../host.ts';
import { type Authority, ensureAuthority } from '../keys.ts';
import type { Log } from '../service.ts';
import { startBroker } from './broker.ts';
import { coordinatorRole } from './coordinator.ts';
import { enclaveRole } from './enclave.ts';
import { gpuRole } from './gpu.ts';
import type { Neighbours } from './neighbours.ts';
import { runnerRole } from './runner.ts';
import { workerRole } from './worker.ts';

/** Roles that `vouch start` takes. `monitor` is not an actor and is started by the CLI itself. */
export const STARTABLE = ['enclave', 'gpu', 'runner', 'worker', 'coordinator', 'broker'] as const;
export type Startable = (typeof STARTABLE)[number];

/** The policies that a host of the demonstration uses, by what they judge. */
export const POLICIES = ['inference', 'prover', 'worker'] as const;
export type PolicyName = (typeof POLICIES)[number];
export const policyFile = (name: PolicyName): string => folder('policies', `${name}.json`);

/** Reads a policy that a person named, or this installation's. Throws `bad-file`, `bad-input`. */
export function readPolicy(file: string): Policy {
  const text = new TextDecoder().decode(readNamed(file, 'policy', 1024 * 1024));
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new VouchError('bad-file', `policy ${file}: expected JSON`);
  }
  return parsePolicy(json);
}

export interface StartOptions {
  readonly url: string;
  /** a `.creds` file, or a folder of `<role>_<id>.creds` */
  readonly creds: string;
  readonly id: string;
  readonly log: Log;
  readonly model?: string | undefined;
  readonly threads?: number | undefined;
  readonly policy?: string | undefined;
  /** for tests that compare proofs: see CoordinatorOptions */
  readonly insecureBlinding?: { readonly r: bigint; readonly s: bigint } | undefined;
}

/** The credentials of one role: from the file or folder given, else minted by this installation's own keys. */
export async function credentials(role: Role, id: string, from: string): Promise<string> {
  const file = from.endsWith('.creds') ? from : path.join(from, `${role}_${id}.creds`);
  if (existsSync(file)) return readFileSync(file, 'utf8');
  if (from.endsWith('.creds') || path.resolve(from) !== folder('creds')) {
    throw new VouchError(
      'nats-credentials',
      `credentials ${file}: there is no such file; make it with: vouch creds ${role} --id ${id}`,
    );
  }
  const text = await (await authority()).mintUser(role, id);
  await writeWhole(file, text);
  return text;
}

let ours: Promise<Authority> | undefined;
/** This installation's NATS authority, made on first use. */
export function authority(): Promise<Authority> {
  ours ??= ensureAuthority(folder());
  return ours;
}

function roleOf(role: Startable, neighbours: Neighbours, options: StartOptions): StartRole {
  const policy = (name: PolicyName) => readPolicy(options.policy ?? policyFile(name));
  switch (role) {
    case 'enclave':
      return enclaveRole(neighbours, policy('inference'));
    case 'gpu':
      return gpuRole(neighbours);
    case 'runner':
      if (!options.model) throw new VouchError('bad-input', 'start runner: expected --model NAME, got none');
      return runnerRole(neighbours, options.model);
    case 'worker':
      return workerRole(options.threads === undefined ? {} : { threads: options.threads });
    case 'coordinator':
      return coordinatorRole({
        workerPolicy: policy('worker'),
        ...(options.threads === undefined ? {} : { threads: options.threads }),
        insecureBlinding: options.insecureBlinding,
      });
    case 'broker':
      return startBroker;
  }
}

/** The state in which a role is up. */
const UP: Record<Startable, (running: RunningRole) => Promise<void>> = {
  enclave: async ({ actor }) => {
    actor.send({ type: 'enclave.start' });
    await until(actor, ({ value }) => value === 'serving' || value === 'quarantined', 90_000);
    if (inState(actor, 'quarantined'))
      throw new VouchError('not-ready', 'the enclave is quarantined: see the log');
  },
  // No GPU is a state to report, not a failure.
  gpu: ({ actor }) => until(actor, ({ value }) => value === 'ready' || value === 'failed', 30_000),
  runner: async () => {},
  worker: async ({ actor }) => {
    await until(
      actor,
      ({ value }) => ['idle', 'fetching', 'computing', 'failed', 'suspended'].includes(String(value)),
      60_000,
    );
    if (inState(actor, 'failed') || inState(actor, 'suspended'))
      throw new VouchError('not-ready', 'the worker failed its start: see the log');
  },
  coordinator: async ({ actor }) => {
    await until(actor, ({ value }) => value === 'admitting' || value === 'failed', 30_000);
    if (inState(actor, 'failed'))
      throw new VouchError('not-ready', 'the coordinator could not join: see the log');
  },
  broker: ({ actor }) => until(actor, ({ value }) => value === 'ready', 30_000),
};

/**
 * Starts roles in one process: a runner before its enclave, because the enclave waits for it. When one does not
 * come up the others are stopped again.
 */
export async function startRoles(roles: readonly Startable[], options: StartOptions): Promise<RunningRole[]> {
  if (roles.includes('runner') && !(roles.includes('enclave') && roles.includes('gpu'))) {
    throw new VouchError(
      'bad-input',
      'start runner: it runs inside an enclave with a GPU or without; expected: start enclave gpu runner',
    );
  }
  const neighbours: Neighbours = {};
  const order: Startable[] = ['broker', 'runner', 'gpu', 'enclave', 'worker', 'coordinator'];
  const running: RunningRole[] = [];
  try {
    for (const role of order.filter((name) => roles.includes(name))) {
      const creds = await credentials(role, options.id, options.creds);
      const started = await startRole(
        { role, id: options.id, url: options.url, creds, log: options.log },
        roleOf(role, neighbours, options),
      );
      running.push(started);
      await UP[role](started);
    }
    return running;
  } catch (error) {
    await stopRoles(running, options.log);
    throw error;
  }
}

/** Stops the runner first, because it drains, then the others in the reverse of the order they were started in. */
export async function stopRoles(running: readonly RunningRole[], log: Log): Promise<void> {
  const runners = running.filter(({ role }) => role === 'runner');
  const others = running.filter(({ role }) => role !== 'runner');
  for (const role of [...runners, ...others.reverse()]) {
    await role.stop().catch((error: unknown) => log(`${role.role}.${role.id}: ${messageOf(error)}`));
  }
}
