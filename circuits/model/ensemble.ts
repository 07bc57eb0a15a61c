/**
 * An ensemble of decision trees in floating point, as a file has it, and the same in whole numbers of the features' own
 * grid. Features are integers in public ranges, so that every comparison with a float32 threshold is one of two things on a
 * grid point and never a matter of rounding: "x >= from" for one integer `from`. A missing value does not occur: the data
 * dictionary has put a number in its place or refused the row, and what a file says of it is not needed.
 */
import { VouchError } from '../../protocols/errors.ts';
import type { Decision } from './network.ts';
import type { Range } from './preprocessing.ts';

/** What a node asks of y = factor x + offset, where x is one feature. */
export interface FloatSplit {
  readonly feature: number;
  readonly factor: number;
  readonly offset: number;
  readonly test: 'ge' | 'gt' | 'eq';
  readonly threshold: number;
  readonly yes: FloatNode;
  readonly no: FloatNode;
}
export interface FloatLeaf {
  /** what it adds to each output */
  readonly values: Float64Array;
}
export type FloatNode = FloatSplit | FloatLeaf;

/** Each output is its bias and the sum of what the leaves say that a row comes to. */
export interface Ensemble {
  readonly inputs: number;
  readonly outputs: number;
  readonly trees: readonly FloatNode[];
  readonly bias: Float64Array;
  readonly decision: Decision;
}

/** "x >= from" of one feature, low < from <= high. */
export interface GridSplit {
  readonly feature: number;
  readonly from: number;
  readonly yes: GridNode;
  readonly no: GridNode;
}
export type GridNode = GridSplit | FloatLeaf;

/** splits of one ensemble on the grid, before it is padded */
const MAX_SPLITS = 2 ** 17;
/** of a tree, padded: a full one has 2^depth leaves */
export const MAX_DEPTH = 10;

export const isLeaf = (node: GridNode | FloatNode): node is FloatLeaf => 'values' in node;

/**
 * The trees on the grid of the features' ranges, without splits that the range or a split above decides. Throws
 * `bad-input` for trees that are too deep or too many.
 */
export function onGrid({ trees }: Ensemble, ranges: readonly Range[]): GridNode[] {
  let splits = 0;
  const place = (node: FloatNode, within: ReadonlyMap<number, Range>, depth: number): GridNode => {
    if (isLeaf(node)) return node;
    const { feature, yes, no } = node;
    const { low, high } = within.get(feature) ?? ranges[feature]!;
    const holds = (x: number): boolean => holdsAt(node, x);
    const { from, to } = interval(node, low, high, holds);
    if (from > to) return place(no, within, depth);
    const cut = (at: number, above: FloatNode, below: FloatNode | GridNode, range: Range): GridNode => {
      if (depth >= MAX_DEPTH || ++splits > MAX_SPLITS)
        throw new VouchError(
          'bad-input',
          `model: a tree is deeper than ${MAX_DEPTH}, or there are more than ${MAX_SPLITS} splits, beyond any circuit; train with a smaller max_depth`,
        );
      const upper = { low: at, high: range.high };
      const lower = { low: range.low, high: at - 1 };
      return {
        feature,
        from: at,
        yes: place(above, new Map(within).set(feature, upper), depth + 1),
        no: place(below as FloatNode, new Map(within).set(feature, lower), depth + 1),
      };
    };
    if (from === low) return to === high ? place(yes, within, depth) : cut(to + 1, no, yes, { low, high });
    if (to === high) return cut(from, yes, no, { low, high });
    // Neither end: it asks for equality, which is two comparisons.
    const inside: FloatSplit = {
      ...node,
      test: 'ge',
      factor: 1,
      offset: 0,
      threshold: to + 1,
      yes: no,
      no: yes,
    };
    return cut(from, inside, no, { low, high });
  };
  return trees.map((tree) => place(tree, new Map(), 0));
}

function holdsAt({ factor, offset, test, threshold }: FloatSplit, x: number): boolean {
  const y = factor * x + offset;
  return test === 'ge' ? y >= threshold : test === 'gt' ? y > threshold : y === threshold;
}

/** Where in low..high the test holds: from..to, empty where from > to. It is monotone in x, or holds at one point at most. */
function interval(
  { factor, offset, test, threshold }: FloatSplit,
  low: number,
  high: number,
  holds: (x: number) => boolean,
): { from: number; to: number } {
  if (test === 'eq') {
    if (factor === 0) return offset === threshold ? { from: low, to: high } : { from: 1, to: 0 };
    const at = Math.round((threshold - offset) / factor);
    return at >= low && at <= high && holds(at) ? { from: at, to: at } : { from: 1, to: 0 };
  }
  const [first, last] = [holds(low), holds(high)];
  if (first === last) return first ? { from: low, to: high } : { from: 1, to: 0 };
  // The least x at which the test no longer says what it says at the low end.
  let [before, after] = [low, high];
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    if (holds(middle) === first) before = middle;
    else after = middle;
  }
  return first ? { from: low, to: before } : { from: after, to: high };
}

/** The outputs of the ensemble for one row, in floating point. */
export function ensembleSums({ trees, bias }: Ensemble, row: ArrayLike<number>): Float64Array {
  const sums = bias.slice();
  for (const tree of trees) {
    let node = tree;
    while (!isLeaf(node)) node = holdsAt(node, row[node.feature]!) ? node.yes : node.no;
    node.values.forEach((value, output) => {
      sums[output]! += value;
    });
  }
  return sums;
}

/** The same trees with other leaves. */
export function mapLeaves(node: FloatNode, change: (values: Float64Array) => Float64Array): FloatNode {
  return isLeaf(node)
    ? { values: change(node.values) }
    : { ...node, yes: mapLeaves(node.yes, change), no: mapLeaves(node.no, change) };
}
