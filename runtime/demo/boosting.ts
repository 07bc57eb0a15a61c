/**
 * A plain trainer of boosted trees for the scenarios: logistic loss, Newton steps in the leaves (Friedman 2001; Chen and
 * Guestrin 2016), splits between neighbouring integers of a feature. Deterministic; two classes. What it makes leaves as a
 * TreeEnsembleClassifier of ai.onnx.ml, shaped as exporters write it, and is treated like anybody's file.
 */
import type { OnnxAttribute, OnnxGraph } from '../../circuits/model/onnx.ts';
import type { LabelledFeatures } from './trainer.ts';

export interface BoostingOptions {
  readonly trees: number;
  readonly depth: number;
  readonly learningRate: number;
  /** added to a leaf's sum of second derivatives */
  readonly penalty: number;
  /** rows that a leaf has at least */
  readonly leastRows: number;
}

const DEFAULT_BOOSTING: BoostingOptions = {
  trees: 60,
  depth: 3,
  learningRate: 0.1,
  penalty: 1,
  leastRows: 8,
};

/** A split takes the left branch where the feature is at most the threshold. */
type Tree =
  | { readonly leaf: number }
  | { readonly feature: number; readonly threshold: number; readonly left: Tree; readonly right: Tree };

export interface BoostedTrees {
  readonly inputs: number;
  /** log odds before the first tree */
  readonly base: number;
  readonly trees: readonly Tree[];
}

/** Class 1 against class 0. Throws RangeError for other labels, or none. */
export function boost(data: LabelledFeatures, options: Partial<BoostingOptions> = {}): BoostedTrees {
  const o = { ...DEFAULT_BOOSTING, ...options };
  const { features, labels } = data;
  if (labels.length === 0 || labels.some((label) => label !== 0 && label !== 1))
    throw new RangeError('boost: expected rows of the classes 0 and 1');
  const inputs = features[0]!.length;
  const columns = Array.from({ length: inputs }, (_, i) => columnOf(features, i));
  const positive = labels.reduce((sum, label) => sum + label, 0);
  const base = Math.log((positive + 1) / (labels.length - positive + 1));
  const score = new Float64Array(labels.length).fill(base);
  const gradient = new Float64Array(labels.length);
  const curvature = new Float64Array(labels.length);
  const everything = labels.map((_, r) => r);

  const grow = (rows: readonly number[], depth: number): Tree => {
    const split = depth < o.depth ? bestSplit(rows) : undefined;
    if (!split) {
      const g = rows.reduce((sum, r) => sum + gradient[r]!, 0);
      const h = rows.reduce((sum, r) => sum + curvature[r]!, 0);
      const leaf = Math.fround((o.learningRate * g) / (h + o.penalty));
      for (const r of rows) score[r]! += leaf;
      return { leaf };
    }
    const { feature, threshold } = split;
    const isLeft = (r: number): boolean => features[r]![feature]! <= threshold;
    const left = grow(rows.filter(isLeft), depth + 1);
    return {
      feature,
      threshold,
      left,
      right: grow(
        rows.filter((r) => !isLeft(r)),
        depth + 1,
      ),
    };
  };

  /** The split that lowers the loss most, the first on a tie: by sums over the rows of each value of a feature. */
  const bestSplit = (rows: readonly number[]): { feature: number; threshold: number } | undefined => {
    const value = (g: number, h: number): number => (g * g) / (h + o.penalty);
    const g = rows.reduce((sum, r) => sum + gradient[r]!, 0);
    const h = rows.reduce((sum, r) => sum + curvature[r]!, 0);
    let best: { feature: number; threshold: number; gain: number } | undefined;
    columns.forEach(({ low, values, size }, feature) => {
      const counts = new Float64Array(size);
      const gradients = new Float64Array(size);
      const curvatures = new Float64Array(size);
      for (const r of rows) {
        const at = values[r]!;
        counts[at]! += 1;
        gradients[at]! += gradient[r]!;
        curvatures[at]! += curvature[r]!;
      }
      let [count, leftG, leftH] = [0, 0, 0];
      for (let at = 0; at < size - 1; at++) {
        if (counts[at] === 0) continue;
        count += counts[at]!;
        leftG += gradients[at]!;
        leftH += curvatures[at]!;
        if (count < o.leastRows || rows.length - count < o.leastRows) continue;
        const gain = value(leftG, leftH) + value(g - leftG, h - leftH) - value(g, h);
        if (gain > (best?.gain ?? 1e-9)) best = { feature, threshold: low + at, gain };
      }
    });
    return best;
  };

  const trees = Array.from({ length: o.trees }, () => {
    for (const r of everything) {
      const p = 1 / (1 + Math.exp(-score[r]!));
      gradient[r] = labels[r]! - p;
      curvature[r] = p * (1 - p);
    }
    return grow(everything, 0);
  });
  return { inputs, base, trees };
}

/** A feature of all rows, less its least value. */
function columnOf(features: LabelledFeatures['features'], i: number) {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const row of features) {
    low = Math.min(low, row[i]!);
    high = Math.max(high, row[i]!);
  }
  return { low, size: high - low + 1, values: Int32Array.from(features, (row) => row[i]! - low) };
}

/** The classes that the trees decide on. */
export const decideByTrees = ({ base, trees }: BoostedTrees, rows: readonly ArrayLike<number>[]): number[] =>
  rows.map((row) => (trees.reduce((sum, tree) => sum + leafOf(tree, row), base) > 0 ? 1 : 0));

function leafOf(tree: Tree, row: ArrayLike<number>): number {
  let at = tree;
  while ('feature' in at) at = row[at.feature]! <= at.threshold ? at.left : at.right;
  return at.leaf;
}

/** The ensemble as a file has it: nodes of each tree in the order of a walk, the root first. */
export function onnxFromTrees({ inputs, base, trees }: BoostedTrees): OnnxGraph {
  const nodes = { tree: [], id: [], feature: [], mode: [], value: [], yes: [], no: [] } as {
    [name in 'tree' | 'id' | 'feature' | 'value' | 'yes' | 'no']: number[];
  } & { mode: string[] };
  const leaves = { tree: [] as number[], id: [] as number[], weight: [] as number[] };
  trees.forEach((root, t) => {
    let next = 0;
    const walk = (tree: Tree): number => {
      const id = next++;
      const at = nodes.id.length;
      const isSplit = 'feature' in tree;
      nodes.tree.push(t);
      nodes.id.push(id);
      nodes.feature.push(isSplit ? tree.feature : 0);
      nodes.mode.push(isSplit ? 'BRANCH_LEQ' : 'LEAF');
      nodes.value.push(isSplit ? tree.threshold : 0);
      nodes.yes.push(0);
      nodes.no.push(0);
      if (isSplit) {
        nodes.yes[at] = walk(tree.left);
        nodes.no[at] = walk(tree.right);
      } else {
        leaves.tree.push(t);
        leaves.id.push(id);
        leaves.weight.push(tree.leaf);
      }
      return id;
    };
    walk(root);
  });
  const attributes: [string, OnnxAttribute][] = [
    ['base_values', Float64Array.of(base)],
    ['class_ids', leaves.tree.map(() => 0)],
    ['class_nodeids', leaves.id],
    ['class_treeids', leaves.tree],
    ['class_weights', Float64Array.from(leaves.weight)],
    ['classlabels_int64s', [0, 1]],
    ['nodes_falsenodeids', nodes.no],
    ['nodes_featureids', nodes.feature],
    ['nodes_modes', nodes.mode],
    ['nodes_nodeids', nodes.id],
    ['nodes_treeids', nodes.tree],
    ['nodes_truenodeids', nodes.yes],
    ['nodes_values', Float64Array.from(nodes.value)],
    ['post_transform', 'LOGISTIC'],
  ];
  return {
    name: 'trees',
    opsets: new Map([['ai.onnx.ml', 3]]),
    nodes: [
      {
        name: 'TreeEnsembleClassifier_0',
        operator: 'ai.onnx.ml.TreeEnsembleClassifier',
        inputs: ['input'],
        outputs: ['label', 'probabilities'],
        attributes: new Map(attributes),
      },
    ],
    initializers: new Map(),
    inputs: [{ name: 'input', dims: [undefined, inputs] }],
    outputs: [
      { name: 'label', dims: [undefined] },
      { name: 'probabilities', dims: [undefined, 2] },
    ],
  };
}
