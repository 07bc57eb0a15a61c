/** `vouch setup`: the ceremony path, by snarkjs; the key replaces the single-party key of that circuit. */
import { readFile } from 'node:fs/promises';
import { readZkey } from '../../circuits/groth16/zkey.ts';
import { parseArchitecture } from '../../circuits/model/architecture.ts';
import { VouchError } from '../../protocols/errors.ts';
import { readContext, readNamed } from '../context.ts';
import { readManifest } from '../models.ts';
import type { Log } from '../service.ts';
import { CEREMONY, prepareCircuit, rememberKey } from '../setup.ts';
import { ceremonyKey, closeSnarkjs } from '../snarkjs.ts';
import { readRows, testSetOf } from '../test-sets.ts';
import { asClient, type Network } from './network.ts';
import { testSetFile } from './prove.ts';

export interface SetupCommand extends Network {
  readonly ptau: string;
  /** default: the one that runs here */
  readonly model?: string;
  readonly testSet?: string;
}

export async function setupCommand(options: SetupCommand, say: Log, signal: AbortSignal): Promise<void> {
  readNamed(options.ptau, 'powers of tau');
  const model = options.model ?? readContext().model;
  if (model === undefined) throw new VouchError('bad-input', 'setup: expected --model NAME, got none');
  const rows = readRows(testSetFile(model, options.testSet));
  const architecture = await asClient(options, async (bus) =>
    parseArchitecture((await readManifest(bus, model)).architecture),
  );
  say('compiling the circuit');
  const circuit = await prepareCircuit(architecture, testSetOf(rows, architecture), { signal });
  try {
    const zkey = await ceremonyKey(await readFile(circuit.r1csPath), options.ptau, say);
    readZkey(zkey);
    await rememberKey(circuit.digest, zkey, { origin: 'ceremony', mark: CEREMONY });
  } finally {
    await closeSnarkjs();
  }
  say(
    `the key of circuit ${circuit.digest} (${circuit.constraints} constraints) was made from ${options.ptau} and checked against it`,
  );
}
