/**
 * The folder of collateral: what vendors publish about their hardware (TCB info, QE identities, CRLs,
 * certificates, manifests), each file under the SHA-256 of its content. Verification reads it and never fetches; only
 * `fetchCollateral` does, when it is told to. A file there is only looked at: whether it is genuine and current is decided for each piece of
 * evidence anew.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { type Certificate, fromBase64, parseCertificate } from '../../protocols/attestation/certificate.ts';
import type { Collateral } from '../../protocols/attestation/collateral.ts';
import { type NamedBytes, type SortedFiles, sortFiles } from '../../protocols/attestation/evidence-files.ts';
import { HARDWARE } from '../../protocols/attestation/formats/registry.ts';
import { MAX_FILE_BYTES } from '../../protocols/attestation/limits.ts';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { AMD_CERTIFICATES } from '../../protocols/attestation/roots/amd.ts';
import {
  NVIDIA_DEVICE_ROOT_CERTIFICATE,
  NVIDIA_RIM_ROOT_CERTIFICATE,
} from '../../protocols/attestation/roots/nvidia.ts';
import { sha256Hex } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { demandWritableFolder, fileError, readNamed, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';
import { type FetchOptions, fetchRevocation } from './revocation.ts';

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
  const { unknown, evidence, machines, eventLogs, tpmSignatures, runtimes, opinions } = sortFiles(read);
  // An event log, a TPM's signature, a second opinion and what a VM's CPU binds go with one piece of evidence.
  const lists = [evidence, machines, eventLogs, tpmSignatures, runtimes, opinions];
  const count = lists.reduce((sum, { length }) => sum + length, 0);
  const wrong = unknown[0] ?? (count > 0 ? { name: 'files', reason: `${count} of evidence` } : undefined);
  if (wrong !== undefined) {
    throw new VouchError('bad-input', `${wrong.name}: expected collateral, got ${wrong.reason}`);
  }
  return keep(
    read.map(({ bytes }) => bytes),
    directory,
  );
}

async function keep(files: readonly Uint8Array[], directory: string): Promise<string[]> {
  await demandWritableFolder(directory);
  const added: string[] = [];
  for (const bytes of files) {
    const name = path.join(directory, sha256Hex(bytes));
    await writeWhole(name, bytes, { mode: 0o644 });
    added.push(name);
  }
  return added;
}

/**
 * Asks vendors about the certificates in files, and puts what they answer into a folder; returns the names there, and
 * what could not be had. Throws `bad-input` for files that hold no certificate.
 */
export async function fetchCollateral(
  files: readonly string[],
  {
    directory = collateralFolder(),
    ...options
  }: FetchOptions & { readonly directory?: string | undefined } = {},
): Promise<{ added: readonly string[]; faults: readonly string[] }> {
  const read = files.map((name) => ({ name, bytes: readNamed(name, 'collateral', MAX_FILE_BYTES) }));
  const { certificates, evidence, manifests, unknown } = sortFiles(read);
  if (unknown[0] !== undefined) throw new VouchError('bad-input', `${unknown[0].name}: ${unknown[0].reason}`);
  const all = [
    ...certificates,
    ...evidence.flatMap((piece) => piece.certificates?.() ?? []),
    ...manifests.flatMap((manifest) => manifest().signature.certificates()),
  ];
  if (all.length === 0) throw new VouchError('bad-input', 'expected files with certificates, got none');
  const { files: found, faults } = await fetchRevocation(all, vendorAuthorities(), {
    lists: true,
    ...options,
  });
  return { added: found.length === 0 ? [] : await keep(found, directory), faults };
}

/** CAs that vendors' tools leave out. */
const vendorAuthorities = (): Certificate[] =>
  [
    ...Object.values(AMD_CERTIFICATES).flat(),
    NVIDIA_DEVICE_ROOT_CERTIFICATE,
    NVIDIA_RIM_ROOT_CERTIFICATE,
  ].map((text) => parseCertificate(fromBase64(text, 'vendor')));
