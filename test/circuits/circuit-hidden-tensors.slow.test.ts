/** Circuits of answers to hidden inputs of networks of tensors: what they hold for, what an input may be, and what they cost. */
import {
  type Architecture,
  architectureDocument,
  parseArchitecture,
} from '../../circuits/model/architecture.ts';
import { type CommittedModel, randomSalt } from '../../circuits/model/commit.ts';
import { hiddenInput } from '../../circuits/model/emit-hidden.ts';
import { randomFeatures } from '../../circuits/model/quantise.ts';
import { commitRow } from '../../circuits/model/row.ts';
import { quantiseTensorModel } from '../../circuits/model/tensor-model.ts';
import { integersOf } from '../../circuits/model/tensor-values.ts';
import { checkAnswer } from '../../circuits/model/test-set.ts';
import { calculateWitness } from '../../runtime/prove/witness-calculator.ts';
import { assert, suite } from '../harness.ts';
import { circuitOf, forged, holdsFor } from './hidden-fixture.ts';
import { freedom, rejects, violations, violationsNear, wires } from './model-fixture.ts';
import { graph, node, refuses, tensor } from './onnx-fixture.ts';
import {
  drawing,
  type LeNet,
  products,
  randomGraph,
  residualModel,
  residualSamples,
  smallTensors,
} from './tensors-fixture.ts';

const test = suite('circuit of hidden tensors', { timeoutMs: 180_000 });

const TINY: LeNet = { side: 8, channels: [1, 2], kernel: 2, pad: 0, dense: [2, 2], seed: 4 };
const DRAWINGS = Array.from({ length: 12 }, (_, seed) => drawing(8, seed));

const random = (seed: number): [CommittedModel, Int32Array] => {
  const { graph: g, samples } = randomGraph(seed);
  const { architecture, parameters } = quantiseTensorModel(g, samples);
  return [{ architecture, parameters, salt: randomSalt() }, integersOf(architecture.named!, samples[0]!)];
};
const residual = residualModel();
const gated = integersOf(residual.architecture.named!, residualSamples(1, 7)[0]!);
const table = products(true);
const known = products(false);

const models: [string, CommittedModel, Int32Array, Int32Array[]?][] = [
  ['two inputs, two outputs', residual, gated],
  ['a random graph', ...random(2)],
  ['convolutions that decide', smallTensors({ ...TINY, dense: [2, 3] }), DRAWINGS[1]!, DRAWINGS],
  ['convolutions with a sign', smallTensors(TINY), DRAWINGS[2]!, DRAWINGS],
  ['convolutions with a number', smallTensors({ ...TINY, dense: [2, 1] }), DRAWINGS[3]!, DRAWINGS],
  ['a product of columns', table, Int32Array.of(3, -2)],
  ['a product of columns without a weight', known, Int32Array.of(3, -2)],
];
for (const [name, model, features, others = randomFeatures(model.architecture, 6)] of models)
  test(`${name}: inputs with that answer and no others have a witness, and it costs what was foretold`, (t) =>
    holdsFor(t, model, features, others));

/** Three inputs from -5 to 9, of which the last one counts; weights of 0 leave all others to their range checks. */
function threeInputs(): CommittedModel {
  const onnx = {
    ...graph([node('Gemm', ['x', 'w', 'b'], 'y')], { w: tensor([3, 1], [0, 0, 0.75]), b: tensor([1], [2]) }),
    inputs: [{ name: 'x', dims: [1, 3] }],
  };
  const { architecture, parameters } = quantiseTensorModel(onnx, [{ x: [-5, 7, 2] }]);
  const document = architectureDocument(architecture) as { inputs: object[] };
  const inputs = document.inputs.map((input) => ({ ...input, low: -5, high: 9 }));
  return { architecture: parseArchitecture({ ...document, inputs }), parameters, salt: randomSalt() };
}

test('no number beyond its range, and no alias, although the answer is the same; nothing is left open', async (t) => {
  const model = threeInputs();
  const honest = Int32Array.of(-5, 9, 4);
  const { input, wasm, r1cs } = await circuitOf(t, model, honest);
  // Both ends of the range, each input by itself.
  for (const [a, b] of [
    [-5, 9],
    [9, -5],
    [0, 0],
  ] as const)
    await calculateWitness(wasm, forged(model, honest, [a, b, 4]));
  for (const [what, a, b] of [
    ['below its range', -6, 0],
    ['above its range, in its bits', 10, 0],
    ['at the end of its bits', 0, 10],
    ['beyond its bits', 11, 0],
    ['far below', 0, -21],
    // 16 more here is 1 less in the next one: the same packed value, and so the same commitment.
    ['an alias', 3 + 16, 2 - 1],
    ['the other alias', 3 - 16, 2 + 1],
  ] as const)
    await rejects(calculateWitness(wasm, forged(model, honest, [a, b, 4])), what);
  const salt = randomSalt();
  const [row, alias] = [
    [3, 2, 4],
    [3 + 16, 2 - 1, 4],
  ].map((x) => forged(model, honest, x, salt).row);
  assert.is(alias, row, 'so that it is the range check which refuses an alias');

  const witness = wires(await calculateWitness(wasm, input));
  assert.is(violations(r1cs, witness), 0);
  const near = violationsNear(r1cs, witness);
  for (const wire of witness.keys())
    for (const delta of [1n, -1n, 16n, 256n]) assert.ok(near(wire, delta) > 0, `wire ${wire} + ${delta}`);
  assert.is(freedom(r1cs, witness), 0);
  const plus = (field: string) => ({ ...input, [field]: (input[field] as bigint) + 1n });
  for (const field of ['row', 'rowSalt', 'commitment', 'salt'])
    await rejects(calculateWitness(wasm, plus(field)), field);
});

test('two inputs, two outputs: any one wire moved is refused, another weight and another input are', async (t) => {
  const { input, wasm, r1cs } = await circuitOf(t, residual, gated);
  const witness = wires(await calculateWitness(wasm, input));
  const near = violationsNear(r1cs, witness);
  for (const wire of witness.keys())
    for (const delta of [1n, -1n, 256n]) assert.ok(near(wire, delta) > 0, `wire ${wire} + ${delta}`);
  assert.is(freedom(r1cs, witness), 0);
  const w0 = (input.w0 as readonly bigint[]).flat();
  const weights = w0.with(0, w0[0]! + 256n).with(1, w0[1]! - 1n);
  await rejects(calculateWitness(wasm, { ...input, w0: weights }), 'weights that pack alike');
  const other = hiddenInput(residual, { features: gated.with(0, gated[0]! + 1), salt: randomSalt() });
  await rejects(calculateWitness(wasm, { ...input, x: other.x! }), 'an input of another commitment');
});

test('the commitment is to the numbers: step, names and shapes of the inputs are in it', () => {
  const { architecture } = residual;
  const salt = new Uint8Array(31).fill(7);
  const row = { features: gated, salt };
  const seen = new Set([commitRow(architecture, row)]);
  const document = architectureDocument(architecture) as { inputs: { name: string; dims: number[] }[] };
  const [x, gate] = document.inputs as [(typeof document.inputs)[0], (typeof document.inputs)[0]];
  for (const changed of [
    { exponent: architecture.named!.exponent + 1 },
    { inputs: [{ ...x, name: 'z' }, gate] },
    { inputs: [{ ...x, dims: [2, 4] }, gate] },
  ]) {
    const other: Architecture = parseArchitecture({ ...document, ...changed });
    const commitment = commitRow(other, row);
    assert.not(seen.has(commitment), JSON.stringify(Object.keys(changed)));
    seen.add(commitment);
  }
  assert.not(seen.has(commitRow(architecture, { ...row, features: gated.with(9, gated[9]! + 1) })));
  assert.not(seen.has(commitRow(architecture, { ...row, salt: salt.with(0, 8) })));
});

test('an answer is of its kind, and within what the model can give', () => {
  const decides = smallTensors(TINY).architecture;
  refuses(() => checkAnswer(residual.architecture, 0), 'bad-input', /expected outputs where the answers/);
  refuses(() => checkAnswer(decides, Int32Array.of(0, 1)), 'bad-input', /expected outputs where the answers/);
  refuses(() => checkAnswer(residual.architecture, [1, 2]), 'bad-input', /expected one row of \d+ outputs/);
});

test.run();
