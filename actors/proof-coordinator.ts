/**
 * Takes proof requests, a few at a time, runs one `proofJob` for each, and keeps the fleet's ledger.
 *
 *   joining -> admitting -> draining -> stopped       on `coordinator.drain`; running jobs may finish, for a while
 *   joining, admitting -> failed                      when joining or pulling fails for good
 *
 * A request is acknowledged when its proof is published or can never be, and handed back (`nakRequest`) when
 * it may succeed later. A request that is delivered again while its job runs starts nothing. A failed
 * coordinator stops its jobs and hands their requests back; a new actor takes its place.
 *
 * The child of a job is `children[jobActorId(job)]`; it is injected by name.
 *
 * Not guaranteed: that only one coordinator works on a job; the job's lease sees to that.
 */
import { type AnyActorLogic, assign, cancel, raise, setup } from 'xstate';
import { z } from 'zod';
import { Id } from '../protocols/envelope.ts';
import { Code, Count, Failure, failureOf, rejection } from './context.ts';
import { backOffMs, effect } from './effect.ts';

export const PROOF_COORDINATOR_VERSION = 1;

/** The states of a worker that a beat may name (actors/msm-worker.ts; a test compares them). */
export const WORKER_STATES = [
  'joining',
  'selfTesting',
  'syncing',
  'idle',
  'fetching',
  'computing',
  'draining',
  'suspended',
  'failed',
  'stopped',
] as const;
export type WorkerState = (typeof WORKER_STATES)[number];

/** Workers in the ledger at once. */
const MAX_WORKERS = 1024;

export const ProofCoordinatorContext = z.strictObject({
  id: Id,
  /** jobs that run now */
  jobs: z.array(Id),
  maxJobs: Count,
  pulling: z.boolean(),
  /** pulls that failed in a row */
  misses: Count,
  admitted: Count,
  published: Count,
  failed: Count,
  workers: z.record(Id, z.strictObject({ state: z.enum(WORKER_STATES), credit: Count })),
  failure: Failure.nullable(),
});
export type ProofCoordinatorContext = z.infer<typeof ProofCoordinatorContext>;

export interface ProofCoordinatorInput {
  readonly id: string;
  /** jobs at once, default 1 */
  readonly maxJobs?: number;
}

export type ProofCoordinatorEvent =
  | { type: 'worker.beat'; id: string; state: string; credit: number }
  | { type: 'worker.gone'; id: string }
  | { type: 'coordinator.drain' };

type Internal =
  | { type: 'pull.again' }
  | { type: 'xstate.done.actor.pull'; output: { job: string } }
  | { type: 'xstate.error.actor.pull'; error: unknown }
  | { type: `xstate.done.actor.job.${string}`; actorId: string; output: unknown }
  | { type: `xstate.error.actor.job.${string}`; actorId: string; error: unknown };

/** A request that is finished with, one way or the other. */
export interface RequestOutcome {
  readonly job: string;
  /** absent when the proof is published */
  readonly code?: Failure['code'];
}

/** What the coordinator needs of a job's output (actors/proof-job.ts). */
const JobOutput = z.object({
  outcome: z.enum(['published', 'failed']),
  code: Code.optional(),
  retryable: z.boolean(),
});

/** The id of a job's actor among the coordinator's children. */
export const jobActorId = (job: string): string => `job.${job}`;

const close = { target: 'failed', actions: { type: 'fail', params: rejection } } as const;

const coordinator = setup({
  types: {} as {
    context: ProofCoordinatorContext;
    events: ProofCoordinatorEvent | Internal;
    input: ProofCoordinatorInput;
    tags: 'settled';
  },
  actors: {
    join: effect<void, { id: string }>('join'),
    pullRequest: effect<{ job: string }, { id: string }>('pullRequest'),
    // Any logic that takes {job} and ends with a JobOutput.
    proofJob: effect<unknown, { job: string }>('proofJob') as AnyActorLogic,
  },
  actions: {
    /** Provided by the role: the request is done with, for good. */
    ackRequest: (_, _params: RequestOutcome) => {},
    /** Provided by the role: the request is to be delivered again, later. */
    nakRequest: (_, _params: RequestOutcome) => {},
    fail: assign({ failure: (_, params: Failure) => params }),
  },
  guards: {
    workless: ({ context }) => context.jobs.length === 0,
    retryable: (_, params: Failure) => params.retryable,
    /** Most beats say nothing new, and a ledger of a thousand workers is not copied for them. */
    newsOfWorker: ({ context: { workers }, event }) => {
      if (event.type !== 'worker.beat' || !(WORKER_STATES as readonly string[]).includes(event.state))
        return false;
      const known = Object.hasOwn(workers, event.id) ? workers[event.id] : undefined;
      return known === undefined
        ? Object.keys(workers).length < MAX_WORKERS
        : known.state !== event.state || known.credit !== event.credit;
    },
  },
  delays: {
    pullAgainAfter: ({ context }) => backOffMs(context.misses),
    drainWithin: 10_000,
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
  const { job } = event.output;
  enqueue.stopChild('pull');
  enqueue.assign({ pulling: false, misses: 0 });
  if (context.jobs.includes(job)) return;
  enqueue.spawnChild('proofJob', { id: jobActorId(job), input: { job } });
  enqueue.assign({ jobs: [...context.jobs, job], admitted: context.admitted + 1 });
});

/** A job ended, with an output or (a defect) with an error: its request is acknowledged or handed back. */
const settle = coordinator.enqueueActions(({ context, event, enqueue }) => {
  if (!('actorId' in event)) return;
  const job = event.actorId.slice(jobActorId('').length);
  const parsed = JobOutput.safeParse('output' in event ? event.output : undefined);
  const output = parsed.success
    ? parsed.data
    : { outcome: 'failed' as const, ...failureOf('error' in event ? event.error : undefined) };
  const published = output.outcome === 'published';
  enqueue.stopChild(event.actorId);
  enqueue.assign({
    jobs: context.jobs.filter((running) => running !== job),
    published: context.published + (published ? 1 : 0),
    failed: context.failed + (published ? 0 : 1),
  });
  enqueue({
    type: !published && output.retryable ? 'nakRequest' : 'ackRequest',
    params: { job, ...(published ? {} : { code: output.code ?? 'internal' }) },
  });
});

/** Stops every job and hands its request back. */
const abandon = coordinator.enqueueActions(({ context, enqueue }) => {
  for (const job of context.jobs) {
    enqueue.stopChild(jobActorId(job));
    enqueue({ type: 'nakRequest', params: { job, code: context.failure?.code ?? 'cancelled' } });
  }
  enqueue.assign({ jobs: [] });
});

export const proofCoordinatorMachine = coordinator.createMachine({
  id: 'proofCoordinator',
  context: ({ input }) => ({
    id: input.id,
    jobs: [],
    maxJobs: input.maxJobs ?? 1,
    pulling: false,
    misses: 0,
    admitted: 0,
    published: 0,
    failed: 0,
    workers: {},
    failure: null,
  }),
  initial: 'joining',
  on: {
    'worker.beat': {
      guard: 'newsOfWorker',
      actions: assign({
        workers: ({ context, event }) => ({
          ...context.workers,
          [event.id]: { state: event.state as WorkerState, credit: event.credit },
        }),
      }),
    },
    'worker.gone': {
      actions: assign({
        workers: ({ context, event }) =>
          Object.fromEntries(Object.entries(context.workers).filter(([id]) => id !== event.id)),
      }),
    },
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
        onDone: 'admitting',
        onError: close,
      },
    },
    admitting: {
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
    failed: { tags: 'settled', on: { 'coordinator.drain': {} } },
  },
});

/** What the monitor may count. */
export const proofCoordinatorCounts = (context: ProofCoordinatorContext) => ({
  running: context.jobs.length,
  admitted: context.admitted,
  published: context.published,
  failed: context.failed,
  workers: Object.keys(context.workers).length,
});
