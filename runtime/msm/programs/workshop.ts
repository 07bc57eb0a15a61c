/**
 * What the engine's parts share: the threads' memory, who runs programs on it, and how work is cut into pieces.
 */
import type { EngineOptions } from '../../../circuits/groth16/engine.ts';
import type { Group } from '../../../circuits/groth16/point.ts';
import { heapStart, type Program, type SharedKernel } from '../wasm/instance.ts';
import { type FieldKind, type KernelShape, shapeOf } from '../wasm/kernel.ts';
import type { Degree } from '../wasm/layout.ts';
import { type Arena, createArena, type Region } from './arena.ts';

/** Elements that a thread works on before it takes the next piece. */
const CHUNK = 1 << 14;

/**
 * Runs one program on the next free thread. It is made when the thread is known: its number, and a generation that
 * changes when a program of this thread was cut short.
 */
export type Run = (
  program: (thread: number, generation: number) => Program,
  options?: EngineOptions,
) => Promise<void>;

export interface Workshop extends KernelShape {
  readonly kind: FieldKind;
  readonly threads: number;
  readonly arena: Arena;
  readonly run: Run;
  /** The memory as it is now. */
  view(): DataView;
  /** A region for as long as `use` takes. */
  using<T>(bytes: number, use: (region: Region) => Promise<T>): Promise<T>;
  /** A region with these bytes, for as long as `use` takes. */
  putting<T>(bytes: Uint8Array, use: (region: Region) => Promise<T>): Promise<T>;
  put(bytes: Uint8Array): Region;
  /** Cuts `count` into ranges of at most `chunk`, of which all but the last are multiples of `multiple`. */
  ranges(count: number, chunk?: number, multiple?: number): Generator<[from: number, count: number]>;
}

export function createWorkshop(kernel: SharedKernel, threads: number, run: Run): Workshop {
  const shape = shapeOf(kernel.kind);
  const arena = createArena(kernel.memory, heapStart(kernel, threads));
  async function using<T>(bytes: number, use: (region: Region) => Promise<T>): Promise<T> {
    const region = arena.allocate(bytes);
    try {
      return await use(region);
    } finally {
      arena.release(region);
    }
  }
  function put(bytes: Uint8Array): Region {
    const region = arena.allocate(bytes.byteLength);
    arena.bytes(region).set(bytes);
    return region;
  }
  return {
    ...shape,
    kind: kernel.kind,
    threads,
    arena,
    run,
    view: () => new DataView(kernel.memory.buffer),
    using,
    put,
    putting: (bytes, use) =>
      using(bytes.byteLength, (region) => {
        arena.bytes(region).set(bytes);
        return use(region);
      }),
    *ranges(count, chunk = CHUNK, multiple = 2) {
      const fair = Math.min(chunk, Math.ceil(count / threads));
      const size = Math.max(multiple, Math.ceil(fair / multiple) * multiple);
      for (let from = 0; from < count; from += size) yield [from, Math.min(size, count - from)];
    },
  };
}

/** All of these have ended when this one has, so that what they use can be given back. */
export async function all(work: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) if (result.status === 'rejected') throw result.reason;
}

/** The bounds of piece `index` of `pieces` about equal ones. */
export const slice = (count: number, index: number, pieces: number): [number, number] => [
  Math.floor((count * index) / pieces),
  Math.floor((count * (index + 1)) / pieces),
];

export const degreeOf = (group: Group): Degree => (group === 'G1' ? 1 : 2);
