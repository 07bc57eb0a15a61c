/** `vouch revoke`: voids credentials before they end by themselves. */
import { type Command, Option } from '@commander-js/extra-typings';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { ROLES, type Role, token } from '../../protocols/subjects.ts';
import { folder } from '../home/home.ts';
import { readRunning } from '../home/running.ts';
import { authority } from '../installation/credentials.ts';
import { announceRevocations } from '../installation/revocation.ts';
import { type Print, print } from './terminal.ts';

export const define = (command: Command) =>
  command
    .argument('<id>', 'whose credentials, as vouch creds was told')
    .addOption(new Option('--role <role>', 'of this role only').choices(ROLES))
    .option('--nats <url>', 'the NATS server that is to cut them off; default: that of .vouch/context.json')
    .action((id, options) => revokeCommand(id, options, print));

/**
 * Throws `bad-input` for an id that nobody has credentials for, and what connecting throws: the revocation is written
 * down then, and the server reads it when it starts.
 */
export async function revokeCommand(
  id: string,
  { role, nats }: { role?: Role | undefined; nats?: string | undefined },
  print: Print,
): Promise<void> {
  const ours = await authority();
  const struck = await ours.revoke(token(id, 'id'), role);
  if (struck.length === 0) {
    throw new VouchError(
      'bad-input',
      `revoke: expected an id for which this installation has made credentials that still hold, got ${role ?? 'any role'} ${id}`,
    );
  }
  for (const user of struck) print(`revoked\t${user.role}\t${user.id}\t${user.key}`);
  const url = nats ?? urlHere();
  if (url === undefined) {
    print(`no server is running here: it holds from the next start with ${folder('nats', 'authority.conf')}`);
    return;
  }
  try {
    await announceRevocations(url, ours);
  } catch (error) {
    if (!(error instanceof VouchError)) throw error;
    throw new VouchError(
      error.code,
      `revoke: written down, but the server was not told (${messageOf(error)}); whoever is connected stays until it restarts or is told by: vouch revoke ${id} --nats URL`,
    );
  }
  print(`cut off at ${url}`);
}

function urlHere(): string | undefined {
  try {
    return readRunning().url;
  } catch {
    return undefined;
  }
}
