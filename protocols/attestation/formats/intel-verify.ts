/**
 * Verifies an Intel quote with collateral at a given time: pure, offline, every check named. From the leaves
 * up: the attestation key signed the report, the quoting enclave vouches for that key, the provisioning
 * certification key (PCK) signed the quoting enclave's report, Intel's CA certified the PCK and has not revoked
 * it, and Intel's signed TCB info and QE identity say at which level all of these are. Procedure: Intel SGX and
 * TDX DCAP Quote Verification Library; collateral: Intel PCS API version 4.
 *
 * Not guaranteed: when the quote was made (quotes carry no time: freshness is the nonce in the report data),
 * that the measured code is good, or that nobody extracted a key by physical access to the machine.
 */
import { concat, equal, fromHex, hex, sha256 } from '../../encoding.ts';
import { messageOf, VouchError } from '../../errors.ts';
import { type Certificate, parseCertificate, parseRevocationList, readPem } from '../certificate.ts';
import { type ChainReport, chainCheckIds, recordChain, verifyChain } from '../chain.ts';
import { type Check, createChecklist, type Recorder, type Verdict } from '../checklist.ts';
import type { EvidencePolicy, Platform } from '../evidence-policy.ts';
import { type PublicKey, verifyEcdsa } from '../signature.ts';
import {
  type IntelCollateral,
  parseQeIdentity,
  parseTcbInfo,
  type QeIdentity,
  type SignedText,
  type TcbInfo,
  type TcbStatus,
} from './intel-collateral.ts';
import { type PckPlatform, pckPlatform } from './intel-pck.ts';
import { type IntelQuote, isZero, parseIntelQuote } from './intel-quote.ts';
import { converge, matchModule, platformLevel, qeLevel, qeMismatches, type TcbLevel } from './intel-tcb.ts';
import { checkEnclave, enclaveClaims, SGX_CHECKS } from './sgx.ts';
import { checkTd, TDX_CHECKS, tdClaims } from './tdx.ts';

/** SHA-256 of the certificate "Intel SGX Root CA". */
export const INTEL_ROOT = '44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3';
const PCK_NAME = 'Intel SGX PCK Certificate';
const PCK_ISSUERS = ['Intel SGX PCK Processor CA', 'Intel SGX PCK Platform CA'];
const SIGNER_NAME = 'Intel SGX TCB Signing';
const DAY_MS = 86_400_000;

export interface IntelQuestion {
  readonly quote: Uint8Array;
  readonly collateral: IntelCollateral;
  readonly policy: EvidencePolicy;
  readonly now: Date;
  /** SHA-256 fingerprints of the roots accepted; default: Intel's */
  readonly roots?: readonly string[];
}

export type IntelClaims = { readonly platform: 'sgx' | 'tdx'; readonly hardware: true } & Readonly<
  Record<string, unknown>
>;

export interface IntelReport {
  readonly verdict: Verdict;
  readonly checks: readonly Check[];
  /** present when the quote's own signatures hold up to the root, whatever the verdict */
  readonly claims?: IntelClaims;
}

const required = (tee: 'sgx' | 'tdx'): string[] => [
  `${tee}.format`,
  `${tee}.padding`,
  `${tee}.platform-allowed`,
  `${tee}.quote-signature`,
  `${tee}.attestation-key`,
  `${tee}.qe-report-signature`,
  ...chainCheckIds(`${tee}.pck-chain`),
  `${tee}.pck-certificate`,
  ...chainCheckIds(`${tee}.tcb-signing-chain`),
  `${tee}.tcb-info-signature`,
  `${tee}.tcb-info-dates`,
  `${tee}.tcb-info-platform`,
  `${tee}.tcb-evaluation`,
  `${tee}.tcb-level`,
  ...(tee === 'tdx' ? ['tdx.module', 'tdx.module-tcb-level'] : []),
  ...chainCheckIds(`${tee}.qe-signing-chain`),
  `${tee}.qe-identity-signature`,
  `${tee}.qe-identity-dates`,
  `${tee}.qe-identity`,
  `${tee}.qe-evaluation`,
  `${tee}.qe-tcb-level`,
  ...(tee === 'tdx' ? TDX_CHECKS : SGX_CHECKS),
];

/** Never throws for what quote and collateral hold: that is a failed check. */
export async function verifyIntelQuote(question: IntelQuestion): Promise<IntelReport> {
  const { policy, collateral } = question;
  // The byte of the TEE type tells which names the checks have, even where the rest is damaged.
  const tee = question.quote[4] === 0x81 ? 'tdx' : 'sgx';
  const list = createChecklist(required(tee));
  const { record } = list;

  let quote: IntelQuote;
  try {
    quote = parseIntelQuote(question.quote);
  } catch (error) {
    record(`${tee}.format`, false, 'evidence-rejected', asEvidence(error));
    return list.result('');
  }
  record(`${tee}.format`, true, 'evidence-rejected', `quote version ${quote.version}`);
  record(
    `${tee}.padding`,
    isZero(quote.padding),
    'evidence-rejected',
    `${quote.padding.length} bytes after the quote, ${isZero(quote.padding) ? 'all zero' : 'not all zero'}`,
  );
  const platform: Platform = tee;
  record(
    `${tee}.platform-allowed`,
    policy.platforms.includes(platform),
    'policy-rejected',
    `the policy accepts ${policy.platforms.join(', ')}`,
  );
  if (quote.body.tee === 'tdx') checkTd(quote.body.report, policy, record);
  else checkEnclave(quote.body.report, policy, record);
  checkDemands(quote, policy, list, tee);

  const crls = pickRevocationLists(collateral.crls, question.now);
  const context: Context = {
    ...question,
    tee,
    record,
    roots: question.roots ?? [INTEL_ROOT],
    crls,
    pool: certificatesOf(collateral, quote.pckChain),
  };
  const pck = await checkKeys(quote, context);
  const tcb = await checkTcbInfo(quote, pck, context);
  const qe = await checkQeIdentity(quote, context);
  if (collateral.crlChains.length > 0) {
    list.require([`${tee}.crl-issuer`]);
    await checkCrlIssuers(context);
  }

  const result = list.result('');
  const passed = (id: string) => result.checks.some((check) => check.id === id && check.status === 'pass');
  const signed = ['quote-signature', 'attestation-key', 'qe-report-signature', 'pck-chain'];
  if (!signed.every((name) => passed(`${tee}.${name}`))) return result;
  return { ...result, claims: claimsOf(quote, pck, tcb.platform, [tcb.module, qe]) };
}

interface Context {
  readonly tee: 'sgx' | 'tdx';
  readonly record: Recorder;
  readonly policy: EvidencePolicy;
  readonly collateral: IntelCollateral;
  readonly now: Date;
  readonly roots: readonly string[];
  readonly crls: readonly Uint8Array[];
  /** certificates that came with the collateral or the quote */
  readonly pool: readonly Certificate[];
}

function checkDemands(
  { body: { report, tee } }: IntelQuote,
  { measurements, reportData }: EvidencePolicy,
  { require, record }: ReturnType<typeof createChecklist>,
  prefix: string,
): void {
  if (measurements !== undefined) {
    require([`${prefix}.measurement`]);
    const measured = hex(tee === 'sgx' ? report.mrEnclave : report.mrTd);
    record(`${prefix}.measurement`, measurements.includes(measured), 'policy-rejected', measured);
  }
  if (reportData !== undefined) {
    require([`${prefix}.report-data`]);
    const said = hex(report.reportData);
    record(`${prefix}.report-data`, said === reportData, 'policy-rejected', said);
  }
}

/** The keys from the quote's signature up to Intel's root. */
async function checkKeys(quote: IntelQuote, context: Context): Promise<PckPlatform | undefined> {
  const { tee, record } = context;
  const { attestationKey, qeReport, qeAuthData } = quote;
  record(
    `${tee}.quote-signature`,
    await verifyEcdsa(p256Key(attestationKey), 'SHA-256', quote.signature, quote.signed),
    'signature-rejected',
    'ECDSA P-256 by the attestation key over header and report',
  );
  // The quoting enclave's report data: the hash of its key and its own data, then zeros.
  const bound = sha256(attestationKey, qeAuthData);
  record(
    `${tee}.attestation-key`,
    equal(qeReport.reportData, concat(bound, new Uint8Array(32))),
    'evidence-rejected',
    "the quoting enclave's report data holds the hash of the attestation key",
  );

  let certificates: Uint8Array[];
  try {
    certificates = readPem(quote.pckChain, 'CERTIFICATE', 'PCK chain');
  } catch (error) {
    record(`${tee}.pck-chain`, false, 'evidence-rejected', asEvidence(error));
    return undefined;
  }
  const [leaf, ...others] = certificates;
  if (leaf === undefined) {
    record(`${tee}.pck-chain`, false, 'evidence-rejected', 'the quote holds no certificate');
    return undefined;
  }
  const chain = await chainOf(leaf, others, context);
  recordChain(chain, `${tee}.pck-chain`, record);
  const certificate = chain.leaf;
  if (certificate === undefined) return undefined;
  record(
    `${tee}.qe-report-signature`,
    await verifyEcdsa(certificate.key, 'SHA-256', quote.qeReportSignature, qeReport.bytes),
    'signature-rejected',
    "ECDSA P-256 by the PCK over the quoting enclave's report",
  );
  const issuer = chain.path[1]?.subjectName ?? '';
  const shaped =
    chain.path.length === 3 && certificate.subjectName === PCK_NAME && PCK_ISSUERS.includes(issuer);
  if (!shaped) {
    record(
      `${tee}.pck-certificate`,
      false,
      'evidence-rejected',
      `expected ${PCK_NAME} by a PCK CA by the root, got ${certificate.subjectName} by ${issuer || 'nobody known'}`,
    );
    return undefined;
  }
  try {
    const platform = pckPlatform(certificate);
    record(
      `${tee}.pck-certificate`,
      true,
      'evidence-rejected',
      `by ${issuer}, FMSPC ${hex(platform.fmspc)}, PCE ${platform.pceSvn}`,
    );
    return platform;
  } catch (error) {
    record(`${tee}.pck-certificate`, false, 'evidence-rejected', asEvidence(error));
    return undefined;
  }
}

const chainOf = (leaf: Uint8Array, others: readonly Uint8Array[], context: Context): Promise<ChainReport> =>
  verifyChain({
    leaf,
    intermediates: others,
    rootFingerprints: context.roots,
    now: context.now,
    crls: context.crls,
    revocation: context.policy.intel.revocation,
  });

/** Chains that came with CRLs have to lead to the root, whichever of the PCK CAs they are for. */
async function checkCrlIssuers({ tee, record, collateral, roots, now }: Context): Promise<void> {
  const names: string[] = [];
  for (const text of collateral.crlChains) {
    let fault: string | undefined;
    try {
      const [leaf, ...intermediates] = readPem(text, 'CERTIFICATE', 'CRL issuer chain');
      if (leaf === undefined) throw new VouchError('bad-file', 'CRL issuer chain: expected certificates');
      const report = await verifyChain({ leaf, intermediates, rootFingerprints: roots, now });
      // A CRL's issuer is a CA, which a chain's leaf is otherwise not to be.
      fault = report.checks.find(({ name, status }) => name !== 'constraints' && status !== 'pass')?.detail;
      names.push(report.leaf?.subjectName ?? '');
    } catch (error) {
      fault = asEvidence(error);
    }
    if (fault !== undefined) {
      record(`${tee}.crl-issuer`, false, 'evidence-rejected', fault);
      return;
    }
  }
  record(`${tee}.crl-issuer`, true, 'evidence-rejected', `${names.join(', ')} up to the pinned root`);
}

interface Statement<T> {
  readonly signed: SignedText;
  readonly content: T;
}

async function checkTcbInfo(
  quote: IntelQuote,
  pck: PckPlatform | undefined,
  context: Context,
): Promise<{ platform?: TcbLevel | undefined; module?: TcbLevel | undefined }> {
  const { tee, record, collateral, policy } = context;
  const id = tee === 'tdx' ? 'TDX' : 'SGX';
  const chosen = choose(
    collateral.tcbInfos,
    parseTcbInfo,
    (info) => info.id === id && (pck === undefined || equal(info.fmspc, pck.fmspc)),
    context,
    'tcb-info-signature',
    'TCB info',
  );
  if (chosen === undefined) return {};
  const { content: info } = chosen;
  await checkStatement(chosen, 'tcb-signing-chain', 'tcb-info', 'tcb-evaluation', context);
  if (pck === undefined) return {};
  const fits = info.id === id && equal(info.fmspc, pck.fmspc) && equal(info.pceId, pck.pceId);
  const said = `${info.id} ${hex(info.fmspc)}, PCE id ${hex(info.pceId)}`;
  record(
    `${tee}.tcb-info-platform`,
    fits,
    'evidence-rejected',
    fits ? said : `expected ${id} ${hex(pck.fmspc)}, PCE id ${hex(pck.pceId)}, got ${said}`,
  );
  if (!fits) return {};
  const td = quote.body.tee === 'tdx' ? quote.body.report : undefined;
  const level = platformLevel(info, pck, td);
  checkLevel(`${tee}.tcb-level`, level, policy, context);
  if (td === undefined) return { platform: level };

  const module = matchModule(info, td);
  record(
    'tdx.module',
    module?.genuine === true,
    'evidence-rejected',
    module === undefined
      ? `the TCB info knows no module of major version ${td.teeTcbSvn[1]}`
      : `${module.name}: MRSIGNERSEAM and SEAM attributes are ${module.genuine ? '' : 'not '}as Intel says`,
  );
  if (module?.level === 'of the platform') {
    record('tdx.module-tcb-level', true, 'policy-rejected', 'part of the TCB level before TDX 1.5');
    return { platform: level };
  }
  checkLevel('tdx.module-tcb-level', module?.level, policy, context);
  return { platform: level, module: module?.level };
}

async function checkQeIdentity(quote: IntelQuote, context: Context): Promise<TcbLevel | undefined> {
  const { tee, record, collateral, policy } = context;
  const id = tee === 'tdx' ? 'TD_QE' : 'QE';
  const chosen = choose(
    collateral.qeIdentities,
    parseQeIdentity,
    (identity) => identity.id === id,
    context,
    'qe-identity-signature',
    'QE identity',
  );
  if (chosen === undefined) return undefined;
  const { content: identity } = chosen;
  await checkStatement(chosen, 'qe-signing-chain', 'qe-identity', 'qe-evaluation', context);
  const wrong = qeMismatches(identity, quote.qeReport);
  record(
    `${tee}.qe-identity`,
    identity.id === id && wrong.length === 0,
    'evidence-rejected',
    identity.id !== id
      ? `expected the identity of ${id}, got that of ${identity.id}`
      : wrong.length === 0
        ? "the quoting enclave is Intel's"
        : `the quoting enclave's ${wrong.join(', ')} differ from Intel's`,
  );
  const level = qeLevel(identity, quote.qeReport);
  checkLevel(`${tee}.qe-tcb-level`, level, policy, context);
  return level;
}

/**
 * The statement to use: one that fits and is current, with the highest evaluation number and then the latest;
 * else one that at least fits; else any, whose check then says what is wrong with it.
 */
function choose<T extends TcbInfo | QeIdentity>(
  texts: readonly SignedText[],
  read: (text: string) => T,
  fits: (content: T) => boolean,
  { tee, record, now }: Context,
  check: string,
  what: string,
): Statement<T> | undefined {
  const statements: Statement<T>[] = [];
  let fault: string | undefined;
  for (const signed of texts) {
    try {
      statements.push({ signed, content: read(signed.text) });
    } catch (error) {
      fault = asEvidence(error);
    }
  }
  const score = ({ content }: Statement<T>): number[] => [
    fits(content) ? 1 : 0,
    content.issueDate <= now && now <= content.nextUpdate ? 1 : 0,
    content.tcbEvaluationDataNumber,
    content.issueDate.getTime(),
  ];
  const best = statements
    .map((statement) => ({ statement, score: score(statement) }))
    .sort((a, b) => {
      const differs = a.score.findIndex((value, i) => value !== b.score[i]);
      return differs < 0 ? 0 : b.score[differs]! - a.score[differs]!;
    })[0]?.statement;
  if (best === undefined) {
    record(`${tee}.${check}`, false, 'evidence-rejected', fault ?? `no ${what} at hand`);
  }
  return best;
}

/** Signature by "Intel SGX TCB Signing", whom the root certifies, dates and evaluation number. */
async function checkStatement(
  { signed, content }: Statement<TcbInfo | QeIdentity>,
  chainName: string,
  name: string,
  evaluation: string,
  context: Context,
): Promise<void> {
  const { tee, record, now, policy } = context;
  const signer = await checkSigner(signed, `${tee}.${chainName}`, context);
  if (signer !== undefined) {
    const signature = /^[0-9A-Fa-f]{128}$/.test(signed.signature)
      ? fromHex(signed.signature.toLowerCase())
      : new Uint8Array(0);
    record(
      `${tee}.${name}-signature`,
      await verifyEcdsa(signer.key, 'SHA-256', signature, new TextEncoder().encode(signed.text)),
      'signature-rejected',
      `ECDSA P-256 by ${SIGNER_NAME}`,
    );
  }
  const { issueDate, nextUpdate, tcbEvaluationDataNumber } = content;
  // Written so that an invalid `now` (NaN) fails.
  const early = !(now >= issueDate);
  const late = !(now <= nextUpdate);
  record(
    `${tee}.${name}-dates`,
    !early && !late,
    'evidence-rejected',
    early
      ? `not yet valid: issued ${issueDate.toISOString()}`
      : late
        ? `stale: its next was due on ${nextUpdate.toISOString()}`
        : `valid until ${nextUpdate.toISOString()}`,
  );
  record(
    `${tee}.${evaluation}`,
    tcbEvaluationDataNumber >= policy.intel.minimumEvaluationNumber,
    'policy-rejected',
    `evaluation ${tcbEvaluationDataNumber}, at least ${policy.intel.minimumEvaluationNumber} demanded`,
  );
}

async function checkSigner(
  { chain }: SignedText,
  prefix: string,
  context: Context,
): Promise<Certificate | undefined> {
  const { record, pool, now, roots } = context;
  let leaf: Uint8Array | undefined;
  let others: readonly Uint8Array[];
  if (chain === undefined) {
    const signers = pool.filter(({ subjectName }) => subjectName === SIGNER_NAME);
    const current = signers.find(({ notBefore, notAfter }) => notBefore <= now && now <= notAfter);
    leaf = (current ?? signers[0])?.der;
    others = pool.filter(({ fingerprint }) => roots.includes(fingerprint)).map(({ der }) => der);
  } else {
    try {
      [leaf, ...others] = readPem(chain, 'CERTIFICATE', 'issuer chain');
    } catch (error) {
      record(prefix, false, 'evidence-rejected', asEvidence(error));
      return undefined;
    }
  }
  if (leaf === undefined) {
    record(prefix, false, 'evidence-rejected', `no certificate of ${SIGNER_NAME} at hand`);
    return undefined;
  }
  const report = await chainOf(leaf, others, context);
  recordChain(report, prefix, record);
  const name = report.leaf?.subjectName ?? '';
  if (report.leaf !== undefined && (name !== SIGNER_NAME || report.path.length !== 2)) {
    record(prefix, false, 'evidence-rejected', `expected ${SIGNER_NAME} by the root, got ${name}`);
  }
  return report.leaf;
}

function checkLevel(
  id: string,
  level: TcbLevel | undefined,
  { intel }: EvidencePolicy,
  { record, now }: Context,
): void {
  if (level === undefined) {
    record(id, false, 'evidence-rejected', 'no TCB level: some SVN is below every level that Intel lists');
    return;
  }
  const { status, superseded, advisories } = level;
  const since = superseded ?? level.date;
  const graceful =
    status === 'OutOfDate' &&
    now.getTime() - since.getTime() <= intel.graceDays * DAY_MS &&
    intel.graceDays > 0;
  const allowed = graceful || (intel.tcbStatuses as readonly TcbStatus[]).includes(status);
  const open =
    intel.advisories === 'any' ? [] : advisories.filter((advisory) => !intel.advisories.includes(advisory));
  const day = since.toISOString().slice(0, 10);
  const why = advisories.length > 0 ? `: ${advisories.join(', ')}` : '';
  record(
    id,
    allowed && open.length === 0,
    'policy-rejected',
    `${status} since ${day}${why}${open.length > 0 ? ' (not all allowed)' : ''}`,
  );
}

function claimsOf(
  quote: IntelQuote,
  pck: PckPlatform | undefined,
  own: TcbLevel | undefined,
  others: readonly (TcbLevel | undefined)[],
): IntelClaims {
  const { body } = quote;
  const parts = others.filter((level) => level !== undefined);
  const advisories = [...(own?.advisories ?? []), ...parts.flatMap((level) => level.advisories)];
  return {
    platform: body.tee,
    hardware: true,
    quoteVersion: quote.version,
    ...(body.tee === 'tdx' ? tdClaims(body.report) : enclaveClaims(body.report)),
    ...(pck === undefined
      ? {}
      : {
          fmspc: hex(pck.fmspc),
          pceId: hex(pck.pceId),
          pceSvn: pck.pceSvn,
          componentSvns: pck.componentSvns,
        }),
    ...(own === undefined
      ? {}
      : {
          tcbStatus: converge(
            own.status,
            parts.map(({ status }) => status),
          ),
          tcbDate: own.date.toISOString().slice(0, 10),
        }),
    advisories: [...new Set(advisories)].sort(),
  };
}

/** Per issuer those that are current, else the latest; what cannot be read stays, and fails the chains. */
function pickRevocationLists(crls: readonly Uint8Array[], now: Date): Uint8Array[] {
  const unreadable: Uint8Array[] = [];
  const byIssuer = new Map<string, { der: Uint8Array; from: Date; until: Date }[]>();
  for (const der of crls) {
    try {
      const { issuer, thisUpdate, nextUpdate } = parseRevocationList(der);
      const known = byIssuer.get(hex(issuer)) ?? [];
      if (known.some((other) => equal(other.der, der))) continue;
      byIssuer.set(hex(issuer), [...known, { der, from: thisUpdate, until: nextUpdate }]);
    } catch {
      unreadable.push(der);
    }
  }
  const picked = [...byIssuer.values()].flatMap((lists) => {
    const current = lists.filter(({ from, until }) => from <= now && now <= until);
    if (current.length > 0) return current;
    return lists.sort((a, b) => b.from.getTime() - a.from.getTime()).slice(0, 1);
  });
  return [...picked.map(({ der }) => der), ...unreadable.slice(0, 1)];
}

/** Certificates that came loose or with statements, each once; those that cannot be read are left out. */
function certificatesOf(
  { certificates, tcbInfos, qeIdentities, crlChains }: IntelCollateral,
  pckChain: string,
): Certificate[] {
  const chains = [
    pckChain,
    ...crlChains,
    ...[...tcbInfos, ...qeIdentities].flatMap(({ chain }) => chain ?? []),
  ];
  const found = new Map<string, Certificate>();
  const add = (der: Uint8Array) => {
    try {
      const certificate = parseCertificate(der);
      found.set(certificate.fingerprint, certificate);
    } catch {
      // Of no use; whatever needs it fails for want of it.
    }
  };
  certificates.forEach(add);
  for (const chain of chains) {
    try {
      readPem(chain).forEach(add);
    } catch {
      // The same.
    }
  }
  return [...found.values()];
}

const P256_SPKI = fromHex('3059301306072a8648ce3d020106082a8648ce3d03010703420004');

/** A raw point x || y as a key. */
function p256Key(point: Uint8Array): PublicKey {
  const spki = concat(P256_SPKI, point);
  return { type: 'EC', curve: 'P-256', spki, point: spki.subarray(-65) };
}

/** Parsers' own sentences; anything else is a defect of ours and must be seen. */
function asEvidence(error: unknown): string {
  if (error instanceof VouchError) return messageOf(error);
  throw error;
}
