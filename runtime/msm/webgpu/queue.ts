/**
 * A device as kernels need it: buffers whose failure is noticed, pipelines by their source, and work in submits that are
 * short. A watchdog ends a dispatch that takes seconds, and a page or another process wants its turn, so no submit should
 * take above 200 ms on the slowest adapter: the queue learns from each how long the work in it took, and cuts the next. Whoever
 * shares the device with somebody else has its turns (turns.ts).
 *
 * Methods reject with `device-lost` once the device is gone, `cancelled` when aborted (looked at between submits; what
 * was submitted runs to its end), `out-of-memory` where the device has no room.
 */
import { VouchError } from '../../../protocols/errors.ts';
import { ALONE, type Turns } from './turns.ts';

type Bytes = Uint8Array<ArrayBuffer>;

/** One dispatch, which may be cut into several by its workgroups. */
export interface Dispatch {
  /** what its time is booked on */
  readonly stage: string;
  readonly pipeline: GPUComputePipeline;
  /** at bindings 1, 2, ... */
  readonly buffers: readonly (GPUBuffer | GPUBufferBinding)[];
  /** u32 words of the uniform at binding 0, after its first, which is the number of the dispatch's first workgroup */
  readonly params: readonly number[];
  readonly workgroups: number;
  /** field multiplications of one workgroup, or what takes as long */
  readonly work: number;
}
/** Zeroes a buffer. */
export interface Clear {
  readonly clear: GPUBuffer;
}
export type Step = Dispatch | Clear;

export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds by stage are added to it where the device has timestamps, at the price of a pass per stage. */
  readonly times?: Map<string, number> | undefined;
}

export interface Queue {
  readonly device: GPUDevice;
  /** Zeroed; for STORAGE and copies both ways. RangeError above the device's largest buffer. */
  buffer(label: string, bytes: number): Promise<GPUBuffer>;
  /** The entry point `main` of a source, compiled once. */
  pipeline(label: string, code: string): Promise<GPUComputePipeline>;
  /** Copies whole words to the buffer's byte `offset`. */
  write(buffer: GPUBuffer, offset: number, data: Uint8Array, options?: RunOptions): Promise<void>;
  /** Resolves when all of it has run. A step sees what the steps before it wrote. */
  run(steps: readonly Step[], options?: RunOptions): Promise<void>;
  /** A copy of the first `bytes` of a buffer. */
  read(buffer: GPUBuffer, bytes: number): Promise<Bytes>;
}

/** Work of the first submit: about 40 ms in software, nothing to a GPU, which is given twice as much until it is enough. */
const FIRST_BUDGET = 2 ** 19;
const MAX_BUDGET = 2 ** 40;
/** Submits under way at a time: enough to keep the device busy, few enough to stop soon. */
const IN_FLIGHT = 2;
const MAX_WORKGROUPS = 65_535;
const WRITE_BYTES = 16 * 2 ** 20;
/** Distance of two uniforms in their buffer: the largest alignment that a device may ask for. */
const SLOT_BYTES = 256;
/** Of one submit. */
const MAX_PIECES = 256;

/** Some workgroups of a dispatch. */
type Piece = Clear | { readonly step: Dispatch; readonly first: number; readonly count: number };
/** What is submitted at once. */
interface Batch {
  readonly pieces: readonly Piece[];
  readonly work: number;
}

export function createQueue(device: GPUDevice, turns: Turns = ALONE): Queue {
  const pipelines = new Map<string, Promise<GPUComputePipeline>>();
  const waiting = new Set<(error: VouchError) => void>();
  let lost: VouchError | undefined;
  let budget = FIRST_BUDGET;
  void device.lost.then(({ message, reason }) => {
    lost = new VouchError('device-lost', `the GPU is gone (${message || reason})`);
    for (const reject of waiting) reject(lost);
    waiting.clear();
  });

  /** What the device answers, or its loss, after which some answers never come. */
  function answered<T>(answer: Promise<T>): Promise<T> {
    if (lost) {
      answer.catch(() => {});
      return Promise.reject(lost);
    }
    return new Promise<T>((resolve, reject) => {
      waiting.add(reject);
      const settle = (end: () => void) => {
        waiting.delete(reject);
        end();
      };
      answer.then(
        (value) => settle(() => resolve(value)),
        (error: unknown) => settle(() => reject(lost ?? error)),
      );
    });
  }

  function check(signal: AbortSignal | undefined): void {
    if (lost) throw lost;
    if (signal?.aborted) throw new VouchError('cancelled', 'the computation was cancelled');
  }

  /** Waits for a turn, or for the loss of the device. */
  async function turn(signal: AbortSignal | undefined): Promise<() => void> {
    const began = turns.begin(signal);
    try {
      return await answered(began);
    } catch (error) {
      began.then(
        (over) => over(),
        () => {},
      );
      throw error;
    }
  }

  /** Makes calls to the device and rejects with the error that they gave there, if any. */
  async function scoped<T>(calls: () => T): Promise<T> {
    device.pushErrorScope('validation');
    device.pushErrorScope('out-of-memory');
    let result: T;
    let scopes: Promise<GPUError | null>[];
    try {
      result = calls();
    } finally {
      // In the same turn, so that scopes of concurrent calls do not mix.
      scopes = [device.popErrorScope(), device.popErrorScope()];
    }
    const [room, fault] = await answered(Promise.all(scopes));
    if (room) throw new VouchError('out-of-memory', `the GPU has no room: ${room.message}`);
    if (fault) throw new VouchError('internal', `WebGPU refused a call: ${fault.message}`);
    return result;
  }

  /** Cuts steps into submits by the budget, which may change while they run. */
  function* batches(steps: readonly Step[]): Generator<Batch> {
    let pieces: Piece[] = [];
    let work = 0;
    for (const step of steps) {
      if ('clear' in step) {
        pieces.push(step);
        continue;
      }
      for (let first = 0; first < step.workgroups; ) {
        const room = Math.max(1, Math.floor((budget - work) / step.work));
        const count = Math.min(step.workgroups - first, MAX_WORKGROUPS, room);
        pieces.push({ step, first, count });
        first += count;
        work += count * step.work;
        if (work >= budget || pieces.length >= MAX_PIECES) {
          yield { pieces, work };
          pieces = [];
          work = 0;
        }
      }
    }
    if (pieces.length > 0) yield { pieces, work };
  }

  const uniforms = (pieces: readonly Piece[]): GPUBuffer => {
    const buffer = device.createBuffer({
      label: 'params',
      size: SLOT_BYTES * pieces.length,
      usage: GPUBufferUsage.UNIFORM,
      mappedAtCreation: true,
    });
    const words = new Uint32Array(buffer.getMappedRange());
    for (const [slot, piece] of pieces.entries()) {
      if ('clear' in piece) continue;
      words.set([piece.first, ...piece.step.params], (slot * SLOT_BYTES) / 4);
    }
    buffer.unmap();
    return buffer;
  };

  async function submit({ pieces }: Batch, times: RunOptions['times']): Promise<void> {
    const params = uniforms(pieces);
    const clock =
      times && device.features.has('timestamp-query') ? createClock(device, pieces.length) : undefined;
    try {
      await scoped(() => {
        const encoder = device.createCommandEncoder();
        let pass: GPUComputePassEncoder | undefined;
        let stage: string | undefined;
        for (const [slot, piece] of pieces.entries()) {
          if (pass && ('clear' in piece || (clock && piece.step.stage !== stage))) {
            pass.end();
            pass = undefined;
          }
          if ('clear' in piece) {
            encoder.clearBuffer(piece.clear);
            continue;
          }
          stage = piece.step.stage;
          pass ??= encoder.beginComputePass(clock ? { timestampWrites: clock.writes(stage) } : {});
          dispatch(pass, piece.step, piece.count, {
            buffer: params,
            offset: slot * SLOT_BYTES,
            size: SLOT_BYTES,
          });
        }
        pass?.end();
        clock?.resolve(encoder);
        device.queue.submit([encoder.finish()]);
      });
      await answered(device.queue.onSubmittedWorkDone());
      if (clock && times) await answered(clock.read(times));
    } finally {
      params.destroy();
      clock?.destroy();
    }
  }

  function dispatch(
    pass: GPUComputePassEncoder,
    { pipeline, buffers }: Dispatch,
    workgroups: number,
    params: GPUBufferBinding,
  ): void {
    const entries = [params, ...buffers].map((resource, binding) => ({
      binding,
      resource: 'buffer' in resource ? resource : { buffer: resource },
    }));
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    pass.dispatchWorkgroups(workgroups);
  }

  /** The next budget after a submit of `work` took `ms`: at most twice as much, at least a quarter. */
  function learn(work: number, ms: number): void {
    const { targetMs } = turns;
    // A submit of little work says nothing about how much would fit.
    if (work < budget / 2 && ms < targetMs) return;
    const fitting = (work * targetMs) / Math.max(ms, 0.01);
    budget = Math.min(Math.max(fitting, budget / 4, 1), budget * 2, MAX_BUDGET);
  }

  const queue: Queue = {
    device,

    buffer(label, bytes) {
      if (bytes > device.limits.maxBufferSize) {
        throw new RangeError(`${label}: ${bytes} bytes are more than this GPU's largest buffer has`);
      }
      const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
      // A binding must not be empty.
      return scoped(() => device.createBuffer({ label, size: Math.max(32, bytes), usage }));
    },

    pipeline(label, code) {
      const known = pipelines.get(code);
      if (known) return known;
      const made = answered(
        device.createComputePipelineAsync({
          label,
          layout: 'auto',
          compute: { module: device.createShaderModule({ label, code }), entryPoint: 'main' },
        }),
      );
      pipelines.set(code, made);
      // Whoever asks again may try again.
      made.catch(() => pipelines.delete(code));
      return made;
    },

    async write(buffer, offset, data, { signal } = {}) {
      for (let at = 0; at < data.byteLength; at += WRITE_BYTES) {
        check(signal);
        const part = data.subarray(at, at + WRITE_BYTES) as Bytes;
        const over = await turn(signal);
        try {
          await scoped(() => device.queue.writeBuffer(buffer, offset + at, part));
          // Else the copies of all parts would be held at once.
          if (data.byteLength > WRITE_BYTES) await answered(device.queue.onSubmittedWorkDone());
        } finally {
          over();
        }
      }
    },

    async run(steps, { signal, times } = {}) {
      const flying: Promise<void>[] = [];
      /** when the submit before it had run */
      let freed = 0;
      try {
        for (const batch of batches(steps)) {
          check(signal);
          if (flying.length >= IN_FLIGHT) await flying.shift();
          // What only zeroes takes no time, and what was secret should not lie there until an inference is over.
          const over = batch.work > 0 ? await turn(signal) : () => {};
          const submitted = performance.now();
          const done = submit(batch, times)
            .then(() => {
              const now = performance.now();
              learn(batch.work, now - Math.max(submitted, freed));
              freed = now;
            })
            .finally(over);
          // It is awaited below; until then its failure is nobody's fault.
          done.catch(() => {});
          flying.push(done);
        }
      } finally {
        // Whoever destroys the buffers next must not find them in use; the first failure counts.
        await Promise.allSettled(flying);
      }
      await Promise.all(flying);
    },

    async read(buffer, bytes) {
      const copy = device.createBuffer({
        label: 'readback',
        size: bytes,
        usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
      });
      try {
        const encoder = device.createCommandEncoder();
        encoder.copyBufferToBuffer(buffer, 0, copy, 0, bytes);
        device.queue.submit([encoder.finish()]);
        await answered(copy.mapAsync(GPUMapMode.READ));
        return new Uint8Array(copy.getMappedRange().slice(0));
      } finally {
        copy.destroy();
      }
    },
  };
  return queue;
}

/** Times of passes, each from its first to its last timestamp in nanoseconds. */
function createClock(device: GPUDevice, passes: number) {
  const set = device.createQuerySet({ type: 'timestamp', count: 2 * passes });
  const usage = GPUBufferUsage;
  const bytes = 16 * passes;
  const resolved = device.createBuffer({ size: bytes, usage: usage.QUERY_RESOLVE | usage.COPY_SRC });
  const copy = device.createBuffer({ size: bytes, usage: usage.COPY_DST | usage.MAP_READ });
  const stages: string[] = [];
  return {
    writes(stage: string): GPUComputePassTimestampWrites {
      const first = 2 * stages.length;
      stages.push(stage);
      return { querySet: set, beginningOfPassWriteIndex: first, endOfPassWriteIndex: first + 1 };
    },
    resolve(encoder: GPUCommandEncoder): void {
      if (stages.length === 0) return;
      encoder.resolveQuerySet(set, 0, 2 * stages.length, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, copy, 0, bytes);
    },
    async read(times: Map<string, number>): Promise<void> {
      await copy.mapAsync(GPUMapMode.READ);
      const ticks = new BigUint64Array(copy.getMappedRange());
      for (const [pass, stage] of stages.entries()) {
        const nanoseconds = Number(ticks[2 * pass + 1]! - ticks[2 * pass]!);
        times.set(stage, (times.get(stage) ?? 0) + nanoseconds / 1e6);
      }
    },
    destroy(): void {
      for (const each of [set, resolved, copy]) each.destroy();
    },
  };
}
