/**
 * From a statement to its witness, in two steps with a wall between them. `prepare` looks at public things only,
 * the cheapest first: what it refuses, it may say why. `witnessOf` computes with the model: whatever fails in it, or after
 * it, is one and the same to the requester (roles/proof-job.ts).
 *
 * Nothing of the requester's is computed with before it is checked. In memory, for as long as a proof takes: the key's
 * coefficients (longer where it is kept), the witness (32 bytes for each wire) and the test set. The key's points are read
 * from its blob where they are needed, in pieces; what was read stays on disk within a budget (prove/cache.ts), and of a
 * key that is not of the circuit's shape nothing but its header is.
 */
import { readFile } from 'node:fs/promises';
import { bitWires } from '../../circuits/groth16/bit-wires.ts';
import type { ProverEngine, ReadyKey } from '../../circuits/groth16/engine.ts';
import { entriesOfC } from '../../circuits/groth16/qap.ts';
import { firstBroken, openR1cs, type R1cs } from '../../circuits/groth16/r1cs.ts';
import { openZkey, type ProvingKey } from '../../circuits/groth16/zkey.ts';
import {
  type Architecture,
  modelDictionaryDigest,
  outputsOf,
  parseArchitecture,
} from '../../circuits/model/architecture.ts';
import { emitCircuit } from '../../circuits/model/circuit.ts';
import type { CommittedModel } from '../../circuits/model/commit.ts';
import { demandHidden, demandHiddenDomain } from '../../circuits/model/cost-hidden.ts';
import { witnessInput } from '../../circuits/model/emit.ts';
import { hiddenInput } from '../../circuits/model/emit-hidden.ts';
import { featureRanges } from '../../circuits/model/preprocessing.ts';
import { decideMany, evaluate } from '../../circuits/model/quantise.ts';
import { commitRow, type HiddenRow } from '../../circuits/model/row.ts';
import { demandDomain, demandRows } from '../../circuits/model/size.ts';
import {
  answeredRow,
  checkTestSet,
  countRight,
  decodeOutputs,
  decodeTestSet,
  type OneAnswer,
  rowCounts,
  type TestSet,
} from '../../circuits/model/test-set.ts';
import { fromBase64url, utf8 } from '../../protocols/encoding.ts';
import { VouchError } from '../../protocols/errors.ts';
import { askedOf, type ProofRequest, type Statement } from '../../protocols/proof.ts';
import { checkDemand } from '../../protocols/proof-demand.ts';
import type { RequesterAuthority } from '../../protocols/requester.ts';
import { decodeRow } from '../../protocols/sealed-row.ts';
import { SEALING_INFO } from '../../protocols/sealing.ts';
import { subjects } from '../../protocols/subjects.ts';
import { checkTestRows } from '../../protocols/terms.ts';
import type { Identity } from '../attest/identity.ts';
import { openFile } from '../home/file-source.ts';
import { folder } from '../home/home.ts';
import { obtainModel, readManifest } from '../models/obtain.ts';
import type { Pool } from '../msm/threads/pool.ts';
import {
  blobSource,
  getBlob,
  getManifest,
  MAX_BLOB_BYTES,
  type Manifest,
  type Place,
} from '../nats/blobs.ts';
import type { Bus } from '../nats/bus.ts';
import { coordinatorChunks } from '../prove/cache.ts';
import { type CompiledCircuit, circuitToolchain, compileCircuit } from '../prove/circuit-compiler.ts';
import { grant } from './budget.ts';
import type { KeptCircuits } from './kept-circuits.ts';
import { demandSoundKey } from './sound-key.ts';

/** Of a test set as JSON: no number has more digits than this, sign and comma included. */
const DIGITS = 12;

/** Of a test set with so many rows, at most. */
const testSetBytes = (architecture: Architecture, rows: number): number =>
  1024 + rows * (featureRanges(architecture.preprocessing).length + outputsOf(architecture) + 2) * DIGITS;

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
  readonly statement: Statement;
  /** secret */
  readonly model: CommittedModel;
  readonly testSet: TestSet;
  /** secret; undefined: all rows are public */
  readonly hidden?: HiddenRow | undefined;
  readonly compiled: CompiledCircuit;
  readonly zkey: ProvingKey;
  /** which chunks the key consists of */
  readonly key: Manifest;
  readonly bits: Uint8Array;
}

export interface Witnessed extends Pick<Prepared, 'zkey' | 'key' | 'compiled'> {
  /** secret; nobody has looked yet whether it satisfies the circuit */
  readonly witness: Uint8Array;
  /** which wires are bits, by the circuit's constraints (`bitWires`) */
  readonly bits: Uint8Array;
  readonly architecture: Architecture;
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
  const { rows, threshold, testSet: rowsBlob, within } = askedOf(statement);
  if (threshold > rows) {
    throw new VouchError(
      'bad-input',
      `statement.threshold: expected at most ${rows}, the number of rows, got ${threshold}`,
    );
  }
  const { manifest, digest } = await readManifest(bus, statement.model);
  checkDemand(asked, manifest, requesters, new Date());
  const architecture = parseArchitecture(manifest.architecture);
  if (statement.dictionary !== modelDictionaryDigest(architecture))
    throw new VouchError('bad-input', 'statement.dictionary: expected the digest of that of the model');
  const hides = statement.statement === 'hidden-inference';
  if (hides) demandHidden(architecture);
  else demandRows(architecture, rows);

  // A few chunks tell how large the key is, and so whether it can be one for this.
  const limits = { kept: coordinatorChunks(), signal };
  const keys: Place = { shelf: 'keys', writer: client };
  const key = await getManifest(bus, keys, statement.key, { ...limits, maxBytes: MAX_BLOB_BYTES });
  /** Of a key that was checked for just this circuit. */
  const name = `${statement.circuit}/${statement.key}/${statement.powers}`;
  const kept = engine.kept(name);
  // Read for longer than this request where the key will be kept: its end must not end what others read.
  const zkey = kept ?? (await openZkey(blobSource(bus, keys, key, { kept: limits.kept })));
  if (hides) demandHiddenDomain(zkey.domainSize, architecture);
  else demandDomain(zkey.domainSize, architecture, rows);

  const readRows = (digest: string) =>
    getBlob(bus, { shelf: 'testSets', writer: client }, digest, {
      ...limits,
      maxBytes: testSetBytes(architecture, rows),
    });
  const answer = hides
    ? (statement.decision ?? decodeOutputs(architecture, await readRows(statement.outputs!)))
    : undefined;
  const hidden =
    answer === undefined ? undefined : await openRow(identity, asked, { client, architecture, answer });
  const testSet = hidden
    ? answeredRow(hidden.features, answer!)
    : { ...decodeTestSet(architecture, await readRows(rowsBlob!)), within };
  if (statement.statement === 'quality') checkTestRows(manifest.terms, rowCounts(testSet), threshold);
  else if ((testSet.outputs ? undefined : testSet.labels[0]) !== statement.decision)
    throw new VouchError('bad-input', 'statement.decision: expected the label of the row of its input');
  if (testSet.outputs && statement.statement === 'quality')
    throw new VouchError(
      'bad-input',
      'statement: the answers of this model are numbers, and no class is right',
    );
  const otherCircuit = () =>
    new VouchError(
      'bad-input',
      `statement.circuit: expected that of this model and test set (${testSet.labels.length} rows), got another; both sides need the same version`,
    );
  if (testSet.labels.length !== rows) throw otherCircuit();
  const toolchain = await circuitToolchain();
  const subject = answer === undefined ? testSet : { hiddenAnswer: answer };
  const constants = hides
    ? `hidden/${statement.decision ?? statement.outputs}`
    : `${rowsBlob}/${within ?? ''}`;
  const circuit = engine.circuitOf(`${digest}/${constants}`, () =>
    emitCircuit(architecture, subject, toolchain),
  );
  if (circuit.digest !== statement.circuit) throw otherCircuit();

  const compiled = await compileCircuit(circuit, toolchain, {
    cacheDir: folder('cache', 'circuits'),
    signal,
  });
  let parsed: Promise<R1cs> | undefined;
  const r1cs = () => {
    parsed ??= constraintsOf(compiled);
    return parsed;
  };
  if (!kept) {
    const found = { statement, keys, zkey, r1cs };
    await demandSoundKey({ bus, pool, engine }, found, signal);
    engine.keep(name, zkey);
  }
  await grant(bus, manifest.name, manifest.terms, { job: asked.job, requester: client, time: Date.now() });
  const { model, manifest: served } = await obtainModel(bus, source, identity, statement.model, asked);
  if (served.commitment !== statement.commitment)
    throw new VouchError('commitment-mismatch', `model ${statement.model}: it was published anew meanwhile`);
  return { statement, model, testSet, hidden, compiled, zkey, key, bits: await bitsOf(zkey, r1cs) };
}

/**
 * The row that a request hides, as it was sealed to this process. Throws `seal-rejected` where it was not, and `bad-input` for a
 * row that the dictionary does not allow, or that has another commitment.
 */
async function openRow(
  { id, sealing }: Identity,
  { statement, sealedRows = [], job }: ProofRequest,
  {
    client,
    architecture,
    answer,
  }: { readonly client: string; readonly architecture: Architecture; readonly answer: OneAnswer },
): Promise<HiddenRow> {
  const mine = sealedRows.find(({ coordinator }) => coordinator === id);
  if (!mine || statement.statement !== 'hidden-inference')
    throw new VouchError(
      'seal-rejected',
      `sealedRows: the hidden row is not sealed to coordinator ${id}, which took the request; ask again`,
    );
  // A request may come twice, to be tried again.
  const aad = utf8(subjects.proofRequest(statement.statement, client, job));
  const sealed = fromBase64url(mine.sealed, 'sealed row');
  const { plaintext } = await sealing.open(sealed, { info: SEALING_INFO.row, aad });
  const ranges = featureRanges(architecture.preprocessing);
  const row = decodeRow(plaintext, ranges.length);
  plaintext.fill(0);
  // Before a check whose sentence quotes what it finds: everybody who hears of this proof would read it.
  if (ranges.some(({ low, high }, i) => row.features[i]! < low || row.features[i]! > high))
    throw new VouchError('bad-input', 'sealed row: a feature lies outside of the range that it may have');
  checkTestSet(architecture, answeredRow(row.features, answer));
  if (commitRow(architecture, row).toString() !== statement.row)
    throw new VouchError('bad-input', 'statement.row: expected the commitment to the row that is sealed');
  return row;
}

async function constraintsOf({ r1csPath }: CompiledCircuit): Promise<R1cs> {
  await using file = await openFile(r1csPath, 'circuit');
  return await openR1cs(file);
}

/** By the key of their circuit, and as long as it is kept. */
const knownBits = new WeakMap<ProvingKey, Uint8Array>();

async function bitsOf(zkey: ProvingKey, r1cs: () => Promise<R1cs>): Promise<Uint8Array> {
  const bits = knownBits.get(zkey) ?? bitWires(await r1cs());
  knownBits.set(zkey, bits);
  return bits;
}

/**
 * The witness of a statement that was prepared. Throws `statement-false`, `witness-rejected`, `cancelled`: for the log,
 * not for the requester.
 */
export async function witnessOf(
  { engine }: Pick<Witnessing, 'engine'>,
  { statement, model, testSet, hidden, compiled, zkey, key, bits }: Prepared,
  signal: AbortSignal,
): Promise<Witnessed> {
  const { rows, threshold } = askedOf(statement);
  const decisions = decideMany(model, testSet.features);
  const correct = countRight(testSet, decisions);
  const answers = testSet.outputs?.map((stated, row) => ({
    stated,
    given: evaluate(model, testSet.features[row]!).logits,
  }));
  if (answers?.some(({ stated, given }) => given.some((value, e) => value !== stated[e])))
    throw new VouchError('statement-false', 'the model does not give these numbers');
  if (correct < threshold) {
    // How many it does reach is the vendor's secret.
    throw new VouchError(
      'statement-false',
      `the model does not answer ${threshold} of ${rows} rows correctly`,
    );
  }
  const calculator = { name: statement.circuit, read: () => readFile(compiled.wasmPath) };
  const input = hidden ? hiddenInput(model, hidden) : witnessInput(model, threshold);
  const witness = await engine.calculators.calculate(calculator, input, { signal });
  return { witness, bits, zkey, key, compiled, architecture: model.architecture };
}

/**
 * The scalars of section H, of a witness that satisfies every constraint; throws `witness-rejected` for one that does not. What
 * a proof hides holds for true witnesses only (check-key.ts), and a calculator, which has checked them on its way, is a program
 * of its own. So nothing is published, and no scalar of H leaves, before this.
 */
export async function quotientOf(
  { engine, pool }: Pick<Witnessing, 'engine' | 'pool'>,
  { zkey, compiled, witness }: Pick<Witnessed, 'zkey' | 'compiled' | 'witness'>,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  const circuit = () => constraintsOf(compiled);
  const products = async () => entriesOfC(await circuit(), pool);
  const holding = async <T>(of: ProverEngine, use: (ready: ReadyKey) => Promise<T>): Promise<T> => {
    const ready = await of.ready(zkey, { signal, points: 'streamed' });
    try {
      return await use(ready);
    } finally {
      ready.release();
    }
  };
  const rejected = () => new VouchError('witness-rejected', 'the witness breaks a constraint of its circuit');
  return holding(engine, async (ready) => {
    if (ready.checkedQuotient) {
      const scalars = await ready.checkedQuotient(witness, products, { signal });
      if (!scalars) throw rejected();
      return scalars;
    }
    // Threads can check where a GPU cannot, but for the smallest circuits.
    const satisfied =
      (await holding(pool, async (threads) => threads.satisfied?.(witness, products, { signal }))) ??
      firstBroken(await circuit(), witness) < 0;
    if (!satisfied) throw rejected();
    return ready.quotient(witness, { signal });
  });
}
