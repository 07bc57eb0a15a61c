/**
 * `vouch zkey`, `vouch wtns` and `vouch r1cs`: twins of the snarkjs commands that a Groth16 user needs every day, with the
 * same arguments, defaults and files. What only snarkjs has is named in snarkjs-words.ts.
 */
import type { Command } from '@commander-js/extra-typings';
import { demandWritable, writeWhole } from '../home/files.ts';
import { infoLines } from '../msm/drop-in.ts';
import { groth16, type Input, type ProofLike, r1cs, wtns, zKey } from '../prove/prover.ts';
import { readJson, writeJson } from './json-files.ts';
import { interruption, type Print, print, say } from './terminal.ts';

/** Files that anybody may read. */
const PUBLIC = { mode: 0o644 };

export function defineZkey(command: Command): void {
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
