/**
 * Intel's signed statements about a quote: the TCB info of its platform and the identity of its quoting enclave.
 * Each has to be signed by "Intel SGX TCB Signing", whom the root certifies, over its exact bytes, be current, and
 * describe what is in the quote at a level that the policy accepts.
 */
import { equal, fromHex, hex, utf8 } from '../../encoding.ts';
import { VouchError } from '../../errors.ts';
import { type Certificate, readChain } from '../certificate.ts';
import { recordChain } from '../chain.ts';
import { verifyEcdsa } from '../signature.ts';
import {
  parseQeIdentity,
  parseTcbInfo,
  type QeIdentity,
  type SignedText,
  type TcbInfo,
  type TcbStatus,
} from './intel-collateral.ts';
import { asEvidence, chainOf, type IntelContext } from './intel-keys.ts';
import type { PckPlatform } from './intel-pck.ts';
import type { IntelQuote } from './intel-quote.ts';
import {
  converge,
  matchModule,
  platformLevel,
  qeLevel,
  qeMismatches,
  type RelaunchStatus,
  relaunchStatus,
  type TcbLevel,
} from './intel-tcb.ts';

const SIGNER_NAME = 'Intel SGX TCB Signing';
const DAY_MS = 86_400_000;
/** What a status was before a better level was published. */
const IN_TIME: Readonly<Partial<Record<TcbStatus, TcbStatus>>> = {
  OutOfDate: 'UpToDate',
  OutOfDateConfigurationNeeded: 'ConfigurationNeeded',
};

interface Statement<T> {
  readonly signed: SignedText;
  readonly content: T;
  /** of the key that signed it; undefined when it is none that is at hand */
  readonly signer: Certificate | undefined;
}

/** At which levels the platform and its TDX module are. `qe`: at which the quoting enclave is. */
export async function checkTcbInfo(
  quote: IntelQuote,
  pck: PckPlatform | undefined,
  qe: TcbLevel | undefined,
  context: IntelContext,
): Promise<{
  platform?: TcbLevel | undefined;
  module?: TcbLevel | undefined;
  relaunch?: RelaunchStatus | undefined;
  evaluationNumber?: number;
}> {
  const { tee, record, collateral } = context;
  const id = tee === 'tdx' ? 'TDX' : 'SGX';
  const chosen = await choose(
    [collateral.tcbInfos, context.store.tcbInfos],
    parseTcbInfo,
    (info) => info.id === id && (pck === undefined || equal(info.fmspc, pck.fmspc)),
    context,
    'tcb-info-signature',
    'TCB info',
  );
  if (chosen === undefined) return {};
  const { content: info } = chosen;
  await checkStatement(chosen, 'tcb-signing-chain', 'tcb-info', 'tcb-evaluation', context);
  const { tcbEvaluationDataNumber: evaluationNumber } = info;
  if (pck === undefined) return { evaluationNumber };
  const fits = info.id === id && equal(info.fmspc, pck.fmspc) && equal(info.pceId, pck.pceId);
  const found = `${info.id} ${hex(info.fmspc)}, PCE id ${hex(info.pceId)}`;
  record(
    `${tee}.tcb-info-platform`,
    fits,
    'evidence-rejected',
    fits ? found : `expected ${id} ${hex(pck.fmspc)}, PCE id ${hex(pck.pceId)}, got ${found}`,
  );
  if (!fits) return { evaluationNumber };
  const td = quote.body.tee === 'tdx' ? quote.body.report : undefined;
  const level = platformLevel(info, pck, td);
  checkTcbDate(level, context);
  if (td === undefined) {
    checkLevel(`${tee}.tcb-level`, level, undefined, context);
    return { platform: level, evaluationNumber };
  }

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
    checkLevel('tdx.tcb-level', level, undefined, context);
    record('tdx.module-tcb-level', true, 'policy-rejected', 'part of the TCB level before TDX 1.5');
    return { platform: level, evaluationNumber };
  }
  const relaunch = relaunchStatus(info, pck, td, { level, module: module?.level, qe });
  checkLevel('tdx.tcb-level', level, relaunch, context);
  checkLevel('tdx.module-tcb-level', module?.level, relaunch, context);
  return { platform: level, module: module?.level, relaunch, evaluationNumber };
}

export async function checkQeIdentity(
  quote: IntelQuote,
  context: IntelContext,
): Promise<{ level?: TcbLevel | undefined; evaluationNumber?: number }> {
  const { tee, record, collateral } = context;
  const id = tee === 'tdx' ? 'TD_QE' : 'QE';
  const chosen = await choose(
    [collateral.qeIdentities, context.store.qeIdentities],
    parseQeIdentity,
    (identity) => identity.id === id,
    context,
    'qe-identity-signature',
    'QE identity',
  );
  if (chosen === undefined) return {};
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
  checkLevel(`${tee}.qe-tcb-level`, level, undefined, context);
  return { level, evaluationNumber: identity.tcbEvaluationDataNumber };
}

/**
 * The statement to use: of those given, then of those in store, one that is signed, fits and is current, with the highest
 * evaluation number and then the latest; else what comes nearest, whose checks then say why not. All that are given have
 * to be signed, whichever is used, so that the order in which they came decides nothing.
 */
async function choose<T extends TcbInfo | QeIdentity>(
  [given, stored]: readonly [readonly SignedText[], readonly SignedText[]],
  read: (text: string) => T,
  fits: (content: T) => boolean,
  context: IntelContext,
  check: string,
  what: string,
): Promise<Statement<T> | undefined> {
  const { tee, record, now } = context;
  let fault: string | undefined;
  const ranked: (Statement<T> & { readonly score: readonly number[]; readonly wasGiven: boolean })[] = [];
  for (const [i, signed] of [...given, ...stored].entries()) {
    const wasGiven = i < given.length;
    try {
      const content = read(signed.text);
      const signer = await signerOf(signed, context);
      const score = [
        Number(fits(content)),
        Number(wasGiven),
        Number(signer !== undefined),
        Number(content.issueDate <= now && now <= content.nextUpdate),
        content.tcbEvaluationDataNumber,
        content.issueDate.getTime(),
      ];
      ranked.push({ signed, content, signer, score, wasGiven });
    } catch (error) {
      // What was given and cannot be read is not made good by what is in store.
      if (wasGiven) fault = asEvidence(error);
      else if (!(error instanceof VouchError)) throw error;
    }
  }
  const [best, ...others] = ranked.sort((a, b) => {
    const at = a.score.findIndex((value, i) => value !== b.score[i]);
    return at < 0 ? compareTexts(a.signed, b.signed) : b.score[at]! - a.score[at]!;
  });
  if (best === undefined || fault !== undefined) {
    record(`${tee}.${check}`, false, 'evidence-rejected', fault ?? `no ${what} at hand`);
  }
  if (others.some(({ wasGiven, signer }) => wasGiven && signer === undefined)) {
    record(
      `${tee}.${check}`,
      false,
      'signature-rejected',
      `another ${what} given is not signed by ${SIGNER_NAME}`,
    );
  }
  return fault === undefined ? best : undefined;
}

const compareTexts = (a: SignedText, b: SignedText): number => {
  const [one, other] = [a, b].map(({ text, signature, chain }) => `${text}\0${signature}\0${chain ?? ''}`);
  return one! < other! ? -1 : Number(one! > other!);
};

/** The certificate by whose key a statement is signed, where it is Intel's signer's; undefined for any other. */
async function signerOf(signed: SignedText, context: IntelContext): Promise<Certificate | undefined> {
  const signature = /^[0-9A-Fa-f]{128}$/.test(signed.signature)
    ? fromHex(signed.signature.toLowerCase())
    : new Uint8Array(0);
  for (const { leaf, others } of signersOf(signed, context)) {
    if (leaf.subjectName !== SIGNER_NAME) continue;
    if (!(await verifyEcdsa(leaf.key, 'SHA-256', signature, utf8(signed.text)))) continue;
    const { checks } = await chainOf([leaf, ...others], context);
    if (checks.every(({ name, status }) => name !== 'path' || status === 'pass')) return leaf;
  }
  return undefined;
}

/** Who may have signed a statement: the one that its own chain names, else every signer at hand, the current first. */
function signersOf(
  { chain }: SignedText,
  { pool, roots, now }: IntelContext,
): { leaf: Certificate; others: readonly Certificate[] }[] {
  if (chain !== undefined) {
    try {
      const [leaf, ...others] = readChain(chain, 'issuer chain');
      return leaf === undefined ? [] : [{ leaf, others }];
    } catch (error) {
      // Recorded where the statement's signer is checked.
      if (!(error instanceof VouchError)) throw error;
      return [];
    }
  }
  const others = pool().filter(({ fingerprint }) => roots.includes(fingerprint));
  const isCurrent = ({ notBefore, notAfter }: Certificate) => notBefore <= now && now <= notAfter;
  return pool()
    .filter(({ subjectName }) => subjectName === SIGNER_NAME)
    .sort((a, b) => Number(isCurrent(b)) - Number(isCurrent(a)) || (a.fingerprint < b.fingerprint ? -1 : 1))
    .map((leaf) => ({ leaf, others }));
}

/** Signature by "Intel SGX TCB Signing", whom the root certifies, dates and evaluation number. */
async function checkStatement(
  { signed, content, signer: known }: Statement<TcbInfo | QeIdentity>,
  chainName: string,
  name: string,
  evaluation: string,
  context: IntelContext,
): Promise<void> {
  const { tee, record, now, policy } = context;
  const signer = await checkSigner(signed, known, `${tee}.${chainName}`, context);
  if (signer !== undefined) {
    const signature = /^[0-9A-Fa-f]{128}$/.test(signed.signature)
      ? fromHex(signed.signature.toLowerCase())
      : new Uint8Array(0);
    const holds = await verifyEcdsa(signer.key, 'SHA-256', signature, utf8(signed.text));
    record(
      `${tee}.${name}-signature`,
      holds,
      'signature-rejected',
      `${holds ? '' : 'not '}signed by ${SIGNER_NAME}`,
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
  signed: SignedText,
  known: Certificate | undefined,
  prefix: string,
  context: IntelContext,
): Promise<Certificate | undefined> {
  const { record } = context;
  if (signed.chain !== undefined) {
    try {
      readChain(signed.chain, 'issuer chain');
    } catch (error) {
      record(prefix, false, 'evidence-rejected', asEvidence(error));
      return undefined;
    }
  }
  const signers = signersOf(signed, context);
  const found = signers.find(({ leaf }) => leaf.fingerprint === known?.fingerprint) ?? signers[0];
  if (found === undefined) {
    record(prefix, false, 'evidence-rejected', `no certificate of ${SIGNER_NAME} at hand`);
    return undefined;
  }
  const { leaf, others } = found;
  const report = await chainOf([leaf, ...others], context);
  recordChain(report, prefix, record);
  if (leaf.subjectName !== SIGNER_NAME || report.path.length !== 2) {
    record(
      prefix,
      false,
      'evidence-rejected',
      `expected ${SIGNER_NAME} by the root, got ${leaf.subjectName}`,
    );
  }
  return leaf;
}

function checkTcbDate(level: TcbLevel | undefined, { tee, policy, record }: IntelContext): void {
  const least = policy.intel.minimumTcbDate;
  if (least === undefined) return;
  const date = level?.date.toISOString().slice(0, 10) ?? 'no level';
  // Dates of this form are in order as text.
  const recent = level !== undefined && date >= least;
  record(`${tee}.tcb-date`, recent, 'policy-rejected', `level of ${date}, at least ${least} demanded`);
}

/** What counts where a better level came up less than the policy's days ago; otherwise the status itself. */
function inGrace({ status, superseded }: TcbLevel, { policy: { intel }, now }: IntelContext): TcbStatus {
  const graceful =
    intel.graceDays > 0 &&
    superseded !== undefined &&
    now.getTime() - superseded.getTime() <= intel.graceDays * DAY_MS;
  return graceful ? (IN_TIME[status] ?? status) : status;
}

const isTaken = (level: TcbLevel, relaunch: RelaunchStatus | undefined, context: IntelContext): boolean => {
  const statuses: readonly string[] = context.policy.intel.tcbStatuses;
  return [level.status, inGrace(level, context), relaunch].some((one) => one && statuses.includes(one));
};

/** `relaunch`: what the level counts as where the policy takes TDs that should be relaunched. */
function checkLevel(
  id: string,
  level: TcbLevel | undefined,
  relaunch: RelaunchStatus | undefined,
  context: IntelContext,
): void {
  const { record, policy } = context;
  if (level === undefined) {
    record(id, false, 'evidence-rejected', 'no TCB level: some SVN is below every level that Intel lists');
    return;
  }
  const { intel } = policy;
  const { status, superseded, advisories } = level;
  const since = superseded ?? level.date;
  const allowed = isTaken(level, relaunch, context);
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

/**
 * The one status of the platform with its module and quoting enclave, which the policy has to take as well: two parts
 * that it takes can make a status that it does not.
 */
export function checkStatus(
  { platform, module, qe, relaunch }: Levels & { readonly relaunch?: RelaunchStatus | undefined },
  context: IntelContext,
): void {
  if (platform === undefined) return;
  const { tee, policy, record } = context;
  const parts = [module, qe].filter((level) => level !== undefined);
  // Where one of them is refused, that is said once.
  const refused = ![platform, ...parts].every((level) =>
    isTaken(level, level === qe ? undefined : relaunch, context),
  );
  if (refused) return;
  const together = (of: (level: TcbLevel) => TcbStatus) => converge(of(platform), parts.map(of));
  const status = relaunch ?? together((level) => level.status);
  const statuses: readonly string[] = policy.intel.tcbStatuses;
  const counting = [status, together((level) => level.status), together((level) => inGrace(level, context))];
  const allowed = counting.some((one) => statuses.includes(one));
  record(`${tee}.tcb-status`, allowed, 'policy-rejected', `${status}, together`);
}

/** At which levels a platform's parts are. */
export interface Levels {
  readonly platform?: TcbLevel | undefined;
  readonly module?: TcbLevel | undefined;
  readonly qe?: TcbLevel | undefined;
}
