/**
 * Reads SEV-SNP attestation reports of versions 2 to 5: ATTESTATION_REPORT of the SEV Secure Nested Paging Firmware ABI
 * Specification (AMD 56860, revisions 1.51 to 1.58). No revision describes version 4, which firmware 1.55.31 and later
 * sends all the same: it has the fields of version 3 (google/go-sev-guest #158, virtee/sev #307), and the bytes that
 * hold mitigation vectors from version 5 on mean nothing in it. Newer versions, other lengths and reserved fields that
 * are not zero are refused. Nothing is verified here.
 */
import { concat, hex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { MAX_EVIDENCE_BYTES } from '../limits.ts';
import { createReader } from '../reader.ts';
import type { AmdProduct } from '../roots/amd.ts';

export const SNP_REPORT_BYTES = 1184;
/** What the signature covers. */
const SIGNED_BYTES = 0x2a0;
const VERSIONS = [2, 3, 4, 5];
const NEWEST = 5;
const ECDSA_P384_SHA384 = 1;
const SCALAR_BYTES = 48;

/** Bits of POLICY, the guest owner's demands that the firmware enforces. */
const POLICY = {
  smt: 16n,
  reservedOne: 17n,
  migrationAgent: 18n,
  debug: 19n,
  singleSocket: 20n,
  cxl: 21n,
  aes256Xts: 22n,
  raplDisabled: 23n,
  ciphertextHiding: 24n,
  pageSwapDisabled: 25n,
} as const;
const POLICY_BITS = 26n;

export interface SnpGuestPolicy {
  readonly abiMajor: number;
  readonly abiMinor: number;
  readonly smt: boolean;
  /** whether a migration agent may move the guest */
  readonly migrationAgent: boolean;
  readonly debug: boolean;
  readonly singleSocket: boolean;
  readonly cxl: boolean;
  readonly aes256Xts: boolean;
  readonly raplDisabled: boolean;
  readonly ciphertextHiding: boolean;
  readonly pageSwapDisabled: boolean;
}

export interface SnpReport {
  readonly version: 2 | 3 | 4 | 5;
  readonly guestSvn: number;
  readonly policy: SnpGuestPolicy;
  /** 16 bytes each */
  readonly familyId: Uint8Array;
  readonly imageId: Uint8Array;
  /** 0 to 3; 0xffffffff when the host asked for the report */
  readonly vmpl: number;
  /** TCB_VERSION, 8 bytes each; see `tcbOf` */
  readonly currentTcb: Uint8Array;
  readonly reportedTcb: Uint8Array;
  readonly committedTcb: Uint8Array;
  readonly launchTcb: Uint8Array;
  /** bits as the firmware reports them; new firmware adds new ones */
  readonly platformInfo: bigint;
  readonly signingKey: 'VCEK' | 'VLEK' | 'none';
  readonly authorKeyEnabled: boolean;
  readonly maskChipKey: boolean;
  /** 64 bytes */
  readonly reportData: Uint8Array;
  /** 48 bytes */
  readonly measurement: Uint8Array;
  /** 32 bytes */
  readonly hostData: Uint8Array;
  /** 48 bytes each */
  readonly idKeyDigest: Uint8Array;
  readonly authorKeyDigest: Uint8Array;
  /** 32 bytes each */
  readonly reportId: Uint8Array;
  readonly reportIdMa: Uint8Array;
  /** from version 3 */
  readonly cpuid?: { readonly family: number; readonly model: number; readonly stepping: number };
  /** 64 bytes, zero when the host masks it; only the first 8 are used from Turin on */
  readonly chipId: Uint8Array;
  /** firmware, as major.minor.build */
  readonly currentVersion: string;
  readonly committedVersion: string;
  /** from version 5 */
  readonly mitigations?: { readonly launch: bigint; readonly current: bigint };
  /** what the signature covers */
  readonly signed: Uint8Array;
  /** r || s, big-endian, 96 bytes */
  readonly signature: Uint8Array;
}

/** Whether bytes look like a report: its length and a version number. */
export const isSnpReport = (bytes: Uint8Array): boolean =>
  bytes.length === SNP_REPORT_BYTES &&
  bytes[0]! > 0 &&
  bytes[0]! < 16 &&
  bytes.subarray(1, 4).every((byte) => byte === 0);

/** Reads a report; throws `bad-file` and, for a version that is not known, `bad-version`. */
export function parseSnpReport(bytes: Uint8Array): SnpReport {
  const what = 'SNP report';
  const refuse = (reason: string): never => {
    throw new VouchError('bad-file', `${what}: ${reason}`);
  };
  if (bytes.length !== SNP_REPORT_BYTES) refuse(`expected ${SNP_REPORT_BYTES} bytes, got ${bytes.length}`);
  const { take, uint, uint64, zeros, end } = createReader(bytes, what);
  const version = uint(4);
  if (!VERSIONS.includes(version)) {
    throw new VouchError(
      'bad-version',
      version > NEWEST
        ? `${what}: version ${version} is newer than those read here: expected 2 to ${NEWEST}`
        : `${what}: expected version 2 to ${NEWEST}, got ${version}`,
    );
  }
  const guestSvn = uint(4);
  const policy = uint64();
  if (policy >> POLICY_BITS !== 0n) {
    refuse(`guest policy 0x${policy.toString(16)}: bits from ${POLICY_BITS} on are not known here`);
  }
  if (!bit(policy, POLICY.reservedOne)) refuse('expected bit 17 of the guest policy to be set');
  const familyId = take(16);
  const imageId = take(16);
  const vmpl = uint(4);
  const algorithm = uint(4);
  if (algorithm !== ECDSA_P384_SHA384) refuse(`expected signature algorithm 1, got ${algorithm}`);
  const currentTcb = take(8);
  const platformInfo = uint64();
  const keyInfo = uint(4);
  const signingKey = SIGNING_KEYS[(keyInfo >> 2) & 7];
  if (signingKey === undefined || keyInfo >>> 5 !== 0)
    refuse('signing key or reserved bits at 0x48 not known');
  zeros(4);
  const reportData = take(64);
  const measurement = take(48);
  const hostData = take(32);
  const idKeyDigest = take(48);
  const authorKeyDigest = take(48);
  const reportId = take(32);
  const reportIdMa = take(32);
  const reportedTcb = take(8);
  let cpuid: SnpReport['cpuid'];
  if (version >= 3) cpuid = { family: uint(1), model: uint(1), stepping: uint(1) };
  zeros(version >= 3 ? 21 : 24);
  const chipId = take(64);
  const committedTcb = take(8);
  const firmware = () => {
    const [build, minor, major] = take(3);
    zeros(1);
    return `${major}.${minor}.${build}`;
  };
  const currentVersion = firmware();
  const committedVersion = firmware();
  const launchTcb = take(8);
  let mitigations: SnpReport['mitigations'];
  if (version >= 5) mitigations = { launch: uint64(), current: uint64() };
  else if (version === 4) take(16);
  else zeros(16);
  zeros(152);
  // Both numbers have 72 bytes, little-endian; a curve of 384 bits fills 48.
  const scalar = () => {
    const value = take(SCALAR_BYTES).toReversed();
    zeros(72 - SCALAR_BYTES);
    return value;
  };
  const signature = concat(scalar(), scalar());
  zeros(512 - 2 * 72);
  end();
  return {
    version: version as SnpReport['version'],
    guestSvn,
    policy: {
      abiMinor: Number(policy & 0xffn),
      abiMajor: Number((policy >> 8n) & 0xffn),
      smt: bit(policy, POLICY.smt),
      migrationAgent: bit(policy, POLICY.migrationAgent),
      debug: bit(policy, POLICY.debug),
      singleSocket: bit(policy, POLICY.singleSocket),
      cxl: bit(policy, POLICY.cxl),
      aes256Xts: bit(policy, POLICY.aes256Xts),
      raplDisabled: bit(policy, POLICY.raplDisabled),
      ciphertextHiding: bit(policy, POLICY.ciphertextHiding),
      pageSwapDisabled: bit(policy, POLICY.pageSwapDisabled),
    },
    familyId,
    imageId,
    vmpl,
    currentTcb,
    reportedTcb,
    committedTcb,
    launchTcb,
    platformInfo,
    signingKey: signingKey!,
    authorKeyEnabled: (keyInfo & 1) !== 0,
    maskChipKey: (keyInfo & 2) !== 0,
    reportData,
    measurement,
    hostData,
    idKeyDigest,
    authorKeyDigest,
    reportId,
    reportIdMa,
    ...(cpuid === undefined ? {} : { cpuid }),
    chipId,
    currentVersion,
    committedVersion,
    ...(mitigations === undefined ? {} : { mitigations }),
    signed: bytes.subarray(0, SIGNED_BYTES),
    signature,
  };
}

const SIGNING_KEYS: readonly (SnpReport['signingKey'] | undefined)[] = [
  'VCEK',
  'VLEK',
  undefined,
  undefined,
  undefined,
  undefined,
  undefined,
  'none',
];

const bit = (value: bigint, at: bigint): boolean => ((value >> at) & 1n) === 1n;

/** Family and model of CPUID, extended parts added -> product; undefined for any other. */
export function productOf({ family, model }: NonNullable<SnpReport['cpuid']>): AmdProduct | undefined {
  if (family === 0x19) {
    if (model <= 0x0f) return 'Milan';
    // Genoa, and Bergamo and Siena, which share its keys
    if (model <= 0x1f || (model >= 0xa0 && model <= 0xaf)) return 'Genoa';
  }
  return family === 0x1a && model <= 0x1f ? 'Turin' : undefined;
}

export const TCB_COMPONENTS = ['fmc', 'bootloader', 'tee', 'snp', 'microcode'] as const;
export type TcbComponent = (typeof TCB_COMPONENTS)[number];
/** Security patch levels; `fmc` from Turin on. */
export type SnpTcb = Readonly<Partial<Record<TcbComponent, number>>>;

/** Where TCB_VERSION keeps what (56860 section 2.2); the other bytes are reserved. */
export const TCB_LAYOUT: Readonly<Record<AmdProduct, Readonly<Partial<Record<TcbComponent, number>>>>> = {
  Milan: { bootloader: 0, tee: 1, snp: 6, microcode: 7 },
  Genoa: { bootloader: 0, tee: 1, snp: 6, microcode: 7 },
  Turin: { fmc: 0, bootloader: 1, tee: 2, snp: 3, microcode: 7 },
};

/** A TCB_VERSION of 8 bytes in that product's layout. */
export function tcbOf(product: AmdProduct, bytes: Uint8Array): SnpTcb {
  const layout = Object.entries(TCB_LAYOUT[product]) as [TcbComponent, number][];
  return Object.fromEntries(layout.map(([component, at]) => [component, bytes[at]!]));
}

/** Patch levels, for people. */
export const describeTcb = (tcb: SnpTcb): string =>
  TCB_COMPONENTS.flatMap((component) =>
    tcb[component] === undefined ? [] : `${component} ${tcb[component]}`,
  ).join(' ');

/** What a host hands out with a report (GHCB specification 56421, section 4.1.8.1): GUID -> what it names. */
const TABLE_GUIDS: Readonly<Record<string, 'certificate' | 'crl' | 'endorsement'>> = {
  // VCEK, VLEK, ASK, ARK
  '63da758de6644564adc5f4b93be8accd': 'certificate',
  a8074bc2a25a483eaae639c045a0b8a1: 'certificate',
  '4ab7b379bbac4fe4a02f05aef327c782': 'certificate',
  c0b406a4a803495297433fb6014cd0ae: 'certificate',
  '92f81bc358114d3d97ffd19f88dc67ea': 'crl',
  // Google's endorsement of its firmware (formats/gce-endorsement.ts)
  '9f4116cdc5034f5a8f6ffb68882f4ce2': 'endorsement',
};
const ENTRY_BYTES = 24;

/** Reads the certificate table that configfs-tsm calls `auxblob`: DER; unknown entries are left out. Throws `bad-file`. */
export function parseCertificateTable(bytes: Uint8Array): {
  certificates: Uint8Array[];
  crls: Uint8Array[];
  endorsements: Uint8Array[];
} {
  const what = 'SNP certificate table';
  if (bytes.length > MAX_EVIDENCE_BYTES) {
    throw new VouchError(
      'bad-file',
      `${what}: expected at most ${MAX_EVIDENCE_BYTES} bytes, got ${bytes.length}`,
    );
  }
  const certificates: Uint8Array[] = [];
  const crls: Uint8Array[] = [];
  const endorsements: Uint8Array[] = [];
  const { take, uint, at } = createReader(bytes, what);
  for (;;) {
    const guid = hex(take(16));
    const offset = uint(4);
    const length = uint(4);
    if (guid === '0'.repeat(32)) break;
    if (offset < at() || length === 0 || offset + length > bytes.length || at() > 16 * ENTRY_BYTES) {
      throw new VouchError('bad-file', `${what}: expected at most 16 entries that lie inside it`);
    }
    const kind = Object.hasOwn(TABLE_GUIDS, guid) ? TABLE_GUIDS[guid] : undefined;
    if (kind === 'certificate') certificates.push(bytes.subarray(offset, offset + length));
    else if (kind === 'crl') crls.push(bytes.subarray(offset, offset + length));
    else if (kind === 'endorsement') endorsements.push(bytes.subarray(offset, offset + length));
  }
  return { certificates, crls, endorsements };
}

/** Whether bytes look like such a table: they start with a known GUID. */
export const isCertificateTable = (bytes: Uint8Array): boolean =>
  Object.hasOwn(TABLE_GUIDS, hex(bytes.subarray(0, 16)));
