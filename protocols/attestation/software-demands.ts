/**
 * What a policy may demand that others say of the software that a CPU measured: Google of the firmware of its machines,
 * and whoever built the rest, by way of Sigstore. Each is a part of the policy of its own, and absent unless it is demanded; what is said counts where it is at hand.
 */
import { z } from 'zod';
import { Day, fingerprints, hexOf } from './demands.ts';
import { GOOGLE_TCB_ROOTS } from './roots/google.ts';
import { CERTIFICATE_LOGS, FULCIO_ROOTS, REKOR_LOGS, TIMESTAMP_ROOTS } from './roots/sigstore.ts';

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

const pins = (most: readonly string[]) =>
  fingerprints(16)
    .min(1)
    .default([...most]);

/** Who may have signed: as its certificate names it, each part that is given. */
const Identity = z.strictObject({
  issuer: z
    .url()
    .max(256)
    .describe('who vouched for the identity, such as https://token.actions.githubusercontent.com'),
  subject: z
    .string()
    .min(1)
    .max(512)
    .refine((text) => (text.match(/\*/g) ?? []).length <= 4, 'expected at most four *')
    .optional()
    .describe('whom it vouched for, such as a workflow or an address; `*` stands for any characters'),
  repository: z.url().max(512).optional().describe('which repository the workflow was of'),
});

export const ProvenancePolicy = z.strictObject({
  identities: z
    .array(
      Identity.refine(
        ({ subject, repository }) => subject !== undefined || repository !== undefined,
        'expected a subject or a repository: an issuer alone vouches for everybody',
      ),
    )
    .min(1)
    .max(64)
    .describe('who must have signed that this is the measurement; one of them'),
  predicates: z
    .array(z.string().min(1).max(512))
    .min(1)
    .max(64)
    .optional()
    .describe('types of statements accepted, by `predicateType`'),
  registers: z
    .array(z.string().regex(/^[a-z][A-Za-z0-9]{2,15}$/, 'expected a register such as measurement or rtmr1'))
    .min(1)
    .max(16)
    .optional()
    .describe('registers that such statements must name; absent: some register'),
  roots: pins(FULCIO_ROOTS).describe('roots accepted for identities, by certificate'),
  logs: pins(REKOR_LOGS).describe('logs of signatures accepted, by SHA-256 of their SubjectPublicKeyInfo'),
  certificateLogs: pins(CERTIFICATE_LOGS).describe('logs of certificates accepted, the same way'),
  timestampRoots: pins(TIMESTAMP_ROOTS).describe('roots accepted for timestamps, by certificate'),
});
export type ProvenancePolicy = z.infer<typeof ProvenancePolicy>;

/** Whom a policy of provenance trusts, by digest. */
export type ProvenancePins = {
  readonly [K in 'roots' | 'logs' | 'certificateLogs' | 'timestampRoots']: readonly string[];
};
