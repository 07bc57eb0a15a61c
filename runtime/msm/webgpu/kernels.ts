/** The kernels of sums, compiled when they are first asked for, and their dispatches. */
import type { Group } from '../../../circuits/groth16/engine.ts';
import { emitAddition } from './addition.ts';
import { emitBlockSums, emitDigits, emitOffsets } from './digits.ts';
import type { FieldVariant } from './field.ts';
import { WORKGROUP } from './interface.ts';
import { emitInversion } from './inversion.ts';
import { emitGather, emitPick, emitSplit } from './planes.ts';
import type { Dispatch, Queue } from './queue.ts';

const emitKernels = (group: Group, variant: FieldVariant) => ({
  split: emitSplit(group),
  forward: emitAddition(group, variant, 'forward'),
  inversion: emitInversion(group, variant),
  backward: emitAddition(group, variant, 'backward'),
  gather: emitGather(group, variant),
  pick: emitPick(group),
});
export type GroupKernels = ReturnType<typeof emitKernels>;
export const DIGIT_KERNELS = {
  count: emitDigits('count'),
  blockSums: emitBlockSums(),
  offsets: emitOffsets(),
  scatter: emitDigits('scatter'),
};
/** A kernel's first line says what it is. */
const labelOf = (code: string): string => /^\/\/ (.*)/.exec(code)?.[1] ?? 'kernel';

/** What a dispatch goes over: `items`, `each` of them per workgroup, of `work` (queue.ts) a workgroup. */
export interface Extent {
  readonly items: number;
  readonly work: number;
  readonly each?: number | undefined;
}

export interface Kernels {
  /** A group's kernels; those not yet compiled are, side by side. */
  of(group: Group): Promise<GroupKernels>;
  dispatch(
    stage: string,
    code: string,
    buffers: Dispatch['buffers'],
    params: readonly number[],
    extent: Extent,
  ): Promise<Dispatch>;
}

export function createKernels(queue: Queue, variant: FieldVariant): Kernels {
  const known = new Map<Group, Promise<GroupKernels>>();
  return {
    of(group) {
      const found = known.get(group);
      if (found) return found;
      const kernels = emitKernels(group, variant);
      const codes = [...Object.values(kernels), ...Object.values(DIGIT_KERNELS)];
      const made = Promise.all(codes.map((code) => queue.pipeline(labelOf(code), code))).then(() => kernels);
      made.catch(() => known.delete(group));
      known.set(group, made);
      return made;
    },
    async dispatch(stage, code, buffers, params, { items, work, each = WORKGROUP }) {
      const pipeline = await queue.pipeline(labelOf(code), code);
      return { stage, pipeline, buffers, params, workgroups: Math.ceil(items / each), work };
    },
  };
}
