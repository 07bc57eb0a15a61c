/**
 * A folder of chunks, each a file named by the SHA-256 of its bytes, or by another name of which its reader knows what has to
 * be there: what came over NATS once is read from disk the next time, also by the next process, and by others on this host
 * at the same time.
 *
 * The folder belongs to whoever runs this host, so a chunk counts only when it is found to be the right one each time that it
 * is read; what is damaged or changed is removed, and fetched again. The folder stays within its budget, and leaves room on the
 * disk: what was used least lately goes first. Where nothing can be written, nothing is kept.
 *
 * Not guaranteed: that a chunk which is there now is there later. Several processes may together exceed the budget by what
 * each of them writes between two looks at the folder.
 */
import { createHash } from 'node:crypto';
import { readdir, readFile, rm, stat, statfs, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { VouchError } from '../../protocols/errors.ts';
import { writeWhole } from './files.ts';

/** The folder is looked at again after so many bytes were written, or a sixteenth of its budget where that is less. */
const LOOK_BYTES = 256 * 1024 * 1024;
/** Of the disk, at most so much is left free for others; a tenth of it where that is less. */
const FREE_BYTES = 2 * 1024 ** 3;
const NAME = /^[0-9a-f]{64}$/;

export interface KeptChunks {
  /** The chunk of this digest, checked; undefined where it is not here. */
  get(digest: string): Promise<Uint8Array | undefined>;
  /**
   * What `check` makes of the file in which the chunk of this name is, if it is there. One of which it makes undefined is not the
   * right one, and removed. A name is 64 lower-case hexadecimal digits, as a digest has.
   */
  open<T>(name: string, check: (path: string) => Promise<T | undefined>): Promise<T | undefined>;
  /** Keeps a chunk under its digest or its name, if there is room for it. */
  put(name: string, bytes: Uint8Array): Promise<void>;
  /** The digests that are here, the one that was used last last. */
  digests(): Promise<string[]>;
}

/** `onFull` is told, once until there is room again, why nothing is kept. */
export function keepChunks(
  folder: string,
  maxBytes: number,
  onFull: (reason: string) => void = () => {},
): KeptChunks {
  const lookBytes = Math.min(LOOK_BYTES, maxBytes / 16);
  /** Bytes there, by the last look and what was written since; unknown before the first. */
  let total: number | undefined;
  let written = 0;
  let full = false;
  let before: Promise<unknown> = Promise.resolve();

  /** Makes room for so many bytes; false where there is none. */
  async function makeRoom(bytes: number): Promise<boolean> {
    if (bytes > maxBytes) return false;
    if (total === undefined || total + bytes > maxBytes || written >= lookBytes) {
      written = 0;
      const there = await look(folder);
      total = there.reduce((sum, entry) => sum + entry.bytes, 0);
      // Somewhat more than needed, so that not every chunk looks at all the others.
      const goal = total + bytes > maxBytes ? maxBytes - Math.max(bytes, lookBytes) : maxBytes;
      for (const { path, bytes: own } of there) {
        if (total <= goal) break;
        await rm(path, { force: true }).catch(() => {});
        total -= own;
      }
    }
    return (await freeBytes(folder)) > bytes;
  }

  async function write(digest: string, bytes: Uint8Array): Promise<void> {
    if (!(await makeRoom(bytes.byteLength))) {
      const reason = `${folder} has no room for more: chunks are fetched again when they are needed`;
      if (!full) onFull(reason);
      full = true;
      return;
    }
    // Not synced: what a power cut damages is fetched again.
    await writeWhole(join(folder, digest), bytes, { sync: false });
    total! += bytes.byteLength;
    written += bytes.byteLength;
    full = false;
  }

  const opened: KeptChunks['open'] = async (name, check) => {
    const path = join(folder, name);
    // Looked for first: what is not here yet may be written by another process before it would be removed as wrong.
    if (!(await stat(path).catch(() => undefined))) return undefined;
    const found = await check(path);
    if (found === undefined) {
      await rm(path, { force: true }).catch(() => {});
      return undefined;
    }
    const now = new Date();
    await utimes(path, now, now).catch(() => {});
    return found;
  };

  return {
    get: (digest) =>
      opened<Uint8Array>(digest, async (path) => {
        const bytes = await readFile(path).catch(() => undefined);
        return bytes && createHash('sha256').update(bytes).digest('hex') === digest ? bytes : undefined;
      }),
    open: opened,
    put(digest, bytes) {
      const done = before
        .then(() => write(digest, bytes))
        .catch((error: unknown) => {
          // What cannot be kept is fetched again: no reason to fail.
          if (!(error instanceof VouchError)) throw error;
          if (!full) onFull(error.message);
          full = true;
        });
      before = done.catch(() => {});
      return done;
    },
    digests: async () => (await look(folder)).map(({ digest }) => digest),
  };
}

interface Entry {
  readonly digest: string;
  readonly path: string;
  readonly bytes: number;
  readonly usedAt: number;
}

/** The chunks of a folder, the one that was used least lately first. */
async function look(folder: string): Promise<Entry[]> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => NAME.test(name));
  const entries: Entry[] = [];
  for (const digest of names) {
    const path = join(folder, digest);
    const found = await stat(path).catch(() => undefined);
    if (found?.isFile()) entries.push({ digest, path, bytes: found.size, usedAt: found.mtimeMs });
  }
  return entries.sort((a, b) => a.usedAt - b.usedAt);
}

/** What may be written to the folder's disk; no limit where the system does not say. */
async function freeBytes(folder: string): Promise<number> {
  const disk = await statfs(folder).catch(() => undefined);
  if (!disk) return Number.POSITIVE_INFINITY;
  return disk.bavail * disk.bsize - Math.min(FREE_BYTES, (disk.blocks * disk.bsize) / 10);
}
