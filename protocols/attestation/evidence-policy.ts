/**
 * What a verifier demands of evidence that real hardware signed and that lies in files, apart from any
 * conversation: `policy.ts` says it for evidence that answers a nonce and binds keys. A policy is a JSON file;
 * unknown fields are errors, because a demand that is not understood would silently not be made. Every field
 * has a strict default.
 */
import { z } from 'zod';
import { VouchError } from '../errors.ts';
import { TcbStatus } from './formats/intel-collateral.ts';
import { GpuPolicy } from './formats/nvidia-gpu.ts';
import { GPU_MODES } from './formats/nvidia-report.ts';
import { SnpPolicy } from './formats/sev-snp.ts';

export const PLATFORMS = ['sgx', 'tdx', 'sev-snp', 'nvidia-gpu'] as const;
export type Platform = (typeof PLATFORMS)[number];

/** `required`: unknown revocation is a failure; `if-present`: lists are checked where there are any. */
const Revocation = z.enum(['required', 'if-present']);

const hexOf = (bytes: number) =>
  z.string().regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`), `expected ${bytes} bytes as lower-case hex`);
const Advisory = z.string().regex(/^INTEL-SA-\d{5}$/, 'expected an advisory such as INTEL-SA-00615');

const IntelPolicy = z.strictObject({
  /** TCB statuses accepted, of the platform, of the TDX module and of the quoting enclave */
  tcbStatuses: z
    .array(TcbStatus.exclude(['Revoked']))
    .min(1)
    .max(6)
    .default(['UpToDate']),
  /** days for which OutOfDate is accepted after a better level was published */
  graceDays: z.int().min(0).max(3650).default(0),
  /** advisories that may be open at the level found */
  advisories: z.union([z.literal('any'), z.array(Advisory).max(256)]).default('any'),
  /** least tcbEvaluationDataNumber of the TCB info and of the QE identity: refuses collateral rolled back */
  minimumEvaluationNumber: z.int().min(0).default(0),
  revocation: Revocation.default('required'),
  /** TDX: whether SEPT_VE_DISABLE has to be set (without it the host can inject #VE) */
  septVeDisable: z.boolean().default(true),
  /** TDX 1.5: service TDs bound, by MRSERVICETD, or `any`; none is always accepted */
  serviceTds: z.union([z.literal('any'), z.array(hexOf(48)).max(64)]).default([]),
});

export const EvidencePolicy = z.strictObject({
  version: z.literal(1),
  /** kinds of evidence accepted */
  platforms: z
    .array(z.enum(PLATFORMS))
    .min(1)
    .max(PLATFORMS.length)
    .default([...PLATFORMS]),
  /** whether debug mode is accepted: the host can then read the enclave's memory */
  debug: z.boolean().default(false),
  /** MRENCLAVE, MRTD or SNP measurement accepted; absent = any */
  measurements: z
    .array(z.union([hexOf(32), hexOf(48)]))
    .min(1)
    .max(256)
    .optional(),
  /** report data accepted, exactly; absent = any */
  reportData: hexOf(64).optional(),
  intel: IntelPolicy.prefault({}),
  amd: SnpPolicy.prefault({}),
  gpu: GpuPolicy.prefault({}),
});
export type EvidencePolicy = z.infer<typeof EvidencePolicy>;

/** Checks a policy and fills in its defaults; throws `bad-input` that names the first wrong field. */
export function parseEvidencePolicy(json: unknown): EvidencePolicy {
  const result = EvidencePolicy.safeParse(json);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = ['policy', ...(issue?.path ?? [])].join('.');
  throw new VouchError('bad-input', `${path}: ${issue?.message ?? 'not a policy for evidence'}`);
}

/**
 * `genuine`: real hardware signed this, its chains and collateral are valid at the time asked about, it does
 * not debug, and its vendor lists its TCB and has not revoked it. It says nothing about known flaws, and of AMD
 * and NVIDIA it takes evidence without CRLs. `strict`: every default of the policy, so up to date, revocation
 * known, and with nothing open.
 */
export const BUILT_IN = {
  genuine: parseEvidencePolicy({
    version: 1,
    intel: {
      tcbStatuses: TcbStatus.options.filter((status) => status !== 'Revoked'),
      septVeDisable: false,
      serviceTds: 'any',
    },
    amd: { maximumVmpl: 3, migration: true, uncommittedFirmware: true, revocation: 'if-present' },
    gpu: {
      modes: [...GPU_MODES],
      rims: 'if-present',
      fwid: 'if-present',
      guestState: 'if-present',
      revocation: 'if-present',
    },
  }),
  strict: parseEvidencePolicy({ version: 1 }),
} as const;
