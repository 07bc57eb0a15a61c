/** The circuit of a convolutional network: right on every row, and nothing but the committed kernels can be put in their place. */
import { R } from '../../circuits/groth16/field.ts';
import { commit, randomSalt } from '../../circuits/model/commit.ts';
import { circuitCost } from '../../circuits/model/cost.ts';
import { emitQualityCircuit, witnessInput } from '../../circuits/model/emit.ts';
import { decideMany, evaluate } from '../../circuits/model/quantise.ts';
import { demandDomain, estimateConstraints } from '../../circuits/model/size.ts';
import { quantiseTensorModel } from '../../circuits/model/tensor-model.ts';
import { integersOf } from '../../circuits/model/tensor-values.ts';
import { calculateWitness } from '../../runtime/prove/witness-calculator.ts';
import { assert, suite } from '../harness.ts';
import {
  compiled,
  freedom,
  rejects,
  templateCircuit,
  testToolchain,
  violations,
  violationsNear,
  wires,
} from './model-fixture.ts';
import { drawing, type LeNet, randomGraph, smallTensors } from './tensors-fixture.ts';

const test = suite('circuit of tensors', { timeoutMs: 120_000 });
const HALF = (R + 1n) / 2n;
const signed = (value: bigint): bigint => (value > R / 2n ? value - R : value);

/** Every wire but the constant and the public inputs, moved by several amounts, breaks something. */
function pinned(r1cs: Parameters<typeof freedom>[0], witness: bigint[], outputs: number): void {
  const near = violationsNear(r1cs, witness);
  for (let wire = 1; wire < witness.length; wire++) {
    if (wire > outputs && wire <= outputs + r1cs.publicInputs) continue;
    for (const delta of [1n, -1n, HALF, 256n]) assert.ok(near(wire, delta) > 0, `wire ${wire} + ${delta}`);
  }
  assert.is(freedom(r1cs, witness), 0);
}

const N = 7;
const LOW = -(2 ** (N - 1));
const COUNT = 2 ** N;
const rescales = [
  { main: `Rescale(${COUNT}, ${N}, 2)`, of: (x: number) => Math.floor((x + 2) / 4), moved: 2, rest: 0 },
  {
    main: `RescaleAbove(${COUNT}, ${N}, 2, 0)`,
    of: (x: number) => Math.max(0, Math.floor((x + 2) / 4)),
    moved: 2,
    rest: 1,
  },
  { main: `RescaleAbove(${COUNT}, ${N}, 0, 3)`, of: (x: number) => Math.max(3, x), moved: -3, rest: 1 },
  {
    main: `RescaleWithin(${COUNT}, ${N}, 1, 2, -3)`,
    of: (x: number) => Math.min(0, Math.max(-3, Math.floor((x + 1) / 2))),
    moved: 7,
    rest: 5,
  },
];
for (const { main, of, moved, rest } of rescales)
  test(`${main}: right on all numbers of its range, refused beyond, nothing left open`, async (t) => {
    const { wasm, r1cs } = await compiled(t, await templateCircuit('rescale.circom', main, ['in']));
    assert.is(r1cs.constraints, COUNT * (N + rest), 'bits and the rest');
    const all = Array.from({ length: COUNT }, (_, i) => LOW - moved + i);
    const witness = wires(await calculateWitness(wasm, { in: all.map(BigInt) }));
    assert.is(violations(r1cs, witness), 0);
    assert.equal(
      witness.slice(1, 1 + COUNT).map(signed),
      all.map((x) => BigInt(of(x))),
    );
    pinned(r1cs, witness, COUNT);
    for (const x of [BigInt(LOW - moved - 1), BigInt(LOW - moved + COUNT), HALF])
      await rejects(calculateWitness(wasm, { in: all.map(BigInt).with(5, x) }), `${x}`);
  });

test('Maxima: the greatest whatever the order, ties and both ends included', async (t) => {
  const n = 5;
  // Three numbers, and two: steps 0 and 1 of the first group, step 2 of the second.
  const { wasm, r1cs } = await compiled(
    t,
    await templateCircuit('max.circom', `Maxima(${n}, 5, 3, [0,5,3], [1,2,4])`, ['in']),
  );
  assert.is(r1cs.constraints - 5, 3 * (n + 1), 'besides copies of the inputs');
  const [low, high] = [-7n, 8n];
  for (const group of [
    [low, high, 0n],
    [high, low, low],
    [3n, 3n, 3n],
    [-1n, -2n, -3n],
    [0n, 1n, 2n],
  ]) {
    const input = [...group, low, high];
    const witness = wires(await calculateWitness(wasm, { in: input }));
    assert.is(violations(r1cs, witness), 0);
    const most = group.reduce((a, b) => (b > a ? b : a));
    assert.is(signed(witness[1 + 5 + 1]!), most);
    assert.is(signed(witness[1 + 5 + 2]!), high);
    pinned(r1cs, witness, 8);
  }
  await rejects(calculateWitness(wasm, { in: [16n, -1n, 0n, 0n, 0n] }), 'numbers too far from each other');
  await rejects(calculateWitness(wasm, { in: [0n, 0n, 0n, HALF, 0n] }), 'a half');
});

test('ConvSignal: one kernel at all places, by groups, padding left out', async (t) => {
  // Two groups of one channel at three places, two taps: the last place reaches into the padding.
  const under = '[[0,1],[1,2],[2,-1]]';
  const { wasm, r1cs } = await compiled(
    t,
    await templateCircuit('conv.circom', `ConvSignal(2, 1, 3, 2, 3, 2, ${under})`, ['x', 'w', 'b']),
  );
  assert.is(r1cs.constraints, 2 * 5, 'a product for each tap that is there');
  const [x, w, b] = [
    [1n, -2n, 3n, 4n, 5n, -6n],
    [10n, 20n, -30n, 40n],
    [7n, -8n],
  ];
  const witness = wires(await calculateWitness(wasm, { x, w, b }));
  assert.equal(witness.slice(1, 7).map(signed), [-23n, 47n, 37n, 72n, -398n, 172n]);
  pinned(r1cs, witness, 6);
});

/** So small that every wire can be looked at. */
const TINY: LeNet = { side: 8, channels: [1, 2], kernel: 2, pad: 0, dense: [2, 2], seed: 4 };

test('a convolutional network: counted exactly, decided as evaluate does, and nothing else is accepted', async (t) => {
  const model = smallTensors({ ...TINY, dense: [3, 3] });
  const features = [1, 2, 3].map((seed) => drawing(8, seed));
  const decided = decideMany(model, features);
  const testSet = { features, labels: decided.with(0, (decided[0]! + 1) % 3) };
  const circuit = emitQualityCircuit(model.architecture, testSet, await testToolchain());
  const { wasm, r1cs, constraints } = await compiled(t, circuit);
  const cost = circuitCost(model.architecture, testSet);
  assert.is(cost.constraints, constraints, 'predicted');
  assert.is(cost.variables, r1cs.variables, 'predicted wires');
  assert.ok(Math.abs(cost.terms - r1cs.terms.count) < r1cs.terms.count / 8, `${cost.terms} terms`);
  assert.ok(constraints <= estimateConstraints(model.architecture, 3), 'no larger than it was taken to be');
  demandDomain(cost.domain, model.architecture, 3);
  const input = witnessInput(model, 2);
  const witness = wires(await calculateWitness(wasm, input));
  assert.is(violations(r1cs, witness), 0);
  assert.equal(witness.slice(0, 3), [1n, commit(model), 2n], 'public signals');
  await rejects(calculateWitness(wasm, witnessInput(model, 3)), 'one more than correct');

  const [w0, b0] = [input.w0, input.b0] as [bigint[], bigint[]];
  await rejects(
    calculateWitness(wasm, { ...input, w0: w0.with(0, w0[0]! === 0n ? 1n : 0n) }),
    'another weight',
  );
  await rejects(calculateWitness(wasm, { ...input, w0: w0.with(1, 128n) }), 'a weight of 9 bits');
  await rejects(calculateWitness(wasm, { ...input, w0: w0.with(1, -129n) }), 'a negative weight of 9 bits');
  const bound = 2n ** BigInt((model.architecture.tensors![0] as { biasBits: number }).biasBits - 1);
  await rejects(calculateWitness(wasm, { ...input, b0: b0.with(0, bound) }), 'a bias beyond its bits');
  // The same packed element, and so the same commitment: 256 more here is 1 less in the next weight.
  const alias = w0.with(0, w0[0]! + 256n).with(1, w0[1]! - 1n);
  await rejects(calculateWitness(wasm, { ...input, w0: alias }), 'weights that pack alike');
});

test('a valid witness with any one wire moved is refused, and none is left open', async (t) => {
  const model = smallTensors(TINY);
  const features = [drawing(8, 1)];
  const testSet = { features, labels: decideMany(model, features) };
  const circuit = emitQualityCircuit(model.architecture, testSet, await testToolchain());
  const { wasm, r1cs } = await compiled(t, circuit);
  const witness = wires(await calculateWitness(wasm, witnessInput(model, 1)));
  pinned(r1cs, witness, 0);
});

for (const seed of [1, 2, 3, 4])
  (seed <= 2 ? test : test.slow)(
    `random graph ${seed}: the witness is what the reference computes, no larger than foretold, and of the committed numbers alone`,
    async (t) => {
      const { graph, samples } = randomGraph(seed);
      const { architecture, parameters } = quantiseTensorModel(graph, samples);
      const model = { architecture, parameters, salt: randomSalt() };
      const features = integersOf(architecture.named!, samples[0]!);
      const outputs = evaluate(model, features).logits;
      const testSet = { features: [features], labels: [0], outputs: [outputs] };
      const circuit = emitQualityCircuit(architecture, testSet, await testToolchain());
      const { wasm, r1cs, constraints } = await compiled(t, circuit);
      const { constraints: most } = circuitCost(architecture, testSet);
      // Numbers that determine the parameters by linear equations make them constants.
      assert.ok(constraints <= most, `${constraints}, predicted ${most}`);
      const input = witnessInput(model, 1);
      const witness = wires(await calculateWitness(wasm, input));
      assert.is(violations(r1cs, witness), 0);
      assert.equal(witness.slice(0, 2), [1n, commit(model)], 'the commitment is public');
      const first = Object.keys(input).find((name) => /^w\d+$/.test(name))!;
      const weights = (input[first] as (bigint | bigint[])[]).flat();
      const other = weights.map((w, i) => (i === 0 ? (w === 0n ? 1n : 0n) : w));
      if (weights.length > 0)
        await rejects(calculateWitness(wasm, { ...input, [first]: other }), 'another weight');
    },
  );

test.run();
