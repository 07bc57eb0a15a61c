/** Ensembles of trees in ONNX files: read as ai.onnx.ml means them and as runtimes answer them, or refused with a reason. */
import { existsSync, readFileSync } from 'node:fs';
import { preprocessingOf } from '../../circuits/model/dictionary.ts';
import { type Ensemble, ensembleSums, onGrid } from '../../circuits/model/ensemble.ts';
import { modelOf, readGraph } from '../../circuits/model/graph.ts';
import { floatDecisions, lintModel } from '../../circuits/model/lint.ts';
import { readOnnx } from '../../circuits/model/onnx.ts';
import { writeOnnx } from '../../circuits/model/onnx-writer.ts';
import { featureRanges } from '../../circuits/model/preprocessing.ts';
import { seededRandom } from '../../runtime/models/random.ts';
import { assert, suite } from '../harness.ts';
import { graph, node, refuses, tensor } from './onnx-fixture.ts';
import { type ListedNode, listed, onGridSums, SMALL, smallRows } from './trees-fixture.ts';

const test = suite('trees in files');
const RANGES = featureRanges(preprocessingOf(SMALL));
const EXPORTS = new URL('../../../shared/data/exports/', import.meta.url);

/** One split, all modes: what ONNX says of each, for numbers on, beside and beyond a threshold. */
const MODES: Record<string, (x: number, t: number) => boolean> = {
  BRANCH_LEQ: (x, t) => x <= t,
  BRANCH_LT: (x, t) => x < t,
  BRANCH_GTE: (x, t) => x >= t,
  BRANCH_GT: (x, t) => x > t,
  BRANCH_EQ: (x, t) => x === t,
  BRANCH_NEQ: (x, t) => x !== t,
};
const regressor = (trees: ListedNode[], more: Parameters<typeof node>[3] = []) =>
  graph(
    [
      node('ai.onnx.ml.TreeEnsembleRegressor', ['x'], 's', [
        ...listed('target', trees),
        ['n_targets', 1],
        ...more,
      ]),
      node('Sigmoid', ['s'], 'y'),
    ],
    {},
    [undefined, 5],
  );
const read = (g: ReturnType<typeof graph>) => modelOf(readGraph(readOnnx(writeOnnx(g)))) as Ensemble;

test('every mode, with thresholds on the grid, between its points and beyond both ends', () => {
  for (const [mode, means] of Object.entries(MODES))
    for (const at of [-3, -2, -1.5, -0, 0, 0.5, 3, 3.999999761581421, 4, 4.5, 1e30]) {
      const ensemble = read(regressor([{ mode, feature: 3, at, yes: [3], no: [-1] }]));
      const grid = onGrid(ensemble, RANGES);
      for (let x = -2; x <= 4; x++) {
        const expected = means(x, Math.fround(at)) ? 3 : -1;
        assert.equal(onGridSums(grid, ensemble, [0, 0, 0, x, 0]), [expected], `${mode} ${at}: ${x}`);
      }
    }
});

test('trees behind a Scaler, one that turns the order round, several ensembles that are added, and the form of tensors', () => {
  const tree: ListedNode = { mode: 'BRANCH_LEQ', feature: 3, at: 0.75, yes: [1], no: [{}] as never };
  const split = { ...tree, no: [-2] } as ListedNode;
  const scaled = graph(
    [
      node('ai.onnx.ml.Scaler', ['x'], 'z', [
        ['offset', Float64Array.of(0, 0, 0, 1, 0)],
        ['scale', Float64Array.of(1, 1, 1, -0.5, 1)],
      ]),
      node('ai.onnx.ml.TreeEnsembleRegressor', ['z'], 'a', [...listed('target', [split]), ['n_targets', 1]]),
      node('ai.onnx.ml.TreeEnsembleRegressor', ['x'], 'b', [...listed('target', [split]), ['n_targets', 1]]),
      node('Add', ['a', 'b'], 's'),
      node('Mul', ['s', 'two'], 'd'),
      node('Sigmoid', ['d'], 'y'),
    ],
    { two: tensor([1], [2]) },
    [undefined, 5],
  );
  const ensemble = read(scaled);
  const grid = onGrid(ensemble, RANGES);
  for (let x = -2; x <= 4; x++) {
    const expected = 2 * (((x - 1) * -0.5 <= 0.75 ? 1 : -2) + (x <= 0.75 ? 1 : -2));
    assert.equal(onGridSums(grid, ensemble, [0, 0, 0, x, 0]), [expected], `${x}`);
  }
  const tensors = graph(
    [
      node('ai.onnx.ml.TreeEnsemble', ['x'], 's', [
        ['nodes_modes', tensor([2], [2, 1], 'int64')],
        ['nodes_splits', tensor([2], [1, 0.5])],
        ['nodes_featureids', [3, 0]],
        ['nodes_truenodeids', [0, 1]],
        ['nodes_trueleafs', [1, 1]],
        ['nodes_falsenodeids', [1, 2]],
        ['nodes_falseleafs', [0, 1]],
        ['leaf_targetids', [0, 0, 0]],
        ['leaf_weights', tensor([3], [5, 6, 7])],
        ['tree_roots', [0]],
        ['n_targets', 1],
      ]),
      node('Sigmoid', ['s'], 'y'),
    ],
    {},
    [undefined, 5],
  );
  const own = read({
    ...tensors,
    opsets: new Map([
      ['', 13],
      ['ai.onnx.ml', 5],
    ]),
  });
  assert.equal([...ensembleSums(own, [1, 0, 0, 1, 0])], [5]);
  assert.equal([...ensembleSums(own, [0, 0, 0, 0, 0])], [6]);
  assert.equal([...ensembleSums(own, [1, 0, 0, 0, 0])], [7]);
});

test('a classifier with one sum for two classes: above 0.5 where no weight is negative, else above 0', () => {
  const classifier = (weights: [number, number], labels: string[]) => {
    const attributes = listed('class', [
      { mode: 'BRANCH_LT', feature: 3, at: 1, yes: [weights[0]], no: [weights[1]] },
    ]);
    const made = node('ai.onnx.ml.TreeEnsembleClassifier', ['x'], 'label', [
      ...attributes,
      ['classlabels_strings', labels],
    ]);
    // As XGBoost's exports are: of ai.onnx.ml alone.
    const g = {
      ...graph([{ ...made, outputs: ['label', 'scores'] }], {}, [undefined, 5]),
      opsets: new Map([['ai.onnx.ml', 1]]),
    };
    return readGraph(readOnnx(writeOnnx(g)));
  };
  const decides = (weights: [number, number], x: number): boolean =>
    ensembleSums(classifier(weights, ['no', 'yes']).ensemble!, [0, 0, 0, x, 0])[0]! > 0;
  assert.equal([decides([0.25, 0.75], 0), decides([0.25, 0.75], 1)], [false, true]);
  assert.equal([decides([0.25, -0.75], 0), decides([0.25, -0.75], 1)], [true, false]);
  // The dictionary's order counts, not that of the file.
  const swapped = readOnnx(
    writeOnnx({
      ...graph(
        [
          {
            ...node('ai.onnx.ml.TreeEnsembleClassifier', ['x'], 'label', [
              ...listed('class', [{ mode: 'BRANCH_LT', feature: 3, at: 1, yes: [1], no: [-1] }]),
              ['classlabels_strings', ['yes', 'no']],
            ]),
            outputs: ['label', 'scores'],
          },
        ],
        {},
        [undefined, 5],
      ),
    }),
  );
  const features = smallRows(30);
  const testSet = { features, labels: features.map((row) => (row[3]! < 1 ? 0 : 1)) };
  const report = lintModel(swapped, { dictionary: SMALL, rows: { calibration: features, testSet } });
  assert.equal(report.problems, []);
  assert.is(report.proof!.correct.integers, 30);
});

test('ONNX Runtime labels as we read: exports, and files of one sum, three sums, base values; what it does otherwise is refused', async (t) => {
  const ort = await import('onnxruntime-web/wasm');
  ort.env.wasm.numThreads = 1;
  const labels = async (bytes: Uint8Array, rows: number[][], output: string): Promise<number[]> => {
    const session = await ort.InferenceSession.create(bytes);
    const x = new ort.Tensor('float32', Float32Array.from(rows.flat()), [rows.length, rows[0]!.length]);
    const found = await session.run({ [session.inputNames[0]!]: x }, [output]);
    await session.release();
    return Array.from(found[output]!.data as Iterable<number | bigint>, Number);
  };
  const file = (yes: number[], no: number[], more: Parameters<typeof node>[3] = []) => {
    const made = node('ai.onnx.ml.TreeEnsembleClassifier', ['x'], 'label', [
      ...listed('class', [{ mode: 'BRANCH_LT', feature: 3, at: 1, yes, no }]),
      ['classlabels_int64s', Array.from({ length: Math.max(2, yes.length) }, (_, c) => c)],
      ...more,
    ]);
    // Files written here have outputs of floats.
    const cast = node('Cast', ['label'], 'out', [['to', 1]]);
    const g = graph([{ ...made, outputs: ['label', 'scores'] }, cast], {}, [undefined, 5]);
    return writeOnnx({ ...g, outputs: [{ name: 'out', dims: [undefined] }] });
  };
  const base = (...values: number[]): Parameters<typeof node>[3] => [
    ['base_values', Float64Array.from(values)],
  ];
  const rows = [0, 2].map((x) => [0, 0, 0, x, 0]);
  for (const bytes of [
    file([0.3], [0.7]),
    file([-0.3], [0.4]),
    file([0.05], [0.2], base(0.4)),
    file([0.45], [0.2], base(-0.4)),
    file([0.3], [0.7], [['post_transform', 'LOGISTIC']]),
    file([0.3, 0.7, 0.1], [0.7, 0.3, 0.9]),
    file([0.3, 0.7, 0.1], [0.7, 0.3, 0.9], base(1, 0, 0)),
  ]) {
    const { ensemble, problems } = readGraph(readOnnx(bytes));
    assert.equal(problems, []);
    assert.equal(floatDecisions(ensemble!, rows), await labels(bytes, rows, 'out'));
  }
  for (const bytes of [file([0.3, 0.7], [0.7, 0.3]), file([0.45], [0.2], base(0.3, 0.1))])
    assert.match(readGraph(readOnnx(bytes)).problems[0]!.reason, /runtimes do not agree/);
  if (!existsSync(EXPORTS)) t.skip('no ../shared/data/exports');
  const table = readFileSync(new URL('german-features-test.csv', EXPORTS), 'utf8').trim().split('\n');
  const features = table.map((line) => line.split(',').slice(0, 63).map(Number));
  for (const [name, output] of [
    ['xgb100d3', 'label'],
    ['skl_gbdt100', 'output_label'],
    ['skl_dtree', 'output_label'],
  ] as const) {
    const bytes = readFileSync(new URL(`${name}.onnx`, EXPORTS));
    const { ensemble } = readGraph(readOnnx(bytes));
    assert.equal(floatDecisions(ensemble!, features), await labels(bytes, features, output), name);
  }
});

test('what is no tree is refused with its reason: circles, two parents, nothing below, other comparisons, other ends', () => {
  const base = new Map(listed('target', [{ mode: 'BRANCH_LEQ', feature: 3, at: 1, yes: [1], no: [2] }]));
  const reason = (changes: Record<string, unknown>): string => {
    const attributes = [...base, ['n_targets', 1]] as [string, never][];
    const all = attributes.filter(([name]) => !(name in changes));
    const g = regressor([]);
    const made = node('ai.onnx.ml.TreeEnsembleRegressor', ['x'], 's', [
      ...all,
      ...(Object.entries(changes) as [string, never][]),
    ]);
    return readGraph({ ...g, nodes: [made, g.nodes[1]!] }).problems[0]!.reason;
  };
  assert.match(reason({ nodes_truenodeids: [0, 0, 0] }), /no root|below the root of no tree/);
  assert.match(reason({ nodes_truenodeids: [2, 0, 0] }), /two roots|two parents/);
  assert.match(reason({ nodes_falsenodeids: [9, 0, 0] }), /two roots|leads to no node/);
  assert.match(reason({ nodes_modes: ['BRANCH_MEMBER', 'LEAF', 'LEAF'] }), /compares by "BRANCH_MEMBER"/);
  assert.match(reason({ nodes_featureids: [7, 0, 0] }), /feature 7 of 5/);
  assert.match(reason({ nodes_values: Float64Array.of(Number.NaN, 0, 0) }), /not a finite number/);
  assert.match(reason({ nodes_values: Float64Array.of(1) }), /3 nodes with 3 modes and 1 thresholds/);
  assert.match(reason({ target_weights: Float64Array.of(1) }), /2 leaves and 1 weights/);
  assert.match(reason({ aggregate_function: 'MAX' }), /aggregate_function MAX/);
  assert.match(reason({ post_transform: 'PROBIT' }), /post_transform PROBIT/);
  const deep = (depth: number): ListedNode =>
    depth === 0 ? [1] : { mode: 'BRANCH_EQ', feature: depth % 5, at: depth, yes: [2], no: deep(depth - 1) };
  assert.match(readGraph(regressor([deep(80)])).problems[0]!.reason, /deeper than 64/);
  const network = graph(
    [
      node('Relu', ['x'], 'r'),
      node('ai.onnx.ml.TreeEnsembleRegressor', ['x'], 's', listed('target', [deep(2)])),
      node('Sigmoid', ['s'], 'y'),
    ],
    {},
    [undefined, 5],
  );
  assert.match(readGraph(network).problems[0]!.reason, /trees beside layers/);
  // A tree that doubles with each comparison for equality ends by its depth, not by the memory.
  const doubling = read(regressor([deep(60)]));
  const wide = Array.from({ length: 5 }, () => ({ low: 0, high: 800 }));
  refuses(() => onGrid(doubling, wide), 'bad-input', /deeper than 10/);
});

test('mutated files of trees: no crash, and soon over', () => {
  const random = seededRandom(5);
  const file = writeOnnx(
    regressor([
      {
        mode: 'BRANCH_LEQ',
        feature: 3,
        at: 1,
        yes: { mode: 'BRANCH_EQ', feature: 0, at: 1, yes: [1], no: [0.5] },
        no: { mode: 'BRANCH_GT', feature: 4, at: 2.5, yes: [2], no: [-3] },
      },
    ]),
  );
  const features = smallRows(20);
  const rows = { calibration: features, testSet: { features, labels: features.map((_, i) => i % 2) } };
  let longest = 0;
  for (let i = 0; i < 1500; i++) {
    const damaged = file.slice();
    for (let flips = 1 + random.below(3); flips > 0; flips--)
      damaged[random.below(damaged.length)] = random.below(256);
    const began = performance.now();
    try {
      const report = lintModel(readOnnx(damaged), { dictionary: SMALL, rows });
      assert.is(report.provable, report.problems.length === 0);
    } catch (error) {
      assert.is((error as { code?: string }).code, 'bad-file', String(error));
    }
    longest = Math.max(longest, performance.now() - began);
  }
  assert.ok(longest < 2000, `${longest} ms`);
});

test.run();
