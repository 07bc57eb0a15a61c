/** `vouch start`: runs roles in this process until they are stopped, or do not work any more. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, Option } from '@commander-js/extra-typings';
import { type AnyMachineSnapshot, createActor } from 'xstate';
import { VouchError } from '../../protocols/errors.ts';
import { LIFELINE } from '../home/home.ts';
import type { Log } from '../home/log.ts';
import { credentials, idIn } from '../installation/credentials.ts';
import { parseAddress } from '../nats/address.ts';
import { connect } from '../nats/connect.ts';
import { insecureBlinding } from '../prove/blinding.ts';
import { READY_LINE } from '../roles/child.ts';
import { createEffects } from '../roles/effects.ts';
import type { Health } from '../roles/health.ts';
import { hasTag, type RunningRole, sentenceOf, until } from '../roles/host.ts';
import { startMonitorRole } from '../roles/monitor.ts';
import { demandStartable, rolesAsChild, STARTABLE, type Startable } from '../roles/start.ts';
import { type RunningChild, supervise } from '../roles/supervisor.ts';
import {
  allowSimulator,
  engineOption,
  gpuShareOption,
  gpuTurnsOption,
  loggingOf,
  logLevelOption,
  logOption,
  networked,
  type OptionsOf,
  providerOption,
  simulatedOption,
  waitOption,
  whole,
} from './declaration.ts';
import { type Network, networkOf } from './network.ts';
import { aborted, interruption, logAs, say } from './terminal.ts';

const DEFAULT_ID = 'local-1';
/** Longer than any role takes to come up, or to drain, all together. */
const START_MS = 40 * 60_000;
const STOP_MS = 120_000;
/** While NATS does not answer: how often it is tried, and how often that is said. */
const LOOK_MS = 1_000;
const SAY_MS = 60_000;
const KNOWN = [...STARTABLE, 'monitor'] as const;
type Known = (typeof KNOWN)[number];

const declared = (command: Command) =>
  networked(command)
    .argument('<roles...>', 'one or several roles, for example: worker, or: enclave gpu runner')
    .option('--id <id>', "the actors' id, as in their credentials; default: theirs, else local-1")
    .option('--model <name>', 'the model that a runner serves')
    .option(
      '--upstream <url>',
      "for a model that answers in text: a server of OpenAI's API on loopback, in this TEE, instead of llama.cpp in this process",
    )
    .option(
      '--weights <file>',
      'with --upstream: the file that it was started with, compared with the commitment',
    )
    .option('--tokenizer <file>', 'with --upstream: the same of a tokenizer that was published')
    .option('--template <file>', 'with --upstream: the same of a chat template that was published')
    .addOption(
      new Option('--llama <build>', 'which build of llama.cpp; default: cpu').choices([
        'cpu',
        'cuda',
        'vulkan',
      ] as const),
    )
    .option(
      '--threads <n>',
      "threads of a coordinator (default: the machine's cores) or of a worker (default 1)",
      whole(1, 64),
    )
    .addOption(
      engineOption(
        'what a worker multiplies with (default: auto, the GPU where there is one), and a coordinator transforms with (default: wasm)',
      ),
    )
    .option('--gpu-memory <MiB>', 'what keys and points may take of a GPU', whole(16, 2 ** 20))
    .addOption(gpuShareOption())
    .addOption(gpuTurnsOption())
    .option(
      '--bases-disk <MiB>',
      "what base points may take of a worker's disk; 0 keeps none; default 8192",
      whole(0, 2 ** 30),
    )
    .option(
      '--weights-disk <MiB>',
      "what a model's encrypted files may take of a runner's disk; 0 keeps none; default 262144",
      whole(0, 2 ** 30),
    )
    .option('--shard-points <n>', "scalars of a coordinator's shards at most", whole(16, 1 << 20))
    .option('--own-sums', 'a coordinator sums as well, beside its workers, while its threads are idle')
    .option('--jobs <n>', 'proofs that a coordinator makes at a time, default 3', whole(1, 16))
    .option(
      '--policy <name>',
      "what the evidence of others has to satisfy: genuine, strict or a file; default: beside the credentials, else this installation's",
    )
    .option(
      '--pci <address>',
      'the GPU that a gpu actor hands to a VM, such as 0000:65:00.0; again for what has to go with it',
      (address: string, before: string[] | undefined) => [...(before ?? []), address],
    )
    .option('--vm-owner <uid:gid>', "who may open the GPU's VFIO group; default: unchanged")
    .option('--cc-tool <program>', "what tells a GPU's CC mode; default: nvidia_gpu_tools.py")
    .addOption(providerOption('who makes evidence; default: simulated'))
    .addOption(simulatedOption)
    .option(
      '--health <host:port>',
      'where /healthz, /readyz and /metrics of this process are answered; default: nowhere',
    )
    .option('--port <port>', "the monitor's port; default: a free one", whole(1, 65_535))
    .addOption(logOption())
    .addOption(logLevelOption())
    .addOption(waitOption());

export type StartCommand = Network & Omit<Partial<OptionsOf<typeof declared>>, keyof Network>;

export const define = (command: Command) =>
  declared(command).action(async (roles, options) => {
    allowSimulator(options.simulated);
    await logAs(loggingOf(options));
    await runUntilOver(roles, { ...options, ...networkOf(options) }, say);
  });

/** Starts the roles, and stops them at Ctrl-C, or when they are over. */
export async function runUntilOver(
  roles: readonly string[],
  options: StartCommand,
  print: Log,
): Promise<void> {
  const signal = interruption();
  const starting = startCommand(roles, options, print);
  // What is not up yet has nothing to drain: it ends with the process.
  const running = await Promise.race([starting, aborted(signal)]);
  if (!running) throw new VouchError('cancelled', 'stopped');
  const end = await Promise.race([aborted(signal), running.over]);
  if (end === 'failed') process.exitCode = 1;
  await running.stop();
}

/** Why a started process may end by itself. */
export type End = 'failed' | 'drained' | 'orphaned';

export interface Running {
  /** Resolves when an actor failed for good, all were drained, or the parent that this process belongs to is gone. */
  readonly over: Promise<End>;
  stop(): Promise<void>;
}

/** Starts the roles and says when they are up. Nothing is left behind when one does not come up. */
export async function startCommand(
  names: readonly string[],
  options: StartCommand,
  log: Log,
): Promise<Running> {
  const wrong = names.find((name) => !(KNOWN as readonly string[]).includes(name));
  if (wrong) {
    throw new VouchError('bad-input', `start: expected roles among ${KNOWN.join(', ')}, got ${wrong}`);
  }
  demandStartable(names);
  const roles = names as readonly Known[];
  const id = options.id ?? idIn(options.creds, roles[0]!) ?? DEFAULT_ID;
  const stops: Array<() => Promise<unknown>> = [];
  const stop = async () => {
    for (const each of stops.splice(0).reverse()) await each();
  };
  try {
    const health =
      options.health === undefined ? undefined : await listenForHealth(options.health, stops, log);
    await awaitNats(roles[0]!, { ...options, id }, log);
    // First, because a port that is taken is the likeliest failure.
    if (roles.includes('monitor')) await startMonitor(id, options, stops, log);
    const actors = roles.filter((role): role is Startable => role !== 'monitor');
    const over = actors.length > 0 ? await startActors(actors, { ...options, id }, stops, log, health) : [];
    process.stdout.write(`${READY_LINE}\n`);
    return { over: Promise.race([...over, orphaned()]), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * Waits until NATS answers, with a line a minute. Throws `not-ready` when the patience that was asked for is over, and at
 * once what waiting does not mend.
 */
async function awaitNats(
  role: Known,
  { id, url, creds, wait = Number.POSITIVE_INFINITY }: StartCommand & { id: string },
  log: Log,
): Promise<void> {
  const deadline = performance.now() + wait * 60_000;
  for (let said = Number.NEGATIVE_INFINITY; ; await sleep(LOOK_MS)) {
    try {
      // Who connects later is the one who warns.
      const bus = await connect({ url, creds: await credentials(role, id, creds), warn: () => {} });
      return await bus.close();
    } catch (error) {
      if (!(error instanceof VouchError && error.code === 'nats-unreachable')) throw error;
      const now = performance.now();
      if (now >= deadline) throw new VouchError('not-ready', error.message);
      if (now - said < SAY_MS) continue;
      said = now;
      log(`${error.message}; waiting for it`, { level: 'warn' });
    }
  }
}

/**
 * Starts actors under a supervisor of this process's own, which starts all of them again when one fails in a way that
 * may pass (a lost GPU, say) and gives up when that happens too often. Throws what keeps them from the first start. The
 * promise of their end comes in a list, because a promise alone would be waited for.
 */
async function startActors(
  roles: readonly Startable[],
  options: StartCommand & { id: string },
  stops: Array<() => Promise<unknown>>,
  log: Log,
  health?: Health | undefined,
): Promise<[Promise<End>]> {
  const { promise: over, resolve } = Promise.withResolvers<End>();
  const watch = (running: readonly RunningRole[]) => {
    health?.watch(running);
    for (const { role, id, actor, failure } of running) {
      if (role === 'gpu' && !options.pci) continue;
      const watching = actor.subscribe((now: AnyMachineSnapshot) => {
        const why = failure();
        if (!why) return;
        watching.unsubscribe();
        log(`${role} ${id} is ${now.value}: ${sentenceOf(why)}`, {
          level: 'error',
          role,
          id,
          error: why.errorId,
          code: why.code,
        });
        // The same would happen again.
        if (now.context.failure?.retryable === false) resolve('failed');
      });
    }
  };
  const child = rolesAsChild(
    roles,
    { ...options, log, timed: health?.timed, insecureBlinding: insecureBlinding() },
    watch,
  );
  let refusal: unknown;
  let current: RunningChild | undefined;
  let up = false;
  const actor = supervise(
    [
      {
        ...child,
        async start() {
          const handle = await child.start().catch((error: unknown) => {
            refusal ??= error;
            throw error;
          });
          void handle.exited.then((code) => code === 0 && resolve('drained'));
          current = handle;
          return handle;
        },
      },
    ],
    {
      id: options.id,
      log,
      // What keeps it from the first start is thrown, and said by whoever catches it.
      effect: createEffects(options.id, (line, fields) => up && log(line, fields)).effect,
      run: (machine, input) => createActor(machine, { input }).start(),
    },
  );
  stops.push(async () => {
    actor.send({ type: 'supervisor.stop' });
    await until(actor, (now) => now.hasTag('settled'), STOP_MS);
    // A supervisor does not wait for a child as long as a role may take to drain.
    await current?.exited;
    actor.stop();
  });
  actor.subscribe((now) => {
    if (now.hasTag('failed')) resolve('failed');
  });
  await until(actor, (now) => now.hasTag('up') || now.hasTag('failed'), START_MS);
  if (hasTag(actor, 'failed')) throw refusal;
  up = true;
  return [over];
}

async function listenForHealth(
  address: string,
  stops: Array<() => Promise<unknown>>,
  log: Log,
): Promise<Health> {
  const { host, port } = parseAddress(address, '--health');
  if (port === undefined) throw new VouchError('bad-input', `--health: expected HOST:PORT, got ${address}`);
  // On demand: what counts is a package that actors do without.
  const { startHealth } = await import('../roles/health.ts');
  const health = await startHealth({ host, port });
  stops.push(() => health.close());
  log(`health: ${health.url}/healthz, /readyz, /metrics`);
  return health;
}

async function startMonitor(
  id: string,
  { url, creds, port }: StartCommand,
  stops: Array<() => Promise<unknown>>,
  log: Log,
): Promise<void> {
  const renewed = () => credentials('monitor', id, creds);
  const bus = await connect({ url, creds: await renewed(), renewed, warn: log });
  stops.push(() => bus.close());
  const page = await startMonitorRole({ bus, log, ...(port === undefined ? {} : { port }) });
  stops.push(() => page.close());
  log(`monitor: ${page.url}`);
}

/** A child of `npm start` ends with the pipe to its stdin; a process that a person started has no such parent. */
function orphaned(): Promise<'orphaned'> {
  return new Promise((resolve) => {
    if (!process.env[LIFELINE]) return;
    const gone = () => resolve('orphaned');
    process.stdin.once('end', gone).once('close', gone).resume();
  });
}
