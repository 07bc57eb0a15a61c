/** Small ensembles of trees, and graphs of them as exporters write them. */
import { type CommittedModel, randomSalt } from '../../circuits/model/commit.ts';
import { type Dictionary, parseDictionary } from '../../circuits/model/dictionary.ts';
import { type Ensemble, type FloatNode, type GridNode, isLeaf } from '../../circuits/model/ensemble.ts';
import type { OnnxAttribute } from '../../circuits/model/onnx.ts';
import { quantise } from '../../circuits/model/quantise.ts';
import { type Random, seededRandom } from '../../runtime/models/random.ts';

/** A column of three categories, and two numbers: features 0 to 2, 3 and 4; 3 + 6 + 3 candidates. */
export const SMALL: Dictionary = parseDictionary({
  version: 1,
  columns: [
    { kind: 'category', name: 'colour', categories: ['red', 'green', 'blue'] },
    { kind: 'integer', name: 'size', low: -2, high: 4 },
    { kind: 'bins', name: 'age', low: 0, high: 80, bins: 4 },
  ],
  label: { name: 'y', classes: ['no', 'yes'].map((name) => ({ name, value: name })) },
  split: { seed: 1, train: 70 },
});
export const CANDIDATES = 12;

/** The dictionary with so many classes. */
export const withClasses = (classes: number): Dictionary => ({
  ...SMALL,
  label: {
    name: 'y',
    classes: Array.from({ length: classes }, (_, c) => ({ name: `class ${c}`, value: `${c}` })),
  },
});

/** Rows as the preprocessing gives them. */
export function smallRows(count: number, seed = 1): Int32Array[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, () => {
    const hot = random.below(3);
    return Int32Array.of(...[0, 1, 2].map((c) => (c === hot ? 1 : 0)), random.below(7) - 2, random.below(4));
  });
}

/** A cell for each column, as one would write what `smallRows` gives. */
export const smallCells = ([red, green, , size, bin]: Int32Array): string[] => [
  red ? 'red' : green ? 'green' : 'blue',
  String(size),
  String(20 * bin! + 10),
];

export interface SmallEnsemble {
  readonly trees?: number;
  readonly depth?: number;
  readonly outputs?: number;
  readonly seed?: number;
  readonly topology?: boolean;
}

export function smallEnsemble({ trees = 3, depth = 2, outputs = 1, seed = 1 }: SmallEnsemble = {}): Ensemble {
  const random = seededRandom(seed);
  return {
    inputs: 5,
    outputs,
    trees: Array.from({ length: trees }, () => randomTree(random, depth, outputs)),
    bias: Float64Array.from({ length: outputs }, () => random.normal() / 4),
    decision: outputs === 1 ? 'sign' : 'argmax',
  };
}

function randomTree(random: Random, depth: number, outputs: number): FloatNode {
  if (depth === 0 || random.below(6) === 0)
    return { values: Float64Array.from({ length: outputs }, () => random.normal()) };
  const feature = random.below(5);
  return {
    feature,
    factor: 1,
    offset: 0,
    test: (['ge', 'gt', 'eq'] as const)[random.below(3)]!,
    threshold:
      feature < 3
        ? random.below(2) + (random.below(2) === 0 ? 0.5 : 0)
        : random.below(6) - 2 + random.below(2) / 2,
    yes: randomTree(random, depth - 1, outputs),
    no: randomTree(random, depth - 1, outputs),
  };
}

export function smallTrees(options: SmallEnsemble = {}): CommittedModel {
  const { outputs = 1, topology } = options;
  const dictionary = outputs === 1 ? SMALL : withClasses(outputs);
  return {
    ...quantise(smallEnsemble(options), { dictionary, calibration: smallRows(4), topology }),
    salt: randomSalt(),
  };
}

/** A tree as ai.onnx.ml lists it: a leaf is its weights, a split names its mode. */
export type ListedNode =
  | readonly number[]
  | {
      readonly mode: string;
      readonly feature: number;
      readonly at: number;
      readonly yes: ListedNode;
      readonly no: ListedNode;
    };

/** The attributes of TreeEnsembleClassifier (`class`) or -Regressor (`target`). */
export function listed(kind: 'class' | 'target', trees: readonly ListedNode[]): [string, OnnxAttribute][] {
  const lists = new Map<string, (number | string)[]>();
  const put = (name: string, value: number | string): void => {
    const list = lists.get(name) ?? [];
    list.push(value);
    lists.set(name, list);
  };
  trees.forEach((root, tree) => {
    let next = 0;
    const walk = (node: ListedNode): number => {
      const id = next++;
      put('nodes_treeids', tree);
      put('nodes_nodeids', id);
      const isLeaf = Array.isArray(node);
      const split = node as Exclude<ListedNode, readonly number[]>;
      put('nodes_modes', isLeaf ? 'LEAF' : split.mode);
      put('nodes_featureids', isLeaf ? 0 : split.feature);
      put('nodes_values', isLeaf ? 0 : split.at);
      const at = lists.get('nodes_modes')!.length - 1;
      put('nodes_truenodeids', 0);
      put('nodes_falsenodeids', 0);
      if (isLeaf)
        (node as readonly number[]).forEach((weight, output) => {
          put(`${kind}_treeids`, tree);
          put(`${kind}_nodeids`, id);
          put(`${kind}_ids`, output);
          put(`${kind}_weights`, weight);
        });
      else {
        lists.get('nodes_truenodeids')![at] = walk(split.yes);
        lists.get('nodes_falsenodeids')![at] = walk(split.no);
      }
      return id;
    };
    walk(root);
  });
  // A list of numbers is written as floats, unless they are ids.
  return [...lists].map(([name, values]) => [
    name,
    /values$|weights$/.test(name) ? Float64Array.from(values as number[]) : (values as number[] | string[]),
  ]);
}

/** The outputs of trees on the grid for one row. */
export const onGridSums = (
  trees: readonly GridNode[],
  ensemble: Ensemble,
  row: ArrayLike<number>,
): number[] => {
  const sums = [...ensemble.bias];
  for (const tree of trees) {
    let at = tree;
    while (!isLeaf(at)) at = row[at.feature]! >= at.from ? at.yes : at.no;
    at.values.forEach((value, i) => {
      sums[i]! += value;
    });
  }
  return sums;
};
