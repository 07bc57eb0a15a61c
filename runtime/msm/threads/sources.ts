/**
 * The code of the threads as text, where the prover is one bundle (runtime/pack.mjs replaces this file then): whoever
 * bundles it again need not find files beside it. Empty in a checkout, whose threads are files.
 */
export const THREAD_SOURCES: {
  /** worker.ts, a script for `eval` */
  readonly node?: string;
  /** web-worker.ts */
  readonly web?: string;
  /** witness-thread.ts of runtime/prove, a script for `eval` */
  readonly nodeWitness?: string;
  /** web-witness.ts */
  readonly webWitness?: string;
} = {};
