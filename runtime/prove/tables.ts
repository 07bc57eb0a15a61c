/**
 * Tables of proving keys' points in `.vouch/cache/tables`, a file each, believed as the rest of that folder is: a table
 * that was changed there makes proofs that do not verify, and nothing worse.
 */
import { existsSync, statSync } from 'node:fs';
import type { TableStore } from '../../circuits/groth16/engine.ts';
import { openFile } from '../home/file-source.ts';
import { folder, writeWhole } from '../home/home.ts';

export const tableStore: TableStore = {
  async read(name, target) {
    const path = folder('cache', 'tables', name);
    if (!existsSync(path) || statSync(path).size !== target.byteLength) return false;
    await using file = await openFile(path, 'table');
    await file.read(0, target);
    return true;
  },
  // A full disk costs the next process its time, not this one its proof.
  write: (name, bytes) => writeWhole(folder('cache', 'tables', name), bytes).catch(() => undefined),
};
