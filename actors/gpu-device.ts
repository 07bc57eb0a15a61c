/**
 * One GPU, from an unbound device to one whose work may be trusted.
 *
 *   unbound -> binding -> resetting -> attached -> measuring -> ready
 *   any but unbound -> draining -> unbound      on `device.release`
 *   any of the middle ones -> failed            on `device.lost`, `evidence.refused` or a failed effect
 *
 * The reset comes before anything of ours touches the device: what a former tenant left in its memory is gone.
 * `measure` runs the self-test and collects evidence; it rejects for devtools mode or a wrong result. From
 * failed the only way back is `device.release` and then the whole path again.
 *
 * Not guaranteed: that the evidence satisfies anybody's policy; ready says that there is some.
 */
import { assign, setup } from 'xstate';
import { z } from 'zod';
import { Digest, Id } from '../protocols/envelope.ts';
import { Count, Failure, failure, rejection } from './context.ts';
import { effect } from './effect.ts';

export const GPU_DEVICE_VERSION = 1;

export const GpuDeviceContext = z.strictObject({
  id: Id,
  /** digest of the evidence or, for a device without any, of its simulated evidence */
  evidence: Digest.nullable(),
  binds: Count,
  losses: Count,
  failure: Failure.nullable(),
});
export type GpuDeviceContext = z.infer<typeof GpuDeviceContext>;

export interface GpuDeviceInput {
  readonly id: string;
}

export type GpuDeviceEvent =
  | { type: 'device.bind' }
  | { type: 'device.release' }
  | { type: 'device.lost' }
  | { type: 'evidence.refused' };

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
  types: {} as { context: GpuDeviceContext; events: GpuDeviceEvent; input: GpuDeviceInput; tags: 'settled' },
  actors: {
    bind: effect<void, GpuDeviceEffectInput>('bind'),
    reset: effect<void, GpuDeviceEffectInput>('reset'),
    measure: effect<{ evidence: string }, GpuDeviceEffectInput>('measure'),
    release: effect<void, GpuDeviceEffectInput>('release'),
  },
  actions: {
    fail: assign({ failure: (_, params: Failure) => params, evidence: null }),
  },
}).createMachine({
  id: 'gpuDevice',
  context: ({ input }) => ({ id: input.id, evidence: null, binds: 0, losses: 0, failure: null }),
  initial: 'unbound',
  on: {
    'device.release': '.draining',
    'device.lost': {
      target: '.failed',
      actions: [
        assign({ losses: ({ context }) => context.losses + 1 }),
        { type: 'fail', params: failure('device-lost') },
      ],
    },
    'evidence.refused': {
      target: '.failed',
      actions: { type: 'fail', params: failure('evidence-rejected') },
    },
  },
  states: {
    unbound: {
      tags: 'settled',
      on: {
        'device.bind': {
          target: 'binding',
          actions: assign({ binds: ({ context }) => context.binds + 1, failure: null }),
        },
        'device.release': {},
        'device.lost': {},
        'evidence.refused': {},
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
    ready: {},
    draining: {
      entry: assign({ evidence: null }),
      on: { 'device.release': {}, 'device.lost': {}, 'evidence.refused': {} },
      invoke: { src: 'release', input: device, onDone: 'unbound', onError: close },
    },
    failed: { tags: 'settled', on: { 'device.lost': {}, 'evidence.refused': {} } },
  },
});

/** What the monitor may count. */
export const gpuDeviceCounts = (context: GpuDeviceContext) => ({
  binds: context.binds,
  losses: context.losses,
});
