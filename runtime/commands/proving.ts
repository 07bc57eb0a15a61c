/** What `vouch prove` does once it is clear what is asked, of quality or of one answer. */
import { type Architecture, answerName, parseArchitecture } from '../../circuits/model/architecture.ts';
import type { Dictionary } from '../../circuits/model/dictionary.ts';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { VouchError } from '../../protocols/errors.ts';
import { demandProvable, type VerifiedManifest } from '../../protocols/manifest.ts';
import type { SignedEntry } from '../../protocols/vendor-log.ts';
import { acquaint } from '../client/pins.ts';
import { createProgress } from '../client/progress.ts';
import {
  awaitStatement,
  judgeProof,
  keyAudience,
  prepareStatement,
  type Question,
  saveProof,
  saveRowSalt,
} from '../client/quality-proof.ts';
import type { Log } from '../home/log.ts';
import { kitOf } from '../installation/credentials.ts';
import { findPolicy } from '../installation/policies.ts';
import { readManifest } from '../models/obtain.ts';
import { demandSameDictionary } from '../models/test-sets.ts';
import type { Bus } from '../nats/bus.ts';
import { notChecked } from '../verdict/checks.ts';
import { asClient, type Network } from './network.ts';
import type { Print } from './terminal.ts';

export interface ProvingOptions extends Network {
  readonly vendor?: string | undefined;
  readonly dictionary?: string | undefined;
  readonly policy?: string | undefined;
  readonly out?: string | undefined;
  readonly json: boolean;
  readonly allowTrivial?: true | undefined;
}
export interface Voices {
  readonly say: Log;
  readonly print: Print;
  readonly signal: AbortSignal;
}

/** A model that somebody wants a proof about, its manifest verified. */
export interface Met {
  readonly bus: Bus;
  readonly source: string;
  readonly published: VerifiedManifest;
  readonly architecture: Architecture;
}
/** What is asked of it, and the vendor's log, where the statement opens rows that it has. */
export interface Asked {
  readonly question: Question;
  readonly log?: readonly SignedEntry[] | undefined;
}

/**
 * Meets the model, demands a proof of what `ask` makes of it, waits for it, checks it, keeps it and says what it proves. `own`
 * is the dictionary of whoever asks.
 */
export async function prove(
  model: string,
  options: ProvingOptions,
  own: Dictionary | undefined,
  voices: Voices,
  ask: (met: Met) => Asked | Promise<Asked>,
): Promise<void> {
  const policy = findPolicy('prover', options.policy, kitOf(options.creds));
  await asClient(options, async (bus, source) => {
    const published = await readManifest(bus, model);
    await acquaint(published, { vendor: options.vendor, policy, say: voices.say });
    demandProvable(published.manifest);
    const architecture = parseArchitecture(published.manifest.architecture);
    demandSameDictionary(own, architecture);
    const asked = await ask({ bus, source, published, architecture });
    await proved({ bus, source, own, policy, options, ...voices, ...asked });
  });
}

async function proved({
  bus,
  source,
  question: asked,
  log,
  own,
  policy,
  options,
  say,
  print,
  signal,
}: Pick<Met, 'bus' | 'source'> &
  Asked &
  Voices & {
    readonly own: Dictionary | undefined;
    readonly policy: Policy;
    readonly options: ProvingOptions;
  }): Promise<void> {
  const { manifest } = asked;
  const hidden = 'row' in asked ? asked.row : undefined;
  const outputs = 'answer' in asked && typeof asked.answer !== 'number' ? asked.answer : undefined;
  const progress = createProgress();
  try {
    const prepared = await prepareStatement(bus, asked, { progress, signal });
    const { published: proof, job } = await awaitStatement(bus, source, prepared, { progress, signal });
    const verdict = await judgeProof(proof, {
      policy,
      modelCommitment: manifest.commitment,
      job,
      testSet: 'testSet' in asked ? () => asked.testSet : undefined,
      row: hidden && (() => hidden),
      outputs: outputs && (() => outputs),
      dictionary: own,
      allowTrivial: options.allowTrivial,
      log,
      manifest,
    });
    const saved = await saveProof(proof, options.out);
    const salt = hidden && (await saveRowSalt(saved, hidden));
    progress.stop();
    const failed = verdict.checks.find(({ status }) => status === 'fail');
    if (failed) throw new VouchError('proof-rejected', `${saved}: ${failed.id}: ${failed.detail}`);
    if (options.json) print(proof);
    else {
      const proved = proof.record.statement;
      const what =
        proved.statement === 'quality'
          ? `at least ${proved.threshold} of ${proved.rows} rows`
          : proved.decision === undefined
            ? 'these numbers'
            : `answers ${answerName(parseArchitecture(manifest.architecture), proved.decision)}`;
      print(`verified\t${what}\t${saved}`);
    }
    if (salt)
      say(
        `${salt} opens the commitment: whoever has it can try inputs; vouch verify --row-salt shows it to whom you like`,
      );
    say(verdict.sentence);
    say(notChecked(verdict.checks));
    say(`key ${keyAudience(prepared.key.mark)}`);
  } finally {
    progress.stop();
  }
}
