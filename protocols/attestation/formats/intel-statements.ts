/**
 * Intel's signed statements about a quote: the TCB info of its platform and the identity of its quoting enclave.
 * Each has to be signed by "Intel SGX TCB Signing", whom the root certifies, over its exact bytes, be current, and
 * describe what is in the quote at a level that the policy accepts.
 */
import { equal, fromHex, hex, utf8 } from '../../encoding.ts';
import { type Certificate, readChain } from '../certificate.ts';
import { recordChain } from '../chain.ts';
import type { Demands } from '../demands.ts';
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
import { matchModule, platformLevel, qeLevel, qeMismatches, type TcbLevel } from './intel-tcb.ts';

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
}

export async function checkTcbInfo(
  quote: IntelQuote,
  pck: PckPlatform | undefined,
  context: IntelContext,
): Promise<{
  platform?: TcbLevel | undefined;
  module?: TcbLevel | undefined;
  evaluationNumber?: number;
}> {
  const { tee, record, collateral, policy } = context;
  const id = tee === 'tdx' ? 'TDX' : 'SGX';
  const chosen = choose(
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
  checkLevel(`${tee}.tcb-level`, level, policy, context);
  if (td === undefined) return { platform: level, evaluationNumber };

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
    return { platform: level, evaluationNumber };
  }
  checkLevel('tdx.module-tcb-level', module?.level, policy, context);
  return { platform: level, module: module?.level, evaluationNumber };
}

export async function checkQeIdentity(
  quote: IntelQuote,
  context: IntelContext,
): Promise<{ level?: TcbLevel | undefined; evaluationNumber?: number }> {
  const { tee, record, collateral, policy } = context;
  const id = tee === 'tdx' ? 'TD_QE' : 'QE';
  const chosen = choose(
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
  checkLevel(`${tee}.qe-tcb-level`, level, policy, context);
  return { level, evaluationNumber: identity.tcbEvaluationDataNumber };
}

/**
 * The statement to use: of those given, then of those in store, one that fits and is current, with the highest
 * evaluation number and then the latest; else one that at least fits; else any, whose checks then say why not.
 */
function choose<T extends TcbInfo | QeIdentity>(
  [given, stored]: readonly [readonly SignedText[], readonly SignedText[]],
  read: (text: string) => T,
  fits: (content: T) => boolean,
  { tee, record, now }: IntelContext,
  check: string,
  what: string,
): Statement<T> | undefined {
  let fault: string | undefined;
  const statements = [...given, ...stored].flatMap((signed, i) => {
    try {
      const content = read(signed.text);
      const score = [
        Number(fits(content)),
        Number(i < given.length),
        Number(content.issueDate <= now && now <= content.nextUpdate),
        content.tcbEvaluationDataNumber,
        content.issueDate.getTime(),
      ];
      return [{ signed, content, score }];
    } catch (error) {
      // What was given and cannot be read is not made good by what is in store.
      if (i < given.length) fault = asEvidence(error);
      return [];
    }
  });
  const [best] = statements.sort((a, b) => {
    const at = a.score.findIndex((value, i) => value !== b.score[i]);
    return at < 0 ? 0 : b.score[at]! - a.score[at]!;
  });
  if (best === undefined || fault !== undefined) {
    record(`${tee}.${check}`, false, 'evidence-rejected', fault ?? `no ${what} at hand`);
  }
  return fault === undefined ? best : undefined;
}

/** Signature by "Intel SGX TCB Signing", whom the root certifies, dates and evaluation number. */
async function checkStatement(
  { signed, content }: Statement<TcbInfo | QeIdentity>,
  chainName: string,
  name: string,
  evaluation: string,
  context: IntelContext,
): Promise<void> {
  const { tee, record, now, policy } = context;
  const signer = await checkSigner(signed, `${tee}.${chainName}`, context);
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
  { chain }: SignedText,
  prefix: string,
  context: IntelContext,
): Promise<Certificate | undefined> {
  const { record, pool, now, roots } = context;
  let leaf: Certificate | undefined;
  let others: readonly Certificate[];
  if (chain === undefined) {
    const signers = pool().filter(({ subjectName }) => subjectName === SIGNER_NAME);
    const current = signers.find(({ notBefore, notAfter }) => notBefore <= now && now <= notAfter);
    leaf = current ?? signers[0];
    others = pool().filter(({ fingerprint }) => roots.includes(fingerprint));
  } else {
    try {
      [leaf, ...others] = readChain(chain, 'issuer chain');
    } catch (error) {
      record(prefix, false, 'evidence-rejected', asEvidence(error));
      return undefined;
    }
  }
  if (leaf === undefined) {
    record(prefix, false, 'evidence-rejected', `no certificate of ${SIGNER_NAME} at hand`);
    return undefined;
  }
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

function checkLevel(
  id: string,
  level: TcbLevel | undefined,
  { intel }: Demands,
  { record, now }: IntelContext,
): void {
  if (level === undefined) {
    record(id, false, 'evidence-rejected', 'no TCB level: some SVN is below every level that Intel lists');
    return;
  }
  const { status, superseded, advisories } = level;
  const since = superseded ?? level.date;
  const statuses: readonly TcbStatus[] = intel.tcbStatuses;
  const graceful =
    intel.graceDays > 0 &&
    superseded !== undefined &&
    now.getTime() - superseded.getTime() <= intel.graceDays * DAY_MS;
  const allowed = statuses.includes(status) || (graceful && statuses.includes(IN_TIME[status] ?? status));
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
