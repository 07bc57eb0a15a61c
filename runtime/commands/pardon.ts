/**
 * `vouch pardon`: takes back that a worker was convicted of a wrong result, once somebody has found out why. It takes the
 * credentials of a provisioner, which this installation mints.
 */
import type { Command } from '@commander-js/extra-typings';
import { token } from '../../protocols/subjects.ts';
import { credentials, idIn } from '../installation/credentials.ts';
import { connect } from '../nats/connect.ts';
import { pardon } from '../roles/convictions.ts';
import { networked } from './declaration.ts';
import { type Network, networkOf } from './network.ts';
import { type Print, print, say } from './terminal.ts';

export const define = (command: Command) =>
  networked(command)
    .argument('<worker>', 'its id, as the proof or the coordinator names it')
    .action((worker, options) => pardonCommand(worker, networkOf(options), print));

const OPERATOR = 'operator-1';

/** Throws `bad-input` for a worker that nobody has convicted. */
export async function pardonCommand(worker: string, { url, creds }: Network, print: Print): Promise<void> {
  const own = idIn(creds, 'provisioner') ?? OPERATOR;
  const bus = await connect({ url, creds: await credentials('provisioner', own, creds), warn: say });
  try {
    const { job, coordinator, time } = await pardon(bus, token(worker, 'worker'));
    print(`pardoned\t${worker}\tit was convicted by ${coordinator} in job ${job}, ${time}; start it again`);
  } finally {
    await bus.close();
  }
}
