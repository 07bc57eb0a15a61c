/**
 * Files that are never on a disk: a folder of this process's own on a file system in memory (Linux: /dev/shm), for programs
 * that read by name what may not be written down, such as weights. Whatever else is there is refused.
 *
 * Not guaranteed: that the system does not move memory to a disk: swap has to be off, or encrypted; `swapFiles` says whether
 * there is some. Who is root on this host reads it, as he reads the process's memory.
 */
import { rmSync } from 'node:fs';
import { chmod, mkdtemp, readdir, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { VouchError } from '../../protocols/errors.ts';

const PLACE = '/dev/shm';
/** What statfs calls tmpfs and ramfs (Linux, include/uapi/linux/magic.h). */
const IN_MEMORY: ReadonlySet<number> = new Set([0x01021994, 0x858458f6]);

export interface MemoryFile {
  /** where whoever fills it writes */
  readonly path: string;
  /** No more is written: from here on the file can only be read. */
  seal(): Promise<void>;
}

export interface MemoryFolder extends AsyncDisposable {
  /** A new file of mode 0600, empty. */
  create(name: string): Promise<MemoryFile>;
}

/** Throws `not-ready` where there is no file system in memory, or not so much room. */
export async function createMemoryFolder(bytes: number, place = PLACE): Promise<MemoryFolder> {
  const found = await statfs(place).catch(() => undefined);
  if (!found || !IN_MEMORY.has(found.type))
    throw new VouchError(
      'not-ready',
      `${place}: expected a file system in memory (tmpfs), so that weights are never on a disk; this host has none there`,
    );
  const free = found.bavail * found.bsize;
  if (free < bytes)
    throw new VouchError(
      'out-of-memory',
      `${place}: expected room for ${bytes} bytes of weights, it has ${free}; mount it larger: mount -o remount,size=... ${place}`,
    );
  await removeOrphans(place);
  const folder = await mkdtemp(join(place, `vouch-${process.pid}-`));
  await chmod(folder, 0o700);
  // A process that ends without disposing leaves no weights behind; what one that was killed leaves, the next one removes.
  const remove = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', remove);
  return {
    async create(name) {
      const path = join(folder, name);
      await writeFile(path, '', { flag: 'wx', mode: 0o600 });
      return { path, seal: () => chmod(path, 0o400) };
    },
    async [Symbol.asyncDispose]() {
      process.off('exit', remove);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Removes the folders of processes of this user that are no more. Processes that share the place have to share their numbers. */
async function removeOrphans(place: string): Promise<void> {
  for (const name of await readdir(place)) {
    const pid = Number(/^vouch-(\d+)-\w{6}$/.exec(name)?.[1] ?? Number.NaN);
    if (Number.isNaN(pid) || isAlive(pid)) continue;
    const owner = await stat(join(place, name)).catch(() => undefined);
    if (owner?.uid === process.getuid?.()) await rm(join(place, name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** The places to which this host may move memory; none where it does not say. */
export async function swapFiles(): Promise<string[]> {
  const text = await readFile('/proc/swaps', 'utf8').catch(() => '');
  return text
    .split('\n')
    .slice(1)
    .filter((line) => line !== '')
    .map((line) => line.split(/\s/)[0]!);
}
