/**
 * Makes test/vectors/proof.json: the quality proof of the document's model, under a fresh single-party key. Only
 * needed when the model, the circuit's templates or the form of the record change. Biome formats the file.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prove } from '../../circuits/groth16/prove.ts';
import { setup } from '../../circuits/groth16/setup.ts';
import { verificationKey } from '../../circuits/groth16/verify.ts';
import { readZkey } from '../../circuits/groth16/zkey.ts';
import { architectureDocument } from '../../circuits/model/architecture.ts';
import { emitQualityCircuit, witnessInput } from '../../circuits/model/emit.ts';
import { decideMany } from '../../circuits/model/quantise.ts';
import { hex } from '../../protocols/encoding.ts';
import { jobOf, ProofRecord } from '../../protocols/proof.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { manifestOf } from '../../runtime/nats/blobs.ts';
import { circuitToolchain, compileCircuit } from '../../runtime/prove/circuit-compiler.ts';
import { calculateWitness } from '../../runtime/prove/witness-calculator.ts';
import { fixed, model, NOW, PROOF_FILE, statement, THRESHOLD, testSet, WORKER } from './document-scenario.ts';

export async function makeProof(): Promise<void> {
  const committed = model();
  const rows = testSet();
  const correct = decideMany(committed, rows.features).filter((got, i) => got === rows.labels[i]).length;
  if (correct < THRESHOLD) throw new Error(`the model classifies ${correct} rows correctly`);
  const toolchain = await circuitToolchain();
  const circuit = emitQualityCircuit(committed.architecture, rows, toolchain);
  const cacheDir = await mkdtemp(join(tmpdir(), 'vouch-document-'));
  const pool = await createPool({ threads: 1 });
  try {
    const compiled = await compileCircuit(circuit, toolchain, { cacheDir });
    const made = await setup(await readFile(compiled.r1csPath), { field: pool, points: pool });
    const zkey = readZkey(made.zkey);
    const witness = await calculateWitness(
      await readFile(compiled.wasmPath),
      witnessInput(committed, THRESHOLD),
    );
    const { proof, publicSignals } = await prove(zkey, witness, pool);
    const asked = statement({
      circuit: circuit.digest,
      key: manifestOf(made.zkey).digest,
      powers: manifestOf(made.powers).digest,
    });
    const nonce = hex(fixed('proof nonce'));
    const record = ProofRecord.parse({
      job: jobOf(nonce, asked),
      nonce,
      statement: asked,
      proof,
      publicSignals,
      verificationKey: verificationKey(zkey),
      architecture: architectureDocument(committed.architecture),
      constraints: compiled.constraints,
      domain: zkey.domainSize,
      phases: {
        witnessing: 210,
        transforming: 12,
        planning: 1,
        dispatching: 95,
        assembling: 60,
        verifying: 15,
      },
      workers: [{ id: WORKER, shards: 5, millis: 70 }],
      time: NOW.toISOString(),
    });
    await writeFile(PROOF_FILE, `${JSON.stringify(record, null, 1)}\n`);
  } finally {
    await pool.close();
    await rm(cacheDir, { recursive: true, force: true });
  }
}
