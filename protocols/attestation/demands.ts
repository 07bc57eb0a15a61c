/**
 * What a policy demands of evidence, section by section: of every platform alike, and of each kind of hardware. The
 * formats judge by these; policy.ts puts them together and says which platforms there are. Every default is the strict
 * choice, and unknown fields are errors.
 */
import { z } from 'zod';
import { Digest } from '../envelope.ts';
import { TcbStatus } from './formats/intel-collateral.ts';
import { GPU_MODES } from './formats/nvidia-report.ts';
import { MAX_DEVICES } from './limits.ts';

export const hexOf = (bytes: number) =>
  z.string().regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`), `expected ${bytes} bytes as lower-case hex`);
export const Svn = z.int().min(0).max(65_535);
const Level = z.int().min(0).max(255);
export const fingerprints = (most: number) => z.array(Digest).max(most);

export const Day = z.iso.date();

/** A bit field whole, or its bits under a mask; hex as claims print it, which is the order of its bytes. */
const bitsOf = (bytes: number) =>
  z.union([
    hexOf(bytes),
    z
      .strictObject({ mask: hexOf(bytes), value: hexOf(bytes) })
      .refine(
        ({ mask, value }) => (BigInt(`0x${value}`) & ~BigInt(`0x${mask}`)) === 0n,
        'expected a value under its mask',
      ),
  ]);
export type BitDemand = z.infer<ReturnType<typeof bitsOf>>;

const Revocation = z
  .enum(['required', 'if-present'])
  .describe('`required`: unknown revocation is a failure; `if-present`: lists count where there are any');

/** Registers that one accepted build must have, all of them; what is not named may be anything. */
const Registers = z
  .strictObject({
    measurement: z.union([hexOf(32), hexOf(48)]).describe('MRENCLAVE, MRTD, or measurement of an SNP guest'),
    mrsigner: hexOf(32),
    isvProdId: Svn,
    minimumIsvSvn: Svn,
    configId: hexOf(64),
    minimumConfigSvn: Svn,
    rtmr0: hexOf(48),
    rtmr1: hexOf(48),
    rtmr2: hexOf(48),
    rtmr3: hexOf(48),
    mrseam: hexOf(48),
    mrconfigid: hexOf(48),
    mrowner: hexOf(48),
    mrownerconfig: hexOf(48),
    hostData: hexOf(32),
    familyId: hexOf(16),
    imageId: hexOf(16),
    idKeyDigest: hexOf(48),
    authorKeyDigest: hexOf(48),
    pcr0: hexOf(48),
    pcr1: hexOf(48),
    pcr2: hexOf(48),
    pcr3: hexOf(48),
    pcr4: hexOf(48),
    pcr8: hexOf(48),
    minimumGuestSvn: z
      .int()
      .min(0)
      .max(2 ** 32 - 1),
  })
  .partial()
  .refine((registers) => Object.keys(registers).length > 0, 'expected at least one register');
export type Registers = z.infer<typeof Registers>;

export const Measurement = z.union([hexOf(32), hexOf(48), Registers]);

const Advisory = z.string().regex(/^INTEL-SA-\d{5}$/, 'expected an advisory such as INTEL-SA-00615');

/** What Intel lists, and what its library says of a TD that only a relaunch would make up to date. */
export const AcceptedStatus = z.enum([
  ...TcbStatus.exclude(['Revoked']).options,
  'TDRelaunchAdvised',
  'TDRelaunchAdvisedConfigurationNeeded',
]);

export const IntelPolicy = z.strictObject({
  tcbStatuses: z
    .array(AcceptedStatus)
    .min(1)
    .max(AcceptedStatus.options.length)
    .default(['UpToDate'])
    .describe(
      'TCB statuses accepted, of the platform, of the TDX module, of the quoting enclave, and of all together',
    ),
  minimumTcbDate: Day.optional().describe("least tcbDate of the platform's level, such as 2025-05-14"),
  graceDays: z
    .int()
    .min(0)
    .max(3650)
    .default(0)
    .describe('days for which OutOfDate is accepted after a better level was published'),
  advisories: z
    .union([z.literal('any'), z.array(Advisory).max(256)])
    .default('any')
    .describe('advisories that may be open at the level found'),
  minimumEvaluationNumber: z
    .int()
    .min(0)
    .default(0)
    .describe('least tcbEvaluationDataNumber of TCB info and QE identity: refuses collateral rolled back'),
  minimumSvns: z
    .strictObject({
      cpu: z.array(Level).length(16).optional(),
      pce: Svn.optional(),
      qe: Svn.optional(),
      tee: z.array(Level).length(16).optional(),
    })
    .prefault({})
    .describe('least SVNs: of the 16 CPU components, PCE, quoting enclave, and TEE_TCB_SVN of a TD'),
  revocation: Revocation.default('required'),
  septVeDisable: z
    .boolean()
    .default(true)
    .describe('TDX: must SEPT_VE_DISABLE be set? Without it the host can inject #VE'),
  tdAttributes: bitsOf(8).optional().describe('TDX: TDATTRIBUTES accepted, whole or under a mask'),
  xfam: bitsOf(8).optional().describe('TDX: XFAM accepted, whole or under a mask'),
  sgxAttributes: bitsOf(8).optional().describe('SGX: flags of ATTRIBUTES accepted, whole or under a mask'),
  sgxXfrm: bitsOf(8).optional().describe('SGX: XFRM accepted, whole or under a mask'),
  serviceTds: z
    .union([z.literal('any'), z.array(hexOf(48)).max(64)])
    .default([])
    .describe('TDX: service TDs that may be bound, by MRSERVICETD; none is always accepted'),
  platformIds: z
    .array(hexOf(16))
    .min(1)
    .max(4096)
    .optional()
    .describe("platforms accepted, by the PPID in the PCK's certificate"),
});
export type IntelPolicy = z.infer<typeof IntelPolicy>;

const PLATFORM_FEATURES = [
  'tsme',
  'ecc',
  'rapl-disabled',
  'ciphertext-hiding',
  'alias-checked',
  'iommu-write-safe',
  'tio',
] as const;
const VectorBits = z.array(z.int().min(0).max(63)).max(64).default([]);

/** What a guest's own policy, which the firmware enforces, must say; what is not named may be anything. */
const GuestPolicy = z.strictObject({
  minimumAbi: z
    .string()
    .regex(/^\d{1,3}\.\d{1,3}$/, 'expected a version such as 1.55')
    .optional(),
  smt: z.boolean().optional(),
  singleSocket: z.boolean().optional(),
  cxl: z.boolean().optional(),
  aes256Xts: z.boolean().optional(),
  raplDisabled: z.boolean().optional(),
  ciphertextHiding: z.boolean().optional(),
  pageSwapDisabled: z.boolean().optional(),
});
const KeyDigests = z.array(hexOf(48)).min(1).max(64).optional();
const ReportIds = z.array(hexOf(32)).min(1).max(4096).optional();

export const SnpPolicy = z.strictObject({
  minimumTcb: z
    .strictObject({
      fmc: Level.optional(),
      bootloader: Level.optional(),
      tee: Level.optional(),
      snp: Level.optional(),
      microcode: Level.optional(),
    })
    .prefault({})
    .describe('least security patch levels, of the reported, the committed and the launch TCB alike'),
  tcbFloors: z
    .enum(['bulletins', 'none'])
    .default('bulletins')
    .describe(
      '`bulletins`: at least what the security bulletins of AMD call mitigated, by product and stepping',
    ),
  mitigations: z
    .strictObject({ launch: VectorBits, current: VectorBits })
    .prefault({})
    .describe(
      'bits of the mitigation vectors, at launch and now, that must be set; from report version 5 on',
    ),
  minimumFirmware: z
    .string()
    .regex(/^\d{1,3}\.\d{1,3}\.\d{1,3}$/, 'expected a version such as 1.55.8')
    .optional()
    .describe('least committed firmware, as major.minor.build'),
  maximumVmpl: z
    .int()
    .min(0)
    .max(3)
    .default(0)
    .describe('the least privileged VMPL that may have asked for the report'),
  migration: z.boolean().default(false).describe('may a migration agent move the guest?'),
  uncommittedFirmware: z
    .boolean()
    .default(false)
    .describe('may firmware run that is not committed to, so can still roll back?'),
  smt: z.boolean().default(true).describe('may the host run two threads on a core?'),
  guestPolicy: GuestPolicy.prefault({}).describe("what the guest's own policy must say, each flag exactly"),
  idBlock: z
    .enum(['required', 'any'])
    .default('any')
    .describe('must the guest be launched with an ID block, which its builder signs?'),
  idKeys: KeyDigests.describe(
    'ID keys trusted, by digest: one of these, or an author key below, must have signed',
  ),
  authorKeys: KeyDigests.describe('author keys trusted, by digest'),
  reportIds: ReportIds.describe('guests accepted, by REPORT_ID'),
  reportIdMas: ReportIds.describe('migration agents accepted, by REPORT_ID_MA'),
  platformFeatures: z
    .array(z.enum(PLATFORM_FEATURES))
    .max(PLATFORM_FEATURES.length)
    .default(['alias-checked'])
    .describe(
      'what the platform must have turned on; `alias-checked`, which only firmware with the mitigation says, answers CVE-2024-21944, `iommu-write-safe` CVE-2023-20585',
    ),
  revocation: Revocation.default('required'),
  chipIds: z
    .array(z.string().regex(/^(?:[0-9a-f]{16}|[0-9a-f]{128})$/, 'expected 8 or 64 bytes as lower-case hex'))
    .min(1)
    .max(4096)
    .optional()
    .describe('chips accepted'),
});
export type SnpPolicy = z.infer<typeof SnpPolicy>;

export const GPU_ARCHITECTURES = ['hopper', 'blackwell'] as const;
export type GpuArchitecture = (typeof GPU_ARCHITECTURES)[number];
const Presence = z.enum(['required', 'if-present']);

export const GpuPolicy = z.strictObject({
  count: z.int().min(1).max(MAX_DEVICES).optional().describe('how many GPUs there must be'),
  architectures: z
    .array(z.enum(GPU_ARCHITECTURES))
    .min(1)
    .max(GPU_ARCHITECTURES.length)
    .default([...GPU_ARCHITECTURES]),
  drivers: z
    .array(z.string().regex(/^[0-9]+(?:\.[0-9]+){1,3}$/, 'expected a driver such as 550.90.07'))
    .min(1)
    .max(256)
    .optional()
    .describe('driver versions accepted'),
  vbioses: z
    .array(z.string().regex(/^[0-9A-F]{2}(?:\.[0-9A-F]{2}){4}$/, 'expected a vBIOS such as 96.00.5E.00.01'))
    .min(1)
    .max(256)
    .optional()
    .describe('vBIOS versions accepted'),
  modes: z
    .array(z.enum(GPU_MODES))
    .min(1)
    .max(GPU_MODES.length)
    .default([...GPU_MODES])
    .describe('modes accepted: one GPU alone, several, or several behind switches'),
  switches: z
    .int()
    .min(1)
    .max(64)
    .optional()
    .describe('`ppcie`: how many switches every GPU must see; HGX boards of Hopper have 4'),
  switchEvidence: Presence.default('required').describe('`ppcie`: evidence of every switch'),
  rims: Presence.default('required').describe('manifests of driver, vBIOS and switch'),
  fwid: Presence.default('required').describe('the firmware id in the report, which older drivers leave out'),
  guestState: Presence.default('required').describe('CC mode `on` and ready, as the measured guest states'),
  revocation: Revocation.default('required'),
  devices: z.array(Digest).min(1).max(4096).optional().describe('GPUs accepted, by device certificate'),
  secondOpinionKeys: z
    .array(Digest)
    .min(1)
    .max(64)
    .optional()
    .describe(
      "NVIDIA's attestation service has to have found the same: tokens about every GPU, by one of these keys (RFC 7638 thumbprints, SHA-256)",
    ),
});
export type GpuPolicy = z.infer<typeof GpuPolicy>;

/** PCR banks whose digests are recomputed here, by the names that tpm2-tools gives them. */
export const PCR_BANKS = ['sha256', 'sha384', 'sha512', 'sm3_256'] as const;
export type PcrBank = (typeof PCR_BANKS)[number];
const PcrIndex = z.string().regex(/^(?:[0-9]|1[0-9]|2[0-3])$/, 'expected a PCR from 0 to 23');
const PcrValue = z
  .string()
  .regex(/^(?:[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$/, 'expected a digest as hex');

/** Whose attestation keys count, and what boot they must attest to. */
const attestationKeys = {
  roots: fingerprints(64).default([]).describe('roots accepted for the attestation key, by certificate'),
  keys: fingerprints(4096)
    .default([])
    .describe('attestation keys accepted without a certificate, by SHA-256 of their SubjectPublicKeyInfo'),
  revocation: Revocation.default('required'),
};

export const TpmPolicy = z.strictObject({
  ...attestationKeys,
  pcrs: z
    .partialRecord(z.enum(PCR_BANKS), z.record(PcrIndex, z.array(PcrValue).min(1).max(64)))
    .default({})
    .describe('by bank and PCR the values accepted; each PCR named here must be quoted'),
});
export type TpmPolicy = z.infer<typeof TpmPolicy>;

const NitroPcrs = z
  .record(
    z.string().regex(/^(?:[0-9]|[12][0-9]|3[01])$/, 'expected a PCR from 0 to 31'),
    z.array(hexOf(48)).min(1).max(64),
  )
  .default({});

export const NitroPolicy = z.strictObject({
  pcrs: NitroPcrs.describe('by PCR the SHA-384 values accepted of an enclave'),
  tpmPcrs: NitroPcrs.describe('the same of an EC2 instance with NitroTPM, whose PCRs measure its boot'),
  revocation: Revocation.default('required'),
});
export type NitroPolicy = z.infer<typeof NitroPolicy>;

export const HyperEnclavePolicy = z.strictObject({
  ...attestationKeys,
  pcrs: z
    .record(PcrIndex, z.array(hexOf(32)).min(1).max(64))
    .default({})
    .describe('by PCR the SM3 values accepted'),
});
export type HyperEnclavePolicy = z.infer<typeof HyperEnclavePolicy>;

/** Section of a policy -> its schema. A format's row (formats/registry.ts) names the section that is about it. */
export const SECTIONS = {
  intel: IntelPolicy,
  amd: SnpPolicy,
  gpu: GpuPolicy,
  tpm: TpmPolicy,
  nitro: NitroPolicy,
  hyperenclave: HyperEnclavePolicy,
} as const;
export type Section = keyof typeof SECTIONS;
type Sections = { readonly [K in Section]: z.infer<(typeof SECTIONS)[K]> };

/** What formats judge by: a policy with every section filled in. */
export interface Demands extends Sections {
  readonly platforms: readonly string[];
  /** builds accepted; absent: any */
  readonly measurements?: readonly z.infer<typeof Measurement>[] | undefined;
  readonly debug: boolean;
  /** lower-case hex; absent: any */
  readonly reportData?: string | undefined;
  readonly minimumTcb: Readonly<Partial<Record<string, readonly number[]>>>;
  readonly simulated: boolean;
  readonly simulatedRoots: readonly string[];
}

/** What evidence reports, by the names that a policy uses; numbers are compared with `minimum...`. */
export type Reported = Readonly<Record<string, string | number | undefined>> & {
  readonly measurement: string;
};

/** Whether one of the builds accepted has all the registers that it names as `reported`. */
export const measurementAccepted = (
  accepted: NonNullable<Demands['measurements']>,
  reported: Reported,
): boolean =>
  accepted.some((build) =>
    typeof build === 'string'
      ? build === reported.measurement
      : Object.entries(build).every(([name, value]) => {
          if (!name.startsWith('minimum')) return reported[name] === value;
          const svn = reported[`${name[7]!.toLowerCase()}${name.slice(8)}`];
          return typeof svn === 'number' && svn >= (value as number);
        }),
  );
