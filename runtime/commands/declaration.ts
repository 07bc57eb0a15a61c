/**
 * What the declarations of commands share. A command's own file declares its arguments and options, once, and runs it;
 * what an action is given has the types that follow from the declaration.
 */
import { type Command, InvalidArgumentError, Option } from '@commander-js/extra-typings';
import type { ProviderName } from '../attest/provider.ts';
import { LIFELINE } from '../home/home.ts';
import { LOG_FORMATS, LOG_LEVELS, type LogFormat, type LogLevel } from '../home/log.ts';
import type { LoggerOptions } from '../home/logger.ts';
import type { EngineName } from '../prove/host-engine.ts';

/** The options of a command, from the function that declares it. */
export type OptionsOf<Declare extends (command: Command) => { opts(): unknown }> = ReturnType<
  ReturnType<Declare>['opts']
>;

/** Heard when it is parsed, by this process and by those that it starts. */
export const vulnerableOption = () =>
  new Option(
    '--allow-vulnerable-server',
    'use a nats-server on which clients can do what they have no right to',
  ).argParser(() => {
    process.env.VOUCH_ALLOW_VULNERABLE_SERVER = '1';
    return true;
  });

/** Of every command that speaks to NATS; defaults are those of the last `npm start`. */
export const networked = (command: Command) =>
  command
    .addOption(
      new Option('--nats <url>', 'NATS server; default: that of .vouch/context.json').env('VOUCH_NATS'),
    )
    .addOption(
      new Option(
        '--creds <path>',
        'a .creds file or a folder of <role>_<id>.creds; default: that of .vouch/context.json',
      ).env('VOUCH_CREDS'),
    )
    .addOption(vulnerableOption());

/** Of every command that runs actors. */
export const waitOption = () =>
  new Option(
    '--wait <minutes>',
    'how long to wait for a NATS server that does not answer; 0: exit 1 at once; default: for ever',
  ).argParser(whole(0, 525_600));

/** Of every command that runs until it is stopped. Heard by it and by the processes that it starts. */
export const logOption = () =>
  new Option('--log <format>', 'how its log is written: lines for people, or JSON; default: text')
    .choices(LOG_FORMATS)
    .env('VOUCH_LOG');
export const logLevelOption = () =>
  new Option('--log-level <level>', 'what its log leaves out is below this; default: info')
    .choices(LOG_LEVELS)
    .env('VOUCH_LOG_LEVEL');
export function loggingOf({
  log: format = 'text',
  logLevel: level = 'info',
}: {
  log?: LogFormat | undefined;
  logLevel?: LogLevel | undefined;
}): LoggerOptions {
  process.env.VOUCH_LOG = format;
  process.env.VOUCH_LOG_LEVEL = level;
  // What a child says lands in a file.
  return { format, level, dated: process.env[LIFELINE] !== undefined };
}

/** Of every command that judges evidence. */
export const judging = (command: Command) =>
  command
    .addOption(
      new Option(
        '--collateral <folder>',
        "what vendors publish about their hardware; default: this installation's",
      ).env('VOUCH_COLLATERAL'),
    )
    .option('--at <time>', 'judge as of this time, such as 2025-01-31T00:00:00Z; default: now')
    .option('--nonce <hex>', 'what the evidence was asked for with, where you know it');

/** The same of those that judge files, in which no guest speaks for its GPUs. */
export const stating = (command: Command) =>
  judging(command).option(
    '--gpus-ready',
    'the guest of the GPUs, which you trust, states CC mode `on` and ready; evidence documents say it themselves',
    false,
  );

/** The same of those that rely on a model's name. */
export const pinning = (command: Command) =>
  networked(command).addOption(
    new Option(
      '--vendor <key>',
      "the vendor's public key or fingerprint; default: the one that was seen first, in .vouch/vendors.json",
    ).env('VOUCH_VENDOR'),
  );

/** The reader of a whole number within bounds, both included. */
export const whole =
  (least: number, most: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < least || value > most) {
      throw new InvalidArgumentError(`expected a whole number from ${least} to ${most}.`);
    }
    return value;
  };

/** The same of any number. */
export const fraction =
  (least: number, most: number) =>
  (text: string): number => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= least && value <= most))
      throw new InvalidArgumentError(`expected a number from ${least} to ${most}.`);
    return value;
  };

export const TOPOLOGY_HELP =
  'topology: show the shape of each tree, which costs less than filling it up; default: only the greatest depth';

/** The reader of what of trees is shown. */
export const topology = (text: string): true => {
  if (text !== 'topology') throw new InvalidArgumentError('expected topology.');
  return true;
};

/** The reader of a length of time such as `90m`, in seconds, within bounds. */
export const duration =
  (least: number, most: number) =>
  (text: string): number => {
    const [, count, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
    const seconds = Number(count) * { s: 1, m: 60, h: 3600, d: 86_400 }[unit as 's' | 'm' | 'h' | 'd'];
    if (!(seconds >= least && seconds <= most))
      throw new InvalidArgumentError(
        `expected a number with s, m, h or d, such as 90m, from ${least} s to ${most / 86_400} d.`,
      );
    return seconds;
  };

// Declared here as well as where they are understood: those modules are too much to load for help.
const PROVIDERS = ['simulated', 'configfs-tsm'] as const satisfies readonly ProviderName[];
const ENGINES = ['auto', 'webgpu', 'wasm'] as const satisfies readonly EngineName[];
export const engineOption = (description: string) =>
  new Option('--engine <name>', description).choices(ENGINES);
export const providerOption = (description: string) =>
  new Option('--provider <name>', description).choices(PROVIDERS);
export const simulatedOption = new Option('--simulated', 'let the simulator start beside a real TEE').default(
  false,
);

export const gpuShareOption = () =>
  new Option(
    '--gpu-share <percent>',
    "of a GPU's time that proofs may take while inferences of this host are under way there: 0 none, 100 they never make way; default 10",
  ).argParser(whole(0, 100));
export const gpuTurnsOption = () =>
  new Option(
    '--gpu-turns <folder>',
    'where runners and workers on one GPU find each other, if their homes are not the same; default: in the home',
  );

/** Heard by this process and by those that it starts. */
export function allowSimulator(allowed: boolean): void {
  if (allowed) process.env.VOUCH_SIMULATED = '1';
}
