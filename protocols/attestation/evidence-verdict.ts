/**
 * One verdict over all evidence among some files: each piece is verified by its own format with what belongs to it
 * (the files given, and a folder of collateral for what they lack), and every piece has to be accepted.
 *
 * Not guaranteed: that the pieces come from one machine, and that a CPU's evidence was made for this verifier, unless the
 * policy names its report data. Both are said by a row of their own. Binding is an evidence document's matter.
 */

import type { Check, Verdict } from './checklist.ts';
import { type Collateral, contradictedPcr } from './collateral.ts';
import type { SortedFiles } from './evidence-files.ts';
import type { Comparison, GuestState, VendorRoots } from './formats/format.ts';
import { isGpuClaims } from './formats/nvidia-claims.ts';
import { formatNamed, judgeAll } from './formats/registry.ts';
import { judgeOpinions } from './nras.ts';
import type { EvidencePolicy } from './policy.ts';

export interface Judgement {
  readonly verdict: Verdict;
  readonly checks: readonly Check[];
  /** what the evidence says; a list where there is more than one piece */
  readonly claims: unknown;
}

export interface EvidenceQuestion {
  readonly given: SortedFiles;
  readonly store: Collateral & Partial<Pick<SortedFiles, 'serviceKeys'>>;
  readonly policy: EvidencePolicy;
  readonly now: Date;
  /** what GPUs have to answer, lower-case hex */
  readonly nonce?: string | undefined;
  /** what the guest says of its GPUs; as good as the guest's own evidence */
  readonly guest?: GuestState | undefined;
  /** the vendors' own unless others are to be trusted, which tests alone do */
  readonly roots?: VendorRoots | undefined;
}

/** Judges all evidence among the files; every piece must be accepted, and every file must be known. */
export async function judgeEvidence(question: EvidenceQuestion): Promise<Judgement> {
  const { evidence } = question.given;
  const withCpu = evidence.some(({ format }) => formatNamed(format)?.signedBy === 'cpu');
  const parts = await judgeAll(evidence, { ...question, withCpu });
  const claims = parts.flatMap((part) => part.claims ?? []);
  const files = [...checkFiles(question), ...(await checkOpinions(question, claims))];
  return {
    verdict:
      parts.every(({ verdict }) => verdict === 'accept') && files.every(({ status }) => status !== 'fail')
        ? 'accept'
        : 'reject',
    checks: [...files, ...parts.flatMap(({ checks }) => checks)],
    claims: claims.length > 1 ? claims : (claims[0] ?? null),
  };
}

/** What NVIDIA's service found, beside the reports that were judged here. */
function checkOpinions(
  { given, store, policy, now }: EvidenceQuestion,
  claims: readonly unknown[],
): Promise<readonly Check[]> {
  const gpus = claims.filter(isGpuClaims);
  const demanded = policy.gpu?.secondOpinionKeys;
  const keys = [...given.serviceKeys, ...(store.serviceKeys ?? [])];
  return judgeOpinions({ opinions: given.opinions, keys, demanded, gpus, now });
}

const skipped = (id: string, detail: string): Check => ({ id, status: 'skipped', detail });

const check = (id: string, fault: string | undefined, done: string): Check =>
  fault === undefined
    ? { id, status: 'pass', detail: done }
    : { id, status: 'fail', code: 'evidence-rejected', detail: fault };

/** What concerns the files as a whole. */
function checkFiles(question: EvidenceQuestion): Check[] {
  const { given } = question;
  const { evidence, manifests, eventLogs, pcrs, unknown } = given;
  const comparedWith = (what: Comparison): number =>
    evidence.filter(({ format }) => formatNamed(format)?.comparedWith.includes(what)).length;
  const count = evidence.length + manifests.length;
  const checks = [
    check(
      'evidence.files',
      unknown.length > 0 ? unknown.map(({ name, reason }) => `${name}: ${reason}`).join('; ') : undefined,
      'every file is known by its content',
    ),
    check('evidence.present', count === 0 ? 'no evidence among the files' : undefined, `${count} found`),
  ];
  if (eventLogs.length > 0) {
    const tds = comparedWith('event log');
    const fits = tds === 1 && eventLogs.length === 1;
    const fault = `expected one TDX quote and one event log, got ${tds} and ${eventLogs.length}`;
    checks.push(check('evidence.event-log', fits ? undefined : fault, 'compared with the TDX quote'));
  }
  checks.push(...checkNonce(question, comparedWith('nonce')), ...checkBound(evidence));
  const contradicted = contradictedPcr(given);
  if (contradicted !== undefined) {
    checks.push(check('evidence.pcrs', `two files say different things of PCR ${contradicted}`, ''));
  }
  if (pcrs.length > 0 && comparedWith('pcrs') === 0) {
    checks.push(check('evidence.pcrs', 'PCR values were given, and no quote of them', ''));
  }
  return checks;
}

/** `answering`: pieces of evidence that answer a nonce. */
function checkNonce({ given, nonce, policy }: EvidenceQuestion, answering: number): Check[] {
  const id = 'evidence.nonce';
  const cpus = given.evidence.filter(({ format }) => formatNamed(format)?.signedBy === 'cpu').length;
  if (nonce !== undefined && answering === 0) {
    return [check(id, 'a nonce was given, and no GPU or TPM evidence to answer it', '')];
  }
  if (nonce === undefined && answering > 0) {
    return [check(id, 'the evidence answers a nonce, and it was not said which: name it with --nonce', '')];
  }
  if (cpus === 0 || policy.reportData !== undefined) return [];
  const only = answering > 0 ? 'only GPUs and TPMs answer the nonce: ' : '';
  const what = "the report data of the CPU's evidence was compared with nothing";
  return [skipped(id, `${only}${what}; a policy may name it as reportData`)];
}

/** Pieces that are judged side by side and might be of several machines. */
function checkBound(evidence: SortedFiles['evidence']): Check[] {
  const signers = evidence.map(({ format }) => formatNamed(format)?.signedBy);
  const cpus = signers.filter((signer) => signer === 'cpu').length;
  if (cpus < 2 && new Set(signers.map((signer) => (signer === 'switch' ? 'gpu' : signer))).size < 2)
    return [];
  return [
    skipped(
      'evidence.bound',
      `${evidence.length} pieces judged side by side: files do not say whether they are of one machine, an evidence document does`,
    ),
  ];
}
