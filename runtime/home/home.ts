/**
 * The folder `.vouch` and what lies in it. Everything that a start makes lives here and nowhere else:
 *
 *   keys/      NATS seeds, the simulated root, the client's own key      (secret, 0600)
 *   creds/     NATS credentials per role and id                         (secret, 0600)
 *   audits/    the key-brokers' own copies of what they have released and refused
 *   broker/    model keys and their policies; a folder for each broker's shares (secret, 0600)
 *   gpu/       which driver a GPU that a VM has came from
 *   nats/      nats-server's configuration pieces and data
 *   cache/     circuits, proving keys, blobs: content-addressed, may be deleted at any time
 *   models/    what the vendor's side made: ONNX files, test sets, salted parameters (secret, 0600)
 *   policies/  what this installation demands of evidence
 *   setups/    where each proving key came from
 *   receipts/  proofs/  logs/
 *   context.json   what runs now, for commands in other terminals
 *   running    the process id of the `npm start` that uses this folder
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { messageOf, VouchError } from '../../protocols/errors.ts';

/** The checkout (or the packed package) that this file belongs to. */
export const PACKAGE_ROOT = path.resolve(
  import.meta.dirname,
  // A checkout runs TypeScript; the packed package runs the JavaScript of its folder `dist`.
  import.meta.filename.endsWith('.ts') ? '../..' : '../../..',
);

/** `$VOUCH_HOME`, else `.vouch` in the current folder's checkout. */
export function vouchHome(): string {
  return path.resolve(process.env.VOUCH_HOME ?? path.join(PACKAGE_ROOT, '.vouch'));
}

export const folder = (...parts: string[]): string => path.join(vouchHome(), ...parts);

const Context = z.object({
  url: z.string(),
  /** folder with `<role>_<id>.creds` */
  creds: z.string(),
  monitor: z.string().optional(),
  /** the demonstration's */
  model: z.string().optional(),
});
export type Context = z.infer<typeof Context>;

const contextFile = (): string => folder('context.json');

/** Lets every command of this installation find what `npm start` runs; returns the way to take that back. */
export async function publishContext(context: Context): Promise<() => Promise<void>> {
  await writeWhole(contextFile(), `${JSON.stringify(context, null, 2)}\n`);
  return () => rm(contextFile(), { force: true });
}

/** What `npm start` runs now. Throws `bad-file` when nothing runs or the file is damaged. */
export function readContext(): Context {
  let text: string;
  try {
    text = readFileSync(contextFile(), 'utf8');
  } catch {
    throw new VouchError(
      'bad-file',
      `no running Vouch is known in ${vouchHome()}: run npm start in another terminal, or pass --nats URL and --creds FOLDER`,
    );
  }
  try {
    return Context.parse(JSON.parse(text));
  } catch (error) {
    throw new VouchError('bad-file', `${contextFile()} is damaged; run npm start again`, { cause: error });
  }
}

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
