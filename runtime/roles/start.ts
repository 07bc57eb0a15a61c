/**
 * Starts roles by name, with what each needs from the command line or from `.vouch`: the one place that knows
 * all roles. Roles that share a machine (enclave, gpu, runner) share one `Neighbours`.
 */
import { messageOf, VouchError } from '../../protocols/errors.ts';
import type { Provider, ProviderName } from '../attest/provider.ts';
import { providerOf } from '../attest/providers.ts';
import type { Log } from '../home/log.ts';
import { credentials, kitOf, platformIn } from '../installation/credentials.ts';
import { findPolicy, type PolicyName } from '../installation/policies.ts';
import type { EngineName } from '../prove/host-engine.ts';
import { startBroker } from './broker.ts';
import { coordinatorRole } from './coordinator.ts';
import { enclaveRole } from './enclave.ts';
import { gpuRole } from './gpu.ts';
import { inState, type RunningRole, type StartRole, startRole, until } from './host.ts';
import type { Neighbours } from './neighbours.ts';
import { passthroughRole } from './passthrough.ts';
import { runnerRole } from './runner.ts';
import { workerRole } from './worker.ts';

/** Roles that `vouch start` takes. `monitor` is not an actor and is started by the CLI itself. */
export const STARTABLE = ['enclave', 'gpu', 'runner', 'worker', 'coordinator', 'broker'] as const;
export type Startable = (typeof STARTABLE)[number];

export interface StartOptions {
  readonly url: string;
  /** a `.creds` file, or a folder of `<role>_<id>.creds` */
  readonly creds: string;
  readonly id: string;
  readonly log: Log;
  readonly model?: string | undefined;
  readonly threads?: number | undefined;
  /** what a worker multiplies with, and a coordinator transforms */
  readonly engine?: EngineName | undefined;
  /** MiB that keys and points may take of a GPU */
  readonly gpuMemory?: number | undefined;
  readonly policy?: string | undefined;
  /** who makes the evidence of attested roles; default: the simulator */
  readonly provider?: ProviderName | undefined;
  /** the gpu role's: see PassthroughRole; without an address it is this host's adapter */
  readonly pci?: readonly string[] | undefined;
  readonly vmOwner?: string | undefined;
  readonly ccTool?: string | undefined;
  /** see CoordinatorOptions */
  readonly shardPoints?: number | undefined;
  /** for tests that compare proofs: see CoordinatorOptions */
  readonly insecureBlinding?: { readonly r: bigint; readonly s: bigint } | undefined;
}

function roleOf(
  role: Startable,
  neighbours: Neighbours,
  provider: Provider | undefined,
  options: StartOptions,
): StartRole {
  const policy = (name: PolicyName) => findPolicy(name, options.policy, kitOf(options.creds));
  const engine = {
    engine: options.engine,
    threads: options.threads,
    gpuBytes: options.gpuMemory && options.gpuMemory * 2 ** 20,
  };
  switch (role) {
    case 'enclave':
      return enclaveRole(neighbours, policy('inference'), provider);
    case 'gpu':
      return options.pci
        ? passthroughRole(neighbours, { ...options, pci: options.pci })
        : gpuRole(neighbours);
    case 'runner':
      if (!options.model) throw new VouchError('bad-input', 'start runner: expected --model NAME, got none');
      return runnerRole(neighbours, options.model);
    case 'worker':
      return workerRole({ ...engine, provider });
    case 'coordinator':
      return coordinatorRole({
        ...engine,
        provider,
        workerPolicy: policy('worker'),
        shardPoints: options.shardPoints,
        insecureBlinding: options.insecureBlinding,
      });
    case 'broker':
      return startBroker;
  }
}

/** The simulator signs by the platform that came with the credentials; hardware needs none. */
const providerFor = async ({ creds, provider = 'simulated' }: StartOptions): Promise<Provider> =>
  providerOf(provider, provider === 'simulated' ? { platform: await platformIn(creds) } : {});

/** The state in which a role is up. */
const UP: Record<Startable, (running: RunningRole) => Promise<void>> = {
  enclave: async ({ actor }) => {
    actor.send({ type: 'enclave.start' });
    await until(actor, ({ value }) => value === 'serving' || value === 'quarantined', 90_000);
    if (inState(actor, 'quarantined'))
      throw new VouchError('not-ready', 'the enclave is quarantined: see the log');
  },
  // No GPU is a state to report, not a failure.
  // The first measurement on a device compiles all kernels.
  gpu: ({ actor }) => until(actor, ({ value }) => value === 'ready' || value === 'failed', 180_000),
  runner: async () => {},
  worker: async ({ actor }) => {
    await until(
      actor,
      ({ value }) => ['idle', 'fetching', 'computing', 'failed', 'suspended'].includes(String(value)),
      // The first sums on a GPU compile its kernels.
      180_000,
    );
    if (inState(actor, 'failed') || inState(actor, 'suspended'))
      throw new VouchError('not-ready', 'the worker failed its start: see the log');
  },
  coordinator: async ({ actor }) => {
    await until(actor, ({ value }) => value === 'admitting' || value === 'failed', 30_000);
    if (inState(actor, 'failed'))
      throw new VouchError('not-ready', 'the coordinator could not join: see the log');
  },
  broker: async ({ actor }) => {
    if (inState(actor, 'failed'))
      throw new VouchError('not-ready', 'the key-broker cannot open its audit log: see the log');
  },
};

/** Whoever names a GPU wants that one. */
async function passedThrough({ actor }: RunningRole): Promise<void> {
  await until(actor, ({ value }) => value === 'ready' || value === 'failed', 180_000);
  if (inState(actor, 'failed'))
    throw new VouchError('not-ready', 'the GPU is not ready for a VM: see the log');
}

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
  const attested = roles.some((role) => ['enclave', 'worker', 'coordinator'].includes(role));
  const provider = attested ? await providerFor(options) : undefined;
  const order: Startable[] = ['broker', 'runner', 'gpu', 'enclave', 'worker', 'coordinator'];
  const running: RunningRole[] = [];
  try {
    for (const role of order.filter((name) => roles.includes(name))) {
      const creds = await credentials(role, options.id, options.creds);
      const started = await startRole(
        { role, id: options.id, url: options.url, creds, log: options.log },
        roleOf(role, neighbours, provider, options),
      );
      running.push(started);
      await (role === 'gpu' && options.pci ? passedThrough(started) : UP[role](started));
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
