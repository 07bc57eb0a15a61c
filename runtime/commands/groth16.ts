/**
 * `vouch groth16`: twins of snarkjs's `groth16 prove|fullprove|verify` (g16p, g16f, g16v): the same arguments, defaults
 * and files, byte for byte as snarkjs lays them out. A proof is verified before it is written.
 */
import type { Command } from '@commander-js/extra-typings';
import type { Proved } from '../../circuits/groth16/prove.ts';
import { createProgress } from '../client/progress.ts';
import { demandWritable } from '../home/files.ts';
import type { LoadedKey, ProgressOptions } from '../msm/prover.ts';
import { insecureBlinding } from '../prove/blinding.ts';
import { codeFile, rehearseFusedVectors } from '../prove/fused-vectors.ts';
import { takeKeptCode } from '../prove/kept-code.ts';
import { createProver, groth16, type Input, type ProofLike, type ProveOptions } from '../prove/prover.ts';
import { engineOption, type OptionsOf, whole } from './declaration.ts';
import { readJson, writeJson } from './json-files.ts';
import { interruption, type Print, print, say } from './terminal.ts';

const proving = (command: Command) =>
  command
    .option('-v, --verbose', 'say what computes, and with what')
    .option('--threads <n>', "default: the machine's cores", whole(1, 64))
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
    .option('-v, --verbose', 'as snarkjs takes it; the reason is always said')
    .action(async (key, signals, proof) => {
      if (!(await verifyFiles({ key, public: signals, proof }, print))) process.exitCode = 1;
    });
}
interface OutputFiles {
  readonly proof: string;
  readonly public: string;
}
type Blinded = Pick<ProveOptions, 'onLog'> &
  ProgressOptions &
  Partial<NonNullable<ReturnType<typeof insecureBlinding>>>;

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

/** Prints the verdict and returns it; why a proof does not hold goes to stderr. */
export async function verifyFiles(
  files: OutputFiles & { readonly key: string },
  print: Print,
): Promise<boolean> {
  const verdict = await groth16.verify(
    readJson(files.key, 'verification key'),
    readJson(files.public, 'public signals') as string[],
    readJson(files.proof, 'proof') as ProofLike,
    { explain: true },
  );
  print(verdict.verified ? 'OK!' : 'Invalid proof');
  if (!verdict.verified) say(`vouch: ${verdict.reason}`);
  return verdict.verified;
}

async function proveTo(
  files: OutputFiles,
  zkey: string,
  { threads, tables, engine, verbose }: Groth16Options,
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
  takeKeptCode(codeFile());
  try {
    await using prover = await createProver({ threads, engine });
    if (verbose) say(`${prover.threads} threads compute with ${prover.arithmetic}`);
    await using key = await prover.load(zkey, { signal, onPhase: enter, once: true });
    if (tables) {
      enter();
      const bytes = tables * 2 ** 20;
      await key.tabulate({
        bytes,
        signal,
        onProgress: (done) => progress.set('tables', Math.round(100 * done), 100, '%'),
      });
    }
    const { proof, publicSignals } = await work(key, {
      signal,
      onPhase: enter,
      onLog: print,
      ...insecureBlinding(),
    });
    enter();
    await writeJson(files.proof, proof);
    await writeJson(files.public, publicSignals);
  } finally {
    progress.stop();
  }
  await rehearseFusedVectors((line) => say(`vouch: ${line}`));
}
