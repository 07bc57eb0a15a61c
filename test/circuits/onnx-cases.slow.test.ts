/** Each of ONNX's own cases that is not refused: served with the reference's integers, its circuit no larger than foretold, and proved. */
import { prove } from '../../circuits/groth16/prove.ts';
import { setup } from '../../circuits/groth16/setup.ts';
import { verificationKey, verify } from '../../circuits/groth16/verify.ts';
import { readZkey } from '../../circuits/groth16/zkey.ts';
import { randomSalt } from '../../circuits/model/commit.ts';
import { circuitCost } from '../../circuits/model/cost.ts';
import { emitQualityCircuit, witnessInput } from '../../circuits/model/emit.ts';
import { serveModel } from '../../runtime/inference/session.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { calculateWitness } from '../../runtime/prove/witness-calculator.ts';
import { assert, suite } from '../harness.ts';
import { compiled, testToolchain } from './model-fixture.ts';
import { caseNames, haveCases, tensorCase } from './onnx-cases.ts';

const test = suite("ONNX's own cases, proved", { timeoutMs: 180_000 });

for (const name of haveCases() ? caseNames() : []) {
  const made = tensorCase(name);
  if (made.problems) continue;
  test(name, async (t) => {
    const { architecture, parameters, testSet } = made;
    const model = { architecture, parameters, salt: randomSalt() };
    const served = await serveModel(model);
    const [answer] = await served.answer(testSet.features);
    await served.close();
    assert.equal([...answer!.logits], [...testSet.outputs[0]!], 'served');

    const circuit = emitQualityCircuit(architecture, testSet, await testToolchain());
    const { wasm, file, constraints } = await compiled(t, circuit);
    const { constraints: most } = circuitCost(architecture, testSet);
    // Numbers that determine the parameters by linear equations make them constants.
    assert.ok(constraints <= most, `${constraints}, predicted ${most}`);
    const witness = await calculateWitness(wasm, witnessInput(model, 1));
    await using pool = await createPool();
    const { zkey } = await setup(file, { field: pool, points: pool });
    const key = readZkey(zkey);
    const { proof, publicSignals } = await prove(key, witness, pool);
    assert.ok(verify(verificationKey(key), publicSignals, proof), 'the proof verifies');
  });
}
if (!haveCases()) test('no cases', (t) => t.skip('no ../shared/data/onnx'));

test.run();
