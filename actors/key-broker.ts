/**
 * Releases a model's key to evidence that satisfies the model's policy, one request at a time.
 *
 *   opening -> ready -> verifying -> recording -> releasing -> ready
 *   verifying to releasing -> refused -> ready  on a refusal, a failed effect, or no answer in time
 *   opening -> failed                           when the key store or the audit log does not open
 *   any but failed -> stopped                   on `broker.drain`, which refuses what waits or is under way
 *
 * The only way into releasing is a verification that says `accepted: true` for the request in hand, and an audit
 * record of the release that is stored: where nothing can be recorded nothing is released. Requests wait in a bounded
 * queue; above it, and in every state that cannot serve, the action `refuse` answers.
 *
 * Not guaranteed: that the policy is a good one, nor fairness between models. A release cut off by a drain or a
 * time limit may have been sent; its key is sealed to evidence that was accepted.
 */
import { assign, setup } from 'xstate';
import { z } from 'zod';
import { Id } from '../protocols/envelope.ts';
import type { ErrorCode } from '../protocols/errors.ts';
import { Count, Failure, failure, rejection, type StateTag } from './context.ts';
import { effect } from './effect.ts';

const ReleaseRef = z.strictObject({ request: Id, model: Id });
export type ReleaseRef = z.infer<typeof ReleaseRef>;

export const KeyBrokerContext = z.strictObject({
  id: Id,
  current: ReleaseRef.nullable(),
  /** requests that wait, oldest first */
  queue: z.array(ReleaseRef),
  limit: Count,
  released: Count,
  refused: Count,
  /** why the latest request was refused, or why the broker failed */
  failure: Failure.nullable(),
});
export type KeyBrokerContext = z.infer<typeof KeyBrokerContext>;

export interface KeyBrokerInput {
  readonly id: string;
  /** requests that may wait, default 32 */
  readonly limit?: number;
}

export type KeyBrokerEvent =
  /** `request` is an id that the role made, unique in this boot */
  ({ type: 'release.request' } & ReleaseRef) | { type: 'broker.drain' };

export type ReleaseRefusal = ReleaseRef & { readonly code: ErrorCode };

const current = ({ context }: { context: KeyBrokerContext }) => context.current as ReleaseRef;
const refuseWith = (params: Failure) => ({ target: 'refused', actions: { type: 'fail', params } }) as const;
const refuseRejected = { target: 'refused', actions: { type: 'fail', params: rejection } } as const;

const broker = setup({
  types: {} as {
    context: KeyBrokerContext;
    events: KeyBrokerEvent;
    input: KeyBrokerInput;
    tags: StateTag;
  },
  actors: {
    openStore: effect<void, { id: string }>('openStore'),
    verifyEvidence: effect<{ accepted: boolean }, ReleaseRef>('verifyEvidence'),
    record: effect<void, ReleaseRef>('record'),
    release: effect<void, ReleaseRef>('release'),
  },
  actions: {
    /** Provided by the role: answers a request with an error. */
    refuse: (_, _params: ReleaseRefusal) => {},
    fail: assign({ failure: (_, params: Failure) => params }),
  },
  guards: {
    waiting: ({ context }) => context.queue.length > 0,
    full: ({ context }) => context.queue.length >= context.limit,
  },
  delays: { answerWithin: 10_000 },
});

const turnAway = (code: ErrorCode) =>
  broker.enqueueActions(({ context, event, enqueue }) => {
    if (event.type !== 'release.request') return;
    enqueue.assign({ refused: context.refused + 1 });
    enqueue({ type: 'refuse', params: { request: event.request, model: event.model, code } });
  });

const enqueueRequest = broker.assign({
  queue: ({ context, event }) =>
    event.type === 'release.request'
      ? [...context.queue, { request: event.request, model: event.model }]
      : context.queue,
});

const next = broker.assign({
  current: ({ context }) => context.queue[0] ?? null,
  queue: ({ context }) => context.queue.slice(1),
  failure: null,
});

const refuseCurrent = broker.enqueueActions(({ context, enqueue }) => {
  if (context.current === null) return;
  enqueue({ type: 'refuse', params: { ...context.current, code: context.failure?.code ?? 'internal' } });
  enqueue.assign({ current: null, refused: context.refused + 1 });
});

const refuseAll = broker.enqueueActions(({ context, enqueue }) => {
  const pending = [...(context.current === null ? [] : [context.current]), ...context.queue];
  for (const request of pending) enqueue({ type: 'refuse', params: { ...request, code: 'not-ready' } });
  enqueue.assign({ current: null, queue: [], refused: context.refused + pending.length });
});

const queueing = {
  'release.request': [{ guard: 'full', actions: turnAway('busy') }, { actions: enqueueRequest }],
} as const;

export const keyBrokerMachine = broker.createMachine({
  id: 'keyBroker',
  context: ({ input }) => ({
    id: input.id,
    current: null,
    queue: [],
    limit: input.limit ?? 32,
    released: 0,
    refused: 0,
    failure: null,
  }),
  initial: 'opening',
  on: {
    'release.request': { actions: turnAway('not-ready') },
    'broker.drain': { target: '.stopped', actions: refuseAll },
  },
  states: {
    opening: {
      invoke: {
        src: 'openStore',
        input: ({ context }) => ({ id: context.id }),
        onDone: 'ready',
        onError: { target: 'failed', actions: { type: 'fail', params: rejection } },
      },
    },
    ready: {
      tags: 'up',
      on: { 'release.request': { actions: enqueueRequest } },
      always: { guard: 'waiting', target: 'verifying', actions: next },
    },
    verifying: {
      tags: 'up',
      on: queueing,
      invoke: {
        src: 'verifyEvidence',
        input: current,
        onDone: [
          { guard: ({ event }) => event.output?.accepted === true, target: 'recording' },
          refuseWith(failure('policy-rejected')),
        ],
        onError: refuseRejected,
      },
      after: { answerWithin: refuseWith(failure('timeout')) },
    },
    recording: {
      tags: 'up',
      on: queueing,
      invoke: { src: 'record', input: current, onDone: 'releasing', onError: refuseRejected },
      after: { answerWithin: refuseWith(failure('timeout')) },
    },
    releasing: {
      tags: 'up',
      on: queueing,
      invoke: {
        src: 'release',
        input: current,
        onDone: {
          target: 'ready',
          actions: assign({ current: null, released: ({ context }) => context.released + 1 }),
        },
        onError: refuseRejected,
      },
      after: { answerWithin: refuseWith(failure('timeout')) },
    },
    // A step of its own, so that the world sees every refusal.
    refused: { tags: 'up', entry: refuseCurrent, on: queueing, after: { 0: 'ready' } },
    stopped: { tags: 'settled', on: { 'broker.drain': {} } },
    failed: { tags: ['failed', 'settled'], on: { 'broker.drain': {} } },
  },
});

/** What the monitor may count. */
export const keyBrokerCounts = (context: KeyBrokerContext) => ({
  waiting: context.queue.length,
  released: context.released,
  refused: context.refused,
});
