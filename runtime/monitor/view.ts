/**
 * How the model reads at a given moment: who is alive, which job is running, for whom no hardware vouches. Pure, and
 * served to the browser as it stands; `now` is always on the clock of the observations.
 */
import type { Actor, Job, Model } from './model.ts';
import { missed } from './model.ts';
import type { WorkerShare } from './observation.ts';
import { isEnd } from './states.ts';

/** How long a transition alone vouches for an actor whose heartbeat, and so whose lease, is not known. */
export const DEFAULT_LEASE_MS = 10_000;
/** How long a running job may be silent before the page says so. */
export const JOB_LEASE_MS = 15_000;

/** `unknown` is not alive: its lease ran out in silence. `ended`: its last state was its end. */
export type Liveness = 'alive' | 'unknown' | 'ended';

/** `now` is on the clock of the observations. */
export function liveness(actor: Actor, now: number): Liveness {
  if (isEnd(actor.kind, actor.state)) return 'ended';
  return now - actor.heardAt <= (actor.leaseMs ?? DEFAULT_LEASE_MS) ? 'alive' : 'unknown';
}

/** Is the job still being worked on, as far as was heard? `unknown` when it fell silent without an end. */
export function jobLiveness(job: Job, now: number): Liveness {
  if (isEnd('proof-job', job.phase)) return 'ended';
  return now - job.heardAt <= JOB_LEASE_MS ? 'alive' : 'unknown';
}

/** Who needs hardware that vouches for it: these see plaintext. */
const ATTESTED: readonly string[] = ['enclave', 'worker', 'coordinator'];

/** Did the actor not say that hardware's evidence was accepted for it? Silence counts as no. */
export const isSimulated = ({ kind, counts }: Actor): boolean =>
  ATTESTED.includes(kind) && counts.hardware !== 1;

/** "10 of 40, 2 in flight"; without a plan there is nothing that they could be of. */
export function shareText({ done, inFlight }: WorkerShare, { total }: Job): string {
  const part = total === 0 ? `${done} done` : `${done} of ${total}`;
  return inFlight === 0 ? part : `${part}, ${inFlight} in flight`;
}

/** How far the shards are, from 0 to 1; null without a plan. */
export const partOf = (done: number, { total }: Job): number | null => (total === 0 ? null : done / total);

export interface Summary {
  readonly alive: number;
  readonly unknown: number;
  readonly runningJobs: number;
  readonly missed: number;
  readonly dropped: number;
  readonly simulated: boolean;
}

export function summarise(model: Model, now: number): Summary {
  const actors = [...model.actors.values()];
  const count = (wanted: Liveness) => actors.filter((actor) => liveness(actor, now) === wanted).length;
  return {
    alive: count('alive'),
    unknown: count('unknown'),
    runningJobs: [...model.jobs.values()].filter((job) => jobLiveness(job, now) === 'alive').length,
    missed: actors.reduce((sum, actor) => sum + missed(actor), 0),
    dropped: model.dropped.malformed + model.dropped.overflow,
    simulated: actors.some(isSimulated),
  };
}
