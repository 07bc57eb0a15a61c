/**
 * One proof in a process of its own, so that its peak memory is that of proving: `large-proof.ts ZKEY WTNS THREADS`
 * prints a `LargeProof`. The parent makes key and witness.
 */
import { createProver, type Proved } from '../../runtime/prove/prover.ts';
import { peakOfSelf } from './own-peak.ts';

export interface LargeProof {
  /** Whether the key's points were checked, because they were new to this installation; that takes its time. */
  readonly checked: boolean;
  /** From files to verified proof, in milliseconds. */
  readonly ms: number;
  /** Of these, until the key was loaded, and checked where it was. */
  readonly loadedMs: number;
  /** Most memory that was resident, in bytes. */
  readonly peak: number;
  readonly proved: Proved;
}

const [zkey, wtns, threads] = process.argv.slice(2) as [string, string, string];
let checked = false;
const began = performance.now();
await using prover = await createProver({ threads: Number(threads) });
await using key = await prover.load(zkey, {
  onPhase: (phase) => {
    checked ||= phase === 'checking';
  },
});
const loadedMs = performance.now() - began;
const proved = await key.prove(wtns);
const result: LargeProof = { checked, ms: performance.now() - began, loadedMs, peak: peakOfSelf(), proved };
console.log(JSON.stringify(result));
