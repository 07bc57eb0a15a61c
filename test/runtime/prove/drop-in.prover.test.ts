/**
 * What other tools write and other users pass, a row each, with where it comes from: the same proof, key or signals in
 * every spelling; calculators and keys of other compilers, curves and protocols; options as snarkjs takes them. Where
 * snarkjs has an opinion, it is asked as well. One file, although it is long: it is one table of what others write.
 */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { writeBinFile } from '../../../circuits/groth16/binfile.ts';
import { ELEMENT_BYTES, Q, R, writeElement } from '../../../circuits/groth16/field.ts';
import { knownG2 } from '../../../circuits/groth16/point.ts';
import { setup } from '../../../circuits/groth16/setup.ts';
import { readWitness, writeWitness } from '../../../circuits/groth16/witness.ts';
import { readZkey } from '../../../circuits/groth16/zkey.ts';
import { VouchError } from '../../../protocols/errors.ts';
import { createPool } from '../../../runtime/msm/threads/pool.ts';
import { createProver, groth16, r1cs, type Verdict, wtns, zKey } from '../../../runtime/prove/prover.ts';
import { type Combination, r1csFile, randomCircuit } from '../../circuits/groth16-circuit.ts';
import { openOracle } from '../../circuits/groth16-oracle.ts';
import { strayPoint } from '../../circuits/stray-point.ts';
import { assert, suite } from '../../harness.ts';
import { newHome } from '../commands/cli-fixture.ts';

const test = suite('drop-in', { timeoutMs: 120_000 });
process.env.VOUCH_HOME = newHome();

// biome-ignore lint/suspicious/noExplicitAny: these are the shapes of others, which is what is tested
type Any = any;
const folder = mkdtempSync(join(tmpdir(), 'vouch-drop-in-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const pool = await createPool({ threads: 1 });
const keyOf = (file: Uint8Array) => setup(file, { field: pool, points: pool });
const circuit = randomCircuit({ constraints: 20, outputs: 1, publicInputs: 1 });
const { zkey, verificationKey: vk } = await keyOf(circuit.r1cs);
const witness = writeWitness(circuit.witness);
const { proof, publicSignals } = await groth16.prove(zkey, witness, { threads: 1 });
const [g1, g2] = [proof.pi_a, proof.pi_b];

const hex = (decimal: string) => `0x${BigInt(decimal).toString(16)}`;
const each =
  (change: (decimal: string) => unknown) =>
  (value: Any): Any =>
    Array.isArray(value) ? value.map(each(change)) : change(value);
const points = (of: Any, names: readonly string[], change: (point: Any) => Any) =>
  Object.fromEntries(
    Object.entries(of).map(([name, value]) => [name, names.includes(name) ? change(value) : value]),
  );
const PROOF_POINTS = ['pi_a', 'pi_b', 'pi_c'];
const KEY_POINTS = ['vk_alpha_1', 'vk_beta_2', 'vk_gamma_2', 'vk_delta_2', 'IC'];
const times = (decimal: string, factor: bigint) => String((BigInt(decimal) * factor) % Q);
const without = (of: object, ...names: string[]) =>
  Object.fromEntries(Object.entries(of).filter(([name]) => !names.includes(name)));
const firstSignal = (change: (decimal: string) => unknown) => [
  change(publicSignals[0]!),
  ...publicSignals.slice(1),
];

interface VerifyRow {
  readonly name: string;
  readonly key?: Any;
  readonly signals?: Any;
  readonly proof?: Any;
  /** true, or why not; a key that is refused throws its reason. */
  readonly expected: true | RegExp;
  readonly throws?: true;
  /** Where snarkjs answers something else, and why we do not. */
  readonly snarkjs?: boolean | 'throws';
}
const VERIFY: readonly VerifyRow[] = [
  { name: 'as snarkjs writes it', expected: true },
  // iden3/rapidsnark src/groth16.cpp, Proof::toJson: pi_a, pi_b, pi_c and protocol.
  { name: 'a proof of rapidsnark', proof: without(proof, 'curve'), expected: true },
  // iden3/go-rapidsnark types/proof.go, ProofData: the same.
  {
    name: 'a proof of go-rapidsnark',
    proof: { ...without(proof, 'curve'), protocol: 'groth16' },
    expected: true,
  },
  // Consensys/gnark, by converters to snarkjs's JSON: the name of the curve is theirs (ecc.BN254).
  { name: 'a proof of gnark', proof: { ...proof, curve: 'bn254' }, expected: true },
  // arkworks' and mopro's bindings: points alone.
  { name: 'a proof without protocol', proof: without(proof, 'curve', 'protocol'), expected: true },
  // Solidity's call data, and arkworks' affine points: two coordinates.
  {
    name: 'points of two coordinates',
    proof: points(proof, PROOF_POINTS, (p) => p.slice(0, 2)),
    expected: true,
  },
  // ethers and viem print hexadecimal.
  { name: 'hexadecimal coordinates', proof: points(proof, PROOF_POINTS, each(hex)), expected: true },
  // ffjavascript's utils.unstringifyBigInts.
  { name: 'BigInt coordinates', proof: points(proof, PROOF_POINTS, each(BigInt)), expected: true },
  // ffjavascript's G1.toObject of a point that was not made affine.
  {
    name: 'Jacobian points',
    proof: {
      ...proof,
      pi_a: [times(g1[0]!, 25n), times(g1[1]!, 125n), '5'],
      pi_b: [g2[0]!.map((c) => times(c, 25n)), g2[1]!.map((c) => times(c, 125n)), ['5', '0']],
    },
    expected: true,
  },
  // snarkjs's unstringifyBigInts takes all of these.
  { name: 'signals in hexadecimal', signals: publicSignals.map(hex), expected: true },
  {
    name: 'signals in capital hexadecimal',
    signals: firstSignal((s) => `0x${BigInt(s).toString(16).toUpperCase()}`),
    expected: true,
  },
  { name: 'signals as BigInts', signals: publicSignals.map(BigInt), expected: true },
  { name: 'signals with leading zeros', signals: firstSignal((s) => `000${s}`), expected: true },
  {
    name: 'hexadecimal with leading zeros, as contracts print bytes32',
    signals: publicSignals.map((s) => `0x${BigInt(s).toString(16).padStart(64, '0')}`),
    expected: true,
  },
  // Another value, or none.
  {
    name: 'an alias of a signal, plus r',
    signals: firstSignal((s) => String(BigInt(s) + R)),
    expected: /public signal 0: a number is not below/,
  },
  {
    name: 'a negative signal',
    signals: firstSignal((s) => String(BigInt(s) - R)),
    expected: /public signal 0: the number is negative/,
  },
  { name: 'a negative BigInt', signals: firstSignal((s) => BigInt(s) - R), expected: /negative/ },
  {
    name: 'a number that JavaScript rounded',
    signals: firstSignal(Number),
    expected: /expected a whole number/,
  },
  {
    name: 'a fraction',
    signals: firstSignal(() => 1.5),
    expected: /expected a whole number/,
    snarkjs: 'throws',
  },
  { name: 'a signal with spaces', signals: firstSignal((s) => ` ${s}`), expected: /expected a whole number/ },
  { name: 'an empty signal', signals: firstSignal(() => ''), expected: /expected a whole number/ },
  {
    name: 'a signal of a million digits',
    signals: firstSignal(() => '1'.repeat(1e6)),
    expected: /expected a whole number/,
  },
  {
    name: 'null as a signal',
    signals: firstSignal(() => null),
    expected: /expected a whole number/,
    snarkjs: 'throws',
  },
  { name: 'a signal too few', signals: publicSignals.slice(0, 1), expected: /expected an array of 2/ },
  {
    name: 'a signal too many',
    signals: [...publicSignals, '0'],
    expected: /expected an array of 2/,
    snarkjs: 'throws',
  },
  {
    name: 'signals that are an object',
    signals: { 0: '1' },
    expected: /public signals: expected an array/,
  },
  {
    name: 'signals in another order',
    signals: publicSignals.toReversed(),
    expected: /the equation does not hold/,
  },
  {
    name: 'A and C exchanged',
    proof: { ...proof, pi_a: proof.pi_c, pi_c: proof.pi_a },
    expected: /the equation does not hold/,
  },
  {
    name: 'a point off the curve',
    proof: { ...proof, pi_a: ['1', '1', '1'] },
    expected: /pi_a: not a point/,
  },
  {
    name: 'a point outside of the subgroup',
    proof: { ...proof, pi_b: strayStrings() },
    expected: /pi_b: not a point of the curve's group/,
  },
  // snarkjs reduces coordinates: a second spelling of every proof, which a nullifier of proofs would take for another.
  {
    name: 'an alias of a coordinate, plus q',
    proof: { ...proof, pi_a: [String(BigInt(g1[0]!) + Q), g1[1], '1'] },
    expected: /pi_a: a number is not below/,
    snarkjs: true,
  },
  {
    name: 'a proof that says it is of another curve',
    proof: { ...proof, curve: 'bls12381' },
    expected: /proof: expected curve "bn128", got "bls12381"/,
    snarkjs: true,
  },
  {
    name: 'a proof that says it is PLONK',
    proof: { ...proof, protocol: 'plonk' },
    expected: /use snarkjs \(plonk verify\)/,
    snarkjs: true,
  },
  {
    name: 'no proof at all',
    proof: null,
    expected: /proof: expected an object, got null/,
    snarkjs: 'throws',
  },
  {
    name: 'a proof without points',
    proof: {},
    expected: /pi_a: expected an array of 2 or 3/,
    snarkjs: 'throws',
  },
  // Keys. snarkjs's src/curves.js compares letters and digits only.
  ...['bn254', 'BN254', 'altbn128', 'alt_bn128', 'BN-254', 'bn128'].map((curve) => ({
    name: `a key of ${curve}`,
    key: { ...vk, curve },
    expected: true as const,
  })),
  { name: 'a key without protocol and nPublic', key: without(vk, 'protocol', 'nPublic'), expected: true },
  // rapidsnark's verifier reads the points alone.
  { name: 'a key without a curve', key: without(vk, 'curve'), expected: true, snarkjs: 'throws' },
  { name: 'a key with nPublic as text', key: { ...vk, nPublic: '2' }, expected: true },
  { name: 'a key of BigInts', key: points(vk, KEY_POINTS, each(BigInt)), expected: true },
  { name: 'a key in hexadecimal', key: points(vk, KEY_POINTS, each(hex)), expected: true },
  { name: 'a key without vk_alphabeta_12', key: without(vk, 'vk_alphabeta_12'), expected: true },
  {
    name: 'a key of PLONK',
    key: { ...vk, protocol: 'plonk' },
    expected: /verification key: .*use snarkjs \(plonk verify\)/,
    throws: true,
    snarkjs: true,
  },
  {
    name: 'a key of another curve',
    key: { ...vk, curve: 'bls12381' },
    expected: /expected curve "bn128"/,
    throws: true,
    snarkjs: false,
  },
  {
    name: 'a key with another nPublic',
    key: { ...vk, nPublic: 5 },
    expected: /one point of IC more than nPublic/,
    throws: true,
    snarkjs: true,
  },
  {
    name: 'a key with a point off the curve',
    key: { ...vk, vk_alpha_1: ['1', '1', '1'] },
    expected: /vk_alpha_1: not a point/,
    throws: true,
    snarkjs: false,
  },
];

function strayStrings(): string[][] {
  const { x, y } = knownG2(strayPoint(), 'stray point').toAffine();
  return [
    [String(x.c0), String(x.c1)],
    [String(y.c0), String(y.c1)],
    ['1', '0'],
  ];
}

const outcome = (work: Promise<unknown>): Promise<string> =>
  work.then(
    (value) => `done: ${value}`,
    (error) =>
      error instanceof VouchError ? `${error.code}: ${error.message}` : `not coded: ${error?.stack}`,
  );

test('every spelling of the same value, and no other value, with the reason', async (t) => {
  const oracle = await openOracle();
  t.defer(() => oracle.close());
  const different: string[] = [];
  for (const {
    name,
    key = vk,
    signals = publicSignals,
    proof: given = proof,
    expected,
    throws,
    snarkjs,
  } of VERIFY) {
    const verdict = await groth16.verify(key, signals, given, { explain: true }).catch((error) => error);
    if (throws) {
      assert.is(verdict.code, 'bad-file', name);
      assert.match(verdict.message, expected as RegExp, name);
    } else {
      assert.is((verdict as Verdict).verified, expected === true, `${name}: ${JSON.stringify(verdict)}`);
      if (expected !== true) assert.match(verdict.reason, expected, name);
      assert.is(await groth16.verify(key, signals, given), expected === true, name);
    }
    const theirs = await oracle.snarkjs.groth16.verify(key, signals, given).catch(() => 'throws');
    const wanted = snarkjs ?? expected === true;
    if (theirs !== wanted) different.push(`${name}: snarkjs says ${theirs}, not ${wanted}`);
  }
  assert.is(different.join('\n'), '');
  // snarkjs made the curve that a key named, and keeps its threads.
  await (globalThis as Any).curve_bls12381?.terminate();
});

test('a small signal as a number', async () => {
  const wires: Combination[] = [[[1, 1n]], [[2, 1n]], [[3, 1n]]];
  const file = r1csFile({ variables: 4, outputs: 0, publicInputs: 2, privateInputs: 1, constraints: wires });
  const key = await keyOf(file);
  const made = await groth16.prove(key.zkey, writeWitness(valuesOf(1n, 3n, 5n, 15n)), { threads: 1 });
  assert.ok(await groth16.verify(key.verificationKey, [3, 5], made.proof));
  assert.not.ok(await groth16.verify(key.verificationKey, [5, 3], made.proof));
});

function valuesOf(...values: bigint[]): Uint8Array {
  const bytes = new Uint8Array(values.length * ELEMENT_BYTES);
  for (const [index, value] of values.entries()) writeElement(value, bytes, index * ELEMENT_BYTES);
  return bytes;
}

/** The logger of snarkjs's users: pino, winston, logplease; and what it was told. */
function logger() {
  const lines: string[] = [];
  const say = (line: string) => void lines.push(line);
  return { lines, debug: say, info: say, warn: say, error: say };
}

test('the arguments behind the files: snarkjs’s, ours, and what is neither', async () => {
  const loud = logger();
  const prove = (...rest: Any[]) => outcome(groth16.prove(zkey, witness, ...rest));
  for (const [name, rest, expected] of [
    // snarkjs src/groth16_prove.js: (zkey, witness, logger, options), each may be missing.
    ['nothing', [], /^done/],
    ['a null logger', [null], /^done/],
    ['undefined', [undefined, undefined], /^done/],
    ['a logger', [loud], /^done/],
    ['a logger and options', [console, { singleThread: true }], /^done/],
    ['no logger but options', [null, { singleThread: true }], /^done/],
    ['our options', [{ threads: 1 }], /^done/],
    ['snarkjs’s options in our place', [{ singleThread: true }], /^done/],
    [
      'an unknown engine',
      [{ engine: 'cuda' }],
      /^bad-input: option engine: expected one of auto, webgpu, wasm/,
    ],
    ['an unknown option', [{ treads: 2 }], /^bad-input: options: there is no option "treads"/],
    [
      'an unknown option behind a logger',
      [null, { wasm: 1 }],
      /^bad-input: options: there is no option "wasm"/,
    ],
    ['no threads', [{ threads: 0 }], /^bad-input: option threads: expected a whole number from 1 to 64/],
    ['threads as text', [{ threads: '2' }], /^bad-input: option threads/],
    ['a contradiction', [{ threads: 2, singleThread: true }], /^bad-input: .*contradict/],
    ['text', ['fast'], /^bad-input: options: expected an object or a logger, got string/],
    ['no signal', [{ signal: 1 }], /^bad-input: option signal/],
    ['no listener', [{ onPhase: 1 }], /^bad-input: option onPhase/],
    ['no logger', [{ logger: 1 }], /^bad-input: option logger/],
  ] as const) {
    assert.match(await prove(...rest), expected, name);
  }
  assert.ok(
    loud.lines.some((line) => line.includes('verifying')),
    'the logger hears of phases',
  );
  assert.match(await outcome(createProver({ engine: 'cuda' as 'wasm' })), /^bad-input: option engine/);
  assert.match(await outcome(createProver({ thread: 1 } as object)), /^bad-input: .*"thread"/);
  assert.match(
    await outcome(groth16.prove(undefined as Any, witness)),
    /^bad-input: proving key: expected a path/,
  );
  assert.match(await outcome(groth16.prove(zkey, null as Any)), /^bad-input: witness: expected a path/);

  // snarkjs src/groth16_verify.js: the fourth argument is a logger.
  const heard = logger();
  assert.ok(await groth16.verify(vk, publicSignals, proof, heard));
  assert.not.ok(await groth16.verify(vk, publicSignals.toReversed(), proof, heard));
  assert.ok(await groth16.verify(vk, publicSignals, proof, null));
  assert.is(heard.lines[0], 'OK!');
  assert.match(heard.lines[1]!, /^Invalid proof: the equation/);
  assert.match(
    await outcome(groth16.verify(vk, publicSignals, proof, { explane: true } as Any)),
    /^bad-input: .*explane/,
  );
});

/** Compiles with circom 2, to files at `name`. */
function compile(name: string, source: string, ...options: string[]): void {
  writeFileSync(join(folder, `${name}.circom`), source);
  const cli = createRequire(import.meta.url).resolve('circom2/cli.js');
  const { status, stdout } = spawnSync(process.execPath, [cli, `${name}.circom`, ...options], {
    cwd: folder,
    encoding: 'utf8',
  });
  assert.is(status, 0, stdout);
}
const made = (path: string) => new Uint8Array(readFileSync(join(folder, path)));

const PRODUCT = `pragma circom 2.1.6;
template Product() { signal input a; signal input b; signal output c; c <== a * b; log("c is", c); log(a); }
component main = Product();`;

test('a circuit’s log is passed on, and nothing else stands in it', async () => {
  compile('product', PRODUCT, '--r1cs', '--wasm');
  const key = await keyOf(made('product.r1cs'));
  const wasm = made('product_js/product.wasm');
  const lines: string[] = [];
  await groth16.fullProve({ a: 3, b: 11 }, wasm, key.zkey, { threads: 1, onLog: (line) => lines.push(line) });
  assert.equal(lines, ['c is 33', '3']);
  // By default where snarkjs prints it.
  const { log } = console;
  const printed: unknown[] = [];
  console.log = (line) => void printed.push(line);
  try {
    await groth16.fullProve(
      { a: 3, b: 11 },
      wasm,
      key.zkey,
      null,
      { sanityCheck: true },
      { singleThread: true },
    );
  } finally {
    console.log = log;
  }
  assert.equal(printed, ['c is 33', '3']);
});

test('a calculator of circom 1: the witness that snarkjs computes, its log, and its refusals', async () => {
  const { wasm, r1cs: file } = JSON.parse(
    readFileSync(new URL('../../vectors/circom1.json', import.meta.url), 'utf8'),
  ) as Record<'wasm' | 'r1cs', string>;
  const [code, constraints] = [wasm, file].map(
    (text) => new Uint8Array(gunzipSync(Buffer.from(text, 'base64'))),
  ) as [Uint8Array, Uint8Array];
  const input = {
    a: [
      [2, '3'],
      ['0x5', 7n],
    ],
    b: 1,
  };
  const ours: Any = { type: 'mem' };
  const lines: string[] = [];
  await wtns.calculate(input, code, ours, { onLog: (line) => lines.push(line) });
  assert.equal(lines, ['36']);
  // The package has no types here.
  const theirs: Any = { type: 'mem' };
  const { log } = console;
  console.log = () => {};
  const snarkjs: Any = await import('snarkjs' as string);
  await snarkjs.wtns.calculate(input, code, theirs).finally(() => {
    console.log = log;
  });
  assert.equal(readWitness(ours.data), readWitness(new Uint8Array(theirs.data)));
  assert.ok(await wtns.check(constraints, ours));

  const key = await keyOf(constraints);
  const full = (value: Any) => groth16.fullProve(value, code, key.zkey, { threads: 1, onLog() {} });
  const { proof: one, publicSignals: signals } = await full(input);
  assert.equal(signals, ['7', '36', '1']);
  assert.ok(await groth16.verify(key.verificationKey, signals, one));
  assert.match(await outcome(full({ ...input, b: 2 })), /^witness-rejected: /);
  assert.match(await outcome(full({ ...input, d: 2 })), /^witness-rejected: .*no input d/);
  // Large, negative and short numbers have forms of their own in its memory.
  await wtns.calculate(
    {
      a: [
        [R - 1n, -3],
        [2n ** 200n, 2n ** 31n],
      ],
      b: 0,
    },
    code,
    ours,
    { onLog() {} },
  );
  assert.ok(await wtns.check(constraints, ours));
});

/** A module with one import, of a function. */
function importing(module: string, name: string): Uint8Array<ArrayBuffer> {
  const text = (value: string) => [value.length, ...new TextEncoder().encode(value)];
  const section = (id: number, bytes: number[]) => [id, bytes.length, ...bytes];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 0, 0]),
    ...section(2, [1, ...text(module), ...text(name), 0, 0]),
  ]);
}

test('calculators that are none, or of another prime, are refused by name', async () => {
  compile('product', PRODUCT, '--r1cs', '--wasm');
  const ofPrime = (prime: string) => {
    compile(prime, PRODUCT, '--wasm', '--prime', prime);
    return made(`${prime}_js/${prime}.wasm`);
  };
  const key = await keyOf(made('product.r1cs'));
  for (const [name, wasm, expected] of [
    // circom's --prime: with a key of BN254 they prove something, and nobody knows what.
    ['bls12381', ofPrime('bls12381'), /^bad-file: witness calculator: its prime is bls12381's/],
    ['goldilocks', ofPrime('goldilocks'), /its prime is goldilocks's/],
    ['grumpkin', ofPrime('grumpkin'), /its prime is grumpkin's/],
    ['pallas', ofPrime('pallas'), /its prime is pallas's/],
    // Rust and Go programs compiled for WASI; wasm-bindgen's.
    [
      'WASI',
      importing('wasi_snapshot_preview1', 'fd_write'),
      /it imports wasi_snapshot_preview1\.fd_write, which circom's modules do not/,
    ],
    ['wasm-bindgen', importing('wbg', '__wbindgen_throw'), /it imports wbg\.__wbindgen_throw/],
    [
      'a module of circom’s imports alone',
      importing('runtime', 'exceptionHandler'),
      /it has no function getVersion/,
    ],
    ['no module', new Uint8Array([1, 2, 3]), /it is damaged, or not one that circom made/],
    ['a module that was cut off', made('product_js/product.wasm').subarray(0, 5000), /it is damaged/],
  ] as const) {
    assert.match(
      await outcome(groth16.fullProve({ a: 3, b: 11 }, wasm, key.zkey, { threads: 1 })),
      expected,
      name,
    );
  }
});

/** The parts of a file that count, and holes: `sections` are [id, bytes] or [id, length]. */
function sparseFile(
  name: string,
  type: string,
  sections: ReadonlyArray<readonly [number, Uint8Array | number]>,
): string {
  const path = join(folder, name);
  const file = openSync(path, 'w');
  const head = new DataView(new ArrayBuffer(12));
  for (let index = 0; index < 4; index++) head.setUint8(index, type.charCodeAt(index));
  head.setUint32(4, 1, true);
  head.setUint32(8, sections.length, true);
  let at = 0;
  const put = (bytes: Uint8Array) => {
    writeSync(file, bytes, 0, bytes.byteLength, at);
    at += bytes.byteLength;
  };
  put(new Uint8Array(head.buffer));
  for (const [id, content] of sections) {
    const length = typeof content === 'number' ? content : content.byteLength;
    const header = new DataView(new ArrayBuffer(12));
    header.setUint32(0, id, true);
    header.setBigUint64(4, BigInt(length), true);
    put(new Uint8Array(header.buffer));
    if (typeof content === 'number') at += content;
    else put(content);
  }
  ftruncateSync(file, at);
  closeSync(file);
  return path;
}

test('keys and circuits of other kinds are refused by name, as soon as they are opened', async () => {
  const key = readZkey(zkey);
  const section = (id: number) => sectionOf(zkey, id);
  const header = section(2);
  const protocol = (id: number) => Uint8Array.of(id, 0, 0, 0);
  // snarkjs src/zkey_utils.js writes the same header for every curve, with the curve's sizes.
  const bls = new Uint8Array(2 * 4 + 48 + 32 + 12 + 3 * 96 + 3 * 192);
  bls.set([48], 0);
  writeElement(
    0x1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaabn &
      (2n ** 256n - 1n),
    bls,
    4,
  );
  writeElement(
    0x1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaabn >>
      256n,
    bls,
    36,
  );
  const phases: string[] = [];
  const load = (file: string | Uint8Array) =>
    outcome(groth16.prove(file, witness, { threads: 1, onPhase: (phase) => phases.push(phase) }));
  assert.match(
    await load(
      writeBinFile('zkey', 1, [
        [1, protocol(2)],
        [2, header],
      ]),
    ),
    /^bad-file: .*PLONK; use snarkjs \(plonk prove\)/,
  );
  assert.match(
    await load(
      writeBinFile('zkey', 1, [
        [1, protocol(10)],
        [2, header],
      ]),
    ),
    /^bad-file: .*FFLONK; use snarkjs \(fflonk prove\)/,
  );
  assert.match(
    await load(
      writeBinFile('zkey', 1, [
        [1, protocol(1)],
        [2, bls],
      ]),
    ),
    /^bad-file: .*BLS12-381's; this prover knows BN254 only/,
  );

  // Too large for the memory that threads share, which its header says.
  const size = 2 ** 24;
  const large = header.slice();
  const view = new DataView(large.buffer);
  view.setUint32(72, size, true);
  view.setUint32(80, size, true);
  const wires = (bytes: number) => size * bytes;
  const path = sparseFile('large.zkey', 'zkey', [
    [1, protocol(1)],
    [2, large],
    [3, section(3)],
    [4, 4],
    [5, wires(64)],
    [6, wires(64)],
    [7, wires(128)],
    [8, wires(64) - (key.publics + 1) * 64],
    [9, wires(64)],
    [10, section(10)],
  ]);
  phases.length = 0;
  assert.match(await load(path), /^too-large: proving key: a proof of 2\^24 rows takes .* GiB/);
  assert.equal(phases, ['loading']);

  // circom's custom templates: Groth16 has no constraint for their outputs, whatever the prover puts there.
  compile(
    'gates',
    `pragma circom 2.1.6;
    pragma custom_templates;
    template custom Square() { signal input a; signal output b; b <-- a * a; }
    template Main() { signal input x; signal output y; component s = Square(); s.a <== x; y <== s.b; }
    component main = Main();`,
    '--r1cs',
    '--O0',
  );
  assert.match(
    await outcome(keyOf(made('gates.r1cs'))),
    /^bad-file: .*custom gates \(1\), which Groth16 does not constrain.*plonk setup/,
  );
  assert.is((await r1cs.info(made('gates.r1cs'))).useCustomGates, true);
  const foreign = r1csFile({
    variables: 1,
    outputs: 0,
    publicInputs: 0,
    privateInputs: 0,
    constraints: [],
    prime: Q,
  });
  assert.match(await outcome(keyOf(foreign)), /^bad-file: .*prime is grumpkin's/);
});

function sectionOf(file: Uint8Array, wanted: number): Uint8Array {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  for (let at = 12; at < file.byteLength; ) {
    const length = Number(view.getBigUint64(at + 4, true));
    if (view.getUint32(at, true) === wanted) return file.slice(at + 12, at + 12 + length);
    at += 12 + length;
  }
  throw new Error(`no section ${wanted}`);
}

test('what a Groth16 user exports: the answers of snarkjs', async (t) => {
  const oracle = await openOracle();
  t.defer(() => oracle.close());
  const theirs: Any = oracle.snarkjs;
  assert.equal(await zKey.exportVerificationKey(zkey), await theirs.zKey.exportVerificationKey(zkey));
  assert.is(
    await groth16.exportSolidityCallData(proof, publicSignals),
    await theirs.groth16.exportSolidityCallData(proof, publicSignals),
  );
  assert.is(
    await groth16.exportSolidityCallData(
      points(proof, PROOF_POINTS, each(hex)) as Any,
      publicSignals.map(BigInt),
    ),
    await groth16.exportSolidityCallData(proof, publicSignals),
  );
  const contract = await zKey.exportSolidityVerifier(zkey);
  assert.match(contract, /contract Groth16Verifier/);
  for (const number of [
    ...vk.vk_alpha_1.slice(0, 2),
    ...vk.vk_delta_2.flat().slice(0, 4),
    ...vk.IC.flatMap((p) => p.slice(0, 2)),
  ])
    assert.ok(contract.includes(number));
  const info = await r1cs.info(circuit.r1cs);
  const their = await theirs.r1cs.info(circuit.r1cs);
  for (const [name, value] of Object.entries(info)) assert.equal(value, their[name], name);

  const told = logger();
  assert.ok(await wtns.check(circuit.r1cs, witness, told));
  const wrong = circuit.witness.slice();
  wrong[5 * ELEMENT_BYTES] = (wrong[5 * ELEMENT_BYTES]! + 1) % 256;
  assert.not.ok(await wtns.check(circuit.r1cs, writeWitness(wrong), told));
  assert.is(await theirs.wtns.check(circuit.r1cs, writeWitness(wrong), logger()), false);
  assert.match(
    told.lines.join('\n'),
    /WITNESS IS CORRECT\nWITNESS IS NOT CORRECT: constraint \d+ does not hold/,
  );
  assert.match(
    await outcome(wtns.check(circuit.r1cs, writeWitness(wrong.subarray(32 - 32, wrong.byteLength - 32)))),
    /^bad-file: witness: it has/,
  );
});

const square = (from: number, to: number): Combination[] => [[[from, 1n]], [[from, 1n]], [[to, 1n]]];

/** Cases that native provers' tests have: iden3/rapidsnark, gnark's and arkworks' Groth16, constantine's sums. */
const CIRCUITS: Record<string, { file: Uint8Array; witness: bigint[] }> = {
  'no public signals': {
    file: r1csFile({
      variables: 3,
      outputs: 0,
      publicInputs: 0,
      privateInputs: 1,
      constraints: square(1, 2),
    }),
    witness: [1n, 5n, 25n],
  },
  'no private wires': {
    file: r1csFile({
      variables: 3,
      outputs: 1,
      publicInputs: 1,
      privateInputs: 0,
      constraints: square(2, 1),
    }),
    witness: [1n, 25n, 5n],
  },
  'no constraints': {
    file: r1csFile({ variables: 3, outputs: 0, publicInputs: 1, privateInputs: 1, constraints: [] }),
    witness: [1n, 5n, 25n],
  },
  'nothing but the constant': {
    file: r1csFile({ variables: 1, outputs: 0, publicInputs: 0, privateInputs: 0, constraints: [] }),
    witness: [1n],
  },
  // Wires that occur alike have the same bases, those that occur nowhere have infinity.
  'repeated and infinite bases': {
    file: r1csFile({
      variables: 40,
      outputs: 0,
      publicInputs: 1,
      privateInputs: 38,
      constraints: [Array.from({ length: 20 }, (_, i) => [1 + i, 1n] as const), [[0, 1n]], [[0, 190n]]],
    }),
    witness: [1n, ...Array.from({ length: 39 }, (_, i) => BigInt(i))],
  },
  'all zero': {
    file: r1csFile({
      variables: 600,
      outputs: 0,
      publicInputs: 1,
      privateInputs: 598,
      constraints: chain(599),
    }),
    witness: [1n, ...new Array<bigint>(599).fill(0n)],
  },
  'all one': {
    file: r1csFile({
      variables: 600,
      outputs: 0,
      publicInputs: 1,
      privateInputs: 598,
      constraints: chain(599),
    }),
    witness: new Array<bigint>(600).fill(1n),
  },
};
function chain(wires: number): Combination[] {
  return Array.from({ length: wires - 1 }, (_, index) => square(1 + index, 2 + index)).flat();
}

test('circuits at the edges, as native provers test them; snarkjs verifies each', async (t) => {
  const oracle = await openOracle();
  t.defer(() => oracle.close());
  for (const [name, { file, witness: values }] of Object.entries(CIRCUITS)) {
    const key = await keyOf(file);
    const bytes = valuesOf(...values);
    const made = await groth16.prove(key.zkey, writeWitness(bytes), { threads: 2 });
    assert.ok(await groth16.verify(key.verificationKey, made.publicSignals, made.proof), name);
    assert.ok(await oracle.snarkjs.groth16.verify(key.verificationKey, made.publicSignals, made.proof), name);
    if (values.length > 1) {
      const short = writeWitness(bytes.subarray(0, bytes.byteLength - ELEMENT_BYTES));
      assert.match(
        await outcome(groth16.prove(key.zkey, short)),
        /^bad-file: witness: it has .* values, the key is for/,
        name,
      );
    }
  }
});

test('ten proofs at once, and no thread is left', async () => {
  const all = await Promise.all(
    Array.from({ length: 10 }, () => groth16.prove(zkey, witness, { threads: 1 })),
  );
  for (const one of all) assert.ok(await groth16.verify(vk, one.publicSignals, one.proof));
  assert.is(new Set(all.map((one) => one.proof.pi_a[0])).size, 10);
});

test('the pool that made the files ends', () => pool.close());

test.run();
