/** `vouch prove`: demands a proof of a model's quality, waits for it, checks it and keeps it. */
import { existsSync } from 'node:fs';
import type { Command } from '@commander-js/extra-typings';
import { parseArchitecture } from '../../circuits/model/architecture.ts';
import { VouchError } from '../../protocols/errors.ts';
import { acquaint } from '../client/pins.ts';
import { demandProofSavable } from '../client/quality-proof.ts';
import type { Log } from '../home/log.ts';
import { kitOf } from '../installation/credentials.ts';
import { findPolicy } from '../installation/policies.ts';
import { readManifest } from '../models/obtain.ts';
import {
  demandSameDictionary,
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
import { asClient, type Network, networkOf } from './network.ts';
import { defineInference } from './prove-inference.ts';
import { provedBy } from './proving.ts';
import { interruption, type Print, print, say } from './terminal.ts';

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
  const prove = (model: string, options: OptionsOf<typeof declared>) =>
    proveCommand(model, { ...options, ...networkOf(options) }, { say, print, signal: interruption() });
  declared(command.enablePositionalOptions()).action(prove);
  declared(
    command
      .command('quality')
      .description('the same: how many rows of a test set a model classifies correctly'),
  ).action(prove);
  defineInference(command);
}

/** Throws `proof-rejected` when what came back does not satisfy every check; the file is kept all the same. */
export async function proveCommand(
  model: string,
  options: Network & Omit<OptionsOf<typeof declared>, keyof Network>,
  { say, print, signal }: { say: Log; print: Print; signal: AbortSignal },
): Promise<void> {
  await demandProofSavable(options.out);
  const policy = findPolicy('prover', options.policy, kitOf(options.creds));
  const own = options.dictionary === undefined ? undefined : readDictionary(options.dictionary);
  const file = testSetFile(model, options.testSet);
  const ownRows = own && readRows(file, own);
  await asClient(options, async (bus, source) => {
    const published = await readManifest(bus, model);
    const { manifest } = published;
    await acquaint(published, { vendor: options.vendor, policy, say });
    const architecture = parseArchitecture(manifest.architecture);
    demandSameDictionary(own, architecture);
    const testSet = testSetOf(ownRows ?? readRows(file, dictionaryOf(architecture)), architecture);
    const threshold = options.threshold ?? usefulThreshold(testSet, manifest.terms);
    demandUseful(testSet, threshold, options.allowTrivial === true);
    const sealed = options.sealed === undefined ? undefined : readSealedTestSet(options.sealed);
    const log = sealed && (options.log === undefined ? ownLog() : readLogFile(options.log));
    const opening = sealed && log && openingFor(sealed, testSet, log);
    const asked = { manifest, testSet, threshold, opening };
    await provedBy(bus, source, asked, { policy, own, log, options, say, print, signal });
  });
}
