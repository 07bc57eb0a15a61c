/**
 * What a coordinator keeps from one proof to the next: keys that passed their check, loaded, as long as they fit into a budget,
 * their circuits, and what computes their circuits' witnesses. An engine keeps of a key what its proofs have used: rows and powers, which are
 * public. Nothing of a witness stays.
 */
import {
  type ProverEngine,
  type ReadyKey,
  type ReadyOptions,
  SECTIONS,
} from '../../circuits/groth16/engine.ts';
import type { ProvingKey } from '../../circuits/groth16/zkey.ts';
import type { EmittedCircuit } from '../../circuits/model/emit.ts';
import type { Calculators } from '../msm/threads/calculators.ts';
import { openCalculators } from '../prove/witness-calculator.ts';

/** Of what keys take in the engine: one of 2^22 rows, or some tens of 2^16. */
const KEPT_BYTES = 2 ** 30;
/** Sources that were emitted: some megabytes each at most. */
const KEPT_CIRCUITS = 8;
/** In the engine's form: a power for each row, and where its terms begin. */
const ROW_BYTES = 48;

/** An engine's points are at most so many times as large as a file's. */
const POINT_GROWTH = 1.4;

/** What a key takes at most: its rows and powers, and its points where they are held. */
export function heldBytes(key: ProvingKey, points: 'held' | 'streamed' = 'streamed'): number {
  const ofPoints = SECTIONS.reduce((sum, section) => sum + key.range(section).length, 0);
  return (
    key.range('entries').length +
    ROW_BYTES * key.domainSize +
    (points === 'held' ? Math.ceil(POINT_GROWTH * ofPoints) : 0)
  );
}

export interface KeptCircuits extends ProverEngine {
  readonly calculators: Calculators;
  /** The circuit of this name, emitted by `emit` unless it is one of the last few; a name stands for all that `emit` looks at. */
  circuitOf(name: string, emit: () => EmittedCircuit): EmittedCircuit;
  /** The key that was kept under this name, if it still is. */
  kept(name: string): ProvingKey | undefined;
  /** Keeps a checked key; the ones that were used least lately go where it has no room beside them. */
  keep(name: string, key: ProvingKey): void;
  close(): Promise<void>;
}

interface Entry {
  readonly key: ProvingKey;
  readonly points: 'held' | 'streamed';
  readonly bytes: number;
  ready: Promise<ReadyKey> | undefined;
}

/**
 * An engine that makes kept keys ready once. It stays its caller's to close, after this. `points`: whether those of a key stay
 * as well, where they fit; otherwise they are read where they are needed.
 */
export function keepCircuits(
  engine: ProverEngine,
  maxBytes = KEPT_BYTES,
  points: 'held' | 'streamed' = 'streamed',
): KeptCircuits {
  /** The last used one last. */
  const entries = new Map<string, Entry>();
  /** Likewise. */
  const circuits = new Map<string, EmittedCircuit>();
  const calculators = openCalculators();

  /** Calls under way go on: an engine gives a key's memory back behind the last of them. */
  const release = ({ ready }: Entry) =>
    ready?.then(
      (key) => key.release(),
      () => undefined,
    );
  function drop(name: string): void {
    const entry = entries.get(name);
    entries.delete(name);
    if (entry) void release(entry);
  }
  function touch(name: string): Entry | undefined {
    const entry = entries.get(name);
    if (!entry) return undefined;
    entries.delete(name);
    entries.set(name, entry);
    return entry;
  }

  async function ready(key: ProvingKey, options?: ReadyOptions): Promise<ReadyKey> {
    const entry = [...entries.values()].find((candidate) => candidate.key === key);
    if (!entry) return engine.ready(key, options);
    // Without the signal of the job that happens to be the first.
    entry.ready ??= engine.ready(key, { points: entry.points });
    try {
      return { ...(await entry.ready), release() {} };
    } catch (error) {
      entry.ready = undefined;
      throw error;
    }
  }

  return {
    msm: engine.msm,
    pairingsCancel: engine.pairingsCancel,
    firstOffCurve: engine.firstOffCurve,
    ready,
    calculators,
    circuitOf(name, emit) {
      const circuit = circuits.get(name) ?? emit();
      circuits.delete(name);
      circuits.set(name, circuit);
      for (const oldest of circuits.keys()) if (circuits.size > KEPT_CIRCUITS) circuits.delete(oldest);
      return circuit;
    },
    kept: (name) => touch(name)?.key,
    keep(name, key) {
      drop(name);
      const fitting = heldBytes(key, points) > maxBytes ? 'streamed' : points;
      const bytes = heldBytes(key, fitting);
      if (bytes > maxBytes) return;
      entries.set(name, { key, points: fitting, bytes, ready: undefined });
      const total = () => [...entries.values()].reduce((sum, entry) => sum + entry.bytes, 0);
      for (const oldest of entries.keys()) if (total() > maxBytes) drop(oldest);
    },
    async close() {
      await calculators.close();
      for (const name of [...entries.keys()]) drop(name);
    },
  };
}
