/** `vouch setup`: the ceremony path, by snarkjs; the key replaces the single-party key of that circuit. */
import type { Command } from '@commander-js/extra-typings';
import { cutPowers, openPowersOfTau, type PowersOfTau } from '../../circuits/groth16/ptau.ts';
import { domainBits } from '../../circuits/groth16/qap.ts';
import { readR1cs } from '../../circuits/groth16/r1cs.ts';
import { readZkey } from '../../circuits/groth16/zkey.ts';
import { parseArchitecture } from '../../circuits/model/architecture.ts';
import { VouchError } from '../../protocols/errors.ts';
import { demandProvable } from '../../protocols/manifest.ts';
import { acquaint } from '../client/pins.ts';
import { openFile } from '../home/file-source.ts';
import { readNamed } from '../home/files.ts';
import type { Log } from '../home/log.ts';
import { readRunning } from '../home/running.ts';
import { readManifest } from '../models/obtain.ts';
import { dictionaryOf, readRows, testSetOf } from '../models/test-sets.ts';
import { demandKeyRememberable, prepareCircuit, rememberCeremony } from '../prove/setup.ts';
import { ceremonyKey, closeSnarkjs } from '../prove/snarkjs.ts';
import { type OptionsOf, pinning } from './declaration.ts';
import { asClient, type Network, networkOf } from './network.ts';
import { testSetFile } from './prove.ts';
import { interruption, say as sayAloud } from './terminal.ts';

const declared = (command: Command) =>
  pinning(command)
    .requiredOption('--ptau <file>', 'a .ptau file prepared for phase 2')
    .option('--model <name>', 'the model, as published; default: that of the last npm start')
    .option('--test-set <file>', 'labelled rows; default: those that this host keeps for the model');

export const define = (command: Command) =>
  declared(command).action((options) =>
    setupCommand({ ...options, ...networkOf(options) }, sayAloud, interruption()),
  );

async function preparedPowers(path: string): Promise<PowersOfTau> {
  await using file = await openFile(path, 'powers of tau');
  const powers = await openPowersOfTau(file);
  if (powers.prepared) return powers;
  throw new VouchError(
    'bad-file',
    `powers of tau ${path}: it is not prepared for phase 2; take the prepared file, or run snarkjs powersoftau prepare phase2`,
  );
}

export async function setupCommand(
  options: Network & Omit<OptionsOf<typeof declared>, keyof Network>,
  say: Log,
  signal: AbortSignal,
): Promise<void> {
  // What is wrong with files is said before minutes are spent.
  await demandKeyRememberable();
  const { power } = await preparedPowers(options.ptau);
  const model = options.model ?? readRunning().model;
  if (model === undefined) throw new VouchError('bad-input', 'setup: expected --model NAME, got none');
  const file = testSetFile(model, options.testSet);
  const architecture = await asClient(options, async (bus) => {
    const published = await readManifest(bus, model);
    await acquaint(published, { vendor: options.vendor, say });
    demandProvable(published.manifest);
    return parseArchitecture(published.manifest.architecture);
  });
  const rows = readRows(file, dictionaryOf(architecture));
  say('compiling the circuit');
  const circuit = await prepareCircuit(architecture, testSetOf(rows, architecture), { signal });
  const r1cs = readNamed(circuit.r1csPath, 'circuit');
  const needed = domainBits(readR1cs(r1cs));
  if (power < needed) {
    throw new VouchError(
      'bad-file',
      `powers of tau ${options.ptau}: it is for circuits of up to 2^${power} rows, this one needs 2^${needed}; take a larger file`,
    );
  }
  try {
    const zkey = await ceremonyKey(r1cs, options.ptau, say);
    readZkey(zkey);
    await using file = await openFile(options.ptau, 'powers of tau');
    await rememberCeremony(circuit.digest, zkey, (to) => cutPowers(file, needed, to));
  } finally {
    await closeSnarkjs();
  }
  say(
    `the key of circuit ${circuit.digest} (${circuit.constraints} constraints) was made from ${options.ptau} and checked against it`,
  );
}
