/**
 * Multi-scalar multiplication on a GPU, in G1 and in G2: buckets by signed digits, every addition an affine one in a batch
 * (buckets.ts, batches.ts), the reduction of the buckets a tree of the same additions; the few hundred points that are left
 * are doubled and added on the host (remainder.ts).
 *
 * Point sets stay on the device in planes of coordinates, cut by their points into pieces whose buffers a binding can hold;
 * sections that are summed with the same scalars are held together, so that one sort of the digits serves all of them.
 *
 * Formats are those of circuits/groth16/engine.ts. Right for all points of the curve, or of the whole twist; others are not
 * noticed. Not constant time. Buffers that held digits of scalars are cleared after use, not overwritten by more than zeros.
 */
import type { EngineOptions, Group } from '../../../circuits/groth16/engine.ts';
import { POINT_BYTES } from '../../../circuits/groth16/point.ts';
import { bytesSource } from '../../../circuits/groth16/source.ts';
import { SCALAR_BYTES } from '../../../protocols/bn254.ts';
import { createAdditions } from './batches.ts';
import { reduce, sort } from './buckets.ts';
import { COORDINATE_BYTES } from './coordinate.ts';
import type { FieldVariant } from './field.ts';
import { createKernels } from './kernels.ts';
import type { Planes } from './planes.ts';
import { type HeldSection, planPieces, upload } from './point-sets.ts';
import type { Queue, RunOptions } from './queue.ts';
import { createRemainder } from './remainder.ts';
import { createScratch } from './scratch.ts';
import type { Windows } from './windows.ts';

type Bytes = Uint8Array<ArrayBuffer>;

export interface HoldOptions extends RunOptions {
  /** Bytes that the points and tables of their multiples may take; the points alone are always held. */
  readonly tableBytes?: number | undefined;
}

export interface HeldSumsOptions extends RunOptions {
  /** The sections, by their number, that are summed, in this order; all by default. */
  readonly only?: readonly number[] | undefined;
}

/** Points on the device. */
export interface HeldPoints {
  /** of each section, its lead included */
  readonly count: number;
  /** on the device */
  readonly bytes: number;
  readonly windows: Windows;
  /**
   * Per section the sum of scalars[i] * points[i], affine in zkey form. `scalars`: `count` elements in standard form from
   * the buffer's beginning. Calls are done one after another.
   */
  sums(scalars: GPUBuffer, options?: HeldSumsOptions): Promise<Bytes[]>;
  release(): void;
}

export interface GpuMsm {
  /** RangeError unless the sections have the same number of points, their leads included. */
  hold(sections: readonly HeldSection[], options?: HoldOptions): Promise<HeldPoints>;
  /** One sum over points that are not kept; as `Pool.msm`. */
  msm(group: Group, bases: Uint8Array, scalars: Uint8Array, options?: EngineOptions): Promise<Bytes>;
  /** Gives back the scratch memory, which grew with the sums. */
  close(): void;
}

export interface GpuMsmOptions {
  readonly variant: FieldVariant;
  /** Threads that keep the device busy; more than it has use for cost divisions. */
  readonly threads?: number | undefined;
  /** Bytes of each of the two planes of partial sums, 512 MiB by default: a larger sum is cut into pieces. */
  readonly slotBytes?: number | undefined;
}

const THREADS = 2 ** 15;
const SLOT_BYTES = 2 ** 29;

interface Piece {
  /** its first point, and how many it has */
  readonly from: number;
  readonly count: number;
  /** by section; level l of point i at l * count + i */
  readonly sections: readonly Planes[];
}

export function createGpuMsm(
  queue: Queue,
  { variant, threads = THREADS, slotBytes = SLOT_BYTES }: GpuMsmOptions,
): GpuMsm {
  const { limits } = queue.device;
  const bindingBytes = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  const scratch = createScratch(queue);
  const kernels = createKernels(queue, variant);
  const additions = createAdditions(scratch, kernels, { threads, bindingBytes });
  const tools = { queue, scratch, kernels, additions };

  const engine: GpuMsm = {
    async hold(sections, { tableBytes = 0, ...options } = {}) {
      const counts = sections.map(
        ({ group, points, lead = 0 }) => lead + points.byteLength / POINT_BYTES[group],
      );
      const count = counts[0];
      if (count === undefined || !Number.isInteger(count) || counts.some((other) => other !== count)) {
        throw new RangeError(`hold: expected sections of equal length, got ${counts.join(', ')} points`);
      }
      const groups = sections.map(({ group }) => group);
      const { windows, piece } = planPieces(count, groups, { tableBytes, bindingBytes, slotBytes });
      const pieces: Piece[] = [];
      const buffers: GPUBuffer[] = [];
      const release = () => {
        for (const buffer of buffers) buffer.destroy();
      };
      try {
        for (let from = 0; from < count; from += piece) {
          const range = { from, count: Math.min(piece, count - from) };
          const planes: Planes[] = [];
          for (const section of sections) {
            const bytes = range.count * windows.levels * COORDINATE_BYTES[section.group];
            const [x, y] = [await queue.buffer('points x', bytes), await queue.buffer('points y', bytes)];
            buffers.push(x, y);
            planes.push({ x, y });
            await scratch.inTurn(() => upload(tools, section, range, windows, { x, y }, options));
          }
          pieces.push({ ...range, sections: planes });
        }
      } catch (error) {
        release();
        throw error;
      }
      return {
        count,
        bytes: buffers.reduce((total, { size }) => total + size, 0),
        windows,
        release,
        sums: (scalars, { only = [...groups.keys()], ...runOptions } = {}) =>
          scratch.inTurn(async () => {
            if (only.length === 0) return [];
            const chosen = only.map((index) => ({ index, group: groups[index]! }));
            const left = chosen.map(({ group }) => createRemainder(group, windows));
            for (const each of pieces) {
              const parts = chosen.map(({ index, group }) => ({ group, planes: each.sections[index]! }));
              const sorted = await sort(tools, each, parts, windows, scalars, runOptions);
              try {
                for (const [index, part] of parts.entries()) {
                  left[index]!.add(await reduce(tools, part, windows, sorted, runOptions));
                }
              } finally {
                // Not when aborted: what is cleared must be cleared. A lost device has nothing left.
                await queue.run(sorted.clear).catch(() => {});
              }
            }
            return left.map((remainder) => remainder.sum());
          }),
      };
    },

    async msm(group, bases, scalars, options = {}) {
      const count = scalars.byteLength / SCALAR_BYTES;
      if (!Number.isInteger(count) || bases.byteLength !== count * POINT_BYTES[group]) {
        throw new RangeError(
          `msm: ${count} scalars need ${count * POINT_BYTES[group]} bytes of ${group} bases, got ${bases.byteLength}`,
        );
      }
      if (count === 0) return new Uint8Array(POINT_BYTES[group]);
      const points = await engine.hold([{ group, points: bytesSource(bases) }], options);
      let buffer: GPUBuffer | undefined;
      try {
        buffer = await queue.buffer('scalars', scalars.byteLength);
        await queue.write(buffer, 0, scalars, options);
        const [result] = await points.sums(buffer, options);
        return result!;
      } finally {
        if (buffer) await queue.run([{ clear: buffer }]).catch(() => {});
        buffer?.destroy();
        points.release();
      }
    },

    close: scratch.close,
  };
  return engine;
}
