/**
 * The files of this host that a GPU's passage to a VM touches (`/sys`, `/dev/vfio`), under a root that tests replace,
 * and NVIDIA's tool that tells a GPU's CC mode while vfio-pci has it. Changing them takes root.
 */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { chmod, chown, open, readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { ccModeIn, type HostFiles } from './device.ts';

const { O_TRUNC, O_WRONLY } = constants;

/** https://github.com/NVIDIA/gpu-admin-tools; it reads the GPU's registers, no driver of NVIDIA's needed. */
export const CC_TOOL = 'nvidia_gpu_tools.py';
const CC_TOOL_MS = 60_000;

export function hostFiles(root = '/'): HostFiles {
  const at = (file: string) => path.join(root, file);
  return {
    read: (file) => orNothing(readFile(at(file), 'latin1')),
    // Without O_CREAT: an attribute that is not there must not become a file.
    write: (file, text) => asRoot(file, writeFile(at(file), text, { flag: O_WRONLY | O_TRUNC })),
    list: (file) => orNothing(readdir(at(file))),
    link: async (file) => {
      const target = await orNothing(readlink(at(file)));
      return target === undefined ? undefined : path.basename(target);
    },
    async owner(file) {
      const found = await orNothing(stat(at(file)));
      return found && { uid: found.uid, gid: found.gid, mode: found.mode & 0o7777 };
    },
    async give(file, { uid, gid, mode }) {
      // Closed to others first: nobody is let in between the two.
      await asRoot(file, chmod(at(file), mode & 0o600));
      await asRoot(file, chown(at(file), uid, gid));
      await asRoot(file, chmod(at(file), mode));
    },
    probe: async (file) => (await asRoot(file, open(at(file), 'r+'))).close(),
  };
}

async function orNothing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
}

async function asRoot<T>(file: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EACCES' && code !== 'EPERM') throw error;
    throw new VouchError('not-ready', `${file}: expected to be allowed to change it; run this as root`);
  }
}

/** Asks `tool` for the CC mode of the GPU at a PCI address. Throws `evidence-rejected` where it cannot tell. */
export async function queryCcMode(tool: string, address: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  execFile(
    tool,
    [`--gpu-bdf=${address}`, '--query-cc-mode'],
    { timeout: CC_TOOL_MS, maxBuffer: 1024 * 1024 },
    // The tool says it on stderr.
    (error, stdout, stderr) => (error ? reject(error) : resolve(`${stdout}\n${stderr}`)),
  );
  let output: string;
  try {
    output = await promise;
  } catch (error) {
    throw new VouchError(
      'evidence-rejected',
      `${address}: ${tool} does not tell the CC mode (${messageOf(error).split('\n')[0]}); install NVIDIA's gpu-admin-tools or name the program with --cc-tool`,
    );
  }
  return ccModeIn(output);
}
