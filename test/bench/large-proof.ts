/**
 * One proof in a process of its own, so that its peak memory is that of proving: `large-proof.ts ZKEY WTNS THREADS`
 * prints a `LargeProof`. The parent makes key and witness.
 */
import { readFileSync } from 'node:fs';
import { createProver } from '../../runtime/prove/prover.ts';

export interface LargeProof {
  /** Whether the key's points were checked, because they were new to this installation; that takes its time. */
  readonly checked: boolean;
  /** From files to verified proof, in milliseconds. */
  readonly ms: number;
  /** Most memory that was resident, in bytes. */
  readonly peak: number;
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
await key.prove(wtns);
const proved: LargeProof = { checked, ms: performance.now() - began, peak: peakOfSelf() };
console.log(JSON.stringify(proved));

/** The kernel's own peak; elsewhere than on Linux that of getrusage. */
function peakOfSelf(): number {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS * 1024;
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
}
