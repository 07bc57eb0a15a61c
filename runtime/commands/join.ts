/**
 * `vouch join`: makes this host a worker of somebody else's installation. It finds the GPU and tests it, takes its
 * evidence from the TEE where there is one, and works until Ctrl-C or the end of the invitation.
 */
import type { Command } from '@commander-js/extra-typings';
import { isInvitation } from '../../protocols/invitation.ts';
import { teeFound } from '../attest/providers.ts';
import { readText } from '../home/files.ts';
import type { Log } from '../home/log.ts';
import { acceptInvitation, type Joined } from '../installation/invitations.ts';
import {
  allowSimulator,
  engineOption,
  gpuShareOption,
  gpuTurnsOption,
  loggingOf,
  logLevelOption,
  logOption,
  type OptionsOf,
  providerOption,
  simulatedOption,
  vulnerableOption,
  waitOption,
  whole,
} from './declaration.ts';
import { runUntilOver, type StartCommand } from './start.ts';
import { logAs, readStdin, say } from './terminal.ts';

const MAX_LINK_BYTES = 64 * 1024;

const declared = (command: Command) =>
  command
    .argument(
      '<link>',
      'what vouch invite printed; a file that holds it; or - for standard input, which no other user sees',
    )
    .option('--threads <n>', 'threads that multiply; default: 1', whole(1, 64))
    .addOption(engineOption('what multiplies; default: auto, the GPU where there is one'))
    .option('--gpu-memory <MiB>', 'what points may take of a GPU', whole(16, 2 ** 20))
    .addOption(gpuShareOption())
    .addOption(gpuTurnsOption())
    .option(
      '--bases-disk <MiB>',
      'what points may take of the disk; 0 keeps none; default 8192',
      whole(0, 2 ** 30),
    )
    .addOption(providerOption("who makes evidence; default: this host's TEE, simulated where there is none"))
    .option(
      '--keep',
      'keep what the link brings and end: a worker of this id that runs here goes on with it',
      false,
    )
    .addOption(logOption())
    .addOption(logLevelOption())
    .addOption(waitOption())
    .addOption(vulnerableOption())
    .addOption(simulatedOption);

export const define = (command: Command) =>
  declared(command).action(async (link, options) => {
    // The link is a secret, and a command line is for everybody on this host to see.
    process.title = 'vouch join';
    allowSimulator(options.simulated);
    await logAs(loggingOf(options));
    const joined = await acceptInvitation(await linkFrom(link));
    if (options.keep) {
      say(`kept in ${joined.creds}, good until ${joined.expires.toISOString()}`);
      return;
    }
    await runUntilOver(['worker'], workerOf(joined, options, say), say);
  });

async function linkFrom(text: string): Promise<string> {
  if (isInvitation(text)) return text;
  return text === '-' ? readStdin(MAX_LINK_BYTES) : readText(text, 'invitation', MAX_LINK_BYTES);
}

/** What `vouch start worker` would be told. */
export function workerOf(
  { id, expires, url, creds }: Joined,
  {
    provider,
    simulated,
    keep: _,
    allowVulnerableServer: __,
    log: ___,
    logLevel: ____,
    ...options
  }: OptionsOf<typeof declared>,
  say: Log,
): StartCommand {
  const tee = simulated ? undefined : teeFound();
  const chosen = provider ?? (tee === undefined ? 'simulated' : 'configfs-tsm');
  say(`joining as worker ${id} at ${url}, until ${expires.toISOString()}`);
  say(
    chosen === 'simulated'
      ? 'evidence: SIMULATED, as this host has no TEE that is known here'
      : `evidence: by ${chosen}${tee === undefined ? '' : ` (${tee})`}`,
  );
  return { ...options, id, url, creds, provider: chosen };
}
