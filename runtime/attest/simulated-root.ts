/**
 * The root of this installation's SIMULATED platforms: a key that the installation makes for itself and keeps in
 * `.vouch/keys`. It protects nothing.
 */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { createSimulatedRoot, type SimulatedRoot } from '../../protocols/attestation/formats/simulated.ts';
import { fromHex, hex, randomBytes } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { folder } from '../context.ts';

const rootFile = (): string => folder('keys', 'simulated-root');

export const hasSimulatedRoot = (): boolean => existsSync(rootFile());

/** The root; made on first use. Throws `bad-file` when its file is damaged. */
export async function simulatedRoot(): Promise<SimulatedRoot> {
  const file = rootFile();
  if (!existsSync(file)) {
    await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
    // Whoever is first makes it; two processes of a fresh installation must not end with a root each.
    await writeFile(file, `${hex(randomBytes(32))}\n`, { flag: 'wx', mode: 0o600 }).catch((error) => {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    });
  }
  const text = readFileSync(file, 'utf8').trim();
  if (!/^[0-9a-f]{64}$/.test(text)) {
    throw new VouchError(
      'bad-file',
      `${file}: expected 32 bytes as hex; delete it to get a new simulated root`,
    );
  }
  return createSimulatedRoot(fromHex(text, 'simulated root', 32));
}
