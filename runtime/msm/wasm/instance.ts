/**
 * What runs the module of kernel.ts in one thread: a program, that is a list of calls of the module's functions on addresses
 * of a memory that all threads share. Apart from what makes the module, which threads then need not load.
 */
import type { FieldKind } from './field-race.ts';

/** A call of one of the module's functions. */
export type Call = readonly [name: string, ...args: number[]];
export type Program = readonly Call[];

/** What threads share: compiled once, posted to each. */
export interface SharedKernel {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly kind: FieldKind;
  /** Where the regions of the threads' own begin, one after the other, and the bytes of each. */
  readonly regions: { readonly at: number; readonly bytes: number };
}

/** Where the data that no thread's region holds begins. */
export const heapStart = ({ regions }: SharedKernel, threads: number): number =>
  regions.at + threads * regions.bytes;

/** One thread's instance; `index` counts threads. */
export function instantiateKernel(kernel: SharedKernel, index: number): (program: Program) => void {
  const { module, memory } = kernel;
  const env = { memory, base: heapStart(kernel, index) };
  const wasm = new WebAssembly.Instance(module, { env }).exports as Record<
    string,
    (...args: number[]) => void
  >;
  return (program) => {
    for (const [name, ...args] of program) wasm[name]!(...args);
  };
}
