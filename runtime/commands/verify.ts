/**
 * `vouch verify`: judges whatever Vouch makes or reads, offline: a receipt, a published proof, an evidence document, raw
 * evidence. With nothing but the file, a policy and, for evidence of hardware, a folder of collateral; and says every
 * check.
 */
import type { Command } from '@commander-js/extra-typings';
import { recogniseFile } from '../../protocols/any-file.ts';
import { BUILT_IN, type Policy } from '../../protocols/attestation/policy.ts';
import { verifyEvidence } from '../../protocols/attestation/verify.ts';
import { parse } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { PublishedProof } from '../../protocols/proof.ts';
import { type ParsedReceipt, readReceipt, verifyReceipt } from '../../protocols/receipt.ts';
import type { PrintedCheck } from '../client/checks.ts';
import { judgeProof } from '../client/quality-proof.ts';
import { readNamed } from '../home/files.ts';
import { folder } from '../home/home.ts';
import { findPolicy, type PolicyName } from '../installation/policies.ts';
import { readRows, testSetOf } from '../models/test-sets.ts';
import { closeSnarkjs } from '../prove/snarkjs.ts';
import { judging, type OptionsOf } from './declaration.ts';
import { type Print, print } from './terminal.ts';
import {
  define as defineEvidence,
  printVerdict,
  readEvidence,
  verifyEvidenceFiles,
} from './verify-evidence.ts';

const MAX_BYTES = 16 * 1024 * 1024;

const declared = (command: Command) =>
  judging(command)
    .argument(
      '<files...>',
      'a receipt bundle (.cose), a published proof or an evidence document (.json); or raw evidence and what belongs to it',
    )
    .option(
      '--policy <name>',
      "what evidence has to satisfy: genuine, strict or a file; default: this installation's where it has one, else strict",
    )
    .option('--test-set <file>', 'for a proof: the labelled rows that it is about')
    .option(
      '--trust-key <digest>',
      "for a proof whose key's origin is unproven: accept the verification key with this digest",
    )
    .option('--json', 'print the checks as JSON', false);

export type VerifyCommand = OptionsOf<typeof declared>;

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

interface Judgement {
  readonly accepted: boolean;
  readonly checks: readonly PrintedCheck[];
  readonly claims: unknown;
}

/** Returns the verdict. Several files are evidence and what belongs to it. */
export async function verifyCommand(
  files: readonly string[],
  options: VerifyCommand,
  print: Print,
): Promise<boolean> {
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
      return show(await judgeReceipt(known.receipt, options));
    case 'document':
      return show(await judgeDocument(known.json, options));
    case 'json':
      return show(await judgeProofFile(file, known.json, options));
    default:
      return verifyEvidenceFiles(files, options, print);
  }

  function show({ accepted, checks, claims }: Judgement): boolean {
    printVerdict({ verdict: accepted ? 'accept' : 'reject', checks, claims }, options.json, print);
    return accepted;
  }
}

const NAMES = { receipt: 'receipt', document: 'evidence document', json: 'proof, or other JSON' } as const;

/** Where nothing was ever set up nobody is trusted beforehand: what hardware says has to satisfy the strictest. */
const policyFor = (name: PolicyName, { policy }: VerifyCommand): Policy =>
  findPolicy(name, policy, folder(), BUILT_IN.strict);

async function judgeReceipt(receipt: ParsedReceipt, options: VerifyCommand): Promise<Judgement> {
  const policy = policyFor('inference', options);
  const { store: collateral, now, nonce: evidenceNonce } = readEvidence([], options);
  // Whoever holds only the receipt cannot know the vendor's release policy; the signature says which one it was.
  const releasePolicy = readReceipt(receipt)?.policy;
  const report = await verifyReceipt(receipt, { policy, now, collateral, evidenceNonce, releasePolicy });
  const claims = report.claims && {
    ...report.claims,
    time: report.claims.time.toISOString(),
    evidenceClaims: report.evidence?.claims,
  };
  return { accepted: report.verdict === 'accept', checks: report.checks, claims };
}

async function judgeDocument(json: unknown, options: VerifyCommand): Promise<Judgement> {
  const policy = policyFor('worker', options);
  const { store: collateral, now, nonce } = readEvidence([], options);
  const own = String((json as { nonce?: unknown }).nonce);
  const report = await verifyEvidence({ document: json, policy, nonce: nonce ?? own, now, collateral });
  return { accepted: report.verdict === 'accept', checks: report.checks, claims: report.claims ?? null };
}

async function judgeProofFile(file: string, json: unknown, options: VerifyCommand): Promise<Judgement> {
  const { testSet, trustKey } = options;
  const published = readProof(file, json);
  const rows = testSet === undefined ? undefined : readRows(testSet);
  try {
    const { accepted, checks, key } = await judgeProof(published, {
      policy: policyFor('prover', options),
      testSet: rows && ((architecture) => testSetOf(rows, architecture)),
      trustKey,
    });
    const { statement } = published.record;
    const claims = {
      statement,
      key: key.link,
      verificationKey: key.digest,
      hardware: published.maker.hardware,
    };
    return { accepted, checks, claims };
  } finally {
    await closeSnarkjs();
  }
}

function readProof(file: string, json: unknown): PublishedProof {
  try {
    return parse(PublishedProof.schema, json, 'proof');
  } catch (error) {
    throw new VouchError(
      'bad-file',
      `${file}: not a published proof: ${messageOf(error)}; expected a receipt (.cose), a published proof, an evidence document, or raw evidence`,
    );
  }
}
