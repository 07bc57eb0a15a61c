/**
 * `vouch zkey`, `vouch wtns` and `vouch r1cs`: twins of the snarkjs commands that a Groth16 user needs every day, with the
 * same arguments, defaults and files. What only snarkjs has is named in snarkjs-words.ts. Of a key its contributions are not
 * looked at: whether nobody knows its secrets is snarkjs's `zkey verify` to say.
 */
import type { Command } from '@commander-js/extra-typings';
import { checkKey } from '../../circuits/groth16/check-key.ts';
import { openPowers } from '../../circuits/groth16/ptau.ts';
import { openR1cs } from '../../circuits/groth16/r1cs.ts';
import { openZkey } from '../../circuits/groth16/zkey.ts';
import { openFile } from '../home/file-source.ts';
import { demandWritable, writeWhole } from '../home/files.ts';
import { infoLines } from '../msm/drop-in.ts';
import { createPool } from '../msm/threads/pool.ts';
import { groth16, type Input, type ProofLike, r1cs, wtns, zKey } from '../prove/prover.ts';
import { type OptionsOf, whole } from './declaration.ts';
import { readJson, writeJson } from './json-files.ts';
import { interruption, type Print, print, say } from './terminal.ts';

/** Files that anybody may read. */
const PUBLIC = { mode: 0o644 };

const threaded = (command: Command) =>
  command.option('--threads <n>', "default: the machine's cores", whole(1, 64));

export function defineZkey(command: Command): void {
  threaded(
    command
      .command('verify')
      .description('whether a key is made from a circuit and powers of tau, whole; not its contributions'),
  )
    .argument('[r1cs]', 'the circuit', 'circuit.r1cs')
    .argument('[ptau]', 'the powers of tau, prepared or not', 'powersoftau.ptau')
    .argument('[zkey]', 'the proving key', 'circuit_final.zkey')
    .action((circuit, ptau, zkey, options) =>
      verifyKeyFiles({ r1cs: circuit, ptau, zkey }, options, print, interruption()),
    );
  const exported = command.command('export').description('what a proving key holds, for verifiers');
  exported
    .command('verificationkey')
    .description('the verification key')
    .argument('[zkey]', 'the proving key', 'circuit_final.zkey')
    .argument('[key]', 'where the verification key goes', 'verification_key.json')
    .option('-v, --verbose', 'say more')
    .action(async (zkey, target, { verbose }) => {
      await demandWritable(target);
      await writeJson(target, await zKey.exportVerificationKey(zkey, verbose ? { info: say } : null));
    });
  exported
    .command('solidityverifier')
    .description("snarkjs's contract that verifies proofs on Ethereum")
    .argument('[zkey]', 'the proving key', 'circuit_final.zkey')
    .argument('[contract]', 'where the contract goes', 'verifier.sol')
    .action(async (zkey, target) => {
      await demandWritable(target);
      await writeWhole(target, await zKey.exportSolidityVerifier(zkey), PUBLIC);
    });
  exported
    .command('soliditycalldata')
    .description("the arguments of that contract's verifyProof")
    .argument('[public]', 'the public signals', 'public.json')
    .argument('[proof]', 'the proof', 'proof.json')
    .action(async (signals, proof) => {
      const given = readJson(proof, 'proof') as ProofLike;
      print(await groth16.exportSolidityCallData(given, readJson(signals, 'public signals') as string[]));
    });
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
  await using circuitFile = await openFile(files.r1cs, 'circuit');
  const circuit = await openR1cs(circuitFile);
  const [zkey, powers] = [await openZkey(keyFile), await openPowers(powersFile)];
  await using pool = await createPool({ threads });
  const key = await pool.ready(zkey, { signal });
  await checkKey(zkey, circuit, powers, { key, curve: pool, field: pool }, { signal });
  print('OK!');
}

export function defineWtns(command: Command): void {
  command
    .command('calculate')
    .description("the witness of a circuit's inputs")
    .argument('[wasm]', "circom's witness calculator", 'circuit.wasm')
    .argument('[input]', 'the inputs as JSON', 'input.json')
    .argument('[witness]', 'where the witness goes', 'witness.wtns')
    .action(async (wasm, input, target) => {
      await demandWritable(target);
      const values = readJson(input, 'input') as Input;
      const onLog = (line: string) => print(line);
      await wtns.calculate(values, wasm, target, { signal: interruption(), onLog });
    });
  command
    .command('check')
    .description('whether a witness satisfies every constraint of a circuit')
    .argument('[r1cs]', 'the circuit', 'circuit.r1cs')
    .argument('[witness]', 'the witness', 'witness.wtns')
    .action(async (circuit, witness) => {
      if (!(await wtns.check(circuit, witness, { info: print, warn: print }))) process.exitCode = 1;
    });
}

export function defineR1cs(command: Command): void {
  command
    .command('info')
    .description('how large a circuit is')
    .argument('[r1cs]', 'the circuit', 'circuit.r1cs')
    .action((circuit) => printInfo(circuit, print));
}

async function printInfo(circuit: string, print: Print): Promise<void> {
  for (const line of infoLines(await r1cs.info(circuit))) print(line);
}
