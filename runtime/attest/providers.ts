/**
 * The providers of evidence by name. The simulator proves nothing about the machine, so it does not start beside hardware
 * that could: where a real TEE is found it refuses, unless it is told to.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import {
  createSimulatedPlatform,
  SIMULATED,
  type SimulatedPlatform,
} from '../../protocols/attestation/formats/simulated.ts';
import { VouchError } from '../../protocols/errors.ts';
import { configfsTsm, TSM_ROOT } from './configfs-tsm.ts';
import type { Provider, ProviderName } from './provider.ts';
import { simulatedProvider } from './simulated-provider.ts';
import { simulatedRoot } from './simulated-root.ts';

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
