/**
 * What can be said of a model before anything is committed to: every reason why it cannot be proved, and where there
 * is none, what it becomes and what a proof of it costs, for the rows given (cost.ts says how exactly). Nothing here
 * says whether the model is any good beyond these rows.
 */
import { VouchError } from '../../protocols/errors.ts';
import type { Architecture } from './architecture.ts';
import { classOrder, inClassOrder } from './class-order.ts';
import { parameterWidths } from './commit.ts';
import { type CircuitCost, circuitCost } from './cost.ts';
import { hiddenCost } from './cost-hidden.ts';
import { type Dictionary, featureNames, preprocessingOf } from './dictionary.ts';
import { ensembleSums } from './ensemble.ts';
import { floatTensors, type TensorNetwork } from './float-tensors.ts';
import { type FloatModel, type Problem, readGraph } from './graph.ts';
import type { DenseNetwork } from './network.ts';
import { answerOfFloat, meanDistance, median, type NumberLabel } from './numbers.ts';
import type { OnnxGraph } from './onnx.ts';
import { type OutlineStep, outlineOf } from './outline.ts';
import { featureRanges } from './preprocessing.ts';
import { decideMany, type QuantisedModel, quantise } from './quantise.ts';
import { MAX_CONSTRAINTS, maxRows } from './size.ts';
import { countRight, rowCounts, type TestSet } from './test-set.ts';
import { candidatesOf, type TreesShape, topologiesOf } from './trees.ts';

/** What a model is looked at with. */
export interface LintData {
  readonly dictionary: Dictionary;
  /** of a weight; undefined: as many as there are */
  readonly bits?: number | undefined;
  /** whether the shapes of trees are public */
  readonly topology?: boolean | undefined;
  /** features of rows to calibrate the integers with, and rows to test with */
  readonly rows?:
    | { readonly calibration: readonly ArrayLike<number>[]; readonly testSet: TestSet }
    | undefined;
}

export interface LintReport {
  readonly provable: boolean;
  readonly problems: readonly Problem[];
  readonly notes: readonly string[];
  /** as float layers: inputs and outputs of each */
  readonly layers?: readonly { readonly inputs: number; readonly outputs: number }[] | undefined;
  readonly decision?: DenseNetwork['decision'] | undefined;
  /** that the dictionary gives, and between which integers they all lie */
  readonly features?: { readonly count: number; readonly low: number; readonly high: number } | undefined;
  readonly parameters?: number | undefined;
  /** of an ensemble; depth, candidates and widths where the data are known */
  readonly trees?: LintTrees | undefined;
  /** of the integers, by layer: widths, shifts and bounds */
  readonly integers?: QuantisedModel['architecture']['layers'] | undefined;
  /** operations on tensors, in the order of computing, and what each costs for these rows */
  readonly tensors?: readonly OutlineStep[] | undefined;
  readonly proof?: LintProof | undefined;
}

export interface LintTrees {
  readonly count: number;
  readonly depth?: number;
  readonly splits?: number;
  /** tests that a split may be */
  readonly candidates?: number;
  readonly leafBits?: number;
  readonly accumulator?: number;
}

export interface LintProof extends CircuitCost {
  readonly rows: number;
  /** how many rows one proof may have */
  readonly mostRows: number;
  /** of a proof of one answer to a row that is hidden; of a network of tensors there is none */
  readonly hiddenRow: Pick<CircuitCost, 'constraints' | 'domain'>;
  /** rows answered rightly; where answers are numbers, as near to the label as the test set asks */
  readonly correct: Measured;
  /** how far answers that are numbers are from their labels on average, in the label's unit */
  readonly error?: Measured | undefined;
}

/** By the file's own numbers, by the integers, and by the best constant answer. */
export interface Measured {
  readonly float: number;
  readonly integers: number;
  readonly constant: number;
}

/** Never throws for what the graph is. */
export function lintModel(graph: OnnxGraph, data?: LintData): LintReport {
  const names = data && featureNames(data.dictionary);
  const {
    network,
    ensemble,
    tensors,
    classes,
    problems: found,
    notes,
  } = readGraph(graph, { features: names?.length });
  const float = network ?? ensemble ?? tensors;
  const problems = [...found];
  const add = (reason: string, fix: string): void => {
    problems.push({ node: undefined, name: '', op: 'graph', reason, fix });
  };
  const order = data && float ? classOrder(classes, data.dictionary, float.decision) : undefined;
  if (typeof order === 'string') add(order, 'make the dictionary say what the file answers');
  if (float && names && float.inputs !== names.length)
    add(
      `it takes ${float.inputs} features (${graph.inputs.map(({ name }) => name).join(', ')}), the dictionary gives ${names.length}: ${listed(names)}`,
      'train it on what vouch data features prints',
    );
  const shape = float && {
    ...(network ? layersOf(network) : {}),
    ...(tensors ? tensorsOf(tensors) : {}),
    ...(ensemble ? { trees: { count: ensemble.trees.length } } : {}),
    decision: float.decision,
    features: data && rangeOf(data.dictionary),
  };
  const failed = () => ({ provable: false, problems, notes, ...shape });
  if (!float || problems.length > 0) return failed();
  if (!data?.rows || !Array.isArray(order)) return { provable: true, problems, notes, ...shape };
  const { calibration, testSet } = data.rows;
  const ordered = inClassOrder(float, order);
  let model: QuantisedModel;
  try {
    model = quantise(ordered, {
      dictionary: data.dictionary,
      bits: data.bits,
      topology: data.topology,
      calibration,
    });
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    add(error.message, 'use fewer inputs, smaller ranges or fewer units in the layer that is named');
    return failed();
  }
  const { architecture } = model;
  const rows = testSet.labels.length;
  const cost = circuitCost(architecture, testSet);
  const hidden = hiddenCost(architecture);
  const mostRows = maxRows(architecture);
  if (rows > mostRows)
    add(
      `a proof about ${rows} rows has ${cost.constraints} constraints; at most ${MAX_CONSTRAINTS} are compiled, which is ${mostRows} rows`,
      mostRows > 0 ? `ask about ${mostRows} rows or fewer` : 'use a smaller model',
    );
  return {
    provable: problems.length === 0,
    problems,
    notes,
    ...shape,
    ...(architecture.trees
      ? treesReport(architecture, architecture.trees)
      : architecture.tensors
        ? { tensors: outlineOf(architecture, testSet).steps.slice(1, -1) }
        : { integers: architecture.layers }),
    proof: {
      rows,
      ...cost,
      mostRows,
      hiddenRow: { constraints: hidden.constraints, domain: hidden.domain },
      ...measured(testSet, data.dictionary.label.number, {
        float: floatDecisions(ordered, testSet.features, data.dictionary.label.number),
        integers: decideMany(model, testSet.features),
      }),
    },
  };
}

const tensorsOf = ({ operations }: TensorNetwork) => ({
  parameters: operations.reduce(
    (sum, operation) =>
      operation.kind === 'conv' ? sum + operation.weights.length + operation.bias.length : sum,
    0,
  ),
});

const layersOf = ({ layers }: DenseNetwork) => ({
  layers: layers.map(({ inputs, outputs }) => ({ inputs, outputs })),
  parameters: layers.reduce((sum, { inputs, outputs }) => sum + outputs * (inputs + 1), 0),
});

function treesReport(
  architecture: Architecture,
  trees: TreesShape,
): { trees: LintTrees; parameters: number } {
  const { depth, leafBits, accumulator } = trees;
  const topologies = topologiesOf(trees);
  return {
    trees: {
      count: topologies.length,
      depth,
      splits: topologies.reduce((sum, { splits }) => sum + splits, 0),
      candidates: candidatesOf(featureRanges(architecture.preprocessing)).length,
      leafBits,
      accumulator,
    },
    parameters: parameterWidths(architecture).length,
  };
}

function rangeOf(dictionary: Dictionary): LintReport['features'] {
  const ranges = featureRanges(preprocessingOf(dictionary));
  const low = ranges.reduce((least, range) => Math.min(least, range.low), 0);
  const high = ranges.reduce((most, range) => Math.max(most, range.high), 0);
  return { count: ranges.length, low, high };
}

const listed = (names: readonly string[]): string =>
  names.length > 80 ? `${names.slice(0, 80).join(', ')}, …` : names.join(', ');

function measured(
  testSet: TestSet,
  number: NumberLabel | undefined,
  answers: { readonly float: readonly number[]; readonly integers: readonly number[] },
): Pick<LintProof, 'correct' | 'error'> {
  const { labels } = testSet;
  const correct = {
    float: countRight(testSet, answers.float),
    integers: countRight(testSet, answers.integers),
    constant: rowCounts(testSet).constant,
  };
  if (!number) return { correct };
  const off = (given: readonly number[]): number => meanDistance(given, labels) * Number(number.step);
  const constant = median(labels);
  const error = {
    float: off(answers.float),
    integers: off(answers.integers),
    constant: off(labels.map(() => constant)),
  };
  return { correct, error };
}

/** The classes that the float network decides on, or the numbers that it answers, in steps of the label. */
export function floatDecisions(
  model: FloatModel,
  rows: readonly ArrayLike<number>[],
  label?: NumberLabel | undefined,
): number[] {
  const { decision } = model;
  return rows.map((row) => {
    let x =
      'trees' in model
        ? ensembleSums(model, row)
        : 'operations' in model
          ? floatTensors(model, row)
          : Float64Array.from(row);
    for (const { inputs, outputs, weights, bias, relu } of 'layers' in model ? model.layers : [])
      x = Float64Array.from({ length: outputs }, (_, j) => {
        let sum = bias[j]!;
        for (let i = 0; i < inputs; i++) sum += weights[j * inputs + i]! * x[i]!;
        return relu ? Math.max(0, sum) : sum;
      });
    if (decision === 'number' && label) return answerOfFloat(x[0]!, label);
    if (decision === 'sign') return x[0]! > 0 ? 1 : 0;
    return x.reduce((best, value, c) => (value > x[best]! ? c : best), 0);
  });
}
