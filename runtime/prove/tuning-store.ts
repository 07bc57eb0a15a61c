/** What GPUs were measured to do (gpu/autotune.ts), kept in `.vouch/cache/gpu`: it may be deleted at any time. */
import { readFile } from 'node:fs/promises';
import { sha256Hex, utf8 } from '../../protocols/encoding.ts';
import type { TuningStore } from '../gpu/autotune.ts';
import { folder, writeWhole } from '../home/home.ts';

export function tuningStore(): TuningStore {
  const fileOf = (key: string) => folder('cache', 'gpu', `${sha256Hex(utf8(key)).slice(0, 16)}.json`);
  return {
    // A file that cannot be read is one that is not there: it is measured again.
    read: (key) => readFile(fileOf(key), 'utf8').catch(() => undefined),
    write: (key, text) => writeWhole(fileOf(key), text),
  };
}
