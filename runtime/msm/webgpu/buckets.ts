/**
 * The buckets of one piece of a point set: digits of scalars sorted into them (digits.ts), the points of each added up, and
 * the buckets reduced to a few points per bucket set by a tree of the same additions.
 */
import type { Group } from '../../../circuits/groth16/engine.ts';
import { SCALAR_BYTES } from '../../../protocols/bn254.ts';
import { inBuckets, inTree } from './addition.ts';
import type { SumTools } from './batches.ts';
import { COORDINATE_BYTES } from './coordinate.ts';
import { BUCKET_BYTES, DIGIT_WORK, ROUNDS, SCAN_BLOCK, SCAN_WORK, SUMMARY_BYTES } from './digits.ts';
import { WORKGROUP } from './interface.ts';
import { DIGIT_KERNELS } from './kernels.ts';
import type { Planes } from './planes.ts';
import { SCALARS_ALIGNED } from './point-sets.ts';
import type { RunOptions, Step } from './queue.ts';
import { bucketsOf, type Windows } from './windows.ts';

type Bytes = Uint8Array<ArrayBuffer>;

/** A section's points of one piece. */
export interface Part {
  readonly group: Group;
  readonly planes: Planes;
}

/** A piece's digits, sorted (digits.ts). */
export interface Sorted {
  /** additions of each round */
  readonly rounds: readonly number[];
  /** what entries may take, with what is wasted at buckets' ends */
  readonly positions: number;
  readonly buckets: GPUBuffer;
  readonly entries: GPUBuffer;
  readonly tasks: GPUBuffer;
  /** what takes it from the device again */
  readonly clear: readonly Step[];
}

/** Sorts the digits of a piece's scalars; answers how many additions each round has. */
export async function sort(
  { queue, scratch: { room }, kernels }: SumTools,
  { from, count }: { from: number; count: number },
  parts: readonly Part[],
  windows: Windows,
  scalars: GPUBuffer,
  options: RunOptions,
): Promise<Sorted> {
  const total = bucketsOf(windows);
  const [entryCount, blockCount] = [count * windows.windows, Math.ceil(total / SCAN_BLOCK)];
  const buckets = await room('buckets', total * BUCKET_BYTES);
  const blocks = await room('blocks', 4 * blockCount);
  const summary = await room('summary', SUMMARY_BYTES);
  const entries = await room('entries', 4 * (entryCount + total));
  const tasks = await room('tasks', 4 * entryCount);
  const aligned = from - (from % SCALARS_ALIGNED);
  const part = {
    buffer: scalars,
    offset: aligned * SCALAR_BYTES,
    size: (from - aligned + count) * SCALAR_BYTES,
  };
  const { group, planes } = parts[0]!;
  const params = [
    from - aligned,
    count,
    windows.bits,
    windows.windows,
    windows.sets,
    count,
    // What is infinite in one section may be a point in another.
    parts.length === 1 ? 1 : 0,
    COORDINATE_BYTES[group] / 16,
  ];
  const perScalar = { items: count, work: DIGIT_WORK(windows.windows) };
  const perBlock = { items: blockCount, each: 1, work: SCAN_WORK };
  const shared = [part, planes.x, planes.y, buckets];
  await queue.run(
    [
      { clear: buckets },
      { clear: summary },
      await kernels.dispatch('digits', DIGIT_KERNELS.count, shared, params, perScalar),
      await kernels.dispatch(
        'digits',
        DIGIT_KERNELS.blockSums,
        [buckets, blocks, summary],
        [total],
        perBlock,
      ),
      await kernels.dispatch('digits', DIGIT_KERNELS.offsets, [buckets, blocks], [total], perBlock),
      await kernels.dispatch(
        'digits',
        DIGIT_KERNELS.scatter,
        [...shared, summary, entries, tasks],
        params,
        perScalar,
      ),
    ],
    options,
  );
  const words = await queue.read(summary, 4 * ROUNDS);
  return {
    rounds: [...new Uint32Array(words.buffer, 0, ROUNDS)],
    positions: entryCount + total,
    buckets,
    entries,
    tasks,
    clear: [{ clear: buckets }, { clear: entries }, { clear: tasks }],
  };
}

/**
 * What is left of a section's buckets: per bucket set the sum of all, then per bit the sum of those whose index has it.
 */
export async function reduce(
  { queue, scratch: { room }, kernels, additions }: SumTools,
  { group, planes: { x, y } }: Part,
  windows: Windows,
  { rounds, positions, buckets, entries, tasks }: Sorted,
  options: RunOptions,
): Promise<{ xs: Bytes; ys: Bytes }> {
  const size = COORDINATE_BYTES[group];
  const total = bucketsOf(windows);
  const additionCount = rounds.reduce((count, round) => count + round, 0);
  // A slot per two positions, of which each bucket may waste one. Entries are additions and buckets that have any.
  const slots = Math.ceil(Math.min(additionCount + 2 * total, positions) / 2) * size;
  const [slotsX, slotsY] = [await room('slots x', slots), await room('slots y', slots)];
  const steps: Step[] = [];
  const buffers = { points: { x, y }, entries, tasks, slots: { x: slotsX, y: slotsY } };
  let begin = 0;
  for (const [round, count] of rounds.entries()) {
    steps.push(...(await additions('buckets', group, buffers, inBuckets(round), { begin, count })));
    begin += count;
  }
  const code = await kernels.of(group);
  const nodes: Planes = { x: await room('nodes x', total * size), y: await room('nodes y', total * size) };
  for (const [points, slots, target, negates] of [
    [x, slotsX, nodes.x, 0],
    [y, slotsY, nodes.y, 1],
  ] as const) {
    const bound = [buckets, entries, points, slots, target];
    const extent = { items: total, work: WORKGROUP / 8 };
    steps.push(await kernels.dispatch('reduction', code.gather, bound, [total, negates], extent));
  }
  for (let round = 0; round < windows.bits - 1; round++) {
    const pairs = inTree(round);
    const count = (total / pairs.stride) * pairs.groups;
    steps.push(...(await additions('reduction', group, { ...buffers, slots: nodes }, pairs, { count })));
  }
  const left = windows.sets * windows.bits;
  const picked: Planes = { x: await room('picked x', left * size), y: await room('picked y', left * size) };
  for (const plane of ['x', 'y'] as const) {
    const bound = [nodes[plane], picked[plane]];
    const extent = { items: left, work: 1 };
    steps.push(await kernels.dispatch('reduction', code.pick, bound, [left, windows.bits], extent));
  }
  await queue.run(steps, options);
  return { xs: await queue.read(picked.x, left * size), ys: await queue.read(picked.y, left * size) };
}
