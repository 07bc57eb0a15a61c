/** `vouch prove inference`: demands a proof that a model gives one row one class, waits for it, checks it and keeps it. */
import { type Command, Option } from '@commander-js/extra-typings';
import { randomSalt } from '../../circuits/model/commit.ts';
import { demandHidden } from '../../circuits/model/cost-hidden.ts';
import { numbersOf } from '../../circuits/model/tensor-values.ts';
import { answeredRow, type OneAnswer } from '../../circuits/model/test-set.ts';
import { VouchError } from '../../protocols/errors.ts';
import { infer, verifyService } from '../client/client.ts';
import { sealRow } from '../client/hidden-row.ts';
import { placeOf, readFeatures, readRow, statedOutputs } from '../client/inference-proof.ts';
import { demandProofSavable } from '../client/quality-proof.ts';
import { writeWhole } from '../home/files.ts';
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
      'the row, as JSON or cells separated by commas, or a JSON file of tensors; proof and key show it, unless --hide input',
    )
    .addOption(
      new Option(
        '--hide <what>',
        'keep the row, or all input tensors, secret: the proof shows a commitment to it, which the salt beside the proof opens',
      ).choices(['input'] as const),
    )
    .option(
      '--output <answer>',
      'the class or number to be proved, or a JSON file of tensors where the answers are tensors; default: what the model answers now',
    )
    .option('--save-output <file>', 'where the answer goes, as JSON, where the answers are tensors')
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
    const { manifest } = published;
    if (options.hide !== undefined) demandHidden(architecture);
    const features = readFeatures(options.input, architecture);
    const answer = await answerTo(met, features, options);
    if (options.hide === undefined) {
      const decision = typeof answer === 'number' ? answer : undefined;
      return { question: { manifest, testSet: answeredRow(features, answer), decision } };
    }
    const row = { features, salt: randomSalt() };
    const policy = findPolicy('prover', options.policy, kitOf(options.creds));
    const sealRows = (subject: string) => sealRow(met.bus, met.source, policy, row, subject);
    return { question: { manifest, answer, row, sealRows } };
  });
}

/** What is to be proved: what a person says, or what the model answers now. */
async function answerTo(
  met: Met,
  features: Int32Array,
  options: Network & Pick<OptionsOf<typeof declared>, 'input' | 'output' | 'saveOutput' | 'policy'>,
): Promise<OneAnswer> {
  const { architecture } = met;
  const { output } = options;
  if (architecture.decision !== 'tensor')
    return output === undefined
      ? (await answerNow(met, readRow(options.input, architecture), options)).decision
      : placeOf(output, architecture);
  const outputs =
    output === undefined
      ? await answeredNumbers(met, features, options)
      : statedOutputs(output, architecture);
  if (options.saveOutput !== undefined)
    await writeWhole(
      options.saveOutput,
      `${JSON.stringify(numbersOf(architecture, outputs), undefined, 2)}\n`,
    );
  return outputs;
}

/** The numbers that the model gives now. Throws `terms-refused` where its answers do not hold them. */
async function answeredNumbers(
  met: Met,
  features: Int32Array,
  options: Network & { readonly policy?: string | undefined },
): Promise<readonly number[]> {
  const { answers, scores } = await answerNow(met, Array.from(features, String), options);
  if (answers === 'exact' && scores) return scores;
  throw new VouchError(
    'terms-refused',
    'the vendor does not let answers hold exact numbers, so that they cannot be proved either',
  );
}

/** What the model says now, by its enclave's receipt. */
async function answerNow(
  { bus, source, published }: Met,
  cells: readonly string[],
  options: Network & { readonly policy?: string | undefined },
) {
  const policy = findPolicy('inference', options.policy, kitOf(options.creds));
  const service = await verifyService(bus, source, published.manifest.name, policy, published);
  const made = await infer(bus, source, service, policy, [...cells]);
  return made.answer;
}
