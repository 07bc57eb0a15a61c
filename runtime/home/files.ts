/** Files that a person named, and those of `.vouch`: read and written. */
import { mkdirSync, readFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { messageOf, VouchError } from '../../protocols/errors.ts';

/**
 * Writes a whole file or nothing: a temporary name, sync, rename. A full disk becomes `storage-full` and leaves
 * no half-written file. `mode` 0600 unless told otherwise.
 */
export async function writeWhole(file: string, data: string | Uint8Array, mode = 0o600): Promise<void> {
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  const temporary = `${file}.${process.pid}-${Math.random().toString(36).slice(2, 8)}.tmp`;
  try {
    const handle = await open(temporary, 'w', mode);
    try {
      await handle.writeFile(data);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'ENOSPC' || code === 'EDQUOT') {
      throw new VouchError(
        'storage-full',
        `the disk is full: ${file} was not written; free some space and try again`,
        {
          cause: error,
        },
      );
    }
    throw new VouchError('bad-file', `${file} could not be written: ${messageOf(error)}`, { cause: error });
  }
}

/** Reads a file that a person named. Throws `bad-file` with the reason, `too-large` above `maxBytes`. */
export function readNamed(file: string, what: string, maxBytes = 4 * 1024 ** 3): Uint8Array {
  try {
    const data = readFileSync(file);
    if (data.byteLength > maxBytes) {
      throw new VouchError(
        'too-large',
        `${what} ${file}: expected at most ${maxBytes} bytes, got ${data.byteLength}`,
      );
    }
    return data;
  } catch (error) {
    if (error instanceof VouchError) throw error;
    const reason =
      (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : messageOf(error);
    throw new VouchError('bad-file', `${what} ${file}: ${reason}`, { cause: error });
  }
}
