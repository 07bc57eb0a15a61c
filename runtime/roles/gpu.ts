/**
 * The GPU device of a host. Without evidence of its own (that is real hardware's, to come) the digest it shows
 * is that of its measured capability, SIMULATED evidence at best.
 */
import { fromPromise } from 'xstate';
import { gpuDeviceCounts, gpuDeviceMachine } from '../../actors/gpu-device.ts';
import { canonicalJson, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { openGpu, selfTest } from '../gpu/adapter.ts';
import type { StartRole } from '../host.ts';
import type { Neighbours } from './neighbours.ts';

export const gpuRole =
  (neighbours: Neighbours): StartRole =>
  async (context) => {
    const { id, log, source } = context;
    const drop = () => {
      neighbours.gpu?.close();
      delete neighbours.gpu;
    };
    const open = async () => {
      drop();
      // Set to 1, tests and the curious run on lavapipe or SwiftShader.
      const gpu = await openGpu({ allowSoftware: process.env.VOUCH_SOFTWARE_GPU === '1' });
      neighbours.gpu = gpu;
      void gpu.device.lost.then(({ reason }) => {
        if (reason !== 'destroyed' && neighbours.gpu === gpu) actor.send({ type: 'device.lost' });
      });
    };
    const machine = gpuDeviceMachine.provide({
      actors: {
        bind: fromPromise(async () => {
          try {
            await open();
          } catch (error) {
            log(`${source}: ${messageOf(error)}`);
            throw error;
          }
        }),
        // A new device: nothing of an earlier user of this process is left on it.
        reset: fromPromise(open),
        measure: fromPromise(async () => {
          if (!neighbours.gpu)
            throw new VouchError('device-lost', 'the device was lost before it was measured');
          await selfTest(neighbours.gpu);
          return { evidence: sha256Hex(utf8(canonicalJson(neighbours.gpu.capability))) };
        }),
        release: fromPromise(async () => drop()),
      },
    });
    context.onStop(drop);
    const actor = context.run({ kind: 'gpu', id, machine, input: { id }, countsOf: gpuDeviceCounts });
    neighbours.device = actor;
    actor.subscribe(({ value }) => {
      const heard = { ready: 'device.ready', failed: 'device.absent' } as const;
      const type = heard[value as keyof typeof heard];
      if (type) neighbours.runner?.send({ type });
    });
    actor.send({ type: 'device.bind' });
    return { actor, drain: { type: 'device.release' } };
  };
