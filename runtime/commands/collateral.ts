/** `vouch collateral`: the folder of what vendors publish about their hardware. */
import type { Command } from '@commander-js/extra-typings';
import { addCollateral } from '../attest/collateral.ts';
import { print } from './terminal.ts';

export const define = (command: Command) =>
  command
    .command('add')
    .description('put files into the folder of collateral, each under its digest')
    .argument('<files...>', 'TCB info, QE identity, CRLs, certificates, manifests')
    .option('--collateral <folder>', "default: this installation's")
    .action(async (files, { collateral }) => {
      for (const file of await addCollateral(files, collateral)) print(file);
    });
