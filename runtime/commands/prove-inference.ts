/** `vouch prove inference`: demands a proof that a model gives one row one class, waits for it, checks it and keeps it. */
import type { Command } from '@commander-js/extra-typings';
import { parseArchitecture } from '../../circuits/model/architecture.ts';
import type { VerifiedManifest } from '../../protocols/manifest.ts';
import { infer, verifyService } from '../client/client.ts';
import { answeredRow, placeOf, readRow } from '../client/inference-proof.ts';
import { acquaint } from '../client/pins.ts';
import { demandProofSavable } from '../client/quality-proof.ts';
import type { Log } from '../home/log.ts';
import { kitOf } from '../installation/credentials.ts';
import { findPolicy } from '../installation/policies.ts';
import { readManifest } from '../models/obtain.ts';
import { demandSameDictionary, readDictionary } from '../models/test-sets.ts';
import type { Bus } from '../nats/bus.ts';
import { type OptionsOf, pinning } from './declaration.ts';
import { asClient, type Network, networkOf } from './network.ts';
import { provedBy } from './proving.ts';
import { interruption, type Print, print, say } from './terminal.ts';

const declared = (command: Command) =>
  pinning(command)
    .argument('<model>')
    .requiredOption('--input <file>', 'the row, as JSON or cells separated by commas; proof and key show it')
    .option('--output <class>', 'the class to be proved; default: what the model answers now')
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
  { say, print, signal }: { say: Log; print: Print; signal: AbortSignal },
): Promise<void> {
  await demandProofSavable(options.out);
  const policy = findPolicy('prover', options.policy, kitOf(options.creds));
  const own = options.dictionary === undefined ? undefined : readDictionary(options.dictionary);
  await asClient(options, async (bus, source) => {
    const published = await readManifest(bus, model);
    const { manifest } = published;
    await acquaint(published, { vendor: options.vendor, policy, say });
    const architecture = parseArchitecture(manifest.architecture);
    demandSameDictionary(own, architecture);
    const cells = readRow(options.input, architecture);
    const decision =
      options.output === undefined
        ? await answered(bus, source, { published, cells, options })
        : placeOf(options.output, architecture);
    const testSet = answeredRow(cells, decision, architecture);
    const asked = { manifest, testSet, decision };
    await provedBy(bus, source, asked, { policy, own, options, say, print, signal });
  });
}

/** What the model says now, by its enclave's receipt. */
async function answered(
  bus: Bus,
  source: string,
  {
    published,
    cells,
    options,
  }: {
    readonly published: VerifiedManifest;
    readonly cells: readonly string[];
    readonly options: Network & { readonly policy?: string | undefined };
  },
): Promise<number> {
  const policy = findPolicy('inference', options.policy, kitOf(options.creds));
  const service = await verifyService(bus, source, published.manifest.name, policy, published);
  const made = await infer(bus, source, service, policy, [...cells]);
  return made.answer.decision;
}
