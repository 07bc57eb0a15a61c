/**
 * `vouch provision`: what `npm start` does for the NATS server that it starts, for one of your own: its configuration, and
 * then streams, buckets and consumers. Both can be repeated: what is there and right stays as it is.
 */
import type { Command } from '@commander-js/extra-typings';
import { folder } from '../home/home.ts';
import { authority, credentials, idIn } from '../installation/credentials.ts';
import { ensureTlsAuthority } from '../installation/tls-authority.ts';
import { isLoopback, namesOf, parseAddress } from '../nats/address.ts';
import { connect } from '../nats/connect.ts';
import { provision } from '../nats/provision.ts';
import { writeServerConf } from '../nats/server.ts';
import { networked } from './declaration.ts';
import { type Network, networkOf } from './network.ts';
import { type Print, print, say } from './terminal.ts';

const USUAL_PORT = 4222;
const PROVISIONER = 'host-1';

export const define = (command: Command) =>
  networked(command)
    .option(
      '--write-config <host[:port]>',
      'only write the configuration of a server that listens there, with TLS beyond loopback; prints how to start it',
    )
    .action(({ writeConfig, ...options }) =>
      writeConfig === undefined
        ? provisionCommand(networkOf(options), print)
        : configureCommand(writeConfig, print),
    );

/** Prints what was made, a line each. Throws `conflict` for what is there with other settings, and what connecting throws. */
export async function provisionCommand({ url, creds }: Network, print: Print): Promise<void> {
  const id = idIn(creds, 'provisioner') ?? PROVISIONER;
  const bus = await connect({ url, creds: await credentials('provisioner', id, creds), warn: say });
  try {
    const { created } = await provision(bus);
    for (const name of created) print(`made\t${name}`);
    if (created.length === 0) say('everything was there');
  } finally {
    await bus.close();
  }
}

/** Prints the command that starts the server. */
async function configureCommand(listen: string, print: Print): Promise<void> {
  const { host, port = USUAL_PORT } = parseAddress(listen, '--write-config');
  await authority();
  const tls = isLoopback(host) ? undefined : (await ensureTlsAuthority(folder())).issue(namesOf(host));
  const file = await writeServerConf(folder(), { durable: true, tls });
  print(`nats-server -c ${file} -a ${host} -p ${port}`);
}
