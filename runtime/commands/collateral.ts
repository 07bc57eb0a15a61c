/** `vouch collateral`: the folder of what vendors publish about their hardware. */
import type { Command } from '@commander-js/extra-typings';
import { addCollateral, fetchCollateral } from '../attest/collateral.ts';
import { print, say } from './terminal.ts';

const FOLDER = ['--collateral <folder>', "default: this installation's"] as const;

export function define(command: Command): void {
  command
    .command('add')
    .description('put files into the folder of collateral, each under its digest')
    .argument(
      '<files...>',
      'TCB info, QE identity, CRLs, OCSP responses, certificates, manifests, endorsements, Sigstore bundles',
    )
    .option(...FOLDER)
    .action(async (files, { collateral }) => {
      for (const file of await addCollateral(files, collateral)) print(file);
    });
  command
    .command('fetch')
    .description('ask vendors whether the certificates in files are revoked, and keep what they answer')
    .argument('<files...>', 'evidence, certificates, manifests')
    .option(...FOLDER)
    .option('--responder <url>', 'an OCSP responder to ask instead of those that the certificates name')
    .action(async (files, { collateral, responder }) => {
      const { added, faults } = await fetchCollateral(files, { directory: collateral, responder });
      for (const file of added) print(file);
      for (const fault of faults) say(fault);
      if (faults.length > 0 || added.length === 0) process.exitCode = 1;
    });
}
