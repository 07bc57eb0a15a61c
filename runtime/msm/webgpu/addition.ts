/**
 * Kernels that add many pairs of affine points at once: Montgomery's trick turns the divisions of all of a thread's
 * additions into one. Three dispatches: `forward` multiplies the divisors of each thread's pairs and leaves the products
 * before each; inversion.ts inverts one product per thread; `backward` takes it apart again and adds.
 *
 * An addition costs six multiplications, a doubling one more. All cases are handled: infinity (x = y = 0) on either
 * side, equal points (the tangent), opposite ones, and a point with y = 0, which the curve does not have, so that one bad
 * base spoils no other's division. Coordinates are not checked to be on the curve.
 *
 * A sum takes the place of its left addend, so that additions need no memory but the addends'. A task says where that is,
 * as a position; two positions share the slot that a sum lies in. `Pairs` says what the kinds of pairs are.
 */
import type { Group } from '../../../circuits/groth16/point.ts';
import { emitCoordinate, emitCoordinates } from './coordinate.ts';
import type { FieldVariant } from './field.ts';
import { emitInterface, emitMain } from './interface.ts';

export type Pass = 'forward' | 'backward';

/** Which pairs are added, as parameters. */
export interface Pairs {
  /** 0: tasks are in the list. Otherwise: how many there are per stride, at its slots 0, 1, 2, 4, 8, ... */
  readonly groups: number;
  readonly stride: number;
  /** from the left position to the right */
  readonly distance: number;
  /** slots from the left addend to the sum */
  readonly shift: number;
}

/**
 * A round of a bucket's tree (digits.ts): the list has the left positions, which are even. In the first round both addends
 * are entries still, later the right one is where the task's bit 0 says so.
 */
export const inBuckets = (round: number): Pairs => ({ groups: 0, stride: 0, distance: 2 ** round, shift: 0 });

/**
 * A round of the reduction of bucket sets to sum (i + 1) B_i, one slot per bucket. Round r adds slots at a distance of 2^r;
 * the left ones are those that are 0, 1, 2, 4, .. or 2^(r-1) modulo 2^(r+1). In the end slot 0 has the sum of all buckets,
 * and slot 2^b that of those whose index has bit b: what was a right addend at slot 0's side stays and is summed up there.
 */
export const inTree = (round: number): Pairs => ({
  groups: round + 1,
  stride: 2 ** (round + 1),
  distance: 2 ** (round + 1),
  shift: 0,
});

/** Points with themselves, for tables of multiples: `begin` is the first point's slot. */
export const doubled = (shift: number): Pairs => ({ groups: 1, stride: 1, distance: 0, shift });

const LOAD = `// An entry is the index of a point, times two, plus one where it is subtracted.
fn point_at(position: u32, is_entry: bool) -> Point {
  if (!is_entry) {
    return Point(el_load_slots_x(position >> 1u), el_load_slots_y(position >> 1u));
  }
  let entry = entries[position];
  let y = el_load_points_y(entry >> 1u);
  return Point(el_load_points_x(entry >> 1u), el_select(y, el_neg(y), (entry & 1u) == 1u));
}
// Bit 0 says that the right addend is an entry.
fn place_of(task: u32) -> u32 {
  if (params.groups == 0u) { return tasks[task]; }
  let power = task % params.groups;
  return 2u * (task / params.groups * params.stride + select(0u, 1u << (power - 1u), power > 0u));
}
fn load_pair(place: u32) -> Pair {
  var pair: Pair;
  // One site for all loads, and a bound that no compiler knows: lavapipe makes hundreds of instructions of each.
  for (var side = 0u; side < params.sides; side++) {
    let is_entry = params.distance == 1u || (side == 1u && (place & 1u) == 1u);
    let point = point_at((place & ~1u) + side * params.distance, is_entry);
    if (side == 0u) {
      pair.x1 = point.x;
      pair.y1 = point.y;
    } else {
      pair.x2 = point.x;
      pair.y2 = point.y;
    }
  }
  return pair;
}
`;

const CASES = `struct Point { x: El, y: El }
struct Pair { x1: El, y1: El, x2: El, y2: El }

const CHORD = 0u;
const TANGENT = 1u;
const LEFT = 2u; // the right one is infinity
const RIGHT = 3u;
const INFINITY = 4u;

fn case_of(pair: Pair) -> u32 {
  let no_left = el_is_zero(pair.x1) && el_is_zero(pair.y1);
  let no_right = el_is_zero(pair.x2) && el_is_zero(pair.y2);
  if (no_left || no_right) {
    return select(select(RIGHT, LEFT, no_right), INFINITY, no_left && no_right);
  }
  if (!el_equal(pair.x1, pair.x2)) {
    return CHORD;
  }
  return select(INFINITY, TANGENT, el_equal(pair.y1, pair.y2) && !el_is_zero(pair.y1));
}
fn divisor_of(pair: Pair, which: u32) -> El {
  switch which {
    case CHORD: { return el_sub(pair.x2, pair.x1); }
    case TANGENT: { return el_add(pair.y1, pair.y1); }
    default: { return EL_ONE; }
  }
}
`;

const FORWARD = `  if (thread >= params.threads) { return; }
  var product = EL_ONE;
  for (var i = thread; i < params.tasks; i += params.threads) {
    el_store_prefixes(i, product);
    let pair = load_pair(place_of(params.begin + i));
    product = el_mul(product, divisor_of(pair, case_of(pair)));
  }
  el_store_products(thread, product);`;

const BACKWARD = `  if (thread >= params.threads) { return; }
  // of the product of all of this thread's divisors that were not taken out yet
  var inverse = el_load_products(thread);
  let additions = (params.tasks - thread + params.threads - 1u) / params.threads;
  for (var rest = additions; rest > 0u; rest--) {
    let i = thread + (rest - 1u) * params.threads;
    let place = place_of(params.begin + i);
    let pair = load_pair(place);
    let which = case_of(pair);
    let divisor = divisor_of(pair, which);
    var slope = el_sub(pair.y2, pair.y1);
    var quotient = EL_ZERO;
    var sum = Point(EL_ZERO, EL_ZERO);
    let steps = select(6u, 3u, which >= LEFT);
    for (var step = select(1u, 0u, which == TANGENT); step < steps; step++) {
      var a: El;
      var b: El;
      switch step {
        case 0: { a = pair.x1; b = pair.x1; }
        case 1: { a = inverse; b = el_load_prefixes(i); }
        case 2: { a = inverse; b = divisor; }
        case 3: { a = slope; b = quotient; }
        case 4: { a = slope; b = slope; }
        default: { a = slope; b = el_sub(pair.x1, sum.x); }
      }
      let product = el_mul(a, b);
      switch step {
        case 0: { slope = el_add(el_add(product, product), product); }
        case 1: { quotient = product; }
        case 2: { inverse = product; }
        case 3: { slope = product; }
        case 4: { sum.x = el_sub(el_sub(product, pair.x1), pair.x2); }
        default: { sum.y = el_sub(product, pair.y1); }
      }
    }
    if (which == LEFT) { sum = Point(pair.x1, pair.y1); }
    if (which == RIGHT) { sum = Point(pair.x2, pair.y2); }
    let slot = (place >> 1u) + params.shift;
    el_store_slots_x(slot, sum.x);
    el_store_slots_y(slot, sum.y);
  }`;

/** The kernel's parameters: additions `begin` .. `begin + tasks` by at most as many threads. */
export const additionParams = (
  range: { readonly begin: number; readonly tasks: number; readonly threads: number },
  { groups, stride, distance, shift }: Pairs,
): number[] => [2, range.begin, range.tasks, range.threads, groups, stride, distance, shift];

/**
 * Buffers: points_x, points_y, entries and tasks (looked at with tasks from the list), slots_x, slots_y, prefixes (one
 * coordinate per task), products (one per thread: written forward, their inverses read backward).
 */
export function emitAddition(group: Group, variant: FieldVariant, pass: Pass): string {
  const scratch = pass === 'forward' ? 'rw vec4u' : 'vec4u';
  const access = pass === 'forward' ? 'read_write' : 'read';
  return `// Additions of ${group} points, ${pass}
${emitInterface({
  params: ['sides', 'begin', 'tasks', 'threads', 'groups', 'stride', 'distance', 'shift'],
  buffers: {
    points_x: 'vec4u',
    points_y: 'vec4u',
    entries: 'u32',
    tasks: 'u32',
    slots_x: 'rw vec4u',
    slots_y: 'rw vec4u',
    prefixes: scratch,
    products: scratch,
  },
})}
${emitCoordinate(group, variant)}
${emitCoordinates(group, 'points_x')}${emitCoordinates(group, 'points_y')}
${emitCoordinates(group, 'slots_x', 'read_write')}${emitCoordinates(group, 'slots_y', 'read_write')}
${emitCoordinates(group, 'prefixes', access)}${emitCoordinates(group, 'products', access)}
${CASES}
${LOAD}
${emitMain(pass === 'forward' ? FORWARD : BACKWARD)}`;
}
