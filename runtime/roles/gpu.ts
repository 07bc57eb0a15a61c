/**
 * The GPU device of a host: measured before it is used, with what it was measured to do in its heartbeats. Without
 * evidence of its own (that is real hardware's, to come) the digest it shows is that of its measured capability,
 * SIMULATED evidence at best.
 */
import { gpuDeviceCounts, gpuDeviceMachine } from '../../actors/gpu-device.ts';
import type { Capability } from '../../protocols/device.ts';
import { canonicalJson, sha256Hex, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { type GpuHandle, openGpu, selfTest } from '../gpu/adapter.ts';
import { tune } from '../gpu/autotune.ts';
import { createQueue } from '../msm/webgpu/queue.ts';
import { tuningStore } from '../prove/cache.ts';
import type { StartRole } from './host.ts';
import type { Neighbours } from './neighbours.ts';

/** Opens the adapter of this process, or, in tests, something with its faults. */
export type OpenGpu = () => Promise<GpuHandle>;

// Set to 1, tests and the curious run on lavapipe or SwiftShader.
const openHere: OpenGpu = () => openGpu({ allowSoftware: process.env.VOUCH_SOFTWARE_GPU === '1' });

export const gpuRole =
  (neighbours: Neighbours, openDevice: OpenGpu = openHere): StartRole =>
  async (context) => {
    const { id, effect, fail } = context;
    let measured: Capability | undefined;
    const drop = () => {
      const { gpu } = neighbours;
      delete neighbours.gpu;
      measured = undefined;
      gpu?.close();
    };
    const open = async () => {
      drop();
      const gpu = await openDevice();
      neighbours.gpu = gpu;
      void gpu.device.lost.then(({ message }) => {
        // Whoever closes it here takes it from the neighbours first.
        if (neighbours.gpu !== gpu) return;
        fail(
          'the GPU',
          new VouchError('device-lost', `the GPU was lost: ${message || 'its driver does not say why'}`),
        );
        actor.send({ type: 'device.lost' });
      });
    };
    const machine = gpuDeviceMachine.provide({
      actors: {
        bind: effect('bind', open),
        // A new device: nothing of an earlier user of this process is left on it.
        reset: effect('reset', open),
        measure: effect('measure', async ({ signal }) => {
          if (!neighbours.gpu)
            throw new VouchError('device-lost', 'the device was lost before it was measured');
          await selfTest(neighbours.gpu);
          measured = await measureCapability(neighbours.gpu, signal);
          return { evidence: sha256Hex(utf8(canonicalJson(measured))) };
        }),
        release: effect('release', drop),
      },
    });
    context.onStop(drop);
    const actor = context.run({
      kind: 'gpu',
      id,
      machine,
      input: { id, recovers: true },
      countsOf: gpuDeviceCounts,
      offer: (state) => (state === 'ready' && measured ? { gpu: measured } : {}),
    });
    neighbours.device = { actor, failure: context.failure };
    // The runner computes on it, or on the CPU where there is none.
    const news = { ready: 'device.ready', recovering: 'device.lost', failed: 'device.absent' } as const;
    actor.subscribe(({ value }) => {
      const type = news[value as keyof typeof news];
      if (type) neighbours.runner?.actor.send({ type });
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
