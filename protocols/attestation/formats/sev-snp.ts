/**
 * Verifies SEV-SNP attestation reports: the report's signature, the chain VCEK or VLEK -> ASK or ASVK -> ARK, and
 * that certificate and report speak of the same product, chip and TCB (AMD 56860 and 57230); what a policy demands is
 * judgement/amd.ts's matter. Pure: clock, certificates and CRLs are arguments.
 *
 * Not guaranteed: that the chip was not opened, that the measured code is good, and, for a VLEK, which chip it was.
 */
import { equal, hex } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import type { Certificate, RevocationList } from '../certificate.ts';
import { chainCheckIds, recordChain, verifyChain } from '../chain.ts';
import { attempting, type Check, createChecklist, type Recorder, type Verdict } from '../checklist.ts';
import { certificatesOf, crlsOf } from '../collateral.ts';
import { judgeSnpClaims, SNP_DEMANDS, type SnpDemands } from '../judgement/amd.ts';
import type { Parsed } from '../parsed.ts';
import { AMD_ROOTS, type AmdProduct } from '../roots/amd.ts';
import { verifyEcdsa } from '../signature.ts';
import { type Part, type Piece, type Question, withPlatform } from './format.ts';
import type { SnpClaims } from './sev-snp-claims.ts';
import { type Endorsement, endorsementOf, issuerOf } from './sev-snp-endorsement.ts';
import { describeTcb, productOf, type SnpReport, tcbOf } from './sev-snp-report.ts';

export interface SnpQuestion {
  /** as the firmware returned it */
  readonly report: Parsed<SnpReport>;
  /** in any order: the VCEK or VLEK, and CA certificates beside Vouch's own copies */
  readonly certificates: Parsed<readonly Certificate[]>;
  readonly crls?: readonly Parsed<RevocationList>[] | undefined;
  readonly policy: SnpDemands;
  readonly now: Date;
  /** fingerprint of a root -> its product; AMD's own unless others are to be trusted */
  readonly roots?: ReadonlyMap<string, AmdProduct> | undefined;
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
  ...SNP_DEMANDS,
] as const;

/** Verifies a report. Never throws for what the evidence holds: that is a failed check. */
export async function verifySnp(question: SnpQuestion): Promise<SnpResult> {
  const { policy, now, roots = AMD_ROOTS } = question;
  const list = createChecklist(REQUIRED);
  const { record } = list;
  const attempt = attempting(record);

  const report = attempt('snp.report', question.report, ({ version }) => `version ${version}`);
  if (report === undefined) return list.result('');
  const endorsement = attempt(
    'snp.certificate',
    () => endorsementOf(report, question.certificates()),
    ({ key, productName }) => `${key} for ${productName}`,
  );
  if (endorsement !== undefined) {
    const { certificate, authorities } = endorsement;
    const chain = await verifyChain({
      certificates: [certificate],
      own: authorities,
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
    if (signed && root !== undefined) {
      const claims = claimsOf(report, endorsement);
      judgeSnpClaims(claims, policy, record);
      return { ...list.result(''), claims };
    }
  }
  return list.result('');
}

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
      masked ? 'the host masks the chip id' : `${key} for ${hex(chipId)}, report by ${hex(expected)}`,
    );
  }
  record(
    'snp.tcb',
    equal(tcb, report.reportedTcb),
    'evidence-rejected',
    `${key} for ${describeTcb(tcbOf(product, tcb))}, reported ${describeTcb(tcbOf(product, report.reportedTcb))}`,
  );
}

const chipIdBytes = (product: AmdProduct): number => (product === 'Turin' ? 8 : 64);

const vector = (bits: bigint): string => bits.toString(16).padStart(16, '0');

function claimsOf(report: SnpReport, { product, chipId, provider }: Endorsement): SnpClaims {
  return {
    platform: 'sev-snp',
    product,
    reportVersion: report.version,
    ...(report.cpuid === undefined ? {} : { cpuid: report.cpuid }),
    measurement: hex(report.measurement),
    reportData: hex(report.reportData),
    hostData: hex(report.hostData),
    familyId: hex(report.familyId),
    imageId: hex(report.imageId),
    idKeyDigest: hex(report.idKeyDigest),
    authorKeyDigest: hex(report.authorKeyDigest),
    authorKeyEnabled: report.authorKeyEnabled,
    guestSvn: report.guestSvn,
    vmpl: report.vmpl,
    debug: report.policy.debug,
    guestPolicy: report.policy,
    platformInfo: vector(report.platformInfo),
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
    committedFirmware: report.committedVersion,
    ...(report.mitigations === undefined
      ? {}
      : {
          mitigations: {
            launch: vector(report.mitigations.launch),
            current: vector(report.mitigations.current),
          },
        }),
    reportId: hex(report.reportId),
    reportIdMa: hex(report.reportIdMa),
  };
}

/**
 * With the certificate of the key that signed it, among those given, else among those in store. Where several are of
 * that key all have to hold; where none is, any of the right kind is taken, to be refused by its own checks.
 */
async function judgeReport({ parsed }: Piece<SnpReport>, question: Question): Promise<SnpResult> {
  const { given, store, policy, now, roots } = question;
  const named = certificatesOf('amd', given);
  const kept = certificatesOf('amd', store);
  const crls = crlsOf('amd', question);
  const authorities = [...named, ...kept].filter(({ authority }) => authority);
  const verify = (leaves: readonly Certificate[]) =>
    verifySnp({
      report: parsed,
      certificates: () => [...leaves, ...authorities],
      crls,
      policy,
      now,
      roots: roots?.amd,
    });
  const report = readOrNone(parsed);
  if (report === undefined) return verify([]);
  for (const all of [named, kept]) {
    let best: SnpResult | undefined;
    for (const leaf of leavesOf(all, report)) {
      if (!(await verifyEcdsa(leaf.key, 'SHA-384', report.signature, report.signed))) continue;
      const result = await verify([leaf]);
      if (best === undefined || result.verdict === 'reject') best = result;
    }
    if (best !== undefined) return best;
  }
  return verify([...leavesOf(named, report), ...leavesOf(kept, report)].slice(0, 1));
}

/** The certificates of the kind of key that signs the report, in an order of their own. */
const leavesOf = (certificates: readonly Certificate[], { signingKey }: SnpReport): Certificate[] =>
  certificates
    .filter(({ subjectName }) => subjectName === `SEV-${signingKey}`)
    .sort((a, b) => (a.fingerprint < b.fingerprint ? -1 : 1));

/** Undefined for what is no report, which its checks say. */
function readOrNone(parsed: Parsed<SnpReport>): SnpReport | undefined {
  try {
    return parsed();
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    return undefined;
  }
}

/** Each report by itself. */
export async function judgeSnp(pieces: readonly Piece<SnpReport>[], question: Question): Promise<Part[]> {
  const parts: Part[] = [];
  for (const piece of pieces) {
    const result = await judgeReport(piece, question);
    const part = withPlatform(result, 'sev-snp', 'snp', question.policy);
    parts.push({ ...part, cpu: part.claims && { ...part.claims, reportData: piece.parsed().reportData } });
  }
  return parts;
}
