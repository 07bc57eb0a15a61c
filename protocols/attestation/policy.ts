/**
 * What a verifier demands of evidence. A policy is a JSON file; unknown fields are errors, because a demand
 * that is not understood would silently not be made. What it does not say is refused: no platform, debug
 * build or simulation is accepted unless it is named.
 *
 * Its digest is the SHA-256 of its canonical JSON (RFC 8785) *with defaults filled in*; the order inside
 * arrays counts.
 */
import { z } from 'zod';
import { canonicalJson, sha256Hex, utf8 } from '../encoding.ts';
import { Digest } from '../envelope.ts';
import { VouchError } from '../errors.ts';

const PlatformName = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, 'expected a platform name such as simulated');

/** 48 bytes, as SEV-SNP and TDX measure. */
export const Measurement = z
  .string()
  .regex(/^[0-9a-f]{96}$/, 'expected a measurement of 48 bytes as lower-case hex');

/** Security version numbers of a platform's components, in the order that its format documents. */
export const Tcb = z.array(z.int().min(0).max(65535)).min(1).max(32);

/** The slots of the report data (report-data.ts). */
export const BINDINGS = [
  'nonce',
  'hpkeKey',
  'receiptKey',
  'modelCommitment',
  'enclave',
  'tlsKey',
  'gpuEvidence',
] as const;

export const Policy = z
  .strictObject({
    version: z.literal(1),
    /** platforms accepted, by name */
    platforms: z.array(PlatformName).min(1).max(16),
    /** measurements accepted */
    measurements: z.array(Measurement).min(1).max(256),
    /** per platform, the least version of each component */
    minimumTcb: z.record(PlatformName, Tcb),
    /** whether debug mode is accepted: the host can then read the enclave's memory */
    debug: z.boolean().default(false),
    /** seconds for which evidence counts as fresh */
    maxAgeSeconds: z
      .int()
      .min(1)
      .max(366 * 86_400),
    /** whether SIMULATED evidence is accepted: it protects nothing */
    simulated: z.boolean().default(false),
    /** SHA-256 fingerprints of the simulated roots accepted */
    simulatedRoots: z.array(Digest).max(64).default([]),
    /** what the evidence must bind */
    requiredBinding: z.array(z.enum(BINDINGS)).max(BINDINGS.length).default(['nonce', 'hpkeKey', 'enclave']),
  })
  .superRefine(({ platforms, minimumTcb }, context) => {
    for (const platform of platforms) {
      if (!Object.hasOwn(minimumTcb, platform)) {
        context.addIssue({
          code: 'custom',
          path: ['minimumTcb'],
          message: `expected an entry for ${platform}`,
        });
      }
    }
  });
export type Policy = z.infer<typeof Policy>;

/** Checks a policy and fills in its defaults; throws `bad-input` that names the first wrong field. */
export function parsePolicy(json: unknown): Policy {
  const result = Policy.safeParse(json);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = ['policy', ...(issue?.path ?? [])].join('.');
  throw new VouchError('bad-input', `${path}: ${issue?.message ?? 'not a policy'}`);
}

/** Lower-case hex SHA-256 of the policy. */
export const policyDigest = (policy: Policy): string => sha256Hex(utf8(canonicalJson(Policy.parse(policy))));
