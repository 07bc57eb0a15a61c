/** What `vouch prove` does once it is clear what is asked, of quality or of one answer. */
import { parseArchitecture } from '../../circuits/model/architecture.ts';
import type { Dictionary } from '../../circuits/model/dictionary.ts';
import type { Policy } from '../../protocols/attestation/policy.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { SignedEntry } from '../../protocols/vendor-log.ts';
import { createProgress } from '../client/progress.ts';
import {
  awaitStatement,
  judgeProof,
  keyAudience,
  prepareStatement,
  type Question,
  saveProof,
} from '../client/quality-proof.ts';
import type { Log } from '../home/log.ts';
import type { Bus } from '../nats/bus.ts';
import { notChecked } from '../verdict/checks.ts';
import type { Print } from './terminal.ts';

interface Proving {
  readonly policy: Policy;
  /** the dictionary of whoever asks */
  readonly own: Dictionary | undefined;
  /** the vendor's log, where the statement opens rows that it has */
  readonly log?: readonly SignedEntry[] | undefined;
  readonly options: {
    readonly out?: string | undefined;
    readonly json: boolean;
    readonly allowTrivial?: true | undefined;
  };
  readonly say: Log;
  readonly print: Print;
  readonly signal: AbortSignal;
}

/** Demands a proof, waits for it, checks it, keeps it and says what it proves. */
export async function provedBy(
  bus: Bus,
  source: string,
  asked: Question,
  { policy, own, log, options, say, print, signal }: Proving,
): Promise<void> {
  const { manifest, testSet } = asked;
  const progress = createProgress();
  try {
    const prepared = await prepareStatement(bus, asked, { progress, signal });
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
      const what =
        proved.statement === 'quality'
          ? `at least ${proved.threshold} of ${proved.rows} rows`
          : `answers ${parseArchitecture(manifest.architecture).classes[proved.decision]}`;
      print(`verified\t${what}\t${saved}`);
    }
    say(verdict.sentence);
    say(notChecked(verdict.checks));
    say(`key ${keyAudience(prepared.key.mark)}`);
  } finally {
    progress.stop();
  }
}
