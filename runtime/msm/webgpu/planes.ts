/**
 * Kernels that move points. `split` takes points as files have them, x beside y, into planes of x and of y, where a
 * coordinate's bytes stay as they are; `gather` takes each bucket's sum into a plane of the bucket reduction: infinity for
 * an empty bucket, the point of a single entry, the slot of the first of several; `pick` takes out what that leaves.
 */
import type { Group } from '../../../circuits/groth16/point.ts';
import { COORDINATE_BYTES, emitCoordinate, emitCoordinates } from './coordinate.ts';
import type { FieldVariant } from './field.ts';
import { emitInterface, emitMain } from './interface.ts';

/** The coordinates of points on the device. */
export interface Planes {
  readonly x: GPUBuffer;
  readonly y: GPUBuffer;
}

/** Buffers: points, points_x, points_y. */
export function emitSplit(group: Group): string {
  const words = COORDINATE_BYTES[group] / 16;
  return `// ${group} points into planes of coordinates
${emitInterface({
  params: ['count', 'destination'],
  buffers: { points: 'vec4u', points_x: 'rw vec4u', points_y: 'rw vec4u' },
})}
${emitMain(`  if (thread >= params.count) { return; }
  for (var i = 0u; i < ${words}u; i++) {
    points_x[(params.destination + thread) * ${words}u + i] = points[thread * ${2 * words}u + i];
    points_y[(params.destination + thread) * ${words}u + i] = points[thread * ${2 * words}u + ${words}u + i];
  }`)}`;
}

/** One plane at a time, `negates` for that of y. Buffers: buckets, entries, points, slots, nodes. */
export function emitGather(group: Group, variant: FieldVariant): string {
  return `// One coordinate of every bucket's sum, ${group}
${emitInterface({
  params: ['count', 'negates'],
  buffers: { buckets: 'u32', entries: 'u32', points: 'vec4u', slots: 'vec4u', nodes: 'rw vec4u' },
})}
${emitCoordinate(group, variant)}
${emitCoordinates(group, 'points')}${emitCoordinates(group, 'slots')}${emitCoordinates(group, 'nodes', 'read_write')}
${emitMain(`  if (thread >= params.count) { return; }
  let filled = buckets[3u * thread];
  let position = buckets[3u * thread + 2u];
  var value = EL_ZERO;
  if (filled == 1u) {
    let entry = entries[position];
    value = el_load_points(entry >> 1u);
    if ((entry & params.negates) == 1u) { value = el_neg(value); }
  }
  if (filled > 1u) { value = el_load_slots(position >> 1u); }
  el_store_nodes(thread, value);`)}`;
}

/** One plane at a time: of each bucket set slots 0, 1, 2, 4, ..., `bits` of them. Buffers: nodes, picked. */
export function emitPick(group: Group): string {
  const words = COORDINATE_BYTES[group] / 16;
  return `// What the reduction leaves, ${group}
${emitInterface({
  params: ['count', 'bits'],
  buffers: { nodes: 'vec4u', picked: 'rw vec4u' },
})}
${emitMain(`  if (thread >= params.count) { return; }
  let power = thread % params.bits;
  let node = ((thread / params.bits) << (params.bits - 1u)) + select(0u, 1u << (power - 1u), power > 0u);
  for (var i = 0u; i < ${words}u; i++) { picked[thread * ${words}u + i] = nodes[node * ${words}u + i]; }`)}`;
}
