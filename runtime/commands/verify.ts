/**
 * `vouch verify`: judges whatever Vouch makes or reads, offline: a receipt, a folder of kept decisions, a published proof,
 * an evidence document, raw evidence. With nothing but the file, a policy and, for evidence of hardware, a folder of
 * collateral; and says every check, and what was not checked.
 */
import path from 'node:path';
import type { Command } from '@commander-js/extra-typings';
import type { Architecture } from '../../circuits/model/architecture.ts';
import type { Dictionary } from '../../circuits/model/dictionary.ts';
import { readRowSalt } from '../../circuits/model/row.ts';
import type { TestSet } from '../../circuits/model/test-set.ts';
import { recogniseFile } from '../../protocols/any-file.ts';
import { BUILT_IN, type Policy, policyDigest } from '../../protocols/attestation/policy.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { Statement } from '../../protocols/proof.ts';
import { type ParsedReceipt, parseReceipt, readReceipt } from '../../protocols/receipt.ts';
import { keptReceipts, readKept, readManifestFile, tiedByHand } from '../client/decisions.ts';
import { readFeatures, statedOutputs } from '../client/inference-proof.ts';
import { rememberedVendor } from '../client/pins.ts';
import { OWN_OPINIONS } from '../client/quality-proof.ts';
import { isFolder, readIfThere, readNamed, readTextIfThere } from '../home/files.ts';
import { folder } from '../home/home.ts';
import { findPolicy, type PolicyName, readPolicy } from '../installation/policies.ts';
import { answered } from '../models/answers.ts';
import { dictionaryOf, readDictionary, readRows, testSetOf } from '../models/test-sets.ts';
import { readLogFile } from '../models/vendor-log.ts';
import { closeSnarkjs } from '../prove/snarkjs.ts';
import { type Judgement, skippedChecks } from '../verdict/checks.ts';
import { judge, type Question, readPublished } from '../verdict/judge.ts';
import type { Known } from '../verdict/kept.ts';
import { judging, type OptionsOf } from './declaration.ts';
import { type Print, print } from './terminal.ts';
import {
  define as defineEvidence,
  hexNonce,
  printVerdict,
  readEvidence,
  verifyEvidenceFiles,
} from './verify-evidence.ts';

const MAX_BYTES = 16 * 1024 * 1024;

const declared = (command: Command) =>
  judging(command)
    .argument(
      '<files...>',
      'a receipt bundle (.cose), a folder of them as vouch infer keeps it, a published proof or an evidence document (.json); or raw evidence and what belongs to it',
    )
    .option(
      '--policy <name>',
      "what evidence has to satisfy: genuine, strict or a file; default: this installation's where it has one, else strict",
    )
    .option('--test-set <file>', 'for a proof: the labelled rows that it is about')
    .option('--input <file>', 'for a proof of one answer: the row, or the tensors, that it is about')
    .option('--output <file>', 'for a proof of an answer of numbers: the tensors that it is to have given')
    .option(
      '--row-salt <salt>',
      'for a proof that hides its row or tensors, with --input: what opens its commitment, as hex or a file',
    )
    .option(
      '--dictionary <file>',
      "for a proof: your own data dictionary; the model's has to name the same classes in the same order",
    )
    .option(
      '--log <file>',
      "for a proof: the vendor's log (vouch vendor log --out), with --manifest: whether the rows were fixed before the model",
    )
    .option('--allow-trivial', 'for a proof: accept a threshold that a constant answer reaches')
    .option('--job <id>', 'for a proof: the job that was asked for')
    .option(
      '--trust-key <digest>',
      "for a proof whose key's origin is unproven: accept the verification key with this digest",
    )
    .option('--application <row>', 'for a receipt: the application, as JSON or a file that holds it')
    .option('--answer <answer>', 'for a receipt: the answer, as JSON or a file that holds it')
    .option(
      '--request <file>',
      'for a receipt of an answer in text: what was asked, as JSON, or as it was kept',
    )
    .option('--response <file>', 'for a receipt of an answer in text: the very text, or what was kept of it')
    .option('--salts <file>', 'for a receipt: the salts that its two digests are keyed with')
    .option('--request-nonce <hex>', 'for a receipt: what was sealed into the request')
    .option('--manifest <file>', "for a receipt or a proof: the model's signed manifest")
    .option('--vendor <key>', "whose manifest it has to be: the vendor's public key or fingerprint")
    .option('--release-policy <name>', "for a receipt: the policy of the model's key, as a file or a digest")
    .option('--json', 'print the checks as JSON', false);

export type VerifyCommand = OptionsOf<typeof declared>;
/** Of a folder each receipt brings what was kept beside it. */
const NOT_FOR_FOLDERS = [
  'application',
  'answer',
  'request',
  'response',
  'salts',
  'requestNonce',
  'manifest',
  'nonce',
] as const;

export function define(command: Command): void {
  declared(command.enablePositionalOptions()).action(async (files, options) => {
    if (!(await verifyCommand(files, options, print))) process.exitCode = 1;
  });
  defineEvidence(
    command
      .command('evidence')
      .description(
        'verify what hardware signed, offline: SGX, TDX and TPM quotes, SEV-SNP and NVIDIA GPU reports, AWS Nitro documents, evidence of Azure, dstack, Phala and Tinfoil',
      ),
  );
}

/** Returns the verdict. Several files are evidence and what belongs to it. */
export async function verifyCommand(
  files: readonly string[],
  options: VerifyCommand,
  print: Print,
): Promise<boolean> {
  if (files.length === 1 && isFolder(files[0]!)) return verifyFolder(files[0]!, options, print);
  const found = files.map((file) => ({ file, known: recogniseFile(readNamed(file, 'file', MAX_BYTES)) }));
  for (const { file, known } of found) {
    if (known.kind === 'unknown') throw new VouchError('bad-file', `${file}: ${known.reason}`);
    if (files.length > 1 && known.kind !== 'evidence' && known.kind !== 'collateral')
      throw new VouchError(
        'bad-input',
        `verify: expected ${file} alone, because it is a ${NAMES[known.kind]}; only raw evidence is judged together with other files`,
      );
  }
  const { file, known } = found[0]!;
  switch (known.kind) {
    case 'receipt':
      return show(await judgeReceipt(known.receipt, givenWith(options), options));
    case 'document':
      return show(await judge(known, questionOf('worker', options), OWN_OPINIONS));
    case 'json':
      return show(await judgeProofFile(file, known.json, options));
    default:
      return verifyEvidenceFiles(files, options, print);
  }

  function show(judgement: Judgement): boolean {
    printVerdict(judgement, options.json, print);
    return judgement.accepted;
  }
}

/** The policy is the role's, of whose evidence it is. */
function questionOf(
  role: PolicyName,
  options: VerifyCommand,
  { store: collateral, now, nonce } = readEvidence([], options),
): Question {
  const { vendor } = options;
  return { policy: policyFor(role, options), now, nonce, collateral, vendor, remembered: rememberedVendor };
}

const NAMES = { receipt: 'receipt', document: 'evidence document', json: 'proof, or other JSON' } as const;

/** Where nothing was ever set up nobody is trusted beforehand: what hardware says has to satisfy the strictest. */
const policyFor = (name: PolicyName, { policy }: VerifyCommand): Policy =>
  findPolicy(name, policy, folder(), BUILT_IN.strict);

const givenWith = (options: VerifyCommand): Known => ({
  ...tiedByHand(options),
  nonce: hexNonce(options.requestNonce, '--request-nonce'),
  evidenceNonce: hexNonce(options.nonce, '--nonce'),
  manifest: options.manifest === undefined ? undefined : readManifestFile(options.manifest),
});

/** Without a policy for the key, or a manifest of a vendor that is known, nothing says which one it should be. */
function releasePolicyOf({ releasePolicy }: VerifyCommand): string | undefined {
  if (releasePolicy === undefined || /^[0-9a-f]{64}$/.test(releasePolicy)) return releasePolicy;
  return policyDigest(readPolicy(releasePolicy));
}

const judgeReceipt = (
  receipt: ParsedReceipt,
  known: Known,
  options: VerifyCommand,
  shared = readEvidence([], options),
): Promise<Judgement> =>
  judge(
    { kind: 'receipt', receipt, known },
    { ...questionOf('inference', options, shared), releasePolicy: releasePolicyOf(options) },
    OWN_OPINIONS,
  );

/** Each decision that a client has kept in a folder, a line each, and a summary. */
async function verifyFolder(directory: string, options: VerifyCommand, print: Print): Promise<boolean> {
  const typed = NOT_FOR_FOLDERS.find((name) => options[name] !== undefined);
  if (typed !== undefined) {
    const option = typed.replace(/[A-Z]/, (letter) => `-${letter.toLowerCase()}`);
    throw new VouchError(
      'bad-input',
      `verify: expected one receipt beside --${option}, got the folder ${directory}: its receipts bring what was kept with them`,
    );
  }
  const ids = keptReceipts(directory);
  if (ids.length === 0)
    throw new VouchError(
      'bad-file',
      `${directory}: it is a folder without receipts, expected those that vouch infer keeps; name another`,
    );
  const judged = [];
  const shared = readEvidence([], options);
  for (const id of ids) judged.push({ id, ...(await judgeKept(directory, id, options, shared)) });
  const receipts = judged.map(({ id, accepted, checks }) => ({
    id,
    verdict: accepted ? 'accept' : 'reject',
    failed: checks.filter(({ status }) => status === 'fail').map((check) => check.id),
    notChecked: skippedChecks(checks),
    erased: checks.some(({ detail }) => detail.startsWith('erased')),
  }));
  const accepted = receipts.filter(({ verdict }) => verdict === 'accept').length;
  const erased = receipts.filter((receipt) => receipt.erased).length;
  const verdict = accepted === receipts.length ? 'accept' : 'reject';
  if (options.json) print({ verdict, accepted, rejected: receipts.length - accepted, erased, receipts });
  else {
    for (const { id, verdict: one, failed, notChecked: left } of receipts)
      print(
        `${one}  ${id}${failed.length > 0 ? `  failed: ${failed.join(', ')}` : ''}  not checked: ${left.join(', ') || 'nothing was left out'}`,
      );
    print(
      `verdict: ${verdict}: ${accepted} of ${receipts.length} receipts hold, with the nonces and salts that were kept beside them${erased > 0 ? `; of ${erased} a salt was erased` : ''}`,
    );
  }
  return verdict === 'accept';
}

async function judgeKept(
  directory: string,
  id: string,
  options: VerifyCommand,
  shared: ReturnType<typeof readEvidence>,
): Promise<Judgement> {
  try {
    const bundle = readIfThere(path.join(directory, `${id}.cose`), 'receipt', MAX_BYTES);
    if (bundle === undefined) throw new VouchError('bad-file', `${id}.cose: the receipt is gone`);
    const receipt = parseReceipt(bundle);
    const known = readKept(directory, id, readReceipt(receipt)?.manifest);
    return await judgeReceipt(receipt, known, options, shared);
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    const check = { id: 'receipt.kept', status: 'fail', detail: error.message } as const;
    return { accepted: false, checks: [check], claims: undefined };
  }
}

async function judgeProofFile(file: string, json: unknown, options: VerifyCommand): Promise<Judgement> {
  const { trustKey, job, allowTrivial, output } = options;
  const published = readPublished(file, json);
  demandFitting(published.record.statement, options);
  const own = options.dictionary === undefined ? undefined : readDictionary(options.dictionary);
  const manifest = options.manifest === undefined ? undefined : readManifestFile(options.manifest);
  const question: Question = {
    ...questionOf('prover', options),
    job,
    testSet: rowsOf(published.record.statement, options, own),
    row: hiddenRowOf(options),
    outputs: output === undefined ? undefined : (architecture) => statedOutputs(output, architecture),
    dictionary: own,
    allowTrivial,
    log: options.log === undefined ? undefined : readLogFile(options.log),
    trustKey,
  };
  try {
    return await judge({ kind: 'proof', published, manifest }, question, OWN_OPINIONS);
  } finally {
    await closeSnarkjs();
  }
}

/** Throws `bad-input` for options that have nothing to do with what the proof is about. */
function demandFitting(statement: Statement, { rowSalt, dictionary, output }: VerifyCommand): void {
  const tensors = statement.statement !== 'quality' && statement.decision === undefined;
  const refuse = (option: string, why: string): never => {
    throw new VouchError('bad-input', `--${option}: the proof ${why}; leave it out`);
  };
  if (rowSalt !== undefined && statement.statement !== 'hidden-inference') refuse('row-salt', 'hides no row');
  if (dictionary !== undefined && tensors)
    refuse('dictionary', 'is about tensors, which no data dictionary describes');
  if (output !== undefined && !tensors) refuse('output', 'is not about tensors, and names its answer itself');
}

/** The row that a person says a proof hides, and its salt; undefined: he does not. Throws `bad-input`. */
function hiddenRowOf({ input, rowSalt }: VerifyCommand): Question['row'] {
  if (rowSalt === undefined) return undefined;
  if (input === undefined)
    throw new VouchError('bad-input', 'verify: expected --input FILE, the row, beside --row-salt, got none');
  const text = readTextIfThere(rowSalt, 'salt')?.trim() ?? rowSalt;
  const salt = readRowSalt(text, '--row-salt');
  return (architecture) => ({ features: readFeatures(input, architecture), salt });
}

/** The rows that a person says a proof is about; undefined: he does not. */
function rowsOf(
  statement: Statement,
  { testSet, input, output }: VerifyCommand,
  own: Dictionary | undefined,
): ((architecture: Architecture) => TestSet) | undefined {
  if (statement.statement === 'inference')
    return input === undefined
      ? undefined
      : (architecture) =>
          answered(architecture, readFeatures(input, architecture), {
            decision: statement.decision,
            outputs: output === undefined ? undefined : () => statedOutputs(output, architecture),
          });
  return testSet === undefined
    ? undefined
    : (architecture) => testSetOf(readRows(testSet, own ?? dictionaryOf(architecture)), architecture);
}
