/**
 * A coordinator as a node of its own fleet: while its threads have nothing else to do, it sums pieces as a worker would, as
 * the ledgers say, and without a seal, because the scalars are here already. What its threads are busy with meanwhile, and for
 * how long about, is what the ledgers need to know of it.
 *
 * Not guaranteed: that a piece in work can be stopped. It ends by itself, and nobody looks at it then.
 */
import type { Rates } from '../msm/shards/work.ts';

/** Kinds of work whose last time is remembered. */
const MAX_KINDS = 64;

export interface OwnNode {
  /** as ledgers know it; no worker's id has a dot */
  readonly id: string;
  /** as people read it */
  readonly name: string;
  /** undefined until they were measured */
  rates(): Rates | undefined;
  /** How long its threads are busy with other things, as such things took last time; 0: they are idle. */
  busyMs(): number;
  /** Runs what takes all threads; `kind` names things that take equally long. */
  occupied<T>(kind: string, run: () => Promise<T>): Promise<T>;
  /** Called whenever it becomes idle. Returns a function that ends it. */
  onIdle(listener: () => void): () => void;
}

/** `measure` resolves with its rates; where it rejects, nothing is ever summed here. */
export function createOwnNode(name: string, measure: () => Promise<Rates>): OwnNode {
  const lastMs = new Map<string, number>();
  const listeners = new Set<() => void>();
  let users = 0;
  let freeAt = 0;
  let rates: Rates | undefined;
  const occupied: OwnNode['occupied'] = async (kind, run) => {
    const began = performance.now();
    users += 1;
    freeAt = Math.max(freeAt, began) + (lastMs.get(kind) ?? 0);
    try {
      const result = await run();
      lastMs.delete(kind);
      lastMs.set(kind, performance.now() - began);
      for (const oldest of lastMs.keys()) if (lastMs.size > MAX_KINDS) lastMs.delete(oldest);
      return result;
    } finally {
      users -= 1;
      if (users === 0) for (const listener of listeners) listener();
    }
  };
  occupied('rates', async () => {
    rates = await measure();
  }).catch(() => {});
  return {
    id: `coordinator.${name}`,
    name,
    rates: () => rates,
    // Whoever takes longer than last time takes a little longer still.
    busyMs: () => (users === 0 ? 0 : Math.max(1, freeAt - performance.now())),
    occupied,
    onIdle(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
