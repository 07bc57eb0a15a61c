/**
 * One verdict over all evidence among some files: each piece is verified by its own format with what belongs to it
 * (the files given, and a folder of collateral for what they lack), machine by machine, and every piece has to be
 * accepted.
 *
 * Not guaranteed: that the pieces come from one machine, and that a CPU's evidence was made for this verifier, unless the
 * policy names its report data. Both are said by a row of their own. Binding is an evidence document's matter.
 */

import { fromHex, hex } from '../encoding.ts';
import { type BoundFacts, type FactValues, RECIPES, type Recipe } from './binding-recipes.ts';
import type { Check, Verdict } from './checklist.ts';
import { type Collateral, contradictedPcr } from './collateral.ts';
import type { SortedFiles } from './evidence-files.ts';
import { judgeEndorsements } from './firmware-endorsement.ts';
import { areOfOneTd } from './formats/eventlog.ts';
import type { Comparison, GuestState, Part, VendorRoots } from './formats/format.ts';
import { isGpuClaims } from './formats/nvidia-claims.ts';
import { formatNamed, judgeAll } from './formats/registry.ts';
import { answers, checkBinding, checkRuntimes, machinesOf } from './machines.ts';
import { judgeOpinions } from './nras.ts';
import type { EvidencePolicy } from './policy.ts';
import { judgeProvenance } from './provenance.ts';

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
  /** by which rule the CPU's report data has to bind what; what is left out comes from the file of the evidence */
  readonly binding?: BoundFacts | undefined;
  /** what the guest says of its GPUs; as good as the guest's own evidence */
  readonly guest?: GuestState | undefined;
  /** the vendors' own unless others are to be trusted, which tests alone do */
  readonly roots?: VendorRoots | undefined;
}

/** Judges all evidence among the files; every piece must be accepted, and every file must be known. */
export async function judgeEvidence(question: EvidenceQuestion): Promise<Judgement> {
  const machines = machinesOf(question.given);
  const judged: Judgement[] = [];
  for (const { name, files } of machines) {
    const alone = machines.length === 1;
    const { verdict, checks, claims } = await judgeMachine({ ...question, given: files }, alone);
    const named = (one: Check): Check => (name === '' ? one : { ...one, detail: `${name}: ${one.detail}` });
    judged.push({ verdict, checks: checks.map(named), claims });
  }
  const claims = judged.map((one) => one.claims);
  return {
    verdict: judged.every(({ verdict }) => verdict === 'accept') ? 'accept' : 'reject',
    checks: judged.flatMap(({ checks }) => checks),
    claims: claims.length > 1 ? claims : (claims[0] ?? null),
  };
}

/** `alone`: whether all files are about this machine. */
async function judgeMachine(question: EvidenceQuestion, alone: boolean): Promise<Judgement> {
  const { given, store, policy, now, roots } = question;
  const { evidence } = given;
  const bindings = bindingsOf(question);
  const facts: FactValues = Object.assign({}, ...bindings.map(({ values }) => values));
  // A nonce that the CPU's report data binds is as good for devices as one that the verifier sent.
  const nonce = question.nonce ?? (facts.nonce && hex(facts.nonce));
  const withCpu = evidence.some(({ format }) => formatNamed(format)?.signedBy === 'cpu');
  const signed = await judgeAll(evidence, { ...question, nonce, withCpu });
  const parts = await withStatements(signed, { given, store, policy, now, roots }, alone);
  const asked = question.nonce === undefined ? undefined : fromHex(question.nonce);
  const claims = parts.flatMap((part) => part.claims ?? []);
  const files = [
    ...checkFiles(question, facts),
    ...bindings.map((binding) => checkBinding(parts, binding)),
    ...checkRuntimes(parts, { given, policy: question.policy, nonce: asked }),
    ...(await checkOpinions(question, claims)),
  ];
  return {
    verdict:
      parts.every(({ verdict }) => verdict === 'accept') && files.every(({ status }) => status !== 'fail')
        ? 'accept'
        : 'reject',
    checks: [...files, ...parts.flatMap(({ checks }) => checks)],
    claims: claims.length > 1 ? claims : (claims[0] ?? null),
  };
}

/**
 * Adds what others say of what was measured, which stands with the claims of the CPU that measured it. Each CPU by itself:
 * what is said of one makes up for nothing in another that lies beside it.
 */
async function withStatements(
  parts: readonly Part[],
  {
    given,
    store,
    policy,
    now,
    roots,
  }: Pick<EvidenceQuestion, 'given' | 'store' | 'policy' | 'now' | 'roots'>,
  alone: boolean,
): Promise<Part[]> {
  const measuring = parts.filter(({ cpu }) => cpu !== undefined);
  const about = { given, store, now, alone: alone && measuring.length < 2 };
  const judged: Part[] = [];
  for (const part of measuring.length > 0 ? measuring : [undefined]) {
    const own = part === undefined ? [] : [part];
    const cpus = own.flatMap(({ cpu }) => cpu ?? []);
    const endorsed = await judgeEndorsements({ ...about, cpus, policy: policy.gce, roots: roots?.gce });
    const stated = await judgeProvenance({
      ...about,
      parts: own,
      policy: policy.provenance,
      pins: roots?.provenance,
    });
    if (part?.claims !== undefined) {
      const claims = {
        ...part.claims,
        ...(endorsed?.claims === undefined ? {} : { endorsement: endorsed.claims }),
        ...(stated === undefined || stated.claims.length === 0 ? {} : { provenance: stated.claims }),
      };
      judged.push({ ...part, claims });
    } else if (part !== undefined) judged.push(part);
    for (const one of [endorsed, stated]) {
      if (one !== undefined) judged.push({ verdict: one.verdict, checks: one.checks });
    }
  }
  return [...judged, ...parts.filter(({ cpu }) => cpu === undefined)];
}

/** The rule that the verifier names and that of the file: his values count before the file's, his nonce before all. */
function bindingsOf({ given, binding, nonce }: EvidenceQuestion): BoundFacts[] {
  const recipes = new Set([binding?.recipe, given.facts?.recipe].filter((name) => name !== undefined));
  const [key] = given.keys;
  return [...recipes].map((recipe) => {
    const { needs, may = [] }: Recipe = RECIPES[recipe];
    const all: FactValues = {
      ...(key === undefined || given.keys.length > 1 ? {} : { key: key.spki }),
      ...(given.facts?.recipe === recipe ? given.facts.values : {}),
      ...(binding?.recipe === recipe ? binding.values : {}),
      ...(nonce === undefined ? {} : { nonce: fromHex(nonce) }),
    };
    const named = new Set<string>([...needs, ...may]);
    return { recipe, values: Object.fromEntries(Object.entries(all).filter(([name]) => named.has(name))) };
  });
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
function checkFiles(question: EvidenceQuestion, facts: FactValues): Check[] {
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
    const fits = tds === 1 && areOfOneTd(eventLogs);
    const fault = `expected one TDX quote and its event log, got ${tds} and ${eventLogs.length}`;
    checks.push(check('evidence.event-log', fits ? undefined : fault, 'compared with the TDX quote'));
  }
  checks.push(...checkNonce(question, facts), ...checkBound(question, facts));
  const contradicted = comparedWith('pcrs') > 1 ? undefined : contradictedPcr(given);
  if (contradicted !== undefined) {
    checks.push(check('evidence.pcrs', `two files say different things of PCR ${contradicted}`, ''));
  }
  if (pcrs.length > 0 && comparedWith('pcrs') === 0) {
    checks.push(check('evidence.pcrs', 'PCR values were given, and no quote of them', ''));
  }
  return checks;
}

/** Which pieces answer a nonce, and which of these have to; a vTPM that a CPU vouches for is as fresh as the CPU. */
function checkNonce({ given, nonce, policy, binding }: EvidenceQuestion, facts: FactValues): Check[] {
  const id = 'evidence.nonce';
  // What has to answer the CPU's evidence needs no nonce.
  const asked = given.evidence.filter(({ answers }) => answers === undefined);
  const rows = asked.flatMap(({ format }) => formatNamed(format) ?? []);
  const answering = rows.filter(({ comparedWith }) => comparedWith.includes('nonce'));
  const vouched = given.runtimes.length > 0;
  const demanding = answering.filter(
    ({ signedBy, age }) => age === undefined && !(vouched && signedBy === 'tpm'),
  );
  const bound =
    facts.nonce !== undefined ||
    (nonce !== undefined &&
      given.runtimes.some(({ userData }) => userData !== undefined && answers(userData, fromHex(nonce))));
  if (nonce !== undefined && answering.length === 0 && !bound) {
    return [check(id, 'a nonce was given, and nothing in the evidence to answer it', '')];
  }
  if (nonce === undefined && demanding.length > 0 && !bound) {
    return [check(id, 'the evidence answers a nonce, and it was not said which: name it with --nonce', '')];
  }
  const silent = rows.some(
    ({ signedBy, comparedWith }) => signedBy === 'cpu' && !comparedWith.includes('nonce'),
  );
  // What a file says of itself is no comparison: the verifier's own values are, or a vTPM that has a row of its own.
  const compared = policy.reportData ?? binding ?? (nonce !== undefined && bound ? nonce : undefined);
  if (!silent || compared !== undefined || (vouched && answering.length > 0)) return [];
  const only = answering.length > 0 ? 'only GPUs and TPMs answer the nonce: ' : '';
  const against = given.facts === undefined && !vouched ? 'nothing' : 'what came with it alone';
  const what = `the report data of the CPU's evidence was compared with ${against}`;
  return [skipped(id, `${only}${what}; a policy may name it as reportData`)];
}

/** Pieces that are judged side by side and might be of several machines: those that no CPU binds. */
function checkBound({ given }: EvidenceQuestion, facts: FactValues): Check[] {
  const devices = facts.gpuEvidence !== undefined || facts.deviceEvidence !== undefined;
  const signers = given.evidence
    .filter(({ answers }) => answers === undefined)
    .flatMap(({ format }) => formatNamed(format)?.signedBy ?? [])
    .filter((signer) => !(signer === 'tpm' && given.runtimes.length > 0))
    .filter((signer) => !((signer === 'gpu' || signer === 'switch') && devices));
  const cpus = signers.filter((signer) => signer === 'cpu').length;
  if (cpus < 2 && new Set(signers.map((signer) => (signer === 'switch' ? 'gpu' : signer))).size < 2)
    return [];
  return [
    skipped(
      'evidence.bound',
      `${given.evidence.length} pieces judged side by side: files do not say whether they are of one machine, an evidence document does`,
    ),
  ];
}
