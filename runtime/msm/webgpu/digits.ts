/**
 * Kernels that sort a vector of scalars by signed digits. A scalar below r is sum d_w 2^(bits w) with |d_w| <=
 * 2^(bits - 1); what digit d of window w asks for is to add the point 2^(bits w) P to bucket |d| - 1, subtracted when d is
 * negative. Zero digits ask for nothing. Windows w, w + sets, w + 2 sets, ... share a bucket set, because the point set
 * holds their multiples (`level` w / sets), so with a full table there is one set.
 *
 *   count     how many entries each bucket gets
 *   sums      totals of blocks of buckets, and how many additions each round has
 *   offsets   where each bucket begins
 *   scatter   entries into their buckets, and the additions as task lists
 *
 * Additions of one bucket are a tree over its entries: the one at rank k > 0 is the right half of the addition whose
 * distance is its lowest set bit, 2^round; so n entries make n - 1 tasks in log n rounds, every round's tasks are
 * independent of each other, and a bucket with half of all entries keeps as many threads busy as a million small ones.
 * All ones of a witness are one such bucket.
 *
 * Memory: `buckets` has (count, filled, first position) per bucket; a bucket begins at an even position, so that two
 * entries share a slot (addition.ts). `summary` has the number of tasks per round, then how many are written. Which thread
 * comes first decides the order within a bucket and a list; the sum does not depend on it.
 */
import { emitAccess, emitField, FIELDS } from './field.ts';
import { emitInterface, emitMain, WORKGROUP } from './interface.ts';

/** A bucket has fewer than 2^31 entries. */
export const ROUNDS = 32;
export const BUCKET_BYTES = 12;
export const SUMMARY_BYTES = 4 * 2 * ROUNDS;
/** Buckets per thread and per workgroup of the two scanning kernels. */
const SCAN_EACH = 8;
const SCAN_WORKGROUP = 256;
export const SCAN_BLOCK = SCAN_EACH * SCAN_WORKGROUP;

/**
 * Steps of one window, for all threads of a workgroup at once. `bucket` is where this thread's digit belongs, or NONE.
 * Threads with |d| = 1 share one bucket and count among themselves first: ones are what witnesses are full of.
 */
const WINDOWS = (each: string): string => `  let index = thread;
  let inside = index < params.count;
  var scalar = FE_ZERO;
  if (inside) {
    scalar = fe_load_scalars(params.begin + index);
    // 2^256 is less than six times r.
    for (var i = 0u; i < 5u; i++) { scalar = fe_reduce(scalar); }
    if (params.skip_infinity == 1u && is_infinity(index)) { scalar = FE_ZERO; }
  }
  var carry = 0u;
  for (var window = 0u; window < params.windows; window++) {
    var digit = (scalar.lo.x & ((1u << params.bits) - 1u)) + carry;
    carry = u32(digit > (1u << (params.bits - 1u)));
    let negative = carry;
    digit = select(digit, (1u << params.bits) - digit, negative == 1u);
    scalar = shifted(scalar, params.bits);
    let level = window / params.sets;
    let first_bucket = (window % params.sets) << (params.bits - 1u);
    let bucket = first_bucket + digit - 1u;
    let is_one = digit == 1u;
    var rank = 0u;
    if (is_one) { rank = atomicAdd(&ones, 1u); }
    workgroupBarrier();
    if (local == 0u) {
      let found = atomicExchange(&ones, 0u);
      if (found > 0u) { ones_before = atomicAdd(&buckets[3u * first_bucket + COUNTER], found); }
    }
    workgroupBarrier();
    if (is_one) { rank += ones_before; }
    if (digit > 1u) { rank = atomicAdd(&buckets[3u * bucket + COUNTER], 1u); }
${each}  }`;

const COMMON = `var<workgroup> ones: atomic<u32>;
var<workgroup> ones_before: u32;

fn is_infinity(i: u32) -> bool {
  let x = params.point_words * i;
  var any = vec4u();
  for (var k = 0u; k < params.point_words; k++) { any |= points_x[x + k] | points_y[x + k]; }
  return (any.x | any.y | any.z | any.w) == 0u;
}
fn shifted(a: Fe, bits: u32) -> Fe {
  let up = 32u - bits;
  return Fe(
    (a.lo >> vec4u(bits)) | (vec4u(a.lo.yzw, a.hi.x) << vec4u(up)),
    (a.hi >> vec4u(bits)) | (vec4u(a.hi.yzw, 0u) << vec4u(up)));
}
`;

const SCATTER = `    // level * stride + index, sign in bit 0
    let position = atomicLoad(&buckets[3u * bucket + 2u]) + rank;
    var round = 0u;
    var place = 0u;
    let has_task = digit > 0u && rank > 0u;
    if (digit > 0u) { entries[position] = ((level * params.stride + index) << 1u) | negative; }
    if (has_task) {
      round = firstTrailingBit(rank);
      place = atomicAdd(&round_counts[round], 1u);
    }
    workgroupBarrier();
    if (local < ${ROUNDS}u) {
      let found = atomicExchange(&round_counts[local], 0u);
      if (found > 0u) { round_places[local] = round_starts[local] + atomicAdd(&summary[${ROUNDS}u + local], found); }
    }
    workgroupBarrier();
    if (has_task) {
      let distance = 1u << round;
      // It was the left half of an earlier addition, unless it is the bucket's last entry.
      let is_entry = round == 0u || rank + 1u == atomicLoad(&buckets[3u * bucket]);
      tasks[round_places[round] + place] = (position - distance) | u32(is_entry && round > 0u);
    }
`;

const SCATTER_START = `  if (local < ${ROUNDS}u) {
    var start = 0u;
    for (var i = 0u; i < local; i++) { start += atomicLoad(&summary[i]); }
    round_starts[local] = start;
  }
`;

const DIGIT_PARAMS = [
  'begin',
  'count',
  'bits',
  'windows',
  'sets',
  'stride',
  'skip_infinity',
  'point_words',
] as const;

/** Buffers: scalars, points_x, points_y (level 0, looked at with skip_infinity), buckets, and to scatter summary, entries, tasks. */
export function emitDigits(pass: 'count' | 'scatter'): string {
  const scatter = pass === 'scatter';
  return `// Signed digits of scalars: ${pass}
${emitInterface({
  params: DIGIT_PARAMS,
  buffers: {
    scalars: 'vec4u',
    points_x: 'vec4u',
    points_y: 'vec4u',
    buckets: 'rw atomic<u32>',
    ...(scatter ? { summary: 'rw atomic<u32>', entries: 'rw u32', tasks: 'rw u32' } : {}),
  },
})}
const COUNTER = ${scatter ? 1 : 0}u; // of a bucket's three words
${emitField({ modulus: FIELDS.Fr, variant: 'words' })}
${emitAccess('scalars')}
${COMMON}${
  scatter
    ? `var<workgroup> round_counts: array<atomic<u32>, ${ROUNDS}>;
var<workgroup> round_starts: array<u32, ${ROUNDS}>;
var<workgroup> round_places: array<u32, ${ROUNDS}>;
`
    : ''
}
${emitMain((scatter ? SCATTER_START : '') + WINDOWS(scatter ? SCATTER : ''))}`;
}

const BLOCK = `  let begin = thread * ${SCAN_EACH}u;
  let end = min(begin + ${SCAN_EACH}u, params.buckets);`;

/** Buffers: buckets, blocks (one word per SCAN_BLOCK buckets), summary. */
export function emitBlockSums(): string {
  return `// Positions that blocks of buckets take, and additions by round
${emitInterface({
  params: ['buckets'],
  buffers: { buckets: 'u32', blocks: 'rw u32', summary: 'rw atomic<u32>' },
})}
var<workgroup> total: atomic<u32>;
var<workgroup> rounds: array<atomic<u32>, ${ROUNDS}>;
${emitMain(
  `${BLOCK}
  var positions = 0u;
  var largest = 0u;
  for (var bucket = begin; bucket < end; bucket++) {
    let count = buckets[3u * bucket];
    positions += (count + 1u) & ~1u;
    largest = max(largest, count);
  }
  atomicAdd(&total, positions);
  for (var round = 0u; (largest >> round) > 0u && (1u << round) < largest; round++) {
    var found = 0u;
    for (var bucket = begin; bucket < end; bucket++) {
      // ranks below count whose lowest set bit is this one
      found += ((buckets[3u * bucket] + (1u << round) - 1u) >> round) >> 1u;
    }
    atomicAdd(&rounds[round], found);
  }
  workgroupBarrier();
  if (local == 0u) { blocks[params.first + workgroup.x] = atomicLoad(&total); }
  if (local < ${ROUNDS}u) {
    let found = atomicLoad(&rounds[local]);
    if (found > 0u) { atomicAdd(&summary[local], found); }
  }`,
  SCAN_WORKGROUP,
)}`;
}

/** Buffers: buckets, blocks. */
export function emitOffsets(): string {
  return `// Where each bucket begins
${emitInterface({ params: ['buckets'], buffers: { buckets: 'rw u32', blocks: 'u32' } })}
var<workgroup> before: atomic<u32>;
var<workgroup> sums: array<u32, ${SCAN_WORKGROUP}>;
${emitMain(
  `${BLOCK}
  var earlier = 0u;
  for (var block = local; block < params.first + workgroup.x; block += ${SCAN_WORKGROUP}u) { earlier += blocks[block]; }
  atomicAdd(&before, earlier);
  var own = 0u;
  for (var bucket = begin; bucket < end; bucket++) { own += (buckets[3u * bucket] + 1u) & ~1u; }
  sums[local] = own;
  workgroupBarrier();
  for (var step = 1u; step < ${SCAN_WORKGROUP}u; step <<= 1u) {
    var sum = sums[local];
    if (local >= step) { sum += sums[local - step]; }
    workgroupBarrier();
    sums[local] = sum;
    workgroupBarrier();
  }
  var position = atomicLoad(&before) + sums[local] - own;
  for (var bucket = begin; bucket < end; bucket++) {
    buckets[3u * bucket + 2u] = position;
    position += (buckets[3u * bucket] + 1u) & ~1u;
  }`,
  SCAN_WORKGROUP,
)}`;
}

/** Work of a workgroup in field multiplications, for the queue: a digit takes some thirty operations, a product a thousand. */
export const DIGIT_WORK = (windows: number): number => (WORKGROUP * windows) / 16;
export const SCAN_WORK = SCAN_BLOCK / 64;
