/**
 * What a pool's thread can be asked: programs of our own engine (wasm/instance.ts) on the memory that all threads share, and
 * single operations (fallback.ts).
 */
import { compressRows } from '../programs/rows.ts';
import { instantiateKernel, type Program, type SharedKernel } from '../wasm/instance.ts';
import { createFallback, type Fallback } from './fallback.ts';

type Bytes = Uint8Array<ArrayBuffer>;

/** Names and signatures of what a thread can be asked. */
export interface Kernel extends Fallback {
  /** TypeError where the pool has no shared kernel. */
  program(program: Program): void;
  /** `compressRows`: where rows start (u32 each), terms, coefficients. */
  rows(entries: Bytes, rows: number, coefficientBytes: number): [Bytes, Bytes, Bytes];
}

export interface KernelModules {
  /** wasmcurves' */
  readonly curve: WebAssembly.Module;
  /** Ours; undefined where the engine can't run it, and `curve` does everything. */
  readonly shared: SharedKernel | undefined;
  /** counts the threads that share a memory */
  readonly thread: number;
}

export function createKernel(modules: KernelModules): Kernel {
  let programs: ((program: Program) => void) | undefined;
  return {
    ...createFallback(modules.curve),
    program(program) {
      if (!modules.shared) throw new TypeError('there is no shared kernel');
      programs ??= instantiateKernel(modules.shared, modules.thread);
      programs(program);
    },
    rows(entries, rows, coefficientBytes) {
      const { starts, terms, coefficients } = compressRows(entries, rows, coefficientBytes);
      return [new Uint8Array(starts.buffer), terms, coefficients];
    },
  };
}
