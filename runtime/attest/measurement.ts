/**
 * What a simulated enclave measures: the code that a process of Vouch runs. Real hardware measures the image
 * it launches; here the process hashes its own files, which proves nothing to anyone who does not trust that
 * process. It exists so that policies, refusals and receipts are exercised with a value that really changes
 * when the code does.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { Role } from '../../protocols/subjects.ts';
import { PACKAGE_ROOT } from '../home/home.ts';

const CODE_FOLDERS = ['actors', 'circuits', 'protocols', 'runtime'];

/** SHA-384 over the sorted names and contents of the code, as 96 hex digits; the same for every role. */
function codeDigest(): Buffer {
  const base = import.meta.filename.endsWith('.js') ? path.join(PACKAGE_ROOT, 'dist') : PACKAGE_ROOT;
  const hash = createHash('sha384');
  for (const name of CODE_FOLDERS) {
    const files = readdirSync(path.join(base, name), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.(ts|js|mjs|circom)$/.test(entry.name))
      .map((entry) => path.relative(base, path.join(entry.parentPath, entry.name)).replaceAll(path.sep, '/'))
      .sort();
    for (const file of files) {
      const content = readFileSync(path.join(base, file));
      hash.update(`${file}\0${content.length}\0`).update(content);
    }
  }
  return hash.digest();
}

/** The measurement of a process that plays `role`: SHA-384("vouch/v1/simulated-measurement" || role || code). */
export function measure(role: Role): string {
  return createHash('sha384')
    .update(`vouch/v1/simulated-measurement\0${role}\0`)
    .update(codeDigest())
    .digest('hex');
}
