/**
 * Judges a pile of files, whatever they are called: each receipt, proof and evidence document on its own, all raw evidence
 * together, with the policy, manifest, openings, rows and dictionary that lie in the same pile. What `vouch verify` is told
 * by options is found here by content; the verdict itself is the very same function.
 *
 * On the other side is whoever made the files. He names them, and he can put in a policy or a dictionary of his own: which
 * file was taken for what is part of the answer, and only a person can say whether it is his.
 */
import type { Architecture } from '../../circuits/model/architecture.ts';
import { type CircuitSubject, emitCircuit } from '../../circuits/model/circuit.ts';
import { type Dictionary, parseDictionary } from '../../circuits/model/dictionary.ts';
import { recogniseFile } from '../../protocols/any-file.ts';
import { type NamedBytes, sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { BUILT_IN, type Policy, parsePolicy } from '../../protocols/attestation/policy.ts';
import { sha256Hex } from '../../protocols/encoding.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import type { VerifiedManifest } from '../../protocols/manifest.ts';
import { type ParsedReceipt, readReceipt, receiptId } from '../../protocols/receipt.ts';
import type { Judgement } from '../verdict/checks.ts';
import { judge, type Question, readPublished, type Subject } from '../verdict/judge.ts';
import { Kept, knownFrom, manifestFrom, type NamedText, Salts } from '../verdict/kept.ts';
import type { Opinions } from '../verdict/published-proof.ts';
import { type About, type Answers, createAnswers, onlyOne } from './answers.ts';
import { circuitToolchain } from './toolchain.ts';

/** What a person says beside the files. `policy` counts where no file is one; default: strict. */
export type Asked = Partial<Omit<Question, 'collateral' | 'testSet' | 'dictionary'>> & { readonly now: Date };

export interface JudgedFile {
  /** of the file or, of raw evidence, of all its files */
  readonly name: string;
  readonly kind: Subject['kind'];
  readonly judgement: Judgement;
}
export interface Verdicts {
  readonly judged: readonly JudgedFile[];
  /** what every other file was taken for */
  readonly used: readonly { readonly name: string; readonly as: string }[];
  /** files that played no part, and why */
  readonly unused: readonly { readonly name: string; readonly reason: string }[];
}

/** The circuit of architecture and rows, by the templates that this code came with. */
export const circuitDigest = async (architecture: Architecture, subject: CircuitSubject): Promise<string> =>
  emitCircuit(architecture, subject, await circuitToolchain()).digest;

/**
 * Throws `bad-input` when two files want to be the same thing (two policies, dictionaries or test sets), `bad-file` for an
 * opening that is damaged; what is wrong with a receipt, a proof or evidence is its verdict.
 */
export async function judgeFiles(
  files: readonly NamedBytes[],
  asked: Asked,
  opinions: Opinions = { circuitDigest },
): Promise<Verdicts> {
  const pile = sort(files);
  const policy = pile.policy?.value ?? asked.policy ?? BUILT_IN.strict;
  const beside = pile.collateral.length > 0 ? sortFiles(pile.collateral) : sortFiles([]);
  const collateral = { ...beside, digests: new Set(pile.collateral.map(({ bytes }) => sha256Hex(bytes))) };
  const question: Question = { ...asked, policy, collateral, dictionary: pile.dictionary?.value };
  const judged: JudgedFile[] = [];
  for (const { name, subject, about } of subjectsOf(pile)) {
    const judgement = await judge(subject, { ...question, ...about }, opinions);
    judged.push({ name, kind: subject.kind, judgement });
  }
  for (const { name, reason } of pile.answers.left()) pile.unused.push({ name, reason });
  if (pile.evidence.length > 0) {
    const given = sortFiles([...pile.evidence, ...pile.collateral]);
    // All of it is given, so nothing lies in a store.
    const whole = { ...question, collateral: sortFiles([]) };
    judged.push({
      name: pile.evidence.map(({ name }) => name).join(', '),
      kind: 'evidence',
      judgement: await judge({ kind: 'evidence', given }, whole, opinions),
    });
  }
  return { judged, used: pile.used, unused: pile.unused };
}

interface Named<T> {
  readonly name: string;
  readonly value: T;
}

interface Pile {
  readonly receipts: Named<ParsedReceipt>[];
  readonly documents: Named<unknown>[];
  readonly proofs: Named<unknown>[];
  readonly evidence: NamedBytes[];
  readonly collateral: NamedBytes[];
  readonly decisions: (NamedText & { readonly value: Kept })[];
  readonly salts: NamedText[];
  readonly manifests: Named<VerifiedManifest>[];
  policy?: Named<Policy>;
  dictionary?: Named<Dictionary>;
  /** what proofs are about */
  readonly answers: Answers;
  readonly used: { name: string; as: string }[];
  readonly unused: { name: string; reason: string }[];
}

function sort(files: readonly NamedBytes[]): Pile {
  const used: Pile['used'] = [];
  const pile: Pile = {
    answers: createAnswers(used),
    receipts: [],
    documents: [],
    proofs: [],
    evidence: [],
    collateral: [],
    decisions: [],
    salts: [],
    manifests: [],
    used,
    unused: [],
  };
  for (const file of files) {
    const { name, bytes } = file;
    const known = recogniseFile(bytes);
    if (known.kind === 'receipt') pile.receipts.push({ name, value: known.receipt });
    else if (known.kind === 'document') pile.documents.push({ name, value: known.json });
    else if (known.kind === 'json') takeJson(pile, { name, text: textOf(bytes) ?? '' }, known.json);
    else if (known.kind === 'evidence') pile.evidence.push(file);
    else if (known.kind === 'unknown') takeText(pile, file, known.reason);
    else {
      pile.collateral.push(file);
      pile.used.push({ name, as: known.title });
    }
  }
  // Beside what relies on them, reference manifests are collateral; alone they are judged.
  if (pile.receipts.length + pile.documents.length + pile.proofs.length > 0)
    for (const file of pile.evidence.filter(isReference)) {
      pile.evidence.splice(pile.evidence.indexOf(file), 1);
      pile.collateral.push(file);
      pile.used.push({ name: file.name, as: 'reference manifest' });
    }
  return pile;
}

function isReference(file: NamedBytes): boolean {
  const { evidence, machines, manifests } = sortFiles([file]);
  return manifests.length > 0 && evidence.length + machines.length === 0;
}

const has = (json: unknown, ...names: string[]): boolean =>
  typeof json === 'object' && json !== null && names.every((name) => Object.hasOwn(json, name));

function takeJson(pile: Pile, file: NamedText, json: unknown): void {
  const { name } = file;
  const use = (as: string) => pile.used.push({ name, as });
  const kept = Kept.safeParse(json);
  if (has(json, 'record', 'maker')) pile.proofs.push({ name, value: json });
  else if (has(json, 'platforms')) {
    pile.policy = onlyOne('policy', pile.policy, { name, value: named(name, () => parsePolicy(json)) });
    use('policy');
  } else if (has(json, 'manifest', 'signature')) {
    pile.manifests.push({ name, value: manifestFrom(file) });
    use("the model's manifest");
  } else if (kept.success) {
    pile.decisions.push({ ...file, value: kept.data });
    use('application, answer and nonces of a receipt');
  } else if (has(json, 'columns', 'label')) {
    pile.dictionary = onlyOne('dictionary', pile.dictionary, {
      name,
      value: named(name, () => parseDictionary(json)),
    });
    use('data dictionary');
  } else if (Salts.safeParse(json).success) {
    pile.salts.push(file);
    use('salts of a receipt');
  } else pile.answers.takeJson(file, json);
}

/** Any other text may be what a proof is about. */
function takeText(pile: Pile, { name, bytes }: NamedBytes, reason: string): void {
  const text = textOf(bytes);
  if (text === undefined || text.trim() === '' || text.includes('\0')) pile.unused.push({ name, reason });
  else pile.answers.takeText({ name, text });
}

function named<T>(name: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new VouchError('bad-file', `${name}: ${messageOf(error)}`);
  }
}

function textOf(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

interface Asking {
  readonly name: string;
  readonly subject: Subject;
  /** of a proof: what it is to be about */
  readonly about?: About;
}

function subjectsOf(pile: Pile): Asking[] {
  const subjects: Asking[] = [];
  for (const { name, value: receipt } of pile.receipts) {
    const claims = readReceipt(receipt);
    const decision =
      claims && pile.decisions.find(({ value }) => receiptId(claims.enclave, value.nonce) === claims.id);
    const own = pile.salts.find((file) => stem(file.name) === stem(decision?.name ?? name));
    const salts = own ?? (pile.receipts.length === 1 && pile.salts.length === 1 ? pile.salts[0] : undefined);
    const manifest =
      pile.manifests.find(({ value }) => value.digest === claims?.manifest) ?? sole(pile.manifests);
    const known = { ...knownFrom({ decision, salts }), manifest: manifest?.value };
    subjects.push({ name, subject: { kind: 'receipt', receipt, known } });
  }
  for (const { name, value: json } of pile.documents)
    subjects.push({ name, subject: { kind: 'document', json } });
  for (const { name, value } of pile.proofs) {
    const published = readPublished(name, value);
    const { commitment } = published.record.statement;
    const manifest =
      pile.manifests.find((one) => one.value.manifest.commitment === commitment) ?? sole(pile.manifests);
    const about = pile.answers.about(published, pile.dictionary?.value);
    subjects.push({ name, subject: { kind: 'proof', published, manifest: manifest?.value }, about });
  }
  return subjects;
}

const sole = <T>(items: readonly T[]): T | undefined => (items.length === 1 ? items[0] : undefined);
const stem = (name: string): string => name.replace(/^.*\//, '').replace(/\.[^.]*$/, '');
