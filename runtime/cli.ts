/**
 * The command line. Exit codes: 0 done, 1 failed or refused, 2 wrong use. What a program reads goes to stdout,
 * everything else to stderr.
 */
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { messageOf, VouchError } from '../protocols/errors.ts';

/** Codes that mean "you asked for something that cannot be": wrong use, exit 2. */
const WRONG_USE = new Set([
  'bad-token',
  'bad-input',
  'bad-file',
  'too-large',
  'unknown-model',
  'unknown-statement',
  'nats-unreachable',
  'nats-credentials',
  'nats-feature',
  'storage-full',
]);

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const print = (value: unknown): void =>
  void process.stdout.write(`${typeof value === 'string' ? value : JSON.stringify(value)}\n`);

/** Aborted by the first Ctrl-C or SIGTERM; a second one ends the process at once. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  const onSignal = () => {
    if (controller.signal.aborted) process.exit(130);
    say('\nstopping; once more to end at once');
    controller.abort();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  process.on('SIGHUP', onSignal);
  return controller.signal;
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) =>
    signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve(), { once: true }),
  );

const whole =
  (least: number, most: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least || value > most) {
      throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}.`);
    }
    return value;
  };

const program = new Command('vouch')
  .description('Private AI inference that vouches for itself.')
  .showHelpAfterError('(--help says how)')
  .exitOverride();

program
  .command('demo')
  .description('the main job, end to end (npm start)')
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
  .option('--workers <n>', 'MSM workers', whole(1, 64), 2)
  .action(
    async (options: {
      once: boolean;
      json: boolean;
      data?: string;
      nats?: string;
      port?: number;
      workers: number;
    }) => {
      if (options.json && !options.once)
        throw new VouchError('bad-input', '--json: expected --once beside it');
      const signal = interruption();
      const { runDemo } = await import('./demo/start.ts');
      const { result, stop } = await runDemo({ ...options, signal, say });
      try {
        if (options.json) print(result);
        const passed =
          result.proof.verified &&
          result.receipt.verified &&
          Object.values(result.refusals).every(Boolean) &&
          result.inferences.every(({ verified }) => verified);
        if (!passed) process.exitCode = 1;
        if (!options.once) {
          say('\nUp until Ctrl-C.');
          await aborted(signal);
        }
      } finally {
        await stop();
      }
    },
  );

/** Options of every command that speaks to NATS; defaults are those of the last `npm start`. */
const networked = (command: Command): Command =>
  command
    .option('--nats <url>', 'NATS server; default: that of .vouch/context.json')
    .option(
      '--creds <path>',
      'a .creds file or a folder of <role>_<id>.creds; default: that of .vouch/context.json',
    );

interface Network {
  nats?: string;
  creds?: string;
}

async function network(options: Network): Promise<{ url: string; creds: string }> {
  const { folder, readContext } = await import('./context.ts');
  if (options.nats) return { url: options.nats, creds: options.creds ?? folder('creds') };
  const context = readContext();
  return { url: context.url, creds: options.creds ?? context.creds };
}

networked(
  program
    .command('start')
    .description('start actors on this host: enclave, gpu, runner, worker, coordinator, broker, monitor')
    .argument('<roles...>', 'one or several roles, for example: worker, or: enclave gpu runner')
    .option('--id <id>', "the actors' id, as in their credentials", 'local-1')
    .option('--model <name>', 'the model that a runner serves')
    .option('--threads <n>', "threads of a worker's or coordinator's pool", whole(1, 64))
    .option('--policy <file>', 'what the evidence of others has to satisfy; default: .vouch/policies')
    .option('--port <port>', "the monitor's port; default: a free one", whole(1, 65_535)),
).action(
  async (
    roles: string[],
    options: Network & { id: string; model?: string; threads?: number; policy?: string; port?: number },
  ) => {
    const signal = interruption();
    const { startRolesFor } = await import('./commands.ts');
    const running = await startRolesFor(roles, { ...options, ...(await network(options)) }, say);
    await Promise.race([aborted(signal), running.lifeline, running.failed]);
    await running.stop();
  },
);

networked(
  program
    .command('infer')
    .description('seal applications to a model, print decisions and receipts')
    .argument('<model>')
    .argument('<file>', 'JSON (an array of cells, or of such arrays) or CSV; - for stdin')
    .option(
      '--policy <file>',
      "what the enclave's evidence has to satisfy; default: .vouch/policies/inference.json",
    )
    .option('--json', 'one JSON object per application', false),
).action(async (model: string, file: string, options: Network & { policy?: string; json: boolean }) => {
  const { inferFile } = await import('./commands.ts');
  await inferFile(model, file, { ...options, ...(await network(options)) }, print);
});

networked(
  program
    .command('prove')
    .description('demand a proof of the quality of a model')
    .argument('<model>')
    .option('--test-set <file>', 'labelled rows; default: those of the last npm start')
    .option(
      '--threshold <t>',
      'how many rows at least; default: that of the last npm start',
      whole(0, 65_536),
    )
    .option(
      '--policy <file>',
      "what the prover's evidence has to satisfy; default: .vouch/policies/prover.json",
    )
    .option('--out <file>', 'where the proof goes; default: .vouch/proofs/<job>.json')
    .option('--json', 'print the published proof', false),
).action(
  async (
    model: string,
    options: Network & { testSet?: string; threshold?: number; policy?: string; out?: string; json: boolean },
  ) => {
    const signal = interruption();
    const { proveModel } = await import('./commands.ts');
    await proveModel(model, { ...options, ...(await network(options)) }, { say, print, signal });
  },
);

program
  .command('verify')
  .description('verify a receipt or a proof, offline')
  .argument('<file>', 'a receipt bundle (.cose) or a published proof (.json)')
  .option('--policy <file>', 'what the evidence has to satisfy; default: .vouch/policies')
  .option('--test-set <file>', 'for a proof: the labelled rows that it is about')
  .option(
    '--trust-key <digest>',
    "for a proof whose key's origin is unproven: accept the key with this SHA-256",
  )
  .option('--json', 'print the checks as JSON', false)
  .action(
    async (
      file: string,
      options: { policy?: string; testSet?: string; trustKey?: string; json: boolean },
    ) => {
      const { verifyFile } = await import('./commands.ts');
      if (!(await verifyFile(file, options, print))) process.exitCode = 1;
    },
  );

program
  .command('setup')
  .description(
    'the ceremony path: a key from a public powers-of-tau file and your own contribution, with snarkjs',
  )
  .requiredOption('--ptau <file>', 'a .ptau file prepared for phase 2')
  .requiredOption('--model <name>', 'the model, as published')
  .option('--test-set <file>', 'labelled rows; default: those of the last npm start')
  .option('--nats <url>', 'NATS server; default: that of .vouch/context.json')
  .option('--creds <path>', 'credentials; default: those of .vouch/context.json')
  .action(async (options: Network & { ptau: string; model: string; testSet?: string }) => {
    const { ceremonySetup } = await import('./commands.ts');
    await ceremonySetup({ ...options, ...(await network(options)) }, say);
  });

networked(
  program
    .command('status')
    .description('who is there: actors, their states and ages')
    .option('--json', 'one JSON object', false),
).action(async (options: Network & { json: boolean }) => {
  const { showStatus } = await import('./commands.ts');
  await showStatus({ ...options, ...(await network(options)) }, print);
});

program
  .command('creds')
  .description('make credentials for an actor on another host')
  .argument('<role>')
  .requiredOption('--id <id>', "the actor's id")
  .option('--out <folder>', 'where the files go', '.')
  .option('--days <n>', 'how long they are good', whole(1, 3650), 30)
  .action(async (role: string, options: { id: string; out: string; days: number }) => {
    const { makeCredentials } = await import('./commands.ts');
    for (const file of await makeCredentials(role, options)) print(file);
  });

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else if (error instanceof VouchError) {
    say(`vouch: ${error.message}`);
    process.exitCode = error.code === 'cancelled' ? 130 : WRONG_USE.has(error.code) ? 2 : 1;
  } else {
    say(`vouch: this is a defect: ${error instanceof Error ? error.stack : messageOf(error)}`);
    process.exitCode = 1;
  }
}
// Thread pools of libraries may hold the process open; everything of ours is closed by now.
setTimeout(() => process.exit(), 2_000).unref();
