/** The faster field in circom's modules: the same witness as the module's own field computes, or the module as it was. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type CalculatorInput,
  compileCalculator,
  runCalculator,
} from '../../../../circuits/groth16/calculator.ts';
import { R } from '../../../../circuits/groth16/field.ts';
import { equal } from '../../../../protocols/encoding.ts';
import { withFasterField } from '../../../../runtime/msm/wasm/circom-module.ts';
import { generator, wide } from '../../../circuits/groth16-circuit.ts';
import { assert, suite } from '../../../harness.ts';

const test = suite('circom modules', { timeoutMs: 120_000 });
const folder = mkdtempSync(join(tmpdir(), 'vouch-circom-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));

function compile(source: string, ...options: string[]): Uint8Array<ArrayBuffer> {
  writeFileSync(join(folder, 'it.circom'), `pragma circom 2.1.6;\n${source}`);
  const cli = createRequire(import.meta.url).resolve('circom2/cli.js');
  const words = [cli, 'it.circom', '--wasm', '--O0', ...options];
  const { status, stdout } = spawnSync(process.execPath, words, { cwd: folder, encoding: 'utf8' });
  assert.is(status, 0, stdout);
  return new Uint8Array(readFileSync(join(folder, 'it_js/it.wasm')));
}
const witnessOf = async (wasm: Uint8Array<ArrayBuffer>, input: CalculatorInput) =>
  runCalculator(await compileCalculator(wasm), input);

const OPERATORS = ['+', '-', '*', '/', '\\', '%', '&', '|', '^', '==', '<', '>='];
/** Each signal from two before it, and inputs, by any operator; what divides is never zero. */
function program(seed: number, steps: number): string {
  const random = generator(seed);
  const lines = Array.from({ length: steps }, (_, step) => {
    const operand = () => {
      const at = random() % (step + 4);
      const value = at < step ? `s[${at}]` : `in[${at - step}]`;
      return [value, value, `(${value} >> ${random() % 70})`, `(${value} << ${random() % 9})`, `(-${value})`][
        random() % 5
      ]!;
    };
    const operator = OPERATORS[random() % OPERATORS.length]!;
    const [a, b] = [operand(), operand()];
    return `s[${step}] <-- ${'/\\%'.includes(operator) ? `${b} == 0 ? ${a} : ${a} ${operator} ${b}` : `${a} ${operator} ${b}`};`;
  });
  return `template Any() { signal input in[4]; signal output s[${steps}]; ${lines.join(' ')} } component main = Any();`;
}

test('random circuits of every operator: the witness of the module’s own field', async () => {
  const random = generator(7);
  const value = () =>
    [
      0n,
      1n,
      R - 1n,
      BigInt(random() % 3),
      BigInt(random()),
      wide(random) % R,
      2n ** 31n,
      wide(random) >> 190n,
    ][random() % 8]!;
  for (let seed = 1; seed <= 8; seed++) {
    const wasm = compile(program(seed, 40));
    const faster = await withFasterField(wasm);
    assert.ok(faster !== wasm, 'the field is known');
    for (let run = 0; run < 24; run++) {
      const input = { in: Array.from({ length: 4 }, value) };
      assert.ok(
        equal(await witnessOf(faster, input), await witnessOf(wasm, input)),
        `program ${seed}, input ${input.in}`,
      );
    }
  }
});

test('tables of constants are copied at once, also where some of them repeat', async () => {
  const random = generator(11);
  const constants = Array.from({ length: 90 }, (_, i) => (i % 9 === 4 ? 7n : wide(random) % R));
  const wasm = compile(`function table() { return [${constants}]; }
template Tables() {
  signal input in; signal output out[90]; var t[90] = table(); var u[90] = [${constants.toReversed()}];
  for (var i = 0; i < 90; i++) { out[i] <== t[i] * in + u[(i * 7) % 90]; }
} component main = Tables();`);
  const faster = await withFasterField(wasm);
  // Calls of Fr_copy, which is function 37.
  const copies = (bytes: Uint8Array) =>
    bytes.reduce((count, byte, at) => count + (byte === 0x10 && bytes[at + 1] === 37 ? 1 : 0), 0);
  assert.ok(copies(faster) < copies(wasm) - 60, `${copies(wasm)} copies became ${copies(faster)}`);
  for (const value of [0n, 1n, R - 1n, wide(random) % R])
    assert.ok(equal(await witnessOf(faster, { in: value }), await witnessOf(wasm, { in: value })));
});

const BITS = `template Bits() {
  signal input in; signal output bit[70]; var sum = 0;
  for (var i = 0; i < 70; i++) { bit[i] <-- (in >> i) & 1; bit[i] * (bit[i] - 1) === 0; sum += bit[i] * (1 << i); }
  sum === in;
} component main = Bits();`;

test('constraints are still checked on the way', async () => {
  const faster = await withFasterField(compile(BITS));
  await witnessOf(faster, { in: 2n ** 70n - 1n });
  for (const value of [2n ** 70n, -1n, R / 2n]) {
    await witnessOf(faster, { in: value }).then(
      () => assert.unreachable(`${value} was accepted`),
      (error: { code?: string }) => assert.is(error.code, 'witness-rejected'),
    );
  }
});

test('a module of another field, or with one byte of its field changed, stays as it is', async () => {
  const other = compile(BITS, '--prime', 'goldilocks');
  assert.is(await withFasterField(other), other);
  const bls = compile(BITS, '--prime', 'bls12381');
  assert.is(await withFasterField(bls), bls);

  const wasm = compile(BITS);
  const faster = await withFasterField(wasm);
  const first = wasm.findIndex((byte, at) => byte !== faster[at]);
  assert.ok(first > 0);
  // What stands in front of the code section is not the field's.
  for (let at = first + 8; at < first + 23_000; at += 397) {
    const changed = wasm.slice();
    changed[at]! ^= 1;
    assert.is(await withFasterField(changed), changed, `byte ${at}`);
  }
});

test('what is no module, or half of one, stays as it is', async () => {
  const wasm = compile(BITS);
  for (let length = 0; length < wasm.byteLength; length += 211) {
    const cut = wasm.slice(0, length);
    const result = await withFasterField(cut);
    // Behind the code the rest is not looked at; compiling it is refused as before.
    if (result !== cut) assert.not.ok(WebAssembly.validate(result), `${length} bytes`);
  }
  const random = generator(3);
  for (let run = 0; run < 200; run++) {
    const noise = wasm.slice(0, 4000);
    for (let change = 0; change < 20; change++) noise[random() % 400] = random();
    assert.is(await withFasterField(noise), noise);
  }
});

test('a module with other templates than circom’s is as valid as it was', async () => {
  const wasm = compile(BITS);
  const faster = await withFasterField(wasm);
  const behindField = wasm.findIndex((byte, at) => byte !== faster[at]) + 23_700;
  assert.ok(behindField < wasm.byteLength - 2000);
  const random = generator(5);
  for (let run = 0; run < 300; run++) {
    const noise = wasm.slice();
    for (let change = 0; change <= run % 3; change++)
      noise[behindField + (random() % (wasm.byteLength - behindField))] = random();
    assert.is(WebAssembly.validate(await withFasterField(noise)), WebAssembly.validate(noise), `run ${run}`);
  }
});

test.run();
