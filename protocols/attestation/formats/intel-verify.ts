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
import { hex } from '../../encoding.ts';
import { chainCheckIds } from '../chain.ts';
import { type Check, createChecklist, type Verdict } from '../checklist.ts';
import type { Demands } from '../demands.ts';
import {
  ENCLAVE_DEMANDS,
  type EnclaveQuoteClaims,
  intelDemands,
  judgeIntelClaims,
  TD_DEMANDS,
  type TdQuoteClaims,
} from '../judgement/intel.ts';
import { type Parsed, parsedOnce } from '../parsed.ts';
import { rememberSignatures, type SignatureVerifier } from '../signature.ts';
import { checkEventLog, EVENT_LOG_CHECKS } from './eventlog.ts';
import type { Part, Piece, Question } from './format.ts';
import { type IntelCollateral, mergeCollateral, NO_COLLATERAL } from './intel-collateral.ts';
import {
  asEvidence,
  certificatesAtHand,
  checkCrlIssuers,
  checkKeys,
  type IntelContext,
  pickRevocationLists,
} from './intel-keys.ts';
import type { PckPlatform } from './intel-pck.ts';
import { type IntelQuote, isZero, teeOf } from './intel-quote.ts';
import { checkQeIdentity, checkStatus, checkTcbInfo } from './intel-statements.ts';
import { converge, type RelaunchStatus, type TcbLevel } from './intel-tcb.ts';
import { checkReserved as checkReservedOfEnclave, enclaveClaims } from './sgx.ts';
import { checkReserved as checkReservedOfTd, tdClaims } from './tdx.ts';

/** SHA-256 of the certificate "Intel SGX Root CA". */
export const INTEL_ROOT = '44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3';

export interface IntelQuestion {
  /** which names the checks have, also where the quote cannot be read */
  readonly tee: 'sgx' | 'tdx';
  readonly quote: Parsed<IntelQuote>;
  /** given for this quote: wrong pieces are failures */
  readonly collateral: IntelCollateral;
  /** a store of collateral, used for what `collateral` lacks */
  readonly store?: IntelCollateral;
  /** the TD's event logs: of its boot, and of the attestation agent */
  readonly eventLogs?: readonly Uint8Array[] | undefined;
  readonly policy: Demands;
  readonly now: Date;
  /** SHA-256 fingerprints of the roots accepted; default: Intel's */
  readonly roots?: readonly string[] | undefined;
  /** remembers signatures over several questions; default: over this one */
  readonly verify?: SignatureVerifier;
}

export type IntelClaims = (TdQuoteClaims | EnclaveQuoteClaims) &
  Readonly<Record<string, unknown>> & { readonly hardware: true };

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
  `${tee}.tcb-status`,
  `${tee}.reserved-bits`,
  ...(tee === 'tdx' ? TD_DEMANDS : ENCLAVE_DEMANDS),
];

/** Never throws for what quote and collateral hold: that is a failed check. */
export async function verifyIntelQuote(question: IntelQuestion): Promise<IntelReport> {
  const { policy, collateral, tee } = question;
  const list = createChecklist(required(tee));
  const { record } = list;

  let quote: IntelQuote;
  try {
    quote = question.quote();
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
  record(
    `${tee}.platform-allowed`,
    policy.platforms.includes(tee),
    'policy-rejected',
    `the policy accepts ${policy.platforms.join(', ')}`,
  );
  if (quote.body.tee === 'tdx') checkReservedOfTd(quote.body.report, record);
  else checkReservedOfEnclave(quote.body.report, record);
  const { eventLogs = [] } = question;
  if (eventLogs.length > 0 && quote.body.tee === 'tdx') {
    list.require(EVENT_LOG_CHECKS);
    checkEventLog(eventLogs, quote.body.report, record);
  }
  list.require(intelDemands(tee, policy));

  const store = question.store ?? NO_COLLATERAL;
  const context: IntelContext = {
    ...question,
    store,
    tee,
    record,
    roots: question.roots ?? [INTEL_ROOT],
    verify: question.verify ?? rememberSignatures(),
    crls: pickRevocationLists(collateral.crls, store.crls, question.now),
    pool: parsedOnce(() => certificatesAtHand(mergeCollateral(collateral, store), quote.pckChain)),
  };
  if (policy.intel.minimumTcbDate !== undefined) list.require([`${tee}.tcb-date`]);
  const { pck, revoked } = await checkKeys(quote, context);
  const qe = await checkQeIdentity(quote, context);
  const tcb = await checkTcbInfo(quote, pck, qe.level, context);
  checkStatus({ ...tcb, qe: qe.level }, context);
  if (collateral.crlChains.length > 0) {
    list.require([`${tee}.crl-issuer`]);
    await checkCrlIssuers(context);
  }

  const result = list.result('');
  const passed = (id: string) => result.checks.some((check) => check.id === id && check.status === 'pass');
  const signed = ['quote-signature', 'attestation-key', 'qe-report-signature', 'pck-chain'];
  if (!signed.every((name) => passed(`${tee}.${name}`))) return result;
  // A level says something only when Intel signed it, by a key that it has not revoked.
  const stated = [
    'tcb-info-signature',
    'qe-identity-signature',
    'tcb-signing-chain',
    'qe-signing-chain',
  ].every((name) => passed(`${tee}.${name}`));
  const evaluations = [tcb.evaluationNumber, qe.evaluationNumber].flatMap((number) => number ?? []);
  const statements = stated
    ? {
        levels: [tcb.platform, tcb.module, qe.level],
        relaunch: tcb.relaunch,
        evaluationNumber: Math.min(...evaluations),
      }
    : { levels: [] };
  const claims = claimsOf(quote, pck, { ...statements, revoked });
  judgeIntelClaims(claims, policy, list);
  return { ...list.result(''), claims };
}

function claimsOf(
  quote: IntelQuote,
  pck: PckPlatform | undefined,
  {
    levels: [own, ...others],
    relaunch,
    evaluationNumber,
    revoked,
  }: {
    levels: readonly (TcbLevel | undefined)[];
    relaunch?: RelaunchStatus | undefined;
    evaluationNumber?: number;
    revoked: boolean;
  },
): IntelClaims {
  const { body } = quote;
  const parts = others.filter((level) => level !== undefined);
  const advisories = [...(own?.advisories ?? []), ...parts.flatMap((level) => level.advisories)];
  return {
    ...(body.tee === 'tdx'
      ? { platform: body.tee, ...tdClaims(body.report) }
      : { platform: body.tee, ...enclaveClaims(body.report) }),
    hardware: true,
    quoteVersion: quote.version,
    qeIsvSvn: quote.qeReport.isvSvn,
    ...(pck === undefined
      ? {}
      : {
          platformId: hex(pck.platformId),
          fmspc: hex(pck.fmspc),
          pceId: hex(pck.pceId),
          pceSvn: pck.pceSvn,
          componentSvns: pck.componentSvns,
        }),
    ...(own === undefined
      ? {}
      : {
          // Whatever its level, a revoked platform is not up to date.
          tcbStatus: revoked
            ? 'Revoked'
            : (relaunch ??
              converge(
                own.status,
                parts.map(({ status }) => status),
              )),
          tcbDate: own.date.toISOString().slice(0, 10),
        }),
    ...(evaluationNumber === undefined ? {} : { evaluationNumber }),
    advisories: [...new Set(advisories)].sort(),
  };
}

/** Each quote by itself; event logs are those of the only TD, which `evidence.event-log` checks. */
export async function judgeQuotes(
  pieces: readonly Piece<IntelQuote>[],
  { given, store, policy, now, roots }: Question,
): Promise<Part[]> {
  const parts: Part[] = [];
  for (const { bytes, parsed } of pieces) {
    const tee = teeOf(bytes);
    const report = await verifyIntelQuote({
      tee,
      quote: parsed,
      collateral: given.intel,
      store: store.intel,
      eventLogs: tee === 'tdx' ? given.eventLogs : [],
      policy,
      now,
      roots: roots?.intel,
    });
    const { claims } = report;
    parts.push({ ...report, cpu: claims && { ...claims, reportData: parsed().body.report.reportData } });
  }
  return parts;
}
