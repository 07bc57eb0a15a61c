/** `vouch demo`: the main job, end to end, as `npm start` runs it. */
import type { Command } from '@commander-js/extra-typings';
import { VouchError } from '../../protocols/errors.ts';
import { parseAddress } from '../nats/address.ts';
import {
  allowSimulator,
  loggingOf,
  logLevelOption,
  logOption,
  type OptionsOf,
  simulatedOption,
  vulnerableOption,
  whole,
} from './declaration.ts';
import { aborted, interruption, print, say } from './terminal.ts';

const declared = (command: Command) =>
  command
    .option('--once', 'exit after the summary', false)
    .option('--json', 'print one JSON object on stdout; needs --once', false)
    .option(
      '--data <file>',
      'a labelled file in the format of Statlog German Credit, instead of generated sample data',
    )
    .option(
      '--nats <url>',
      "use this NATS server instead of starting one; it has to trust this installation's operator",
    )
    .option(
      '--port <port>',
      'port of the NATS server that is started; a free one is taken where it is in use',
      whole(1, 65_535),
    )
    .option(
      '--listen <host[:port]>',
      'serve other hosts too: the address, or 0.0.0.0 for all, that the NATS server listens on; beyond loopback by TLS',
    )
    .option(
      '--monitor-listen <host[:port]>',
      'the same for the monitor, which shows whoever reaches it who works on what',
    )
    .option(
      '--websocket <port>',
      'serve browsers too (vouch/client in a page), at this port of the same address',
      whole(1, 65_535),
    )
    .option('--no-tls', 'serve other hosts without TLS, where something else protects the way to them')
    .option('--workers <n>', 'MSM workers', whole(1, 64), 2)
    .addOption(logOption())
    .addOption(logLevelOption())
    .option('--verbose', 'print every check, not only how many there are', false)
    .addOption(vulnerableOption())
    .addOption(simulatedOption);

export const define = (command: Command) => declared(command).action(run);

async function run(options: OptionsOf<typeof declared>): Promise<void> {
  allowSimulator(options.simulated);
  // For the processes that it starts; what it says itself is for whoever watches.
  loggingOf(options);
  if (options.json && !options.once) throw new VouchError('bad-input', '--json: expected --once beside it');
  if (options.listen !== undefined && options.nats !== undefined)
    throw new VouchError('bad-input', '--listen: expected a server that is started here, got --nats too');
  const { listen, monitorListen } = options;
  const addresses = {
    listen: listen === undefined ? undefined : parseAddress(listen, '--listen'),
    monitorListen: monitorListen === undefined ? undefined : parseAddress(monitorListen, '--monitor-listen'),
  };
  const signal = interruption();
  const [{ runDemo }, { passed }] = await Promise.all([
    import('../demo/start.ts'),
    import('../demo/report.ts'),
  ]);
  const { result, stop } = await runDemo({ ...options, ...addresses, signal });
  try {
    if (options.json) print(result);
    if (!passed(result)) process.exitCode = 1;
    if (!options.once) {
      say('\nUp until Ctrl-C.');
      await aborted(signal);
    }
  } finally {
    await stop();
  }
}
