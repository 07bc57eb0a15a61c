/**
 * What a policy wants of a verified GPU, judged on its claims alone. What several must have in common, and what signed
 * manifests say of measurements, is found out by the formats.
 */
import type { Recorder } from '../checklist.ts';
import type { GpuPolicy } from '../demands.ts';
import type { GpuClaims } from '../formats/nvidia-claims.ts';

/** Checks that every GPU has to pass, whatever the policy names. */
export const GPU_DEMANDS = ['gpu.architecture', 'gpu.mode'] as const;

export function judgeGpuClaims(claims: GpuClaims, policy: GpuPolicy, record: Recorder): void {
  const { chip, architecture, mode, device } = claims;
  const demand = (id: string, met: boolean, detail: string) => record(id, met, 'policy-rejected', detail);
  demand('gpu.architecture', policy.architectures.includes(architecture), `${chip} is ${architecture}`);
  demand('gpu.mode', policy.modes.includes(mode), `mode ${mode}`);
  const versions = [
    ['gpu.driver', claims.driverVersion, policy.drivers],
    ['gpu.vbios', claims.vbiosVersion, policy.vbioses],
  ] as const;
  for (const [id, version, allowed] of versions) {
    if (allowed !== undefined) demand(id, allowed.includes(version), `version ${version}`);
  }
  if (policy.devices !== undefined) {
    demand('gpu.device-allowed', policy.devices.includes(device), `device ${device.slice(0, 16)}`);
  }
}
