/** Calculators that stay: their thread, what they remember of a circuit, and what is left of a witness. */
import { compileCalculator, isWiped, runCalculator } from '../../../circuits/groth16/calculator.ts';
import { writeElement } from '../../../circuits/groth16/field.ts';
import type { Calculators } from '../../../runtime/msm/threads/calculators.ts';
import { openCalculators } from '../../../runtime/prove/witness-calculator.ts';
import { compiled, templateCircuit, wires } from '../../circuits/model-fixture.ts';
import { assert, suite, type TestContext } from '../../harness.ts';

const test = suite('calculators', { timeoutMs: 60_000 });

const bitsOf = async (t: TestContext, bits: number) =>
  new Uint8Array((await compiled(t, await templateCircuit('bits.circom', `Bits(${bits})`, ['in']))).wasm);
const wiresFor = (calculators: Calculators, wasm: Uint8Array, value: bigint) =>
  calculators.calculate(wasm, { in: value }).then((witness) => wires(witness).slice(1, -1));
const bits = (value: bigint, count: number) =>
  Array.from({ length: count }, (_, i) => (value >> BigInt(i)) & 1n);

/** Threads that were started since. */
function countThreads(t: TestContext): () => number {
  let count = 0;
  const started = () => void count++;
  process.on('worker', started);
  t.defer(() => process.off('worker', started));
  return () => count;
}

test('one thread computes one witness after the other, of any circuit, and is told how a circuit refuses', async (t) => {
  const threads = countThreads(t);
  const [short, long] = [await bitsOf(t, 5), await bitsOf(t, 40)];
  await using calculators = openCalculators();
  for (const [wasm, count, value] of [
    [short, 5, 21n],
    [long, 40, 2n ** 39n + 5n],
    [short, 5, 30n],
    [long, 40, 7n],
  ] as const) {
    assert.equal((await wiresFor(calculators, wasm, value)).slice(0, count), bits(value, count));
    await calculators.calculate(wasm, { in: 2n ** 40n }).then(
      () => assert.unreachable('a value of too many bits was accepted'),
      (error: { code?: string }) => assert.is(error.code, 'witness-rejected'),
    );
  }
  assert.is(threads(), 1);
});

test('several at once have threads of their own, and one of these stays', async (t) => {
  const threads = countThreads(t);
  const wasm = await bitsOf(t, 5);
  await using calculators = openCalculators();
  const values = [3n, 17n, 31n];
  const found = await Promise.all(values.map((value) => wiresFor(calculators, wasm, value)));
  assert.equal(
    found.map((found) => found.slice(0, 5)),
    values.map((value) => bits(value, 5)),
  );
  assert.is(threads(), 3);
  await wiresFor(calculators, wasm, 9n);
  assert.is(threads(), 3);
});

test('a named file is read once', async (t) => {
  const wasm = await bitsOf(t, 5);
  await using calculators = openCalculators();
  let reads = 0;
  const file = {
    name: 'five bits',
    async read() {
      reads++;
      return wasm;
    },
  };
  for (const value of [1n, 2n, 3n])
    assert.is(wires(await calculators.calculate(file, { in: value }))[1], value & 1n);
  assert.is(reads, 1);
});

/** A module as circom makes it, whose `init` never ends. */
function endless(): Uint8Array<ArrayBuffer> {
  const text = (value: string) => [value.length, ...new TextEncoder().encode(value)];
  const section = (id: number, content: number[]) => [id, ...leb(content.length), ...content];
  const leb = (value: number): number[] =>
    value < 128 ? [value] : [(value % 128) | 128, ...leb(Math.floor(value / 128))];
  const prime = new Uint8Array(32);
  writeElement(21888242871839275222246405745257275088548364400416034343698204186575808495617n, prime);
  // get(): i32, of one argument, set of two, nothing of one, three or none
  const types = [
    [[], [0x7f]],
    [[0x7f], [0x7f]],
    [[0x7f], []],
    [[0x7f, 0x7f], []],
    [[0x7f, 0x7f, 0x7f], []],
    [[], []],
  ];
  const functions: [name: string, type: number, code: number[]][] = [
    ['getVersion', 0, [0x41, 2]],
    ['getFieldNumLen32', 0, [0x41, 8]],
    ['getRawPrime', 5, []],
    ['getWitnessSize', 0, [0x41, 1]],
    ['getWitness', 2, []],
    // loop br 0 end
    ['init', 2, [0x03, 0x40, 0x0c, 0, 0x0b]],
    // i32.load at 4 times the word
    ['readSharedRWMemory', 1, [0x20, 0, 0x41, 4, 0x6c, 0x28, 2, 0]],
    ['writeSharedRWMemory', 3, []],
    ['setInputSignal', 4, []],
  ];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [
      types.length,
      ...types.flatMap(([params, results]) => [
        0x60,
        params!.length,
        ...params!,
        results!.length,
        ...results!,
      ]),
    ]),
    ...section(3, [functions.length, ...functions.map(([, type]) => type)]),
    ...section(5, [1, 0, 1]),
    ...section(7, [
      functions.length + 1,
      ...functions.flatMap(([name], index) => [...text(name), 0, index]),
      ...[...text('memory'), 2, 0],
    ]),
    ...section(10, [
      functions.length,
      ...functions.flatMap(([, , code]) => [code.length + 2, 0, ...code, 0x0b]),
    ]),
    ...section(11, [1, 0, 0x41, 0, 0x0b, 32, ...prime]),
  ]);
}

test('a calculator that runs for ever ends with its signal, and the next one has a new thread', async (t) => {
  const threads = countThreads(t);
  const wasm = await bitsOf(t, 5);
  await using calculators = openCalculators();
  await wiresFor(calculators, wasm, 1n);
  const abort = new AbortController();
  const running = calculators.calculate(endless(), {}, { signal: abort.signal });
  setTimeout(() => abort.abort(), 300);
  await running.then(
    () => assert.unreachable(),
    (error: { code?: string }) => assert.is(error.code, 'cancelled'),
  );
  assert.is(threads(), 1);
  assert.equal((await wiresFor(calculators, wasm, 6n)).slice(0, 5), bits(6n, 5));
  assert.is(threads(), 2);
});

test('closing ends what runs, and refuses what comes later', async (t) => {
  const wasm = await bitsOf(t, 5);
  const calculators = openCalculators();
  const running = calculators.calculate(endless(), {});
  setTimeout(() => void calculators.close(), 300);
  for (const work of [running, running.catch(() => calculators.calculate(wasm, { in: 1n }))]) {
    await work.then(
      () => assert.unreachable(),
      (error: { code?: string }) => assert.is(error.code, 'cancelled'),
    );
  }
});

test('nothing of a witness stays in the module’s memory, whether it was computed or refused', async (t) => {
  const module = await compileCalculator(await bitsOf(t, 40));
  assert.ok(isWiped(module));
  const { Instance } = WebAssembly;
  const memories: WebAssembly.Memory[] = [];
  WebAssembly.Instance = class extends Instance {
    constructor(...args: ConstructorParameters<typeof Instance>) {
      super(...args);
      memories.push(this.exports.memory as WebAssembly.Memory);
    }
  };
  t.defer(() => {
    WebAssembly.Instance = Instance;
  });
  await runCalculator(module, { in: 0x12_3456_789an });
  await runCalculator(module, { in: 2n ** 41n + 5n }).catch(() => {});
  assert.is(memories.length, 2);
  for (const { buffer } of memories) assert.ok(new Uint8Array(buffer).every((byte) => byte === 0));
});

test.run();
