/** `vouch verify evidence`: judges evidence that hardware signed, offline, and says every check. */
import { existsSync } from 'node:fs';
import { sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { type EvidenceQuestion, judgeEvidence } from '../../protocols/attestation/evidence-verdict.ts';
import { BUILT_IN, type EvidencePolicy, parseEvidencePolicy } from '../../protocols/attestation/policy.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { collateralFolder, MAX_FILE_BYTES, readCollateral } from '../attest/collateral.ts';
import { readNamed } from '../home/files.ts';
import type { Print } from './network.ts';

/** Evidence as a command takes it, beside its files. */
export interface TakenEvidence {
  /** folder; default: this installation's, where there is one */
  readonly collateral?: string;
  /** when to judge it; default: now */
  readonly at?: string;
  /** what GPUs and TPMs have to answer, hex */
  readonly nonce?: string;
}

export interface EvidenceCommand extends TakenEvidence {
  /** `genuine`, `strict` (default) or a file */
  readonly policy?: string;
  readonly json: boolean;
}

/** All that a verdict needs but the policy. Throws `bad-file` for a file that is not there, `bad-input` for a wrong option. */
export function readEvidence(
  files: readonly string[],
  options: TakenEvidence,
): Omit<EvidenceQuestion, 'policy'> {
  const now = timeOf(options.at);
  const nonce = nonceOf(options.nonce);
  const given = sortFiles(
    files.map((name) => ({ name, bytes: readNamed(name, 'evidence', MAX_FILE_BYTES) })),
  );
  const folder = options.collateral ?? (existsSync(collateralFolder()) ? collateralFolder() : undefined);
  const store = folder === undefined ? sortFiles([]) : readCollateral(folder);
  return { given, store, now, nonce };
}

/** Returns the verdict. Throws `bad-file` for a file that is not there, `bad-input` for a wrong option. */
export async function verifyEvidenceFiles(
  files: readonly string[],
  options: EvidenceCommand,
  print: Print,
): Promise<boolean> {
  const policy = readEvidencePolicy(options.policy ?? 'strict');
  const { verdict, checks, claims } = await judgeEvidence({ ...readEvidence(files, options), policy });
  if (options.json) print({ verdict, checks, claims });
  else {
    const width = Math.max(...checks.map(({ id }) => id.length));
    for (const { id, status, detail } of checks) print(`${id.padEnd(width)}  ${status.padEnd(7)}  ${detail}`);
    print(`verdict: ${verdict}`);
  }
  return verdict === 'accept';
}

/** A built-in policy by name, or a file. Throws `bad-file`, `bad-input`. */
export function readEvidencePolicy(name: string): EvidencePolicy {
  if (name === 'genuine' || name === 'strict') return BUILT_IN[name];
  const text = new TextDecoder().decode(readNamed(name, 'policy', 1024 * 1024));
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new VouchError(
      'bad-file',
      `policy ${name}: expected JSON, got a file that is truncated or damaged`,
    );
  }
  try {
    return parseEvidencePolicy(json);
  } catch (error) {
    throw new VouchError('bad-input', `${name}: ${messageOf(error)}`);
  }
}

/** RFC 3339 or a date alone (its first moment); UTC where no offset is named. */
function timeOf(text: string | undefined): Date {
  if (text === undefined) return new Date();
  const match = /^(\d{4}-\d\d-\d\d)(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(Z|[+-]\d\d:\d\d)?)?$/.exec(text);
  const [, date = '', offset] = match ?? [];
  // Date takes a 31st of February for a day in March.
  const day = new Date(`${date}T00:00:00Z`);
  const time = new Date(text === date || offset !== undefined ? text : `${text}Z`);
  if (Number.isNaN(day.getTime()) || Number.isNaN(time.getTime()) || !day.toISOString().startsWith(date)) {
    throw new VouchError('bad-input', `--at: expected a time such as 2025-01-31T00:00:00Z, got ${text}`);
  }
  return time;
}

function nonceOf(text: string | undefined): string | undefined {
  if (text !== undefined && !/^([0-9A-Fa-f]{2}){1,64}$/.test(text)) {
    throw new VouchError('bad-input', '--nonce: expected 1 to 64 bytes as hex');
  }
  return text?.toLowerCase();
}
