/** `vouch model lint`: everything about a model that cannot be proved, or what a proof of it costs. Publishes nothing. */
import type { Command } from '@commander-js/extra-typings';
import type { CircuitCost } from '../../circuits/model/cost.ts';
import { type Dictionary, preprocessingOf } from '../../circuits/model/dictionary.ts';
import { problemLine } from '../../circuits/model/graph.ts';
import {
  type LintData,
  type LintProof,
  type LintReport,
  lintModel,
  type Measured,
} from '../../circuits/model/lint.ts';
import { lintTensors, type TensorLint } from '../../circuits/model/lint-tensors.ts';
import { distanceOf } from '../../circuits/model/numbers.ts';
import { type OnnxGraph, readOnnx } from '../../circuits/model/onnx.ts';
import type { OutlineStep } from '../../circuits/model/outline.ts';
import { MAX_CONSTRAINTS } from '../../circuits/model/size.ts';
import { VouchError } from '../../protocols/errors.ts';
import { readTensorSamples } from '../client/inference-proof.ts';
import { readNamed } from '../home/files.ts';
import { readDictionary, readRows, testSetFor } from '../models/test-sets.ts';
import { partition } from '../models/vendor.ts';
import { type Forecast, forecast, machineRates } from '../prove/calibration.ts';
import { type OptionsOf, TOPOLOGY_HELP, topology, whole } from './declaration.ts';
import { type Print, print } from './terminal.ts';

const MAX_ONNX_BYTES = 64 * 1024 * 1024;

const declared = (command: Command) =>
  command
    .argument('<file>', 'ONNX')
    .option('--dictionary <file>', 'what the columns and classes of the data are (vouch data describe)')
    .option(
      '--data <file>',
      'labelled rows, with --dictionary: what it costs, and how much accuracy integers lose',
    )
    .option(
      '--tensors <file>',
      'instead of a table: JSON of input tensors by name, one or several samples of them; the answers are tensors then',
    )
    .option(
      '--rows <n>',
      'of the rows to test with only the first so many, as a proof would have them; default: all',
      whole(1, 65_536),
    )
    .option(
      '--within <distance>',
      "where the label is a number: how far from it an answer counts as correct, in the label's unit",
    )
    .option('--bits <n>', 'of each weight: fewer cost less and round more; default: 8', whole(4, 8))
    .option('--reveal <what>', TOPOLOGY_HELP, topology)
    .option('--json', 'one JSON object', false);

export const defineLint = (command: Command): unknown =>
  declared(
    command
      .command('lint')
      .description('every reason why an ONNX file cannot be proved, or what it becomes and costs'),
  ).action(async (file, options) => {
    if (!(await lintCommand(file, options, print))) process.exitCode = 1;
  });

/** Returns whether the model is provable. Throws `bad-file` and `bad-input` for what is no model, dictionary or table. */
export async function lintCommand(
  file: string,
  options: OptionsOf<typeof declared>,
  print: Print,
): Promise<boolean> {
  if (options.tensors === undefined && options.data !== undefined && options.dictionary === undefined)
    throw new VouchError('bad-input', 'lint: expected --dictionary FILE beside --data, got none');
  const graph = readOnnx(readNamed(file, 'ONNX', MAX_ONNX_BYTES));
  if (options.tensors !== undefined)
    return tensorsCommand(graph, { ...options, tensors: options.tensors }, print);
  const report = lintModel(graph, dataOf(options));
  const times = report.provable && report.proof ? forecast(report.proof, await machineRates()) : undefined;
  if (options.json) print(times ? { ...report, proof: { ...report.proof, times } } : report);
  else for (const line of linesOf(report, times, options)) print(line);
  return report.provable;
}

async function tensorsCommand(
  graph: OnnxGraph,
  options: OptionsOf<typeof declared> & { readonly tensors: string },
  print: Print,
): Promise<boolean> {
  for (const name of ['dictionary', 'data', 'rows', 'within', 'reveal'] as const)
    if (options[name] !== undefined)
      throw new VouchError('bad-input', `lint: --${name}: tensors have no table and no trees; leave it out`);
  const report = lintTensors(graph, readTensorSamples(options.tensors), options.bits);
  const { provable, proof } = report;
  const times = provable && proof ? forecast(proof, await machineRates()) : undefined;
  if (options.json) print(times ? { ...report, proof: { ...proof, times } } : report);
  else for (const line of tensorLines(report, times)) print(line);
  return provable;
}

function tensorLines(report: TensorLint, times: Forecast | undefined): string[] {
  const { named, parameters, tensors, proof } = report;
  const lines = [...problemLines(report)];
  if (named) {
    const { inputs, outputs, exponent, outputExponent } = named;
    const shape = (dims: readonly number[]) => `[${dims.join(', ')}]`;
    for (const { name, dims, low, high } of inputs)
      lines.push(
        `input    ${name} ${shape(dims)}, from ${low * 2 ** -exponent} to ${high * 2 ** -exponent} in steps of ${2 ** -exponent}`,
      );
    for (const { name, dims } of outputs)
      lines.push(`output   ${name} ${shape(dims)}, in steps of ${2 ** -outputExponent}`);
  }
  if (parameters !== undefined) lines.push(`tensors  ${parameters} parameters`);
  lines.push(...stepLines(tensors));
  if (proof) {
    const { constraints, terms, domain, hidden, distance, samples } = proof;
    lines.push(
      `proof    of one answer: at most ${constraints} constraints, about ${terms} terms, domain 2^${Math.log2(domain)}`,
      `hidden   ${typeof hidden === 'string' ? hidden : `at most ${hidden.constraints} constraints for one answer to inputs that are hidden, domain 2^${Math.log2(hidden.domain)}`}`,
      ...costLines(proof, times),
      `off by   ${distance.toPrecision(2)} at most from the file's own numbers, over ${samples} ${samples === 1 ? 'sample' : 'samples'}`,
    );
  }
  return [...lines, verdictLine(report)];
}

function dataOf({
  dictionary: path,
  data,
  bits,
  reveal,
  rows: most,
  within,
}: OptionsOf<typeof declared>): LintData | undefined {
  if (path === undefined) return undefined;
  const dictionary = readDictionary(path);
  if (data === undefined) return { dictionary };
  const { test, features } = partition(readRows(data, dictionary), dictionary);
  return {
    dictionary,
    bits,
    topology: reveal,
    rows: {
      calibration: features,
      testSet: {
        ...testSetFor(test.slice(0, most), preprocessingOf(dictionary)),
        within: within === undefined ? undefined : distanceIn(dictionary, within),
      },
    },
  };
}

function distanceIn({ label: { number } }: Dictionary, given: string): number {
  if (number) return distanceOf(given, number, '--within');
  throw new VouchError('bad-input', '--within: the label of the dictionary is no number; leave it out');
}

function linesOf(
  report: LintReport,
  times: Forecast | undefined,
  options: OptionsOf<typeof declared>,
): string[] {
  const { provable, layers, trees, decision, parameters, integers, features } = report;
  const { tensors, proof } = report;
  const lines = problemLines(report);
  if (layers)
    lines.push(
      `layers   ${layers.map(({ inputs, outputs }) => `${inputs}x${outputs}`).join(', ')}; ${parameters} parameters; decision by ${decision}`,
    );
  if (trees) {
    const { count, depth, splits, candidates, leafBits, accumulator } = trees;
    lines.push(`trees    ${count}; decision by ${decision}`);
    if (depth !== undefined)
      lines.push(
        `trees    depth ${depth}, ${splits} splits among ${candidates} candidates, leaves of ${leafBits} bits, sums up to ${accumulator}; ${parameters} parameters`,
      );
  }
  if (features) lines.push(`ranges   ${features.count} features from ${features.low} to ${features.high}`);
  integers?.forEach(({ weightBits, biasBits, shift, accumulator, output }, l) => {
    lines.push(
      `layer ${l + 1}  weights of ${weightBits} bits, biases of ${biasBits}, sums up to ${accumulator}${shift > 0 ? `, shifted by ${shift}, outputs 0 to ${output}` : ''}`,
    );
  });
  if (!layers && !trees && parameters !== undefined)
    lines.push(`tensors  ${parameters} parameters; decision by ${decision}`);
  lines.push(...stepLines(tensors));
  if (proof) lines.push(...proofLines(proof, times, !proof.error || options.within !== undefined));
  else if (provable)
    lines.push(
      `not looked at: ${options.dictionary === undefined ? 'features, classes, ' : ''}costs and accuracy; expected ${options.dictionary === undefined ? '--dictionary FILE and ' : ''}--data FILE`,
    );
  return [...lines, verdictLine(report)];
}

type Found = Pick<LintReport, 'provable' | 'problems' | 'notes'>;

const problemLines = ({ problems, notes }: Found): string[] => [
  ...problems.map((problem) => `problem  ${problemLine(problem)}`),
  ...notes.map((note) => `note     ${note}`),
];

const verdictLine = ({ provable, problems }: Found): string =>
  provable ? 'provable' : `not provable: ${problems.length} problem${problems.length > 1 ? 's' : ''}`;

const stepLines = (steps: readonly OutlineStep[] = []): string[] =>
  steps.map(({ kind, text, constraints, from }, i) => {
    const cost = constraints > 0 ? `; ${constraints} constraints` : '';
    // Step 0 is the features, or all inputs.
    const taken = from.length === 1 && from[0] === i ? '' : `; takes ${from.join(' and ')}`;
    return `step ${i + 1}   ${kind}${text ? `: ${text}` : ''}${taken}${cost}`;
  });

const costLines = (
  { exactTerms, keyBytes }: Pick<CircuitCost, 'exactTerms' | 'keyBytes'>,
  times: Forecast | undefined,
): string[] => [
  `key      ${exactTerms ? '' : 'about '}${(keyBytes / 2 ** 20).toFixed(1)} MiB`,
  ...(times
    ? [
        `time     ${times.compileRange.join(' to ')} s to compile, about ${times.setupSeconds} s to make the key, ${times.proofSeconds} s to prove, on this machine alone`,
      ]
    : []),
];

/** `counted`: whether it was said which answers are correct. */
function proofLines(proof: LintProof, times: Forecast | undefined, counted: boolean): string[] {
  const { rows, constraints, domain, mostRows, hiddenRow, correct, error, terms, exactTerms } = proof;
  const about = exactTerms ? '' : 'about ';
  return [
    `proof    ${rows} rows: ${constraints} constraints, ${about}${terms} terms, domain 2^${Math.log2(domain)}; at most ${mostRows} rows in one proof`,
    `hidden   ${hiddenRow.constraints} constraints for one answer to a row that is hidden, ${hiddenRow.constraints > MAX_CONSTRAINTS ? `of which at most ${MAX_CONSTRAINTS} are compiled: show the row` : `domain 2^${Math.log2(hiddenRow.domain)}`}`,
    ...costLines(proof, times),
    ...(error
      ? [
          `off by   ${error.float.toPrecision(4)} on average by the file's numbers, ${error.integers.toPrecision(4)} by integers, ${error.constant.toPrecision(4)} by the best constant answer`,
        ]
      : []),
    ...(counted ? [correctLine(correct, rows)] : []),
  ];
}

function correctLine(correct: Measured, rows: number): string {
  const lost = ((correct.float - correct.integers) / rows) * 100;
  return `correct  ${correct.float} of ${rows} by the file's numbers, ${correct.integers} by integers (${lost > 0 ? `${lost.toFixed(1)} points lost` : 'nothing lost'}), ${correct.constant} by a constant answer`;
}
