/**
 * The folder of collateral: what vendors publish about their hardware (TCB info, QE identities, CRLs,
 * certificates, manifests), each file under the SHA-256 of its content. Verification reads it and never
 * fetches. A file there is only looked at: whether it is genuine and current is decided for each piece of
 * evidence anew.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import type { Collateral } from '../../protocols/attestation/collateral.ts';
import { type NamedBytes, type SortedFiles, sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { HARDWARE } from '../../protocols/attestation/formats/registry.ts';
import { MAX_FILE_BYTES } from '../../protocols/attestation/limits.ts';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { sha256Hex } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { demandWritableFolder, fileError, readNamed, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';

export { MAX_FILE_BYTES } from '../../protocols/attestation/limits.ts';

const MAX_FILES = 2048;
const MAX_FOLDER_BYTES = 256 * 1024 * 1024;

/** This installation's own. */
export const collateralFolder = (): string => folder('collateral');

/** This installation's, for a policy that accepts hardware; undefined where it accepts none, or there is no folder. */
export const collateralFor = ({ platforms }: Policy): Collateral | undefined =>
  platforms.some((name) => HARDWARE.includes(name)) && existsSync(collateralFolder())
    ? readCollateral(collateralFolder())
    : undefined;

/** All that lies in a folder and below it, sorted by name. Throws `bad-file`, `too-large`. */
export function readCollateral(directory: string): SortedFiles {
  let names: string[];
  try {
    names = readdirSync(directory, { recursive: true, encoding: 'utf8' }).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      throw fileError(error, directory, 'read', 'collateral');
    throw new VouchError('bad-file', `collateral ${directory}: there is no such folder`, { cause: error });
  }
  const files: NamedBytes[] = [];
  let total = 0;
  for (const name of names) {
    const file = path.join(directory, name);
    if (!statSync(file, { throwIfNoEntry: false })?.isFile()) continue;
    const bytes = readNamed(file, 'collateral', MAX_FILE_BYTES);
    total += bytes.length;
    if (files.length === MAX_FILES || total > MAX_FOLDER_BYTES) {
      throw new VouchError(
        'too-large',
        `collateral ${directory}: expected at most ${MAX_FILES} files of ${MAX_FOLDER_BYTES} bytes together`,
      );
    }
    files.push({ name: file, bytes });
  }
  const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  return { ...sortFiles(files), digests: new Set(files.map(({ bytes }) => digest(bytes))) };
}

/** Puts files into a folder; returns their names there. Throws `bad-input` for what is no collateral. */
export async function addCollateral(
  files: readonly string[],
  directory = collateralFolder(),
): Promise<string[]> {
  const read = files.map((name) => ({ name, bytes: readNamed(name, 'collateral', MAX_FILE_BYTES) }));
  const { unknown, evidence, eventLogs, tpmSignatures } = sortFiles(read);
  // An event log and a TPM's signature go with one piece of evidence.
  const count = evidence.length + eventLogs.length + tpmSignatures.length;
  const wrong = unknown[0] ?? (count > 0 ? { name: 'files', reason: `${count} of evidence` } : undefined);
  if (wrong !== undefined) {
    throw new VouchError('bad-input', `${wrong.name}: expected collateral, got ${wrong.reason}`);
  }
  await demandWritableFolder(directory);
  const added: string[] = [];
  for (const { bytes } of read) {
    const name = path.join(directory, sha256Hex(bytes));
    await writeWhole(name, bytes, { mode: 0o644 });
    added.push(name);
  }
  return added;
}
