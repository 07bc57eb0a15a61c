/**
 * snarkjs's `groth16`, `zKey`, `wtns` and `r1cs`, as far as a Groth16 user needs them every day, with snarkjs's arguments;
 * docs/PROVER.md has what is the same, what is ours and what is snarkjs's alone. How files are opened and witnesses
 * computed is the host's, as for the prover (prover.ts).
 */
import type { CurveEngine } from '../../circuits/groth16/engine.ts';
import { curveNameOf, ELEMENT_BYTES } from '../../circuits/groth16/field.ts';
import type { Proved } from '../../circuits/groth16/prove.ts';
import { firstBroken, openR1cs, type R1csInfo, readR1csInfo } from '../../circuits/groth16/r1cs.ts';
import { solidityCallData } from '../../circuits/groth16/solidity.ts';
import type { ByteSource } from '../../circuits/groth16/source.ts';
import {
  canonicalKey,
  canonicalProof,
  canonicalSignals,
  type Spelling,
} from '../../circuits/groth16/spellings.ts';
import {
  parseVerificationKey,
  type VerificationKey,
  verificationKey,
  verifyBy,
} from '../../circuits/groth16/verify.ts';
import { readWitness, writeWitness } from '../../circuits/groth16/witness.ts';
import { openZkey } from '../../circuits/groth16/zkey.ts';
import { VouchError } from '../../protocols/errors.ts';
import { isLogger, type Logger, type ProveOptions, type ProverOptions, readOptions } from './options.ts';
import {
  type FileInput,
  type Input,
  type LoadedKey,
  type Prover,
  type ProverHost,
  reading,
  signalsOf,
} from './prover.ts';
import { createFallback, curveModule } from './threads/fallback.ts';

/** A proof as it is handed around: whoever made it, `verify` reads it. Of the shape of @types/snarkjs's `Groth16Proof`. */
export interface Proof {
  pi_a: string[];
  pi_b: string[][];
  pi_c: string[];
  protocol: string;
  curve: string;
}
/** All that is read as one. */
export interface ProofLike {
  readonly pi_a: readonly Spelling[];
  readonly pi_b: readonly (readonly Spelling[])[];
  readonly pi_c: readonly Spelling[];
  readonly protocol?: string | undefined;
  readonly curve?: string | undefined;
}
/** A verification key: as `VerificationKey`, its members in any spelling, or whatever `JSON.parse` gave. */
// biome-ignore lint/suspicious/noExplicitAny: as snarkjs types it; every member is checked
export type KeyLike = any;

/** Whether a proof holds, and when not why: one sentence. */
export type Verdict = { readonly verified: true } | { readonly verified: false; readonly reason: string };
export interface VerifyOptions {
  /** Answers a verdict instead of a boolean. */
  readonly explain?: boolean | undefined;
  readonly logger?: Logger | null | undefined;
}

/** Where a file goes: its name, or an object that its bytes are put into, as snarkjs takes them. */
export type FileOutput = string | { readonly type: 'mem'; data?: Uint8Array };

/** `options`: ours, or snarkjs's logger and behind it snarkjs's options. */
type Options = readonly [options?: ProveOptions | Logger | null, ...more: (object | null | undefined)[]];

export interface DropInHost extends ProverHost {
  createProver(options: ProverOptions): Promise<Prover>;
  /** Throws where there are no files. */
  write(name: string, bytes: Uint8Array): Promise<void>;
}

const SIGNALS_DISAGREE =
  'the equation does not hold: the proof is not one of these public signals by this key, or was changed';

interface Kept {
  readonly opening: Promise<Prover>;
  users: number;
  idle?: ReturnType<typeof setTimeout>;
}
/** Threads of calls stay for so long after the last, for the next. They keep no process alive. */
const IDLE_MS = 1_000;

export function createDropIn(host: DropInHost) {
  /** Provers by their options. Calls at once share one, instead of each starting as many threads as there are cores. */
  const kept = new Map<string, Kept>();

  async function withProver<T>(
    { threads, engine }: ProverOptions,
    work: (prover: Prover) => Promise<T>,
  ): Promise<T> {
    const name = `${threads} ${engine}`;
    const own: Kept = kept.get(name) ?? { opening: host.createProver({ threads, engine }), users: 0 };
    kept.set(name, own);
    own.users++;
    const forget = () => {
      if (kept.get(name) === own) kept.delete(name);
    };
    try {
      return await work(await own.opening);
    } catch (error) {
      // One that did not open, or failed for whatever reason, is nobody's next.
      forget();
      throw error;
    } finally {
      own.users--;
      const close = () => {
        if (own.users > 0) return;
        forget();
        own.opening.then(
          (prover) => prover.close(),
          () => {},
        );
      };
      clearTimeout(own.idle);
      if (kept.get(name) !== own) close();
      else if (own.users === 0) {
        own.idle = setTimeout(close, IDLE_MS);
        // Node's; a page has numbers.
        if (typeof own.idle === 'object') own.idle.unref();
      }
    }
  }

  /** One key loaded for as long as `work` takes. */
  async function withKey(
    zkey: FileInput,
    options: ProveOptions,
    work: (key: LoadedKey) => Promise<Proved>,
  ): Promise<Proved> {
    return withProver(options, async (prover) => {
      await using key = await prover.load(zkey, { ...options, once: true });
      return await work(key);
    });
  }
  const read = <T>(file: FileInput, what: string, use: (source: ByteSource) => Promise<T>) =>
    reading(host, file, what, use);
  const bytesOf = (file: FileInput, what: string) =>
    read(file, what, async (source) => {
      const bytes = new Uint8Array(source.byteLength);
      await source.read(0, bytes);
      return bytes;
    });

  function verify(
    key: KeyLike,
    publicSignals: readonly Spelling[],
    proof: ProofLike,
    options?: Logger | (VerifyOptions & { readonly explain?: false }) | null,
  ): Promise<boolean>;
  function verify(
    key: KeyLike,
    publicSignals: readonly Spelling[],
    proof: ProofLike,
    options: VerifyOptions & { readonly explain: true },
  ): Promise<Verdict>;
  async function verify(
    key: KeyLike,
    publicSignals: unknown,
    proof: unknown,
    options?: unknown,
  ): Promise<boolean | Verdict> {
    const { explain = false, logger } = readVerifyOptions(options);
    const points = parseVerificationKey(canonicalKey(key));
    const reason = await whyNot(async () =>
      verifyBy(await verifier(), points, canonicalSignals(publicSignals), canonicalProof(proof)),
    );
    if (reason === undefined) logger?.info?.('OK!');
    else logger?.error?.(`Invalid proof: ${reason}`);
    if (!explain) return reason === undefined;
    return reason === undefined ? { verified: true } : { verified: false, reason };
  }

  const groth16 = {
    /** The proof of a witness. Codes of its errors: `bad-input`, `bad-file`, `key-rejected`, `proof-rejected`, `cancelled`. */
    async prove(zkey: FileInput, wtns: FileInput, ...options: Options): Promise<Proved> {
      const read = readOptions(options);
      return withKey(zkey, read, (key) => key.prove(wtns, read));
    },

    /** Computes the witness from the circuit's inputs and proves it. Throws `witness-rejected` and as `prove`. */
    async fullProve(input: Input, wasm: FileInput, zkey: FileInput, ...options: Options): Promise<Proved> {
      const read = readOptions(options);
      return withKey(zkey, read, (key) => key.fullProve(input, wasm, read));
    },

    /**
     * Whether the proof holds; false for whatever else is given as one, with `explain` also why. `bad-file` when the key is
     * malformed: it is the caller's own.
     */
    verify,

    /** The arguments of the contract's `verifyProof`. `bad-file` when the proof is malformed; it is not verified. */
    async exportSolidityCallData(proof: ProofLike, publicSignals: readonly Spelling[]): Promise<string> {
      return solidityCallData(canonicalProof(proof), canonicalSignals(publicSignals));
    },
  };

  const zKey = {
    /** The verification key of a proving key, whose header's points are checked. */
    exportVerificationKey: (zkey: FileInput, logger?: Logger | null): Promise<VerificationKey> =>
      read(zkey, 'proving key', async (source) => {
        const key = verificationKey(await openZkey(source));
        logger?.info?.(`verification key of ${key.nPublic} public signals`);
        return key;
      }),
  };

  const wtns = {
    /** The witness of the circuit's inputs, into a `.wtns` file. `witness-rejected` when the circuit refuses them. */
    async calculate(input: Input, wasm: FileInput, target: FileOutput, ...options: Options): Promise<void> {
      const { signal, onLog } = readOptions(options);
      const code = await bytesOf(wasm, 'witness calculator');
      await using calculators = host.openCalculators();
      const witness = await calculators.calculate(code, signalsOf(input), { signal, onLog });
      const file = writeWitness(witness);
      witness.fill(0);
      if (typeof target === 'string') await host.write(target, file);
      else target.data = file;
    },
    /** Whether a witness satisfies all constraints of a circuit; the logger is told the first that it breaks. */
    async check(r1cs: FileInput, witness: FileInput, logger?: Logger | null): Promise<boolean> {
      const circuit = await read(r1cs, 'circuit', openR1cs);
      const values = readWitness(await bytesOf(witness, 'witness'));
      const count = values.byteLength / ELEMENT_BYTES;
      if (count !== circuit.variables)
        throw new VouchError(
          'bad-file',
          `witness: it has ${count} values, the circuit ${circuit.variables} wires`,
        );
      const broken = firstBroken(circuit, values);
      if (broken < 0) logger?.info?.('WITNESS IS CORRECT');
      else logger?.warn?.(`WITNESS IS NOT CORRECT: constraint ${broken} does not hold`);
      return broken < 0;
    },
  };

  const r1cs = {
    /** What a circuit's header says, by snarkjs's names; also of other primes, and with custom gates. */
    info: async (file: FileInput, logger?: Logger | null) => {
      const info = snarkjsInfo(await read(file, 'circuit', readR1csInfo));
      for (const line of infoLines(info)) logger?.info?.(line);
      return info;
    },
  };
  return { groth16, zKey, wtns, r1cs };
}

/** Curve arithmetic on this thread, some milliseconds at a time: a pool's threads would take longer to start. */
function verifier(): Promise<Pick<CurveEngine, 'msm' | 'pairingsCancel'>> {
  opened ??= (async () => {
    const { msm, pairingsCancel } = createFallback(await curveModule());
    return {
      msm: async (...[group, bases, scalars]) => {
        // A turn for others, between the parts of a long sum.
        await new Promise((resolve) => setTimeout(resolve));
        return msm(group, Uint8Array.from(bases), Uint8Array.from(scalars));
      },
      pairingsCancel: async (g1, g2) => pairingsCancel(Uint8Array.from(g1), Uint8Array.from(g2))[0] === 1,
    };
  })();
  return opened;
}
let opened: ReturnType<typeof verifier> | undefined;

function readVerifyOptions(options: unknown): VerifyOptions {
  if (options === undefined || options === null) return {};
  if (isLogger(options)) return { logger: options };
  const unknown =
    typeof options === 'object'
      ? Object.keys(options).find((name) => !['explain', 'logger'].includes(name))
      : typeof options;
  if (unknown !== undefined)
    throw new VouchError(
      'bad-input',
      `verify: there is no option ${JSON.stringify(unknown.slice(0, 40))}; known are explain, logger`,
    );
  return options;
}

/** Undefined where it holds. */
async function whyNot(holds: () => Promise<boolean>): Promise<string | undefined> {
  try {
    return (await holds()) ? undefined : SIGNALS_DISAGREE;
  } catch (error) {
    if (error instanceof VouchError && error.code === 'bad-file') return error.message;
    throw error;
  }
}

const snarkjsInfo = ({ prime, ...info }: R1csInfo) => ({
  n8: info.elementBytes,
  prime,
  nVars: info.variables,
  nOutputs: info.outputs,
  nPubInputs: info.publicInputs,
  nPrvInputs: info.privateInputs,
  nLabels: info.labels,
  nConstraints: info.constraints,
  useCustomGates: info.customGates > 0,
});
export type CircuitInfo = ReturnType<typeof snarkjsInfo>;

/** For people, as snarkjs prints them. */
export function infoLines(info: CircuitInfo): string[] {
  return [
    `Curve: ${curveNameOf(info.prime)}`,
    `# of Wires: ${info.nVars}`,
    `# of Constraints: ${info.nConstraints}`,
    `# of Private Inputs: ${info.nPrvInputs}`,
    `# of Public Inputs: ${info.nPubInputs}`,
    `# of Labels: ${info.nLabels}`,
    `# of Outputs: ${info.nOutputs}`,
    ...(info.useCustomGates ? ['Custom gates: used'] : []),
  ];
}
