/**
 * Takes proof requests, a few at a time, runs one `proofJob` for each, and knows the workers: one `fleetMember` each.
 *
 *   joining -> admitting -> draining -> stopped       on `coordinator.drain`; running jobs may finish, for a while
 *   joining, admitting -> failed                      when joining or pulling fails for good
 *
 * A request is ended (`endRequest`) when its proof is published or can never be, and handed back (`nakRequest`) when it
 * may succeed later, which is believed of the same request eight times. One that is delivered again while its job runs
 * starts nothing. A failed coordinator stops its jobs and hands their requests back; a new actor takes its place.
 *
 * A worker that was convicted of a wrong result is banned: it is told to stop (`suspendWorker`), gets nothing more, and
 * is not heard again by this coordinator, unless it is pardoned.
 *
 * The child of a job is `children[jobActorId(job)]`, that of a worker `children[memberActorId(id)]`; both are injected
 * by name.
 *
 * Not guaranteed: that only one coordinator works on a job; the job's lease sees to that.
 */
import { type AnyActorLogic, assign, cancel, raise, setup } from 'xstate';
import { z } from 'zod';
import { Id } from '../protocols/envelope.ts';
import { PHASES } from '../protocols/proof.ts';
import {
  Code,
  Count,
  Failure,
  failureOf,
  hardwareCount,
  Millis,
  rejection,
  type StateTag,
} from './context.ts';
import { backOffMs, effect } from './effect.ts';

/** Workers known at once. */
const MAX_WORKERS = 1024;
/** Deliveries of one request: a coordinator that dies over it, or a fault that looks passing, ends somewhere. */
const MAX_TRIES = 8;

const JobRef = z.strictObject({
  job: Id,
  /** how often the request was delivered, this time included */
  tries: Count,
});
type JobRef = z.infer<typeof JobRef>;

export const ProofCoordinatorContext = z.strictObject({
  id: Id,
  /** whether its evidence is a hardware's; null until there is any */
  hardware: z.boolean().nullable(),
  /** jobs that run now */
  jobs: z.array(JobRef),
  maxJobs: Count,
  pulling: z.boolean(),
  /** pulls that failed in a row */
  misses: Count,
  admitted: Count,
  published: Count,
  failed: Count,
  /** workers that are heard */
  workers: z.array(Id),
  /** workers that were convicted; they had credentials and accepted evidence, so no stranger fills this list */
  banned: z.array(Id),
  failure: Failure.nullable(),
});
export type ProofCoordinatorContext = z.infer<typeof ProofCoordinatorContext>;

export interface ProofCoordinatorInput {
  readonly id: string;
  /** jobs at once, default 1 */
  readonly maxJobs?: number;
}

export type ProofCoordinatorEvent =
  /** `credit` and `leaseMs` as the worker says them */
  | { type: 'worker.heard'; id: string; credit: number; leaseMs: number }
  | { type: 'worker.left'; id: string }
  | { type: 'worker.banned'; id: string }
  /** somebody has taken its conviction back */
  | { type: 'worker.pardoned'; id: string }
  | { type: 'link.lost' }
  | { type: 'link.back' }
  | { type: 'job.cancel'; job: string }
  | { type: 'coordinator.drain' };

type Internal =
  | { type: 'pull.again' }
  | { type: 'xstate.done.actor.pull'; output: JobRef }
  | { type: 'xstate.error.actor.pull'; error: unknown }
  | { type: `xstate.done.actor.job.${string}`; actorId: string; output: unknown }
  | { type: `xstate.error.actor.job.${string}`; actorId: string; error: unknown }
  | { type: `xstate.done.actor.worker.${string}`; actorId: string; output: unknown }
  | { type: `xstate.error.actor.worker.${string}`; actorId: string; error: unknown };

/** What the coordinator needs of a job's output (actors/proof-job.ts). */
const JobOutput = z.object({
  outcome: z.enum(['published', 'failed']),
  code: Code.optional(),
  retryable: z.boolean(),
  epoch: Count.optional(),
  millis: z.partialRecord(z.enum(PHASES), Millis).optional(),
});

/** How one run of a request ended. */
export interface RequestOutcome {
  readonly job: string;
  /** absent when the proof is published */
  readonly code?: Failure['code'];
  readonly tries: number;
  readonly epoch?: number | undefined;
  /** milliseconds by finished phase */
  readonly millis?: z.infer<typeof JobOutput>['millis'];
}

/** The ids of a job's and of a worker's actor among the coordinator's children. */
export const jobActorId = (job: string): string => `job.${job}`;
export const memberActorId = (worker: string): string => `worker.${worker}`;

const close = { target: 'failed', actions: { type: 'fail', params: rejection } } as const;

const coordinator = setup({
  types: {} as {
    context: ProofCoordinatorContext;
    events: ProofCoordinatorEvent | Internal;
    input: ProofCoordinatorInput;
    tags: StateTag;
  },
  actors: {
    join: effect<{ hardware: boolean }, { id: string }>('join'),
    pullRequest: effect<JobRef, { id: string }>('pullRequest'),
    // Any logic that takes {job} and ends with a JobOutput.
    proofJob: effect<unknown, { job: string }>('proofJob') as AnyActorLogic,
    // Any logic that takes a worker's id and first heartbeat, and ends when it is gone.
    fleetMember: effect<unknown, { id: string }>('fleetMember') as AnyActorLogic,
  },
  actions: {
    /** Provided by the role: the request is done with, for good. */
    endRequest: (_, _params: RequestOutcome) => {},
    /** Provided by the role: the request is to be delivered again, later. */
    nakRequest: (_, _params: RequestOutcome) => {},
    /** Provided by the role: tells a worker that it was convicted. */
    suspendWorker: (_, _params: { id: string }) => {},
    fail: assign({ failure: (_, params: Failure) => params }),
  },
  guards: {
    workless: ({ context }) => context.jobs.length === 0,
    retryable: (_, params: Failure) => params.retryable,
    known: ({ context }, params: { id: string }) => context.workers.includes(params.id),
    admissible: ({ context }, params: { id: string }) =>
      !context.banned.includes(params.id) && context.workers.length < MAX_WORKERS,
  },
  delays: {
    pullAgainAfter: ({ context }) => backOffMs(context.misses),
    drainWithin: 30_000,
  },
});

/** Asks for the next request when there is room for a job and nobody is asking yet. */
const pullIfRoom = coordinator.enqueueActions(({ context, enqueue }) => {
  if (context.pulling || context.jobs.length >= context.maxJobs) return;
  enqueue.spawnChild('pullRequest', { id: 'pull', input: { id: context.id } });
  enqueue.assign({ pulling: true });
});

const stopPulling = coordinator.enqueueActions(({ enqueue }) => {
  enqueue.stopChild('pull');
  enqueue.cancel('pull');
  enqueue.assign({ pulling: false });
});

const admit = coordinator.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'xstate.done.actor.pull') return;
  const { job, tries } = event.output;
  enqueue.stopChild('pull');
  enqueue.assign({ pulling: false, misses: 0 });
  if (context.jobs.some((running) => running.job === job)) return;
  if (tries > MAX_TRIES) {
    enqueue({ type: 'endRequest', params: { job, tries, code: 'internal' } });
    return;
  }
  enqueue.spawnChild('proofJob', { id: jobActorId(job), input: { job } });
  enqueue.assign({ jobs: [...context.jobs, { job, tries }], admitted: context.admitted + 1 });
});

/** Whether the same request is worth another delivery. */
const mayComeAgain = (tries: number, retryable: boolean): boolean => retryable && tries < MAX_TRIES;

/** A job ended, with an output or (a defect) with an error: its request is ended or handed back. */
const settle = coordinator.enqueueActions(({ context, event, enqueue }) => {
  if (!('actorId' in event)) return;
  const job = event.actorId.slice(jobActorId('').length);
  const tries = context.jobs.find((running) => running.job === job)?.tries ?? MAX_TRIES;
  const parsed = JobOutput.safeParse('output' in event ? event.output : undefined);
  const output = parsed.success
    ? parsed.data
    : { outcome: 'failed' as const, ...failureOf('error' in event ? event.error : undefined) };
  const published = output.outcome === 'published';
  const { epoch, millis } = parsed.success ? parsed.data : {};
  enqueue.stopChild(event.actorId);
  enqueue.assign({
    jobs: context.jobs.filter((running) => running.job !== job),
    published: context.published + (published ? 1 : 0),
    failed: context.failed + (published ? 0 : 1),
  });
  enqueue({
    type: !published && mayComeAgain(tries, output.retryable) ? 'nakRequest' : 'endRequest',
    params: { job, tries, epoch, millis, ...(published ? {} : { code: output.code ?? 'internal' }) },
  });
});

/** Stops every job and hands its request back. */
const abandon = coordinator.enqueueActions(({ context, enqueue }) => {
  const code = context.failure?.code ?? 'cancelled';
  for (const { job, tries } of context.jobs) {
    enqueue.stopChild(jobActorId(job));
    // It is the coordinator that failed, not the request, unless it has failed over this one too often.
    enqueue({ type: mayComeAgain(tries, true) ? 'nakRequest' : 'endRequest', params: { job, tries, code } });
  }
  enqueue.assign({ jobs: [] });
});

const cancelJob = coordinator.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'job.cancel' || !context.jobs.some(({ job }) => job === event.job)) return;
  enqueue.sendTo(jobActorId(event.job), { type: 'job.cancel' });
});

/** A heartbeat of a worker that is not known yet. */
const meet = coordinator.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'worker.heard') return;
  const { id, credit, leaseMs } = event;
  enqueue.spawnChild('fleetMember', { id: memberActorId(id), input: { id, credit, leaseMs } });
  enqueue.assign({ workers: [...context.workers, id] });
});

/** Passes what concerns one worker on to its actor. */
const passOn = coordinator.enqueueActions(({ event, enqueue }) => {
  if (event.type !== 'worker.heard' && event.type !== 'worker.left') return;
  enqueue.sendTo(memberActorId(event.id), event);
});

const ban = coordinator.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'worker.banned' || context.banned.includes(event.id)) return;
  const { id } = event;
  enqueue.assign({ banned: [...context.banned, id] });
  if (context.workers.includes(id)) enqueue.sendTo(memberActorId(id), { type: 'worker.banned' });
  enqueue({ type: 'suspendWorker', params: { id } });
});

const pardon = coordinator.assign(({ context, event }) =>
  event.type === 'worker.pardoned' ? { banned: context.banned.filter((id) => id !== event.id) } : {},
);

/** What concerns the connection concerns every worker. */
const passToAll = coordinator.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'link.lost' && event.type !== 'link.back') return;
  for (const id of context.workers) enqueue.sendTo(memberActorId(id), event);
});

/** A worker's actor ended: it is gone or banned. */
const partFrom = coordinator.enqueueActions(({ context, event, enqueue }) => {
  if (!('actorId' in event)) return;
  const id = event.actorId.slice(memberActorId('').length);
  enqueue.stopChild(event.actorId);
  enqueue.assign({ workers: context.workers.filter((known) => known !== id) });
});

const aboutWorker = {
  type: 'known',
  params: ({ event }: { event: { id: string } }) => ({ id: event.id }),
} as const;

export const proofCoordinatorMachine = coordinator.createMachine({
  id: 'proofCoordinator',
  context: ({ input }) => ({
    id: input.id,
    hardware: null,
    jobs: [],
    maxJobs: input.maxJobs ?? 1,
    pulling: false,
    misses: 0,
    admitted: 0,
    published: 0,
    failed: 0,
    workers: [],
    banned: [],
    failure: null,
  }),
  initial: 'joining',
  on: {
    'worker.heard': [
      { guard: aboutWorker, actions: passOn },
      { guard: { ...aboutWorker, type: 'admissible' }, actions: meet },
    ],
    'worker.left': { guard: aboutWorker, actions: passOn },
    'worker.banned': { actions: ban },
    'worker.pardoned': { actions: pardon },
    'link.lost': { actions: passToAll },
    'link.back': { actions: passToAll },
    'job.cancel': { actions: cancelJob },
    'xstate.done.actor.worker.*': { actions: partFrom },
    'xstate.error.actor.worker.*': { actions: partFrom },
    'coordinator.drain': '.draining',
    // A child that ends after it was stopped has nothing left to say.
    'xstate.done.actor.*': {},
    'xstate.error.actor.*': {},
  },
  states: {
    joining: {
      invoke: {
        src: 'join',
        input: ({ context }) => ({ id: context.id }),
        onDone: {
          target: 'admitting',
          actions: assign({ hardware: ({ event }) => event.output?.hardware === true }),
        },
        onError: close,
      },
    },
    admitting: {
      tags: 'up',
      entry: pullIfRoom,
      exit: stopPulling,
      on: {
        'pull.again': { actions: pullIfRoom },
        'xstate.done.actor.pull': { actions: [admit, pullIfRoom] },
        'xstate.error.actor.pull': [
          {
            guard: { type: 'retryable', params: rejection },
            actions: [
              coordinator.stopChild('pull'),
              assign({ pulling: false, misses: ({ context }) => context.misses + 1 }),
              cancel('pull'),
              raise({ type: 'pull.again' }, { id: 'pull', delay: 'pullAgainAfter' }),
            ],
          },
          { target: 'failed', actions: [{ type: 'fail', params: rejection }, abandon] },
        ],
        'xstate.done.actor.job.*': { actions: [settle, pullIfRoom] },
        'xstate.error.actor.job.*': { actions: [settle, pullIfRoom] },
      },
    },
    draining: {
      on: {
        'coordinator.drain': {},
        'xstate.done.actor.job.*': { actions: settle },
        'xstate.error.actor.job.*': { actions: settle },
      },
      always: { guard: 'workless', target: 'stopped' },
      after: { drainWithin: { target: 'stopped', actions: abandon } },
    },
    stopped: { tags: 'settled', on: { 'coordinator.drain': {} } },
    failed: { tags: ['failed', 'settled'], on: { 'coordinator.drain': {} } },
  },
});

/** What the monitor may count. */
export const proofCoordinatorCounts = (context: ProofCoordinatorContext) => ({
  running: context.jobs.length,
  admitted: context.admitted,
  published: context.published,
  failed: context.failed,
  workers: context.workers.length,
  banned: context.banned.length,
  ...hardwareCount(context),
});
