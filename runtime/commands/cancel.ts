/** `vouch cancel`: takes back a proof that was asked for from this home. */
import type { Command } from '@commander-js/extra-typings';
import { cancelProof } from '../client/proof-request.ts';
import { dropTicket, readTicket } from '../client/tickets.ts';
import { networked } from './declaration.ts';
import { asClient, type Network, networkOf } from './network.ts';
import { type Print, print } from './terminal.ts';

export const define = (command: Command) =>
  networked(command)
    .argument('<job>', 'its id, as vouch prove and the monitor show it')
    .action((job, options) => cancelCommand(job, networkOf(options), print));

export async function cancelCommand(job: string, network: Network, print: Print): Promise<void> {
  const ticket = readTicket(job);
  const stopped = await asClient(network, (bus, source) => cancelProof(bus, source, ticket));
  await dropTicket(job);
  print(
    stopped
      ? `cancelled\t${job}`
      : `withdrawn\t${job}\tno coordinator works on it now; if it still waits it is dropped when its turn comes`,
  );
}
