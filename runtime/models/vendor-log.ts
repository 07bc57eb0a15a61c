/**
 * The log of this installation's vendor (protocols/vendor-log.ts), kept in `.vouch/models`, and sealed test sets: files
 * that open a root, kept by whoever made them until the proof.
 */
import { z } from 'zod';
import { encodeTestSet, type TestSet } from '../../circuits/model/test-set.ts';
import type { Signer } from '../../protocols/cose.ts';
import { hex, randomBytes } from '../../protocols/encoding.ts';
import { Digest } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import {
  entryDigest,
  type LogEntry,
  type Logged,
  type Opening,
  readLog,
  SALT_BYTES,
  type SignedEntry,
  signEntry,
  testSetRoot,
  VendorLog,
} from '../../protocols/vendor-log.ts';
import { readText, readTextIfThere, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';

const MAX_BYTES = 16 * 1024 * 1024;
export const logFile = (): string => folder('models', 'log.json');

/** Kept secret until the proof: whoever has it can tell which rows the root is of. */
const SealedTestSet = z.strictObject({
  version: z.literal(1),
  root: Digest,
  salt: Digest,
  rows: z.int().min(1),
});
export type SealedTestSet = z.infer<typeof SealedTestSet>;

/** A root of a test set, with a fresh salt. */
export function sealTestSet(testSet: TestSet): SealedTestSet {
  const salt = hex(randomBytes(SALT_BYTES));
  return { version: 1, root: testSetRoot(salt, encodeTestSet(testSet)), salt, rows: testSet.labels.length };
}

/** Throws `bad-file`. */
export function readSealedTestSet(file: string): SealedTestSet {
  const result = SealedTestSet.safeParse(jsonOf(readText(file, 'sealed test set', MAX_BYTES)));
  if (result.success) return result.data;
  throw new VouchError('bad-file', `${file}: expected a sealed test set, as vouch data seal writes it`);
}

/** A log from a file, followed from its first entry. Throws `bad-file` for what is none, or was changed. */
export function readLogFile(file: string): readonly SignedEntry[] {
  return parseLog(file, readText(file, 'vendor log', MAX_BYTES));
}

/** The log of this installation; empty where nothing was logged. */
export function ownLog(): readonly SignedEntry[] {
  const text = readTextIfThere(logFile(), 'vendor log', MAX_BYTES);
  return text === undefined ? [] : parseLog(logFile(), text);
}

function parseLog(file: string, text: string): readonly SignedEntry[] {
  const result = VendorLog.safeParse(jsonOf(text));
  if (!result.success)
    throw new VouchError('bad-file', `${file}: expected a vendor's log, as vouch vendor log prints it`);
  try {
    readLog(result.data);
  } catch (error) {
    throw new VouchError('bad-file', `${file}: ${messageOf(error)}`);
  }
  return result.data;
}

/**
 * Adds an entry and returns its digest; what is logged already, a root or a commitment, is not logged twice. Throws
 * `conflict` where the log is that of another vendor key.
 */
export async function appendToLog(
  vendor: Signer,
  logged: Logged,
): Promise<{ entry: LogEntry; digest: string }> {
  const log = ownLog();
  const same = log.find(({ entry }) => sameLogged(entry, logged))?.entry;
  if (same) return { entry: same, digest: entryDigest(same) };
  const next = await signEntry(vendor, log, logged, new Date());
  if (log.length > 0 && log[0]!.entry.vendor !== next.entry.vendor)
    throw new VouchError(
      'conflict',
      `${logFile()}: it is the log of another vendor key; move it away to begin another one`,
    );
  await writeWhole(logFile(), `${JSON.stringify([...log, next], undefined, 1)}\n`, { mode: 0o644 });
  return { entry: next.entry, digest: entryDigest(next.entry) };
}

const sameLogged = (entry: LogEntry, logged: Logged): boolean =>
  entry.kind === 'test-set'
    ? logged.kind === 'test-set' && entry.root === logged.root
    : logged.kind === 'model' && entry.commitment === logged.commitment;

/** What opens the root of these rows in a statement. Throws `bad-input` where the file is of other rows, or nobody logged it. */
export function openingFor(sealed: SealedTestSet, testSet: TestSet, log: readonly SignedEntry[]): Opening {
  if (testSetRoot(sealed.salt, encodeTestSet(testSet)) !== sealed.root)
    throw new VouchError('bad-input', 'sealed test set: expected that of these rows, got that of others');
  const found = log.find(({ entry }) => entry.kind === 'test-set' && entry.root === sealed.root);
  if (!found)
    throw new VouchError(
      'bad-input',
      `sealed test set: root ${sealed.root} is not in the vendor's log; expected one that was logged before the model`,
    );
  return { entry: entryDigest(found.entry), salt: sealed.salt };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
