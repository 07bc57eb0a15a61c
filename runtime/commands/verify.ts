/** `vouch verify`: judges a receipt or a published proof, offline, and says every check. */

import { parse } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { PublishedProof } from '../../protocols/proof.ts';
import { verifyReceipt } from '../../protocols/receipt.ts';
import { folder, readNamed } from '../context.ts';
import { findPolicy } from '../policies.ts';
import { judgeProof } from '../proving.ts';
import { closeSnarkjs } from '../snarkjs.ts';
import { readRows, testSetOf } from '../test-sets.ts';
import type { Print } from './network.ts';

const MAX_BYTES = 16 * 1024 * 1024;

export interface VerifyCommand {
  readonly policy?: string;
  readonly testSet?: string;
  readonly trustKey?: string;
  readonly json: boolean;
}

interface Judgement {
  readonly accepted: boolean;
  readonly checks: readonly { readonly id: string; readonly status: string; readonly detail: string }[];
  readonly claims: unknown;
}

/** Returns the verdict. */
export async function verifyCommand(file: string, options: VerifyCommand, print: Print): Promise<boolean> {
  const bytes = readNamed(file, 'file', MAX_BYTES);
  if (bytes.length === 0) throw new VouchError('bad-file', `${file}: the file is empty`);
  const json = String.fromCharCode(bytes[0]!) === '{';
  const { accepted, checks, claims } = json
    ? await judgeProofFile(file, bytes, options)
    : await judgeReceipt(bytes, options);
  const verdict = accepted ? 'accept' : 'reject';
  if (options.json) print({ verdict, checks, claims });
  else {
    for (const { id, status, detail } of checks) print(`${status.padEnd(5)} ${id.padEnd(26)} ${detail}`);
    print(`verdict: ${verdict}`);
  }
  return accepted;
}

async function judgeReceipt(bytes: Uint8Array, options: VerifyCommand): Promise<Judgement> {
  const policy = findPolicy('inference', options.policy, folder());
  // Whoever holds only the receipt cannot know the vendor's release policy; the signature says which one it was.
  const first = await verifyReceipt(bytes, { policy, now: new Date() });
  const report = await verifyReceipt(bytes, { policy, now: new Date(), releasePolicy: first.claims?.policy });
  const claims = report.claims && { ...report.claims, time: report.claims.time.toISOString() };
  return { accepted: report.verdict === 'accept', checks: report.checks, claims };
}

async function judgeProofFile(
  file: string,
  bytes: Uint8Array,
  { policy, testSet, trustKey }: VerifyCommand,
): Promise<Judgement> {
  const published = readProof(file, bytes);
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

function readProof(file: string, bytes: Uint8Array): PublishedProof {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new VouchError(
      'bad-file',
      `${file}: expected a proof as JSON, got a file that is truncated or damaged`,
    );
  }
  try {
    return parse(PublishedProof.schema, json, 'proof');
  } catch (error) {
    throw new VouchError('bad-file', `${file}: not a published proof: ${messageOf(error)}`);
  }
}
