/**
 * Starts roles by name, with what each needs from the command line or from `.vouch`: the one place that knows
 * all roles. Roles that share a machine (enclave, gpu, runner) share one `Neighbours`.
 */
import { setFlagsFromString } from 'node:v8';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import type { Provider, ProviderName } from '../attest/provider.ts';
import { providerOf } from '../attest/providers.ts';
import type { Log } from '../home/log.ts';
import type { LlamaBuild } from '../inference/llama-package.ts';
import { credentials, kitOf, platformIn, requestersIn } from '../installation/credentials.ts';
import { findPolicy, type PolicyName } from '../installation/policies.ts';
import type { EngineName } from '../prove/host-engine.ts';
import { brokerRole } from './broker.ts';
import { coordinatorRole } from './coordinator.ts';
import { enclaveRole } from './enclave.ts';
import { gpuRole } from './gpu.ts';
import {
  hasTag,
  type RoleOptions,
  type RunningRole,
  type StartRole,
  startRole,
  until,
  untilUp,
} from './host.ts';
import type { Neighbours } from './neighbours.ts';
import { passthroughRole } from './passthrough.ts';
import { runnerRole } from './runner.ts';
import type { ChildSpec } from './supervisor.ts';
import { textRunner } from './text-runner.ts';
import { workerRole } from './worker.ts';

/**
 * By how much of itself a heap grows, in percent, before V8 collects all of it. Roles pass on large messages, which count until
 * they are collected, and keep little: by V8's own measure a worker collected twice a proof, a tenth of its processor time.
 */
const HEAP_GROWTH = 200;

/** Roles that `vouch start` takes. `monitor` is not an actor and is started by the CLI itself. */
export const STARTABLE = ['enclave', 'gpu', 'runner', 'worker', 'coordinator', 'broker'] as const;
export type Startable = (typeof STARTABLE)[number];

export interface StartOptions {
  readonly url: string;
  /** a `.creds` file, or a folder of `<role>_<id>.creds` */
  readonly creds: string;
  readonly id: string;
  readonly log: Log;
  /** who hears how long effects take */
  readonly timed?: RoleOptions['timed'];
  readonly model?: string | undefined;
  readonly threads?: number | undefined;
  /** of a runner that answers in text: see TextRunner */
  readonly upstream?: string | undefined;
  readonly weights?: string | undefined;
  readonly tokenizer?: string | undefined;
  readonly template?: string | undefined;
  readonly llama?: LlamaBuild | undefined;
  /** what a worker multiplies with, and a coordinator transforms */
  readonly engine?: EngineName | undefined;
  /** MiB that keys and points may take of a GPU */
  readonly gpuMemory?: number | undefined;
  /** percent of a GPU's time that proofs may take while inferences run there */
  readonly gpuShare?: number | undefined;
  /** the folder where runners and workers on one GPU find each other */
  readonly gpuTurns?: string | undefined;
  /** MiB, of a worker's */
  readonly basesDisk?: number | undefined;
  /** MiB, of a runner's */
  readonly weightsDisk?: number | undefined;
  readonly policy?: string | undefined;
  /** who makes the evidence of attested roles; default: the simulator */
  readonly provider?: ProviderName | undefined;
  /** the gpu role's: see PassthroughRole; without an address it is this host's adapter */
  readonly pci?: readonly string[] | undefined;
  readonly vmOwner?: string | undefined;
  readonly ccTool?: string | undefined;
  /** see CoordinatorOptions */
  readonly shardPoints?: number | undefined;
  /** Does a coordinator sum as well? */
  readonly ownSums?: boolean | undefined;
  /** of a coordinator, at a time */
  readonly jobs?: number | undefined;
  /** for tests that compare proofs: see CoordinatorOptions */
  readonly insecureBlinding?: { readonly r: bigint; readonly s: bigint } | undefined;
}

const bytesOf = (mebibytes: number | undefined) => mebibytes && mebibytes * 2 ** 20;

async function roleOf(
  role: Startable,
  neighbours: Neighbours,
  provider: Provider | undefined,
  options: StartOptions,
): Promise<StartRole> {
  const policy = (name: PolicyName) => findPolicy(name, options.policy, kitOf(options.creds));
  const engine = {
    engine: options.engine,
    threads: options.threads,
    gpuBytes: bytesOf(options.gpuMemory),
    sharing: {
      share: options.gpuShare === undefined ? undefined : options.gpuShare / 100,
      directory: options.gpuTurns,
    },
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
      return runnerRole(neighbours, options.model, undefined, {
        ...textRunner({ ...options, diskBytes: bytesOf(options.weightsDisk) }),
        turns: options.gpuTurns,
      });
    case 'worker':
      return workerRole({
        ...engine,
        provider,
        diskBytes: bytesOf(options.basesDisk),
      });
    case 'coordinator':
      return coordinatorRole({
        ...engine,
        provider,
        requesters: await requestersIn(options.creds),
        workerPolicy: policy('worker'),
        shardPoints: options.shardPoints,
        ownSums: options.ownSums,
        jobs: options.jobs,
        insecureBlinding: options.insecureBlinding,
      });
    case 'broker':
      return brokerRole(await requestersIn(options.creds));
  }
}

/** The simulator signs by the platform that came with the credentials; hardware needs none. */
const providerFor = async ({ creds, provider = 'simulated' }: StartOptions): Promise<Provider> =>
  providerOf(provider, provider === 'simulated' ? { platform: await platformIn(creds) } : {});

/** How long a role may take to come up. The first measurement or sum on a GPU compiles all of its kernels. */
const UP_MS: Record<Startable, number> = {
  broker: 60_000,
  runner: 0,
  gpu: 180_000,
  // A large model is loaded meanwhile; what else may hang has its own limit in the enclave.
  enclave: 32 * 60_000,
  worker: 180_000,
  coordinator: 30_000,
};

/** Resolves when a role is up. A host without a GPU is one, unless somebody has named the GPU. */
async function comeUp(running: RunningRole, gpuNamed: boolean): Promise<void> {
  const { role, actor } = running;
  const limit = UP_MS[role as Startable];
  // The enclave waits for its runner.
  if (role === 'runner') return;
  if (role === 'enclave') actor.send({ type: 'enclave.start' });
  if (role === 'gpu' && !gpuNamed)
    await until(actor, (now) => now.hasTag('up') || now.hasTag('failed'), limit);
  else await untilUp(running, limit);
}

/** Throws `bad-input` for roles that do not work without others. */
export function demandStartable(roles: readonly string[]): void {
  if (roles.includes('runner') && !roles.includes('enclave')) {
    throw new VouchError(
      'bad-input',
      'start runner: it runs inside an enclave; expected: start enclave runner, or start enclave gpu runner where there is a GPU',
    );
  }
}

/**
 * Starts roles in one process: a runner before its enclave, because the enclave waits for it. When one does not
 * come up the others are stopped again.
 */
export async function startRoles(roles: readonly Startable[], options: StartOptions): Promise<RunningRole[]> {
  demandStartable(roles);
  setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH}`);
  const neighbours: Neighbours = {};
  const attested = roles.some((role) => ['enclave', 'worker', 'coordinator'].includes(role));
  const provider = attested ? await providerFor(options) : undefined;
  const order: Startable[] = ['broker', 'runner', 'gpu', 'enclave', 'worker', 'coordinator'];
  const running: RunningRole[] = [];
  try {
    for (const role of order.filter((name) => roles.includes(name))) {
      const renewed = () => credentials(role, options.id, options.creds);
      const started = await startRole(
        {
          role,
          id: options.id,
          url: options.url,
          creds: await renewed(),
          renewed,
          log: options.log,
          timed: options.timed,
        },
        await roleOf(role, neighbours, provider, options),
      );
      running.push(started);
      if (role === 'runner' && !roles.includes('gpu')) started.actor.send({ type: 'device.absent' });
      await comeUp(started, options.pci !== undefined);
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

/**
 * Roles that share a process as one child of a supervisor. It exits with 1 when one of them has failed, and with 0 when
 * all were drained. `onChange` is told of the roles whenever they were started.
 */
export function rolesAsChild(
  roles: readonly Startable[],
  options: StartOptions,
  onChange: (running: readonly RunningRole[]) => void = () => {},
): ChildSpec {
  return {
    id: options.id,
    essential: true,
    async start() {
      const running = await startRoles(roles, options);
      onChange(running);
      const { promise: exited, resolve } = Promise.withResolvers<number>();
      let stopped: Promise<void> | undefined;
      const stop = (code: number) => {
        stopped ??= stopRoles(running, options.log).then(() => resolve(code));
        return stopped;
      };
      const look = () => {
        // A GPU that is not there is a state to report; one that somebody has named is the whole point.
        const vital = running.filter(({ role }) => role !== 'gpu' || options.pci !== undefined);
        if (vital.some(({ actor }) => hasTag(actor, 'failed'))) void stop(1);
        else if (vital.length > 0 && vital.every(({ actor }) => hasTag(actor, 'settled'))) void stop(0);
      };
      for (const { actor } of running) actor.subscribe(look);
      look();
      return { exited, stop: () => stop(0) };
    },
  };
}
