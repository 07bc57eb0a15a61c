/** `vouch prove`: demands a proof of a model's quality, waits for it, checks it and keeps it. */
import { existsSync } from 'node:fs';
import type { Command } from '@commander-js/extra-typings';
import type { Architecture } from '../../circuits/model/architecture.ts';
import { distanceOf } from '../../circuits/model/numbers.ts';
import { VouchError } from '../../protocols/errors.ts';
import { demandProofSavable } from '../client/quality-proof.ts';
import {
  demandUseful,
  dictionaryOf,
  readDictionary,
  readRows,
  testSetOf,
  usefulThreshold,
} from '../models/test-sets.ts';
import { testFile } from '../models/vendor.ts';
import { openingFor, ownLog, readLogFile, readSealedTestSet } from '../models/vendor-log.ts';
import { type OptionsOf, pinning, whole } from './declaration.ts';
import { type Network, networkOf } from './network.ts';
import { defineInference } from './prove-inference.ts';
import { prove, type Voices } from './proving.ts';
import { interruption, print, say } from './terminal.ts';

/** The test set that a person named, else the one that the vendor on this host keeps for the model. */
export function testSetFile(model: string, given: string | undefined): string {
  if (given !== undefined) return given;
  const kept = testFile(model);
  if (existsSync(kept)) return kept;
  throw new VouchError('bad-input', `model ${model}: expected --test-set FILE, this host keeps none for it`);
}

const declared = (command: Command) =>
  pinning(command)
    .argument('<model>')
    .option('--test-set <file>', 'labelled rows; default: those that this host keeps for the model')
    .option(
      '--threshold <t>',
      'at least so many rows; default: 3 points above what a constant answer scores',
      whole(0, 65_536),
    )
    .option('--at-least <share>', 'the threshold as a share of the rows, such as 70%')
    .option(
      '--within <distance>',
      "for a model that answers numbers: how far from a row's label an answer counts, in the label's unit",
    )
    .option(
      '--dictionary <file>',
      "your own data dictionary: the model's has to name the same classes in the same order",
    )
    .option(
      '--sealed <file>',
      'what opens the root of these rows (vouch data seal), which the vendor logged before the model',
    )
    .option('--log <file>', "the vendor's log, with --sealed; default: that of this host")
    .option('--allow-trivial', 'ask although a constant answer reaches the threshold')
    .option(
      '--policy <name>',
      "what the prover's evidence has to satisfy: genuine, strict or a file; default: this installation's",
    )
    .option('--out <file>', 'where the proof goes; default: .vouch/proofs/<job>.json')
    .option('--json', 'print the published proof', false);

export function define(command: Command): void {
  const action = (model: string, options: OptionsOf<typeof declared>) =>
    proveCommand(model, { ...options, ...networkOf(options) }, { say, print, signal: interruption() });
  declared(command.enablePositionalOptions()).action(action);
  declared(
    command.command('quality').description('the same: how many rows of a test set a model answers correctly'),
  ).action(action);
  defineInference(command);
}

/** In steps. Throws `bad-input` where it is missing, or the model answers classes. */
function distanceFor({ number }: Architecture, given: string | undefined): number | undefined {
  if (number && given !== undefined) return distanceOf(given, number.label, '--within');
  if (!number && given === undefined) return undefined;
  throw new VouchError(
    'bad-input',
    number
      ? '--within: the model answers numbers; expected how far from the label one counts as right, such as --within 2.5'
      : '--within: the model answers classes, which are right or wrong; leave it out',
  );
}

/** Throws `bad-input` for two thresholds, and for what is no share. */
function thresholdFor(
  { threshold, atLeast }: Pick<OptionsOf<typeof declared>, 'threshold' | 'atLeast'>,
  rows: number,
): number | undefined {
  if (atLeast === undefined) return threshold;
  const percent = /^(\d{1,3})(?:\.(\d{1,2}))?%$/.exec(atLeast);
  // In hundredths of a percent, so that no fraction is rounded.
  const share = percent ? Number(percent[1]) * 100 + Number((percent[2] ?? '').padEnd(2, '0')) : 10_001;
  if (share > 10_000 || threshold !== undefined)
    throw new VouchError(
      'bad-input',
      threshold === undefined
        ? `--at-least: expected a share of the rows such as 70%, got ${JSON.stringify(atLeast.slice(0, 40))}`
        : '--at-least: expected it or --threshold, got both',
    );
  return Math.ceil((share * rows) / 10_000);
}

/** Throws `proof-rejected` when what came back does not satisfy every check; the file is kept all the same. */
export async function proveCommand(
  model: string,
  options: Network & Omit<OptionsOf<typeof declared>, keyof Network>,
  voices: Voices,
): Promise<void> {
  await demandProofSavable(options.out);
  const own = options.dictionary === undefined ? undefined : readDictionary(options.dictionary);
  const file = testSetFile(model, options.testSet);
  const ownRows = own && readRows(file, own);
  await prove(model, options, own, voices, ({ published: { manifest }, architecture }) => {
    const within = distanceFor(architecture, options.within);
    const rows = testSetOf(ownRows ?? readRows(file, dictionaryOf(architecture)), architecture);
    const testSet = { ...rows, within };
    const threshold = thresholdFor(options, rows.labels.length) ?? usefulThreshold(testSet, manifest.terms);
    demandUseful(testSet, threshold, options.allowTrivial === true);
    const sealed = options.sealed === undefined ? undefined : readSealedTestSet(options.sealed);
    const log = sealed && (options.log === undefined ? ownLog() : readLogFile(options.log));
    const opening = sealed && log && openingFor(sealed, testSet, log);
    return { question: { manifest, testSet, threshold, opening }, log: opening && log };
  });
}
