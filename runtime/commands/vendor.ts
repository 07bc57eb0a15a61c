/** `vouch vendor`: the key that signs the manifests of this installation's models, and by which clients know them. */
import type { Command } from '@commander-js/extra-typings';
import { VouchError } from '../../protocols/errors.ts';
import { writeWhole } from '../home/files.ts';
import { knownVendor, vendorKeyFile, vendorName, vendorSigner } from '../models/vendor-key.ts';
import { appendToLog, ownLog } from '../models/vendor-log.ts';
import type { OptionsOf } from './declaration.ts';
import { type Print, print, say } from './terminal.ts';

const json = (command: Command) => command.option('--json', 'one JSON object', false);

const logging = (command: Command) =>
  json(command)
    .option(
      '--add <root>',
      'of a test set, as vouch data seal prints it: yours, or that of somebody who keeps the rows',
    )
    .option('--public', 'with --add: the rows were public before', false)
    .option('--out <file>', 'where the log goes, for those who verify');

export function define(command: Command): void {
  json(command.command('init').description('make the vendor key of this installation')).action((options) =>
    initVendor(options, print),
  );
  json(
    command.command('show').description('print the public key and its fingerprint, which clients pin'),
  ).action((options) => showVendor(options, print));
  logging(
    command
      .command('log')
      .description(
        'the log of test sets and models: printed, or a root added; models that are added later name it',
      ),
  ).action((options) => vendorLog(options, print));
}

/** Throws `conflict` where there is a key: clients would take its models for another's. */
export async function initVendor(options: { json: boolean }, print: Print): Promise<void> {
  if ((await knownVendor()) !== undefined) {
    throw new VouchError(
      'conflict',
      `${vendorKeyFile()}: there is a vendor key, by which clients know your models; to have another, move the file away first`,
    );
  }
  await vendorSigner();
  await showVendor(options, print);
}

/** Throws `bad-input` for what is no root, and `conflict` where the log is that of another key. */
export async function vendorLog(options: OptionsOf<typeof logging>, print: Print): Promise<void> {
  const { add: root, out } = options;
  if (root !== undefined) {
    if (!/^[0-9a-f]{64}$/.test(root))
      throw new VouchError('bad-input', '--add: expected the root of a test set, 64 hex digits');
    await appendToLog(await vendorSigner(say), { kind: 'test-set', root, public: options.public });
  }
  const log = ownLog();
  if (out !== undefined) await writeWhole(out, `${JSON.stringify(log, undefined, 1)}\n`, { mode: 0o644 });
  if (options.json) print(log);
  else
    for (const { entry } of log)
      print(
        `${entry.number}\t${entry.time}\t${entry.kind === 'test-set' ? `test set\troot ${entry.root}${entry.public ? '\tpublic' : ''}` : `model ${entry.name}\tcommitment ${entry.commitment}`}`,
      );
}

/** Throws `bad-file` where there is none. */
export async function showVendor(options: { json: boolean }, print: Print): Promise<void> {
  const vendor = await knownVendor();
  if (vendor === undefined) {
    throw new VouchError(
      'bad-file',
      `${vendorKeyFile()}: there is no vendor key yet; vouch vendor init makes it`,
    );
  }
  const { key, fingerprint } = vendorName(vendor);
  if (options.json) print({ key, fingerprint });
  else {
    print(`public key   ${key}`);
    print(`fingerprint  ${fingerprint}`);
  }
}
