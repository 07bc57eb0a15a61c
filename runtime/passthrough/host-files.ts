/**
 * The files of this host that a GPU's passage to a VM touches (`/sys`, `/dev/vfio`), under a root that tests replace.
 * Changing them takes root.
 */
import { constants } from 'node:fs';
import { chmod, chown, open, readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { VouchError } from '../../protocols/errors.ts';

const { O_TRUNC, O_WRONLY } = constants;

/** Files of the host, by absolute path. What is not there is `undefined`; every other failure throws. */
export interface HostFiles {
  /** a file's bytes as Latin-1 */
  read(path: string): Promise<string | undefined>;
  /** writes into a file that is there */
  write(path: string, text: string): Promise<void>;
  list(path: string): Promise<readonly string[] | undefined>;
  /** the last part of a symbolic link's target */
  link(path: string): Promise<string | undefined>;
  owner(path: string): Promise<Owner | undefined>;
  /** sets owner and mode */
  give(path: string, owner: Owner): Promise<void>;
  /** opens the file for reading and writing, and closes it: a VFIO group opens once at a time */
  probe(path: string): Promise<void>;
}

export interface Owner {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** Those below `root`. */
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
