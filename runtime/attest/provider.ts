/**
 * Who makes evidence on this host: a platform signs 64 bytes of report data, its GPUs answer a nonce. What they return
 * is a verifier's to check.
 *
 * The simulator proves nothing about the machine, so it does not start beside hardware that could: where a real TEE is
 * found it refuses, unless it is told to.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Signed } from '../../protocols/attestation/document.ts';
import {
  createSimulatedPlatform,
  gpuQuote,
  quote,
  SIMULATED,
  SIMULATED_GPU,
  type SimulatedPlatform,
} from '../../protocols/attestation/formats/simulated.ts';
import type { GpuState } from '../../protocols/attestation/report-data.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { Role } from '../../protocols/subjects.ts';
import { configfsTsm, TSM_ROOT } from './configfs-tsm.ts';
import { measure } from './measurement.ts';
import { simulatedRoot } from './simulated-root.ts';

export interface Provider {
  readonly name: ProviderName;
  readonly gpus: GpuProvider;
  /** What the platform measures of a process that plays `role`, lower-case hex. */
  measurement(role: Role): Promise<string>;
  /** Signs 64 bytes for a process that plays `role`. */
  sign(reportData: Uint8Array, role: Role): Promise<Signed>;
}

export interface GpuProvider {
  /** What the GPUs of this host answer to a nonce of 32 bytes, and the state that their driver reports. */
  answer(nonce: Uint8Array): Promise<GpuState>;
}

export type ProviderName = 'simulated' | 'configfs-tsm';

/** Devices that only a guest with a TEE has (Linux: drivers/virt/coco). */
const TEE_DEVICES = ['/dev/sev-guest', '/dev/tdx_guest', '/dev/tdx-guest'];

/** What says that this machine is a guest with a TEE, as a path; undefined where nothing does. */
export const teeFound = (root = '/'): string | undefined =>
  [TSM_ROOT, ...TEE_DEVICES].find((name) => existsSync(path.join(root, name)));

/** Set to 1 where the simulator may start beside a real TEE; child processes inherit it. */
const SIMULATE = 'VOUCH_SIMULATED';

/** A provider by its name. Throws `policy-rejected` for a simulator beside a real TEE, `not-ready` for a TEE that is not there. */
export async function providerOf(
  name: ProviderName = SIMULATED,
  { platform, root = '/' }: { platform?: SimulatedPlatform | undefined; root?: string } = {},
): Promise<Provider> {
  if (name === 'configfs-tsm') return configfsTsm(path.join(root, TSM_ROOT));
  const found = teeFound(root);
  if (found !== undefined && process.env[SIMULATE] !== '1') {
    throw new VouchError(
      'policy-rejected',
      `this machine has a TEE (${found}), so the simulator does not start: take --provider configfs-tsm, or --simulated to simulate all the same`,
    );
  }
  return simulatedProvider(platform ?? (await createSimulatedPlatform(await simulatedRoot())));
}

/** SIMULATED; asks nothing of this machine. It measures a role's code once, as hardware does at launch. */
export function simulatedProvider(platform: SimulatedPlatform): Provider {
  const measured = new Map<Role, string>();
  const measurementOf = (role: Role): string => {
    const measurement = measured.get(role) ?? measure(role);
    measured.set(role, measurement);
    return measurement;
  };
  return {
    name: SIMULATED,
    measurement: async (role) => measurementOf(role),
    sign: async (reportData, role) => ({
      format: SIMULATED,
      evidence: await quote(platform, { measurement: measurementOf(role), reportData }),
      certificates: [],
    }),
    gpus: {
      answer: async (nonce) => ({
        ccMode: 'on',
        ready: true,
        devices: [{ format: SIMULATED_GPU, evidence: await gpuQuote(platform, nonce), certificates: [] }],
      }),
    },
  };
}
