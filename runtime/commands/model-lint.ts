/** `vouch model lint`: everything about a model that cannot be proved, or what a proof of it costs. Publishes nothing. */
import type { Command } from '@commander-js/extra-typings';
import { preprocessingOf } from '../../circuits/model/dictionary.ts';
import { problemLine } from '../../circuits/model/graph.ts';
import { type LintData, type LintReport, lintModel } from '../../circuits/model/lint.ts';
import { readOnnx } from '../../circuits/model/onnx.ts';
import { VouchError } from '../../protocols/errors.ts';
import { readNamed } from '../home/files.ts';
import { readDictionary, readRows, testSetFor } from '../models/test-sets.ts';
import { partition } from '../models/vendor.ts';
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
    .option('--bits <n>', 'of each weight: fewer cost less and round more; default: 8', whole(4, 8))
    .option('--reveal <what>', TOPOLOGY_HELP, topology)
    .option('--json', 'one JSON object', false);

export const defineLint = (command: Command): unknown =>
  declared(
    command
      .command('lint')
      .description('every reason why an ONNX file cannot be proved, or what it becomes and costs'),
  ).action((file, options) => {
    if (!lintCommand(file, options, print)) process.exitCode = 1;
  });

/** Returns whether the model is provable. Throws `bad-file` and `bad-input` for what is no model, dictionary or table. */
export function lintCommand(file: string, options: OptionsOf<typeof declared>, print: Print): boolean {
  if (options.data !== undefined && options.dictionary === undefined)
    throw new VouchError('bad-input', 'lint: expected --dictionary FILE beside --data, got none');
  const graph = readOnnx(readNamed(file, 'ONNX', MAX_ONNX_BYTES));
  const report = lintModel(graph, dataOf(options));
  if (options.json) print(report);
  else for (const line of linesOf(report, options)) print(line);
  return report.provable;
}

function dataOf({ dictionary: path, data, bits, reveal }: OptionsOf<typeof declared>): LintData | undefined {
  if (path === undefined) return undefined;
  const dictionary = readDictionary(path);
  if (data === undefined) return { dictionary };
  const { test, features } = partition(readRows(data, dictionary), dictionary);
  return {
    dictionary,
    bits,
    topology: reveal,
    rows: { calibration: features, testSet: testSetFor(test, preprocessingOf(dictionary)) },
  };
}

function linesOf(report: LintReport, options: OptionsOf<typeof declared>): string[] {
  const { provable, problems, notes, layers, trees, decision, parameters, integers, proof } = report;
  const lines = problems.map((problem) => `problem  ${problemLine(problem)}`);
  for (const note of notes) lines.push(`note     ${note}`);
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
  integers?.forEach(({ weightBits, biasBits, shift, accumulator, output }, l) => {
    lines.push(
      `layer ${l + 1}  weights of ${weightBits} bits, biases of ${biasBits}, sums up to ${accumulator}${shift > 0 ? `, shifted by ${shift}, outputs 0 to ${output}` : ''}`,
    );
  });
  if (proof) {
    const { rows, constraints, domain, mostRows, correct } = proof;
    lines.push(
      `proof    ${rows} rows: ${constraints} constraints, domain 2^${Math.log2(domain)}; at most ${mostRows} rows in one proof`,
      `correct  ${correct.float} of ${rows} by the file's numbers, ${correct.integers} by integers, ${correct.constant} by a constant answer`,
    );
  } else if (provable)
    lines.push(
      `not looked at: ${options.dictionary === undefined ? 'features, classes, ' : ''}costs and accuracy; expected ${options.dictionary === undefined ? '--dictionary FILE and ' : ''}--data FILE`,
    );
  lines.push(
    provable ? 'provable' : `not provable: ${problems.length} problem${problems.length > 1 ? 's' : ''}`,
  );
  return lines;
}
