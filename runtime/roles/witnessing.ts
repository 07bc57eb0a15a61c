/**
 * From a quality statement to its witness, in two steps with a wall between them. `prepare` looks at public things only,
 * the cheapest first: what it refuses, it may say why. `witnessOf` computes with the model: whatever fails in it, or after
 * it, is one and the same to the requester (roles/proof-job.ts).
 *
 * Nothing of the requester's is computed with before it is checked. In memory, for as long as a proof takes: the key (at
 * most MAX_KEY_BYTES, its size in the statement's blob; longer where it is kept), the witness (32 bytes for each wire) and
 * the test set.
 */
import { readFile } from 'node:fs/promises';
import { bitWires } from '../../circuits/groth16/bit-wires.ts';
import type { ReadyKey } from '../../circuits/groth16/engine.ts';
import { entriesOfC, qapOf } from '../../circuits/groth16/qap.ts';
import { firstBroken, type R1cs, readR1cs } from '../../circuits/groth16/r1cs.ts';
import { openZkey, readZkey, type Zkey } from '../../circuits/groth16/zkey.ts';
import {
  type Architecture,
  modelDictionaryDigest,
  parseArchitecture,
} from '../../circuits/model/architecture.ts';
import type { CommittedModel } from '../../circuits/model/commit.ts';
import { emitQualityCircuit, witnessInput } from '../../circuits/model/emit.ts';
import { decideMany } from '../../circuits/model/quantise.ts';
import { demandDomain, demandRows } from '../../circuits/model/size.ts';
import { decodeTestSet, rowCounts, type TestSet } from '../../circuits/model/test-set.ts';
import { VouchError } from '../../protocols/errors.ts';
import type { ProofRequest, QualityStatement } from '../../protocols/proof.ts';
import { checkDemand } from '../../protocols/proof-demand.ts';
import type { RequesterAuthority } from '../../protocols/requester.ts';
import { checkTestRows } from '../../protocols/terms.ts';
import type { Identity } from '../attest/identity.ts';
import { folder } from '../home/home.ts';
import { obtainModel, readManifest } from '../models/obtain.ts';
import type { Pool } from '../msm/threads/pool.ts';
import { blobSource, getBlob, getManifest, type Manifest, type Place } from '../nats/blobs.ts';
import type { Bus } from '../nats/bus.ts';
import { type CompiledCircuit, circuitToolchain, compileCircuit } from '../prove/circuit-compiler.ts';
import { grant } from './budget.ts';
import type { KeptCircuits } from './kept-circuits.ts';
import { demandSoundKey } from './sound-key.ts';

/** Of a test set as JSON: no number has more digits than this, sign and comma included. */
const DIGITS = 12;
const MAX_KEY_BYTES = 2 ** 31 - 1;

/** Of a test set with so many rows, at most. */
const testSetBytes = ({ layers }: Architecture, rows: number): number =>
  1024 + rows * (layers[0]!.inputs + 2) * DIGITS;

/** What a witness is made with. */
export interface Witnessing {
  readonly bus: Bus;
  readonly source: string;
  readonly identity: Identity;
  readonly requesters: RequesterAuthority;
  readonly pool: Pool;
  readonly engine: KeptCircuits;
}

/** A statement whose public parts are all checked. */
export interface Prepared {
  readonly statement: QualityStatement;
  /** secret */
  readonly model: CommittedModel;
  readonly testSet: TestSet;
  readonly compiled: CompiledCircuit;
  readonly zkey: Zkey;
  /** which chunks the key consists of */
  readonly key: Manifest;
  readonly bits: Uint8Array;
}

export interface Witnessed extends Pick<Prepared, 'zkey' | 'key'> {
  /** secret */
  readonly witness: Uint8Array;
  /** which wires are bits, by the circuit's constraints (`bitWires`) */
  readonly bits: Uint8Array;
  readonly architecture: Architecture;
  readonly constraints: number;
}

/**
 * Checks all that is public of a statement, then obtains the model. Throws `bad-input` (more than all rows, another
 * circuit), `unknown-model`, `commitment-mismatch`, `too-large`, `bad-file` (a blob that is missing or damaged),
 * `key-rejected`, and what the key-brokers refuse with.
 */
export async function prepare(
  { bus, source, identity, requesters, pool, engine }: Witnessing,
  { asked, client }: { readonly asked: ProofRequest; readonly client: string },
  signal: AbortSignal,
): Promise<Prepared> {
  const { statement } = asked;
  const { rows, threshold } = statement;
  if (threshold > rows) {
    throw new VouchError(
      'bad-input',
      `statement.threshold: expected at most ${rows}, the number of rows, got ${threshold}`,
    );
  }
  const { manifest } = await readManifest(bus, statement.model);
  checkDemand(asked, manifest, requesters, new Date());
  const architecture = parseArchitecture(manifest.architecture);
  if (statement.dictionary !== modelDictionaryDigest(architecture))
    throw new VouchError('bad-input', 'statement.dictionary: expected the digest of that of the model');
  demandRows(architecture, rows);

  // A few chunks tell how large the key is, and so whether it can be one for this.
  const limits = { cacheDir: folder('cache', 'blobs'), signal };
  const keys: Place = { shelf: 'keys', writer: client };
  const key = await getManifest(bus, keys, statement.key, { ...limits, maxBytes: MAX_KEY_BYTES });
  const { domainSize } = await openZkey(blobSource(bus, keys, key, limits));
  demandDomain(domainSize, architecture, rows);

  const testSet = decodeTestSet(
    architecture,
    await getBlob(bus, { shelf: 'testSets', writer: client }, statement.testSet, {
      ...limits,
      maxBytes: testSetBytes(architecture, rows),
    }),
  );
  checkTestRows(manifest.terms, rowCounts(testSet), threshold);
  const otherCircuit = () =>
    new VouchError(
      'bad-input',
      `statement.circuit: expected that of this model and test set (${testSet.labels.length} rows), got another; both sides need the same version`,
    );
  if (testSet.labels.length !== rows) throw otherCircuit();
  const toolchain = await circuitToolchain();
  const circuit = emitQualityCircuit(architecture, testSet, toolchain);
  if (circuit.digest !== statement.circuit) throw otherCircuit();

  const name = `${statement.circuit}/${statement.key}/${statement.powers}`;
  const kept = engine.kept(name);
  const zkey =
    kept ?? readZkey(await getBlob(bus, keys, statement.key, { ...limits, maxBytes: MAX_KEY_BYTES }));
  const compiled = await compileCircuit(circuit, toolchain, {
    cacheDir: folder('cache', 'circuits'),
    signal,
  });
  let parsed: Promise<R1cs> | undefined;
  const r1cs = () => {
    parsed ??= readFile(compiled.r1csPath).then(readR1cs);
    return parsed;
  };
  if (!kept) {
    const found = { statement, keys, zkey, r1cs };
    await demandSoundKey({ bus, pool, engine }, found, signal);
    engine.keep(name, zkey, key.size);
  }
  await grant(bus, manifest.name, manifest.terms, { job: asked.job, requester: client, time: Date.now() });
  const { model, manifest: served } = await obtainModel(bus, source, identity, statement.model, asked);
  if (served.commitment !== statement.commitment)
    throw new VouchError('commitment-mismatch', `model ${statement.model}: it was published anew meanwhile`);
  return { statement, model, testSet, compiled, zkey, key, bits: await bitsOf(zkey, r1cs) };
}

/** By the key of their circuit, and as long as it is kept. */
const knownBits = new WeakMap<Zkey, Uint8Array>();

async function bitsOf(zkey: Zkey, r1cs: () => Promise<R1cs>): Promise<Uint8Array> {
  const bits = knownBits.get(zkey) ?? bitWires(await r1cs());
  knownBits.set(zkey, bits);
  return bits;
}

/**
 * The witness of a statement that was prepared. Throws `statement-false`, `witness-rejected`, `cancelled`: for the log,
 * not for the requester.
 */
export async function witnessOf(
  { engine, pool }: Pick<Witnessing, 'engine' | 'pool'>,
  { statement, model, testSet, compiled, zkey, key, bits }: Prepared,
  signal: AbortSignal,
): Promise<Witnessed> {
  const { rows, threshold } = statement;
  const decisions = decideMany(model, testSet.features);
  const correct = decisions.filter((decision, row) => decision === testSet.labels[row]).length;
  if (correct < threshold) {
    // How many it does reach is the vendor's secret.
    throw new VouchError(
      'statement-false',
      `the model does not classify ${threshold} of ${rows} rows correctly`,
    );
  }
  const calculator = { name: statement.circuit, read: () => readFile(compiled.wasmPath) };
  const witness = await engine.calculators.calculate(calculator, witnessInput(model, threshold), { signal });
  try {
    await demandSatisfied({ engine, pool }, { zkey, compiled }, witness, signal);
  } catch (error) {
    witness.fill(0);
    throw error;
  }
  return { witness, bits, zkey, key, architecture: model.architecture, constraints: compiled.constraints };
}

/**
 * Throws `witness-rejected` unless the witness satisfies every constraint: what a proof hides holds for true witnesses only
 * (check-key.ts), and a calculator, which has checked them on its way, is a program of its own.
 */
async function demandSatisfied(
  { engine, pool }: Pick<Witnessing, 'engine' | 'pool'>,
  { zkey, compiled }: Pick<Prepared, 'zkey' | 'compiled'>,
  witness: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  const circuit = async () => readR1cs(await readFile(compiled.r1csPath));
  const products = async () => {
    const r1cs = await circuit();
    return entriesOfC(r1cs, await qapOf(r1cs, pool));
  };
  const check = async (ready: ReadyKey) => {
    try {
      return await ready.satisfied?.(witness, products, { signal });
    } finally {
      ready.release();
    }
  };
  // Threads can where a GPU cannot, but for the smallest circuits.
  const satisfied =
    (await check(await engine.ready(zkey, { signal }))) ??
    (await check(await pool.ready(zkey, { signal }))) ??
    firstBroken(await circuit(), witness) < 0;
  if (!satisfied) throw new VouchError('witness-rejected', 'the witness breaks a constraint of its circuit');
}
