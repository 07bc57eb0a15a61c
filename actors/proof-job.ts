/**
 * One proof, from request to publication.
 *
 *   queued (lease) -> witnessing -> transforming -> planning -> dispatching -> assembling -> verifying
 *   verifying -> publishing -> published        only when `verify` says `verified: true`
 *   queued -> published                         when the lease shows that the proof is out already
 *   any but published -> failed                 on a failed effect, `lease.lost`, or `job.cancel` before publishing
 *
 * It ends in published or failed, with an output that tells the coordinator whether to try again. A job that
 * lost its lease never publishes and is to be tried again, since the new holder may fail too.
 *
 * Not guaranteed: that nothing was published after `lease.lost` arrived in publishing; the proof stream takes
 * one proof per job, and that is what makes a second one impossible.
 */
import { assign, setup } from 'xstate';
import { z } from 'zod';
import { Id } from '../protocols/envelope.ts';
import type { Section } from '../protocols/msm.ts';
import { Count, Failure, failure, Millis, rejection } from './context.ts';
import { effect } from './effect.ts';

export const PROOF_JOB_VERSION = 1;

const PHASES = [
  'witnessing',
  'transforming',
  'planning',
  'dispatching',
  'assembling',
  'verifying',
  'publishing',
] as const;
type Phase = (typeof PHASES)[number];

/** Workers one job keeps count of; more may work, uncounted. */
const MAX_WORKERS = 1024;

export const ProofJobContext = z.strictObject({
  job: Id,
  /** revision of the job's lease */
  epoch: Count,
  shards: z.strictObject({ total: Count, assigned: Count, done: Count, refused: Count }),
  workers: z.record(Id, z.strictObject({ assigned: Count, done: Count, refused: Count })),
  /** when a phase began: the clock's milliseconds, rounded to 10 */
  startedAt: z.partialRecord(z.enum([...PHASES, 'published', 'failed']), Millis),
  failure: Failure.nullable(),
});
export type ProofJobContext = z.infer<typeof ProofJobContext>;

export interface ProofJobInput {
  readonly job: string;
}

export interface ProofJobOutput {
  readonly job: string;
  readonly outcome: 'published' | 'failed';
  readonly code?: Failure['code'];
  /** whether the same request may succeed when it is delivered again */
  readonly retryable: boolean;
}

interface ShardNews {
  readonly worker: string;
  readonly section: Section;
}

export type ProofJobEvent =
  | { type: 'lease.lost' }
  | { type: 'job.cancel' }
  | ({ type: 'shard.assigned' } & ShardNews)
  | ({ type: 'shard.done' } & ShardNews)
  | ({ type: 'shard.refused' } & ShardNews);

export interface ProofJobEffectInput {
  readonly job: string;
  readonly epoch: number;
}

const job = ({ context }: { context: ProofJobContext }): ProofJobEffectInput => ({
  job: context.job,
  epoch: context.epoch,
});
const close = { target: 'failed', actions: { type: 'fail', params: rejection } } as const;
const enter = (phase: Phase | 'published' | 'failed') => ({ type: 'enter', params: { phase } }) as const;
const count = (field: 'assigned' | 'done' | 'refused') => ({
  actions: {
    type: 'count',
    params: ({ event }: { event: ShardNews }) => ({ worker: event.worker, field }),
  } as const,
});

export const proofJobMachine = setup({
  types: {} as {
    context: ProofJobContext;
    events: ProofJobEvent;
    input: ProofJobInput;
    output: ProofJobOutput;
  },
  actors: {
    acquireLease: effect<{ epoch: number; published: boolean }, { job: string }>('acquireLease'),
    witness: effect<void, ProofJobEffectInput>('witness'),
    transform: effect<void, ProofJobEffectInput>('transform'),
    plan: effect<{ shards: number }, ProofJobEffectInput>('plan'),
    dispatch: effect<void, ProofJobEffectInput>('dispatch'),
    assemble: effect<void, ProofJobEffectInput>('assemble'),
    verify: effect<{ verified: boolean }, ProofJobEffectInput>('verify'),
    publish: effect<void, ProofJobEffectInput>('publish'),
  },
  actions: {
    fail: assign({ failure: (_, params: Failure) => params }),
    enter: assign({
      startedAt: ({ context }, params: { phase: Phase | 'published' | 'failed' }) => ({
        ...context.startedAt,
        [params.phase]: Math.round(Date.now() / 10) * 10,
      }),
    }),
    count: assign(
      ({ context }, { worker, field }: { worker: string; field: 'assigned' | 'done' | 'refused' }) => {
        const { shards, workers } = context;
        const known = Object.hasOwn(workers, worker) ? workers[worker] : undefined;
        const share = known ?? { assigned: 0, done: 0, refused: 0 };
        return {
          shards: { ...shards, [field]: shards[field] + 1 },
          ...(known === undefined && Object.keys(workers).length >= MAX_WORKERS
            ? {}
            : { workers: { ...workers, [worker]: { ...share, [field]: share[field] + 1 } } }),
        };
      },
    ),
  },
}).createMachine({
  id: 'proofJob',
  context: ({ input }) => ({
    job: input.job,
    epoch: 0,
    shards: { total: 0, assigned: 0, done: 0, refused: 0 },
    workers: {},
    startedAt: {},
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
            actions: assign({ epoch: ({ event }) => event.output.epoch }),
          },
          { target: 'witnessing', actions: assign({ epoch: ({ event }) => event.output.epoch }) },
        ],
        onError: close,
      },
    },
    witnessing: {
      entry: enter('witnessing'),
      invoke: { src: 'witness', input: job, onDone: 'transforming', onError: close },
    },
    transforming: {
      entry: enter('transforming'),
      invoke: { src: 'transform', input: job, onDone: 'planning', onError: close },
    },
    planning: {
      entry: enter('planning'),
      invoke: {
        src: 'plan',
        input: job,
        onDone: {
          target: 'dispatching',
          actions: assign({
            shards: ({ context, event }) => ({ ...context.shards, total: event.output.shards }),
          }),
        },
        onError: close,
      },
    },
    dispatching: {
      entry: enter('dispatching'),
      invoke: { src: 'dispatch', input: job, onDone: 'assembling', onError: close },
      on: {
        'shard.assigned': count('assigned'),
        'shard.done': count('done'),
        'shard.refused': count('refused'),
      },
    },
    assembling: {
      entry: enter('assembling'),
      invoke: { src: 'assemble', input: job, onDone: 'verifying', onError: close },
    },
    verifying: {
      entry: enter('verifying'),
      invoke: {
        src: 'verify',
        input: job,
        onDone: [
          { guard: ({ event }) => event.output?.verified === true, target: 'publishing' },
          { target: 'failed', actions: { type: 'fail', params: failure('proof-rejected') } },
        ],
        onError: close,
      },
    },
    publishing: {
      entry: enter('publishing'),
      invoke: { src: 'publish', input: job, onDone: 'published', onError: close },
      // Too late to take back what may be public already.
      on: { 'job.cancel': {} },
    },
    published: { type: 'final', entry: enter('published') },
    failed: { type: 'final', entry: enter('failed') },
  },
  output: ({ context }) =>
    context.failure === null
      ? { job: context.job, outcome: 'published', retryable: false }
      : { job: context.job, outcome: 'failed', ...context.failure },
});

/** What the monitor may count: shards, and the milliseconds of each finished phase. */
export const proofJobCounts = (context: ProofJobContext): Record<string, number> => ({
  epoch: context.epoch,
  shards: context.shards.total,
  done: context.shards.done,
  refused: context.shards.refused,
  workers: Object.keys(context.workers).length,
  ...Object.fromEntries(
    Object.entries(phaseMillis(context)).map(([phase, millis]) => [`${phase}Ms`, millis]),
  ),
});

/** Milliseconds of each finished phase, rounded to 10. */
export function phaseMillis(context: ProofJobContext): Partial<Record<Phase, number>> {
  const marks = [...PHASES, 'published', 'failed'] as const;
  const reached = marks.filter((mark) => context.startedAt[mark] !== undefined);
  const durations: Partial<Record<Phase, number>> = {};
  for (const [i, mark] of reached.entries()) {
    const next = reached[i + 1];
    if (mark === 'published' || mark === 'failed' || next === undefined) continue;
    // The wall clock may step back; a phase never lasts less than nothing.
    durations[mark] = Math.max(0, (context.startedAt[next] ?? 0) - (context.startedAt[mark] ?? 0));
  }
  return durations;
}
