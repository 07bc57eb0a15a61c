/**
 * The command line. Exit codes: 0 done, 1 failed or refused, 2 wrong use. What a program reads goes to stdout,
 * everything else to stderr.
 */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { RemoteError } from '../../protocols/envelope.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import type { ProviderName } from '../attest/provider.ts';
import type { EngineName } from '../prove/host-engine.ts';
import type { AuditCommand } from './audit.ts';
import type { HostEvidenceCommand } from './evidence.ts';
import type { NetworkOptions } from './network.ts';
import type { InitOptions } from './policy.ts';
import type { VerifyCommand } from './verify.ts';
import type { EvidenceCommand } from './verify-evidence.ts';

/** Codes that mean "you asked for something that cannot be": wrong use, exit 2. */
const WRONG_USE = new Set([
  'bad-token',
  'bad-input',
  'bad-file',
  'too-large',
  'unknown-model',
  'nats-unreachable',
  'nats-credentials',
  'nats-feature',
  'storage-full',
  'busy',
]);
const INTERRUPTED = 130;
/** What the system says of a full disk, where nobody has put it into words before. */
const FULL: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT']);

// Whoever reads us may stop reading: head, grep -q.
process.stdout.on('error', () => process.exit());

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const print = (value: unknown): void =>
  void process.stdout.write(`${typeof value === 'string' ? value : JSON.stringify(value)}\n`);

let interrupted = false;

/** Aborted by the first Ctrl-C or SIGTERM; a second one ends the process at once. */
function interruption(): AbortSignal {
  const controller = new AbortController();
  const onSignal = () => {
    if (controller.signal.aborted) process.exit(INTERRUPTED);
    say(process.stderr.isTTY ? '\nstopping; once more to end at once' : 'stopping');
    interrupted = true;
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

/** As in runtime/attest/provider.ts, which is too much to load for help. */
const PROVIDERS = ['simulated', 'configfs-tsm'] as const;
const ENGINES = ['auto', 'webgpu', 'wasm'] as const satisfies readonly EngineName[];
/** Heard by this process and by those that it starts. */
function allowSimulator(told: boolean): void {
  if (told) process.env.VOUCH_SIMULATED = '1';
}

const program = new Command('vouch')
  .description('Private AI inference that vouches for itself.')
  .showHelpAfterError('(--help says how)')
  // Options after a command's name are that command's, also where its parent has some of the same name.
  .enablePositionalOptions()
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
  .option('--verbose', 'print every check, not only how many there are', false)
  .option('--simulated', 'let the simulator start beside a real TEE', false)
  .action(
    async (options: {
      once: boolean;
      json: boolean;
      data?: string;
      nats?: string;
      port?: number;
      workers: number;
      verbose: boolean;
      simulated: boolean;
    }) => {
      allowSimulator(options.simulated);
      if (options.json && !options.once)
        throw new VouchError('bad-input', '--json: expected --once beside it');
      const signal = interruption();
      const [{ runDemo }, { passed }] = await Promise.all([
        import('../demo/start.ts'),
        import('../demo/report.ts'),
      ]);
      const { result, stop } = await runDemo({ ...options, signal });
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

/** Where the server is and who we are there, as typed or as `npm start` left it. */
const network = async (options: NetworkOptions) => (await import('./network.ts')).networkOf(options);

networked(
  program
    .command('start')
    .description('start actors on this host: enclave, gpu, runner, worker, coordinator, broker, monitor')
    .argument('<roles...>', 'one or several roles, for example: worker, or: enclave gpu runner')
    .option('--id <id>', "the actors' id, as in their credentials; default: theirs, else local-1")
    .option('--model <name>', 'the model that a runner serves')
    .option('--threads <n>', "threads of a worker's or coordinator's pool", whole(1, 64))
    .addOption(
      new Option(
        '--engine <name>',
        'what a worker multiplies with (default: auto, the GPU where there is one), and a coordinator transforms with (default: wasm)',
      ).choices(ENGINES),
    )
    .option('--gpu-memory <MiB>', 'what keys and points may take of a GPU', whole(16, 2 ** 20))
    .option('--shard-points <n>', "points of a coordinator's shards at most", whole(16, 1 << 20))
    .option(
      '--policy <file>',
      "what the evidence of others has to satisfy; default: beside the credentials, else this installation's",
    )
    .option(
      '--pci <address>',
      'the GPU that a gpu actor hands to a VM, such as 0000:65:00.0; again for what has to go with it',
      (address: string, before: string[] | undefined) => [...(before ?? []), address],
    )
    .option('--vm-owner <uid:gid>', "who may open the GPU's VFIO group; default: unchanged")
    .option('--cc-tool <program>', "what tells a GPU's CC mode; default: nvidia_gpu_tools.py")
    .addOption(new Option('--provider <name>', 'who makes evidence; default: simulated').choices(PROVIDERS))
    .option('--simulated', 'let the simulator start beside a real TEE', false)
    .option('--port <port>', "the monitor's port; default: a free one", whole(1, 65_535)),
).action(
  async (
    roles: string[],
    options: NetworkOptions & {
      id?: string;
      model?: string;
      threads?: number;
      engine?: EngineName;
      gpuMemory?: number;
      shardPoints?: number;
      policy?: string;
      pci?: string[];
      vmOwner?: string;
      ccTool?: string;
      provider?: ProviderName;
      simulated: boolean;
      port?: number;
    },
  ) => {
    allowSimulator(options.simulated);
    const signal = interruption();
    const { startCommand } = await import('./start.ts');
    const starting = startCommand(roles, { ...options, ...(await network(options)) }, say);
    // What is not up yet has nothing to drain: it ends with the process.
    const running = await Promise.race([starting, aborted(signal)]);
    if (!running) throw new VouchError('cancelled', 'stopped');
    const how = await Promise.race([aborted(signal), running.over]);
    if (how === 'failed') process.exitCode = 1;
    await running.stop();
  },
);

networked(
  program
    .command('infer')
    .description('seal applications to a model, print decisions and receipts')
    .argument('<model>')
    .argument(
      '<file>',
      'rows as JSON (arrays of cells, or objects by column name) or separated by commas or spaces; - for stdin',
    )
    .option('--policy <file>', "what the enclave's evidence has to satisfy; default: this installation's")
    .option('--json', 'one JSON object per application', false),
).action(
  async (model: string, file: string, options: NetworkOptions & { policy?: string; json: boolean }) => {
    const { inferCommand } = await import('./infer.ts');
    await inferCommand(model, file, { ...options, ...(await network(options)) }, print);
  },
);

networked(
  program
    .command('prove')
    .description('demand a proof of the quality of a model')
    .argument('<model>')
    .option('--test-set <file>', 'labelled rows; default: those that this host keeps for the model')
    .option(
      '--threshold <t>',
      'at least so many rows; default: 3 points above what a constant answer scores',
      whole(0, 65_536),
    )
    .option('--policy <file>', "what the prover's evidence has to satisfy; default: this installation's")
    .option('--out <file>', 'where the proof goes; default: .vouch/proofs/<job>.json')
    .option('--json', 'print the published proof', false),
).action(
  async (
    model: string,
    options: NetworkOptions & {
      testSet?: string;
      threshold?: number;
      policy?: string;
      out?: string;
      json: boolean;
    },
  ) => {
    const signal = interruption();
    const { proveCommand } = await import('./prove.ts');
    await proveCommand(model, { ...options, ...(await network(options)) }, { say, print, signal });
  },
);

const verify = program
  .command('verify')
  .description('verify a receipt, an evidence document or a proof, offline')
  .enablePositionalOptions()
  .argument('<file>', 'a receipt bundle (.cose), an evidence document or a published proof (.json)')
  .option('--policy <file>', "what the evidence has to satisfy; default: this installation's")
  .option('--collateral <folder>', "what vendors publish about their hardware; default: this installation's")
  .option('--at <time>', 'judge hardware and collateral as of this time; default: now')
  .option('--nonce <hex>', 'what the evidence was asked for with, where you know it')
  .option('--test-set <file>', 'for a proof: the labelled rows that it is about')
  .option(
    '--trust-key <digest>',
    "for a proof whose key's origin is unproven: accept the verification key with this digest",
  )
  .option('--json', 'print the checks as JSON', false)
  .action(async (file: string, options: VerifyCommand) => {
    const { verifyCommand } = await import('./verify.ts');
    if (!(await verifyCommand(file, options, print))) process.exitCode = 1;
  });

verify
  .command('evidence')
  .description(
    'verify what hardware signed, offline: SGX, TDX and TPM quotes, SEV-SNP and NVIDIA GPU reports',
  )
  .argument(
    '<files...>',
    'the evidence and what belongs to it (certificates, keys, CRLs, TCB info, manifests, event log, PCR values), in any order',
  )
  .option('--policy <name>', 'genuine, strict, or a JSON file', 'strict')
  .option('--collateral <folder>', "what the files lack; default: this installation's")
  .option('--at <time>', 'judge as of this time, such as 2025-01-31T00:00:00Z; default: now')
  .option('--nonce <hex>', 'what GPU and TPM evidence has to answer')
  .option('--json', 'print {verdict, checks, claims} as JSON', false)
  .action(async (files: string[], options: EvidenceCommand) => {
    const { verifyEvidenceFiles } = await import('./verify-evidence.ts');
    if (!(await verifyEvidenceFiles(files, options, print))) process.exitCode = 1;
  });

program
  .command('evidence')
  .description("this host's own evidence: of its TEE through configfs-tsm, of its NVIDIA GPUs, or SIMULATED")
  .requiredOption('--nonce <hex>', 'what it has to answer, 16 to 64 bytes')
  .addOption(new Option('--provider <name>', 'default: the TEE where one is found').choices(PROVIDERS))
  .addOption(new Option('--gpu <name>', 'evidence of GPUs, too').choices(['nvidia', 'simulated']))
  .option('--simulated', 'let the simulator start beside a real TEE', false)
  .option('--out <file>', 'where it goes; default: stdout')
  .action(async (options: HostEvidenceCommand & { simulated: boolean }) => {
    allowSimulator(options.simulated);
    const { hostEvidence } = await import('./evidence.ts');
    await hostEvidence(options, print, say);
  });

program
  .command('collateral')
  .description('what vendors publish about their hardware, for offline verification')
  .command('add')
  .description('put files into the folder of collateral, each under its digest')
  .argument('<files...>', 'TCB info, QE identity, CRLs, certificates, manifests')
  .option('--collateral <folder>', "default: this installation's")
  .action(async (files: string[], options: { collateral?: string }) => {
    const { addCollateral } = await import('../attest/collateral.ts');
    for (const file of await addCollateral(files, options.collateral)) print(file);
  });

const policy = program.command('policy').description('what is demanded of evidence');

policy
  .command('init')
  .description('write a strict policy from evidence at hand')
  .argument('<files...>', 'the evidence and what belongs to it, in any order')
  .option('--out <file>', 'where the policy goes; default: stdout')
  .option('--collateral <folder>', "what the files lack; default: this installation's")
  .option('--at <time>', 'judge as of this time; default: now')
  .option('--nonce <hex>', 'what GPU and TPM evidence has to answer')
  .action(async (files: string[], options: InitOptions) => {
    const { initPolicy } = await import('./policy.ts');
    await initPolicy(files, options, print, say);
  });

policy
  .command('explain')
  .description('say in plain words what a policy accepts')
  .argument('[policy]', 'genuine, strict, or a JSON file', 'strict')
  .action(async (name: string) => {
    const { explain } = await import('./policy.ts');
    explain(name, print);
  });

policy
  .command('schema')
  .description('print the JSON Schema of policies (docs/policy.schema.json)')
  .action(async () => {
    const { policySchema } = await import('../../protocols/attestation/policy.ts');
    print(JSON.stringify(policySchema(), null, 2));
  });

networked(
  program
    .command('setup')
    .description(
      'make a key the ceremony way: from a public powers-of-tau file and a contribution, with snarkjs',
    )
    .requiredOption('--ptau <file>', 'a .ptau file prepared for phase 2')
    .option('--model <name>', 'the model, as published; default: that of the last npm start')
    .option('--test-set <file>', 'labelled rows; default: those that this host keeps for the model'),
).action(async (options: NetworkOptions & { ptau: string; model?: string; testSet?: string }) => {
  const signal = interruption();
  const { setupCommand } = await import('./setup.ts');
  await setupCommand({ ...options, ...(await network(options)) }, say, signal);
});

const groth16 = program
  .command('groth16')
  .description("Groth16 with snarkjs's files, as its g16p, g16f and g16v")
  .enablePositionalOptions();
interface ProverChoice {
  threads?: number;
  tables?: number;
  engine: EngineName;
}
const prover = (command: Command): Command =>
  command
    .option('--threads <n>', "default: the machine's cores", whole(1, 64))
    .option(
      '--tables <MiB>',
      "tables of the key's points up to this size, kept for later proofs",
      whole(1, 3584),
    )
    .addOption(
      new Option('--engine <name>', 'who makes the sums: threads, the GPU, or both where there is a GPU')
        .choices(ENGINES)
        .default('wasm'),
    );

prover(
  groth16
    .command('prove')
    .description('a proof from a proving key and a witness')
    .argument('[zkey]', 'the proving key', 'circuit_final.zkey')
    .argument('[witness]', 'the witness', 'witness.wtns')
    .argument('[proof]', 'where the proof goes', 'proof.json')
    .argument('[public]', 'where the public signals go', 'public.json'),
).action(async (zkey: string, witness: string, proof: string, signals: string, options: ProverChoice) => {
  const signal = interruption();
  const { proveFiles } = await import('./groth16.ts');
  await proveFiles({ zkey, witness, proof, public: signals }, options, signal);
});

prover(
  groth16
    .command('fullprove')
    .description("a proof from a circuit's inputs")
    .argument('[input]', 'the inputs as JSON', 'input.json')
    .argument('[wasm]', "circom's witness calculator", 'circuit.wasm')
    .argument('[zkey]', 'the proving key', 'circuit_final.zkey')
    .argument('[proof]', 'where the proof goes', 'proof.json')
    .argument('[public]', 'where the public signals go', 'public.json'),
).action(
  async (
    input: string,
    wasm: string,
    zkey: string,
    proof: string,
    signals: string,
    options: ProverChoice,
  ) => {
    const signal = interruption();
    const { proveInput } = await import('./groth16.ts');
    await proveInput({ input, wasm, zkey, proof, public: signals }, options, signal);
  },
);

groth16
  .command('verify')
  .description('whether a proof holds')
  .argument('[key]', 'the verification key', 'verification_key.json')
  .argument('[public]', 'the public signals', 'public.json')
  .argument('[proof]', 'the proof', 'proof.json')
  .action(async (key: string, signals: string, proof: string) => {
    const { verifyFiles } = await import('./groth16.ts');
    if (!(await verifyFiles({ key, public: signals, proof }, print))) process.exitCode = 1;
  });

networked(
  program
    .command('status')
    .description('who is there: actors and their states')
    .option('--json', 'one JSON object', false),
).action(async (options: NetworkOptions & { json: boolean }) => {
  const { statusCommand } = await import('./status.ts');
  await statusCommand({ ...options, ...(await network(options)) }, print);
});

networked(
  program
    .command('model')
    .description('models of your own')
    .command('add')
    .description('publish an ONNX file: quantised, committed, sealed, its key with this host key-broker')
    .argument('<name>')
    .argument('<file>', 'ONNX: a multilayer perceptron over the features of the data')
    .requiredOption('--data <file>', 'labelled rows: 70 % calibrate the integers, the rest is the test set')
    .option(
      '--brokers <k/n>',
      'split the key: any k of n key-brokers (broker-1 to broker-n, or named: 2/a,b,c) give it back',
      '1/1',
    )
    .option('--json', 'one JSON object', false),
).action(
  async (
    name: string,
    file: string,
    options: NetworkOptions & { data: string; brokers: string; json: boolean },
  ) => {
    const { addModelCommand } = await import('./model.ts');
    await addModelCommand(name, file, { ...options, ...(await network(options)) }, print);
  },
);

networked(
  program
    .command('audit')
    .description('what key-brokers have released and refused: every record printed, every link checked')
    .argument('[file]', 'records as --out or .vouch/audits has them, offline; default: those in the stream')
    .option('--broker <id>', 'of this broker only')
    .option('--key <hex>', "the broker's audit key; default: this installation's")
    .option('--head <digest>', 'a record seen before, which still has to be there')
    .option('--out <file>', 'keep the records for another day')
    .option('--json', 'one JSON array, a chain each', false),
).action(async (file: string | undefined, options: AuditCommand) => {
  const { auditCommand } = await import('./audit.ts');
  if (!(await auditCommand(file, options, print))) process.exitCode = 1;
});

program
  .command('creds')
  .description('make what actors on another host need: credentials, policies, a SIMULATED platform')
  .argument('<roles...>', 'for example: worker, or: enclave gpu runner, or: client')
  .requiredOption('--id <id>', "the actors' id")
  .option('--out <folder>', 'where the files go; whoever has them can be these actors', '.')
  .option('--days <n>', 'how long they are good', whole(1, 3650), 30)
  .action(async (roles: string[], options: { id: string; out: string; days: number }) => {
    const { writeKit } = await import('../installation/credentials.ts');
    for (const file of await writeKit(roles, options)) print(file);
  });

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else if (interrupted) {
    // Whatever failed did so because it was stopped.
    say('vouch: stopped');
    process.exitCode = INTERRUPTED;
  } else if (error instanceof VouchError) {
    say(`vouch: ${error.message}`);
    process.exitCode = exitCodeOf(error);
  } else if (FULL.has((error as NodeJS.ErrnoException)?.code ?? '')) {
    say(`vouch: the disk is full (${messageOf(error)}); free some space and try again`);
    process.exitCode = 2;
  } else {
    say(`vouch: this is a defect: ${error instanceof Error ? error.stack : messageOf(error)}`);
    process.exitCode = 1;
  }
}
// Everything of ours is closed by now; timers and thread pools of libraries would hold the process for seconds.
process.stdout.write('', () => process.stderr.write('', () => process.exit()));

/** What another party refuses is a failure, not our wrong use. */
function exitCodeOf(error: VouchError): number {
  return WRONG_USE.has(error.code) && !(error instanceof RemoteError) ? 2 : 1;
}
