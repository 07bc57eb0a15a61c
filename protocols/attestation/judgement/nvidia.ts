/**
 * What a policy wants of verified GPUs, judged on what they claim: of each, of how many there are, of the switches between
 * them, and of what their guest says. What several must have in common, and what signed manifests say of measurements, is
 * found out by the formats.
 */
import type { Checklist, Recorder } from '../checklist.ts';
import type { GpuPolicy } from '../demands.ts';
import type { GuestState } from '../formats/format.ts';
import type { GpuClaims } from '../formats/nvidia-claims.ts';
import { MAX_DEVICES } from '../limits.ts';

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

type List = Pick<Checklist, 'record' | 'require' | 'omit'>;

/** Checks that the GPUs of a machine have to pass together, whatever the policy names. */
export const MACHINE_DEMANDS = ['gpu.count', 'gpu.distinct', 'gpu.one-mode'] as const;

/** How many GPUs there are, and what their guest says of them. */
export function judgeGpuMachine(
  { gpus, guest }: { readonly gpus: number; readonly guest: GuestState | undefined },
  { count, guestState }: GpuPolicy,
  { record, require, omit }: List,
): void {
  record(
    'gpu.count',
    gpus > 0 && gpus <= MAX_DEVICES && [undefined, gpus].includes(count),
    'policy-rejected',
    `${gpus} GPUs, ${count ?? `1 to ${MAX_DEVICES}`} demanded`,
  );
  if (guest === undefined && guestState === 'if-present') {
    omit('gpu.cc-mode', 'not stated by a guest, not demanded');
    return;
  }
  require(['gpu.cc-mode', 'gpu.ready']);
  if (guest !== undefined) {
    record('gpu.cc-mode', guest.ccMode === 'on', 'policy-rejected', `CC mode is ${guest.ccMode}`);
    record('gpu.ready', guest.ready, 'policy-rejected', `the GPUs are ${guest.ready ? '' : 'not '}ready`);
  } else if (gpus > 0) {
    const unsaid = 'no guest states it: an evidence document does, and --gpus-ready beside files';
    record('gpu.cc-mode', false, 'policy-rejected', unsaid);
  }
}

/** Of GPUs behind switches: at how many the first one is, and of how many there is evidence. */
export function judgeGpuTopology(
  { seen, evidence }: { readonly seen: number; readonly evidence: number },
  { switches, switchEvidence }: GpuPolicy,
  { record, require, omit }: List,
): void {
  if (evidence === 0 && switchEvidence === 'if-present') {
    omit('switch.report', 'no evidence of switches at hand, none demanded');
  } else if (evidence === 0) require(['switch.report']);
  if (switches !== undefined && seen !== switches) {
    record('gpu.topology', false, 'policy-rejected', `${seen} switches, ${switches} demanded`);
  }
}
