import { type CommittedModel, commit, randomSalt } from '../../circuits/model/commit.ts';
import { circuitCost } from '../../circuits/model/cost.ts';
import { classNames, preprocessingOf } from '../../circuits/model/dictionary.ts';
import { emitQualityCircuit, witnessInput } from '../../circuits/model/emit.ts';
import { preprocess } from '../../circuits/model/preprocessing.ts';
import { decideMany, quantise } from '../../circuits/model/quantise.ts';
import { demandDomain, estimateConstraints } from '../../circuits/model/size.ts';
import type { TestSet } from '../../circuits/model/test-set.ts';
import { sampleData } from '../../runtime/demo/sample.ts';
import { train } from '../../runtime/demo/trainer.ts';
import { CREDIT, readCreditData } from '../../runtime/models/credit-data.ts';
import { split } from '../../runtime/models/labelled-rows.ts';
import { calculateWitness } from '../../runtime/prove/witness-calculator.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import {
  compiled,
  freedom,
  rejects,
  rowsFor,
  type SmallModel,
  smallModel,
  testToolchain,
  violations,
  violationsNear,
  wires,
} from './model-fixture.ts';

const test = suite('quality circuit', { timeoutMs: 120_000 });

const ROWS = 6;

/** A circuit whose labels are the model's own answers, but for the first `wrong` rows. */
async function qualityCircuit(t: TestContext, model: CommittedModel, { rows = ROWS, wrong = 0 } = {}) {
  const features = rowsFor(model, rows);
  const classes = model.architecture.classes.length;
  const labels = decideMany(model, features).map((decision, r) =>
    r < wrong ? (decision + 1) % classes : decision,
  );
  const testSet: TestSet = { features, labels };
  const circuit = emitQualityCircuit(model.architecture, testSet, await testToolchain());
  return { testSet, circuit, ...(await compiled(t, circuit)) };
}

const shapes: SmallModel[] = [
  { units: [4, 3, 2] },
  { units: [3, 3, 3, 4], seed: 2 },
  { units: [4, 3, 1], decision: 'sign', seed: 3 },
  { units: [4, 3], seed: 4 },
];
/** One with two hidden layers and one with a sign; the others come with the slow tier. */
const always = [shapes[1], shapes[2]];
for (const shape of shapes) {
  const name = `${shape.units.join('-')} ${shape.decision ?? 'argmax'}`;
  const listed = always.includes(shape) ? test : test.slow;
  listed(`${name}: every row is decided as evaluate decides it, and counted once`, async (t) => {
    const model = smallModel(shape);
    const wrong = 2;
    const { testSet, wasm, r1cs } = await qualityCircuit(t, model, { wrong });
    const witness = wires(await calculateWitness(wasm, witnessInput(model, ROWS - wrong)));
    assert.is(violations(r1cs, witness), 0);
    assert.equal(witness.slice(0, 3), [1n, commit(model), BigInt(ROWS - wrong)], 'public signals');
    assert.is(r1cs.publicInputs, 2);
    assert.is(r1cs.outputs, 0);
    const { architecture } = model;
    assert.ok(
      r1cs.constraints <= estimateConstraints(architecture, ROWS),
      'no larger than it was taken to be',
    );
    assert.is(circuitCost(architecture, testSet).constraints, r1cs.constraints, 'predicted');
    const domain = 2 ** Math.ceil(Math.log2(r1cs.constraints + 3));
    demandDomain(domain, architecture, ROWS);
    await calculateWitness(wasm, witnessInput(model, 0));
    await rejects(calculateWitness(wasm, witnessInput(model, ROWS - wrong + 1)), 'one more than correct');
    await rejects(calculateWitness(wasm, witnessInput(model, ROWS + 1)), 'more than there are rows');
    await rejects(calculateWitness(wasm, witnessInput(model, -1)), 'a negative threshold');
  });
}

// At full size `npm start` of .ci/run compiles and proves it.
test.slow(
  "the demonstration's circuit decides all 300 rows as evaluate does, and fits a domain of 2^16",
  async (t) => {
    const { train: seen, test: held } = split(readCreditData(sampleData(1)), CREDIT);
    const preprocessing = preprocessingOf(CREDIT);
    const features = seen.map(({ cells }) => preprocess(preprocessing, cells));
    const network = train({ features, labels: seen.map(({ label }) => label) }, classNames(CREDIT).length);
    const quantised = quantise(network, { dictionary: CREDIT, calibration: features });
    const model = { ...quantised, salt: randomSalt() };
    const rows = held.map(({ cells }) => preprocess(preprocessing, cells));
    // Labels are the model's answers, so the count is 300 only if the circuit gives the same answer on each row.
    const testSet = { features: rows, labels: decideMany(model, rows) };
    const circuit = emitQualityCircuit(model.architecture, testSet, await testToolchain());
    const { wasm, r1cs, constraints } = await compiled(t, circuit);
    assert.ok(constraints + r1cs.publicInputs + 1 <= 2 ** 16, `${constraints} constraints`);
    assert.is(circuitCost(model.architecture, testSet).constraints, constraints, 'predicted');
    const witness = wires(await calculateWitness(wasm, witnessInput(model, 300)));
    assert.is(violations(r1cs, witness), 0);
    await rejects(calculateWitness(wasm, witnessInput(model, 301)), '301 of 300');
  },
);

test('a valid witness with any one wire changed is refused', async (t) => {
  const model = smallModel({ units: [4, 3, 2] });
  const { wasm, r1cs } = await qualityCircuit(t, model, { rows: 3, wrong: 1 });
  const witness = wires(await calculateWitness(wasm, witnessInput(model, 1)));
  assert.is(violations(r1cs, witness), 0);
  const near = violationsNear(r1cs, witness);
  for (let wire = 0; wire < witness.length; wire++) {
    for (const delta of [1n, -1n, 256n]) assert.ok(near(wire, delta) > 0, `wire ${wire} + ${delta}`);
  }
  const last = witness.length - 1;
  assert.is(near(last, 1n), violations(r1cs, witness.with(last, witness[last]! + 1n)), 'as the whole check');
});

test('at a valid witness nothing is left open: the constraints pin every private wire', async (t) => {
  const model = smallModel({ units: [3, 2, 2], seed: 5 });
  const { wasm, r1cs } = await qualityCircuit(t, model, { rows: 2, wrong: 1 });
  const witness = wires(await calculateWitness(wasm, witnessInput(model, 1)));
  assert.is(freedom(r1cs, witness), 0);
  // The check notices a wire whose constraints are gone.
  const last = witness.length - 1;
  const values = r1cs.terms.values.slice();
  for (let i = 0; i < r1cs.terms.count; i++)
    if (r1cs.terms.column[i] === last) values.fill(0, i * 32, i * 32 + 32);
  assert.is(freedom({ ...r1cs, terms: { ...r1cs.terms, values } }, witness), 1);
});

test('a changed constraint refuses the valid witness', async (t) => {
  const model = smallModel({ units: [4, 3, 2] });
  const { wasm, r1cs } = await qualityCircuit(t, model, { rows: 3 });
  const witness = wires(await calculateWitness(wasm, witnessInput(model, 3)));
  let noticed = 0;
  const samples = 40;
  for (let s = 0; s < samples; s++) {
    const term = Math.floor((s * r1cs.terms.count) / samples);
    const values = r1cs.terms.values.slice();
    values[term * 32]! ^= 1;
    if (violations({ ...r1cs, terms: { ...r1cs.terms, values } }, witness) > 0) noticed++;
  }
  // A term on a wire that is 0, or beside a factor 0, goes unnoticed.
  assert.ok(noticed > samples / 4, `${noticed} of ${samples}`);
});

test('what opens another commitment, or lies outside its range, is refused', async (t) => {
  const model = smallModel({ units: [4, 3, 2] });
  const { wasm } = await qualityCircuit(t, model);
  const input = witnessInput(model, ROWS);
  await calculateWitness(wasm, input);
  const [w0, b0, w1] = [input.w0, input.b0, input.w1] as [bigint[], bigint[], bigint[]];
  const weightBound = 128n;
  const biasBound = 2n ** BigInt(model.architecture.layers[0]!.biasBits - 1);
  await rejects(
    calculateWitness(wasm, { ...input, commitment: (input.commitment as bigint) + 1n }),
    'another commitment',
  );
  await rejects(calculateWitness(wasm, { ...input, salt: (input.salt as bigint) + 1n }), 'another salt');
  await rejects(
    calculateWitness(wasm, { ...input, w0: w0.with(0, w0[0]! === 0n ? 1n : 0n) }),
    'another weight',
  );
  await rejects(calculateWitness(wasm, { ...input, w0: w0.with(3, weightBound) }), 'a weight of 9 bits');
  await rejects(
    calculateWitness(wasm, { ...input, w0: w0.with(3, -weightBound - 1n) }),
    'a negative weight of 9 bits',
  );
  await rejects(calculateWitness(wasm, { ...input, b0: b0.with(1, biasBound) }), 'a bias beyond its bits');
  // The same packed element: 256 more here is 1 less in the next parameter.
  const packed = w1.with(0, w1[0]! + 256n).with(1, w1[1]! - 1n);
  await rejects(calculateWitness(wasm, { ...input, w1: packed }), 'weights that pack alike');
  const { salt, ...rest } = input;
  await rejects(calculateWitness(wasm, rest), 'a missing input');
  await rejects(calculateWitness(wasm, { ...rest, pepper: salt! }), 'an unknown input');
  await rejects(calculateWitness(wasm, { ...input, w0: w0.slice(1) }), 'too few weights');
});

test('the emitted source is a pure function of architecture and test set, and the digest covers all of it', async () => {
  const model = smallModel({ units: [4, 3, 2] });
  const features = rowsFor(model, 3);
  const testSet = { features, labels: [0, 1, 0] };
  const toolchain = await testToolchain();
  const first = emitQualityCircuit(model.architecture, testSet, toolchain);
  assert.equal(
    emitQualityCircuit(structuredClone(model.architecture), structuredClone(testSet), toolchain),
    first,
  );
  const digests = new Set([first.digest]);
  const add = (digest: string): void => {
    assert.not(digests.has(digest));
    digests.add(digest);
  };
  add(emitQualityCircuit(model.architecture, { features, labels: [0, 1, 1] }, toolchain).digest);
  const other = features.map((row) => row.slice());
  other[2]![3] = other[2]![3] === 0 ? 1 : 0;
  add(emitQualityCircuit(model.architecture, { features: other, labels: [0, 1, 0] }, toolchain).digest);
  const renamed = { ...model.architecture, classes: ['a', 'b'] };
  add(emitQualityCircuit(renamed, testSet, toolchain).digest);
  add(emitQualityCircuit(model.architecture, testSet, { ...toolchain, compiler: 'circom2 0 --O2' }).digest);
  // Of all templates those that it includes, directly or not.
  for (const path of toolchain.templates.keys()) {
    const templates = new Map(toolchain.templates).set(path, `${toolchain.templates.get(path)}\n`);
    const { digest } = emitQualityCircuit(model.architecture, testSet, { ...toolchain, templates });
    if (/^(conv|hidden-trees|max|rescale|row|trees|within)\.circom$/.test(path))
      assert.is(digest, first.digest);
    else add(digest);
  }
  for (const bad of [
    { features, labels: [0, 1] },
    { features, labels: [0, 1, 2] },
    { features: [...features.slice(1), Int32Array.of(1, 2, 3)], labels: [0, 1, 0] },
    { features: [...features.slice(1), Int32Array.of(1, 2, 3, 13)], labels: [0, 1, 0] },
    { features: [], labels: [] },
  ]) {
    assert.throws(
      () => emitQualityCircuit(model.architecture, bad, toolchain),
      (error: { code?: string }) => error.code === 'bad-input',
    );
  }
});

test.run();
