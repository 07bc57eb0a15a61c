/**
 * `vouch/prover`: Groth16 proofs with snarkjs's files, in Node. `groth16` stands in for snarkjs's own; whoever makes
 * many proofs keeps a prover (`createProver`) and its keys.
 *
 *   import { groth16 } from 'vouch/prover';
 *   const { proof, publicSignals } = await groth16.prove('circuit_final.zkey', 'witness.wtns');
 *
 * Threads end with each call of `groth16`, and with `close` of a prover. Unlike snarkjs, a proof is verified before it
 * is given out, and the points of a key are checked on first use (remembered by content in `.vouch/cache`).
 */

import type { Proved } from '../../circuits/groth16/prove.ts';
import {
  type Proof,
  parseVerificationKey,
  type VerificationKey,
  verifyWith,
} from '../../circuits/groth16/verify.ts';
import { VouchError } from '../../protocols/errors.ts';
import { openFile } from '../home/file-source.ts';
import {
  createProverOn,
  type FileInput,
  type Input,
  type LoadedKey,
  type ProgressOptions,
  type Prover,
  type ProverHost,
} from '../msm/prover.ts';
import { checkOnce, digestOf, tableStore } from './cache.ts';
import { calculateWitness } from './circuit-compiler.ts';
import { type EngineName, engineBeside } from './host-engine.ts';

export type { FileInput, Input, LoadedKey, ProgressOptions, Proof, Proved, Prover, VerificationKey };

export interface ProverOptions {
  /** 1 to 64; the machine's logical cores by default. */
  readonly threads?: number | undefined;
  /** Who makes the sums: threads, the default, a GPU (`webgpu`), or both at once where there is one (`auto`). */
  readonly engine?: EngineName | undefined;
}
export interface ProveOptions extends ProverOptions, ProgressOptions {}

const node: ProverHost = {
  open: openFile,
  checkOnce: async (key, check, { signal }) => checkOnce(`points of ${await digestOf(key, signal)}`, check),
  keptTables: async (key, { signal }) => ({ digest: await digestOf(key, signal), store: tableStore }),
  calculateWitness,
};

/** Threads that stay until `close`, for many proofs. */
export const createProver = ({ threads, engine = 'wasm' }: ProverOptions = {}): Promise<Prover> =>
  createProverOn(node, {
    threads,
    engine: engine === 'wasm' ? undefined : (pool) => engineBeside(pool, { engine }),
  });

/** One key loaded for as long as `work` takes, in threads that end with it. */
async function withKey(
  zkey: FileInput,
  { threads, engine, ...options }: ProveOptions,
  work: (key: LoadedKey, options: ProgressOptions) => Promise<Proved>,
): Promise<Proved> {
  await using prover = await createProver({ threads, engine });
  await using key = await prover.load(zkey, options);
  return await work(key, options);
}

export const groth16 = {
  /** The proof of a witness. Codes of its errors: `bad-file`, `key-rejected`, `proof-rejected`, `cancelled`. */
  prove: (zkey: FileInput, wtns: FileInput, options: ProveOptions = {}): Promise<Proved> =>
    withKey(zkey, options, (key, rest) => key.prove(wtns, rest)),

  /** Computes the witness from the circuit's inputs and proves it. Throws `witness-rejected` and as `prove`. */
  fullProve: (input: Input, wasm: FileInput, zkey: FileInput, options: ProveOptions = {}): Promise<Proved> =>
    withKey(zkey, options, (key, rest) => key.fullProve(input, wasm, rest)),

  /** Whether the proof holds; false for whatever else is given as one. `bad-file` when the key is malformed. */
  async verify(key: VerificationKey, publicSignals: readonly string[], proof: Proof): Promise<boolean> {
    const points = parseVerificationKey(key);
    try {
      return verifyWith(points, publicSignals, proof);
    } catch (error) {
      if (error instanceof VouchError && error.code === 'bad-file') return false;
      throw error;
    }
  },
};
