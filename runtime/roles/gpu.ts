/**
 * The GPU device of a host: measured before it is used, with what it was measured to do in its heartbeats. Without
 * evidence of its own (that is real hardware's, to come) the digest it shows is that of its measured capability,
 * SIMULATED evidence at best.
 */
import { fromPromise } from 'xstate';
import { gpuDeviceCounts, gpuDeviceMachine } from '../../actors/gpu-device.ts';
import type { Capability } from '../../protocols/device.ts';
import { canonicalJson, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { type GpuHandle, openGpu, selfTest } from '../gpu/adapter.ts';
import { tune } from '../gpu/autotune.ts';
import { createQueue } from '../msm/webgpu/queue.ts';
import { tuningStore } from '../prove/cache.ts';
import type { StartRole } from './host.ts';
import type { Neighbours } from './neighbours.ts';

export const gpuRole =
  (neighbours: Neighbours): StartRole =>
  async (context) => {
    const { id, log, source } = context;
    let measured: Capability | undefined;
    const drop = () => {
      const { gpu } = neighbours;
      delete neighbours.gpu;
      measured = undefined;
      gpu?.close();
    };
    const open = async () => {
      drop();
      // Set to 1, tests and the curious run on lavapipe or SwiftShader.
      const gpu = await openGpu({ allowSoftware: process.env.VOUCH_SOFTWARE_GPU === '1' });
      neighbours.gpu = gpu;
      void gpu.device.lost.then(() => {
        // Whoever closes it here takes it from the neighbours first.
        if (neighbours.gpu === gpu) actor.send({ type: 'device.lost' });
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
        measure: fromPromise(async ({ signal }) => {
          if (!neighbours.gpu)
            throw new VouchError('device-lost', 'the device was lost before it was measured');
          try {
            await selfTest(neighbours.gpu);
            measured = await measureCapability(neighbours.gpu, signal);
          } catch (error) {
            log(`${source}: ${messageOf(error)}`);
            throw error;
          }
          return { evidence: sha256Hex(utf8(canonicalJson(measured))) };
        }),
        release: fromPromise(async () => drop()),
      },
    });
    context.onStop(drop);
    const actor = context.run({
      kind: 'gpu',
      id,
      machine,
      input: { id },
      countsOf: gpuDeviceCounts,
      offer: (state) => (state === 'ready' && measured ? { gpu: measured } : {}),
    });
    neighbours.device = actor;
    let lost = false;
    actor.subscribe(({ value }) => {
      const heard = { ready: 'device.ready', failed: 'device.absent' } as const;
      const type = heard[value as keyof typeof heard];
      if (type) neighbours.runner?.send({ type });
      // A device that was ready and is lost is bound anew, and measured anew; one that fails its measurement is not.
      if (value === 'failed' && measured) {
        lost = true;
        log(`${source}: the GPU was lost; it is opened again`);
        queueMicrotask(() => actor.send({ type: 'device.release' }));
      }
      if (value === 'unbound' && lost) {
        lost = false;
        queueMicrotask(() => actor.send({ type: 'device.bind' }));
      }
    });
    actor.send({ type: 'device.bind' });
    return { actor, drain: { type: 'device.release' } };
  };

/** The device's capability with its rates, which are measured once per adapter and driver and remembered. */
async function measureCapability(
  { device, capability }: GpuHandle,
  signal: AbortSignal,
): Promise<Capability> {
  const { variant, multiplications, G1, G2 } = await tune(createQueue(device), {
    capability,
    store: tuningStore(),
    signal,
  });
  return { ...capability, rates: { multiplications: multiplications[variant] ?? 0, G1, G2 } };
}
