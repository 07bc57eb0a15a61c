/** `vouch prove`: demands a proof of a model's quality, waits for it, checks it and keeps it. */
import { existsSync } from 'node:fs';
import type { Command } from '@commander-js/extra-typings';
import { parseArchitecture } from '../../circuits/model/architecture.ts';
import { VouchError } from '../../protocols/errors.ts';
import { notChecked } from '../client/checks.ts';
import { acquaint } from '../client/pins.ts';
import { createProgress } from '../client/progress.ts';
import {
  awaitStatement,
  demandProofSavable,
  judgeProof,
  keyAudience,
  prepareStatement,
  saveProof,
} from '../client/quality-proof.ts';
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

export const define = (command: Command) =>
  declared(command).action((model, options) =>
    proveCommand(model, { ...options, ...networkOf(options) }, { say, print, signal: interruption() }),
  );

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
    const progress = createProgress();
    try {
      const prepared = await prepareStatement(
        bus,
        { manifest, testSet, threshold, opening },
        { progress, signal },
      );
      const { published: proof, job } = await awaitStatement(bus, source, prepared, { progress, signal });
      const verdict = await judgeProof(proof, {
        policy,
        modelCommitment: manifest.commitment,
        job,
        testSet: () => testSet,
        dictionary: own,
        allowTrivial: options.allowTrivial,
        log,
        manifest,
      });
      const saved = await saveProof(proof, options.out);
      progress.stop();
      const failed = verdict.checks.find(({ status }) => status === 'fail');
      if (failed) throw new VouchError('proof-rejected', `${saved}: ${failed.id}: ${failed.detail}`);
      if (options.json) print(proof);
      else {
        const proved = proof.record.statement;
        print(`verified\tat least ${proved.threshold} of ${proved.rows} rows\t${saved}`);
      }
      say(verdict.sentence);
      say(notChecked(verdict.checks));
      say(`key ${keyAudience(prepared.key.mark)}`);
    } finally {
      progress.stop();
    }
  });
}
