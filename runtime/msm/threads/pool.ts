/**
 * A pool of threads (kernel.ts): multi-scalar multiplication and quotients by our own engine on a memory that the threads
 * share, field vectors and fixed-base multiples by wasmcurves. For the prover, the msm-worker and the setup.
 *
 * Not constant time: running times and memory accesses depend on the scalars. Bases are not checked to be points.
 */
import {
  type FieldEngine,
  type FixedBaseEngine,
  type Group,
  type ProverEngine,
  type ReadyKey,
  SECTION_GROUP,
} from '../../../circuits/groth16/engine.ts';
import { ENTRY_BYTES } from '../../../circuits/groth16/field.ts';
import { firstOffCurve, POINT_BYTES } from '../../../circuits/groth16/point.ts';
import { sumsOf } from '../../../circuits/groth16/prove.ts';
import { quotient } from '../../../circuits/groth16/quotient.ts';
import { loadZkey } from '../../../circuits/groth16/zkey.ts';
import { SCALAR_BYTES } from '../../../protocols/bn254.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { createWasmEngine } from '../programs/engine.ts';
import type { HoldRuns } from '../runs.ts';
import { createSharedKernel, type FieldKind, fieldRates } from '../wasm/kernel.ts';
import { curveModule } from './fallback.ts';
import type { Kernel, KernelModules } from './kernel.ts';
import type { Call, StartThread, Thread } from './thread.ts';

/** Fewer points than this are not worth a second thread. */
const MIN_PIECE = 512;
/** Points per task at most: 2^18 G2 points and their buckets are 130 MiB of a thread's memory. */
const MAX_PIECE = 1 << 18;
const MAX_THREADS = 64;

type Bytes = Uint8Array<ArrayBuffer>;

export interface PoolOptions {
  /** 1 to 64; the machine's logical cores by default. */
  readonly threads?: number | undefined;
  /** How a thread is started; Node's worker threads by default. */
  readonly start?: StartThread | undefined;
}

export interface Pool extends FieldEngine, FixedBaseEngine, ProverEngine {
  readonly threads: number;
  /** Whose arithmetic it is, with what a thread multiplied in a millisecond when it was chosen: for logs. */
  readonly arithmetic: string;
  /** Keeps base points between sums; not where wasmcurves does all. */
  readonly hold?: HoldRuns | undefined;
  /** Terminates every thread; calls that are under way reject with `cancelled`. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The modules of one pool, and the memory that its threads share. */
async function kernelModules(): Promise<KernelModules> {
  return { curve: await curveModule(), shared: await createSharedKernel(), thread: 0 };
}

interface Task {
  readonly id: number;
  readonly call: Call;
  /** Made when it is known which thread takes the task. */
  readonly args: (thread: number, generation: number) => readonly unknown[];
  readonly resolve: (result: Bytes | Bytes[] | undefined) => void;
  readonly reject: (error: unknown) => void;
}

interface Slot {
  readonly index: number;
  /** Changes whenever a task did not end as it should: what it left in the shared memory is anything. */
  generation: number;
  thread: Thread | undefined;
  task: Task | undefined;
}

export async function createPool(options: PoolOptions = {}): Promise<Pool> {
  const threads = options.threads ?? Math.min(navigator.hardwareConcurrency, MAX_THREADS);
  if (!Number.isInteger(threads) || threads < 1 || threads > MAX_THREADS) {
    throw new RangeError(`threads must be an integer from 1 to ${MAX_THREADS}, got ${threads}`);
  }
  const start = options.start ?? (await import('./node-thread.ts')).startNodeThread;
  // Threads load while the modules are made.
  const making = Promise.resolve().then(kernelModules);
  let made: KernelModules | undefined;
  const slots: Slot[] = Array.from({ length: threads }, (_, index) => ({
    index,
    generation: 0,
    thread: undefined,
    task: undefined,
  }));
  const queue: Task[] = [];
  let nextId = 0;
  let closed = false;

  function open(slot: Slot): Thread {
    slot.generation++;
    const thread = start(
      made ? { ...made, thread: slot.index } : making.then((modules) => ({ ...modules, thread: slot.index })),
      {
        onReply({ id, result, error }) {
          const task = slot.task;
          if (slot.thread !== thread || task?.id !== id) return;
          slot.task = undefined;
          thread.rest();
          if (error !== undefined) slot.generation++;
          if (error !== undefined) task.reject(new VouchError('internal', `a WASM thread failed: ${error}`));
          else task.resolve(result);
          pump();
        },
        onFailure(error) {
          if (slot.thread !== thread) return;
          const task = slot.task;
          slot.thread = undefined;
          slot.task = undefined;
          task?.reject(new VouchError('internal', `a WASM thread died: ${error.message}`));
          pump();
        },
      },
    );
    return thread;
  }

  function pump(): void {
    for (const slot of slots) {
      if (queue.length === 0) return;
      if (slot.task !== undefined) continue;
      const task = queue.shift()!;
      slot.task = task;
      slot.thread ??= open(slot);
      const { id, call } = task;
      const args = task.args(slot.index, slot.generation);
      const transfer = args.filter((arg): arg is Bytes => arg instanceof Uint8Array);
      slot.thread.post(
        { id, call, args },
        transfer.map(({ buffer }) => buffer),
      );
    }
  }

  /**
   * Ends a task early. A thread cannot be interrupted, so it is terminated; its successor starts when needed. A program
   * is over only then: until then it may write to the shared memory.
   */
  async function cancel(task: Task): Promise<void> {
    const cancelled = () => task.reject(new VouchError('cancelled', 'the computation was cancelled'));
    if (task.call !== 'program') cancelled();
    const waiting = queue.indexOf(task);
    if (waiting >= 0) queue.splice(waiting, 1);
    const slot = slots.find((candidate) => candidate.task === task);
    if (slot) {
      const thread = slot.thread;
      slot.thread = undefined;
      await thread?.terminate();
      slot.task = undefined;
    }
    cancelled();
    pump();
  }

  /** Runs one kernel operation on the next free thread. Buffers in `args` are the pool's own copies: they move. */
  function run<C extends Call>(
    call: C,
    args: Parameters<Kernel[C]> | ((thread: number, generation: number) => Parameters<Kernel[C]>),
    signal?: AbortSignal,
  ): Promise<ReturnType<Kernel[C]>> {
    if (closed) return Promise.reject(closedError());
    if (signal?.aborted) return Promise.reject(new VouchError('cancelled', 'the computation was cancelled'));
    const { promise, resolve, reject } = Promise.withResolvers<ReturnType<Kernel[C]>>();
    const task: Task = {
      id: nextId++,
      call,
      args: typeof args === 'function' ? args : () => args,
      resolve: (result) => resolve(result as ReturnType<Kernel[C]>),
      reject,
    };
    const abort = () => void cancel(task);
    signal?.addEventListener('abort', abort, { once: true });
    queue.push(task);
    pump();
    return promise.finally(() => signal?.removeEventListener('abort', abort));
  }

  for (const slot of slots) slot.thread = open(slot);
  const modules = await making.catch(async (error: unknown) => {
    await Promise.all(slots.map(({ thread }) => thread?.terminate()));
    throw error;
  });
  made = modules;
  const closedError = () => new VouchError('not-ready', 'the thread pool is closed');
  const engine =
    modules.shared &&
    createWasmEngine(
      modules.shared,
      threads,
      (program, { signal } = {}) =>
        // A call of the engine runs many programs: one that was under way when the pool closed is cancelled.
        closed
          ? Promise.reject(new VouchError('cancelled', 'the computation was cancelled'))
          : run('program', (thread, generation) => [program(thread, generation)], signal),
      async (entries, rows, coefficientBytes, { signal }) => {
        const [starts, terms, coefficients] = await run('rows', [entries, rows, coefficientBytes], signal);
        return { starts: new Uint32Array(starts.buffer), terms, coefficients };
      },
    );
  const openEngine = () => {
    if (closed) throw closedError();
    return engine;
  };

  const pool: Pool = {
    threads,
    arithmetic: modules.shared ? arithmeticOf(modules.shared.kind) : 'wasmcurves',

    hold: engine?.hold,

    async msm(group, bases, scalars, { signal } = {}) {
      const count = elements(scalars);
      const size = POINT_BYTES[group];
      if (bases.byteLength !== count * size) {
        throw new RangeError(
          `msm: ${count} scalars need ${count * size} bytes of ${group} bases, got ${bases.byteLength}`,
        );
      }
      if (count === 0) return new Uint8Array(size);
      const ours = openEngine();
      if (ours) return ours.msm(group, bases, scalars, { signal });
      const pieces = Math.max(
        Math.min(threads, Math.floor(count / MIN_PIECE)),
        Math.ceil(count / MAX_PIECE),
        1,
      );
      const cut = (index: number) => Math.floor((count * index) / pieces);
      const sums = await Promise.all(
        Array.from({ length: pieces }, (_, index) => {
          const [from, to] = [cut(index), cut(index + 1)];
          const args: [Group, Bytes, Bytes] = [
            group,
            copy(bases.subarray(from * size, to * size)),
            copy(scalars.subarray(from * SCALAR_BYTES, to * SCALAR_BYTES)),
          ];
          return run('msm', args, signal);
        }),
      );
      if (sums.length === 1) return sums[0]!;
      const ones = new Uint8Array(sums.length * SCALAR_BYTES);
      for (let at = 0; at < ones.byteLength; at += SCALAR_BYTES) ones[at] = 1;
      const partial = new Uint8Array(sums.length * size);
      for (const [index, sum] of sums.entries()) partial.set(sum, index * size);
      return run('msm', [group, partial, ones], signal);
    },

    ready: async (provingKey, engineOptions) => {
      const ours = openEngine();
      if (ours && provingKey.domainSize >= ours.minDomain) return ours.ready(provingKey, engineOptions);
      const zkey = await loadZkey(provingKey);
      const key: ReadyKey = {
        msm: (section, scalars, engineOptions) =>
          pool.msm(SECTION_GROUP[section], zkey.points[section], scalars, engineOptions),
        quotient: (witness, engineOptions = {}) => quotient(zkey, witness, pool, engineOptions),
        sums: (witness, engineOptions) => sumsOf(zkey, witness, key, engineOptions),
        release: () => {},
      };
      return key;
    },

    firstOffCurve: async (group, points, engineOptions) => {
      elements(points, POINT_BYTES[group]);
      return openEngine()?.firstOffCurve(group, points, engineOptions) ?? firstOffCurve(group, points);
    },
    pairingsCancel: async (g1, g2, { signal } = {}) => {
      if (elements(g1, POINT_BYTES.G1) !== elements(g2, POINT_BYTES.G2))
        throw new RangeError('pairingsCancel: as many points of G1 as of G2 are needed');
      return (await run('pairingsCancel', [copy(g1), copy(g2)], signal))[0] === 1;
    },

    multiples: async (group, scalars, { signal } = {}) => {
      elements(scalars);
      const ours = openEngine();
      if (ours) return ours.multiples(group, scalars, { signal });
      return run('multiples', [group, copy(scalars)], signal);
    },
    uncompressed: async (group, points, { signal } = {}) => {
      elements(points, POINT_BYTES[group]);
      return run('uncompressed', [group, copy(points)], signal);
    },

    sparseProduct: async (entries, vector, rows, { signal } = {}) => {
      elements(entries, ENTRY_BYTES);
      elements(vector);
      return run('sparseProduct', [copy(entries), copy(vector), rows], signal);
    },
    ntt: async (values, inverse, { signal } = {}) => {
      const count = elements(values);
      if (count === 0 || !Number.isInteger(Math.log2(count))) {
        throw new RangeError(`ntt: expected 2^k elements, got ${count}`);
      }
      return run('ntt', [copy(values), inverse], signal);
    },
    scale: async (values, first, step, { signal } = {}) => {
      elements(values);
      if (elements(first) !== 1 || elements(step) !== 1) {
        throw new RangeError('scale: first and step are one element each');
      }
      return run('scale', [copy(values), copy(first), copy(step)], signal);
    },
    multiply: async (left, right, minus, { signal } = {}) => {
      if (elements(left) !== elements(right) || (minus && elements(minus) !== elements(left))) {
        throw new RangeError('multiply: the vectors differ in length');
      }
      return run(
        'multiply',
        [copy(left), copy(right), ...(minus ? [copy(minus)] : [])] as [Bytes, Bytes],
        signal,
      );
    },

    async close() {
      closed = true;
      // Waiting tasks first, so that a slot that becomes free finds none.
      const cancelled = [...queue, ...slots.flatMap(({ task }) => task ?? [])].map(cancel);
      const idle = slots.map(({ thread }) => thread?.terminate());
      for (const slot of slots) slot.thread = undefined;
      await Promise.all([...cancelled, ...idle]);
    },
    [Symbol.asyncDispose]: () => pool.close(),
  };
  return pool;
}

/** Such as `fma (60000 products a ms, int 26000)`. */
function arithmeticOf(kind: FieldKind): string {
  const rates = Object.entries(fieldRates()).map(([name, rate]) => [name, Math.round(rate)] as const);
  const own = rates.find(([name]) => name === kind);
  const others = rates.filter(([name]) => name !== kind).map(([name, rate]) => `, ${name} ${rate}`);
  return own ? `${kind} (${own[1]} products a ms${others.join('')})` : kind;
}

/** How many elements of `size` bytes `bytes` has; a remainder is the caller's error. */
function elements(bytes: Uint8Array, size = SCALAR_BYTES): number {
  if (bytes.byteLength % size !== 0) {
    throw new RangeError(`${bytes.byteLength} bytes are not a multiple of ${size}`);
  }
  return bytes.byteLength / size;
}

/** A copy in a buffer of its own, to be moved: posting a view would clone all of the buffer behind it. */
function copy(bytes: Uint8Array): Bytes {
  // Not slice(): that of a Buffer is a view.
  return new Uint8Array(bytes);
}
