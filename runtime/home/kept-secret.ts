/** Secrets of this installation that outlive a process: 32 random bytes in a file of their own, as hex, mode 0600. */
import { fromHex, hex, randomBytes } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { createWhole, readTextIfThere } from './files.ts';

/**
 * The secret in a file; made on first use, once for all processes of a fresh installation. Throws `bad-file` when it is
 * damaged: `what` says what is lost with it.
 */
export async function keptSecret(file: string, what: string): Promise<Uint8Array> {
  const known = knownSecret(file, what);
  if (known !== undefined) return known;
  await createWhole(file, `${hex(randomBytes(32))}\n`);
  // Another process may have been first: what lies there now counts.
  const made = knownSecret(file, what);
  if (made === undefined) throw new VouchError('bad-file', `${file}: somebody removed it at once; try again`);
  return made;
}

/** The secret in a file, undefined where there is none yet. Throws as `keptSecret` does. */
export function knownSecret(file: string, what: string): Uint8Array | undefined {
  const text = readTextIfThere(file, 'secret', 1024)?.trim();
  if (text === undefined) return undefined;
  if (/^[0-9a-f]{64}$/.test(text)) return fromHex(text, 'secret', 32);
  throw new VouchError('bad-file', `${file}: expected 32 bytes as hex: ${what}; delete it to get a new one`);
}
