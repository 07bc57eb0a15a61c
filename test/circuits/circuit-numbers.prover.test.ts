/** Quality circuits of models that answer numbers: which rows count, at both ends, and that nothing else opens them. */
import { type CommittedModel, commit } from '../../circuits/model/commit.ts';
import { circuitCost } from '../../circuits/model/cost.ts';
import { emitQualityCircuit, witnessInput } from '../../circuits/model/emit.ts';
import { decideMany, evaluate } from '../../circuits/model/quantise.ts';
import { demandDomain, estimateConstraints } from '../../circuits/model/size.ts';
import { serveModel } from '../../runtime/inference/session.ts';
import { calculateWitness } from '../../runtime/prove/witness-calculator.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import {
  compiled,
  freedom,
  rejects,
  rowsFor,
  templateCircuit,
  testToolchain,
  violations,
  violationsNear,
  wires,
} from './model-fixture.ts';
import { smallNumbers, smallNumberTrees } from './numbers-fixture.ts';
import { drawing, type LeNet, products, smallTensors } from './tensors-fixture.ts';
import { smallRows } from './trees-fixture.ts';

const test = suite('circuit of numbers', { timeoutMs: 120_000 });
const WITHIN = 3;
/** So small that every wire can be looked at. */
const CONVOLUTIONS: LeNet = { side: 8, channels: [1, 2], kernel: 2, pad: 0, dense: [2, 1], seed: 4 };

/** Labels at both ends of what counts for the model's answers, and just beyond; `counted` says which count. */
function labelled(model: CommittedModel, features: readonly Int32Array[]) {
  const { low, high } = model.architecture.number!.label;
  const offsets = [0, WITHIN, -WITHIN, WITHIN + 1, -WITHIN - 1];
  const labels = decideMany(model, features).map((answer, r) =>
    Math.max(low, Math.min(high, answer + offsets[r % offsets.length]!)),
  );
  const counted = decideMany(model, features).filter((a, r) => Math.abs(a - labels[r]!) <= WITHIN).length;
  return { testSet: { features, labels, within: WITHIN }, counted };
}

async function circuitOf(t: TestContext, model: CommittedModel, features: readonly Int32Array[]) {
  const { testSet, counted } = labelled(model, features);
  const circuit = emitQualityCircuit(model.architecture, testSet, await testToolchain());
  return { testSet, counted, circuit, ...(await compiled(t, circuit)) };
}

const models: [string, CommittedModel, Int32Array[]][] = [
  ['4-1', smallNumbers({ units: [4, 1], seed: 3 }), rowsFor(smallNumbers({ units: [4, 1] }), 10)],
  ['4-3-1', smallNumbers({ units: [4, 3, 1], seed: 4 }), rowsFor(smallNumbers({ units: [4, 1] }), 10)],
  ['trees', smallNumberTrees({ trees: 3, depth: 2, seed: 5 }), smallRows(10, 3)],
  ['convolutions', smallTensors(CONVOLUTIONS), [1, 2, 3, 4, 5].map((seed) => drawing(8, seed))],
  ['a product', products(true), rowsFor(smallNumbers({ units: [2, 1] }), 10)],
  ['a product that follows from the row', products(false), rowsFor(smallNumbers({ units: [2, 1] }), 10)],
];
for (const [name, model, features] of models) {
  const listed = name === '4-1' || name === 'a product' ? test.slow : test;
  listed(
    `${name}: rows count exactly where the served answer is near enough, and the cost is exact`,
    async (t) => {
      const served = await serveModel(model);
      assert.equal(
        await served.answer(features),
        features.map((row) => evaluate(model, row)),
      );
      await served.close();
      const { testSet, counted, wasm, r1cs } = await circuitOf(t, model, features);
      assert.ok(counted >= 3 && counted < features.length, `${counted} count`);
      const witness = wires(await calculateWitness(wasm, witnessInput(model, counted)));
      assert.is(violations(r1cs, witness), 0);
      assert.equal(witness.slice(0, 3), [1n, commit(model), BigInt(counted)], 'public signals');
      const cost = circuitCost(model.architecture, testSet);
      assert.equal([cost.constraints, cost.variables], [r1cs.constraints, r1cs.variables], 'predicted');
      assert.ok(r1cs.constraints <= estimateConstraints(model.architecture, features.length));
      demandDomain(2 ** Math.ceil(Math.log2(r1cs.constraints + 3)), model.architecture, features.length);
      await rejects(calculateWitness(wasm, witnessInput(model, counted + 1)), 'one more than count');
      await rejects(calculateWitness(wasm, witnessInput(model, -1)), 'a negative threshold');
    },
  );
}

const dense = smallNumbers({ units: [3, 2, 1], seed: 6 });
for (const [name, model, features] of [
  ['dense', dense, rowsFor(dense, 5)],
  ['convolutions', smallTensors(CONVOLUTIONS), [1, 2].map((seed) => drawing(8, seed))],
] as const)
  (name === 'dense' ? test : test.slow)(
    `${name}: a valid witness with any one wire changed is refused, and nothing is left open`,
    async (t) => {
      const { counted, wasm, r1cs } = await circuitOf(t, model, features);
      const input = witnessInput(model, counted - 1);
      const witness = wires(await calculateWitness(wasm, input));
      assert.is(violations(r1cs, witness), 0);
      const near = violationsNear(r1cs, witness);
      // Any threshold up to the count is true.
      for (const wire of [...witness.keys()].filter((w) => w !== 2))
        for (const delta of [1n, -1n, 256n]) assert.ok(near(wire, delta) > 0, `wire ${wire} + ${delta}`);
      assert.is(freedom(r1cs, witness), 0);
      // The same packed element, and so the same commitment: 256 more here is 1 less in the next weight.
      const w0 = (input.w0 as readonly bigint[]).flat();
      const alias = w0.with(0, w0[0]! + 256n).with(1, w0[1]! - 1n);
      await rejects(calculateWitness(wasm, { ...input, w0: alias }), 'weights that pack alike');
    },
  );

test('the comparison itself: both ends, either sign, and a difference that has no meaning in its bits', async (t) => {
  const circuit = await templateCircuit('within.circom', 'Within(6)', ['in', 'low', 'high']);
  const { wasm, r1cs } = await compiled(t, circuit);
  const at = async (value: number, low: number, high: number) =>
    wires(await calculateWitness(wasm, { in: BigInt(value), low: BigInt(low), high: BigInt(high) }));
  for (const [value, low, high, right] of [
    [5, 5, 5, 1],
    [4, 5, 5, 0],
    [6, 5, 5, 0],
    [-7, -7, 3, 1],
    [3, -7, 3, 1],
    [-8, -7, 3, 0],
    [4, -7, 3, 0],
    // None is near enough.
    [0, 1, -1, 0],
    [31, 0, 31, 1],
    [0, 31, 31, 0],
  ] as const) {
    const witness = await at(value, low, high);
    assert.is(violations(r1cs, witness), 0);
    assert.is(witness[1], BigInt(right), `${low} <= ${value} <= ${high}`);
    // The prover cannot say otherwise.
    const near = violationsNear(r1cs, witness);
    assert.ok(near(1, right === 1 ? -1n : 1n) > 0);
  }
  await rejects(at(32, 0, 31), 'a difference of 32 in 6 bits');
  await rejects(at(0, 40, 50), 'a difference of -40 in 6 bits');
});

test('how near is near enough is a part of the circuit', async () => {
  const model = smallNumbers({ units: [3, 1] });
  const testSet = { features: rowsFor(model, 3), labels: [1, 2, 3] };
  const toolchain = await testToolchain();
  const digests = [undefined, 0, 1, 2].map(
    (within) => emitQualityCircuit(model.architecture, { ...testSet, within }, toolchain).digest,
  );
  assert.is(digests[0], digests[1], 'without a distance: the very number');
  assert.is(new Set(digests).size, 3);
});

test.run();
