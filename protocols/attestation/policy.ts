/**
 * What a verifier demands of evidence: one JSON file for every platform. Unknown fields are errors, because a demand
 * that is not understood would silently not be made, and every default is the strict choice. JSON Schema:
 * docs/policy.schema.json.
 *
 * Its digest is the SHA-256 of its canonical JSON (RFC 8785) *with defaults filled in*; the order inside arrays
 * counts. The section of a platform that is not accepted is not filled in, so that digests outlive new platforms.
 */
import { z } from 'zod';
import { canonicalJson, sha256Hex, utf8 } from '../encoding.ts';
import { FieldElement } from '../envelope.ts';
import { VouchError } from '../errors.ts';
import { SEALING_SUITES } from '../sealing.ts';
import {
  AcceptedStatus,
  type Demands,
  fingerprints,
  GpuPolicy,
  HyperEnclavePolicy,
  hexOf,
  IntelPolicy,
  Measurement,
  NitroPolicy,
  SECTIONS,
  type Section,
  SnpPolicy,
  Svn,
  TpmPolicy,
} from './demands.ts';
import type { Format } from './formats/format.ts';
import { FORMATS, HARDWARE, PLATFORMS, type Platform } from './formats/registry.ts';
import { SIMULATED } from './formats/simulated.ts';
import { GcePolicy, ProvenancePolicy } from './software-demands.ts';

export type { Registers } from './demands.ts';
export type { Platform } from './formats/registry.ts';

/** Security version numbers of a simulated platform's components, in the order that its format documents. */
export const Tcb = z.array(Svn).min(1).max(32);

/** The slots of the report data (report-data.ts). */
export const BINDINGS = [
  'nonce',
  'hpkeKey',
  'receiptKey',
  'modelCommitment',
  'enclave',
  'tlsKey',
  'gpuEvidence',
  'xWingKey',
] as const;

export const Policy = z
  .strictObject({
    version: z.literal(1),
    platforms: z
      .array(z.enum(PLATFORMS))
      .min(1)
      .max(PLATFORMS.length)
      .default([...HARDWARE])
      .describe('kinds of evidence accepted'),
    measurements: z
      .array(Measurement)
      .min(1)
      .max(256)
      .optional()
      .describe(
        'builds accepted, by measurement or by several registers; absent: any, of evidence in files only',
      ),
    minimumTcb: z
      .partialRecord(z.enum([SIMULATED]), Tcb)
      .default({})
      .describe('least version of each component of a simulated platform'),
    debug: z.boolean().default(false).describe('is debug mode accepted? The host can then read memory'),
    reportData: hexOf(64).optional().describe('report data accepted, exactly, of evidence in files'),
    maxAgeSeconds: z
      .int()
      .min(1)
      .max(366 * 86_400)
      .default(300)
      .describe('for how long evidence counts as fresh'),
    simulated: z.boolean().default(false).describe('is SIMULATED evidence accepted? It protects nothing'),
    simulatedRoots: fingerprints(64).default([]).describe('fingerprints of the simulated roots accepted'),
    vendor: z
      .string()
      .regex(/^(?:[0-9a-f]{64}|[A-Za-z0-9_-]{43})$/, "expected a vendor's public key or fingerprint")
      .optional()
      .describe("for clients: whose models are accepted, by the vendor's public key or its fingerprint"),
    commitment: FieldElement.optional().describe('for clients: the one model that is accepted'),
    requiredBinding: z
      .array(z.enum(BINDINGS))
      .max(BINDINGS.length)
      .default(['nonce', 'hpkeKey', 'enclave'])
      .describe('what the evidence must bind'),
    sealing: z
      .enum(SEALING_SUITES)
      .optional()
      .describe('how requests are sealed; `x-wing` demands a key that quantum computers do not break'),
    intel: IntelPolicy.optional().describe('for `sgx` and `tdx`'),
    amd: SnpPolicy.optional().describe('for `sev-snp`'),
    gpu: GpuPolicy.optional().describe('for `nvidia-gpu`'),
    tpm: TpmPolicy.optional().describe('for `tpm`'),
    nitro: NitroPolicy.optional().describe('for `nitro` and `nitro-tpm`'),
    hyperenclave: HyperEnclavePolicy.optional().describe('for `hyperenclave`'),
    provenance: ProvenancePolicy.optional().describe(
      'present: statements about the registers that the CPU measured are demanded, signed by way of Sigstore',
    ),
    gce: GcePolicy.optional().describe(
      'for virtual machines of Google: present, its endorsement of the firmware that the CPU measured is demanded',
    ),
  })
  .superRefine(({ platforms, minimumTcb }, context) => {
    if (platforms.includes(SIMULATED) && minimumTcb[SIMULATED] === undefined) {
      const message = `expected an entry for ${SIMULATED}`;
      context.addIssue({ code: 'custom', path: ['minimumTcb'], message });
    }
  });
export type Policy = z.infer<typeof Policy>;

/** The policy as JSON Schema (draft 2020-12): docs/policy.schema.json. */
export const policySchema = () => ({
  title: 'Vouch policy',
  ...z.toJSONSchema(Policy, { io: 'input' }),
});

/** A policy with every section, as verifiers of hardware evidence read it. */
export type EvidencePolicy = Policy & Pick<Demands, Section>;

/** The sections of a policy that are about what it accepts. */
export function sectionsOf(platforms: readonly Platform[]): ReadonlySet<Section> {
  const rows = Object.values<Format>(FORMATS);
  return new Set(
    rows
      .filter(({ platform }) => (platforms as readonly string[]).includes(platform))
      .flatMap(({ section }) => section ?? []),
  );
}

/** Checks a policy and fills in its defaults; throws `bad-input` that names the first wrong field. */
export function parsePolicy(json: unknown): Policy {
  const result = Policy.safeParse(json);
  if (result.success) {
    const sections = sectionsOf(result.data.platforms);
    return filled(result.data, (name) => sections.has(name));
  }
  const issue = result.error.issues[0];
  const path = ['policy', ...(issue?.path ?? [])].join('.');
  throw new VouchError('bad-input', `${path}: ${issue?.message ?? 'not a policy'}`);
}

/** The same policy with the strict defaults of the platforms that it does not accept, too. */
export const completePolicy = (policy: Policy): EvidencePolicy =>
  filled(policy, () => true) as EvidencePolicy;

function filled(policy: Policy, wanted: (section: Section) => boolean): Policy {
  const missing = (Object.keys(SECTIONS) as Section[]).filter(
    (name) => policy[name] === undefined && wanted(name),
  );
  return { ...policy, ...Object.fromEntries(missing.map((name) => [name, SECTIONS[name].parse({})])) };
}

/** Lower-case hex SHA-256 of the policy. */
export const policyDigest = (policy: Policy): string => sha256Hex(utf8(canonicalJson(parsePolicy(policy))));

/** `parsePolicy` and `completePolicy`, for evidence in files. */
export const parseEvidencePolicy = (json: unknown): EvidencePolicy => completePolicy(parsePolicy(json));

/**
 * `genuine`: real hardware signed this, its chains and collateral are valid at the time asked about, it does not
 * debug, and its vendor lists its TCB and has not revoked it. It says nothing about known flaws, and of AMD, NVIDIA
 * and TPMs it takes evidence whose revocation is unknown. `strict`: every default of the policy, so up to date (for AMD:
 * by the bulletins that this version of Vouch knows), revocation known, and with nothing open.
 */
export const BUILT_IN = {
  genuine: parseEvidencePolicy({
    version: 1,
    intel: {
      tcbStatuses: AcceptedStatus.options,
      septVeDisable: false,
      serviceTds: 'any',
    },
    amd: {
      tcbFloors: 'none',
      maximumVmpl: 3,
      migration: true,
      uncommittedFirmware: true,
      platformFeatures: [],
      revocation: 'if-present',
    },
    gpu: {
      switchEvidence: 'if-present',
      rims: 'if-present',
      fwid: 'if-present',
      guestState: 'if-present',
      revocation: 'if-present',
    },
    tpm: { revocation: 'if-present' },
    nitro: { revocation: 'if-present' },
  }),
  strict: parseEvidencePolicy({ version: 1 }),
} as const;
