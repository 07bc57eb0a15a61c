/**
 * Files that a person named, and those of `.vouch`: all are read and written through this module, so that what the
 * system refuses is said in one sentence: which file, what is wrong, what to do. The error is `storage-full` for a full
 * disk and `bad-file` for everything else.
 *
 * It does not guarantee that a place which can be written now can be written later, and a folder that was made stays
 * when the file for it is never written.
 */
import {
  closeSync,
  type Dirent,
  fstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
} from 'node:fs';
import {
  access,
  constants,
  type FileHandle,
  link,
  mkdir,
  open,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import path from 'node:path';
import type { ByteSink } from '../../circuits/groth16/source.ts';
import { hex, randomBytes } from '../../protocols/encoding.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { vouchHome } from './home.ts';

const FULL: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT']);
/** What the system's codes mean for a file. */
const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EISDIR: 'it is a folder, expected a file',
  ENOTDIR: 'a part of its path is a file, expected a folder',
  EEXIST: 'something else lies there',
  EROFS: 'the file system is read-only',
  EACCES: 'access is denied',
  EPERM: 'the system does not permit it',
  EBUSY: 'something else uses it',
  ENAMETOOLONG: 'its name is too long',
  ELOOP: 'its symbolic links lead in a circle',
  EMFILE: 'this process has too many files open',
  ENFILE: 'the system has too many files open',
};
const TOO_MANY: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE']);

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException | undefined)?.code;

/**
 * What a person reads when the system refuses a file. `what` names the file's role, such as "policy". An error that is
 * not the system's is returned as it is.
 */
export function fileError(error: unknown, file: string, doing: 'read' | 'write', what?: string): unknown {
  const code = codeOf(error);
  if (error instanceof VouchError || typeof code !== 'string') return error;
  const name = what === undefined ? file : `${what} ${file}`;
  if (FULL.has(code)) {
    return new VouchError(
      'storage-full',
      `the disk is full: ${name} was not written; free some space and try again`,
      { cause: error },
    );
  }
  const missing = code === 'ENOENT' && doing === 'write' ? 'its folder cannot be made' : undefined;
  const reason = missing ?? REASONS[code] ?? messageOf(error);
  const remedy = TOO_MANY.has(code)
    ? 'end other programs, or raise the limit (ulimit -n)'
    : isInHome(file)
      ? 'mend that, or set VOUCH_HOME to another folder'
      : doing === 'write'
        ? 'name another place'
        : 'name another file';
  return new VouchError(
    'bad-file',
    doing === 'read' ? `${name}: ${reason}; ${remedy}` : `${name} could not be written: ${reason}; ${remedy}`,
    { cause: error },
  );
}

/** The system's calls that are about files. */
const READS: ReadonlySet<string> = new Set('open read scandir stat lstat realpath access'.split(' '));
const WRITES: ReadonlySet<string> = new Set(
  'write fsync mkdir mkdtemp rename link symlink unlink rm rmdir copyfile chmod ftruncate'.split(' '),
);

/** The same for an error that nobody has put into words before; undefined when it is not about a file. */
export function fileErrorOf(error: unknown): VouchError | undefined {
  const { code, path: file, syscall } = (error ?? {}) as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined) return undefined;
  if (!WRITES.has(syscall) && !READS.has(syscall)) return undefined;
  const doing = WRITES.has(syscall) || code === 'EROFS' ? 'write' : 'read';
  return fileError(error, file ?? 'a file', doing) as VouchError;
}

function isInHome(file: string): boolean {
  const relative = path.relative(vouchHome(), path.resolve(file));
  return !relative.startsWith('..') && !path.isAbsolute(relative);
}

/** Whether a folder lies there; why something cannot be read, whoever reads it says. */
export function isFolder(file: string): boolean {
  try {
    return statSync(file).isDirectory();
  } catch {
    return false;
  }
}

/** Reads a whole file. `what` names it in errors: `bad-file` with the reason, `too-large` above `maxBytes`. */
export function readNamed(file: string, what: string, maxBytes = 2 ** 31 - 1): Uint8Array {
  let opened: number | undefined;
  try {
    opened = openSync(file, 'r');
    const found = fstatSync(opened);
    // The size is known before memory is taken; that of a pipe or a device is not.
    if (found.isFile() && found.size > maxBytes) throw tooLarge(file, what, maxBytes, found.size);
    return found.isFile() ? readFileSync(opened) : readStream(opened, file, what, maxBytes);
  } catch (error) {
    throw fileError(error, file, 'read', what);
  } finally {
    if (opened !== undefined) closeSync(opened);
  }
}

/** The same for text, UTF-8. */
export const readText = (file: string, what: string, maxBytes?: number): string =>
  new TextDecoder().decode(readNamed(file, what, maxBytes));

/** As `readNamed`, undefined where there is no such file. */
export function readIfThere(file: string, what: string, maxBytes?: number): Uint8Array | undefined {
  try {
    return readNamed(file, what, maxBytes);
  } catch (error) {
    if (error instanceof VouchError && codeOf(error.cause) === 'ENOENT') return undefined;
    throw error;
  }
}

/** As `readText`, undefined where there is no such file. */
export function readTextIfThere(file: string, what: string, maxBytes?: number): string | undefined {
  const bytes = readIfThere(file, what, maxBytes);
  return bytes && new TextDecoder().decode(bytes);
}

/** What lies in a folder; nothing where there is none. */
export function entriesIn(directory: string, what: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw fileError(error, directory, 'read', what);
  }
}

const PIECE_BYTES = 64 * 1024;
/** What one write can take is less than 2 GiB. */
const WRITTEN_BYTES = 2 ** 30;
function readStream(opened: number, file: string, what: string, maxBytes: number): Uint8Array {
  const pieces: Buffer[] = [];
  for (let total = 0; ; ) {
    const piece = Buffer.alloc(PIECE_BYTES);
    const length = readSync(opened, piece);
    if (length === 0) return Buffer.concat(pieces);
    pieces.push(piece.subarray(0, length));
    total += length;
    if (total > maxBytes) throw tooLarge(file, what, maxBytes, 'more');
  }
}

const tooLarge = (file: string, what: string, maxBytes: number, got: number | string): VouchError =>
  new VouchError('too-large', `${what} ${file}: expected at most ${maxBytes} bytes, got ${got}`);

export interface WriteOptions {
  /** default: 0600 */
  readonly mode?: number;
  /** false: after a power cut the file may be empty, which is good enough where its content is checked (default true) */
  readonly sync?: boolean;
}

/**
 * Writes a whole file or nothing, and the folders above it where they are missing: a temporary name, sync, rename. A
 * device or a pipe is written to, and a symbolic link is followed.
 */
export async function writeWhole(
  file: string,
  data: string | Uint8Array,
  options: WriteOptions = {},
): Promise<void> {
  await put(file, data, options, rename);
}

/** As `writeWhole`, for bytes that are not in memory at once: `write` puts them where they belong, in any order. */
export async function writePieces<T>(file: string, write: (sink: ByteSink) => Promise<T>): Promise<T> {
  try {
    const { place, stream } = await placeOf(file);
    if (stream) throw Object.assign(new Error('it is no regular file'), { code: 'EEXIST' });
    return await throughTemporary(path.dirname(place), 0o600, async (temporary, handle) => {
      const result = await write({
        async write(offset, bytes) {
          for (let at = 0; at < bytes.byteLength; ) {
            const length = Math.min(bytes.byteLength - at, WRITTEN_BYTES);
            const { bytesWritten } = await handle.write(bytes, at, length, offset + at).catch((error) => {
              throw fileError(error, file, 'write');
            });
            at += bytesWritten;
          }
        },
      });
      await handle.sync();
      await handle.close();
      await rename(temporary, place);
      return result;
    });
  } catch (error) {
    throw fileError(error, file, 'write');
  }
}

/** Writes a file as `writeWhole` does, unless it is there already: of several processes one gets true. */
export async function createWhole(file: string, data: string | Uint8Array): Promise<boolean> {
  let created = true;
  await put(file, data, {}, (temporary, place) =>
    link(temporary, place).catch((error: unknown) => {
      if (codeOf(error) !== 'EEXIST') throw error;
      created = false;
    }),
  );
  return created;
}

async function put(
  file: string,
  data: string | Uint8Array,
  { mode = 0o600, sync = true }: WriteOptions,
  move: (temporary: string, place: string) => Promise<void>,
): Promise<void> {
  try {
    const { place, stream } = await placeOf(file);
    if (stream) return await writeFile(place, data);
    await throughTemporary(path.dirname(place), mode, async (temporary, handle) => {
      await handle.writeFile(data);
      if (sync) await handle.sync();
      await handle.close();
      await move(temporary, place);
    });
  } catch (error) {
    throw fileError(error, file, 'write');
  }
}

/** Opens a file to append to, mode 0600, made where it is not there. */
export async function openLog(file: string): Promise<FileHandle> {
  try {
    await makeMissing(path.dirname(path.resolve(file)));
    return await open(file, 'a', 0o600);
  } catch (error) {
    throw fileError(error, file, 'write');
  }
}

/** Appends to a file, made where it is not there, and returns once it is on the disk. */
export async function appendSynced(file: string, text: string): Promise<void> {
  await using handle = await openLog(file);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } catch (error) {
    throw fileError(error, file, 'write');
  }
}

/** Removes a file, if it is there. */
export async function removeFile(file: string): Promise<void> {
  try {
    await rm(file, { force: true });
  } catch (error) {
    throw fileError(error, file, 'write');
  }
}

/**
 * Throws unless a file can be written, and makes the folders that it needs: for commands that work long before they
 * write. Nothing else is left behind, whatever ends the process.
 */
export async function demandWritable(file: string): Promise<void> {
  try {
    const { place, stream } = await placeOf(file);
    if (stream) await access(place, constants.W_OK);
    else await throughTemporary(path.dirname(place), 0o600, (_, handle) => handle.close());
  } catch (error) {
    throw fileError(error, file, 'write');
  }
}

/** The same for whatever files a folder is to get. */
export async function demandWritableFolder(directory: string): Promise<void> {
  await makeFolder(directory);
  try {
    await throughTemporary(directory, 0o600, (_, handle) => handle.close());
  } catch (error) {
    throw fileError(error, directory, 'write');
  }
}

/** Makes a folder, mode 0700, and those above it where they are missing. */
export async function makeFolder(directory: string): Promise<void> {
  try {
    await makeMissing(path.resolve(directory));
  } catch (error) {
    throw fileError(error, directory, 'write', 'folder');
  }
}

/** One folder at a time: Node's own recursive mkdir never returns below /proc, where the kernel makes no folder. */
async function makeMissing(directory: string): Promise<void> {
  if (await isFolderThere(directory)) return;
  const above = path.dirname(directory);
  // A drive that is not there has nothing above it.
  if (above === directory) throw Object.assign(new Error(`there is no ${directory}`), { code: 'ENOENT' });
  await makeMissing(above);
  try {
    await mkdir(directory, { mode: 0o700 });
  } catch (error) {
    // Somebody else may have been faster.
    if (codeOf(error) !== 'EEXIST' || !(await isFolderThere(directory))) throw error;
  }
}

/** False where there is nothing. Throws ENOTDIR for a file. */
async function isFolderThere(directory: string): Promise<boolean> {
  const found = await statOf(directory);
  if (found === undefined || found.isDirectory()) return found !== undefined;
  throw Object.assign(new Error(`${directory} is a file`), { code: 'ENOTDIR' });
}

const statOf = (file: string) =>
  stat(file).catch((error: unknown) => {
    if (codeOf(error) !== 'ENOENT') throw error;
  });

/** Where a file of this name goes, its folder there; `stream`: it is written to as it is, and not replaced. */
async function placeOf(file: string): Promise<{ readonly place: string; readonly stream: boolean }> {
  const found = await statOf(file);
  if (found === undefined) {
    const place = path.resolve(file);
    await makeMissing(path.dirname(place));
    return { place, stream: false };
  }
  if (found.isDirectory()) throw Object.assign(new Error(`${file} is a folder`), { code: 'EISDIR' });
  return found.isFile() ? { place: await realpath(file), stream: false } : { place: file, stream: true };
}

/** Files that are being written. Work that was given up (Ctrl-C) may be writing one when the process ends. */
const unfinished = new Set<string>();
let sweeps = false;
function sweepAtExit(): void {
  if (sweeps) return;
  sweeps = true;
  process.once('exit', () => {
    for (const temporary of unfinished) rmSync(temporary, { force: true });
  });
}

/** A new file in a folder for as long as `work` lasts; gone afterwards unless it was moved. */
async function throughTemporary<T>(
  directory: string,
  mode: number,
  work: (temporary: string, handle: FileHandle) => Promise<T>,
): Promise<T> {
  // A short name: one made from the file's own could be longer than the file system takes.
  const temporary = path.join(directory, `.${hex(randomBytes(8))}.tmp`);
  sweepAtExit();
  unfinished.add(temporary);
  try {
    await using handle = await open(temporary, 'wx', mode);
    return await work(temporary, handle);
  } finally {
    await rm(temporary, { force: true });
    unfinished.delete(temporary);
  }
}
