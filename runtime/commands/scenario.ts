/** `vouch scenario`: models for real questions, from a table to a verified proof, in folders that are there to be copied. */
import path from 'node:path';
import { type Command, Option } from '@commander-js/extra-typings';
import { rowCounts } from '../../circuits/model/test-set.ts';
import {
  differenceFrom,
  KINDS,
  readScenario,
  rowsOf,
  scenarioNames,
  thresholdOf,
  trainModel,
} from '../demo/scenario.ts';
import { proveScenario, type ScenarioProof } from '../demo/scenario-proof.ts';
import { writeWhole } from '../home/files.ts';
import { folder } from '../home/home.ts';
import type { Log } from '../home/log.ts';
import { writeLabelled } from '../models/labelled-rows.ts';
import type { OptionsOf } from './declaration.ts';
import { interruption, type Print, print, say } from './terminal.ts';

const listing = (command: Command) => command.option('--json', 'one JSON object', false);
const running = (command: Command) =>
  command
    .argument('<name>', 'one of vouch scenario list, or the folder of a scenario that you copied')
    .option(
      '--data <place>',
      'the file of rows, or the folder that it lies in; default: $VOUCH_DATA, else GENERATED rows where the scenario has some',
    )
    .addOption(
      new Option('--prove <kind>', 'of which model the quality is proved; default: logistic').choices([
        ...KINDS,
        'none',
      ] as const),
    )
    .option('--out <folder>', 'where models and test rows go; default: .vouch/scenarios/NAME')
    .option('--json', 'one JSON object', false);

export function define(command: Command): void {
  listing(command.command('list').description('scenarios that come with Vouch, and where they lie')).action(
    (options) => listCommand(options, print),
  );
  running(
    command
      .command('run')
      .description('train, export, lint, commit, prove and verify, on this host; nothing is published'),
  ).action(async (name, options) => {
    if (!(await runCommand(name, options, { print, say, signal: interruption() }))) process.exitCode = 1;
  });
}

export function listCommand({ json }: { json: boolean }, print: Print): void {
  const all = scenarioNames().map((name) => {
    const { folder: place, settings } = readScenario(name);
    return { name, title: settings.title, data: settings.data, folder: place };
  });
  if (json) print(all);
  else for (const { name, title, folder: place } of all) print(`${name}\t${title}\t${place}`);
}

/** Returns whether what came out is what the scenario's folder expects, and was proved where that was asked for. */
export async function runCommand(
  name: string,
  options: OptionsOf<typeof running>,
  { print, say, signal }: { print: Print; say: Log; signal: AbortSignal },
): Promise<boolean> {
  const scenario = readScenario(name);
  const rows = rowsOf(scenario, options.data ?? process.env.VOUCH_DATA);
  const threshold = thresholdOf(scenario, rows);
  const { constant } = rowCounts(rows.testSet);
  const tested = rows.testSet.labels.length;
  const out = options.out ?? folder('scenarios', scenario.name);
  const wanted = options.prove ?? 'logistic';
  const lines = options.json ? say : print;
  lines(`rows       ${rows.source}`);
  lines(`           ${rows.rows.length}, of which ${tested} test; a constant answer scores ${constant}`);
  await writeWhole(path.join(out, 'test.data'), writeLabelled(rows.test, scenario.dictionary), {
    mode: 0o644,
  });
  const models = [];
  let proof: (ScenarioProof & { kind: string }) | undefined;
  let asExpected = true;
  for (const kind of KINDS) {
    const model = trainModel(scenario, rows, kind);
    const { lint, outcome } = model;
    const file = path.join(out, `${kind}.onnx`);
    await writeWhole(file, model.onnx, { mode: 0o644 });
    const difference = differenceFrom(scenario, rows, model);
    if (difference) asExpected = false;
    const { float, integers } = outcome;
    const costs = lint.proof ? `; ${lint.proof.constraints} constraints` : '';
    lines(
      `${kind.padEnd(9)}  ${float} of ${tested} correct${integers === undefined ? '' : `, ${integers} by integers`}${costs}${difference ? `; NOT AS EXPECTED: ${difference}` : ''}`,
    );
    if (!lint.provable) lines(`           not provable: ${lint.problems[0]!.reason}`);
    models.push({ kind, file, ...outcome, constraints: lint.proof?.constraints, provable: lint.provable });
    if (kind !== wanted || !lint.provable) continue;
    proof = { kind, ...(await proveScenario(scenario, rows, model, signal)) };
    lines(
      `proved     at least ${threshold} of ${tested} rows (${scenario.settings.atLeastPercent} %), verified; commitment ${proof.commitment}`,
    );
    lines(`           ${proof.keyMark}: it convinces its maker only`);
  }
  if (options.json)
    print({
      name: scenario.name,
      rows: rows.source,
      tested,
      constant,
      threshold,
      models,
      proof,
      asExpected,
      out,
    });
  else
    lines(
      `next       with a running Vouch: vouch model add ${scenario.name} ${path.join(out, 'logistic.onnx')} --dictionary ${path.join(scenario.folder, 'dictionary.json')} --terms ${path.join(scenario.folder, 'terms.json')} --data ROWS`,
    );
  return asExpected && (wanted === 'none' || proof !== undefined);
}
