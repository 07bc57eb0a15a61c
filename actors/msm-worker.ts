/**
 * A worker that multiplies: it proves to itself that it computes right, then takes one shard after the other. What it was
 * sent beside the one in work is fetched and opened meanwhile, by its role.
 *
 *   joining -> selfTesting -> idle -> fetching (base points) -> computing -> idle
 *   fetching, computing -> idle on `shard.dropped`              when nobody needs the shard any more
 *   selfTesting -> suspended    on a wrong result; and from anywhere on `worker.suspend`: it never computes again
 *   any but suspended -> draining -> stopped    on `worker.drain`; a shard in computation may finish, for a while
 *   joining, idle -> failed                     when their effect fails for good
 *
 * A shard that cannot be done is handed back (`refuseShard`) so that it is assigned anew at once. After a lost
 * device the self-test runs again before the next shard. Suspended and failed are for good; a new actor, with a
 * new self-test, takes the place.
 *
 * Not guaranteed: that a result is right; the coordinator checks every one.
 */
import { assign, type ErrorActorEvent, raise, setup } from 'xstate';
import { z } from 'zod';
import { Id } from '../protocols/envelope.ts';
import { Count, Failure, failure, failureOf, hardwareCount, rejection, type StateTag } from './context.ts';
import { backOffMs, effect } from './effect.ts';

const ShardRef = z.strictObject({
  job: Id,
  shard: Id,
  /** base points, of all sections */
  points: Count,
});
export type ShardRef = z.infer<typeof ShardRef>;

export const MsmWorkerContext = z.strictObject({
  id: Id,
  /** whether its evidence is a hardware's; null until there is any */
  hardware: z.boolean().nullable(),
  shard: ShardRef.nullable(),
  done: Count,
  refused: Count,
  dropped: Count,
  /** points multiplied so far */
  points: Count,
  /** pulls that failed in a row */
  misses: Count,
  failure: Failure.nullable(),
});
export type MsmWorkerContext = z.infer<typeof MsmWorkerContext>;

export interface MsmWorkerInput {
  readonly id: string;
}

export type MsmWorkerEvent =
  | { type: 'worker.suspend' }
  | { type: 'worker.drain' }
  /** the shard in work is needed no more */
  | { type: 'shard.dropped' };

type Internal =
  | { type: 'pull.again' }
  | { type: 'xstate.done.actor.compute' }
  | { type: 'xstate.error.actor.compute'; error: unknown }
  | ErrorActorEvent;

export type ShardRefusal = ShardRef & { readonly code: Failure['code'] };

const self = ({ context }: { context: MsmWorkerContext }) => ({ id: context.id });
const close = { target: 'failed', actions: { type: 'fail', params: rejection } } as const;

const worker = setup({
  types: {} as {
    context: MsmWorkerContext;
    events: MsmWorkerEvent | Internal;
    input: MsmWorkerInput;
    tags: StateTag;
  },
  actors: {
    join: effect<{ hardware: boolean }, { id: string }>('join'),
    selfTest: effect<void, { id: string }>('selfTest'),
    pull: effect<ShardRef, { id: string }>('pull'),
    fetchBases: effect<void, ShardRef>('fetchBases'),
    compute: effect<void, ShardRef>('compute'),
  },
  actions: {
    /** Provided by the role: tells the coordinator that the shard is free again. */
    refuseShard: (_, _params: ShardRefusal) => {},
    /** Provided by the role: forgets the shard in work. */
    dropShard: () => {},
    fail: assign({ failure: (_, params: Failure) => params }),
    /** What computes wrongly once is not believed again. */
    suspend: assign({ failure: (_, { code }: Failure) => ({ code, retryable: false }) }),
  },
  guards: {
    deviceLost: (_, params: Failure) => params.code === 'device-lost',
    retryable: (_, params: Failure) => params.retryable,
    unburdened: ({ context }) => context.shard === null,
  },
  delays: {
    pullAgainAfter: ({ context }) => backOffMs(context.misses),
    drainWithin: 30_000,
  },
});

/** Hands the shard back, if there is one, and stops its computation. */
const handBack = (code?: Failure['code']) =>
  worker.enqueueActions(({ context, event, enqueue }) => {
    if (context.shard === null) return;
    const reason = code ?? ('error' in event ? failureOf(event.error).code : 'cancelled');
    enqueue.stopChild('compute');
    enqueue({ type: 'refuseShard', params: { ...context.shard, code: reason } });
    enqueue.assign({ shard: null, refused: context.refused + 1 });
  });

const drop = worker.enqueueActions(({ context, enqueue }) => {
  enqueue.stopChild('compute');
  enqueue({ type: 'dropShard' });
  enqueue.assign({ shard: null, dropped: context.dropped + 1 });
});

const finish = worker.enqueueActions(({ context, enqueue }) => {
  enqueue.stopChild('compute');
  enqueue.assign({
    shard: null,
    done: context.done + 1,
    points: context.points + (context.shard?.points ?? 0),
  });
});

const lostDevice = { type: 'deviceLost', params: rejection } as const;

export const msmWorkerMachine = worker.createMachine({
  id: 'msmWorker',
  context: ({ input }) => ({
    id: input.id,
    hardware: null,
    shard: null,
    done: 0,
    refused: 0,
    dropped: 0,
    points: 0,
    misses: 0,
    failure: null,
  }),
  initial: 'joining',
  on: {
    'worker.suspend': {
      target: '.suspended',
      actions: [{ type: 'suspend', params: failure('shard-rejected') }, handBack('shard-rejected')],
    },
    'worker.drain': '.draining',
    // It ended before this could arrive.
    'shard.dropped': {},
    // A computation that ends after it was cut off has nothing left to say.
    'xstate.done.actor.compute': {},
    'xstate.error.actor.compute': {},
  },
  states: {
    joining: {
      invoke: {
        src: 'join',
        input: self,
        onDone: {
          target: 'selfTesting',
          actions: assign({ hardware: ({ event }) => event.output?.hardware === true }),
        },
        onError: close,
      },
    },
    selfTesting: {
      invoke: {
        src: 'selfTest',
        input: self,
        onDone: 'idle',
        onError: { target: 'suspended', actions: { type: 'suspend', params: rejection } },
      },
    },
    idle: {
      tags: 'up',
      invoke: {
        src: 'pull',
        input: self,
        onDone: {
          target: 'fetching',
          actions: assign({
            shard: ({ event: { output } }) => ({
              job: output.job,
              shard: output.shard,
              points: output.points,
            }),
            misses: 0,
          }),
        },
        onError: [
          {
            guard: { type: 'retryable', params: rejection },
            actions: [
              assign({ misses: ({ context }) => context.misses + 1 }),
              raise({ type: 'pull.again' }, { delay: 'pullAgainAfter' }),
            ],
          },
          close,
        ],
      },
      on: { 'pull.again': { target: 'idle', reenter: true } },
    },
    fetching: {
      tags: 'up',
      invoke: {
        src: 'fetchBases',
        input: ({ context }) => context.shard as ShardRef,
        onDone: 'computing',
        onError: { target: 'idle', actions: handBack() },
      },
      on: {
        'worker.drain': { target: 'draining', actions: handBack('cancelled') },
        'shard.dropped': { target: 'idle', actions: drop },
      },
    },
    computing: {
      tags: 'up',
      // Spawned, not invoked: it outlives this state when the worker drains.
      entry: worker.spawnChild('compute', {
        id: 'compute',
        input: ({ context }) => context.shard as ShardRef,
      }),
      on: {
        'shard.dropped': { target: 'idle', actions: drop },
        'xstate.done.actor.compute': { target: 'idle', actions: finish },
        'xstate.error.actor.compute': [
          { guard: lostDevice, target: 'selfTesting', actions: handBack() },
          { target: 'idle', actions: handBack() },
        ],
      },
    },
    draining: {
      on: {
        'worker.drain': {},
        'shard.dropped': { actions: drop },
        'xstate.done.actor.compute': { actions: finish },
        'xstate.error.actor.compute': { actions: handBack() },
      },
      always: { guard: 'unburdened', target: 'stopped' },
      after: { drainWithin: { target: 'stopped', actions: handBack('cancelled') } },
    },
    suspended: { tags: ['failed', 'settled'], on: { 'worker.drain': {}, 'worker.suspend': {} } },
    failed: { tags: ['failed', 'settled'], on: { 'worker.drain': {}, 'worker.suspend': {} } },
    stopped: { tags: 'settled', on: { 'worker.drain': {}, 'worker.suspend': {} } },
  },
});

/** What the monitor may count. */
export const msmWorkerCounts = (context: MsmWorkerContext) => ({
  done: context.done,
  refused: context.refused,
  dropped: context.dropped,
  points: context.points,
  ...hardwareCount(context),
});
