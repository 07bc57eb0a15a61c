/**
 * Scenarios: a folder each, with all that a vendor decides about a model (dictionary, terms, policy, test set, threshold) and
 * what comes out. They run on the real file where there is one, else on generated data, which is said. Copy a folder, change
 * what is in it, and it is yours: `vouch scenario run FOLDER --data ROWS`.
 *
 * A scenario keeps to one host: it trains, lints, commits and proves here, with a key that convinces its maker only. Serving,
 * and proofs by a fleet, take the same files: `vouch model add`, `vouch prove`.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { z } from 'zod';
import { classNames, type Dictionary, preprocessingOf } from '../../circuits/model/dictionary.ts';
import { type LintReport, lintModel } from '../../circuits/model/lint.ts';
import { onnxFromNetwork } from '../../circuits/model/network.ts';
import { readOnnx } from '../../circuits/model/onnx.ts';
import { writeOnnx } from '../../circuits/model/onnx-writer.ts';
import type { TestSet } from '../../circuits/model/test-set.ts';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import type { Terms } from '../../protocols/terms.ts';
import { entriesIn, isFolder, readText } from '../home/files.ts';
import { PACKAGE_ROOT } from '../home/home.ts';
import { readPolicy } from '../installation/policies.ts';
import { type LabelledRow, readLabelled, split } from '../models/labelled-rows.ts';
import { readTerms } from '../models/terms.ts';
import { readDictionary, testSetFor } from '../models/test-sets.ts';
import { partition } from '../models/vendor.ts';
import { bankSample } from './bank-sample.ts';
import { boost, decideByTrees, onnxFromTrees } from './boosting.ts';
import { sampleData } from './sample.ts';
import { type LabelledFeatures, train, trainLogistic } from './trainer.ts';

const SCENARIOS = path.join(PACKAGE_ROOT, 'scenarios');
const MAX_BYTES = 64 * 1024 * 1024;

export const KINDS = ['logistic', 'mlp', 'trees'] as const;
export type Kind = (typeof KINDS)[number];

const Training = {
  seed: z.int().min(0),
  epochs: z.int().min(1).max(1000),
  learningRate: z.number().positive(),
  weightDecay: z.number().min(0),
};
const Settings = z.strictObject({
  version: z.literal(1),
  title: z.string().min(1).max(200),
  data: z.string().min(1).max(200).describe('name of the file in the folder of data'),
  generated: z
    .enum(['credit', 'bank'])
    .optional()
    .describe('what stands in for the file; absent: nothing does'),
  testRows: z.int().min(1).max(65_536).describe('of the rows to test with, the first so many'),
  atLeastPercent: z.int().min(1).max(100).describe('of the test rows: what is proved'),
  seed: z.int().min(0).describe('of generated data'),
  models: z.strictObject({
    logistic: z.strictObject(Training),
    mlp: z.strictObject({
      ...Training,
      hidden: z.int().min(1).max(256),
      dropout: z.number().min(0).max(0.9),
    }),
    trees: z.strictObject({ trees: z.int().min(1).max(1000), depth: z.int().min(1).max(8) }),
  }),
});
type Settings = z.infer<typeof Settings>;

/** Test rows that each model classifies correctly: by the numbers of its file, and by integers where it becomes such. */
const Outcome = z.strictObject({ float: z.int().min(0), integers: z.int().min(0).optional() });
const Expected = z.partialRecord(z.enum(['real', 'generated']), z.partialRecord(z.enum(KINDS), Outcome));
export type Outcome = z.infer<typeof Outcome>;

export interface Scenario {
  readonly name: string;
  readonly folder: string;
  readonly settings: Settings;
  readonly dictionary: Dictionary;
  readonly terms: Terms;
  readonly policy: Policy;
  /** undefined: nobody has written down what comes out */
  readonly expected: z.infer<typeof Expected> | undefined;
}

/** The scenarios that come with Vouch. */
export const scenarioNames = (): string[] =>
  entriesIn(SCENARIOS, 'scenarios')
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort();

/** A scenario by name, or by the path of a folder that was copied. Throws `bad-input`, and `bad-file`, which names the file. */
export function readScenario(name: string): Scenario {
  const own = scenarioNames().includes(name);
  if (!own && !isFolder(name))
    throw new VouchError(
      'bad-input',
      `scenario ${name}: expected ${scenarioNames().join(', ')} or the folder of a scenario`,
    );
  const folder = own ? path.join(SCENARIOS, name) : path.resolve(name);
  const file = (each: string): string => path.join(folder, each);
  return {
    name: path.basename(folder),
    folder,
    settings: parsed(Settings, file('scenario.json')),
    dictionary: readDictionary(file('dictionary.json')),
    terms: readTerms(file('terms.json')),
    policy: readPolicy(file('policy.json')),
    expected: existsSync(file('expected.json')) ? parsed(Expected, file('expected.json')) : undefined,
  };
}

function parsed<T>(schema: z.ZodType<T>, file: string): T {
  let value: unknown;
  try {
    value = JSON.parse(readText(file, 'scenario', MAX_BYTES));
  } catch (error) {
    if (error instanceof VouchError) throw error;
    throw new VouchError('bad-file', `${file}: expected JSON: ${messageOf(error)}`);
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  throw new VouchError('bad-file', `${file}: ${issue.path.join('.') || 'value'}: ${issue.message}`);
}

export interface ScenarioRows {
  readonly kind: 'real' | 'generated';
  /** where the rows are from, in words */
  readonly source: string;
  readonly rows: readonly LabelledRow[];
  readonly test: readonly LabelledRow[];
  readonly testSet: TestSet;
  readonly training: LabelledFeatures;
}

/**
 * The rows of a scenario: of the file `place`, or of the scenario's file in the folder `place`; generated where no place is
 * given. Throws `bad-file` where the file is not there or does not fit, `bad-input` where nothing stands in for it.
 */
export function rowsOf({ name, settings, dictionary }: Scenario, place: string | undefined): ScenarioRows {
  const { data, generated, seed, testRows } = settings;
  let text: string;
  if (place !== undefined) text = readText(fileIn(place, data), 'data', MAX_BYTES);
  else if (generated === 'credit') text = sampleData(seed);
  else if (generated === 'bank') text = bankSample(seed);
  else
    throw new VouchError(
      'bad-input',
      `scenario ${name}: expected --data FILE, nothing stands in for ${data}`,
    );
  const rows = readLabelled(text, dictionary);
  const { features, labels } = partition(rows, dictionary);
  const test = split(rows, dictionary).test.slice(0, testRows);
  return {
    kind: place === undefined ? 'generated' : 'real',
    source: place === undefined ? `GENERATED, seed ${seed}` : fileIn(place, data),
    rows,
    test,
    testSet: testSetFor(test, preprocessingOf(dictionary)),
    training: { features, labels },
  };
}

const fileIn = (place: string, data: string): string => (isFolder(place) ? path.join(place, data) : place);

export interface TrainedModel {
  readonly kind: Kind;
  readonly onnx: Uint8Array;
  readonly lint: LintReport;
  readonly outcome: Outcome;
}

/** Trains one kind of model, exports it, and lints the file as anybody's. */
export function trainModel({ settings, dictionary }: Scenario, rows: ScenarioRows, kind: Kind): TrainedModel {
  const { training, testSet } = rows;
  const classes = classNames(dictionary).length;
  const correct = (decisions: readonly number[]): number =>
    decisions.filter((decision, r) => decision === testSet.labels[r]).length;
  const checked = (graph: Parameters<typeof writeOnnx>[0]) => {
    const onnx = writeOnnx(graph);
    const data = { dictionary, rows: { calibration: training.features, testSet } };
    return { onnx, lint: lintModel(readOnnx(onnx), data) };
  };
  if (kind === 'trees') {
    const trees = boost(training, settings.models.trees);
    const made = checked(onnxFromTrees(trees));
    // Integers where the compiler takes trees.
    const integers = made.lint.proof?.correct.integers;
    const float = correct(decideByTrees(trees, testSet.features));
    return { kind, ...made, outcome: { float, ...(integers === undefined ? {} : { integers }) } };
  }
  const network =
    kind === 'mlp'
      ? train(training, classes, settings.models.mlp)
      : trainLogistic(training, classes, settings.models.logistic);
  const made = checked(onnxFromNetwork(network));
  const { proof, problems } = made.lint;
  if (!proof) throw new VouchError('bad-input', `scenario: ${kind}: ${problems[0]?.reason}`);
  const { float, integers } = proof.correct;
  return { kind, ...made, outcome: { float, integers } };
}

/** What is proved: so many of the test rows. */
export const thresholdOf = ({ settings }: Scenario, { testSet }: ScenarioRows): number =>
  Math.ceil((settings.atLeastPercent * testSet.labels.length) / 100);

/** How an outcome differs from what the scenario's folder says; undefined: it does not, or nothing is said. */
export function differenceFrom(
  { expected }: Scenario,
  { kind: data }: ScenarioRows,
  { kind, outcome }: TrainedModel,
): string | undefined {
  const known = expected?.[data]?.[kind];
  if (!known) return undefined;
  if (known.float !== outcome.float) return `expected ${known.float} correct by the file's numbers`;
  if (outcome.integers !== undefined && known.integers !== undefined && known.integers !== outcome.integers)
    return `expected ${known.integers} correct by integers`;
  return undefined;
}
