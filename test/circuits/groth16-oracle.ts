/** snarkjs and its curve as the tests' oracle: typed where it is used, with chosen randomness, and shut down at the end. */
import { existsSync } from 'node:fs';
import type { Proof, VerificationKey } from '../../circuits/groth16/verify.ts';

/** Proving keys and witnesses that snarkjs made; see its MANIFEST.md. */
export const PROVER_DATA = new URL('../../../shared/prover/', import.meta.url).pathname;
export const hasProverData = existsSync(PROVER_DATA);

type File = string | Uint8Array | { type: 'mem'; data?: Uint8Array };
interface Curve {
  Fr: {
    e(value: bigint): Uint8Array;
    random(): Uint8Array;
    fromRng(rng: unknown): Uint8Array;
    toObject(value: Uint8Array): bigint;
  };
  terminate(): Promise<void>;
}
export interface Snarkjs {
  groth16: {
    prove(zkey: File, witness: File): Promise<{ proof: Proof; publicSignals: string[] }>;
    verify(key: VerificationKey, publicSignals: readonly string[], proof: Proof): Promise<boolean>;
  };
  powersOfTau: {
    newAccumulator(curve: Curve, power: number, file: File): Promise<unknown>;
    beacon(from: File, to: File, name: string, hash: string, iterationsExponent: number): Promise<unknown>;
    preparePhase2(from: File, to: File): Promise<unknown>;
  };
  zKey: {
    newZKey(r1cs: File, ptau: File, zkey: File): Promise<unknown>;
    contribute(from: File, to: File, name: string, entropy: string): Promise<unknown>;
    verifyFromInit(init: File, ptau: File, zkey: File): Promise<boolean>;
    exportVerificationKey(zkey: File): Promise<VerificationKey>;
  };
  wtns: { check(r1cs: File, witness: File): Promise<boolean> };
}
export interface Oracle {
  readonly snarkjs: Snarkjs;
  readonly curve: Curve;
  /** ffjavascript's generator, seeded with eight 32-bit words. */
  readonly ChaCha: new (
    seed: number[],
  ) => unknown;
  /** The next calls of snarkjs's Fr.random give these; `groth16 prove` draws r, then s. */
  fixRandom(...values: bigint[]): void;
  /** snarkjs leaves its threads running. */
  close(): Promise<void>;
}

export async function openOracle(): Promise<Oracle> {
  // Neither package has types; a computed name keeps the compiler from asking for them.
  const load = (name: string) => import(name);
  const snarkjs = (await load('snarkjs')) as Snarkjs;
  const ffjavascript = (await load('ffjavascript')) as {
    buildBn128(): Promise<Curve>;
    ChaCha: Oracle['ChaCha'];
  };
  const curve = await ffjavascript.buildBn128();
  return {
    snarkjs,
    curve,
    ChaCha: ffjavascript.ChaCha,
    fixRandom(...values) {
      curve.Fr.random = () => {
        const value = values.shift();
        if (value === undefined)
          throw new Error('the oracle was asked for more randomness than it was given');
        return curve.Fr.e(value);
      };
    },
    close: () => curve.terminate(),
  };
}
