/**
 * Records of what a process does: lines for people (`text`), or one JSON object a line (`json`, by pino) for programs that
 * gather logs. Of what is handed over beside the sentence, only what is on the list leaves, and only in the form that the
 * list gives it: a field of another name or form is dropped, so that no object gets into a log by being passed along.
 *
 * Not guaranteed: that a sentence holds no secret. Sentences are written by us, one at a time; they quote no application, no
 * answer, no key (test/runtime/roles/log.nats.test.ts looks for such).
 */
import { z } from 'zod';
import { printableLines } from '../../protocols/printable.ts';
import { LOG_LEVELS, type Log, type LogFields, type LogFormat, type LogLevel } from './log.ts';

export interface LoggerOptions {
  readonly format: LogFormat;
  /** what is below it is not written */
  readonly level: LogLevel;
  /** whether lines for people begin with the time */
  readonly dated?: boolean;
}

/** Names of actors, states, events and codes: what the monitor shows, and shorter than a key as hex. */
const Name = z.string().regex(/^[\w.-]{1,48}$/);
/** Every field that may be logged beside level, time and message. */
const FIELDS: Record<Exclude<keyof LogFields, 'level'>, z.ZodType> = {
  role: Name,
  id: Name,
  error: z.uuid(),
  code: Name,
  event: Name,
  from: Name,
  to: Name,
  seq: z.int().nonnegative(),
};
export const LOGGED_FIELDS = Object.keys(FIELDS);

/** Those fields that are on the list and of their form. */
export function loggable(fields: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(FIELDS).flatMap(([name, form]) => {
      const value = Object.hasOwn(fields, name) ? form.safeParse(fields[name as never]) : undefined;
      return value?.success ? [[name, value.data]] : [];
    }),
  );
}

/** `write` gets one line at a time, without its end. */
export async function createLogger(options: LoggerOptions, write: (line: string) => void): Promise<Log> {
  const record = options.format === 'json' ? await jsonRecords(write) : textRecords(options, write);
  const least = LOG_LEVELS.indexOf(options.level);
  const log: Log = (line, fields = {}) => {
    const level = LOG_LEVELS.includes(fields.level as LogLevel) ? fields.level! : 'info';
    // A line may quote what others have sent.
    if (LOG_LEVELS.indexOf(level) >= least) record(level, printableLines(line), fields);
  };
  log.detailed = options.level === 'debug';
  return log;
}

type Write = (level: LogLevel, line: string, fields: LogFields) => void;

/** What follows in further lines, a stack, is indented, so that nothing passes for a record of its own. */
const textRecords =
  ({ dated = false }: LoggerOptions, write: (line: string) => void): Write =>
  (_level, line) =>
    write(dated ? `${new Date().toISOString()} ${line.replaceAll('\n', '\n    ')}` : line);

async function jsonRecords(write: (line: string) => void): Promise<Write> {
  // On demand: lines for people need no package.
  const { pino } = await import('pino');
  const logger = pino(
    {
      level: 'debug',
      base: null,
      messageKey: 'message',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
    },
    { write: (line: string) => write(line.trimEnd()) },
  );
  return (level, line, fields) => logger[level](loggable(fields), line.trim());
}
