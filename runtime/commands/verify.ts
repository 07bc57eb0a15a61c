/**
 * `vouch verify`: judges a receipt, an evidence document or a published proof, offline, with nothing but the file, a
 * policy and, for evidence of hardware, a folder of collateral; and says every check.
 */
import type { Check } from '../../protocols/attestation/checklist.ts';
import { verifyEvidence } from '../../protocols/attestation/verify.ts';
import { parse } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { PublishedProof } from '../../protocols/proof.ts';
import { readReceipt, verifyReceipt } from '../../protocols/receipt.ts';
import { judgeProof } from '../client/quality-proof.ts';
import { readNamed } from '../home/files.ts';
import { folder } from '../home/home.ts';
import { findPolicy } from '../installation/policies.ts';
import { readRows, testSetOf } from '../models/test-sets.ts';
import { closeSnarkjs } from '../prove/snarkjs.ts';
import type { Print } from './network.ts';
import { readEvidence, type TakenEvidence } from './verify-evidence.ts';

const MAX_BYTES = 16 * 1024 * 1024;

export interface VerifyCommand extends TakenEvidence {
  readonly policy?: string;
  readonly testSet?: string;
  readonly trustKey?: string;
  readonly json: boolean;
}

interface Judgement {
  readonly accepted: boolean;
  readonly checks: readonly Pick<Check, 'id' | 'status' | 'detail'>[];
  readonly claims: unknown;
}

/** Returns the verdict. */
export async function verifyCommand(file: string, options: VerifyCommand, print: Print): Promise<boolean> {
  const bytes = readNamed(file, 'file', MAX_BYTES);
  if (bytes.length === 0) throw new VouchError('bad-file', `${file}: the file is empty`);
  const { accepted, checks, claims } = await judge(file, bytes, options);
  const verdict = accepted ? 'accept' : 'reject';
  if (options.json) print({ verdict, checks, claims });
  else {
    const width = Math.max(26, ...checks.map(({ id }) => id.length));
    for (const { id, status, detail } of checks) print(`${status.padEnd(7)} ${id.padEnd(width)} ${detail}`);
    print(`verdict: ${verdict}`);
  }
  return accepted;
}

/** A receipt is CBOR; of JSON, an evidence document says what a CPU signed. */
async function judge(file: string, bytes: Uint8Array, options: VerifyCommand): Promise<Judgement> {
  if (String.fromCharCode(bytes[0]!) !== '{') return judgeReceipt(bytes, options);
  const json = readJson(file, bytes);
  return 'cpu' in Object(json) ? judgeDocument(json, options) : judgeProofFile(file, json, options);
}

async function judgeReceipt(bytes: Uint8Array, options: VerifyCommand): Promise<Judgement> {
  const policy = findPolicy('inference', options.policy, folder());
  const { store: collateral, now, nonce: evidenceNonce } = readEvidence([], options);
  // Whoever holds only the receipt cannot know the vendor's release policy; the signature says which one it was.
  const releasePolicy = readReceipt(bytes)?.policy;
  const report = await verifyReceipt(bytes, { policy, now, collateral, evidenceNonce, releasePolicy });
  const claims = report.claims && {
    ...report.claims,
    time: report.claims.time.toISOString(),
    evidenceClaims: report.evidence?.claims,
  };
  return { accepted: report.verdict === 'accept', checks: report.checks, claims };
}

async function judgeDocument(json: unknown, options: VerifyCommand): Promise<Judgement> {
  const policy = findPolicy('worker', options.policy, folder());
  const { store: collateral, now, nonce } = readEvidence([], options);
  const own = String((json as { nonce?: unknown }).nonce);
  const report = await verifyEvidence({ document: json, policy, nonce: nonce ?? own, now, collateral });
  return { accepted: report.verdict === 'accept', checks: report.checks, claims: report.claims ?? null };
}

async function judgeProofFile(
  file: string,
  json: unknown,
  { policy, testSet, trustKey }: VerifyCommand,
): Promise<Judgement> {
  const published = readProof(file, json);
  const rows = testSet === undefined ? undefined : readRows(testSet);
  try {
    const { accepted, checks, key } = await judgeProof(published, {
      policy: findPolicy('prover', policy, folder()),
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

function readJson(file: string, bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new VouchError(
      'bad-file',
      `${file}: expected a proof or evidence as JSON, got a file that is truncated or damaged`,
    );
  }
}

function readProof(file: string, json: unknown): PublishedProof {
  try {
    return parse(PublishedProof.schema, json, 'proof');
  } catch (error) {
    throw new VouchError('bad-file', `${file}: not a published proof: ${messageOf(error)}`);
  }
}
