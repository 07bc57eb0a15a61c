/** `vouch gateway`: a client of Vouch that speaks the Open Inference Protocol and OpenAI's API to programs of its owner. */
import type { Command } from '@commander-js/extra-typings';
import { readKeys } from '../gateway/guard.ts';
import { startGateway } from '../gateway/server.ts';
import { demandWritableFolder } from '../home/files.ts';
import type { Log } from '../home/log.ts';
import { kitOf } from '../installation/credentials.ts';
import { findPolicy } from '../installation/policies.ts';
import { parseAddress } from '../nats/address.ts';
import { loggingOf, logLevelOption, logOption, type OptionsOf, pinning, whole } from './declaration.ts';
import { asClient, type Network, networkOf } from './network.ts';
import { aborted, interruption, logAs, say } from './terminal.ts';
import { packageVersion } from './version.ts';

const DEFAULT_PORT = 8420;

const declared = (command: Command) =>
  pinning(command)
    .option(
      '--listen <host:port>',
      `where it listens; default: 127.0.0.1:${DEFAULT_PORT}; beyond loopback with --api-keys only`,
    )
    .option('--api-keys <file>', 'keys of whoever may ask, one a line, in a file of mode 0600')
    .option(
      '--host <name...>',
      'further names by which it is reached; requests under other names are refused',
    )
    .option(
      '--policy <name>',
      "what the enclave's evidence has to satisfy: genuine, strict or a file; default: this installation's",
    )
    .option(
      '--receipts <folder>',
      'where each decision or answer is kept, for vouch verify FOLDER; default: nowhere',
    )
    .option(
      '--requests <n>',
      'requests in hand at a time; more are answered 429; default: 64',
      whole(1, 4096),
    )
    .addOption(logOption())
    .addOption(logLevelOption());

export const define = (command: Command) =>
  declared(command).action(async (options) => {
    await logAs(loggingOf(options));
    await gatewayCommand({ ...options, ...networkOf(options) }, say);
  });

/** Serves until Ctrl-C. */
export async function gatewayCommand(
  options: Network &
    Pick<
      OptionsOf<typeof declared>,
      'listen' | 'apiKeys' | 'host' | 'policy' | 'receipts' | 'requests' | 'vendor'
    >,
  say: Log,
): Promise<void> {
  const { host, port = DEFAULT_PORT } = parseAddress(options.listen ?? '127.0.0.1', '--listen');
  const keys = options.apiKeys === undefined ? [] : readKeys(options.apiKeys);
  if (options.receipts !== undefined) await demandWritableFolder(options.receipts);
  const policy = findPolicy('inference', options.policy, kitOf(options.creds));
  const signal = interruption();
  await asClient(options, async (bus, source) => {
    const { vendor, receipts, requests } = options;
    const gateway = await startGateway({
      bus,
      source,
      policy,
      vendor,
      host,
      port,
      names: options.host,
      keys,
      receipts,
      requests,
      version: packageVersion(),
      log: say,
    });
    say(
      `gateway: ${gateway.url}/v2 and OpenAI's API at ${gateway.url}/v1, described at ${gateway.url}/openapi.json`,
    );
    await aborted(signal);
    await gateway.close();
  });
}
