/**
 * `vouch groth16`: twins of snarkjs's `groth16 prove|fullprove|verify` (g16p, g16f, g16v) and `zkey verify` (zkv): the same
 * arguments, defaults and files, byte for byte as snarkjs lays them out. A proof is verified before it is written. Of a
 * key its contributions are not looked at: whether nobody knows its secrets is snarkjs's `zkey verify` to say.
 */
import type { Command } from '@commander-js/extra-typings';
import { checkKey } from '../../circuits/groth16/check-key.ts';
import type { Proved } from '../../circuits/groth16/prove.ts';
import { openPowers } from '../../circuits/groth16/ptau.ts';
import { readR1cs } from '../../circuits/groth16/r1cs.ts';
import { openZkey } from '../../circuits/groth16/zkey.ts';
import { messageOf, VouchError } from '../../protocols/errors.ts';
import { createProgress } from '../client/progress.ts';
import { openFile } from '../home/file-source.ts';
import { demandWritable, readNamed, readText, writeWhole } from '../home/files.ts';
import type { LoadedKey, ProgressOptions } from '../msm/prover.ts';
import { createPool } from '../msm/threads/pool.ts';
import { insecureBlinding } from '../prove/blinding.ts';
import { createProver, groth16, type Input, type Proof, type VerificationKey } from '../prove/prover.ts';
import { engineOption, type OptionsOf, whole } from './declaration.ts';
import { interruption, type Print, print } from './terminal.ts';

/** A verification key has about 190 bytes for each public signal, an input about 80 for each value. */
const MAX_JSON_BYTES = 1024 ** 3;

const threaded = (command: Command) =>
  command.option('--threads <n>', "default: the machine's cores", whole(1, 64));

const proving = (command: Command) =>
  threaded(command)
    .option(
      '--tables <MiB>',
      "tables of the key's points up to this size, kept for later proofs",
      whole(1, 3584),
    )
    .addOption(
      engineOption('who makes the sums: threads, the GPU, or both where there is a GPU').default(
        'wasm' as const,
      ),
    );

export type Groth16Options = OptionsOf<typeof proving>;

export function define(command: Command): void {
  command.enablePositionalOptions();
  proving(command.command('prove').description('a proof from a proving key and a witness'))
    .argument('[zkey]', 'the proving key', 'circuit_final.zkey')
    .argument('[witness]', 'the witness', 'witness.wtns')
    .argument('[proof]', 'where the proof goes', 'proof.json')
    .argument('[public]', 'where the public signals go', 'public.json')
    .action((zkey, witness, proof, signals, options) =>
      proveFiles({ zkey, witness, proof, public: signals }, options, interruption()),
    );
  proving(command.command('fullprove').description("a proof from a circuit's inputs"))
    .argument('[input]', 'the inputs as JSON', 'input.json')
    .argument('[wasm]', "circom's witness calculator", 'circuit.wasm')
    .argument('[zkey]', 'the proving key', 'circuit_final.zkey')
    .argument('[proof]', 'where the proof goes', 'proof.json')
    .argument('[public]', 'where the public signals go', 'public.json')
    .action((input, wasm, zkey, proof, signals, options) =>
      proveInput({ input, wasm, zkey, proof, public: signals }, options, interruption()),
    );
  command
    .command('verify')
    .description('whether a proof holds')
    .argument('[key]', 'the verification key', 'verification_key.json')
    .argument('[public]', 'the public signals', 'public.json')
    .argument('[proof]', 'the proof', 'proof.json')
    .action(async (key, signals, proof) => {
      if (!(await verifyFiles({ key, public: signals, proof }, print))) process.exitCode = 1;
    });
  const zkeys = command.command('zkey').description('proving keys');
  threaded(
    zkeys.command('verify').description('whether a key is made from a circuit and powers of tau, whole'),
  )
    .argument('[r1cs]', 'the circuit', 'circuit.r1cs')
    .argument('[ptau]', 'the powers of tau, prepared or not', 'powersoftau.ptau')
    .argument('[zkey]', 'the proving key', 'circuit_final.zkey')
    .action((r1cs, ptau, zkey, options) =>
      verifyKeyFiles({ r1cs, ptau, zkey }, options, print, interruption()),
    );
}
interface OutputFiles {
  readonly proof: string;
  readonly public: string;
}
type Blinded = ProgressOptions & Partial<NonNullable<ReturnType<typeof insecureBlinding>>>;

export function proveFiles(
  files: OutputFiles & { readonly zkey: string; readonly witness: string },
  options: Groth16Options,
  signal: AbortSignal,
): Promise<void> {
  return proveTo(files, files.zkey, options, signal, (key, rest) => key.prove(files.witness, rest));
}

export async function proveInput(
  files: OutputFiles & { readonly input: string; readonly wasm: string; readonly zkey: string },
  options: Groth16Options,
  signal: AbortSignal,
): Promise<void> {
  const input = readJson(files.input, 'input') as Input;
  await proveTo(files, files.zkey, options, signal, (key, rest) => key.fullProve(input, files.wasm, rest));
}

/** Prints the verdict and returns it. */
export async function verifyFiles(
  files: OutputFiles & { readonly key: string },
  print: Print,
): Promise<boolean> {
  const accepted = await groth16.verify(
    readJson(files.key, 'verification key') as VerificationKey,
    readJson(files.public, 'public signals') as string[],
    readJson(files.proof, 'proof') as Proof,
  );
  print(accepted ? 'OK!' : 'Invalid proof');
  return accepted;
}

/** Prints that the key is right. Throws `key-rejected` naming the section that is not. */
export async function verifyKeyFiles(
  files: { readonly r1cs: string; readonly ptau: string; readonly zkey: string },
  { threads }: OptionsOf<typeof threaded>,
  print: Print,
  signal: AbortSignal,
): Promise<void> {
  await using keyFile = await openFile(files.zkey, 'proving key');
  await using powersFile = await openFile(files.ptau, 'powers of tau');
  const r1cs = readR1cs(readNamed(files.r1cs, 'circuit'));
  const [zkey, powers] = [await openZkey(keyFile), await openPowers(powersFile)];
  await using pool = await createPool({ threads });
  const key = await pool.ready(zkey, { signal });
  await checkKey(zkey, r1cs, powers, { key, curve: pool, field: pool }, { signal });
  print('OK!');
}

async function proveTo(
  files: OutputFiles,
  zkey: string,
  { threads, tables, engine }: Groth16Options,
  signal: AbortSignal,
  work: (key: LoadedKey, options: Blinded) => Promise<Proved>,
): Promise<void> {
  await demandWritable(files.proof);
  await demandWritable(files.public);
  const progress = createProgress();
  let phase: string | undefined;
  let began = 0;
  const enter = (next?: string): void => {
    if (phase) progress.set(phase, 1, 1, `${((performance.now() - began) / 1000).toFixed(2)} s`);
    if (next) progress.set(next, 0, 1);
    phase = next;
    began = performance.now();
  };
  try {
    await using prover = await createProver({ threads, engine });
    await using key = await prover.load(zkey, { signal, onPhase: enter });
    if (tables) {
      enter();
      const bytes = tables * 2 ** 20;
      await key.tabulate({
        bytes,
        signal,
        onProgress: (done) => progress.set('tables', Math.round(100 * done), 100, '%'),
      });
    }
    const { proof, publicSignals } = await work(key, { signal, onPhase: enter, ...insecureBlinding() });
    enter();
    await write(files.proof, proof);
    await write(files.public, publicSignals);
  } finally {
    progress.stop();
  }
}

/** JSON as snarkjs's writer lays it out: one space a level, an empty array on two lines, no line end at the end. */
async function write(path: string, value: object): Promise<void> {
  const text = Array.isArray(value) && value.length === 0 ? '[\n]' : JSON.stringify(value, null, 1);
  await writeWhole(path, text, { mode: 0o644 });
}

function readJson(path: string, what: string): unknown {
  const text = readText(path, what, MAX_JSON_BYTES);
  try {
    return JSON.parse(text);
  } catch (error) {
    // Its words would quote the file, which may be a witness's input.
    throw new VouchError(
      'bad-file',
      `${what} ${path}: expected JSON, got a file that is truncated or damaged`,
      {
        cause: messageOf(error),
      },
    );
  }
}
