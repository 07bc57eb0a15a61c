/**
 * `vouch/prover`: Groth16 proofs with snarkjs's files, in Node. `groth16` stands in for snarkjs's own; whoever makes
 * many proofs keeps a prover (`createProver`) and its keys.
 *
 *   import { groth16 } from 'vouch/prover';
 *   const { proof, publicSignals } = await groth16.prove('circuit_final.zkey', 'witness.wtns');
 *
 * Threads end a second after the last call of `groth16`, and with `close` of a prover. Unlike snarkjs, a proof is
 * verified before it is given out, and the points of a key are checked on first use (remembered by content in
 * `.vouch/cache`).
 * docs/PROVER.md compares everything, call by call.
 */

import type { Proved } from '../../circuits/groth16/prove.ts';
import type { VerificationKey } from '../../circuits/groth16/verify.ts';
import { openFile } from '../home/file-source.ts';
import { writeWhole } from '../home/files.ts';
import { createDropIn } from '../msm/drop-in.ts';
import { type ProverOptions, readProverOptions } from '../msm/options.ts';
import { createProverOn, type FileInput, type Prover, type ProverHost } from '../msm/prover.ts';
import { checkPointsOnce, digestOf, pointsWereChecked, tableStore } from './cache.ts';
import { openCalculators } from './witness-calculator.ts';

export type { CircuitInfo, FileOutput, Proof, ProofLike, Verdict, VerifyOptions } from '../msm/drop-in.ts';
export type { Logger, ProveOptions, ProverOptions } from '../msm/options.ts';
export type { Input, LoadedKey, ProgressOptions } from '../msm/prover.ts';
export type { FileInput, Proved, Prover, VerificationKey };

const node: ProverHost = {
  open: openFile,
  checkOnce: (key, check, { signal }) => checkPointsOnce(key, check, signal),
  wasChecked: pointsWereChecked,
  keptTables: async (key, { signal }) => ({ digest: await digestOf(key, signal), store: tableStore }),
  openCalculators,
};

/** Threads that stay until `close`, for many proofs. `bad-input` names an option that is wrong. */
export async function createProver(options: ProverOptions = {}): Promise<Prover> {
  const { threads, engine = 'wasm' } = readProverOptions(options);
  if (engine === 'wasm') return createProverOn(node, { threads });
  // The GPU's part is loaded where it is asked for.
  const { engineBeside } = await import('./host-engine.ts');
  return createProverOn(node, { threads, engine: (pool) => engineBeside(pool, { engine }) });
}

const dropIn = createDropIn({
  ...node,
  createProver,
  write: (name, bytes) => writeWhole(name, bytes, { mode: 0o644 }),
});

export const { groth16, wtns, r1cs } = dropIn;

export const zKey = {
  ...dropIn.zKey,
  /**
   * The contract that verifies proofs of this key on Ethereum: snarkjs's own, from its template, after the key was read as
   * strictly as for a proof. `not-ready` where snarkjs is not installed.
   */
  async exportSolidityVerifier(zkey: FileInput): Promise<string> {
    await dropIn.zKey.exportVerificationKey(zkey);
    const { solidityVerifier } = await import('./snarkjs.ts');
    return solidityVerifier(zkey instanceof Blob ? new Uint8Array(await zkey.arrayBuffer()) : zkey);
  },
};
