/**
 * The page of prover.browser.test.ts: the prover's engines in a browser, as functions that the test calls. Bundled by the
 * test; nothing of Node is in it.
 */
import type { ProverEngine } from '../../../circuits/groth16/engine.ts';
import { prove } from '../../../circuits/groth16/prove.ts';
import { readWitness } from '../../../circuits/groth16/witness.ts';
import { readZkey } from '../../../circuits/groth16/zkey.ts';
import type { Capability } from '../../../protocols/device.ts';
import { openGpu } from '../../../runtime/gpu/adapter.ts';
import { type TuningStore, tune } from '../../../runtime/gpu/autotune.ts';
import { createPool, type Pool } from '../../../runtime/msm/threads/pool.ts';
import { startWebThread } from '../../../runtime/msm/threads/web-thread.ts';
import { createWebGpuEngine } from '../../../runtime/msm/webgpu/engine.ts';
import { checkMsm } from '../msm/cases.ts';

export interface PageQuestion {
  readonly engine: 'wasm' | 'webgpu';
  readonly zkey: string;
  readonly wtns: string;
  readonly r: string;
  readonly s: string;
}

const fetched = async (address: string) => new Uint8Array(await (await fetch(address)).arrayBuffer());
const threads = (): Promise<Pool> => createPool({ threads: 2, start: startWebThread('/worker.js') });

/** Tunings stay with the page's origin. */
const store: TuningStore = {
  read: (key) => localStorage.getItem(key),
  write: (key, text) => localStorage.setItem(key, text),
};

async function answer({ engine, zkey, wtns, r, s }: PageQuestion): Promise<string> {
  await using pool = await threads();
  let capability: Capability | undefined;
  await using gpu =
    engine === 'webgpu'
      ? await createWebGpuEngine({
          curve: pool,
          open: async () => {
            const handle = await openGpu({ allowSoftware: true });
            capability = handle.capability;
            return handle;
          },
          tune: (queue) => tune(queue, { capability: capability!, store }),
        })
      : undefined;
  const prover: ProverEngine = gpu ?? pool;
  const key = readZkey(await fetched(zkey));
  const witness = readWitness(await fetched(wtns));
  return JSON.stringify(await prove(key, witness, prover, { r: BigInt(r), s: BigInt(s) }));
}

/** The sums of all engines, by this page's threads; rejects with the names of those that are wrong. */
async function sums(largest: number): Promise<void> {
  await using pool = await threads();
  for (const group of ['G1', 'G2'] as const)
    await checkMsm((_, bases, scalars) => pool.msm(group, bases, scalars), group, { largest });
}

/** What the page has to offer, after its threads answered once. */
async function pieces(): Promise<{ isolated: boolean; threads: number; gpu: boolean }> {
  await using pool = await threads();
  await pool.ntt(new Uint8Array(32), false);
  return { isolated: crossOriginIsolated, threads: pool.threads, gpu: 'gpu' in navigator };
}

Object.assign(globalThis, { answer, pieces, sums });
