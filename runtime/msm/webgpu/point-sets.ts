/**
 * Point sets on the device: how many points a piece has whose buffers a binding can hold, and the points of one in planes
 * of coordinates, with the multiples that the windows ask for.
 */
import type { Group } from '../../../circuits/groth16/engine.ts';
import { POINT_BYTES } from '../../../circuits/groth16/point.ts';
import type { ByteSource } from '../../../circuits/groth16/source.ts';
import { SCALAR_BYTES } from '../../../protocols/bn254.ts';
import { doubled } from './addition.ts';
import type { SumTools } from './batches.ts';
import { COORDINATE_BYTES } from './coordinate.ts';
import type { Planes } from './planes.ts';
import type { RunOptions, Step } from './queue.ts';
import { bucketsOf, planWindows, type Windows } from './windows.ts';

/** Points uploaded at a time, in bytes. */
const UPLOAD_BYTES = 2 ** 24;
/** A piece begins at a multiple of this many scalars: a binding's offset is a multiple of 256 bytes. */
export const SCALARS_ALIGNED = 8;

/** Points of one sum. */
export interface HeldSection {
  readonly group: Group;
  /** affine, in zkey form */
  readonly points: ByteSource;
  /** points at infinity in front of them, so that sections share their scalars' indices */
  readonly lead?: number | undefined;
}

export interface PieceLimits {
  /** for the points and tables of their multiples; the points alone are always held */
  readonly tableBytes: number;
  /** of the device */
  readonly bindingBytes: number;
  /** for each of the two planes of partial sums */
  readonly slotBytes: number;
}

/** The windows for sections of `count` points, and the points of a piece that fits the device's bindings. */
export function planPieces(
  count: number,
  groups: readonly Group[],
  { tableBytes, bindingBytes, slotBytes }: PieceLimits,
): { windows: Windows; piece: number } {
  const size = Math.max(...groups.map((group) => COORDINATE_BYTES[group]));
  const levelBytes = count * groups.reduce((total, group) => total + POINT_BYTES[group], 0);
  const levels = Math.max(1, Math.floor(tableBytes / Math.max(levelBytes, 1)));
  const coordinates = Math.floor(bindingBytes / size);
  const slots = Math.min(coordinates, Math.floor(slotBytes / size));
  for (let piece = count; ; ) {
    const windows = planWindows(piece, { levels, buckets: Math.min(coordinates, slots) });
    // A bucket may leave one of its positions empty, two positions share a slot.
    const bySlots = Math.floor((2 * slots - bucketsOf(windows)) / windows.windows);
    const largest = Math.min(
      bySlots,
      Math.floor(coordinates / windows.levels),
      Math.floor(bindingBytes / SCALAR_BYTES) - SCALARS_ALIGNED,
    );
    if (piece <= largest) return { windows, piece };
    const pieces = Math.max(Math.ceil(count / largest), Math.ceil(count / piece) + 1);
    piece = Math.ceil(Math.ceil(count / pieces) / SCALARS_ALIGNED) * SCALARS_ALIGNED;
  }
}

/** The points [from, from + count) of a section, and their multiples, into planes. */
export async function upload(
  { queue, scratch: { room }, kernels, additions }: SumTools,
  { group, points, lead = 0 }: HeldSection,
  { from, count }: { from: number; count: number },
  { bits, sets, levels }: Windows,
  { x, y }: Planes,
  options: RunOptions,
): Promise<void> {
  const size = POINT_BYTES[group];
  const whole = UPLOAD_BYTES / size;
  const code = await kernels.of(group);
  const staging = await room('staging', UPLOAD_BYTES);
  // A lead is what a new buffer is: zeros.
  for (let at = Math.max(from, lead); at < from + count; at += whole) {
    const length = Math.min(whole, from + count - at);
    const bytes = new Uint8Array(length * size);
    await points.read((at - lead) * size, bytes);
    await queue.write(staging, 0, bytes, options);
    const params = [length, at - from];
    const step = await kernels.dispatch('upload', code.split, [staging, x, y], params, {
      items: length,
      work: 1,
    });
    await queue.run([step], options);
  }
  const nothing = await room('nothing', 32);
  const buffers = { points: { x: nothing, y: nothing }, entries: nothing, tasks: nothing, slots: { x, y } };
  for (let level = 1; level < levels; level++) {
    const steps: Step[] = [];
    for (let doubling = 0; doubling < bits * sets; doubling++) {
      const [begin, shift] = doubling === 0 ? [(level - 1) * count, count] : [level * count, 0];
      steps.push(...(await additions('table', group, buffers, doubled(shift), { begin, count })));
    }
    await queue.run(steps, options);
  }
}
