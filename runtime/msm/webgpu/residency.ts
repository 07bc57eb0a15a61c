/**
 * What stays on a device between uses, by name: a proving key by its digest. Within a budget of bytes the least recently
 * used goes first; what is in use is pinned and stays.
 */
import { VouchError } from '../../../protocols/errors.ts';

export interface Resident {
  /** device memory that it holds */
  readonly bytes: number;
  release(): void;
}
export interface Pin<T> {
  readonly held: T;
  /** It may be dropped from here on. Only the first call counts. */
  unpin(): void;
}

/** Bytes of a device's memory that keys and points take, and may take now. */
export interface DeviceMemory {
  readonly bytes: number;
  readonly budget: number;
}

export interface Residency {
  /**
   * What is known by that name, or else what `make` makes, for whose `bytes` room is made first. Whoever asks for the
   * same name meanwhile waits for the same. A name always stands for the same kind of thing. `too-large` for what never
   * fits the budget, `busy` where pinned things leave too little of it.
   */
  take<T extends Resident>(name: string, bytes: number, make: () => Promise<T>): Promise<Pin<T>>;
  /** Names that are here in full, the least recently used first. */
  names(): string[];
  /** Bytes of what is here, and of what may be. */
  readonly memory: DeviceMemory;
  /** Drops what is not in use until the rest fits the budget, which may have become smaller. */
  shrink(): void;
  /** Drops everything; what is pinned too. */
  clear(): void;
}

interface Entry {
  readonly made: Promise<Resident>;
  bytes: number;
  pins: number;
  held?: Resident;
}

/** `budgetNow` tells the budget in bytes, which may change. */
export function createResidency(budgetNow: () => number): Residency {
  // A Map keeps the order of insertion: the least recently used first.
  const entries = new Map<string, Entry>();

  const total = () => [...entries.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  const drop = (name: string, entry: Entry) => {
    if (entries.get(name) === entry) entries.delete(name);
    entry.held?.release();
    delete entry.held;
  };
  const shrinkTo = (budget: number): void => {
    for (const [name, entry] of [...entries]) {
      if (total() <= budget) return;
      if (entry.pins === 0) drop(name, entry);
    }
  };
  function makeRoom(bytes: number): void {
    const budget = budgetNow();
    if (bytes > budget) {
      throw new VouchError(
        'too-large',
        `${mebibytes(bytes)} do not fit the GPU's share for keys, ${mebibytes(budget)}`,
      );
    }
    shrinkTo(budget - bytes);
    if (total() + bytes <= budget) return;
    throw new VouchError(
      'busy',
      `the GPU's share for keys is ${mebibytes(budget)}, too much of it is in use for ${mebibytes(bytes)} more`,
    );
  }
  function begin(name: string, bytes: number, make: () => Promise<Resident>): Entry {
    makeRoom(bytes);
    const entry: Entry = { made: make(), bytes, pins: 0 };
    entries.set(name, entry);
    entry.made.then(
      (held) => {
        // It was cleared away while it was made.
        if (entries.get(name) !== entry) return held.release();
        entry.held = held;
        entry.bytes = held.bytes;
      },
      () => drop(name, entry),
    );
    return entry;
  }

  return {
    async take<T extends Resident>(name: string, bytes: number, make: () => Promise<T>) {
      const entry = entries.get(name) ?? begin(name, bytes, make);
      entry.pins++;
      let pinned = true;
      const unpin = () => {
        if (pinned) entry.pins--;
        pinned = false;
      };
      try {
        const held = (await entry.made) as T;
        if (entries.get(name) !== entry) throw new VouchError('device-lost', 'the device was given up');
        entries.delete(name);
        entries.set(name, entry);
        return { held, unpin };
      } catch (error) {
        unpin();
        throw error;
      }
    },
    get memory() {
      return { bytes: total(), budget: budgetNow() };
    },
    shrink: () => shrinkTo(budgetNow()),
    names: () => [...entries].flatMap(([name, { held }]) => (held ? [name] : [])),
    clear() {
      for (const [name, entry] of [...entries]) drop(name, entry);
    },
  };
}

const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;
