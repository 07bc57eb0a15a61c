/** `vouch prove`: demands a proof of a model's quality, waits for it, checks it and keeps it. */
import { existsSync } from 'node:fs';
import type { Command } from '@commander-js/extra-typings';
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
    command
      .command('quality')
      .description('the same: how many rows of a test set a model classifies correctly'),
  ).action(action);
  defineInference(command);
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
    const testSet = testSetOf(ownRows ?? readRows(file, dictionaryOf(architecture)), architecture);
    const threshold = options.threshold ?? usefulThreshold(testSet, manifest.terms);
    demandUseful(testSet, threshold, options.allowTrivial === true);
    const sealed = options.sealed === undefined ? undefined : readSealedTestSet(options.sealed);
    const log = sealed && (options.log === undefined ? ownLog() : readLogFile(options.log));
    const opening = sealed && log && openingFor(sealed, testSet, log);
    return { question: { manifest, testSet, threshold, opening }, log: opening && log };
  });
}
