/**
 * A prover that stays: threads that are started once, keys that are checked and made ready once, many proofs. What
 * differs between Node and a browser (how a named file is opened, how a witness is computed, what is remembered of
 * keys) is its host's.
 *
 * A key's points are checked before the first proof with it (circuits/groth16/check-key.ts). That is not who made the
 * key, nor for which circuit.
 */
import type { CalculatorOptions } from '../../circuits/groth16/calculator.ts';
import { checkPoints } from '../../circuits/groth16/check-key.ts';
import type {
  EngineOptions,
  ProverEngine,
  ReadyKey,
  Tabulated,
  TabulateOptions,
} from '../../circuits/groth16/engine.ts';
import { ELEMENT_BYTES } from '../../circuits/groth16/field.ts';
import { type Phase, type Proved, type ProveOptions, proveReady } from '../../circuits/groth16/prove.ts';
import { type ByteSource, blobSource, bytesSource } from '../../circuits/groth16/source.ts';
import { checkWitness, openWitness } from '../../circuits/groth16/witness.ts';
import { openZkey } from '../../circuits/groth16/zkey.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { Calculators } from './threads/calculators.ts';
import { createPool, type Pool, type PoolOptions } from './threads/pool.ts';

/** A file: its name, its bytes, or its bytes as snarkjs wraps them. */
export type FileInput = string | Uint8Array | Blob | { readonly type: 'mem'; readonly data?: Uint8Array };

/** What a circuit is given: numbers, decimal or 0x strings, and arrays of them, by the signal's name. */
export type Input = Readonly<Record<string, InputValue>>;
export type InputValue = string | number | bigint | boolean | readonly InputValue[];

export interface ProverHost {
  /** Opens a file that a person named; `what` is for errors. */
  open(name: string, what: string): Promise<ByteSource & AsyncDisposable>;
  /** Runs the check of a key, unless a key of the same content has passed before. */
  checkOnce(key: ByteSource, check: () => Promise<void>, options: EngineOptions): Promise<void>;
  /** Whether that check is known to have passed, as far as it shows without reading the key; by default not. */
  wasChecked?(key: ByteSource): boolean;
  /** Where a key's tables stay, and the digest by which they are found there. */
  keptTables(key: ByteSource, options: EngineOptions): Promise<NonNullable<TabulateOptions['kept']>>;
  /** Threads that compute witnesses. */
  openCalculators(): Calculators;
}

export interface ProgressOptions extends EngineOptions {
  readonly onPhase?: ((phase: 'loading' | 'checking' | Phase) => void) | undefined;
}
export interface LoadOptions extends ProgressOptions {
  /** For a single proof: parts of the key are read while others are already computed with. */
  readonly once?: boolean | undefined;
}
/** `r` and `s` are the tests'. */
type OneProof = ProgressOptions & CalculatorOptions & Pick<ProveOptions, 'r' | 's'>;

/** A key that is checked and ready. */
export interface LoadedKey extends AsyncDisposable {
  /** The proof of a `.wtns` file. `bad-file` when it is not one of this key's circuit, `proof-rejected` when it is wrong. */
  prove(wtns: FileInput, options?: OneProof): Promise<Proved>;
  /** Computes the witness first, by the circuit's `.wasm`; `witness-rejected` when the circuit refuses the input. */
  fullProve(input: Input, wasm: FileInput, options?: OneProof): Promise<Proved>;
  /**
   * Makes tables of the key's points, or reads those that were made before, within `bytes`: proofs take up to a quarter
   * less time. `not-ready` where the engine has none.
   */
  tabulate(options: Omit<TabulateOptions, 'kept'>): Promise<Tabulated>;
  /** Gives its memory back once the proofs under way have ended. */
  release(): Promise<void>;
}

export interface Prover extends AsyncDisposable {
  readonly threads: number;
  /** Whose arithmetic its threads have, for logs. */
  readonly arithmetic: string;
  /** `bad-file` when it is not a key, `key-rejected` when its points are not right, both with the reason. */
  load(zkey: FileInput, options?: LoadOptions): Promise<LoadedKey>;
  /** Ends all threads; what is under way rejects with `cancelled`. */
  close(): Promise<void>;
}

export interface ProverOnOptions extends PoolOptions {
  /** Who makes the sums instead of the threads, which do all else; closed with the prover, before them. */
  readonly engine?:
    | ((pool: Pool) => Promise<Pick<ProverEngine, 'ready'> & { close(): Promise<void> }>)
    | undefined;
}

export async function createProverOn(
  host: ProverHost,
  { engine: openEngine, ...options }: ProverOnOptions = {},
): Promise<Prover> {
  const pool = await createPool(options);
  const engine = await openEngine?.(pool).catch(async (error: unknown) => {
    await pool.close();
    throw error;
  });
  let opened: Calculators | undefined;
  const calculators = () => {
    opened ??= host.openCalculators();
    return opened;
  };
  const loaded = new Set<() => Promise<void>>();
  let closed = false;

  async function load(file: FileInput, { signal, onPhase, once }: LoadOptions = {}): Promise<LoadedKey> {
    if (closed) throw new VouchError('not-ready', 'the prover is closed');
    onPhase?.('loading');
    const source = await open(host, file, 'proving key');
    let readying: Promise<ReadyKey> | undefined;
    const underWay = new Set<Promise<unknown>>();
    /** What may still read the file, because a part of the key is loaded when it is first needed. */
    const use = async <T>(work: (key: ReadyKey) => Promise<T>): Promise<T> => {
      if (!loaded.has(release)) throw new VouchError('not-ready', 'the proving key was released');
      const done = readying!.then(work);
      underWay.add(done);
      return done.finally(() => underWay.delete(done));
    };
    const release = async () => {
      if (!loaded.delete(release)) return;
      await Promise.allSettled(underWay);
      await readying?.then(
        (key) => key.release(),
        () => undefined,
      );
      await source[Symbol.asyncDispose]?.();
    };
    loaded.add(release);
    try {
      const zkey = await openZkey(source, { checkedBefore: host.wasChecked?.(source) });
      readying = (engine ?? pool).ready(zkey, { signal });
      // Before hours of reading: the sizes are known.
      (await readying).demandRoom?.();
      const checking = host.checkOnce(
        source,
        async () => {
          onPhase?.('checking');
          await checkPoints(zkey, { key: await readying!, curve: pool }, { signal });
        },
        { signal },
      );
      await Promise.all([readying, checking]);
      if (!once) await (await readying).fetch?.();

      const proveValues = (witness: () => Promise<Uint8Array>, proofOptions: OneProof) =>
        use(async (ready) => {
          const values = await witness();
          try {
            return await proveReady(zkey, values, ready, pool, proofOptions);
          } finally {
            values.fill(0);
          }
        });
      return {
        prove: (wtns, proofOptions = {}) => {
          const values = () =>
            reading(host, wtns, 'witness', async (witness) => {
              const { count, read } = await openWitness(witness);
              if (count !== zkey.variables) {
                throw new VouchError(
                  'bad-file',
                  `witness: it has ${count} values, the key is for ${zkey.variables}`,
                );
              }
              const bytes = new Uint8Array(count * ELEMENT_BYTES);
              await read(bytes);
              return bytes;
            });
          return proveValues(values, proofOptions);
        },
        fullProve: (input, wasm, proofOptions = {}) => {
          const values = async () => {
            proofOptions.onPhase?.('witnessing');
            const code = await reading(host, wasm, 'witness calculator', async (module) => {
              const bytes = new Uint8Array(module.byteLength);
              await module.read(0, bytes);
              return bytes;
            });
            const { signal: proofSignal, onLog } = proofOptions;
            const computed = await calculators().calculate(code, signalsOf(input), {
              signal: proofSignal,
              onLog,
            });
            checkWitness(computed);
            return computed;
          };
          return proveValues(values, proofOptions);
        },
        tabulate: (tableOptions) =>
          use(async (ready) => {
            if (!ready.tabulate) throw new VouchError('not-ready', 'the engine makes no tables here');
            return ready.tabulate({ ...tableOptions, kept: await host.keptTables(source, tableOptions) });
          }),
        release,
        [Symbol.asyncDispose]: release,
      };
    } catch (error) {
      await release();
      throw error;
    }
  }

  const close = async () => {
    closed = true;
    await opened?.close();
    await engine?.close();
    await pool.close();
    await Promise.all([...loaded].map((release) => release()));
  };
  const { threads, arithmetic } = pool;
  return { threads, arithmetic, load, close, [Symbol.asyncDispose]: close };
}

async function open(
  host: Pick<ProverHost, 'open'>,
  file: FileInput,
  what: string,
): Promise<ByteSource & Partial<AsyncDisposable>> {
  if (typeof file === 'string') return host.open(file, what);
  if (file instanceof Uint8Array) return bytesSource(file);
  if (file instanceof Blob) return blobSource(file);
  if (file?.type === 'mem' && file.data instanceof Uint8Array) return bytesSource(file.data);
  throw new VouchError(
    'bad-input',
    `${what}: expected a path, bytes, a Blob or {type: 'mem', data}, got ${file === null ? 'null' : typeof file}`,
  );
}

/** Opens a file for as long as `read` takes. */
export async function reading<T>(
  host: Pick<ProverHost, 'open'>,
  file: FileInput,
  what: string,
  read: (source: ByteSource) => Promise<T>,
): Promise<T> {
  const source = await open(host, file, what);
  try {
    return await read(source);
  } finally {
    await source[Symbol.asyncDispose]?.();
  }
}

/** The input as signals: arrays of arrays are one signal, row after row. `bad-input` names what is not a number. */
export function signalsOf(input: Input): Record<string, bigint | bigint[]> {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw new VouchError('bad-input', 'input: expected an object, a value for each signal');
  }
  const flat = (name: string, value: InputValue): bigint | bigint[] => {
    if (Array.isArray(value)) return (value as InputValue[]).flatMap((each) => flat(name, each));
    try {
      if (typeof value === 'string' && value.trim() === '') throw new SyntaxError();
      return BigInt(value as string);
    } catch {
      // The value may be a secret.
      throw new VouchError('bad-input', `input ${name}: expected whole numbers, got something else`);
    }
  };
  return Object.fromEntries(Object.entries(input).map(([name, value]) => [name, flat(name, value)]));
}
