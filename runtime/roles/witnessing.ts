/**
 * From a quality statement to its witness: the model from the key-broker, the test set and the key from the blob
 * store, the circuit emitted and compiled here, and every one of them checked against what the statement names.
 * Nothing of the requester's is computed with before it is checked.
 *
 * In memory, for as long as a proof takes: the key (at most MAX_KEY_BYTES, its size in the statement's blob), the
 * witness (32 bytes for each wire) and, while it is fetched, the test set.
 */
import { readFile } from 'node:fs/promises';
import type { ProverEngine } from '../../circuits/groth16/engine.ts';
import { readZkey, type Zkey } from '../../circuits/groth16/zkey.ts';
import { type Architecture, parseArchitecture } from '../../circuits/model/architecture.ts';
import { emitQualityCircuit, witnessInput } from '../../circuits/model/emit.ts';
import { decideMany } from '../../circuits/model/quantise.ts';
import { decodeTestSet } from '../../circuits/model/test-set.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { QualityStatement } from '../../protocols/proof.ts';
import type { Identity } from '../attest/identity.ts';
import { folder } from '../home/home.ts';
import { obtainModel } from '../models/obtain.ts';
import type { Pool } from '../msm/threads/pool.ts';
import { getBlob, getManifest, type Manifest } from '../nats/blobs.ts';
import type { Bus } from '../nats/bus.ts';
import { calculateWitness, circuitToolchain, compileCircuit } from '../prove/circuit-compiler.ts';
import { demandSoundKey } from './sound-key.ts';

const MAX_TEST_SET_BYTES = 64 * 1024 * 1024;
const MAX_KEY_BYTES = 2 ** 31 - 1;

export interface Witnessed {
  /** secret */
  readonly witness: Uint8Array;
  readonly zkey: Zkey;
  /** which chunks the key consists of */
  readonly key: Manifest;
  readonly architecture: Architecture;
  readonly constraints: number;
}
/** What a witness is made with. */
export interface Witnessing {
  readonly bus: Bus;
  readonly source: string;
  readonly identity: Identity;
  readonly pool: Pool;
  readonly engine: ProverEngine;
}

/**
 * Throws `unknown-model`, `evidence-rejected` (the broker refuses us), `commitment-mismatch`, `bad-input` (another
 * circuit), `statement-false`, `bad-file` (a blob that is missing or damaged), `too-large`, `key-rejected`.
 */
export async function witnessOf(
  { bus, source, identity, pool, engine }: Witnessing,
  statement: QualityStatement,
  signal: AbortSignal,
): Promise<Witnessed> {
  if (statement.threshold > statement.rows) {
    throw new VouchError(
      'bad-input',
      `statement.threshold: expected at most ${statement.rows}, the number of rows, got ${statement.threshold}`,
    );
  }
  const { model, manifest } = await obtainModel(bus, source, identity, statement.model);
  if (manifest.commitment !== statement.commitment) {
    throw new VouchError(
      'commitment-mismatch',
      `statement.commitment: expected that of model ${statement.model} as it is served now, got another`,
    );
  }
  const limits = { cacheDir: folder('cache', 'blobs'), signal };
  const testSet = decodeTestSet(
    model.architecture,
    await getBlob(bus, statement.testSet, { ...limits, maxBytes: MAX_TEST_SET_BYTES }),
  );
  const toolchain = await circuitToolchain();
  const circuit = emitQualityCircuit(model.architecture, testSet, toolchain);
  if (circuit.digest !== statement.circuit || circuit.rows !== statement.rows) {
    throw new VouchError(
      'bad-input',
      `statement.circuit: expected that of this model and test set (${circuit.rows} rows), got another; both sides need the same version`,
    );
  }
  const compiled = await compileCircuit(circuit, toolchain, {
    cacheDir: folder('cache', 'circuits'),
    signal,
  });
  const key = await getManifest(bus, statement.key, { ...limits, maxBytes: MAX_KEY_BYTES });
  const zkey = readZkey(await getBlob(bus, statement.key, { ...limits, maxBytes: MAX_KEY_BYTES }));
  await demandSoundKey({ bus, pool, engine }, { statement, zkey, r1csPath: compiled.r1csPath }, signal);
  // From here on the model's parameters enter, and how it ends is an answer about them.
  const decisions = decideMany(model, testSet.features);
  const correct = decisions.filter((decision, row) => decision === testSet.labels[row]).length;
  if (correct < statement.threshold) {
    // How many it does reach is the vendor's secret.
    throw new VouchError(
      'statement-false',
      `the model does not classify ${statement.threshold} of ${statement.rows} rows correctly`,
    );
  }
  const witness = await calculateWitness(
    await readFile(compiled.wasmPath),
    witnessInput(model, statement.threshold),
    { signal },
  );
  return {
    witness,
    zkey,
    key,
    architecture: parseArchitecture(manifest.architecture),
    constraints: compiled.constraints,
  };
}
