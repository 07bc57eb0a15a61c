/**
 * How the model reads at a given moment: who is alive, which job is running, and the tone of a state. Pure, and
 * served to the browser as it stands; `now` is always on the clock of the observations.
 */
import type { Actor, Job, Model } from './model.ts';
import { hasEnded, isTerminal, leaf, missed } from './model.ts';

/** How long a transition alone vouches for an actor whose heartbeat, and so whose lease, is not known. */
export const DEFAULT_LEASE_MS = 10_000;
/** How long a running job may be silent before the page says so. */
export const JOB_LEASE_MS = 15_000;

/** `unknown` is not alive: its lease ran out in silence. `ended` said itself that it is through. */
export type Liveness = 'alive' | 'unknown' | 'ended';

/** `now` is on the clock of the observations. */
export function liveness(actor: Actor, now: number): Liveness {
  if (hasEnded(actor)) return 'ended';
  return now - actor.heardAt <= (actor.leaseMs ?? DEFAULT_LEASE_MS) ? 'alive' : 'unknown';
}

/** Is the job still being worked on, as far as was heard? `unknown` when it fell silent without an end. */
export function jobLiveness(job: Job, now: number): Liveness {
  if (isTerminal(job.phase)) return 'ended';
  return now - job.heardAt <= JOB_LEASE_MS ? 'alive' : 'unknown';
}

/** How a state should look; the word itself is always shown too. */
export type Tone = 'good' | 'busy' | 'bad' | 'quiet';

const GOOD = ['ready', 'serving', 'idle', 'supervising', 'admitting', 'published'];
const BAD = ['failed', 'quarantined', 'suspended', 'refused'];
const QUIET = ['absent', 'unbound', 'waiting', 'queued', 'stopped', 'destroyed'];

export function tone(state: string): Tone {
  const name = leaf(state);
  if (GOOD.includes(name)) return 'good';
  if (BAD.includes(name)) return 'bad';
  return QUIET.includes(name) ? 'quiet' : 'busy';
}

/** An enclave that says so itself; no hardware vouches for it. */
export const isSimulated = (actor: Actor): boolean => actor.kind === 'enclave' && actor.counts.hardware === 0;

export interface Summary {
  readonly alive: number;
  readonly unknown: number;
  readonly ended: number;
  readonly runningJobs: number;
  readonly missed: number;
  readonly dropped: number;
  readonly simulated: boolean;
}

export function summarise(model: Model, now: number): Summary {
  const actors = [...model.actors.values()];
  const having = (wanted: Liveness) => actors.filter((actor) => liveness(actor, now) === wanted).length;
  return {
    alive: having('alive'),
    unknown: having('unknown'),
    ended: having('ended'),
    runningJobs: [...model.jobs.values()].filter((job) => jobLiveness(job, now) === 'alive').length,
    missed: actors.reduce((sum, actor) => sum + missed(actor), 0),
    dropped: model.dropped.malformed + model.dropped.overflow,
    simulated: actors.some(isSimulated),
  };
}
