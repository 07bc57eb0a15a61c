/** Networks of tensors: read, quantised, computed as expected, and served with the very same integers. */
import fc from 'fast-check';
import {
  architectureDigest,
  architectureDocument,
  parseArchitecture,
} from '../../circuits/model/architecture.ts';
import { decodeSecret, encodeSecret, randomSalt } from '../../circuits/model/commit.ts';
import { circuitCost } from '../../circuits/model/cost.ts';
import type { Dictionary } from '../../circuits/model/dictionary.ts';
import { floatTensors } from '../../circuits/model/float-tensors.ts';
import { modelOf, readGraph } from '../../circuits/model/graph.ts';
import { floatDecisions } from '../../circuits/model/lint.ts';
import { meanDistance } from '../../circuits/model/numbers.ts';
import { decideMany, evaluate, quantise, randomFeatures } from '../../circuits/model/quantise.ts';
import { elementsOf, offsetRuns, offsetsOf, runsOf } from '../../circuits/model/runs.ts';
import { quantiseTensorModel } from '../../circuits/model/tensor-model.ts';
import { integersOf, numbersOf } from '../../circuits/model/tensor-values.ts';
import { serveModel } from '../../runtime/inference/session.ts';
import { assert, suite } from '../harness.ts';
import { refuses } from './onnx-fixture.ts';
import {
  drawing,
  LENET5,
  leNet,
  pixels,
  pricedPixels,
  randomGraph,
  residual,
  residualSamples,
  SMALL,
  smallTensors,
  tensorsOf,
  WORTH,
} from './tensors-fixture.ts';

const test = suite('networks of tensors', { timeoutMs: 60_000 });

test('runs stand for the elements that they were made of', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -1, max: 9 }), { minLength: 1, maxLength: 40 }), (elements) => {
      assert.equal([...elementsOf(runsOf(elements), elements.length, 10)], elements);
      assert.equal([...offsetsOf(offsetRuns(elements), elements.length)], elements);
    }),
  );
  for (const runs of [
    [0, 1, 3],
    [0, 1, 2, 5, 0, 1, 0],
    [8, 1, 4],
    [1, -1, 4],
    [0, 0, -4],
  ])
    assert.throws(() => elementsOf(runs, 4, 10), RangeError);
});

test('a small LeNet: ReLU behind the maximum, pixels scaled in the kernels, integers near the floats', () => {
  const network = tensorsOf(leNet(SMALL));
  assert.equal(
    network.operations.map(({ kind }) => kind),
    ['conv', 'max', 'relu', 'conv', 'max', 'relu', 'conv', 'relu', 'conv'],
  );
  const model = smallTensors();
  const rows = Array.from({ length: 30 }, (_, i) => drawing(8, 500 + i));
  const float = rows.map((row) => floatTensors(network, row));
  const agree = decideMany(model, rows).filter((c, r) => c === float[r]!.indexOf(Math.max(...float[r]!)));
  assert.ok(agree.length >= 28, `${agree.length} of 30 decided alike`);
  const document = architectureDocument(model.architecture);
  assert.is(architectureDigest(parseArchitecture(document)), architectureDigest(model.architecture));
  assert.equal(decodeSecret(model.architecture, encodeSecret(model)).parameters, model.parameters);
  assert.ok(JSON.stringify(document.operations).length < 5000, 'what is regular is short');
});

test('LeNet-5: at most 1.1 million constraints for any image', () => {
  const model = smallTensors(LENET5);
  for (const image of [drawing(28, 1), Int32Array.from({ length: 784 }, (_, i) => 1 + ((i * 37) % 255))]) {
    const testSet = { features: [image], labels: decideMany(model, [image]) };
    const { constraints } = circuitCost(model.architecture, testSet);
    assert.ok(constraints <= 1_100_000, `${constraints}`);
  }
});

test('the classes of a convolutional network are in the order of the dictionary', () => {
  const dictionary = pixels(64, 3);
  const calibration = [1, 2, 3].map((seed) => drawing(8, seed));
  const network = tensorsOf(leNet(SMALL));
  const { architecture } = quantise(network, { dictionary, calibration });
  assert.equal(architecture.classes, ['class 0', 'class 1', 'class 2']);
});

test('a convolutional network that answers a number: near the floats, scaled to the steps of the label, and to no others', () => {
  const shape = { ...SMALL, dense: [5, 1] };
  const network = tensorsOf(leNet(shape));
  assert.is(network.decision, 'number');
  const { architecture, ...rest } = smallTensors(shape);
  const rows = Array.from({ length: 30 }, (_, i) => drawing(8, 500 + i));
  const given = decideMany({ architecture, ...rest }, rows);
  const float = floatDecisions(network, rows, WORTH);
  const off = meanDistance(given, float);
  assert.ok(off < (Math.max(...float) - Math.min(...float)) / 50, `off by ${off} steps`);
  const document = architectureDocument(architecture);
  assert.is(architectureDigest(parseArchitecture(document)), architectureDigest(architecture));

  // What a vendor may say in its place: classes, no scale, more outputs than one.
  const { label } = pixels(64, 2);
  const dictionary = document.dictionary as Dictionary;
  for (const [changed, text] of [
    [{ dictionary: { ...dictionary, label } }, /decision: expected number and a scale exactly where/],
    [{ scale: undefined }, /decision: expected number and a scale exactly where/],
    [{ decision: 'sign' }, /decision: expected number and a scale exactly where/],
    [{ operations: (document.operations as object[]).slice(0, -1) }, /expected 1 outputs/],
  ] as const)
    refuses(() => parseArchitecture({ ...document, ...changed }), 'bad-input', text);
  // The same operations cannot be said to answer classes.
  refuses(
    () => quantise(network, { dictionary: pixels(64, 2), calibration: rows }),
    'bad-input',
    /expected one output without a Sigmoid exactly where/,
  );
  const fine = { ...WORTH, step: '0.000000001' };
  refuses(
    () => quantise(network, { dictionary: pricedPixels(64, fine), calibration: rows }),
    'bad-input',
    /the label's step is finer than its integers can tell; use a larger step/,
  );
});

test('random graphs: near the floats, and the served integers are those of the reference', async () => {
  for (let seed = 1; seed <= 16; seed++) {
    const { graph: g, samples } = randomGraph(seed);
    const { problems } = readGraph(g, { whole: true });
    assert.equal(problems, [], `seed ${seed}`);
    const { architecture, parameters, error } = quantiseTensorModel(g, samples);
    const network = modelOf(readGraph(g, { whole: true }));
    if (!('operations' in network)) throw new Error('no tensors');
    const largest = Math.max(...samples.flatMap(({ x }) => Array.from(floatTensors(network, x!), Math.abs)));
    const kinds = network.operations.map(({ kind }) => kind).join(' ');
    assert.ok(error <= 0.12 * largest + 0.1, `seed ${seed}: ${error} beside ${largest}: ${kinds}`);
    const model = { architecture, parameters, salt: randomSalt() };
    const rows = [
      ...randomFeatures(architecture, 3),
      ...samples.map((s) => integersOf(architecture.named!, s)),
    ];
    const served = await serveModel(model);
    const answers = await served.answer(rows);
    for (const [r, row] of rows.entries())
      assert.equal(
        [...answers[r]!.logits],
        [...evaluate(model, row).logits],
        `seed ${seed}, row ${r}: ${kinds}`,
      );
    await served.close();
  }
});

test('two inputs, two outputs: sizes, names and ranges are those of the graph, and what does not fit is refused', () => {
  const samples = residualSamples(8);
  const model = quantiseTensorModel(residual(), samples);
  const { named } = model.architecture;
  assert.equal(
    named!.inputs.map(({ name, dims }) => [name, dims]),
    [
      ['x', [1, 2, 4]],
      ['gate', [1, 2, 1]],
    ],
  );
  const { logits } = evaluate(model, integersOf(named!, samples[0]!));
  const numbers = numbersOf(model.architecture, logits);
  assert.equal([numbers.gated!.length, numbers.block!.length], [4, 8]);
  assert.ok(model.error < 0.15, `${model.error}`);
  const { x, gate } = samples[0] as { x: number[]; gate: number[] };
  refuses(() => integersOf(named!, { x }), 'bad-input', /"gate": expected 2 numbers/);
  refuses(() => integersOf(named!, { x, gate, y: [1] }), 'bad-input', /"y" is unknown/);
  refuses(
    () => integersOf(named!, { x: [5, ...x.slice(1)], gate }),
    'bad-input',
    /number 1: expected one from -4/,
  );
  refuses(
    () => quantiseTensorModel(residual(), [{ x: x.map(() => 1e30), gate }]),
    'bad-input',
    /below 2\^24/,
  );
});

test('an architecture of tensors from outside: shapes, order and bounds are checked', () => {
  const { architecture } = smallTensors();
  const changed = (at: number, members: Record<string, unknown> | undefined): unknown => {
    const document = structuredClone(architectureDocument(architecture));
    const operations = document.operations as Record<string, unknown>[];
    if (members) Object.assign(operations[at]!, members);
    else operations.splice(at, 1);
    return document;
  };
  for (const [at, members, text] of [
    [0, { of: 1 }, /value 1 is not known before operation 0/],
    [0, { image: [8, 9] }, /expected a value of 72 elements/],
    [0, { kernel: [3] }, /expected 2 axes/],
    [1, { parts: [[100, 1, 32]] }, /expected elements of a value of 128/],
    [1, { parts: [[-1, 0, 32]] }, /expected an element to be the greatest/],
    [2, { shift: 0 }, /a sum may reach/],
    [2, { low: undefined, cap: 3 }, /a lower end/],
    [8, undefined, /expected 3 outputs/],
    [0, { weightBits: 9 }, /weightBits|Too big/],
  ] as [number, Record<string, unknown> | undefined, RegExp][])
    refuses(() => parseArchitecture(changed(at, members)), 'bad-input', text);
  // A document of some kilobytes that would be written out as gigabytes.
  const parts = Array.from({ length: 1024 }, () => ({ of: 0, factor: 1, from: [0, 0, 2 ** 18] }));
  const sum = { kind: 'sum', size: 2 ** 18, parts, offset: [] };
  const huge = { ...architectureDocument(architecture), operations: Array(64).fill(sum) };
  refuses(() => parseArchitecture(huge), 'bad-input', /products and places of all operations/);
});

test.run();
