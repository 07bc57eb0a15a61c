/**
 * An ensemble of trees in whole numbers: its public shape, its hidden parameters, and what it computes. The circuit
 * (emit-trees.ts) and the served graph compute the same, bit for bit.
 *
 * Candidates: the tests "x >= from" that a split may be, low < from <= high, feature by feature in their order, and by
 * `from` within a feature. They follow from the dictionary alone. A split is the index of one of them, or the number of
 * candidates: "never", which padding is made of.
 * A tree is a string in preorder, `1` for a split, `0` for a leaf, first the branch of those for whom the test holds. Without
 * a string of its own each tree is a full one of the public depth, so that its shape says nothing.
 *   output = bias + sum over the trees that add to it of the leaf that the row comes to
 * Leaves and biases are signed integers of the public widths; `accumulator` bounds |output| over all of them, below 2^24.
 */
import { z } from 'zod';
import { VouchError } from '../../protocols/errors.ts';
import { type Ensemble, type GridNode, isLeaf, MAX_DEPTH, onGrid } from './ensemble.ts';
import type { Range } from './preprocessing.ts';

/** As architecture.ts has it, which imports this file. */
const EXACT = 2 ** 24;
const MAX_TREES = 4096;
/** a split costs a constraint for each */
export const MAX_CANDIDATES = 4096;
const MAX_OUTPUTS = 1024;
/** splits, leaves and biases; beyond this the circuit would not fit any key made on one machine */
const MAX_PARAMETERS = 2 ** 20;

export const TreesShape = z
  .strictObject({
    kind: z.literal('trees'),
    inputs: z.int().min(1).max(4096),
    outputs: z.int().min(1).max(MAX_OUTPUTS),
    depth: z.int().min(1).max(MAX_DEPTH).describe('of the deepest tree; each one is filled up to it'),
    topology: z
      .array(z.string().regex(/^[01]{3,2047}$/))
      .max(MAX_TREES)
      .optional()
      .describe('trees that are not filled up, in preorder: 1 a split, 0 a leaf'),
    targets: z
      .array(z.array(z.int().min(0).max(MAX_OUTPUTS)).min(1).max(MAX_OUTPUTS))
      .min(1)
      .max(MAX_TREES)
      .describe('of each tree: the outputs that it adds to, ascending'),
    leafBits: z.int().min(2).max(16),
    biasBits: z.int().min(2).max(24),
    accumulator: z
      .int()
      .min(1)
      .max(EXACT - 1)
      .describe('greatest absolute value of an output'),
  })
  .describe('a sum over trees, with hidden splits and leaves');
export type TreesShape = z.infer<typeof TreesShape>;

export interface TreeParameters {
  /** indices of candidates, tree by tree in preorder */
  readonly splits: Int32Array;
  /** tree by tree, for each of its targets its leaves in preorder */
  readonly leaves: Int32Array;
  /** by output */
  readonly bias: Int32Array;
}

export interface Candidate {
  readonly feature: number;
  readonly from: number;
}

/** All tests that a split may be. Throws `bad-input` where a range has too many. */
export function candidatesOf(ranges: readonly Range[]): Candidate[] {
  const count = ranges.reduce((sum, { low, high }) => sum + high - low, 0);
  if (count > MAX_CANDIDATES) {
    const widest = ranges.reduce(
      (w, { low, high }, i) => (high - low > ranges[w]!.high - ranges[w]!.low ? i : w),
      0,
    );
    throw new VouchError(
      'bad-input',
      `model: its features have ${count} possible thresholds, more than ${MAX_CANDIDATES}, ${ranges[widest]!.high - ranges[widest]!.low} of them in feature ${widest + 1}; give wide columns the kind bins in the dictionary, and train again`,
    );
  }
  return ranges.flatMap(({ low, high }, feature) =>
    Array.from({ length: high - low }, (_, i) => ({ feature, from: low + 1 + i })),
  );
}

/** Of each candidate the first one of its feature. */
export const candidateStarts = (candidates: readonly Candidate[]): number[] => {
  let start = 0;
  return candidates.map(({ feature }, s) => {
    if (s > 0 && candidates[s - 1]!.feature !== feature) start = s;
    return start;
  });
};

/**
 * Of each feature the last candidate that holds for a row; nothing where none does. All its candidates up to that one hold,
 * and no others.
 */
export function heldBy(ranges: readonly Range[], row: ArrayLike<number>): number[] {
  let start = 0;
  return ranges.flatMap(({ low, high }, i) => {
    const last = start + row[i]! - low - 1;
    start += high - low;
    return row[i]! > low ? [last] : [];
  });
}

/** A child of a split: the index of a split, or behind all of them the index of a leaf. */
export interface Topology {
  readonly splits: number;
  readonly yes: readonly number[];
  readonly no: readonly number[];
}

/** Throws `bad-input` for a string that is no tree. */
export function parseTopology(text: string): Topology {
  const splits = [...text].filter((c) => c === '1').length;
  const [yes, no]: [number[], number[]] = [[], []];
  let [at, nextSplit, nextLeaf] = [0, 0, 0];
  const read = (): number => {
    if (at >= text.length) throw new VouchError('bad-input', 'trees: a topology ends too early');
    if (text[at++] === '0') return splits + nextLeaf++;
    const split = nextSplit++;
    yes[split] = read();
    no[split] = read();
    return split;
  };
  read();
  if (at !== text.length || splits === 0) throw new VouchError('bad-input', 'trees: a topology is no tree');
  return { splits, yes, no };
}

const fullTree = (depth: number): string => (depth === 0 ? '0' : `1${fullTree(depth - 1).repeat(2)}`);

/** The topology of every tree. */
export function topologiesOf({ depth, topology, targets }: TreesShape): Topology[] {
  const known = new Map<string, Topology>();
  const parsed = (text: string): Topology => {
    const found = known.get(text) ?? parseTopology(text);
    known.set(text, found);
    return found;
  };
  return targets.map((_, t) => parsed(topology?.[t] ?? fullTree(depth)));
}

/** How far an output may be from 0, over all leaves and biases of these widths. */
export function treesBound({
  outputs,
  targets,
  leafBits,
  biasBits,
}: Pick<TreesShape, 'outputs' | 'targets' | 'leafBits' | 'biasBits'>): number {
  const trees = new Int32Array(outputs);
  for (const each of targets) for (const output of each) trees[output]!++;
  return Math.max(...trees) * 2 ** (leafBits - 1) + 2 ** (biasBits - 1);
}

/** Throws what `bad` makes of a member and a message, for a shape that is none, or not for these ranges. */
export function checkTrees(
  shape: TreesShape,
  ranges: readonly Range[],
  bad: (field: string, message: string) => VouchError,
): void {
  const { inputs, outputs, depth, topology, targets, accumulator } = shape;
  if (inputs !== ranges.length) throw bad('trees.inputs', `expected ${ranges.length}, got ${inputs}`);
  if (topology && topology.length !== targets.length)
    throw bad('trees.topology', `expected one for each of ${targets.length} trees`);
  for (const each of targets)
    if (each.some((output, i) => output >= outputs || (i > 0 && output <= each[i - 1]!)))
      throw bad('trees.targets', `expected ascending numbers of outputs below ${outputs}`);
  const topologies = topologiesOf(shape);
  const parameters = topologies.reduce(
    (sum, { splits }, t) => sum + splits + targets[t]!.length * (splits + 1),
    outputs,
  );
  if (parameters > MAX_PARAMETERS)
    throw bad('trees', `${parameters} parameters, more than ${MAX_PARAMETERS}`);
  for (const { yes, no, splits } of new Set(topologies)) {
    const depths = Array<number>(splits).fill(0);
    for (let i = splits - 1; i >= 0; i--)
      depths[i] = 1 + Math.max(...[yes[i]!, no[i]!].map((child) => (child < splits ? depths[child]! : 0)));
    if (depths[0]! > depth) throw bad('trees.topology', `a tree is deeper than ${depth}`);
  }
  candidatesOf(ranges);
  if (accumulator !== treesBound(shape)) throw bad('trees.accumulator', `expected ${treesBound(shape)}`);
}

/** The level of each split, from 0. */
export function depthsOf({ splits, yes, no }: Topology): number[] {
  const depths = Array<number>(splits).fill(0);
  for (let i = 0; i < splits; i++)
    for (const child of [yes[i]!, no[i]!]) if (child < splits) depths[child] = depths[i]! + 1;
  return depths;
}

/** A split's number as a pair of places, `high` of them times `low`, as few as decisions cost least with. */
export function pairFor(candidates: number): { readonly high: number; readonly low: number } {
  let best = { high: 2, low: Math.max(2, Math.ceil((candidates + 1) / 2)) };
  for (let high = 3; high <= Math.sqrt(candidates + 1); high++) {
    const low = Math.ceil((candidates + 1) / high);
    if (2 * high + low < 2 * best.high + best.low) best = { high, low };
  }
  return best;
}

/** For each pair, whether the split of that number holds for a row. */
export function holdingOf(candidates: readonly Candidate[], row: ArrayLike<number>): number[][] {
  const { high, low } = pairFor(candidates.length);
  return Array.from({ length: high }, (_, x) =>
    Array.from({ length: low }, (__, y) => {
      const test = candidates[x * low + y];
      return test !== undefined && row[test.feature]! >= test.from ? 1 : 0;
    }),
  );
}

/** Bits of the index of a split: any candidate, or none of them. */
export const splitBits = (candidates: number): number => candidates.toString(2).length;

/** Widths in commitment order, as runs: of each tree its splits and its leaves, then the biases. */
export function treeGroups(
  shape: TreesShape,
  candidates: number,
): { readonly count: number; readonly bits: number; readonly split: boolean }[] {
  return [
    ...topologiesOf(shape).flatMap(({ splits }, t) => [
      { count: splits, bits: splitBits(candidates), split: true },
      { count: shape.targets[t]!.length * (splits + 1), bits: shape.leafBits, split: false },
    ]),
    { count: shape.outputs, bits: shape.biasBits, split: false },
  ];
}

/** The parameters of one tree. */
export interface TreeOf extends Topology {
  readonly split: Int32Array;
  /** by target */
  readonly leaf: readonly Int32Array[];
}

export function treesOf(shape: TreesShape, { splits, leaves }: TreeParameters): TreeOf[] {
  let [split, leaf] = [0, 0];
  return topologiesOf(shape).map((topology, t) => {
    split += topology.splits;
    const values = shape.targets[t]!.map(() => {
      leaf += topology.splits + 1;
      return leaves.subarray(leaf - topology.splits - 1, leaf);
    });
    return { ...topology, split: splits.subarray(split - topology.splits, split), leaf: values };
  });
}

/** The outputs for one row of features. */
export function treeSums(
  shape: TreesShape,
  parameters: TreeParameters,
  ranges: readonly Range[],
  features: ArrayLike<number>,
): Int32Array {
  const candidates = candidatesOf(ranges);
  const sums = Int32Array.from(parameters.bias);
  treesOf(shape, parameters).forEach(({ splits, yes, no, split, leaf }, t) => {
    let at = 0;
    while (at < splits) {
      const test = candidates[split[at]!];
      at = test !== undefined && features[test.feature]! >= test.from ? yes[at]! : no[at]!;
    }
    shape.targets[t]!.forEach((output, i) => {
      sums[output]! += leaf[i]![at - splits]!;
    });
  });
  return sums;
}

const LEAF_BITS = 16;

export interface TreeOptions {
  /** of a leaf; default: 16, or as many as 2^24 leaves for the number of trees */
  readonly bits?: number | undefined;
  /** whether the shape of each tree is public, and not filled up */
  readonly topology?: boolean | undefined;
}

/**
 * Rounds an ensemble's leaves to integers and its thresholds to candidates. `scale`: what 1 becomes in an output. Throws
 * `bad-input`.
 */
export function quantiseTrees(
  ensemble: Ensemble,
  ranges: readonly Range[],
  { bits, topology = false }: TreeOptions,
): { shape: TreesShape; parameters: TreeParameters; scale: number } {
  const candidates = candidatesOf(ranges);
  const index = new Map(candidates.map(({ feature, from }, s) => [`${feature} ${from}`, s]));
  const bias = ensemble.bias.slice();
  const trees = onGrid(ensemble, ranges).filter((tree) => {
    if (!isLeaf(tree)) return true;
    tree.values.forEach((value, output) => {
      bias[output]! += value;
    });
    return false;
  });
  if (trees.length === 0 || trees.length > MAX_TREES)
    throw new VouchError(
      'bad-input',
      `model: expected 1 to ${MAX_TREES} trees that ask for something, got ${trees.length}`,
    );
  const targets = trees.map((tree) => {
    const used = bias.map((_, output) => (leavesOf(tree).some((values) => values[output] !== 0) ? 1 : 0));
    const found = Array.from(used.keys()).filter((output) => used[output] === 1);
    return found.length > 0 ? found : [0];
  });
  const perOutput = bias.map((_, output) => targets.filter((each) => each.includes(output)).length);
  const most = Math.max(...perOutput);
  // Half of the 2^24 are the leaves', the rest is the bias's.
  const leafBits = Math.min(bits ?? LEAF_BITS, 24 - Math.ceil(Math.log2(most)));
  const greatest = trees.reduce(
    (most, tree) =>
      leavesOf(tree).reduce((m, values) => values.reduce((a, v) => Math.max(a, Math.abs(v)), m), most),
    0,
  );
  let scale = greatest > 0 ? (2 ** (leafBits - 1) - 1) / greatest : 1;
  // A bias far beyond the leaves makes them coarser.
  const furthest = bias.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  scale = Math.min(scale, furthest > 0 ? (2 ** 22 - 1) / furthest : scale);
  const exactBias = Array.from(bias, (b) => Math.round(b * scale));
  const biasBits = [8, 12, 16, 20, 23].find((n) => exactBias.every((b) => Math.abs(b) < 2 ** (n - 1)))!;
  const depth = trees.reduce((most, tree) => Math.max(most, depthOf(tree)), 1);
  const splits: number[] = [];
  const leaves: number[] = [];
  const texts = trees.map((tree, t) => {
    const found: Float64Array[] = [];
    let text = '';
    const walk = (node: GridNode, left: number): void => {
      if (isLeaf(node) && (topology || left === 0)) {
        text += '0';
        found.push(node.values);
        return;
      }
      text += '1';
      // Whoever comes to padding comes to the same leaf on both sides.
      splits.push(isLeaf(node) ? candidates.length : index.get(`${node.feature} ${node.from}`)!);
      walk(isLeaf(node) ? node : node.yes, left - 1);
      walk(isLeaf(node) ? node : node.no, left - 1);
    };
    walk(tree, depth);
    for (const output of targets[t]!)
      for (const values of found) leaves.push(Math.round(values[output]! * scale));
    return text;
  });
  const widths = { inputs: ranges.length, outputs: bias.length, depth, targets, leafBits, biasBits };
  return {
    scale,
    shape: {
      kind: 'trees',
      ...widths,
      ...(topology ? { topology: texts } : {}),
      accumulator: treesBound(widths),
    },
    parameters: {
      splits: Int32Array.from(splits),
      leaves: Int32Array.from(leaves),
      bias: Int32Array.from(exactBias),
    },
  };
}

const leavesOf = (node: GridNode): Float64Array[] =>
  isLeaf(node) ? [node.values] : [...leavesOf(node.yes), ...leavesOf(node.no)];

const depthOf = (node: GridNode): number =>
  isLeaf(node) ? 0 : 1 + Math.max(depthOf(node.yes), depthOf(node.no));
