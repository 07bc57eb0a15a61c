/**
 * Witnesses by circom's calculators: from inputs to checked bytes, beside snarkjs with the same module. The circuits of
 * `../shared/prover` (compiled here, with --O2), the demonstration's, and one of random products, which no pattern helps.
 */
import { mkdirSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { CalculatorInput } from '../../circuits/groth16/calculator.ts';
import { readWitness } from '../../circuits/groth16/witness.ts';
import { circuitDigest, emitQualityCircuit, witnessInput } from '../../circuits/model/emit.ts';
import { equal } from '../../protocols/encoding.ts';
import { sampleData } from '../../runtime/demo/sample.ts';
import { trainOnnx } from '../../runtime/demo/trainer.ts';
import { folder } from '../../runtime/home/home.ts';
import { CREDIT, readCreditData } from '../../runtime/models/credit-data.ts';
import { commitOnnx } from '../../runtime/models/vendor.ts';
import { circuitToolchain, compileCircuit } from '../../runtime/prove/circuit-compiler.ts';
import { openCalculators } from '../../runtime/prove/witness-calculator.ts';
import { hasProverData, PROVER_DATA } from '../circuits/groth16-oracle.ts';
import { type BenchContext, type Row, row } from './result.ts';
import { timed } from './statistics.ts';
import { alternate } from './turns.ts';

const NAMES = ['pos', 'sha', 'demonstration', 'random products'] as const;
type Name = (typeof NAMES)[number];
/** V8 compiles a module's functions well one by one, as they are used. */
const WARM_UP_RUNS = 10;
const SAMPLE_SEED = 1;

const rowNames = (name: Name) => ({
  rate: `${name}: witness, calculator kept`,
  time: `${name}: witness beside snarkjs, calculator kept`,
  first: `${name}: first witness in a new thread`,
});

const SOURCES: Partial<Record<Name, string>> = {
  pos: `include "circomlib/poseidon.circom";
template Chain(n) {
  signal input in[2]; signal output out; component hash[n];
  for (var i = 0; i < n; i++) {
    hash[i] = Poseidon(2);
    hash[i].inputs[0] <== i == 0 ? in[0] : hash[i - 1].out;
    hash[i].inputs[1] <== in[1];
  }
  out <== hash[n - 1].out;
}
component main = Chain(265);`,
  sha: 'include "circomlib/sha256/sha256.circom";\ncomponent main = Sha256(512);',
  'random products': `template Products(n) {
  signal input in[8]; signal output out; signal s[n];
  var random = 12345;
  for (var i = 0; i < n; i++) {
    random = (random * 1103515245 + 12345) % 2147483648;
    var j = i < 2 ? 0 : random % i;
    s[i] <== i < 2 ? in[i] * in[7] : (s[i - 1] + random * in[i % 8]) * (s[j] - s[i - 2] * 3 + i);
  }
  out <== s[n - 1];
}
component main = Products(60000);`,
};
const INPUTS: Partial<Record<Name, CalculatorInput>> = {
  pos: { in: [3n, 5n] },
  sha: { in: Array.from({ length: 512 }, (_, i) => BigInt((i * i + (i >> 3)) & 1)) },
  'random products': { in: Array.from({ length: 8 }, (_, i) => 7n ** BigInt(9 * (i + 3))) },
};

export async function benchmarkWitness(context: BenchContext): Promise<Row[]> {
  const rows: Row[] = [];
  for (const name of NAMES)
    if (Object.values(rowNames(name)).some(context.wants)) rows.push(...(await benchmarkOne(name, context)));
  return rows;
}

async function benchmarkOne(name: Name, context: BenchContext): Promise<Row[]> {
  const names = rowNames(name);
  context.say(`compiling the circuit of ${name}, unless it is cached`);
  const { wasm, constraints, input } = await circuitOf(name, context.signal);
  // The package has no types here.
  const snarkjs = (await import('snarkjs' as string)) as {
    wtns: {
      calculate(input: object, wasm: Uint8Array, target: { type: 'mem'; data?: Uint8Array }): Promise<void>;
    };
  };
  await using calculators = openCalculators();
  const file = { name, read: async () => wasm };
  const ours = () => calculators.calculate(file, input);
  const theirs = async () => {
    const target: { type: 'mem'; data?: Uint8Array } = { type: 'mem' };
    await snarkjs.wtns.calculate(input, wasm, target);
    return readWitness(new Uint8Array(target.data!));
  };
  const first = await timed(ours);
  if (
    name === 'pos' &&
    hasProverData &&
    !equal(first.value, readWitness(await readFile(`${PROVER_DATA}pos.wtns`)))
  )
    throw new Error('pos: another witness than in ../shared/prover');
  for (let run = 0; run < WARM_UP_RUNS; run++) await ours();
  const ms = await alternate(names.time, ours, theirs, equal, context);
  return [
    row({
      name: names.rate,
      unit: 'M constraints/s',
      ours: constraints / ms.ours / 1000,
      better: 'more',
      must: 1,
      aim: 2,
    }),
    row({ name: names.time, unit: 'ms', ours: ms.ours, peer: { name: 'snarkjs', value: ms.theirs } }),
    row({ name: names.first, unit: 'ms', ours: first.ms }),
  ];
}

async function circuitOf(name: Name, signal: AbortSignal) {
  const toolchain = await circuitToolchain();
  const cacheDir = folder('cache', 'bench', 'circuits');
  mkdirSync(cacheDir, { recursive: true });
  const read = async (source: string, templates: ReadonlyMap<string, string>, input: CalculatorInput) => {
    const whole = { ...toolchain, templates };
    const circuit = { source, digest: circuitDigest(source, whole), rows: 0 };
    const { wasmPath, constraints } = await compileCircuit(circuit, whole, { cacheDir, signal });
    return { wasm: new Uint8Array(await readFile(wasmPath)), constraints, input };
  };
  const source = SOURCES[name];
  if (source !== undefined)
    return read(`pragma circom 2.1.6;\n${source}\n`, await circomlib(), INPUTS[name]!);
  const rows = readCreditData(sampleData(SAMPLE_SEED));
  const { model, testSet, threshold } = await commitOnnx('bench-witness', trainOnnx(rows), rows, CREDIT);
  const emitted = emitQualityCircuit(model.architecture, testSet, toolchain);
  return read(emitted.source, toolchain.templates, witnessInput(model, threshold));
}

/** Templates of circomlib by the paths that circuits include them by. */
async function circomlib(): Promise<ReadonlyMap<string, string>> {
  const home = dirname(createRequire(import.meta.url).resolve('circomlib/circuits/poseidon.circom'));
  const files = readdirSync(home, { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith('.circom'),
  );
  return new Map(
    await Promise.all(
      files.map(async (path) => [`circomlib/${path}`, await readFile(join(home, path), 'utf8')] as const),
    ),
  );
}
