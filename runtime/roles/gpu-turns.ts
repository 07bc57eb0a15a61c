/** The turns of a role that computes proofs on a GPU which this host's runners may use as well. */
import type { GpuUse } from '../../protocols/transition.ts';
import { hearGpuUse } from '../home/gpu-users.ts';
import type { DeviceMemory } from '../msm/webgpu/residency.ts';
import { createTurns, type SharedTurns } from '../msm/webgpu/turns.ts';
import type { RoleContext } from './host.ts';

export interface GpuSharing {
  /** part of the time that proofs may take while inferences run: 0 none of it, 1 never wait */
  readonly share?: number | undefined;
  /** where runners say that they use the GPU; default: in the home */
  readonly directory?: string | undefined;
}

const SHARE = 0.1;

/** Hears of inferences until the role stops. */
export async function gpuTurns(
  { onStop }: Pick<RoleContext, 'onStop'>,
  { share = SHARE, directory }: GpuSharing = {},
): Promise<SharedTurns> {
  const turns = createTurns({ share });
  const hearing = await hearGpuUse(turns.hear, directory);
  onStop(() => hearing.close());
  return turns;
}

/** How the GPU is shared now, as a heartbeat says it. */
export function gpuUse({ split }: SharedTurns, memory: DeviceMemory = { bytes: 0, budget: 0 }): GpuUse {
  const { proofs, inferences } = split();
  return { proofs, inferences, ...memory };
}
