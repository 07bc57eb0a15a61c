/**
 * Models of one's own: what they cost by lint's count, which is held against the compiled circuit; how long lint takes for
 * 1 MB; the compiler for about 250,000 constraints; and what was foretold for key and proof beside what they took.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { prove } from '../../circuits/groth16/prove.ts';
import { readR1cs } from '../../circuits/groth16/r1cs.ts';
import { setup } from '../../circuits/groth16/setup.ts';
import { verificationKey, verify } from '../../circuits/groth16/verify.ts';
import { readZkey } from '../../circuits/groth16/zkey.ts';
import { type CommittedModel, randomSalt } from '../../circuits/model/commit.ts';
import { circuitCost } from '../../circuits/model/cost.ts';
import { preprocessingOf } from '../../circuits/model/dictionary.ts';
import { emitQualityCircuit, witnessInput } from '../../circuits/model/emit.ts';
import { lintModel } from '../../circuits/model/lint.ts';
import { type DenseNetwork, onnxFromNetwork } from '../../circuits/model/network.ts';
import { readOnnx } from '../../circuits/model/onnx.ts';
import { writeOnnx } from '../../circuits/model/onnx-writer.ts';
import { decideMany, quantise } from '../../circuits/model/quantise.ts';
import type { TestSet } from '../../circuits/model/test-set.ts';
import { readScenario, rowsOf } from '../../runtime/demo/scenario.ts';
import { train, trainLogistic } from '../../runtime/demo/trainer.ts';
import { testSetFor } from '../../runtime/models/test-sets.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { forecast, machineRates } from '../../runtime/prove/calibration.ts';
import { circuitToolchain, compileCircuit } from '../../runtime/prove/circuit-compiler.ts';
import { calculateWitness } from '../../runtime/prove/witness-calculator.ts';
import { smallNetwork } from '../circuits/model-fixture.ts';
import { drawing, LENET5, pixels, smallTensors } from '../circuits/tensors-fixture.ts';
import { type BenchContext, type Row, RUNS, row } from './result.ts';
import { median, timed } from './statistics.ts';

/** Weights of the network that lint reads: 1 MB of float32. */
const WIDE = { inputs: 63, hidden: [1024, 192], outputs: 2 };

interface Subject {
  readonly model: CommittedModel;
  readonly testSet: TestSet;
}

export async function benchmarkModels(context: BenchContext): Promise<Row[]> {
  const home = await mkdtemp(join(tmpdir(), 'vouch-bench-'));
  process.env.VOUCH_HOME = home;
  try {
    return [...counts(), ...imageCounts(), ...lintTimes(context), ...(await steps(home, context))];
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

const credit = () => {
  const scenario = readScenario('credit-risk');
  return { scenario, rows: rowsOf(scenario, process.env.VOUCH_DATA) };
};

function subject(network: DenseNetwork, testSet: TestSet): Subject {
  const { scenario, rows } = credit();
  const { dictionary } = scenario;
  const quantised = quantise(network, { dictionary, calibration: rows.training.features });
  return { model: { ...quantised, salt: randomSalt() }, testSet };
}

/** One public image, and the model's own answer to it. */
const image = (model: CommittedModel, pixels: Int32Array): Subject => ({
  model,
  testSet: { features: [pixels], labels: decideMany(model, [pixels]) },
});

/** Convolutional and dense networks on one public image, by lint's count. */
function imageCounts(): Row[] {
  const model = smallTensors(LENET5);
  // No two parts alike, and a background that is empty: each is an end of what an image may cost.
  const full = Int32Array.from({ length: 784 }, (_, i) => 1 + ((i * i * 37) % 255));
  const of = ({ model, testSet }: Subject): number => circuitCost(model.architecture, testSet).constraints;
  const network = smallNetwork({ units: [784, 128, 10] });
  const calibration = [1, 2, 3, 4].map((seed) => drawing(28, seed));
  // With 8 bits 784 pixels of up to 255 may sum to more than float32 holds exactly.
  const options = { dictionary: pixels(784, 10), calibration, bits: 7 };
  const dense = { ...quantise(network, options), salt: randomSalt() };
  const bars = { unit: 'constraints', must: 1_100_000, aim: 1_000_000 };
  return [
    row({ name: 'LeNet-5, an image without equal parts', ours: of(image(model, full)), ...bars }),
    row({ name: 'LeNet-5, a drawing on nothing', ours: of(image(model, drawing(28, 1))), ...bars }),
    row({
      name: 'MNIST MLP 784-128-10 with 7 bits a weight, one image',
      ours: of(image(dense, full)),
      unit: 'constraints',
    }),
  ];
}

/** Constraints by lint's count, which `steps` holds against compiled circuits. */
function counts(): Row[] {
  const { scenario, rows } = credit();
  const of = (network: DenseNetwork): number => {
    const { model, testSet } = subject(network, rows.testSet);
    return circuitCost(model.architecture, testSet).constraints;
  };
  const what = `300 rows, ${rows.kind}`;
  return [
    row({
      name: `demonstration MLP, ${what}`,
      unit: 'constraints',
      ours: of(train(rows.training, 2, scenario.settings.models.mlp)),
      must: 51_300,
      aim: 48_000,
    }),
    row({
      name: `logistic regression, ${what}`,
      unit: 'constraints',
      ours: of(trainLogistic(rows.training, 2, scenario.settings.models.logistic)),
      must: 7_200,
      aim: 6_000,
    }),
  ];
}

function lintTimes({ say, signal }: BenchContext): Row[] {
  const { scenario, rows } = credit();
  const widths = [WIDE.inputs, ...WIDE.hidden, WIDE.outputs];
  const layers = widths.slice(1).map((outputs, l) => ({
    inputs: widths[l]!,
    outputs,
    weights: Float64Array.from({ length: widths[l]! * outputs }, (_, i) => Math.sin(i)),
    bias: new Float64Array(outputs),
    relu: l < widths.length - 2,
  }));
  const file = writeOnnx(onnxFromNetwork({ inputs: WIDE.inputs, layers, decision: 'argmax' }));
  const data = {
    dictionary: scenario.dictionary,
    rows: { calibration: rows.training.features, testSet: rows.testSet },
  };
  const samples: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    signal.throwIfAborted();
    const began = performance.now();
    const { problems } = lintModel(readOnnx(file), data);
    samples.push(performance.now() - began);
    if (problems.length > 1) throw new Error(`lint: ${problems.map(({ reason }) => reason).join('; ')}`);
  }
  say(`lint, ${(file.length / 1e6).toFixed(2)} MB: ${median(samples).toFixed(0)} ms`);
  return [
    row({
      name: `lint, ${(file.length / 1e6).toFixed(2)} MB and ${rows.rows.length} rows`,
      unit: 's',
      ours: median(samples) / 1000,
      must: 2,
      aim: 0.5,
    }),
  ];
}

const CALIBRATION = new URL('../../runtime/prove/calibration.ts', import.meta.url).href;

/** Measured by a process of its own, as a user's are: the first key and proof below are the first of this process, too. */
async function measuredRates(): ReturnType<typeof machineRates> {
  const program = `await (await import(${JSON.stringify(CALIBRATION)})).machineRates();`;
  await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program]);
  return machineRates();
}

/** Compiler, key and proof of four circuits, small to large, beside what was foretold of them; each proof is verified. */
async function steps(home: string, { say, signal, wants }: BenchContext): Promise<Row[]> {
  const { rows, scenario } = credit();
  const mlp = train(rows.training, 2, scenario.settings.models.mlp);
  const wide = train(rows.training, 2, { ...scenario.settings.models.mlp, hidden: 16, epochs: 1 });
  const all = testSetFor(rows.rows.slice(0, 850), preprocessingOf(scenario.dictionary));
  const rates = await measuredRates();
  const toolchain = await circuitToolchain();
  const out: Row[] = [];
  const logistic = trainLogistic(rows.training, 2, scenario.settings.models.logistic);
  for (const [name, { model, testSet }] of Object.entries({
    'logistic regression': subject(logistic, rows.testSet),
    'demonstration MLP': subject(mlp, rows.testSet),
    'about 250,000 constraints': subject(wide, all),
    'LeNet-5': image(smallTensors(LENET5), drawing(28, 1)),
  })) {
    signal.throwIfAborted();
    if (!wants('foretold') && !wants('compile') && !wants(name)) continue;
    const cost = circuitCost(model.architecture, testSet);
    const told = forecast(cost, rates);
    const emitted = emitQualityCircuit(model.architecture, testSet, toolchain);
    const compiled = await timed(() =>
      compileCircuit(emitted, toolchain, { cacheDir: join(home, 'circuits'), signal }),
    );
    const file = await readFile(compiled.value.r1csPath);
    const r1cs = readR1cs(file);
    await using pool = await createPool();
    const made = await timed(() => setup(file, { field: pool, points: pool }, { signal }));
    const wasm = await readFile(compiled.value.wasmPath);
    const witness = await calculateWitness(wasm, witnessInput(model, 0), { signal });
    const zkey = readZkey(made.value.zkey);
    const proved = await timed(() => prove(zkey, witness, pool, { signal }));
    const { proof, publicSignals } = proved.value;
    if (!verify(verificationKey(zkey), publicSignals, proof)) throw new Error(`${name}: the proof is wrong`);
    say(
      `${name}: compiled in ${(compiled.ms / 1000).toFixed(1)} s (foretold ${told.compileSeconds}), key ${(made.ms / 1000).toFixed(1)} s (foretold ${told.setupSeconds}), proof ${(proved.ms / 1000).toFixed(1)} s (foretold ${told.proofSeconds})`,
    );
    const off = (foretold: number, ms: number): number => Math.abs(foretold / (ms / 1000) - 1) * 100;
    const beside = (what: string, ms: number, foretold: number): Row =>
      row({
        name: `${name}: ${what}, as it was and as foretold`,
        unit: 's',
        ours: ms / 1000,
        peer: { name: 'foretold', value: foretold },
      });
    const exact = (what: string, count: number, counted: number): Row =>
      row({
        name: `${name}: ${what}, off lint's count`,
        unit: what,
        ours: Math.abs(count - counted),
        must: 0,
      });
    out.push(
      exact('constraints', r1cs.constraints, cost.constraints),
      ...(cost.exactTerms
        ? [
            exact('terms', r1cs.terms.count, cost.terms),
            exact('bytes of the key', made.value.zkey.byteLength, cost.keyBytes),
          ]
        : []),
      row({
        name: `${name}: compile, ${cost.constraints} constraints`,
        unit: 's',
        ours: compiled.ms / 1000,
        ...(name.startsWith('about 250,000') ? { must: 40, aim: 25 } : {}),
      }),
      beside('key', made.ms, told.setupSeconds),
      beside('proof', proved.ms, told.proofSeconds),
      row({
        name: `${name}: key, off what was foretold`,
        unit: '%',
        ours: off(told.setupSeconds, made.ms),
        must: 40,
        aim: 25,
      }),
      row({
        name: `${name}: proof, off what was foretold`,
        unit: '%',
        ours: off(told.proofSeconds, proved.ms),
        must: 40,
        aim: 25,
      }),
    );
  }
  return out;
}
