/**
 * One GPU, from an unbound device to one whose work may be trusted.
 *
 *   unbound -> binding -> resetting -> attached -> measuring -> ready
 *   any but unbound -> draining -> unbound      on `device.release`
 *   ready -> recovering -> binding              on `device.lost`, where the role says that it may be opened again
 *   any of the middle ones -> failed            on `device.lost` or a failed effect
 *
 * The reset comes before anything of ours touches the device: what a former tenant left in its memory is gone.
 * `measure` runs the self-test and collects evidence; it rejects for devtools mode or a wrong result. From
 * failed the only way back is `device.release` and then the whole path again, which a recovering device goes, too. One
 * that is lost more than three times, each within a minute of being ready, fails.
 *
 * Not guaranteed: that the evidence satisfies anybody's policy; ready says that there is some.
 */
import { assign, setup } from 'xstate';
import { z } from 'zod';
import { Digest, Id } from '../protocols/envelope.ts';
import { Count, Failure, failure, rejection, type StateTag } from './context.ts';
import { effect } from './effect.ts';

/** Losses soon after it was ready that a device may recover from, one after the other. */
const MAX_RECOVERIES = 3;
const STEADY_MS = 60_000;

export const GpuDeviceContext = z.strictObject({
  id: Id,
  /** digest of the evidence or, for a device without any, of its simulated evidence */
  evidence: Digest.nullable(),
  binds: Count,
  losses: Count,
  recovers: z.boolean(),
  /** losses that followed closely upon each other */
  recoveries: Count,
  failure: Failure.nullable(),
});
export type GpuDeviceContext = z.infer<typeof GpuDeviceContext>;

export interface GpuDeviceInput {
  readonly id: string;
  /** whether a device that was ready and is lost is taken again; default false */
  readonly recovers?: boolean;
}

export type GpuDeviceEvent = { type: 'device.bind' } | { type: 'device.release' } | { type: 'device.lost' };

export interface GpuDeviceEffectInput {
  readonly id: string;
  readonly bind: number;
}

const device = ({ context }: { context: GpuDeviceContext }): GpuDeviceEffectInput => ({
  id: context.id,
  bind: context.binds,
});
const close = { target: 'failed', actions: { type: 'fail', params: rejection } } as const;

export const gpuDeviceMachine = setup({
  types: {} as { context: GpuDeviceContext; events: GpuDeviceEvent; input: GpuDeviceInput; tags: StateTag },
  actors: {
    bind: effect<void, GpuDeviceEffectInput>('bind'),
    reset: effect<void, GpuDeviceEffectInput>('reset'),
    measure: effect<{ evidence: string }, GpuDeviceEffectInput>('measure'),
    release: effect<void, GpuDeviceEffectInput>('release'),
  },
  actions: {
    fail: assign({ failure: (_, params: Failure) => params, evidence: null }),
    lose: assign({
      losses: ({ context }) => context.losses + 1,
      failure: failure('device-lost'),
      evidence: null,
    }),
    rebind: assign({ binds: ({ context }) => context.binds + 1, failure: null }),
  },
  guards: {
    recovers: ({ context }) => context.recovers && context.recoveries < MAX_RECOVERIES,
  },
  delays: { steadyAfter: STEADY_MS },
}).createMachine({
  id: 'gpuDevice',
  context: ({ input }) => ({
    id: input.id,
    evidence: null,
    binds: 0,
    losses: 0,
    recovers: input.recovers ?? false,
    recoveries: 0,
    failure: null,
  }),
  initial: 'unbound',
  on: {
    'device.release': '.draining',
    'device.lost': { target: '.failed', actions: 'lose' },
  },
  states: {
    unbound: {
      tags: 'settled',
      on: {
        'device.bind': { target: 'binding', actions: 'rebind' },
        'device.release': {},
        'device.lost': {},
      },
    },
    binding: { invoke: { src: 'bind', input: device, onDone: 'resetting', onError: close } },
    resetting: { invoke: { src: 'reset', input: device, onDone: 'attached', onError: close } },
    // A step of its own, so that the world sees the device attached before it is measured.
    attached: { after: { 0: 'measuring' } },
    measuring: {
      invoke: {
        src: 'measure',
        input: device,
        onDone: [
          {
            guard: ({ event }) => Digest.safeParse(event.output?.evidence).success,
            target: 'ready',
            actions: assign({ evidence: ({ event }) => event.output.evidence }),
          },
          { target: 'failed', actions: { type: 'fail', params: failure('evidence-rejected') } },
        ],
        onError: close,
      },
    },
    ready: {
      tags: 'up',
      on: {
        'device.lost': [
          {
            guard: 'recovers',
            target: 'recovering',
            actions: ['lose', assign({ recoveries: ({ context }) => context.recoveries + 1 })],
          },
          { target: 'failed', actions: 'lose' },
        ],
      },
      after: { steadyAfter: { actions: assign({ recoveries: 0 }) } },
    },
    recovering: {
      on: { 'device.lost': {} },
      invoke: {
        src: 'release',
        input: device,
        onDone: { target: 'binding', actions: 'rebind' },
        onError: close,
      },
    },
    draining: {
      entry: assign({ evidence: null }),
      on: { 'device.release': {}, 'device.lost': {} },
      invoke: { src: 'release', input: device, onDone: 'unbound', onError: close },
    },
    failed: { tags: ['failed', 'settled'], on: { 'device.lost': {} } },
  },
});

/** What the monitor may count. */
export const gpuDeviceCounts = (context: GpuDeviceContext) => ({
  binds: context.binds,
  losses: context.losses,
});
