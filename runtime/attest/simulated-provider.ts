/** The SIMULATED provider: what it signs says nothing about this machine. */
import {
  gpuQuote,
  quote,
  SIMULATED,
  SIMULATED_GPU,
  type SimulatedPlatform,
} from '../../protocols/attestation/formats/simulated.ts';
import type { Role } from '../../protocols/subjects.ts';
import { measure } from './measurement.ts';
import type { Provider } from './provider.ts';

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
