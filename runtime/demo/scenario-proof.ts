/** The proof of a scenario, made and verified on this host: with a key that convinces its maker only. */
import { prove } from '../../circuits/groth16/prove.ts';
import { verificationKey, verify } from '../../circuits/groth16/verify.ts';
import { openZkey } from '../../circuits/groth16/zkey.ts';
import { commit } from '../../circuits/model/commit.ts';
import { witnessInput } from '../../circuits/model/emit.ts';
import { demandRows } from '../../circuits/model/size.ts';
import { VouchError } from '../../protocols/errors.ts';
import { openFile } from '../home/file-source.ts';
import { readNamed } from '../home/files.ts';
import { demandUseful } from '../models/test-sets.ts';
import { commitOnnx } from '../models/vendor.ts';
import { createPool } from '../msm/threads/pool.ts';
import { prepareCircuit, prepareKey } from '../prove/setup.ts';
import { calculateWitness } from '../prove/witness-calculator.ts';
import { type Scenario, type ScenarioRows, type TrainedModel, thresholdOf } from './scenario.ts';

export interface ScenarioProof {
  readonly commitment: string;
  readonly threshold: number;
  readonly rows: number;
  readonly constraints: number;
  readonly keyMark: string;
  /** seconds; 0 where it was in the cache */
  readonly seconds: { readonly compile: number; readonly setup: number; readonly proof: number };
}

/**
 * Commits to the model, proves that it classifies the scenario's share of its test rows, and verifies that. Throws
 * `bad-input` for a threshold that a constant answer reaches, `witness-rejected` where the model does not reach it, and
 * `proof-rejected` where the proof does not hold.
 */
export async function proveScenario(
  scenario: Scenario,
  rows: ScenarioRows,
  { kind, onnx }: TrainedModel,
  signal: AbortSignal,
): Promise<ScenarioProof> {
  const threshold = thresholdOf(scenario, rows);
  const { testSet } = rows;
  demandUseful(testSet, threshold, scenario.terms.trivial === true);
  const { model } = await commitOnnx(`${scenario.name}-${kind}`, onnx, rows.rows, scenario.dictionary);
  const { architecture } = model;
  demandRows(architecture, testSet.labels.length);
  const began = performance.now();
  const circuit = await prepareCircuit(architecture, testSet, { signal });
  const compiled = performance.now();
  const key = await prepareKey(circuit, { signal });
  const made = performance.now();
  const wasm = readNamed(circuit.wasmPath, 'witness calculator');
  const witness = await calculateWitness(wasm, witnessInput(model, threshold), { signal });
  await using file = await openFile(key.zkey, 'proving key');
  const zkey = await openZkey(file);
  await using pool = await createPool();
  const { proof, publicSignals } = await prove(zkey, witness, pool, { signal });
  const commitment = commit(model).toString();
  const expected = [commitment, String(threshold)];
  const right = expected.every((each, i) => String(publicSignals[i]) === each);
  if (!right || !verify(verificationKey(zkey), publicSignals, proof))
    throw new VouchError('proof-rejected', `scenario ${scenario.name}: the proof does not verify`);
  const seconds = (ms: number): number => Number((ms / 1000).toFixed(1));
  return {
    commitment,
    threshold,
    rows: testSet.labels.length,
    constraints: circuit.constraints,
    keyMark: key.mark,
    seconds: {
      compile: circuit.cached ? 0 : seconds(compiled - began),
      setup: key.cached ? 0 : seconds(made - compiled),
      proof: seconds(performance.now() - made),
    },
  };
}
