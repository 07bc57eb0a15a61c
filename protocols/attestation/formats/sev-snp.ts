/**
 * Verifies SEV-SNP attestation reports: the report's signature, the chain VCEK or VLEK -> ASK or ASVK -> ARK, and
 * that certificate and report speak of the same product, chip and TCB (AMD 56860 and 57230), then what a policy
 * demands. Pure: clock, certificates and CRLs are arguments.
 *
 * Not guaranteed: that the chip was not opened, that the measured code is good, and, for a VLEK, which chip it was.
 */
import { equal, hex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { type Certificate, fromBase64, parseCertificate } from '../certificate.ts';
import { chainCheckIds, recordChain, verifyChain } from '../chain.ts';
import { attempting, type Check, createChecklist, type Recorder, type Verdict } from '../checklist.ts';
import { readDer, smallInteger, TAG, textOf } from '../der.ts';
import { type EvidencePolicy, measurementAccepted, type SnpPolicy } from '../policy.ts';
import { AMD_CERTIFICATES, AMD_ROOTS, type AmdProduct } from '../roots/amd.ts';
import { verifyEcdsa } from '../signature.ts';
import {
  parseSnpReport,
  productOf,
  type SnpReport,
  type SnpTcb,
  TCB_COMPONENTS,
  TCB_LAYOUT,
  type TcbComponent,
  tcbOf,
} from './sev-snp-report.ts';

export interface SnpQuestion {
  /** as the firmware returned it */
  readonly report: Uint8Array;
  /** DER, in any order: the VCEK or VLEK, and its CA certificates unless Vouch's own copies are to be used */
  readonly certificates: readonly Uint8Array[];
  /** DER */
  readonly crls?: readonly Uint8Array[] | undefined;
  readonly policy: Pick<EvidencePolicy, 'debug' | 'measurements' | 'reportData' | 'amd'>;
  readonly now: Date;
  /** fingerprint of a root -> its product; AMD's own unless others are to be trusted */
  readonly roots?: ReadonlyMap<string, AmdProduct> | undefined;
}

/** What a report says. Bytes are lower-case hex. */
export interface SnpClaims {
  readonly platform: 'sev-snp';
  readonly product: AmdProduct;
  readonly reportVersion: number;
  readonly measurement: string;
  readonly reportData: string;
  readonly hostData: string;
  readonly familyId: string;
  readonly imageId: string;
  readonly idKeyDigest: string;
  readonly authorKeyDigest: string;
  readonly guestSvn: number;
  readonly vmpl: number;
  readonly debug: boolean;
  readonly guestPolicy: SnpReport['policy'];
  readonly platformInfo: string;
  readonly signingKey: 'VCEK' | 'VLEK' | 'none';
  /** absent where the signing key names no chip */
  readonly chipId?: string;
  /** the provider that a VLEK was made for */
  readonly provider?: string;
  readonly tcb: Readonly<Record<'reported' | 'committed' | 'launch' | 'current', SnpTcb>>;
  readonly firmware: string;
}

export interface SnpResult {
  readonly verdict: Verdict;
  readonly checks: readonly Check[];
  /** present when the report's own signature and chain hold, whatever the verdict */
  readonly claims?: SnpClaims;
}

const REQUIRED = [
  'snp.report',
  'snp.certificate',
  ...chainCheckIds('snp.chain'),
  'snp.issuer',
  'snp.product',
  'snp.signature',
  'snp.chip-id',
  'snp.tcb',
  'snp.minimum-tcb',
  'snp.firmware',
  'snp.debug',
  'snp.migration',
  'snp.vmpl',
  'snp.platform',
] as const;

/** Verifies a report. Never throws for what the evidence holds: that is a failed check. */
export async function verifySnp(question: SnpQuestion): Promise<SnpResult> {
  const { policy, now, roots = AMD_ROOTS } = question;
  const list = createChecklist(REQUIRED);
  const { record } = list;
  const attempt = attempting(record);

  const report = attempt(
    'snp.report',
    () => parseSnpReport(question.report),
    ({ version }) => `version ${version}`,
  );
  if (report === undefined) return list.result('');
  const endorsement = attempt(
    'snp.certificate',
    () => endorsementOf(report, question.certificates),
    ({ key, productName }) => `${key} for ${productName}`,
  );
  if (endorsement !== undefined) {
    const { certificate, authorities } = endorsement;
    const chain = await verifyChain({
      leaf: certificate.der,
      intermediates: authorities,
      rootFingerprints: [...roots.keys()],
      crls: question.crls,
      revocation: policy.amd.revocation,
      now,
    });
    recordChain(chain, 'snp.chain', record);
    const [, issuer, ark] = chain.path;
    const wanted = issuerOf(endorsement);
    if (issuer !== undefined && ark !== undefined) {
      const named = issuer.subjectName === wanted && chain.path.length === 3;
      record(
        'snp.issuer',
        named,
        'evidence-rejected',
        `${named ? '' : `not ${wanted}: `}${issuer.subjectName}`,
      );
    }
    const root = roots.get(chain.path.at(-1)?.fingerprint ?? '');
    const signed = await verifyEcdsa(certificate.key, 'SHA-384', report.signature, report.signed);
    record('snp.signature', signed, 'signature-rejected', signed ? 'by that key' : 'not by that key');
    checkCertificate(report, endorsement, root, record);
    checkTcb(report, endorsement.product, policy.amd, record);
    checkGuest(report, question, record);
    checkPlatform(report, policy.amd, record);
    if (signed && root !== undefined) {
      return { ...list.result(''), claims: claimsOf(report, endorsement) };
    }
  }
  return list.result('');
}

interface Endorsement {
  readonly key: 'VCEK' | 'VLEK';
  readonly certificate: Certificate;
  readonly authorities: readonly Uint8Array[];
  readonly productName: string;
  readonly product: AmdProduct;
  readonly structVersion: number;
  /** TCB_VERSION that the certificate was issued for */
  readonly tcb: Uint8Array;
  /** 64 or 8 bytes; a VLEK has none */
  readonly chipId?: Uint8Array;
  readonly provider?: string;
}

/** Extensions of 57230, section 3. */
const ARC = '1.3.6.1.4.1.3704.1';
const OID = {
  structVersion: `${ARC}.1`,
  productName: `${ARC}.2`,
  hwId: `${ARC}.4`,
  cspId: `${ARC}.5`,
  spl: (number: number) => `${ARC}.3.${number}`,
} as const;
const SPL: Readonly<Record<TcbComponent, number>> = { bootloader: 1, tee: 2, snp: 3, microcode: 8, fmc: 9 };
/** Extensions of the reserved bytes of TCB_VERSION: byte -> number. */
const RESERVED_SPL: Readonly<Record<AmdProduct, readonly (readonly [number, number])[]>> = {
  Milan: [4, 5, 6, 7].map((number) => [number - 2, number] as const),
  Genoa: [4, 5, 6, 7].map((number) => [number - 2, number] as const),
  Turin: [5, 6, 7].map((number) => [number - 1, number] as const),
};
const NAMES: Readonly<Record<string, AmdProduct>> = {
  Milan: 'Milan',
  Genoa: 'Genoa',
  Bergamo: 'Genoa',
  Siena: 'Genoa',
  Turin: 'Turin',
};

/** Finds and reads the VCEK or VLEK that the report asks for; throws `bad-file` or `evidence-rejected`. */
function endorsementOf(report: SnpReport, certificates: readonly Uint8Array[]): Endorsement {
  const refuse = (reason: string): never => {
    throw new VouchError('evidence-rejected', reason);
  };
  const { signingKey } = report;
  if (signingKey === 'none') return refuse('the report is not signed');
  if (signingKey === 'VCEK' && report.maskChipKey)
    return refuse('MASK_CHIP_KEY is set: a VCEK cannot have signed');
  if (certificates.length > 16) return refuse(`expected at most 16 certificates, got ${certificates.length}`);
  const parsed = certificates.map((der, i) => parseCertificate(der, `certificate ${i + 1}`));
  const found = parsed.filter(({ subjectName }) => subjectName === `SEV-${signingKey}`);
  const [certificate] = found;
  if (certificate === undefined) return refuse(`expected a ${signingKey} certificate, got none`);
  if (found.some(({ fingerprint }) => fingerprint !== certificate.fingerprint)) {
    return refuse(`expected one ${signingKey} certificate, got ${found.length}`);
  }
  const { extensions, key } = certificate;
  if (key.type !== 'EC' || key.curve !== 'P-384') return refuse(`expected a P-384 key in the ${signingKey}`);
  const value = (oid: string): Uint8Array =>
    extensions.get(oid)?.value ?? refuse(`${signingKey}: expected extension ${oid}`);
  const number = (oid: string): number =>
    smallInteger(readDer(value(oid), signingKey, TAG.integer), signingKey);
  const text = (oid: string): string => textOf(readDer(value(oid), signingKey), signingKey);

  const productName = text(OID.productName);
  const product = NAMES[productName.split('-')[0]!];
  if (product === undefined) return refuse(`${signingKey}: product ${productName.slice(0, 32)} is not known`);
  const tcb = new Uint8Array(8);
  const put = (at: number, spl: number) => {
    const level = number(OID.spl(spl));
    if (level > 255) refuse(`${signingKey}: expected patch levels of one byte`);
    tcb[at] = level;
  };
  for (const [component, at] of Object.entries(TCB_LAYOUT[product])) put(at, SPL[component as TcbComponent]);
  for (const [at, spl] of RESERVED_SPL[product]) if (extensions.has(OID.spl(spl))) put(at, spl);

  const hwId = signingKey === 'VCEK' ? unwrapped(value(OID.hwId)) : undefined;
  if (signingKey === 'VLEK' && extensions.has(OID.hwId)) return refuse('VLEK: expected no chip id');
  const others = parsed.filter(({ fingerprint }) => fingerprint !== certificate.fingerprint);
  const own = () => AMD_CERTIFICATES[product].map((der) => fromBase64(der, product));
  return {
    key: signingKey,
    certificate,
    authorities: others.length > 0 ? others.map(({ der }) => der) : own(),
    productName,
    product,
    structVersion: number(OID.structVersion),
    tcb,
    ...(hwId === undefined ? {} : { chipId: hwId }),
    ...(signingKey === 'VLEK' ? { provider: text(OID.cspId) } : {}),
  };
}

/** AMD signs a chip's VCEK with the product's ASK, a provider's VLEK with its ASVK. */
const issuerOf = ({ key, product }: Endorsement): string => `SEV-${key === 'VLEK' ? 'VLEK-' : ''}${product}`;

function checkCertificate(
  report: SnpReport,
  { key, productName, product, structVersion, tcb, chipId }: Endorsement,
  root: AmdProduct | undefined,
  record: Recorder,
): void {
  const cpu = report.cpuid === undefined ? product : productOf(report.cpuid);
  if (root !== undefined) {
    record(
      'snp.product',
      cpu === product && root === product && structVersion === (product === 'Turin' ? 1 : 0),
      'evidence-rejected',
      `certificate for ${productName} (structure ${structVersion}), root for ${root}, CPU is ${
        report.cpuid === undefined ? 'not stated' : (cpu ?? 'not known')
      }`,
    );
  }
  if (chipId === undefined) record('snp.chip-id', true, 'evidence-rejected', 'a VLEK names no chip');
  else {
    const expected = report.chipId.subarray(0, chipIdBytes(product));
    const rest = report.chipId.subarray(expected.length);
    const masked = report.chipId.every((byte) => byte === 0);
    record(
      'snp.chip-id',
      !masked && equal(expected, chipId) && rest.every((byte) => byte === 0),
      'evidence-rejected',
      masked
        ? 'the host masks the chip id'
        : `${key} for ${hex(chipId).slice(0, 16)}, report by ${hex(expected).slice(0, 16)}`,
    );
  }
  record(
    'snp.tcb',
    equal(tcb, report.reportedTcb),
    'evidence-rejected',
    `${key} for ${describe(tcbOf(product, tcb))}, reported ${describe(tcbOf(product, report.reportedTcb))}`,
  );
}

/** AMD issued certificates with the chip id as it is and, later, inside an OCTET STRING; the lengths differ. */
function unwrapped(value: Uint8Array): Uint8Array {
  const wrapped = value.length % 8 === 2 && value[0] === TAG.octetString && value[1] === value.length - 2;
  return wrapped ? value.subarray(2) : value;
}

const chipIdBytes = (product: AmdProduct): number => (product === 'Turin' ? 8 : 64);

const describe = (tcb: SnpTcb): string =>
  TCB_COMPONENTS.flatMap((component) =>
    tcb[component] === undefined ? [] : `${component} ${tcb[component]}`,
  ).join(' ');

function checkTcb(report: SnpReport, product: AmdProduct, policy: SnpPolicy, record: Recorder): void {
  const versions = { reported: report.reportedTcb, committed: report.committedTcb, launch: report.launchTcb };
  const demanded = TCB_COMPONENTS.filter((component) => policy.minimumTcb[component] !== undefined);
  const faults = Object.entries(versions).flatMap(([name, bytes]) => {
    const tcb = tcbOf(product, bytes);
    return demanded
      .filter((component) => (tcb[component] ?? -1) < policy.minimumTcb[component]!)
      .map((component) => `${name} ${component} ${tcb[component] ?? 'none'}`);
  });
  const minimum =
    demanded.length === 0 ? 'none demanded' : `at least ${describe(policy.minimumTcb as SnpTcb)}`;
  record(
    'snp.minimum-tcb',
    faults.length === 0,
    'policy-rejected',
    faults.length === 0 ? minimum : `${faults.join(', ')}, but ${minimum} demanded`,
  );
  const committed =
    report.currentVersion === report.committedVersion && equal(report.currentTcb, report.committedTcb);
  const { minimumFirmware: least } = policy;
  const recent = least === undefined || atLeast(report.committedVersion, least);
  record(
    'snp.firmware',
    (committed || policy.uncommittedFirmware) && recent,
    'policy-rejected',
    recent
      ? `${report.currentVersion} (${describe(tcbOf(product, report.currentTcb))}) is ${committed ? '' : 'not '}committed`
      : `committed ${report.committedVersion}, at least ${least} demanded`,
  );
}

/** Bits of PLATFORM_INFO; what new firmware adds means nothing here. */
const SMT = 0n;
const FEATURES: Readonly<Record<SnpPolicy['platformFeatures'][number], bigint>> = {
  ecc: 2n,
  'rapl-disabled': 3n,
  'ciphertext-hiding': 4n,
  'alias-checked': 5n,
};

function checkPlatform({ platformInfo }: SnpReport, policy: SnpPolicy, record: Recorder): void {
  const has = (bit: bigint) => ((platformInfo >> bit) & 1n) === 1n;
  const missing = policy.platformFeatures.filter((feature) => !has(FEATURES[feature]));
  const faults = [
    ...(has(SMT) && !policy.smt ? ['two threads run on a core'] : []),
    ...(missing.length > 0 ? [`not turned on: ${missing.join(', ')}`] : []),
  ];
  const bits = `platform info 0x${platformInfo.toString(16)}`;
  record('snp.platform', faults.length === 0, 'policy-rejected', [bits, ...faults].join(', '));
}

const atLeast = (version: string, least: string): boolean => {
  const [have, want] = [version, least].map((text) => text.split('.').map(Number));
  const at = have!.findIndex((number, i) => number !== want![i]);
  return at < 0 || have![at]! > want![at]!;
};

function checkGuest(report: SnpReport, { policy }: SnpQuestion, record: Recorder): void {
  const { debug, migrationAgent } = report.policy;
  const { amd, measurements, reportData } = policy;
  record('snp.debug', !debug || policy.debug, 'policy-rejected', `debug mode is ${debug ? 'on' : 'off'}`);
  record(
    'snp.migration',
    !migrationAgent || amd.migration,
    'policy-rejected',
    `a migration agent is ${migrationAgent ? '' : 'not '}allowed`,
  );
  const asker = report.vmpl === 0xffffffff ? 'the host' : `VMPL ${report.vmpl}`;
  record('snp.vmpl', report.vmpl <= amd.maximumVmpl, 'policy-rejected', `asked for by ${asker}`);
  if (measurements !== undefined) {
    const reported = registersOf(report);
    const accepted = measurementAccepted(measurements, reported);
    record('snp.measurement', accepted, 'policy-rejected', reported.measurement);
  }
  if (reportData !== undefined) {
    const found = hex(report.reportData);
    record('snp.report-data', reportData === found, 'policy-rejected', found);
  }
  if (amd.chipIds !== undefined) {
    const chip = hex(report.chipId);
    const named = report.signingKey === 'VCEK' && amd.chipIds.some((id) => id.padEnd(128, '0') === chip);
    const found = report.signingKey === 'VCEK' ? chip.slice(0, 16) : 'a VLEK names no chip';
    record('snp.chip-allowed', named, 'policy-rejected', found);
  }
}

const registersOf = (report: SnpReport) => ({
  measurement: hex(report.measurement),
  hostData: hex(report.hostData),
  familyId: hex(report.familyId),
  imageId: hex(report.imageId),
  idKeyDigest: hex(report.idKeyDigest),
  authorKeyDigest: hex(report.authorKeyDigest),
  guestSvn: report.guestSvn,
});

function claimsOf(report: SnpReport, { product, chipId, provider }: Endorsement): SnpClaims {
  return {
    platform: 'sev-snp',
    product,
    reportVersion: report.version,
    ...registersOf(report),
    reportData: hex(report.reportData),
    vmpl: report.vmpl,
    debug: report.policy.debug,
    guestPolicy: report.policy,
    platformInfo: report.platformInfo.toString(16).padStart(16, '0'),
    signingKey: report.signingKey,
    ...(chipId === undefined ? {} : { chipId: hex(chipId) }),
    ...(provider === undefined ? {} : { provider }),
    tcb: {
      reported: tcbOf(product, report.reportedTcb),
      committed: tcbOf(product, report.committedTcb),
      launch: tcbOf(product, report.launchTcb),
      current: tcbOf(product, report.currentTcb),
    },
    firmware: report.currentVersion,
  };
}
