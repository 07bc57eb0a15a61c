/** `vouch invite`: a link by which a worker on another host joins. */
import { Argument, type Command } from '@commander-js/extra-typings';
import { VouchError } from '../../protocols/errors.ts';
import { readRunning } from '../home/running.ts';
import { inviteWorker } from '../installation/invitations.ts';
import { duration, type OptionsOf } from './declaration.ts';
import { type Print, print, say } from './terminal.ts';

const LEAST_SECONDS = 10;
const MOST_SECONDS = 365 * 86_400;

const declared = (command: Command) =>
  command
    .addArgument(new Argument('<role>', 'who joins').choices(['worker'] as const))
    .option(
      '--ttl <time>',
      'how long it is good, and the worker that joined by it may stay, such as 1h; default: 24h',
      duration(LEAST_SECONDS, MOST_SECONDS),
    )
    .option(
      '--id <id>',
      "the worker's id; a new one for an id that has joined lets it stay; default: a fresh one",
    )
    .option(
      '--nats <url>',
      'where the NATS server is for that host, several separated by commas; default: where npm start --listen says',
    );

export const define = (command: Command) =>
  declared(command).action((_role, options) => inviteCommand(options, print, say));

/** Prints the link alone, so that it can be piped to where it is needed. Throws `bad-input` where no other host could connect. */
export async function inviteCommand(
  { ttl, id, nats }: OptionsOf<typeof declared>,
  print: Print,
  say: (line: string) => void,
): Promise<void> {
  const servers = nats === undefined ? readRunning().servers : nats.split(',').map((url) => url.trim());
  if (servers.length === 0)
    throw new VouchError(
      'bad-input',
      'invite: NATS listens on this host only; start it with npm start -- --listen HOST, or name a server with --nats',
    );
  const invited = await inviteWorker(servers, {
    ...(id === undefined ? {} : { id }),
    ...(ttl === undefined ? {} : { ttlSeconds: ttl }),
  });
  print(invited.link);
  say(
    `This link is a secret: whoever has it can be worker ${invited.id} until ${invited.expires.toISOString()}, or until: vouch revoke ${invited.id}`,
  );
}
