/** Secrets of this installation that outlive a process: 32 random bytes in a file of their own, as hex, mode 0600. */
import { existsSync, readFileSync } from 'node:fs';
import { link, mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fromHex, hex, randomBytes } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';

/** The secret in a file; made on first use. Throws `bad-file` when it is damaged: `what` says what is lost with it. */
export async function keptSecret(file: string, what: string): Promise<Uint8Array> {
  if (!existsSync(file)) {
    await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
    // There whole or not at all, and whoever is first makes it: two processes of a fresh installation read one secret.
    const partial = `${file}.${hex(randomBytes(6))}.tmp`;
    try {
      await writeFile(partial, `${hex(randomBytes(32))}\n`, { flag: 'wx', mode: 0o600, flush: true });
      await link(partial, file).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
      });
    } finally {
      await rm(partial, { force: true });
    }
  }
  const text = readFileSync(file, 'utf8').trim();
  if (!/^[0-9a-f]{64}$/.test(text))
    throw new VouchError(
      'bad-file',
      `${file}: expected 32 bytes as hex: ${what}; delete it to get a new one`,
    );
  return fromHex(text, 'secret', 32);
}
