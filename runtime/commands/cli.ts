/**
 * The command line: which commands there are, and how a command ends. Exit codes: 0 done, 1 failed or refused, 2 wrong
 * use. A command is declared in a file of its own, which is loaded when the command is named.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Command, CommanderError } from '@commander-js/extra-typings';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { RemoteError } from '../../protocols/remote-error.ts';
import { stayOutOfCoreFiles } from '../home/core-files.ts';
import { fileErrorOf } from '../home/files.ts';
import { configurationFile, LIFELINE, PACKAGE_ROOT } from '../home/home.ts';
import { spelledOut } from './snarkjs-words.ts';
import { INTERRUPTED, isStopping, say } from './terminal.ts';
import { versionLine, versionOf } from './version.ts';

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

const HOME_HELP = `
VOUCH_HOME names the folder with keys, credentials, policies and receipts; default: .vouch in the checkout. In it
vouch.config.json holds options that need not be typed (VOUCH_CONFIG names another file): flags win over the environment,
the environment over the file. docs/OPERATING.md says more.`;

// Whoever reads us may stop reading: head, grep -q.
process.stdout.on('error', () => process.exit());
// A full disk under a log, or a terminal that is gone, ends nothing.
process.stderr.on('error', () => {});

stayOutOfCoreFiles(say);
try {
  await run(process.argv.slice(2));
} catch (error) {
  process.exitCode = end(error);
}
// Everything of ours is closed by now; timers and thread pools of libraries would hold the process for seconds.
process.stdout.write('', () => process.stderr.write('', () => process.exit()));

async function run(given: readonly string[]): Promise<void> {
  const words = spelledOut(given);
  const version = words.includes('--version') ? versionLine(versionOf()) : '';
  const program = new Command('vouch')
    .description('Private AI inference that vouches for itself.')
    .version(version, '--version', 'print the version')
    .showHelpAfterError('(--help says how)')
    // Options after a command's name are that command's, also where its parent has some of the same name.
    .enablePositionalOptions()
    .exitOverride();
  program.addHelpText('after', HOME_HELP);
  const { addCommands } = await import('./commands.ts');
  const [name, of] = words.filter((word) => !word.startsWith('-'));
  await addCommands(program, (command) => name === 'completion' || command === (name === 'help' ? of : name));
  await configured(program, name);
  await program.parseAsync([...words], { from: 'user' });
}

/** Gives a command what vouch.config.json says of its options. */
async function configured(program: Command, name: string | undefined): Promise<void> {
  const file = configurationFile();
  const command = program.commands.find((each) => each.name() === name);
  // Who was started by another of ours was told everything; and no file keeps anybody from reading the help.
  if (!command || process.env[LIFELINE] !== undefined || !existsSync(file)) return;
  if (process.argv.includes('--help') || process.argv.includes('-h')) return;
  const { configure } = await import('./configuration.ts');
  configure(command, file);
}

/** Says why a command failed, and returns its exit code. */
function end(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (isStopping()) {
    // Whatever failed did so because it was stopped.
    say('vouch: stopped');
    return INTERRUPTED;
  }
  const known = error instanceof VouchError ? error : fileErrorOf(error);
  if (known) {
    say(`vouch: ${known.message}`, { level: 'error', code: known.code });
    // What another party refuses is a failure, not our wrong use.
    return WRONG_USE.has(known.code) && !(known instanceof RemoteError) ? 2 : 1;
  }
  const absent = absentPackage(error);
  if (absent !== undefined) {
    say(`vouch: ${absent}`);
    return 2;
  }
  const defect = error instanceof Error ? error.stack : messageOf(error);
  say(`vouch: this is a defect: ${defect}`, { level: 'error', code: 'internal' });
  return 1;
}

/** An installed package has only what its prover needs; a sentence where a command needs more. */
function absentPackage(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || error.code !== 'ERR_MODULE_NOT_FOUND')
    return undefined;
  const [, name] = /Cannot find package '([^']+)'/.exec(error.message) ?? [];
  const { peerDependencies = {} } = JSON.parse(readFileSync(path.join(PACKAGE_ROOT, 'package.json'), 'utf8'));
  if (name === undefined || !Object.hasOwn(peerDependencies, name)) return undefined;
  const all = Object.entries(peerDependencies).map(([each, range]) => `${each}@${range}`);
  return `this command needs the package ${name}, which is not installed; all that commands need: npm install ${all.join(' ')}`;
}
