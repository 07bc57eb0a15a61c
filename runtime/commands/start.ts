/** `vouch start`: runs roles in this process until they are stopped, or do not work any more. */
import { VouchError } from '../../protocols/errors.ts';
import type { ProviderName } from '../attest/provider.ts';
import type { Log } from '../home/log.ts';
import { credentials, idIn } from '../installation/credentials.ts';
import { connect } from '../nats/connect.ts';
import { insecureBlinding } from '../prove/blinding.ts';
import type { EngineName } from '../prove/host-engine.ts';
import { closeSnarkjs } from '../prove/snarkjs.ts';
import { LIFELINE, READY_LINE } from '../roles/child.ts';
import type { RunningRole } from '../roles/host.ts';
import { startMonitorRole } from '../roles/monitor.ts';
import { STARTABLE, type Startable, startRoles, stopRoles } from '../roles/start.ts';
import type { Network } from './network.ts';

const DEFAULT_ID = 'local-1';
const KNOWN = [...STARTABLE, 'monitor'] as const;
type Known = (typeof KNOWN)[number];

export interface StartCommand extends Network {
  readonly id?: string;
  readonly model?: string;
  readonly threads?: number;
  /** what a worker multiplies with, and a coordinator transforms */
  readonly engine?: EngineName;
  /** MiB that keys and points may take of a GPU */
  readonly gpuMemory?: number;
  readonly policy?: string;
  /** who makes the evidence of attested roles */
  readonly provider?: ProviderName;
  /** the GPU to pass through, who gets it, and who knows its CC mode */
  readonly pci?: readonly string[];
  readonly vmOwner?: string;
  readonly ccTool?: string;
  /** points of a coordinator's shards at most */
  readonly shardPoints?: number;
  /** the monitor's */
  readonly port?: number;
}

export interface Running {
  /** Resolves when an actor failed for good, or when the parent that this process belongs to is gone. */
  readonly over: Promise<'failed' | 'orphaned'>;
  stop(): Promise<void>;
}

/** Starts the roles and says when they are up. Nothing is left behind when one does not come up. */
export async function startCommand(
  names: readonly string[],
  options: StartCommand,
  print: Log,
): Promise<Running> {
  // What a child says lands in a file.
  const say: Log = process.env[LIFELINE] ? (line) => print(`${new Date().toISOString()} ${line}`) : print;
  const wrong = names.find((name) => !(KNOWN as readonly string[]).includes(name));
  if (wrong) {
    throw new VouchError('bad-input', `start: expected roles among ${KNOWN.join(', ')}, got ${wrong}`);
  }
  const roles = names as readonly Known[];
  const id = options.id ?? idIn(options.creds, roles[0]!) ?? DEFAULT_ID;
  const stops: Array<() => Promise<unknown>> = [closeSnarkjs];
  const stop = async () => {
    for (const each of stops.splice(0).reverse()) await each();
  };
  try {
    // First, because a port that is taken is the likeliest failure.
    if (roles.includes('monitor')) await startMonitor(id, options, stops, say);
    const running = await startRoles(
      roles.filter((role): role is Startable => role !== 'monitor'),
      { ...options, id, log: say, insecureBlinding: insecureBlinding() },
    );
    stops.push(() => stopRoles(running, say));
    process.stdout.write(`${READY_LINE}\n`);
    return { over: Promise.race([failed(running, say, options), orphaned()]), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startMonitor(
  id: string,
  { url, creds, port }: StartCommand,
  stops: Array<() => Promise<unknown>>,
  log: Log,
): Promise<void> {
  const bus = await connect({ url, creds: await credentials('monitor', id, creds) });
  stops.push(() => bus.close());
  const page = await startMonitorRole({ bus, simulated: true, log, ...(port === undefined ? {} : { port }) });
  stops.push(() => page.close());
  log(`monitor: ${page.url}`);
}

/** No GPU is a state to report, not a failure, unless one was named. */
function failed(running: readonly RunningRole[], say: Log, { pci }: StartCommand): Promise<'failed'> {
  return new Promise((resolve) => {
    for (const { role, actor } of running) {
      if (role === 'gpu' && !pci) continue;
      actor.subscribe(({ value }: { value: unknown }) => {
        if (value !== 'failed' && value !== 'suspended' && value !== 'quarantined') return;
        say(`${role} ${actor.id} is ${value} and does not work any more; see above`);
        resolve('failed');
      });
    }
  });
}

/** A child of `npm start` ends with the pipe to its stdin; a process that a person started has no such parent. */
function orphaned(): Promise<'orphaned'> {
  return new Promise((resolve) => {
    if (!process.env[LIFELINE]) return;
    const gone = () => resolve('orphaned');
    process.stdin.once('end', gone).once('close', gone).resume();
  });
}
