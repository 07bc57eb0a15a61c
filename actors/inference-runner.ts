/**
 * The runner of one model: it serves only inside a ready enclave, with parameters that match the commitment.
 *
 *   waiting -> loading -> verifying -> ready <-> running
 *   waiting leaves once both `enclave.ready` and `device.ready` or `device.absent` (no GPU: the CPU) were heard
 *   any but failed -> draining -> stopped       on `runner.drain`; requests in flight may finish, for a while
 *   any but waiting -> failed                   on `device.lost`, `enclave.lost` or a failed load or verification
 *
 * `infer.request` is taken in ready and running only, at most `limit` at once; everywhere else, and above that,
 * the action `refuse` answers. A request that fails is counted and harms no other, unless the device is lost.
 * A failed runner refuses for good; a new actor takes its place.
 *
 * Not guaranteed: order among requests in flight. An `infer` effect answers its client itself, also when it
 * fails; `refuse` answers those that were never given to it or were cut off.
 */
import { assign, setup } from 'xstate';
import { z } from 'zod';
import { Id } from '../protocols/envelope.ts';
import type { ErrorCode } from '../protocols/errors.ts';
import { Count, Failure, failure, failureOf, rejection, type StateTag } from './context.ts';
import { effect } from './effect.ts';

export const InferenceRunnerContext = z.strictObject({
  id: Id,
  enclave: z.enum(['unknown', 'ready']),
  device: z.enum(['unknown', 'ready', 'absent']),
  /** requests in flight, oldest first */
  requests: z.array(Id),
  limit: Count,
  served: Count,
  refused: Count,
  failed: Count,
  failure: Failure.nullable(),
});
export type InferenceRunnerContext = z.infer<typeof InferenceRunnerContext>;

export interface InferenceRunnerInput {
  readonly id: string;
  /** requests in flight at once, default 256 */
  readonly limit?: number;
}

export type InferenceRunnerEvent =
  | { type: 'enclave.ready' }
  | { type: 'enclave.lost' }
  | { type: 'device.ready' }
  | { type: 'device.absent' }
  | { type: 'device.lost' }
  /** `request` is an id that the role made, unique in this boot */
  | { type: 'infer.request'; request: string }
  | { type: 'runner.drain' };

type InferDone = { type: `xstate.done.actor.infer.${string}`; actorId: string };
type InferError = { type: `xstate.error.actor.infer.${string}`; actorId: string; error: unknown };

export interface Refusal {
  readonly request: string;
  readonly code: ErrorCode;
}

const childOf = (request: string) => `infer.${request}`;
const requestOf = (event: { actorId: string }) => event.actorId.slice('infer.'.length);
const without = (requests: readonly string[], event: { actorId: string }) =>
  requests.filter((request) => request !== requestOf(event));
const close = { target: 'failed', actions: { type: 'fail', params: rejection } } as const;

const runner = setup({
  types: {} as {
    context: InferenceRunnerContext;
    events: InferenceRunnerEvent | InferDone | InferError;
    input: InferenceRunnerInput;
    tags: StateTag;
  },
  actors: {
    load: effect<void, { id: string }>('load'),
    verify: effect<void, { id: string }>('verify'),
    infer: effect<void, { request: string }>('infer'),
  },
  actions: {
    /** Provided by the role: answers a request with an error. */
    refuse: (_, _params: Refusal) => {},
    fail: assign({ failure: (_, params: Failure) => params }),
  },
  guards: {
    equipped: ({ context }) => context.enclave === 'ready' && context.device !== 'unknown',
    idle: ({ context }) => context.requests.length === 0,
    last: ({ context }) => context.requests.length === 1,
    full: ({ context }) => context.requests.length >= context.limit,
    inFlight: ({ context }, params: { request: string }) => context.requests.includes(params.request),
    deviceLost: (_, params: { error: unknown }) => failureOf(params.error).code === 'device-lost',
  },
  delays: { drainWithin: 30_000 },
});

const turnAway = (code: ErrorCode) =>
  runner.enqueueActions(({ context, event, enqueue }) => {
    if (event.type !== 'infer.request') return;
    enqueue.assign({ refused: context.refused + 1 });
    enqueue({ type: 'refuse', params: { request: event.request, code } });
  });

/** Cuts off what is in flight, with an answer for each. */
const abandon = runner.enqueueActions(({ context, enqueue }) => {
  for (const request of context.requests) {
    enqueue.stopChild(childOf(request));
    enqueue({ type: 'refuse', params: { request, code: context.failure?.code ?? 'cancelled' } });
  }
  enqueue.assign({ refused: context.refused + context.requests.length, requests: [] });
});

const begin = runner.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== 'infer.request') return;
  enqueue.assign({ requests: [...context.requests, event.request] });
  enqueue.spawnChild('infer', { id: childOf(event.request), input: { request: event.request } });
});

const end = runner.enqueueActions(({ context, event, enqueue }) => {
  if (!('actorId' in event)) return;
  const failed = event.type.startsWith('xstate.error') ? 1 : 0;
  enqueue.stopChild(event.actorId);
  enqueue.assign({
    requests: without(context.requests, event),
    served: context.served + 1 - failed,
    failed: context.failed + failed,
  });
});

export const inferenceRunnerMachine = runner.createMachine({
  id: 'inferenceRunner',
  context: ({ input }) => ({
    id: input.id,
    enclave: 'unknown',
    device: 'unknown',
    requests: [],
    limit: input.limit ?? 256,
    served: 0,
    refused: 0,
    failed: 0,
    failure: null,
  }),
  initial: 'waiting',
  on: {
    'infer.request': { actions: turnAway('not-ready') },
    'runner.drain': '.draining',
    'device.lost': {
      target: '.failed',
      actions: [{ type: 'fail', params: failure('device-lost') }, abandon],
    },
    'enclave.lost': { target: '.failed', actions: [{ type: 'fail', params: failure('not-ready') }, abandon] },
    // A child that ends after it was cut off has nothing left to say.
    'xstate.done.actor.infer.*': {},
    'xstate.error.actor.infer.*': {},
  },
  states: {
    waiting: {
      on: {
        'enclave.ready': { actions: assign({ enclave: 'ready' }) },
        'enclave.lost': { actions: assign({ enclave: 'unknown' }) },
        'device.ready': { actions: assign({ device: 'ready' }) },
        'device.absent': { actions: assign({ device: 'absent' }) },
        'device.lost': { actions: assign({ device: 'unknown' }) },
      },
      always: { guard: 'equipped', target: 'loading' },
    },
    loading: {
      invoke: {
        src: 'load',
        input: ({ context }) => ({ id: context.id }),
        onDone: 'verifying',
        onError: close,
      },
    },
    verifying: {
      invoke: {
        src: 'verify',
        input: ({ context }) => ({ id: context.id }),
        onDone: 'ready',
        onError: close,
      },
    },
    ready: { tags: 'up', on: { 'infer.request': { target: 'running', actions: begin } } },
    running: {
      tags: 'up',
      on: {
        'infer.request': [
          {
            guard: { type: 'inFlight', params: ({ event }) => ({ request: event.request }) },
            actions: turnAway('replayed'),
          },
          { guard: 'full', actions: turnAway('busy') },
          { actions: begin },
        ],
        'xstate.done.actor.infer.*': [{ guard: 'last', target: 'ready', actions: end }, { actions: end }],
        'xstate.error.actor.infer.*': [
          {
            guard: { type: 'deviceLost', params: ({ event }) => ({ error: event.error }) },
            target: 'failed',
            actions: [end, { type: 'fail', params: failure('device-lost') }, abandon],
          },
          { guard: 'last', target: 'ready', actions: end },
          { actions: end },
        ],
      },
    },
    draining: {
      on: {
        'runner.drain': {},
        'xstate.done.actor.infer.*': { actions: end },
        'xstate.error.actor.infer.*': { actions: end },
      },
      always: { guard: 'idle', target: 'stopped' },
      after: { drainWithin: { target: 'stopped', actions: abandon } },
    },
    stopped: { tags: 'settled', on: { 'runner.drain': {}, 'device.lost': {}, 'enclave.lost': {} } },
    failed: {
      tags: ['failed', 'settled'],
      on: { 'runner.drain': {}, 'device.lost': {}, 'enclave.lost': {} },
    },
  },
});

/** What the monitor may count. */
export const inferenceRunnerCounts = (context: InferenceRunnerContext) => ({
  running: context.requests.length,
  served: context.served,
  refused: context.refused,
  failed: context.failed,
});
