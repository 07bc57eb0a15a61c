/** `vouch prove inference`: demands a proof that a model gives one row one class, waits for it, checks it and keeps it. */
import { type Command, Option } from '@commander-js/extra-typings';
import { randomSalt } from '../../circuits/model/commit.ts';
import { infer, verifyService } from '../client/client.ts';
import { sealRow } from '../client/hidden-row.ts';
import { answeredRow, placeOf, readRow } from '../client/inference-proof.ts';
import { demandProofSavable } from '../client/quality-proof.ts';
import { kitOf } from '../installation/credentials.ts';
import { findPolicy } from '../installation/policies.ts';
import { readDictionary } from '../models/test-sets.ts';
import { type OptionsOf, pinning } from './declaration.ts';
import { type Network, networkOf } from './network.ts';
import { type Met, prove, type Voices } from './proving.ts';
import { interruption, print, say } from './terminal.ts';

const declared = (command: Command) =>
  pinning(command)
    .argument('<model>')
    .requiredOption(
      '--input <file>',
      'the row, as JSON or cells separated by commas; proof and key show it, unless --hide input',
    )
    .addOption(
      new Option(
        '--hide <what>',
        'keep the row secret: the proof shows a commitment to it, which the salt beside the proof opens',
      ).choices(['input'] as const),
    )
    .option('--output <answer>', 'the class or number to be proved; default: what the model answers now')
    .option(
      '--dictionary <file>',
      "your own data dictionary: the model's has to name the same classes in the same order",
    )
    .option(
      '--policy <name>',
      "what the prover's evidence has to satisfy: genuine, strict or a file; default: this installation's",
    )
    .option('--out <file>', 'where the proof goes; default: .vouch/proofs/<job>.json')
    .option('--json', 'print the published proof', false);

export const defineInference = (command: Command): unknown =>
  declared(
    command
      .command('inference')
      .description('demand a proof of what a model answers to one row, without showing the model'),
  ).action((model, options) =>
    proveInferenceCommand(
      model,
      { ...options, ...networkOf(options) },
      { say, print, signal: interruption() },
    ),
  );

/** Throws `proof-rejected` when what came back does not satisfy every check; the file is kept all the same. */
export async function proveInferenceCommand(
  model: string,
  options: Network & Omit<OptionsOf<typeof declared>, keyof Network>,
  voices: Voices,
): Promise<void> {
  await demandProofSavable(options.out);
  const own = options.dictionary === undefined ? undefined : readDictionary(options.dictionary);
  await prove(model, options, own, voices, async (met) => {
    const { published, architecture } = met;
    const cells = readRow(options.input, architecture);
    const decision =
      options.output === undefined
        ? await answered(met, cells, options)
        : placeOf(options.output, architecture);
    const testSet = answeredRow(cells, decision, architecture);
    const { manifest } = published;
    if (options.hide === undefined) return { question: { manifest, testSet, decision } };
    const row = { features: Int32Array.from(testSet.features[0]!), salt: randomSalt() };
    const policy = findPolicy('prover', options.policy, kitOf(options.creds));
    const sealRows = (subject: string) => sealRow(met.bus, met.source, policy, row, subject);
    return { question: { manifest, decision, row, sealRows } };
  });
}

/** What the model says now, by its enclave's receipt. */
async function answered(
  { bus, source, published }: Met,
  cells: readonly string[],
  options: Network & { readonly policy?: string | undefined },
): Promise<number> {
  const policy = findPolicy('inference', options.policy, kitOf(options.creds));
  const service = await verifyService(bus, source, published.manifest.name, policy, published);
  const made = await infer(bus, source, service, policy, [...cells]);
  return made.answer.decision;
}
