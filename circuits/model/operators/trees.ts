/**
 * Ensembles of trees as ai.onnx.ml has them, in both its forms: parallel lists of nodes (TreeEnsembleClassifier and
 * -Regressor) and tensors with leaves apart (TreeEnsemble). Their sums are the units of a first layer (layers.ts).
 *
 * What a classifier with one sum for two classes decides is ONNX Runtime's rule: the second class where the sum is above
 * 0.5, if no weight of a leaf is negative, else above 0. With two sums for two classes it looks at the second one alone,
 * where ONNX's own reference takes the greater: what runtimes do not agree on is refused.
 */
import type { FloatNode, FloatSplit } from '../ensemble.ts';
import { classified, classifierEnd } from './dense.ts';
import {
  type Activation,
  activationAt,
  affineOf,
  finite,
  listOf,
  type NodeView,
  numberOf,
  tensorOf,
  textOf,
  textsOf,
  Unsupported,
  type Value,
} from './value.ts';

/** Nodes of one node's ensemble. */
const MAX_NODES = 2 ** 17;
/** from the root; deeper trees are refused by name and not by a full stack */
const MAX_FILE_DEPTH = 64;
const AGAIN = 'export the model again';

type Mode = Pick<FloatSplit, 'test'> & { readonly swapped: boolean };
const MODES: Readonly<Record<string, Mode>> = {
  BRANCH_LEQ: { test: 'gt', swapped: true },
  BRANCH_LT: { test: 'ge', swapped: true },
  BRANCH_GTE: { test: 'ge', swapped: false },
  BRANCH_GT: { test: 'gt', swapped: false },
  BRANCH_EQ: { test: 'eq', swapped: false },
  BRANCH_NEQ: { test: 'eq', swapped: true },
};
const MODE_NUMBERS = [
  'BRANCH_LEQ',
  'BRANCH_LT',
  'BRANCH_GTE',
  'BRANCH_GT',
  'BRANCH_EQ',
  'BRANCH_NEQ',
  'BRANCH_MEMBER',
];

function modeOf(name: string): Mode {
  const mode = MODES[name];
  if (!mode)
    throw new Unsupported(
      `a node compares by ${JSON.stringify(name.slice(0, 40))}`,
      'use trees that compare by <=, <, >=, >, == or !=',
    );
  return mode;
}

/** A file's split before its branches are looked up. */
interface RawSplit {
  readonly mode: string;
  readonly feature: number;
  readonly threshold: number;
  readonly yes: string;
  readonly no: string;
}
interface RawForest {
  readonly roots: readonly string[];
  readonly splits: ReadonlyMap<string, RawSplit>;
  readonly leaves: ReadonlyMap<string, readonly (readonly [output: number, value: number])[]>;
  readonly outputs: number;
}

/** The trees with each feature as the affine function of one input that it is. */
function treesFrom(view: NodeView, { roots, splits, leaves, outputs }: RawForest): FloatNode[] {
  const value = activationAt(view, 0);
  const { stage, rows, offset } = affineOf(value);
  if (stage !== 0)
    throw new Unsupported(
      'trees over what layers of a network give',
      'let the trees see the features themselves',
    );
  const seen = new Set<string>();
  const walk = (id: string, depth: number): FloatNode => {
    if (seen.has(id) || depth > MAX_FILE_DEPTH)
      throw new Unsupported(
        seen.has(id)
          ? 'a node of a tree has two parents, or is below itself'
          : `a tree is deeper than ${MAX_FILE_DEPTH}`,
        seen.has(id) ? AGAIN : 'train with a smaller max_depth',
      );
    seen.add(id);
    const split = splits.get(id);
    if (!split) {
      const weights = leaves.get(id);
      if (!weights) throw new Unsupported('a branch of a tree leads to no node', AGAIN);
      const values = new Float64Array(outputs);
      for (const [output, weight] of weights) {
        if (!(output >= 0 && output < outputs))
          throw new Unsupported(`a leaf adds to output ${output} of ${outputs}`, AGAIN);
        values[output]! += weight;
      }
      return { values };
    }
    const row = rows[split.feature];
    if (!row) throw new Unsupported(`a tree asks for feature ${split.feature} of ${rows.length}`, AGAIN);
    if (row.at.length > 1)
      throw new Unsupported(
        'a tree asks for a sum of several features',
        'let the trees see the features themselves',
      );
    const { test, swapped } = modeOf(split.mode);
    const [yes, no] = [walk(split.yes, depth + 1), walk(split.no, depth + 1)];
    return {
      feature: row.at[0] ?? 0,
      factor: row.by[0] ?? 0,
      offset: offset[split.feature]!,
      test,
      threshold: split.threshold,
      yes: swapped ? no : yes,
      no: swapped ? yes : no,
    };
  };
  const trees = roots.map((root) => walk(root, 0));
  if (seen.size < splits.size + leaves.size)
    throw new Unsupported('a node is below the root of no tree', AGAIN);
  return trees;
}

/** Lists of equal length by the names of their attributes. */
function lists(view: NodeView, prefix: string, names: readonly string[]): number[][] {
  const found = names.map((name) => listOf(view, `${prefix}${name}`) ?? []);
  const length = found[0]!.length;
  names.forEach((name, i) => {
    if (found[i]!.length !== length)
      throw new Unsupported(
        `${prefix}${name} has ${found[i]!.length} values, ${prefix}${names[0]} ${length}`,
        AGAIN,
      );
  });
  if (length === 0 || length > MAX_NODES)
    throw new Unsupported(
      length === 0
        ? `its attribute ${prefix}${names[0]} is empty`
        : `${length} nodes are more than ${MAX_NODES}`,
      length === 0 ? AGAIN : 'use fewer trees',
    );
  return found;
}

/** The form of parallel lists. `kind`: `class` or `target`. */
function forestFromLists(view: NodeView, kind: 'class' | 'target', outputs: number): RawForest {
  const doubles = tensorOf(view, 'nodes_values_as_tensor');
  const modes = textsOf(view, 'nodes_modes') ?? [];
  const [trees, ids, features, yes, no] = lists(view, 'nodes_', [
    'treeids',
    'nodeids',
    'featureids',
    'truenodeids',
    'falsenodeids',
  ]) as [number[], number[], number[], number[], number[]];
  const thresholds = doubles ? [...doubles.values] : (listOf(view, 'nodes_values') ?? []);
  if (modes.length !== ids.length || thresholds.length !== ids.length)
    throw new Unsupported(
      `${ids.length} nodes with ${modes.length} modes and ${thresholds.length} thresholds`,
      AGAIN,
    );
  finite(thresholds, 'a threshold of a tree');
  const splits = new Map<string, RawSplit>();
  const leaves = new Map<string, [number, number][]>();
  const roots = new Map<number, string>();
  const children = new Set<string>();
  ids.forEach((id, i) => {
    const tree = trees[i]!;
    const name = `${tree}/${id}`;
    if (splits.has(name) || leaves.has(name))
      throw new Unsupported(`two nodes of tree ${tree} are called ${id}`, AGAIN);
    if (modes[i] === 'LEAF') {
      leaves.set(name, []);
      return;
    }
    const split = {
      mode: modes[i]!,
      feature: features[i]!,
      threshold: thresholds[i]!,
      yes: `${tree}/${yes[i]}`,
      no: `${tree}/${no[i]}`,
    };
    splits.set(name, split);
    children.add(split.yes).add(split.no);
  });
  ids.forEach((id, i) => {
    const name = `${trees[i]}/${id}`;
    if (children.has(name)) return;
    if (roots.has(trees[i]!)) throw new Unsupported(`tree ${trees[i]} has two roots`, AGAIN);
    roots.set(trees[i]!, name);
  });
  if (new Set(trees).size !== roots.size) throw new Unsupported('a tree has no root', AGAIN);
  const weightsAsDoubles = tensorOf(view, `${kind}_weights_as_tensor`);
  const [ofTree, ofNode, of] = lists(view, `${kind}_`, ['treeids', 'nodeids', 'ids']) as [
    number[],
    number[],
    number[],
  ];
  const weights = weightsAsDoubles ? [...weightsAsDoubles.values] : (listOf(view, `${kind}_weights`) ?? []);
  if (weights.length !== of.length)
    throw new Unsupported(`${of.length} leaves and ${weights.length} weights`, AGAIN);
  finite(weights, 'the weight of a leaf');
  of.forEach((output, i) => {
    const leaf = leaves.get(`${ofTree[i]}/${ofNode[i]}`);
    if (!leaf) throw new Unsupported('a weight belongs to no leaf', AGAIN);
    leaf.push([output, weights[i]!]);
  });
  return { roots: [...roots.values()], splits, leaves, outputs };
}

/** The form of tensors: version 5 of ai.onnx.ml. */
function forestFromTensors(view: NodeView): RawForest {
  const outputs = numberOf(view, 'n_targets', 1);
  const modes = [...(tensorOf(view, 'nodes_modes')?.values ?? [])];
  const thresholds = [...(tensorOf(view, 'nodes_splits')?.values ?? [])];
  const weights = [...(tensorOf(view, 'leaf_weights')?.values ?? [])];
  const targets = listOf(view, 'leaf_targetids') ?? [];
  const [features, yes, no, yesLeaf, noLeaf] = lists(view, 'nodes_', [
    'featureids',
    'truenodeids',
    'falsenodeids',
    'trueleafs',
    'falseleafs',
  ]) as [number[], number[], number[], number[], number[]];
  if (
    modes.length !== features.length ||
    thresholds.length !== features.length ||
    weights.length !== targets.length
  )
    throw new Unsupported('its lists of nodes and leaves have different lengths', AGAIN);
  finite(thresholds, 'a threshold of a tree');
  finite(weights, 'the weight of a leaf');
  const child = (leaf: number, at: number): string => `${leaf ? 'leaf' : 'node'}/${at}`;
  const splits = new Map<string, RawSplit>();
  const roots = listOf(view, 'tree_roots') ?? [];
  features.forEach((feature, i) => {
    splits.set(`node/${i}`, {
      mode: MODE_NUMBERS[modes[i]!] ?? `mode ${modes[i]}`,
      feature,
      threshold: thresholds[i]!,
      yes: child(yesLeaf[i]!, yes[i]!),
      no: child(noLeaf[i]!, no[i]!),
    });
  });
  const leaves = new Map(targets.map((target, i) => [`leaf/${i}`, [[target, weights[i]!] as const]]));
  return { roots: roots.map((at) => `node/${at}`), splits, leaves, outputs };
}

/** Sums of an ensemble as an activation, one element for each output. */
function sums(
  view: NodeView,
  forest: RawForest,
  { divisor = 1, bias = [] as readonly number[] } = {},
): Activation {
  const { batch, dims } = activationAt(view, 0);
  const { outputs } = forest;
  if (bias.length !== 0 && bias.length !== outputs)
    throw new Unsupported(`${bias.length} base values for ${outputs} outputs`, AGAIN);
  finite(bias, 'a base value');
  if (!Number.isInteger(outputs) || outputs < 1 || outputs > 1024)
    throw new Unsupported(`${outputs} outputs`, 'use 1 to 1024 outputs');
  if (dims.length !== 2 || dims[0] !== 1)
    throw new Unsupported(
      `its input has the shape [${dims.join(', ')}]; expected rows of features`,
      'flatten the input first',
    );
  const affine = view.context.ensemble({ trees: treesFrom(view, forest), outputs });
  return {
    kind: 'activation',
    dims: [1, outputs],
    batch,
    affine: {
      ...affine,
      rows: affine.rows.map(({ at, by }) => ({ at, by: by.map((c) => c / divisor) })),
      offset: affine.offset.map((c, i) => c + (bias[i] ?? 0)),
    },
  };
}

function classifier(view: NodeView): Value[] {
  const { classes } = classifierEnd(view);
  const ids = new Set(listOf(view, 'class_ids') ?? []);
  const bias = listOf(view, 'base_values') ?? [];
  if (classes.length === 2 && (ids.size !== 1 || bias.length > 1))
    throw new Unsupported(
      ids.size !== 1
        ? 'two sums for two classes: runtimes do not agree which one decides'
        : 'two base values for one sum: runtimes do not agree which one counts',
      'export one sum and one base value, of the second class, as scikit-learn and XGBoost do',
    );
  if (classes.length !== 2) {
    const forest = forestFromLists(view, 'class', classes.length);
    return classified(view, sums(view, forest, { bias }));
  }
  // One sum for two classes.
  const [only] = ids;
  const forest = forestFromLists(view, 'class', only! + 1);
  const leaves = new Map(
    [...forest.leaves].map(([id, weights]) => [id, weights.map(([, w]) => [0, w] as const)]),
  );
  const weights = [...leaves.values()].flatMap((each) => each.map(([, w]) => w));
  const cut = weights.every((w) => w >= 0) ? 0.5 : 0;
  const { affine, batch } = sums(view, { ...forest, leaves, outputs: 1 }, { bias: [(bias[0] ?? 0) - cut] });
  const { rows, offset, stage } = affine!;
  const two: Activation = {
    kind: 'activation',
    dims: [1, 2],
    batch,
    affine: {
      stage,
      rows: [{ at: new Int32Array(0), by: new Float64Array(0) }, rows[0]!],
      offset: Float64Array.of(0, offset[0]!),
    },
  };
  return classified(view, two);
}

function demandPlain(view: NodeView): void {
  const transform = textOf(view, 'post_transform', 'NONE');
  if (transform !== 'NONE')
    throw new Unsupported(
      `its post_transform ${transform}`,
      'export it with NONE, and compare the sum with a number',
    );
}

function regressor(view: NodeView): Value[] {
  demandPlain(view);
  const aggregate = textOf(view, 'aggregate_function', 'SUM');
  if (aggregate !== 'SUM' && aggregate !== 'AVERAGE')
    throw new Unsupported(`its aggregate_function ${aggregate}`, 'use SUM or AVERAGE');
  const forest = forestFromLists(view, 'target', numberOf(view, 'n_targets', 1));
  const divisor = aggregate === 'AVERAGE' ? forest.roots.length : 1;
  return [sums(view, forest, { divisor, bias: listOf(view, 'base_values') ?? [] })];
}

function ensemble(view: NodeView): Value[] {
  if (numberOf(view, 'post_transform', 0) !== 0)
    throw new Unsupported('its post_transform', 'export it with NONE, and compare the sum with a number');
  const aggregate = numberOf(view, 'aggregate_function', 1);
  if (aggregate !== 0 && aggregate !== 1)
    throw new Unsupported('it takes the least or greatest of its trees', 'use their sum or average');
  const forest = forestFromTensors(view);
  return [sums(view, forest, { divisor: aggregate === 0 ? forest.roots.length : 1 })];
}

export const TREES = {
  'ai.onnx.ml.TreeEnsembleClassifier': classifier,
  'ai.onnx.ml.TreeEnsembleRegressor': regressor,
  'ai.onnx.ml.TreeEnsemble': ensemble,
} as const;
