/** `vouch infer`: seals applications to a model and prints decisions, each with a receipt that was verified. */
import type { Command } from '@commander-js/extra-typings';
import { parseArchitecture } from '../../circuits/model/architecture.ts';
import { demandTabular } from '../../protocols/manifest.ts';
import { infer, verifyService } from '../client/client.ts';
import { keepDecision } from '../client/decisions.ts';
import { acquaint } from '../client/pins.ts';
import { demandWritableFolder, readText } from '../home/files.ts';
import { folder } from '../home/home.ts';
import type { Log } from '../home/log.ts';
import { kitOf } from '../installation/credentials.ts';
import { findPolicy } from '../installation/policies.ts';
import { readApplications } from '../models/applications.ts';
import { readManifest } from '../models/obtain.ts';
import { notChecked, skippedChecks } from '../verdict/checks.ts';
import { type OptionsOf, pinning } from './declaration.ts';
import { asClient, type Network, networkOf } from './network.ts';
import { type Print, print, readStdin, say } from './terminal.ts';

const MAX_INPUT_BYTES = 64 * 1024 * 1024;

const declared = (command: Command) =>
  pinning(command)
    .argument('<model>')
    .argument(
      '<file>',
      'rows as JSON (arrays of cells, or objects by column name) or separated by commas or spaces; - for stdin',
    )
    .option(
      '--policy <name>',
      "what the enclave's evidence has to satisfy: genuine, strict or a file; default: this installation's",
    )
    .option(
      '--receipts <folder>',
      'where each decision is kept for vouch verify FOLDER: receipt, application, answer, nonces, salts; default: .vouch/receipts',
    )
    .option('--json', 'one JSON object per application', false);

export const define = (command: Command) =>
  declared(command).action((model, file, options) =>
    inferCommand(model, file, { ...options, ...networkOf(options) }, print, say),
  );

/** One line per application. All rows are read and checked before the first is sealed. */
export async function inferCommand(
  model: string,
  file: string,
  options: Network & Pick<OptionsOf<typeof declared>, 'policy' | 'json' | 'vendor' | 'receipts'>,
  print: Print,
  say: Log = () => {},
): Promise<void> {
  const kept = options.receipts ?? folder('receipts');
  await demandWritableFolder(kept);
  const text =
    file === '-' ? await readStdin(MAX_INPUT_BYTES) : readText(file, 'applications', MAX_INPUT_BYTES);
  const policy = findPolicy('inference', options.policy, kitOf(options.creds));
  await asClient(options, async (bus, source) => {
    const published = await readManifest(bus, model);
    await acquaint(published, { vendor: options.vendor, policy, say });
    demandTabular(published.manifest);
    const { preprocessing } = parseArchitecture(published.manifest.architecture);
    const rows = readApplications(text, preprocessing);
    const service = await verifyService(bus, source, model, policy, published);
    let left = '';
    for (const row of rows) {
      const made = await infer(bus, source, service, policy, row);
      const { decision, label, answers, scores, provider, receiptId } = made.answer;
      const saved = await keepDecision(kept, service, row, made);
      const evidence = made.receipt.claims?.label;
      const { checks } = made.receipt;
      const held = scores === undefined ? {} : { scores };
      print(
        options.json
          ? {
              decision,
              label,
              answers,
              ...held,
              provider,
              receiptId,
              receipt: saved,
              evidence,
              notChecked: skippedChecks(checks),
            }
          : `${label}\t${evidence}\t${saved}`,
      );
      left = notChecked(checks);
    }
    say(left);
  });
}
