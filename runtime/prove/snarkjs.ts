/**
 * The only importer of `snarkjs`: its verifier is the second opinion on every proof, and its ceremony the real
 * setup path. It is loaded on first use, for it costs every command a third of a second. It keeps worker threads in
 * a global curve; they are ended when the process has no more use for them.
 */
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Proof, VerificationKey } from '../../circuits/groth16/verify.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { Log } from '../home/log.ts';

/** It is not there where only the prover was installed. */
const load = () =>
  import('snarkjs').catch((cause: unknown) => {
    throw new VouchError('not-ready', 'this needs the package snarkjs: npm install snarkjs', { cause });
  });

/** One verification at a time: snarkjs starts its threads on first use, for each who comes before they are there. */
let turn: Promise<unknown> = Promise.resolve();

/** Whether snarkjs accepts the proof. */
export async function verifyWithSnarkjs(
  key: VerificationKey,
  publicSignals: readonly string[],
  proof: Proof,
): Promise<boolean> {
  const { groth16 } = await load();
  const verified = turn.then(() => groth16.verify(key as never, [...publicSignals], proof as never));
  turn = verified.catch(() => {});
  return verified;
}

/** The contract that snarkjs makes for a Groth16 key, from its own template. */
export async function solidityVerifier(
  zkey: string | Uint8Array | { readonly type: 'mem'; readonly data?: Uint8Array },
): Promise<string> {
  const { zKey } = (await load()) as unknown as {
    zKey: { exportSolidityVerifier(zkey: unknown, templates: Record<string, string>): Promise<string> };
  };
  if (!import.meta.url)
    throw new VouchError(
      'not-ready',
      'the contract cannot be made inside of a bundle: run vouch zkey export solidityverifier',
    );
  // The package lets nobody ask for its templates by name; they lie beside the folder of its entry point.
  const entry = createRequire(import.meta.url).resolve('snarkjs');
  const groth16 = await readFile(join(dirname(entry), '../templates/verifier_groth16.sol.ejs'), 'utf8');
  // Its threads are ended unless they were somebody's before.
  const wasOpen = Boolean(openCurve());
  try {
    return await zKey.exportSolidityVerifier(zkey, { groth16 });
  } finally {
    if (!wasOpen) await closeSnarkjs();
  }
}

/** Ends the threads that snarkjs leaves running; without it a process does not exit by itself. */
export async function closeSnarkjs(): Promise<void> {
  await openCurve()?.terminate();
}

const openCurve = () => (globalThis as { curve_bn128?: { terminate(): Promise<void> } | null }).curve_bn128;

/**
 * The ceremony path: snarkjs's setup from a prepared powers-of-tau file, one contribution with this system's
 * randomness, and snarkjs's check of the result against circuit and file. Minutes at 2^16. Throws `key-rejected`
 * when the check fails, `bad-file` when the file does not fit the circuit.
 */
export async function ceremonyKey(r1cs: Uint8Array, ptau: string, say: Log): Promise<Uint8Array> {
  const first = { type: 'mem' as const };
  const last: { type: 'mem'; data?: Uint8Array } = { type: 'mem' };
  const circuit = { type: 'mem' as const, data: r1cs };
  const zKey = (await load()).zKey as unknown as {
    newZKey(r1cs: unknown, ptau: string, zkey: unknown): Promise<unknown>;
    contribute(from: unknown, to: unknown, name: string, entropy: string): Promise<unknown>;
    verifyFromR1cs(r1cs: unknown, ptau: string, zkey: unknown): Promise<boolean>;
  };
  say('phase 2: evaluating the circuit at the powers of tau');
  // snarkjs answers -1, or throws, for a file that is too small or not one at all.
  const made = await zKey.newZKey(circuit, ptau, first).catch((error: unknown) => error);
  if (made instanceof Error || made === -1 || made === undefined) {
    throw new VouchError(
      'bad-file',
      `powers of tau ${ptau}: not a prepared file that is large enough for this circuit`,
    );
  }
  say('contributing');
  const entropy = Buffer.from(crypto.getRandomValues(new Uint8Array(64))).toString('hex');
  await zKey.contribute(first, last, 'vouch', entropy);
  say('checking the key against circuit and powers of tau');
  if (!(await zKey.verifyFromR1cs(circuit, ptau, last)) || !last.data) {
    throw new VouchError('key-rejected', 'snarkjs does not accept the key that it made');
  }
  return last.data;
}
