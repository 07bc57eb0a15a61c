/**
 * The engine of this host, by name: threads of WebAssembly, the GPU, or both at once. With both, a proof is split by what
 * each was measured to do (msm/split.ts), and the threads take over when the GPU fails for good.
 */
import {
  type EngineOptions,
  type ProverEngine,
  type ReadyKey,
  SECTIONS,
  type Sums,
} from '../circuits/groth16/engine.ts';
import { elementBytes, randomScalar } from '../circuits/groth16/field.ts';
import { witnessScalars } from '../circuits/groth16/prove.ts';
import type { ProvingKey } from '../circuits/groth16/zkey.ts';
import type { Capability } from '../protocols/device.ts';
import { concat } from '../protocols/encoding.ts';
import { messageOf, VouchError } from '../protocols/errors.ts';
import { openGpu } from './gpu/adapter.ts';
import { type Tuning, tune } from './gpu/autotune.ts';
import { createPool, type Pool } from './msm/pool.ts';
import { measureRates, type Rates, sectionsForThreads } from './msm/split.ts';
import { createWebGpuEngine, type WebGpuEngine } from './msm/webgpu/engine.ts';
import type { Log } from './service.ts';
import { tuningStore } from './tuning-store.ts';

export const ENGINES = ['auto', 'webgpu', 'wasm'] as const;
export type EngineName = (typeof ENGINES)[number];

export interface HostEngine extends ProverEngine {
  /** For people: `wasm x2`, `webgpu`, `webgpu + wasm x2`. */
  readonly label: string;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface HostEngineOptions {
  /** `auto`, the default, takes the GPU where there is one; `webgpu` is refused with `not-ready` where there is none. */
  readonly engine?: EngineName | undefined;
  /** 1 to 64; the machine's logical cores by default. With `webgpu` they do what is too small for it. */
  readonly threads?: number | undefined;
  readonly log?: Log | undefined;
}

/** Opens it, with threads of its own. */
export async function openHostEngine({ threads, ...options }: HostEngineOptions = {}): Promise<HostEngine> {
  const pool = await createPool({ threads });
  try {
    const engine = await engineBeside(pool, options);
    const close = async () => {
      await engine.close();
      await pool.close();
    };
    return { ...engine, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await pool.close();
    throw error;
  }
}

/** The same with threads that are the caller's to close. The rates of `auto` are measured when the first key comes. */
export async function engineBeside(
  pool: Pool,
  { engine = 'auto', log = () => {} }: Omit<HostEngineOptions, 'threads'> = {},
): Promise<HostEngine> {
  const gpu = engine === 'wasm' ? undefined : await openGpuEngine(engine, pool, log);
  const close = async () => gpu?.close();
  const engineOf = (label: string, { ready, msm }: Pick<ProverEngine, 'ready' | 'msm'>): HostEngine => ({
    label,
    ready,
    msm,
    pairingsCancel: pool.pairingsCancel,
    firstOffCurve: pool.firstOffCurve,
    close,
    [Symbol.asyncDispose]: close,
  });
  const label = `wasm x${pool.threads}`;
  if (!gpu) return engineOf(label, pool);
  if (engine === 'webgpu') return engineOf('webgpu', gpu);
  return engineOf(`webgpu + ${label}`, { msm: gpu.msm, ready: readyOnBoth({ gpu, pool, log }) });
}

/** A device's engine, and what the device does in a second. */
interface TunedGpu extends WebGpuEngine {
  readonly rates: Rates;
}

/** The GPU's engine; undefined where `auto` finds none. */
async function openGpuEngine(engine: EngineName, curve: Pool, log: Log): Promise<TunedGpu | undefined> {
  // Set to 1, tests and the curious run on lavapipe or SwiftShader.
  const allowSoftware = process.env.VOUCH_SOFTWARE_GPU === '1';
  let capability: Capability | undefined;
  let tuning: Tuning | undefined;
  try {
    const gpu = await createWebGpuEngine({
      curve,
      open: async () => {
        const handle = await openGpu({ allowSoftware });
        capability = handle.capability;
        return handle;
      },
      tune: async (queue) => {
        tuning = await tune(queue, { capability: capability!, store: tuningStore() });
        return tuning;
      },
    });
    return { ...gpu, rates: tuning! };
  } catch (error) {
    if (engine === 'webgpu') throw error;
    log(`${messageOf(error)}; its threads do all`);
    return undefined;
  }
}

/** Measures the threads once, and splits every key by that. */
function readyOnBoth(both: Both): ProverEngine['ready'] {
  let measured: Promise<Rates> | undefined;
  return async (key, options) => {
    measured ??= ratesOf(both.pool);
    return splitKey(key, { ...both, threads: await measured }, options);
  };
}

/** Distinct points that the threads' rates are measured with. */
const DISTINCT = 1024;

async function ratesOf(pool: Pool): Promise<Rates> {
  const scalars = concat(...Array.from({ length: DISTINCT }, () => elementBytes(randomScalar())));
  const points = { G1: await pool.multiples('G1', scalars), G2: await pool.multiples('G2', scalars) };
  return measureRates((group, bits) => {
    const repeated = (bytes: Uint8Array) =>
      concat(...new Array<Uint8Array>(2 ** bits / DISTINCT).fill(bytes));
    return pool.msm(group, repeated(points[group]), repeated(scalars));
  });
}

interface Both {
  readonly gpu: TunedGpu;
  readonly pool: Pool;
  readonly log: Log;
}

/** A key on both. The threads hold theirs from when they are first given something to do. */
async function splitKey(
  key: ProvingKey,
  { gpu, pool, log, threads }: Both & { readonly threads: Rates },
  options?: EngineOptions,
): Promise<ReadyKey> {
  const onGpu = await gpu.ready(key, options);
  let held: Promise<ReadyKey> | undefined;
  const onThreads = () => {
    held ??= pool.ready(key);
    return held;
  };
  const forThreads = sectionsForThreads(key, gpu.rates, threads);
  const forGpu = new Set(SECTIONS.filter((section) => !forThreads.has(section)));
  log(`sums by threads: ${[...forThreads].join(', ') || 'none'}; by the GPU: ${[...forGpu].join(', ')}`);

  /** What the GPU makes, or where it failed for good the threads. */
  async function either<T>(work: (key: ReadyKey) => Promise<T>, instead = work): Promise<T> {
    try {
      return await work(onGpu);
    } catch (error) {
      if (!(error instanceof VouchError) || error.code === 'cancelled') throw error;
      log(`the GPU failed, threads take over: ${error.message}`);
      return instead(await onThreads());
    }
  }
  async function sumsOfThreads(witness: Uint8Array, options: EngineOptions): Promise<Partial<Sums>> {
    const scalars = witnessScalars(key, witness);
    const sums = SECTIONS.map(async (section) => {
      if (section === 'H' || !forThreads.has(section)) return [];
      return [[section, await (await onThreads()).msm(section, scalars[section], options)] as const];
    });
    return Object.fromEntries((await Promise.all(sums)).flat());
  }

  return {
    async sums(witness, given = {}) {
      // When one side fails the other's work is in vain.
      const failed = new AbortController();
      const signal = AbortSignal.any([failed.signal, ...(given.signal ? [given.signal] : [])]);
      const options = { ...given, signal };
      try {
        const [some, others] = await Promise.all([
          sumsOfThreads(witness, options),
          either<Partial<Sums>>(
            () => onGpu.partialSums(witness, { ...options, sections: forGpu }),
            (own) => own.sums(witness, options),
          ),
        ]);
        return { ...others, ...some } as Sums;
      } finally {
        failed.abort();
      }
    },
    quotient: (witness, given) => either((held) => held.quotient(witness, given)),
    msm: (section, scalars, given) => either((held) => held.msm(section, scalars, given)),
    release() {
      onGpu.release();
      void held?.then((own) => own.release());
    },
  };
}
