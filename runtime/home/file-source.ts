/** A file that a person named, as a source of bytes (circuits/groth16/source.ts): opened once, read where it is needed. */
import { constants, type FileHandle, open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type ByteSource, demandWithin } from '../../circuits/groth16/source.ts';
import { VouchError } from '../../protocols/errors.ts';
import { fileError } from './files.ts';

/** What one read can give is less than 2 GiB. */
const PIECE_BYTES = 2 ** 30;

export interface FileSource extends ByteSource, AsyncDisposable {
  /** absolute */
  readonly path: string;
  /**
   * What changes when the file's content does, as far as the system can tell: device, number, size, and when content
   * and entry were last changed.
   */
  readonly version: string;
  /** When content or entry last changed, in milliseconds as of Date.now. */
  readonly changedAt: number;
}

/** Opens a file for reading. `what` names it in errors: `bad-file` with the reason when it is not one. */
export async function openFile(path: string, what: string): Promise<FileSource> {
  const bad = (why: string) => new VouchError('bad-file', `${what} ${path}: ${why}`);
  let file: FileHandle;
  try {
    // Opening a pipe would wait for its writer.
    file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (error) {
    throw fileError(error, path, 'read', what);
  }
  try {
    const found = await file.stat({ bigint: true });
    // A pipe has no size, and can be read once only.
    if (!found.isFile()) throw bad('it is not a regular file');
    const { dev, ino, size, mtimeNs, ctimeNs } = found;
    const byteLength = Number(size);
    return {
      path: resolve(path),
      changedAt: Number(ctimeNs / 1_000_000n),
      byteLength,
      version: [dev, ino, size, mtimeNs, ctimeNs].join(' '),
      async read(offset, target) {
        demandWithin({ byteLength }, offset, target.byteLength);
        for (let at = 0; at < target.byteLength; ) {
          const length = Math.min(target.byteLength - at, PIECE_BYTES);
          const { bytesRead } = await file.read(target, at, length, offset + at).catch((error: unknown) => {
            throw fileError(error, path, 'read', what);
          });
          if (bytesRead === 0) throw bad('it was cut off while it was read');
          at += bytesRead;
        }
      },
      [Symbol.asyncDispose]: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}
