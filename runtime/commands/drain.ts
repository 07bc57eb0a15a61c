/**
 * `vouch drain`: an actor finishes what it has, takes no more, and its process ends. It takes the credentials of a
 * supervisor, which this installation mints.
 */
import type { Command } from '@commander-js/extra-typings';
import { ControlReply, ControlRequest } from '../../protocols/enclave.ts';
import { VouchError } from '../../protocols/errors.ts';
import { ACTOR_KINDS, subjects } from '../../protocols/subjects.ts';
import { credentials, idIn } from '../installation/credentials.ts';
import { connect } from '../nats/connect.ts';
import { ask } from '../nats/service.ts';
import { networked } from './declaration.ts';
import { type Network, networkOf } from './network.ts';
import { type Print, print, say } from './terminal.ts';

export const define = (command: Command) =>
  networked(command)
    .argument('<role>', 'such as worker')
    .argument('<id>', 'such as worker-1')
    .action((role, id, options) => drainCommand(role, id, networkOf(options), print));

const OPERATOR = 'operator-1';
const DRAINABLE = ACTOR_KINDS.filter((kind) => kind !== 'proof-job');

/** Throws `bad-input` for what is no role, `no-responder` or `timeout` for an actor that is not there. */
export async function drainCommand(
  role: string,
  id: string,
  { url, creds }: Network,
  print: Print,
): Promise<void> {
  if (!DRAINABLE.some((known) => known === role))
    throw new VouchError('bad-input', `drain: expected a role among ${DRAINABLE.join(', ')}, got ${role}`);
  const own = idIn(creds, 'supervisor') ?? OPERATOR;
  const bus = await connect({ url, creds: await credentials('supervisor', own, creds), warn: say });
  try {
    const subject = subjects.control(role, id, 'drain');
    const question = { subject, source: `supervisor.${own}`, body: {} };
    const { body } = await ask(bus, [ControlRequest, ControlReply], question);
    print(`${role} ${id}\t${body.state}`);
  } finally {
    await bus.close();
  }
}
