/**
 * One proof, from request to publication.
 *
 *   queued (lease) -> witnessing -> planning -> transforming -> dispatching -> assembling -> verifying
 *   shards of the wires leave from planning on, those of the quotient after transforming; dispatching waits for the last
 *   verifying -> publishing -> published        only when `verify` says `verified: true`
 *   queued -> published                         when the lease shows that the proof is out already
 *   any but published -> failed                 on a failed effect, `lease.lost`, or before publishing on `job.cancel`
 *                                               and when the job has had its lease for too long
 *
 * It ends in published or failed, with an output that tells the coordinator whether to try again. A job that
 * lost its lease never publishes and is to be tried again, since the new holder may fail too.
 *
 * Not guaranteed: that nothing was published after `lease.lost` arrived in publishing; the proof stream takes
 * one proof per job, and that is what makes a second one impossible.
 */
import { assign, raise, setup } from 'xstate';
import { z } from 'zod';
import { Id } from '../protocols/envelope.ts';
import { PHASES, type Phase } from '../protocols/proof.ts';
import { Count, Failure, failure, Millis, rejection, type StateTag } from './context.ts';
import { effect } from './effect.ts';

/** Workers one job keeps count of; more may work, uncounted. */
const MAX_WORKERS = 1024;

export const ProofJobContext = z.strictObject({
  job: Id,
  /** revision of the job's lease */
  epoch: Count,
  shards: z.strictObject({ total: Count, assigned: Count, done: Count, refused: Count }),
  workers: z.record(Id, z.strictObject({ assigned: Count, done: Count, refused: Count })),
  /** how long each finished phase took, rounded, as its effect says: a machine has no clock */
  millis: z.partialRecord(z.enum(PHASES), Millis),
  failure: Failure.nullable(),
});
export type ProofJobContext = z.infer<typeof ProofJobContext>;

export interface ProofJobInput {
  readonly job: string;
}

export interface ProofJobOutput {
  readonly job: string;
  readonly epoch: number;
  readonly outcome: 'published' | 'failed';
  readonly millis: ProofJobContext['millis'];
  readonly code?: Failure['code'];
  /** whether the same request may succeed when it is delivered again */
  readonly retryable: boolean;
}

type Internal = { type: 'job.expired' };

interface ShardNews {
  readonly worker: string;
}

export type ProofJobEvent =
  | { type: 'lease.lost' }
  | { type: 'job.cancel' }
  /** `total`: shards so far, and those that are not cut yet as a guess */
  | ({ type: 'shard.assigned'; total: number } & ShardNews)
  | ({ type: 'shard.done' } & ShardNews)
  | ({ type: 'shard.refused' } & ShardNews);

/** What every effect of a phase says when it is done. */
export interface Timed {
  readonly millis: number;
}

export interface ProofJobEffectInput {
  readonly job: string;
  readonly epoch: number;
}

const job = ({ context }: { context: ProofJobContext }): ProofJobEffectInput => ({
  job: context.job,
  epoch: context.epoch,
});
const close = { target: 'failed', actions: { type: 'fail', params: rejection } } as const;
/** The action that keeps a finished phase's time. */
const took = (phase: Phase) =>
  ({
    type: 'took',
    params: ({ event }: { event: { output: Timed } }) => ({ phase, millis: event.output?.millis ?? 0 }),
  }) as const;
/** What may be heard of shards while any are out. */
const count = (field: 'assigned' | 'done' | 'refused') => ({
  actions: {
    type: 'count',
    params: ({ event }: { event: ShardNews & { total?: number } }) => ({
      worker: event.worker,
      field,
      ...(event.total === undefined ? {} : { total: event.total }),
    }),
  } as const,
});
const shardNews = {
  'shard.assigned': count('assigned'),
  'shard.done': count('done'),
  'shard.refused': count('refused'),
} as const;

export const proofJobMachine = setup({
  types: {} as {
    context: ProofJobContext;
    events: ProofJobEvent | Internal;
    input: ProofJobInput;
    output: ProofJobOutput;
    tags: StateTag;
  },
  actors: {
    acquireLease: effect<Timed & { epoch: number; published: boolean }, { job: string }>('acquireLease'),
    witness: effect<Timed, ProofJobEffectInput>('witness'),
    transform: effect<Timed, ProofJobEffectInput>('transform'),
    plan: effect<Timed & { shards: number }, ProofJobEffectInput>('plan'),
    dispatch: effect<Timed, ProofJobEffectInput>('dispatch'),
    assemble: effect<Timed, ProofJobEffectInput>('assemble'),
    verify: effect<Timed & { verified: boolean }, ProofJobEffectInput>('verify'),
    publish: effect<Timed, ProofJobEffectInput>('publish'),
  },
  actions: {
    fail: assign({ failure: (_, params: Failure) => params }),
    took: assign({
      millis: ({ context }, { phase, millis }: { phase: Phase; millis: number }) => ({
        ...context.millis,
        [phase]: Math.max(0, roundMs(millis)),
      }),
    }),
    count: assign(
      (
        { context },
        { worker, field, total }: { worker: string; field: 'assigned' | 'done' | 'refused'; total?: number },
      ) => {
        const { shards, workers } = context;
        const known = Object.hasOwn(workers, worker) ? workers[worker] : undefined;
        const share = known ?? { assigned: 0, done: 0, refused: 0 };
        return {
          shards: { ...shards, [field]: shards[field] + 1, total: total ?? shards.total },
          ...(known === undefined && Object.keys(workers).length >= MAX_WORKERS
            ? {}
            : { workers: { ...workers, [worker]: { ...share, [field]: share[field] + 1 } } }),
        };
      },
    ),
  },
  delays: {
    /** As long as a requester waits: what takes longer holds up all others, and is for nobody. */
    jobWithin: 15 * 60_000,
  },
}).createMachine({
  id: 'proofJob',
  context: ({ input }) => ({
    job: input.job,
    epoch: 0,
    shards: { total: 0, assigned: 0, done: 0, refused: 0 },
    workers: {},
    millis: {},
    failure: null,
  }),
  initial: 'queued',
  on: {
    'lease.lost': {
      target: '.failed',
      actions: { type: 'fail', params: { code: 'stale-epoch', retryable: true } },
    },
    'job.cancel': {
      target: '.failed',
      actions: { type: 'fail', params: { code: 'cancelled', retryable: false } },
    },
    'job.expired': {
      target: '.failed',
      actions: { type: 'fail', params: { code: 'timeout', retryable: false } },
    },
  },
  states: {
    queued: {
      invoke: {
        src: 'acquireLease',
        input: ({ context }) => ({ job: context.job }),
        onDone: [
          {
            guard: ({ event }) => event.output.published,
            target: 'published',
            actions: [took('queued'), assign({ epoch: ({ event }) => event.output.epoch })],
          },
          {
            target: 'witnessing',
            actions: [took('queued'), assign({ epoch: ({ event }) => event.output.epoch })],
          },
        ],
        onError: close,
      },
    },
    witnessing: {
      entry: raise({ type: 'job.expired' }, { delay: 'jobWithin' }),
      invoke: {
        src: 'witness',
        input: job,
        onDone: { target: 'planning', actions: took('witnessing') },
        onError: close,
      },
    },
    planning: {
      invoke: {
        src: 'plan',
        input: job,
        onDone: {
          target: 'transforming',
          actions: [
            took('planning'),
            assign({ shards: ({ context, event }) => ({ ...context.shards, total: event.output.shards }) }),
          ],
        },
        onError: close,
      },
      on: shardNews,
    },
    transforming: {
      invoke: {
        src: 'transform',
        input: job,
        onDone: { target: 'dispatching', actions: took('transforming') },
        onError: close,
      },
      on: shardNews,
    },
    dispatching: {
      invoke: {
        src: 'dispatch',
        input: job,
        onDone: { target: 'assembling', actions: took('dispatching') },
        onError: close,
      },
      on: shardNews,
    },
    assembling: {
      invoke: {
        src: 'assemble',
        input: job,
        onDone: { target: 'verifying', actions: took('assembling') },
        onError: close,
      },
    },
    verifying: {
      invoke: {
        src: 'verify',
        input: job,
        onDone: [
          {
            guard: ({ event }) => event.output?.verified === true,
            target: 'publishing',
            actions: took('verifying'),
          },
          { target: 'failed', actions: { type: 'fail', params: failure('proof-refused') } },
        ],
        onError: close,
      },
    },
    publishing: {
      invoke: {
        src: 'publish',
        input: job,
        onDone: { target: 'published', actions: took('publishing') },
        onError: close,
      },
      // Too late to take back what may be public already.
      on: { 'job.cancel': {}, 'job.expired': {} },
    },
    published: { type: 'final', tags: 'settled' },
    failed: { type: 'final', tags: ['failed', 'settled'] },
  },
  output: ({ context: { job, epoch, millis, failure } }) =>
    failure === null
      ? { job, epoch, millis, outcome: 'published', retryable: false }
      : { job, epoch, millis, outcome: 'failed', ...failure },
});

/** What the monitor may count: shards, and the milliseconds of each finished phase. */
export const proofJobCounts = (context: ProofJobContext): Record<string, number> => ({
  epoch: context.epoch,
  shards: context.shards.total,
  done: context.shards.done,
  refused: context.shards.refused,
  workers: Object.keys(context.workers).length,
  ...Object.fromEntries(Object.entries(context.millis).map(([phase, millis]) => [`${phase}Ms`, millis])),
});

/** To a hundredth of a second: finer timings may depend on the witness. */
const roundMs = (millis: number): number => Math.round(millis / 10) * 10;
