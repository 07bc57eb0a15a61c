/**
 * One worker as its coordinator knows it, from the first heartbeat of a boot to the last.
 *
 *   waiting (offers nothing yet) -> attesting -> placing (convicted by nobody) -> ready
 *   attesting, placing -> retrying -> waiting   when the effect fails: after a second, doubled each time, at most a minute
 *   any -> cutOff -> waiting                    on `link.lost` and `link.back`: what it holds is lost, its evidence holds
 *   any -> gone                                 on `worker.left`, or when its heartbeat is older than it promised
 *   any -> banned                               on `worker.banned`
 *
 * A worker is attested once per boot and placed again after every lost connection. While the coordinator is cut off
 * nobody can be heard, so no heartbeat grows old. Gone and banned are final; a new boot is a new actor.
 *
 * Not guaranteed: that a worker that is ready answers, or answers rightly; whoever uses a result checks it.
 */
import { and, assign, cancel, setup } from 'xstate';
import { z } from 'zod';
import { Id } from '../protocols/envelope.ts';
import { Count, Failure, Millis, rejection, type StateTag } from './context.ts';
import { effect } from './effect.ts';

/** Bytes: a worker that promises more cannot hold on to more than this. */
const MAX_CREDIT = 256 * 1024 * 1024;
const MAX_LEASE_MS = 30_000;
const RETRY_MS = 1_000;
const MAX_RETRY_MS = 60_000;

export const FleetMemberContext = z.strictObject({
  id: Id,
  /** bytes of shards that it is ready to hold, within our bounds */
  credit: Count,
  /** how long a heartbeat of its counts, within our bounds */
  leaseMs: Millis,
  /** its evidence was accepted */
  attested: z.boolean(),
  /** admissions that failed in a row */
  misses: Count,
  failure: Failure.nullable(),
});
export type FleetMemberContext = z.infer<typeof FleetMemberContext>;

/** What a heartbeat says of it. */
export interface Heard {
  readonly credit: number;
  readonly leaseMs: number;
}

export interface FleetMemberInput extends Heard {
  readonly id: string;
}

export type FleetMemberEvent =
  | ({ type: 'worker.heard' } & Heard)
  | { type: 'worker.left' }
  | { type: 'worker.banned' }
  | { type: 'link.lost' }
  | { type: 'link.back' };

type Internal = { type: 'lease.expired' };

const member = ({ context }: { context: FleetMemberContext }) => ({ id: context.id });
const bounded = ({ credit, leaseMs }: Heard): Heard => ({
  credit: Math.min(credit, MAX_CREDIT),
  leaseMs: Math.min(leaseMs, MAX_LEASE_MS),
});

const fleetMember = setup({
  types: {} as {
    context: FleetMemberContext;
    events: FleetMemberEvent | Internal;
    input: FleetMemberInput;
    tags: StateTag;
  },
  actors: {
    attest: effect<void, { id: string }>('attest'),
    place: effect<void, { id: string }>('place'),
  },
  actions: {
    /** Provided by the role: it may get shards from now on. */
    joined: (_, _params: { id: string }) => {},
    /** Provided by the role: what it holds is lost. */
    left: (_, _params: { id: string }) => {},
    miss: assign({
      misses: ({ context }) => context.misses + 1,
      failure: (_, params: Failure) => params,
    }),
  },
  guards: {
    offers: ({ context }) => context.credit > 0,
    attested: ({ context }) => context.attested,
  },
  delays: {
    lease: ({ context }) => context.leaseMs,
    retryAfter: ({ context }) => Math.min(RETRY_MS * 2 ** (context.misses - 1), MAX_RETRY_MS),
  },
});

/** A heartbeat counts from now on. */
const renewLease = fleetMember.enqueueActions(({ enqueue }) => {
  enqueue.cancel('lease');
  enqueue.raise({ type: 'lease.expired' }, { id: 'lease', delay: 'lease' });
});
const hear = fleetMember.assign(({ context, event }) =>
  event.type === 'worker.heard' ? bounded(event) : context,
);
const missed = { target: 'retrying', actions: { type: 'miss', params: rejection } } as const;
const left = { type: 'left', params: member } as const;

export const fleetMemberMachine = fleetMember.createMachine({
  id: 'fleetMember',
  context: ({ input }) => ({
    id: input.id,
    ...bounded(input),
    attested: false,
    misses: 0,
    failure: null,
  }),
  initial: 'waiting',
  entry: renewLease,
  on: {
    'worker.heard': { actions: [hear, renewLease] },
    'worker.left': '.gone',
    'lease.expired': '.gone',
    'worker.banned': '.banned',
    'link.lost': '.cutOff',
    'link.back': {},
  },
  states: {
    waiting: {
      always: [
        { guard: and(['offers', 'attested']), target: 'placing' },
        { guard: 'offers', target: 'attesting' },
      ],
    },
    attesting: {
      invoke: {
        src: 'attest',
        input: member,
        onDone: { target: 'placing', actions: assign({ attested: true }) },
        onError: missed,
      },
    },
    placing: {
      invoke: {
        src: 'place',
        input: member,
        onDone: { target: 'ready', actions: assign({ misses: 0, failure: null }) },
        onError: missed,
      },
    },
    ready: { tags: 'up', entry: { type: 'joined', params: member } },
    retrying: { after: { retryAfter: 'waiting' } },
    cutOff: {
      entry: cancel('lease'),
      on: {
        'worker.heard': { actions: hear },
        'link.lost': {},
        'link.back': { target: 'waiting', actions: [assign({ misses: 0 }), renewLease] },
      },
    },
    gone: { type: 'final', tags: 'settled', entry: left },
    banned: { type: 'final', tags: ['failed', 'settled'], entry: left },
  },
});
