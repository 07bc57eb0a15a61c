/**
 * `vouch.config.json`: options that need not be typed each time. A flag wins over the environment, the environment over the
 * file, the file over the default.
 *
 * The file lies in the home folder, or where VOUCH_CONFIG says, never in the folder that a command happens to run in: who
 * wrote that folder would choose whom its visitor trusts. For the same reason others must not be able to write the file, its
 * paths are absolute, and nothing in it lowers a guard (`--simulated`, `--allow-vulnerable-server`, `--no-tls`): that is typed.
 */
import { statSync } from 'node:fs';
import type { CommandUnknownOpts } from '@commander-js/extra-typings';
import { z } from 'zod';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { readTextIfThere } from '../home/files.ts';
import { LOG_FORMATS, LOG_LEVELS } from '../home/log.ts';

const MAX_BYTES = 64 * 1024;

const Text = z.string().min(1).max(4096);
const Path = Text.regex(/^\//, 'expected an absolute path');
const Count = z.int().nonnegative();
const PolicyName = z.union([z.enum(['genuine', 'strict']), Path]).describe('genuine, strict or a file');
const multiplying = {
  threads: Count.optional(),
  engine: Text.optional(),
  gpuMemory: Count.optional(),
  gpuShare: Count.optional(),
  gpuTurns: Path.optional(),
  basesDisk: Count.optional(),
  provider: Text.optional(),
  wait: Count.optional(),
};

/** What holds for every command that has such an option; each has an environment variable, too. */
const COMMON = {
  nats: Text.optional().describe('NATS server; VOUCH_NATS'),
  creds: Path.optional().describe('a .creds file, or a folder of them; VOUCH_CREDS'),
  vendor: Text.optional().describe("the vendor's public key or fingerprint; VOUCH_VENDOR"),
  collateral: Path.optional().describe('what vendors publish about their hardware; VOUCH_COLLATERAL'),
  log: z.enum(LOG_FORMATS).optional().describe('VOUCH_LOG'),
  logLevel: z.enum(LOG_LEVELS).optional().describe('VOUCH_LOG_LEVEL'),
};

/** What holds for one command: its options, in camel case. */
const SECTIONS = {
  start: z.strictObject({
    ...multiplying,
    weightsDisk: Count.optional(),
    shardPoints: Count.optional(),
    jobs: Count.optional(),
    policy: PolicyName.optional(),
    health: Text.optional(),
    port: Count.optional(),
  }),
  join: z.strictObject(multiplying),
  gateway: z.strictObject({
    listen: Text.optional(),
    apiKeys: Path.optional(),
    host: z.array(Text).max(64).optional(),
    policy: PolicyName.optional(),
    receipts: Path.optional(),
    requests: Count.optional(),
  }),
  infer: z.strictObject({ policy: PolicyName.optional(), receipts: Path.optional() }),
  prove: z.strictObject({ policy: PolicyName.optional() }),
  status: z.strictObject({ timeout: Count.optional() }),
  demo: z.strictObject({
    port: Count.optional(),
    listen: Text.optional(),
    monitorListen: Text.optional(),
    workers: Count.optional(),
  }),
};

export const Configuration = z.strictObject({
  $schema: Text.optional(),
  ...COMMON,
  ...Object.fromEntries(Object.entries(SECTIONS).map(([name, section]) => [name, section.optional()])),
});

/** As JSON Schema (draft 2020-12): docs/vouch.config.schema.json. */
export const configurationSchema = () => ({
  title: 'vouch.config.json',
  ...z.toJSONSchema(Configuration, { io: 'input' }),
});

/** Gives a command what the file says of its options. Throws `bad-file` that names file and key. */
export function configure(command: CommandUnknownOpts, file: string): void {
  const settings = read(file);
  if (settings === undefined) return;
  const common = Object.keys(COMMON).flatMap((key) => {
    const option = command.options.find(({ envVar }) => envVar === variableOf(key));
    return option && settings[key] !== undefined ? [{ option, value: settings[key], where: key }] : [];
  });
  const section = settings[command.name()] ?? {};
  const own = Object.entries(section).map(([key, value]) => ({
    option: command.options.find((option) => option.attributeName() === key),
    value,
    where: `${command.name()}.${key}`,
  }));
  for (const { option, value, where } of [...common, ...own]) {
    if (!option) throw wrong(file, where, 'there is no such option');
    try {
      const parse = option.parseArg;
      const parsed = parse && !Array.isArray(value) ? parse(String(value), undefined) : value;
      // An environment variable and a flag come later, and win.
      command.setOptionValueWithSource(option.attributeName(), parsed, 'config');
    } catch (error) {
      throw wrong(file, where, messageOf(error));
    }
  }
}

/** `logLevel` is VOUCH_LOG_LEVEL. */
const variableOf = (key: string): string =>
  `VOUCH_${key.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;

const wrong = (file: string, key: string, why: string) =>
  new VouchError('bad-file', `${file}: ${key}: ${why}`);

// biome-ignore lint/suspicious/noExplicitAny: which keys there are, the schema says; what a value may be, its option
function read(file: string): Record<string, any> | undefined {
  const text = readTextIfThere(file, 'configuration', MAX_BYTES);
  if (text === undefined) return undefined;
  const { uid, mode } = statSync(file);
  const own = process.getuid?.();
  if (own !== undefined && ((uid !== own && uid !== 0) || (mode & 0o022) !== 0))
    throw new VouchError(
      'bad-file',
      `${file}: somebody else may write it, and it says whom you trust; expected a file of your own: chmod go-w ${file}`,
    );
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new VouchError('bad-file', `${file}: expected JSON: ${messageOf(error)}`);
  }
  const result = Configuration.safeParse(json);
  if (result.success) return result.data;
  const { path, message, ...issue } = result.error.issues[0]!;
  const unknown = issue.code === 'unrecognized_keys' ? [(issue as { keys: string[] }).keys[0]!] : [];
  const key = [...path.map(String), ...unknown].join('.') || 'the whole';
  throw wrong(file, key, unknown.length > 0 ? 'there is no such key' : message);
}
