/**
 * Batches of additions (addition.ts) as dispatches: in slices whose products fit their buffers, in chains that keep the
 * device busy.
 */
import type { Group } from '../../../circuits/groth16/engine.ts';
import { additionParams, type Pairs, type Pass } from './addition.ts';
import { COORDINATE_BYTES, COORDINATE_WORK } from './coordinate.ts';
import { WORKGROUP } from './interface.ts';
import { INVERSION_WORK } from './inversion.ts';
import type { Kernels } from './kernels.ts';
import type { Planes } from './planes.ts';
import type { Queue, Step } from './queue.ts';
import type { Scratch } from './scratch.ts';

/** Additions per thread at most: by then a division is a small part of the work. */
const CHAIN = 32;
/** Additions whose products are kept at a time, in bytes. */
const SLICE_BYTES = 2 ** 27;
/** Multiplications of the passes, per addition. */
const PASS_WORK = { forward: 1.3, backward: 6 } as const satisfies Record<Pass, number>;

/** What additions work on (addition.ts). */
export interface AdditionBuffers {
  readonly points: Planes;
  readonly entries: GPUBuffer;
  readonly tasks: GPUBuffer;
  readonly slots: Planes;
}

/** Steps that add `count` pairs from task `begin` on; a sum takes its left addend's slot. */
export type Additions = (
  stage: string,
  group: Group,
  buffers: AdditionBuffers,
  pairs: Pairs,
  tasks: { begin?: number; count: number },
) => Promise<Step[]>;

/** What sums are made with. */
export interface SumTools {
  readonly queue: Queue;
  readonly scratch: Scratch;
  readonly kernels: Kernels;
  readonly additions: Additions;
}

export interface BatchOptions {
  /** Threads that keep the device busy; more than it has use for cost divisions. */
  readonly threads: number;
  readonly bindingBytes: number;
}

export function createAdditions(
  { room }: Scratch,
  kernels: Kernels,
  { threads, bindingBytes }: BatchOptions,
): Additions {
  return async (stage, group, { points, entries, tasks, slots }, pairs, { begin = 0, count }) => {
    if (count === 0) return [];
    const size = COORDINATE_BYTES[group];
    const slice = Math.min(count, Math.floor(Math.min(SLICE_BYTES, bindingBytes) / size));
    const chain = Math.min(Math.max(1, Math.round(slice / threads)), CHAIN);
    const prefixes = await room('prefixes', slice * size);
    const products = await room('products', Math.ceil(slice / chain) * size);
    const buffers = [points.x, points.y, entries, tasks, slots.x, slots.y, prefixes, products];
    const code = await kernels.of(group);
    const steps: Step[] = [];
    for (let at = 0; at < count; at += slice) {
      const part = Math.min(slice, count - at);
      const active = Math.ceil(part / chain);
      const params = additionParams({ begin: begin + at, tasks: part, threads: active }, pairs);
      const pass = (which: Pass) => {
        const work = WORKGROUP * chain * PASS_WORK[which] * COORDINATE_WORK[group];
        return kernels.dispatch(stage, code[which], buffers, params, { items: active, work });
      };
      steps.push(
        await pass('forward'),
        await kernels.dispatch(stage, code.inversion, [products], [active], {
          items: active,
          work: WORKGROUP * INVERSION_WORK[group],
        }),
        await pass('backward'),
      );
    }
    return steps;
  };
}
