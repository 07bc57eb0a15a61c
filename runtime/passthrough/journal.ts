/** Which driver each function of a GPU's group came from, in `.vouch/gpu`, so that it gets back there after a crash too. */
import { z } from 'zod';
import { VouchError } from '../../protocols/errors.ts';
import { readTextIfThere, writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';

/** What a function was before it was taken. */
export interface Taken {
  readonly address: string;
  /** null: none */
  readonly driver: string | null;
  readonly override: string;
}

/** Where `Taken` outlives a crash of this process. */
export interface Journal {
  /** empty where nothing is taken */
  load(): Promise<readonly Taken[]>;
  save(taken: readonly Taken[]): Promise<void>;
}

const TakenList = z.array(
  z.strictObject({ address: z.string(), driver: z.string().nullable(), override: z.string() }),
);

/** The journal of the GPU at this address. `load` throws `bad-file` where it is damaged. */
export function journalOf(gpu: string): Journal {
  const file = folder('gpu', `${gpu}.json`);
  return {
    async load() {
      const text = readTextIfThere(file, 'the record of taken GPUs');
      if (text === undefined) return [];
      try {
        return TakenList.parse(JSON.parse(text));
      } catch {
        throw new VouchError(
          'bad-file',
          `${file}: damaged; bind the GPU to its driver by hand and delete it`,
        );
      }
    },
    save: (taken) => writeWhole(file, `${JSON.stringify(taken)}\n`),
  };
}
