/**
 * Kernels that add many pairs of affine points at once: Montgomery's trick turns the divisions of all of a thread's
 * additions into one. Three dispatches: `forward` multiplies the divisors of each thread's pairs and leaves the products
 * before each; inversion.ts inverts one product per thread; `backward` takes it apart again and adds.
 *
 * An addition costs six multiplications, a doubling one more. All cases are handled: infinity (x = y = 0) on either
 * side, equal points (the tangent), opposite ones, and a point with y = 0, which the curve does not have, so that one bad
 * base spoils no other's division. Coordinates are not checked to be on the curve.
 *
 * Where pairs come from, and where sums go:
 *   entries   pairs of one bucket, by the task lists of digits.ts
 *   tree      neighbours of the bucket reduction's arrays, see `tree` below
 *   doubling  every point with itself, for tables of multiples
 */
import type { Group } from '../../../circuits/groth16/point.ts';
import { emitCoordinate, emitCoordinates } from './coordinate.ts';
import type { FieldVariant } from './field.ts';
import { emitInterface, emitMain } from './interface.ts';

export type PairSource = 'entries' | 'tree' | 'doubling';
export type Pass = 'forward' | 'backward';

/** Parameters by source, behind `begin` (first task), `tasks` (their number) and `threads`. */
export const ADDITION_PARAMS = {
  entries: ['distance'],
  tree: ['half', 'groups'],
  doubling: ['origin', 'destination'],
} as const satisfies Record<PairSource, readonly string[]>;

interface Template {
  /** of both passes, and of the backward pass alone */
  readonly buffers: Readonly<Record<string, string>>;
  readonly written: Readonly<Record<string, string>>;
  readonly access: (group: Group, pass: Pass) => string;
  /** `fn load_pair(task: u32) -> Pair` */
  readonly load: string;
  /** `fn store_sum(task: u32, pair: Pair, sum: Point)` */
  readonly store: string;
}

const TEMPLATES: Record<PairSource, Template> = {
  /**
   * A task is the position of the left entry, which is even; its partner lies `distance` = 2^round further. The sum
   * takes the left one's slot, of which there is one per two positions. Bit 0 says that the partner is an entry still.
   */
  entries: {
    buffers: {
      points_x: 'vec4u',
      points_y: 'vec4u',
      entries: 'u32',
      tasks: 'u32',
      slots_x: 'rw vec4u',
      slots_y: 'rw vec4u',
    },
    written: {},
    access: (group) =>
      emitCoordinates(group, 'points_x') +
      emitCoordinates(group, 'points_y') +
      emitCoordinates(group, 'slots_x', 'read_write') +
      emitCoordinates(group, 'slots_y', 'read_write'),
    load: `// An entry is the index of a point, times two, plus one where it is subtracted.
fn point_at(position: u32, is_entry: bool) -> Point {
  if (!is_entry) {
    return Point(el_load_slots_x(position >> 1u), el_load_slots_y(position >> 1u));
  }
  let entry = entries[position];
  let y = el_load_points_y(entry >> 1u);
  return Point(el_load_points_x(entry >> 1u), el_select(y, el_neg(y), (entry & 1u) == 1u));
}
fn load_pair(task: u32) -> Pair {
  let position = tasks[task] & ~1u;
  let first_round = params.distance == 1u;
  let left = point_at(position, first_round);
  let right = point_at(position + params.distance, first_round || (tasks[task] & 1u) == 1u);
  return Pair(left.x, left.y, right.x, right.y);
}
`,
    store: `fn store_sum(task: u32, pair: Pair, sum: Point) {
  let slot = tasks[task] >> 1u;
  el_store_slots_x(slot, sum.x);
  el_store_slots_y(slot, sum.y);
}
`,
  },
  /**
   * The reduction of a bucket set to sum (i + 1) B_i. Round r has arrays of 2 * half elements, per set: one of sums S,
   * and one per bit below r. It halves each: S by pairs, and the odd elements of S, whose indices have bit r, become the
   * array of that bit. In the end there is one element of each, and the answer is S + sum 2^bit T_bit.
   */
  tree: {
    buffers: { nodes_x: 'vec4u', nodes_y: 'vec4u' },
    written: { sums_x: 'rw vec4u', sums_y: 'rw vec4u' },
    access: (group, pass) =>
      emitCoordinates(group, 'nodes_x') +
      emitCoordinates(group, 'nodes_y') +
      (pass === 'forward'
        ? ''
        : emitCoordinates(group, 'sums_x', 'read_write') + emitCoordinates(group, 'sums_y', 'read_write')),
    load: `fn load_pair(task: u32) -> Pair {
  let left = 2u * task;
  return Pair(
    el_load_nodes_x(left), el_load_nodes_y(left),
    el_load_nodes_x(left + 1u), el_load_nodes_y(left + 1u));
}
`,
    store: `fn store_sum(task: u32, pair: Pair, sum: Point) {
  let row = task / params.half;
  let bucket_set = row / params.groups;
  let list = row % params.groups;
  let at = (bucket_set * (params.groups + 1u) + list) * params.half + task % params.half;
  el_store_sums_x(at, sum.x);
  el_store_sums_y(at, sum.y);
  if (list == 0u) {
    let odd = at + params.groups * params.half;
    el_store_sums_x(odd, pair.x2);
    el_store_sums_y(odd, pair.y2);
  }
}
`,
  },
  doubling: {
    buffers: { points_x: 'rw vec4u', points_y: 'rw vec4u' },
    written: {},
    access: (group) =>
      emitCoordinates(group, 'points_x', 'read_write') + emitCoordinates(group, 'points_y', 'read_write'),
    load: `fn load_pair(task: u32) -> Pair {
  let x = el_load_points_x(params.origin + task);
  let y = el_load_points_y(params.origin + task);
  return Pair(x, y, x, y);
}
`,
    store: `fn store_sum(task: u32, pair: Pair, sum: Point) {
  el_store_points_x(params.destination + task, sum.x);
  el_store_points_y(params.destination + task, sum.y);
}
`,
  },
};

const PAIRS = `struct Point { x: El, y: El }
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
    let pair = load_pair(params.begin + i);
    product = el_mul(product, divisor_of(pair, case_of(pair)));
  }
  el_store_products(thread, product);`;

const BACKWARD = `  if (thread >= params.threads) { return; }
  // of the product of all of this thread's divisors that were not taken out yet
  var inverse = el_load_products(thread);
  let additions = (params.tasks - thread + params.threads - 1u) / params.threads;
  for (var rest = additions; rest > 0u; rest--) {
    let i = thread + (rest - 1u) * params.threads;
    let pair = load_pair(params.begin + i);
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
    store_sum(params.begin + i, pair, sum);
  }`;

export interface AdditionOptions {
  readonly group: Group;
  readonly variant: FieldVariant;
  readonly source: PairSource;
  readonly pass: Pass;
}

/**
 * Buffers, in order: the source's (`TEMPLATES`), `prefixes` (one coordinate per task) and `products` (one per thread:
 * written forward, their inverses read backward). `threads` is at most `tasks`.
 */
export function emitAddition({ group, variant, source, pass }: AdditionOptions): string {
  const template = TEMPLATES[source];
  const forward = pass === 'forward';
  const scratch = forward ? 'rw vec4u' : 'vec4u';
  const access = forward ? 'read_write' : 'read';
  return `// ${pass} pass over pairs of ${group} points: ${source}
${emitInterface({
  params: ['begin', 'tasks', 'threads', ...ADDITION_PARAMS[source]],
  buffers: {
    ...template.buffers,
    ...(forward ? {} : template.written),
    prefixes: scratch,
    products: scratch,
  },
})}
${emitCoordinate(group, variant)}
${template.access(group, pass)}${emitCoordinates(group, 'prefixes', access)}${emitCoordinates(group, 'products', access)}
${PAIRS}
${template.load}${forward ? '' : template.store}
${emitMain(forward ? FORWARD : BACKWARD)}`;
}
