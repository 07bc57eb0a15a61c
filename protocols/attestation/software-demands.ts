/**
 * What a policy may demand that others say of the software that a CPU measured: Google of the firmware of its machines.
 * Each is a part of the policy of its own, and absent unless it is demanded; what is said counts where it is at hand.
 */
import { z } from 'zod';
import { Day, fingerprints, hexOf } from './demands.ts';
import { GOOGLE_TCB_ROOTS } from './roots/google.ts';

export const GcePolicy = z.strictObject({
  roots: fingerprints(16)
    .min(1)
    .default([...GOOGLE_TCB_ROOTS])
    .describe('roots accepted for the key that signs endorsements, by certificate'),
  minimumSvn: z
    .int()
    .min(0)
    .max(2 ** 32 - 1)
    .default(0)
    .describe("least security version of Google's firmware"),
  notBefore: Day.optional().describe('first day on which it may have been signed'),
  firmwares: z
    .array(hexOf(48))
    .min(1)
    .max(256)
    .optional()
    .describe('firmware accepted, by SHA-384 of its file'),
});
export type GcePolicy = z.infer<typeof GcePolicy>;
