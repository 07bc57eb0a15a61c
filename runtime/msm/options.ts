/**
 * What may stand behind the files in a call of `groth16`: our options, or snarkjs's logger and after it snarkjs's
 * options, each of them absent, undefined or null. An option that nobody reads is refused by its name: whoever gave it
 * expects something of it.
 */
import { VouchError } from '../../protocols/errors.ts';
import type { ProgressOptions } from './prover.ts';

export const ENGINES = ['auto', 'webgpu', 'wasm'] as const;
export type EngineName = (typeof ENGINES)[number];

/** As snarkjs takes one: `console`, or any object with some of these functions. */
export interface Logger {
  debug?(line: string): void;
  info?(line: string): void;
  warn?(line: string): void;
  error?(line: string): void;
}
const LOGGER_FUNCTIONS = ['debug', 'info', 'warn', 'error', 'log'] as const;

export interface ProverOptions {
  /** 1 to 64; the machine's logical cores by default. */
  readonly threads?: number | undefined;
  /** Who makes the sums: threads, the default, a GPU (`webgpu`), or both at once where there is one (`auto`). */
  readonly engine?: EngineName | undefined;
  /** snarkjs's: one thread. */
  readonly singleThread?: boolean | undefined;
}
export interface ProveOptions extends ProverOptions, ProgressOptions {
  readonly logger?: Logger | null | undefined;
  /** What a circuit's `log()` prints, a line at a time; `console.log` by default, as snarkjs does. */
  readonly onLog?: ((line: string) => void) | undefined;
}

const OWN = ['threads', 'engine', 'singleThread', 'signal', 'onPhase', 'logger', 'onLog'];
/** snarkjs's for witnesses, which need nothing here: constraints are always checked, memory is the module's own. */
const NEEDLESS = ['memorySize', 'sanityCheck'];
const MAX_THREADS = 64;

const bad = (why: string) => new VouchError('bad-input', why);

export function isLogger(value: unknown): value is Logger {
  if (typeof value !== 'object' || value === null) return false;
  return LOGGER_FUNCTIONS.some((name) => typeof (value as Record<string, unknown>)[name] === 'function');
}

/** `given` are the arguments behind the files, in their order. `bad-input` names what is wrong. */
export function readOptions(given: readonly unknown[]): ProveOptions {
  let options: ProveOptions = {};
  for (const value of given) {
    if (value === undefined || value === null) continue;
    if (isLogger(value)) options = { ...options, logger: value };
    else if (typeof value === 'object' && !Array.isArray(value)) options = { ...options, ...value };
    else
      throw bad(
        `options: expected an object or a logger, got ${Array.isArray(value) ? 'an array' : typeof value}`,
      );
  }
  const { logger, signal, onPhase, onLog } = options;
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw bad('option signal: expected an AbortSignal');
  if (logger !== undefined && logger !== null && !isLogger(logger))
    throw bad('option logger: expected an object with functions such as debug, info, warn and error');
  for (const [name, listener] of Object.entries({ onPhase, onLog })) {
    if (listener !== undefined && typeof listener !== 'function')
      throw bad(`option ${name}: expected a function`);
  }
  return {
    ...options,
    ...readProverOptions(options),
    onPhase(phase) {
      onPhase?.(phase);
      logger?.debug?.(`vouch: ${phase}`);
    },
    onLog: onLog ?? ((line) => console.log(line)),
  };
}

/** Of a prover itself. */
export function readProverOptions(options: ProveOptions): Pick<ProverOptions, 'threads' | 'engine'> {
  demandKnown(options, [...OWN, ...NEEDLESS]);
  const { threads, engine, singleThread } = options;
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= MAX_THREADS))
    throw bad(`option threads: expected a whole number from 1 to ${MAX_THREADS}`);
  if (engine !== undefined && !ENGINES.includes(engine))
    throw bad(`option engine: expected one of ${ENGINES.join(', ')}`);
  if (singleThread !== undefined && typeof singleThread !== 'boolean')
    throw bad('option singleThread: expected true or false');
  if (singleThread && threads !== undefined && threads !== 1)
    throw bad(`options: singleThread and ${threads} threads contradict each other`);
  return { threads: singleThread ? 1 : threads, engine };
}

function demandKnown(options: object, known: readonly string[]): void {
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && !known.includes(name)) {
      throw bad(
        `options: there is no option ${JSON.stringify(name.slice(0, 40))}; known are ${OWN.join(', ')}`,
      );
    }
  }
}
