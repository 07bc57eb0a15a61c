import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { circuitDigest, type EmittedCircuit } from '../../circuits/model/emit.ts';
import { VouchError } from '../../protocols/errors.ts';
import { type CompilerLimits, compileCircuit } from '../../runtime/prove/circuit-compiler.ts';
import { calculateWitness } from '../../runtime/prove/witness-calculator.ts';
import { assert, suite, type TestContext } from '../harness.ts';
import { templateCircuit, testToolchain } from './model-fixture.ts';

const test = suite('circuit compiler', { timeoutMs: 60_000 });

async function folder(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'vouch-compiler-'));
  t.defer(() => rm(path, { recursive: true, force: true }));
  return path;
}
async function fails(promise: Promise<unknown>, code: string, text: RegExp): Promise<void> {
  try {
    await promise;
  } catch (error) {
    assert.instance(error, VouchError, String(error));
    assert.is((error as VouchError).code, code);
    assert.match((error as VouchError).message, text);
    return;
  }
  assert.unreachable(`expected ${code}`);
}
const circuitOf = async (source: string): Promise<EmittedCircuit> => ({
  source,
  digest: circuitDigest(source, await testToolchain()),
  rows: 0,
});

test('compiles once, whoever asks at the same time, and leaves only whole results', async (t) => {
  const cacheDir = await folder(t);
  const toolchain = await testToolchain();
  const circuit = await templateCircuit('bits.circom', 'NotNegative(8)', ['in']);
  const both = await Promise.all([
    compileCircuit(circuit, toolchain, { cacheDir }),
    compileCircuit(circuit, toolchain, { cacheDir }),
  ]);
  assert.equal(both[0], both[1]);
  assert.is(both[0].constraints, 8);
  assert.equal(await readdir(cacheDir), [circuit.digest]);
  assert.equal((await readdir(join(cacheDir, circuit.digest))).sort(), [
    'main.circom',
    'main.r1cs',
    'main.wasm',
  ]);
  const again = await compileCircuit(circuit, toolchain, { cacheDir });
  assert.equal(again, { ...both[0], cached: true });
});

test('compiles the same files again, byte for byte', async (t) => {
  const toolchain = await testToolchain();
  const circuit = await templateCircuit('requantise.circom', 'RequantiseRelu(3, 9, 2)', ['in']);
  const files = await Promise.all(
    [0, 1].map(async () => {
      const { r1csPath, wasmPath } = await compileCircuit(circuit, toolchain, { cacheDir: await folder(t) });
      return [await readFile(r1csPath), await readFile(wasmPath)];
    }),
  );
  assert.equal(files[0], files[1]);
});

test('a source that circom refuses is an error in its own words, and leaves nothing behind', async (t) => {
  const cacheDir = await folder(t);
  const circuit = await circuitOf(
    'pragma circom 2.1.6;\ntemplate T() {\n  signal input a;\n  a <== nothing;\n}\ncomponent main = T();\n',
  );
  await fails(
    compileCircuit(circuit, await testToolchain(), { cacheDir }),
    'bad-input',
    /circom refused the circuit .*nothing/s,
  );
  assert.equal(await readdir(cacheDir), []);
});

test('compiling can be cancelled', async (t) => {
  const cacheDir = await folder(t);
  const abort = new AbortController();
  const circuit = await templateCircuit('commitment.circom', 'PoseidonChain(16)');
  const compiling = compileCircuit(circuit, await testToolchain(), { cacheDir, signal: abort.signal });
  const stopped = fails(compiling, 'cancelled', /cancelled/);
  while ((await readdir(cacheDir)).length === 0) await new Promise((resume) => setTimeout(resume, 5));
  abort.abort();
  await stopped;
  assert.equal(await readdir(cacheDir), []);
});

test('a compilation has limits to its time and its memory', async (t) => {
  const cacheDir = await folder(t);
  const circuit = await templateCircuit('commitment.circom', 'PoseidonChain(64)');
  const toolchain = await testToolchain();
  const within = (limits: CompilerLimits) => compileCircuit(circuit, toolchain, { cacheDir, limits });
  await fails(within({ millis: 200, mebibytes: 3072 }), 'too-large', /longer than 0.2 s/);
  if (process.platform === 'linux')
    await fails(within({ millis: 60_000, mebibytes: 48 }), 'too-large', /more than 48 MiB/);
  assert.equal(await readdir(cacheDir), []);
});

test('a damaged cache entry is one clear error', async (t) => {
  const cacheDir = await folder(t);
  const circuit = await templateCircuit('bits.circom', 'NotNegative(8)', ['in']);
  await mkdir(join(cacheDir, circuit.digest));
  await writeFile(join(cacheDir, circuit.digest, 'main.r1cs'), 'r1cs');
  await fails(
    compileCircuit(circuit, await testToolchain(), { cacheDir }),
    'bad-file',
    /truncated|not an \.r1cs/,
  );
  await writeFile(join(cacheDir, 'file'), '');
  await fails(
    compileCircuit(circuit, await testToolchain(), { cacheDir: join(cacheDir, 'file') }),
    'bad-file',
    /a part of its path is a file, expected a folder/,
  );
});

test('a witness thread can be stopped, and a broken module is refused', async (t) => {
  const cacheDir = await folder(t);
  const circuit = await templateCircuit('bits.circom', 'NotNegative(8)', ['in']);
  const { wasmPath } = await compileCircuit(circuit, await testToolchain(), { cacheDir });
  const wasm = await readFile(wasmPath);
  await fails(calculateWitness(wasm, { in: 3n }, { signal: AbortSignal.abort() }), 'cancelled', /cancelled/);
  await fails(calculateWitness(wasm.subarray(0, 1000), { in: 3n }), 'bad-file', /witness calculator/);
  await fails(calculateWitness(wasm, { in: 3n, out: 4n }), 'witness-rejected', /no input out/);
});

test.run();
