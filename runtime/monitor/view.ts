/**
 * How the model reads at a given moment: who is alive, which job is running, for whom no hardware vouches. Pure, and
 * served to the browser as it stands; `now` is always on the clock of the observations.
 */
import type { ActorKind } from '../../protocols/subjects.ts';
import type { Actor, Job, Model } from './model.ts';
import { missed } from './model.ts';
import type { WorkerShare } from './observation.ts';
import { isEnd, meaningOf } from './states.ts';
import { coarse, times } from './words.ts';

/** How long a transition alone vouches for an actor whose heartbeat, and so whose lease, is not known. */
export const DEFAULT_LEASE_MS = 10_000;
/** How long a running job may be silent before the page says so. */
export const JOB_LEASE_MS = 15_000;

/** `unknown` is not alive: its lease ran out in silence. `ended`: its last state was its end. */
export type Liveness = 'alive' | 'unknown' | 'ended';

/** States in which an actor's process may end without a further word: it holds nothing, and nobody waits for it. */
const AT_REST: Readonly<Partial<Record<ActorKind, readonly string[]>>> = {
  gpu: ['unbound'],
  enclave: ['absent'],
};

/**
 * `now` is on the clock of the observations. `coordinatorAt`: when a coordinator was heard last. It speaks for its jobs, so
 * one that it has not named for longer than a lease is over, although nobody here heard how.
 */
export function liveness(actor: Actor, now: number, coordinatorAt = Number.NEGATIVE_INFINITY): Liveness {
  if (isEnd(actor.kind, actor.state)) return 'ended';
  const lease = actor.leaseMs ?? DEFAULT_LEASE_MS;
  if (now - actor.heardAt <= lease) return 'alive';
  if (AT_REST[actor.kind]?.includes(actor.state)) return 'ended';
  return actor.kind === 'proof-job' && coordinatorAt > actor.heardAt + lease ? 'ended' : 'unknown';
}

/** When a coordinator was heard last, for `liveness`. */
export const coordinatorHeard = ({ actors }: Model): number =>
  [...actors.values()].reduce(
    (last, { kind, heardAt }) => (kind === 'coordinator' ? Math.max(last, heardAt) : last),
    Number.NEGATIVE_INFINITY,
  );

/** Is the job still being worked on, as far as was heard? `unknown` when it fell silent without an end. */
export function jobLiveness(job: Job, now: number, coordinatorAt = Number.NEGATIVE_INFINITY): Liveness {
  if (isEnd('proof-job', job.phase)) return 'ended';
  if (now - job.heardAt <= JOB_LEASE_MS) return 'alive';
  return coordinatorAt > job.heardAt + JOB_LEASE_MS ? 'ended' : 'unknown';
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
  const coordinatorAt = coordinatorHeard(model);
  const count = (wanted: Liveness) =>
    actors.filter((actor) => liveness(actor, now, coordinatorAt) === wanted).length;
  return {
    alive: count('alive'),
    unknown: count('unknown'),
    runningJobs: [...model.jobs.values()].filter((job) => jobLiveness(job, now, coordinatorAt) === 'alive')
      .length,
    missed: actors.reduce((sum, actor) => sum + missed(actor), 0),
    dropped: model.dropped.malformed + model.dropped.overflow,
    simulated: actors.some(isSimulated),
  };
}

/** Something that a person should do something about. */
export interface Attention {
  readonly key: string;
  readonly grave: boolean;
  /** what is wrong */
  readonly what: string;
  /** what to do */
  readonly todo: string;
}

/** How each kind is started; a job is its coordinator's, and a supervisor is a host's own. */
export const startOf = (kind: ActorKind): string =>
  kind === 'proof-job'
    ? 'vouch start coordinator'
    : kind === 'supervisor'
      ? 'vouch start'
      : `vouch start ${kind}`;

/** What needs attention, the gravest first; nothing where all is well. */
export function attention(model: Model, now: number): Attention[] {
  const coordinatorAt = coordinatorHeard(model);
  const found: Attention[] = [];
  for (const [key, actor] of model.actors) {
    const { kind, id, failure } = actor;
    const alive = liveness(actor, now, coordinatorAt);
    const about = failure?.errorId ? `look for ${failure.errorId} in its log` : 'look into its log';
    if (alive === 'unknown')
      found.push({
        key: `${key} silent`,
        grave: true,
        what: `${kind} ${id} has been silent for ${coarse(now - actor.heardAt)}, it was ${actor.state}.`,
        todo: `See whether its process runs and reaches NATS; ${startOf(kind)} starts one again.`,
      });
    else if (alive === 'alive' && meaningOf(kind, actor.state) === 'failed')
      found.push({
        key: `${key} failed`,
        grave: true,
        what: `${kind} ${id} does not work: ${failure ? failure.message.replace(/\.?$/, '.') : `it is ${actor.state}.`}`,
        todo: `${about.replace(/^l/, 'L')}, then start it again: ${startOf(kind)}.`,
      });
    if (missed(actor) > 0 && alive === 'alive')
      found.push({
        key: `${key} missed`,
        grave: false,
        what: `Of ${kind} ${id} ${missed(actor)} transitions never came.`,
        todo: 'What is shown is current, its history has holes; if the number grows, look at the load of NATS.',
      });
  }
  const { malformed, overflow } = model.dropped;
  if (malformed > 0)
    found.push({
      key: 'malformed',
      grave: false,
      what: `Messages were refused ${times(malformed)}: they are not what their subject says, or speak for another actor.`,
      todo: 'Run the same version everywhere; if all do, ask who holds credentials of a role that he should not have.',
    });
  if (overflow > 0)
    found.push({
      key: 'overflow',
      grave: false,
      what: `${overflow} messages came faster than this monitor could take them.`,
      todo: 'Give it more of a processor, or start it on another host: vouch start monitor.',
    });
  return found.sort((a, b) => Number(b.grave) - Number(a.grave));
}
