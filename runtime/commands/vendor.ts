/** `vouch vendor`: the key that signs the manifests of this installation's models, and by which clients know them. */
import type { Command } from '@commander-js/extra-typings';
import { VouchError } from '../../protocols/errors.ts';
import { knownVendor, vendorKeyFile, vendorName, vendorSigner } from '../models/vendor-key.ts';
import { type Print, print } from './terminal.ts';

const json = (command: Command) => command.option('--json', 'one JSON object', false);

export function define(command: Command): void {
  json(command.command('init').description('make the vendor key of this installation')).action((options) =>
    initVendor(options, print),
  );
  json(
    command.command('show').description('print the public key and its fingerprint, which clients pin'),
  ).action((options) => showVendor(options, print));
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
