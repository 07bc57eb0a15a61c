/**
 * What the states of actors mean to whoever looks at them: one table, because the page cannot ask the machines
 * (actors/), whose states and tags a test compares with it. Served to the browser as it stands.
 */
import type { ActorKind } from '../../protocols/subjects.ts';

/**
 * `up`: does, or has done, what it is there for. `busy`: on its way there, or at work. `waiting`: for somebody else.
 * `failed`: refuses work until a person or its supervisor starts it again. `stopped`: it ended as it was asked to.
 */
export type Meaning = 'up' | 'busy' | 'waiting' | 'failed' | 'stopped';

export const STATES: Readonly<Record<ActorKind, Readonly<Record<string, Meaning>>>> = {
  supervisor: {
    starting: 'busy',
    supervising: 'up',
    stopping: 'busy',
    stopped: 'stopped',
    failed: 'failed',
  },
  enclave: {
    absent: 'waiting',
    creating: 'busy',
    measuring: 'busy',
    launched: 'busy',
    attesting: 'busy',
    provisioning: 'busy',
    serving: 'up',
    draining: 'busy',
    destroyed: 'stopped',
    quarantined: 'failed',
  },
  gpu: {
    unbound: 'waiting',
    binding: 'busy',
    resetting: 'busy',
    attached: 'busy',
    measuring: 'busy',
    ready: 'up',
    recovering: 'busy',
    draining: 'busy',
    failed: 'failed',
  },
  runner: {
    waiting: 'waiting',
    loading: 'busy',
    verifying: 'busy',
    ready: 'up',
    running: 'busy',
    draining: 'busy',
    stopped: 'stopped',
    failed: 'failed',
  },
  worker: {
    joining: 'busy',
    selfTesting: 'busy',
    idle: 'up',
    fetching: 'busy',
    computing: 'busy',
    draining: 'busy',
    suspended: 'failed',
    failed: 'failed',
    stopped: 'stopped',
  },
  coordinator: {
    joining: 'busy',
    admitting: 'up',
    draining: 'busy',
    stopped: 'stopped',
    failed: 'failed',
  },
  broker: {
    opening: 'busy',
    ready: 'up',
    verifying: 'busy',
    recording: 'busy',
    releasing: 'busy',
    refused: 'busy',
    stopped: 'stopped',
    failed: 'failed',
  },
  'proof-job': {
    queued: 'waiting',
    witnessing: 'busy',
    transforming: 'busy',
    planning: 'busy',
    dispatching: 'busy',
    assembling: 'busy',
    verifying: 'busy',
    publishing: 'busy',
    published: 'up',
    failed: 'failed',
  },
};

/** A state that this table does not know, of a newer actor, is at least not called up. */
export const meaningOf = (kind: ActorKind, state: string): Meaning =>
  (Object.hasOwn(STATES[kind], state) ? STATES[kind][state] : undefined) ?? 'waiting';

/** Has the actor ended, so that its silence is no surprise? A failed actor lives on and says so; a failed job does not. */
export const isEnd = (kind: ActorKind, state: string): boolean =>
  kind === 'proof-job' ? state === 'published' || state === 'failed' : meaningOf(kind, state) === 'stopped';
