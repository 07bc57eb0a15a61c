/** `vouch cancel`: takes back a proof that was asked for from this home. */
import { cancelProof } from '../client/client.ts';
import { dropTicket, readTicket } from '../client/tickets.ts';
import { asClient, type Network, type Print } from './network.ts';

export async function cancelCommand(job: string, network: Network, print: Print): Promise<void> {
  const ticket = readTicket(job);
  const stopped = await asClient(network, (bus, source) => cancelProof(bus, source, ticket));
  await dropTicket(job);
  print(
    stopped
      ? `cancelled\t${job}`
      : `withdrawn\t${job}\tno coordinator works on it now; it is dropped when its turn comes`,
  );
}
