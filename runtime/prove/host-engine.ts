/**
 * The engine of this host, by name: threads of WebAssembly, the GPU, or both at once. With both, a proof is split by what
 * each was measured to do (msm/split.ts), and the threads take over when the GPU fails for good.
 */
import {
  type CurveEngine,
  type EngineOptions,
  type ProverEngine,
  type ReadyKey,
  SECTIONS,
  type Section,
  type Sums,
} from '../../circuits/groth16/engine.ts';
import { elementBytes, randomScalar } from '../../circuits/groth16/field.ts';
import { G1, G2, writeG1, writeG2 } from '../../circuits/groth16/point.ts';
import { witnessScalars } from '../../circuits/groth16/prove.ts';
import type { ProvingKey } from '../../circuits/groth16/zkey.ts';
import type { Capability } from '../../protocols/device.ts';
import { concat } from '../../protocols/encoding.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { openGpu } from '../gpu/adapter.ts';
import { type Tuning, tune } from '../gpu/autotune.ts';
import type { Log } from '../home/log.ts';
import type { EngineName } from '../msm/options.ts';
import type { HoldRuns } from '../msm/runs.ts';
import type { Rates } from '../msm/shards/work.ts';
import { correctedRates, measureRates, type SideRates, sectionsForThreads } from '../msm/split.ts';
import { createPool, type Pool } from '../msm/threads/pool.ts';
import { createWebGpuEngine, type WebGpuEngine, type WebGpuKey } from '../msm/webgpu/engine.ts';
import type { SharedTurns } from '../msm/webgpu/turns.ts';
import { tuningStore } from './cache.ts';

export type { EngineName } from '../msm/options.ts';

export interface HostEngine extends ProverEngine {
  /** For people: `wasm x2`, `webgpu`, `webgpu + wasm x2`. */
  readonly label: string;
  /** Keeps base points between sums, where it can. */
  readonly hold?: HoldRuns | undefined;
  /** What keys and points take of a GPU; undefined where none computes. */
  readonly gpuMemory?: WebGpuEngine['memory'] | undefined;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface HostEngineOptions {
  /** `auto`, the default, takes the GPU where there is one; `webgpu` is refused with `not-ready` where there is none. */
  readonly engine?: EngineName | undefined;
  /** 1 to 64; the machine's logical cores by default. With `webgpu` they do what is too small for it. */
  readonly threads?: number | undefined;
  readonly log?: Log | undefined;
  /** Bytes of the GPU that keys and points may take; by default what its capability says. */
  readonly gpuBytes?: number | undefined;
  /** Where inferences run on the same GPU. Keys and points then have a quarter of its memory, unless `gpuBytes` says how much. */
  readonly turns?: SharedTurns | undefined;
  /** Who opens the device, again when it was lost; default: the host's first adapter. */
  readonly open?: typeof openGpu | undefined;
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

/** The same with threads that are the caller's to close. The rates of `auto` are measured when sums are first asked for. */
export async function engineBeside(
  pool: Pool,
  options: Omit<HostEngineOptions, 'threads'> = {},
): Promise<HostEngine> {
  const { engine = 'auto', log = () => {} } = options;
  log(`threads compute with ${pool.arithmetic}`);
  const gpu = engine === 'wasm' ? undefined : await openGpuEngine(pool, { ...options, engine, log });
  const close = async () => gpu?.close();
  const engineOf = (
    label: string,
    { ready, msm, hold }: Pick<ProverEngine, 'ready' | 'msm'> & Pick<HostEngine, 'hold'>,
  ): HostEngine => ({
    label,
    hold,
    ready,
    msm,
    gpuMemory: gpu?.memory,
    pairingsCancel: pool.pairingsCancel,
    firstOffCurve: pool.firstOffCurve,
    close,
    [Symbol.asyncDispose]: close,
  });
  const label = `wasm x${pool.threads}`;
  if (!gpu) return engineOf(label, pool);
  if (engine === 'webgpu') return engineOf('webgpu', { ready: gpu.ready, msm: gpu.msm });
  const msm: ProverEngine['msm'] = (...call) =>
    orThreads(
      log,
      () => gpu.msm(...call),
      () => pool.msm(...call),
    );
  return engineOf(`webgpu + ${label}`, { msm, ready: readyOnBoth({ gpu, pool, log }) });
}

/** What the GPU makes, or where it has no room or is gone for good the threads. */
async function orThreads<T>(log: Log, onGpu: () => Promise<T>, onThreads: () => Promise<T>): Promise<T> {
  try {
    return await onGpu();
  } catch (error) {
    if (!(error instanceof VouchError) || error.code === 'cancelled') throw error;
    log(`the GPU failed, threads take over: ${error.message}`);
    return onThreads();
  }
}

/** A device's engine, and what the device does in a second. */
interface TunedGpu extends WebGpuEngine {
  readonly rates: Rates;
}

/** The GPU's engine; undefined where `auto` finds none. */
async function openGpuEngine(
  curve: Pool,
  { engine, log, gpuBytes, turns, open = openGpu }: HostEngineOptions & { engine: EngineName; log: Log },
): Promise<TunedGpu | undefined> {
  // Set to 1, tests and the curious run on lavapipe or SwiftShader.
  const allowSoftware = process.env.VOUCH_SOFTWARE_GPU === '1';
  let capability: Capability | undefined;
  let tuning: Tuning | undefined;
  try {
    const gpu = await createWebGpuEngine({
      curve,
      turns,
      open: async () => {
        const handle = await open({ allowSoftware });
        capability = handle.capability;
        const { memoryBytes } = capability;
        return {
          ...handle,
          memoryBytes: gpuBytes ?? memoryBytes,
          sharedBytes: gpuBytes ?? Math.floor(memoryBytes / 4),
        };
      },
      tune: async (queue) => {
        const { read, write } = tuningStore();
        const waited = turns?.waitedMs;
        tuning = await tune(queue, {
          capability: capability!,
          // Times that hold waiting for inferences are of now, not of the device.
          store: { read, write: (key, text) => (turns?.waitedMs === waited ? write(key, text) : undefined) },
        });
        return tuning;
      },
    });
    const { G1: g1, G2: g2 } = tuning!;
    return { ...gpu, rates: { g1, g2 } };
  } catch (error) {
    if (engine === 'webgpu') throw error;
    log(`${messageOf(error)}; its threads do all`);
    return undefined;
  }
}

/** Splits every key by what the threads were measured to do, once, when the first sums are asked for. */
function readyOnBoth(both: Omit<Both, 'threads'>): ProverEngine['ready'] {
  let measured: Promise<Rates> | undefined;
  const threads = () => {
    measured ??= ratesOf(both.pool);
    return measured;
  };
  return (key, options) =>
    orThreads<ReadyKey>(
      both.log,
      async () => splitKey(key, await both.gpu.ready(key, options), { ...both, threads }),
      () => both.pool.ready(key, options),
    );
}

/** Distinct points that rates are measured with. */
const DISTINCT = 256;

/** Points per second of an engine, warm, with uniform scalars. */
export async function ratesOf({ msm }: Pick<CurveEngine, 'msm'>): Promise<Rates> {
  const multiples = <P extends { add(other: P): P }>(base: P, write: (point: P) => Uint8Array) => {
    const points = [base];
    while (points.length < DISTINCT) points.push(points.at(-1)!.add(base));
    return concat(...points.map(write));
  };
  const scalars = concat(...Array.from({ length: DISTINCT }, () => elementBytes(randomScalar())));
  const points = { G1: multiples(G1.BASE, writeG1), G2: multiples(G2.BASE, writeG2) };
  return measureRates((group, bits) => {
    const repeated = (bytes: Uint8Array) =>
      concat(...new Array<Uint8Array>(2 ** bits / DISTINCT).fill(bytes));
    return msm(group, repeated(points[group]), repeated(scalars));
  });
}

interface Both {
  readonly gpu: TunedGpu;
  readonly pool: Pool;
  readonly log: Log;
  threads(): Promise<Rates>;
}

/** A key on both. The threads hold theirs from when they are first given something to do. */
function splitKey(key: ProvingKey, onGpu: WebGpuKey, { gpu, pool, log, threads }: Both): ReadyKey {
  let held: Promise<ReadyKey> | undefined;
  const onThreads = () => {
    held ??= pool.ready(key);
    return held;
  };
  let rates: SideRates | undefined;
  let said = '';
  let underWay = 0;
  let warm = false;
  /** The threads' sections, by what the rates say now. */
  async function decide(): Promise<ReadonlySet<Section>> {
    rates ??= { gpu: gpu.rates, threads: await threads() };
    const forThreads = sectionsForThreads(key, rates.gpu, rates.threads);
    const forGpu = SECTIONS.filter((section) => !forThreads.has(section));
    const line = `sums by threads: ${[...forThreads].join(', ') || 'none'}; by the GPU: ${forGpu.join(', ')}`;
    if (line !== said) log(line);
    said = line;
    return forThreads;
  }

  const either = <T>(work: (key: ReadyKey) => Promise<T>): Promise<T> =>
    orThreads(
      log,
      () => work(onGpu),
      async () => work(await onThreads()),
    );
  async function sumsOfThreads(
    witness: Uint8Array,
    forThreads: ReadonlySet<Section>,
    options: EngineOptions,
  ): Promise<Partial<Sums>> {
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
      const forThreads = await decide();
      const forGpu = new Set(SECTIONS.filter((section) => !forThreads.has(section)));
      const spent = { gpu: 0, threads: 0 };
      const timed = async <T>(side: keyof typeof spent, work: Promise<T>): Promise<T> => {
        const began = performance.now();
        const made = await work;
        spent[side] = performance.now() - began;
        return made;
      };
      underWay++;
      const alone = underWay === 1;
      try {
        const [some, others] = await Promise.all([
          timed('threads', sumsOfThreads(witness, forThreads, options)),
          orThreads<Partial<Sums>>(
            log,
            () => timed('gpu', onGpu.partialSums(witness, { ...options, sections: forGpu })),
            async () => (await onThreads()).sums(witness, options),
          ),
        ]);
        // The first proof loads; proofs at once take each other's time; a GPU that failed has none.
        if (warm && alone && underWay === 1 && spent.gpu > 0)
          rates = correctedRates(key, rates!, forThreads, spent);
        warm = true;
        return { ...others, ...some } as Sums;
      } finally {
        underWay--;
        failed.abort();
      }
    },
    quotient: (witness, given) => either((held) => held.quotient(witness, given)),
    msm: (section, scalars, given) => either((held) => held.msm(section, scalars, given)),
    // Of all that the GPU holds; sections that the threads sum go without.
    tabulate: onGpu.tabulate,
    release() {
      onGpu.release();
      // What became of it was told to whoever asked for it.
      held?.then(
        (own) => own.release(),
        () => {},
      );
    },
  };
}
