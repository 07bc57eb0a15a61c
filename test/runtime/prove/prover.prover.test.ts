/**
 * `vouch/prover` and `vouch groth16`, the command line in a process of its own, beside snarkjs's. One file, although it is
 * long: making its keys and circuits takes longer than most of its tests.
 */
import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { devNull as NULL } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { readElement } from '../../../circuits/groth16/field.ts';
import type { Proved } from '../../../circuits/groth16/prove.ts';
import { setup } from '../../../circuits/groth16/setup.ts';
import { readWitness, writeWitness } from '../../../circuits/groth16/witness.ts';
import { readZkey, writeZkey } from '../../../circuits/groth16/zkey.ts';
import { circuitDigest } from '../../../circuits/model/emit.ts';
import { createPool } from '../../../runtime/msm/threads/pool.ts';
import { compileCircuit } from '../../../runtime/prove/circuit-compiler.ts';
import { createProver, groth16 } from '../../../runtime/prove/prover.ts';
import { randomCircuit } from '../../circuits/groth16-circuit.ts';
import { hasProverData, openOracle, PROVER_DATA } from '../../circuits/groth16-oracle.ts';
import { testToolchain } from '../../circuits/model-fixture.ts';
import { strayPoint } from '../../circuits/stray-point.ts';
import { assert, suite, type TestContext } from '../../harness.ts';
import {
  type Ended,
  eventually,
  newHome,
  processesOf,
  start,
  unfinished,
  vouch,
} from '../commands/cli-fixture.ts';

const test = suite('prover', { timeoutMs: 120_000 });
const run = promisify(execFile);
const SNARKJS = createRequire(import.meta.url)
  .resolve('snarkjs')
  .replace(/[^/\\]*$/, 'cli.cjs');
const home = newHome();
process.env.VOUCH_HOME = home;
const files = join(home, 'files');
mkdirSync(files);
const at = (name: string) => join(files, name);
const bytes = (name: string) => new Uint8Array(readFileSync(at(name)));
const json = (name: string) => JSON.parse(readFileSync(at(name), 'utf8'));
const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'done',
    ({ code, message }) => `${code}: ${message}`,
  );
const refused = (
  { code, stdout, stderr }: Ended,
  expected: number,
  sentence: RegExp,
  what = 'the command',
): void => {
  assert.is(code, expected, `${what}: ${stderr}`);
  assert.match(stderr, sentence, `${what}: ${stderr}`);
  assert.is(stdout, '');
  assert.not.match(stderr, /\n\s+at |defect/);
};
const patched = (name: string, offset: number, ...values: number[]) => {
  const copy = bytes(name);
  copy.set(values, offset);
  return copy;
};

test('files to work with', async () => {
  await using pool = await createPool({ threads: 2 });
  const made = async (name: string, r1cs: Uint8Array) => {
    const { zkey, powers, verificationKey } = await setup(r1cs, { field: pool, points: pool });
    writeFileSync(at(`${name}.zkey`), zkey);
    writeFileSync(at(`${name}.r1cs`), r1cs);
    writeFileSync(at(`${name}.ptau`), powers);
    writeFileSync(at(`${name}_vk.json`), JSON.stringify(verificationKey));
  };
  const small = randomCircuit({ constraints: 40, outputs: 2, publicInputs: 1 });
  await made('small', small.r1cs);
  writeFileSync(at('small.wtns'), writeWitness(small.witness));
  const none = randomCircuit({ constraints: 20, outputs: 0, publicInputs: 0 });
  await made('none', none.r1cs);
  writeFileSync(at('none.wtns'), writeWitness(none.witness));

  const source = `pragma circom 2.1.6;
    template Products() {
      signal input a[2][2];
      signal input b;
      signal output c[2];
      for (var i = 0; i < 2; i++) c[i] <== a[i][0] * a[i][1] + b;
      b * (b - 1) === 0;
    }
    component main = Products();`;
  const toolchain = await testToolchain();
  const circuit = { source, digest: circuitDigest(source, toolchain), rows: 0 };
  const compiled = await compileCircuit(circuit, toolchain, { cacheDir: join(home, 'circuits') });
  await made('products', new Uint8Array(readFileSync(compiled.r1csPath)));
  writeFileSync(at('products.wasm'), readFileSync(compiled.wasmPath));
  writeFileSync(at('products.r1cs'), readFileSync(compiled.r1csPath));
  writeFileSync(
    at('input.json'),
    JSON.stringify({
      a: [
        [2, '3'],
        ['0x5', 7],
      ],
      b: 1,
    }),
  );
});

test('a proof from paths, bytes and what snarkjs wraps; snarkjs accepts it', async (t) => {
  const oracle = await openOracle();
  t.defer(() => oracle.close());
  const { groth16: theirs } = oracle.snarkjs;
  const mem = (name: string) => ({ type: 'mem', data: bytes(name) }) as const;
  const signals = [1, 2, 3].map((wire) => String(readElement(readWitness(bytes('small.wtns')), wire * 32)));
  for (const [zkey, wtns] of [
    [at('small.zkey'), at('small.wtns')],
    [bytes('small.zkey'), bytes('small.wtns')],
    [mem('small.zkey'), mem('small.wtns')],
    [new Blob([bytes('small.zkey')]), new Blob([bytes('small.wtns')])],
  ] as const) {
    const made = await groth16.prove(zkey, wtns, { threads: 2 });
    assert.equal(made.publicSignals, signals);
    assert.ok(await groth16.verify(json('small_vk.json'), made.publicSignals, made.proof));
    assert.ok(await theirs.verify(json('small_vk.json'), made.publicSignals, made.proof));
  }
  const wtns = bytes('small.wtns');
  await groth16.prove(at('small.zkey'), wtns);
  assert.equal(wtns, bytes('small.wtns'), 'what is the caller’s stays as it was');
});

test('verify is false for whatever is not a proof of these signals, and refuses a malformed key', async () => {
  const key = json('small_vk.json');
  const { proof, publicSignals } = await groth16.prove(at('small.zkey'), at('small.wtns'));
  const holds = (signals: unknown, other: unknown) =>
    groth16.verify(key, signals as string[], other as Proved['proof']);
  assert.ok(await holds(publicSignals, proof));
  for (const [signals, other] of [
    [publicSignals.toReversed(), proof],
    [publicSignals.slice(1), proof],
    [[...publicSignals.slice(1), '-1'], proof],
    [{}, proof],
    [undefined, proof],
    [publicSignals, undefined],
    [publicSignals, {}],
    [publicSignals, { ...proof, pi_a: proof.pi_c }],
    [publicSignals, { ...proof, pi_a: ['1', '1', '1'] }],
    [publicSignals, { ...proof, pi_b: [] }],
  ]) {
    assert.is(await holds(signals, other), false);
  }
  for (const changes of [
    { protocol: 'plonk' },
    { IC: undefined },
    { nPublic: 4 },
    { vk_delta_2: key.vk_alpha_1 },
    { IC: [...key.IC.slice(1), ['1', '1', '1']] },
  ]) {
    assert.match(await codeOf(groth16.verify({ ...key, ...changes }, publicSignals, proof)), /^bad-file: /);
  }
  assert.match(await codeOf(groth16.verify(null as never, publicSignals, proof)), /^bad-file: /);
});

test('a prover keeps a key ready, over many proofs, also at once', async () => {
  await using prover = await createProver({ threads: 2 });
  const phases: string[] = [];
  const key = await prover.load(at('small.zkey'), { onPhase: (phase) => phases.push(phase) });
  assert.equal(phases, ['loading'], 'its points were checked before');
  const made = await Promise.all(Array.from({ length: 4 }, () => key.prove(at('small.wtns'))));
  assert.is(new Set(made.map(({ proof }) => proof.pi_a[0])).size, 4, 'each is blinded afresh');
  for (const { proof, publicSignals } of made)
    assert.ok(await groth16.verify(json('small_vk.json'), publicSignals, proof));

  const abort = new AbortController();
  const stopped = key.prove(at('small.wtns'), {
    signal: abort.signal,
    onPhase: (phase) => phase === 'dispatching' && abort.abort(),
  });
  assert.match(await codeOf(stopped), /^cancelled/);
  await key.prove(at('small.wtns'));
  // The very first proof of a key still reads it.
  const fresh = await prover.load(at('small.zkey'));
  const first = fresh.prove(at('small.wtns'));
  await fresh.release();
  await first;
  await key.release();
  assert.match(await codeOf(key.prove(at('small.wtns'))), /^not-ready/);
  await prover.close();
  assert.match(await codeOf(prover.load(at('small.zkey'))), /^not-ready/);
});

test('a key is checked when its content is new, wherever it lies', async () => {
  const checked = async (zkey: string | Uint8Array) => {
    const phases: string[] = [];
    await using prover = await createProver({ threads: 1 });
    await using _ = await prover.load(zkey, { onPhase: (phase) => phases.push(phase) });
    return phases.includes('checking');
  };
  assert.is(await checked(at('none.zkey')), true);
  assert.is(await checked(at('none.zkey')), false);
  assert.is(await checked(bytes('none.zkey')), false);
  // The same name, another content of the same size.
  const other = readZkey(bytes('none.zkey'));
  writeFileSync(at('other.zkey'), bytes('none.zkey'));
  assert.is(await checked(at('other.zkey')), false);
  const { offset, length } = other.range('H');
  const zeroed = bytes('none.zkey').fill(0, offset, offset + length);
  writeFileSync(at('other.zkey'), zeroed);
  assert.is(await checked(at('other.zkey')), true);
  // The few points of a key that passed are not looked at again: those of another under its name are.
  const stray = bytes('none.zkey');
  stray.set(strayPoint(), Buffer.from(stray).indexOf(other.header.gamma2));
  writeFileSync(at('other.zkey'), bytes('none.zkey'));
  assert.is(await checked(at('other.zkey')), false);
  const { atime, mtime } = statSync(at('other.zkey'));
  writeFileSync(at('other.zkey'), stray);
  utimesSync(at('other.zkey'), atime, mtime);
  assert.match(await codeOf(checked(at('other.zkey'))), /^bad-file: .*gamma2: not a point/);
});

test('fullProve flattens arrays and reads numbers as snarkjs does', async () => {
  const input = json('input.json');
  const key = json('products_vk.json');
  const made = await groth16.fullProve(input, at('products.wasm'), at('products.zkey'));
  assert.equal(made.publicSignals, ['7', '36']);
  assert.ok(await groth16.verify(key, made.publicSignals, made.proof));
  const code = (value: unknown) =>
    codeOf(groth16.fullProve(value as never, bytes('products.wasm'), at('products.zkey')));
  assert.match(await code({ ...input, b: 2 }), /^witness-rejected: .*constraint or an assertion/);
  assert.match(await code({ ...input, d: 2 }), /^witness-rejected: .*no input d/);
  assert.match(await code({ a: input.a }), /^witness-rejected: .*expected 5 input values, got 4/);
  for (const b of ['x', '', null, 1.5, {}, undefined])
    assert.match(await code({ ...input, b }), /^bad-input: input b: expected whole numbers/);
  assert.match(await code([1]), /^bad-input: input: expected an object/);
});

/** A wrong key, or a wrong witness for the small one, and what the command says of it. */
const WRONG: Record<string, [() => { zkey?: Uint8Array; witness?: Uint8Array }, number, RegExp]> = {
  'a truncated key': [() => ({ zkey: bytes('small.zkey').subarray(0, 5000) }), 2, /\.zkey file: .*cut off/],
  'an empty key': [() => ({ zkey: new Uint8Array(0) }), 2, /0 bytes are too few/],
  'a witness as key': [() => ({ zkey: bytes('small.wtns') }), 2, /does not begin with "zkey"/],
  'a key of another prime': [() => ({ zkey: patched('small.zkey', 44, 1) }), 2, /prime q is not BN254's/],
  'a key with a point off the curve': [
    () => ({ zkey: patched('small.zkey', readZkey(bytes('small.zkey')).range('C').offset + 65, 1) }),
    1,
    /point 1 of section C is not on the curve/,
  ],
  'a key with two points exchanged': [
    () => {
      const key = readZkey(bytes('small.zkey'));
      const B1 = key.points.B1.slice();
      B1.copyWithin(0, 64, 128);
      B1.set(key.points.B1.subarray(0, 64), 64);
      return { zkey: writeZkey({ ...key, points: { ...key.points, B1 } }) };
    },
    1,
    /B1 and B2/,
  ],
  'a key that nobody contributed to': [
    () => {
      const key = readZkey(bytes('small.zkey'));
      return { zkey: writeZkey({ ...key, header: { ...key.header, delta2: key.header.gamma2 } }) };
    },
    2,
    /anyone can forge/,
  ],
  'a truncated witness': [() => ({ witness: bytes('small.wtns').subarray(0, 1000) }), 2, /\.wtns file/],
  'a witness of another circuit': [() => ({ witness: bytes('none.wtns') }), 2, /the key is for/],
  'a witness that breaks a constraint': [
    () => ({ witness: patched('small.wtns', bytes('small.wtns').length - 64, 1) }),
    1,
    /the witness does not satisfy the circuit/,
  ],
  'a witness with an unreduced value': [
    () => ({ witness: patched('small.wtns', bytes('small.wtns').length - 1, 255) }),
    2,
    /not below the field's prime/,
  ],
};
test('vouch groth16 prove refuses a wrong key or witness with a sentence, and writes nothing', async () => {
  const refuses = async ([name, [make, code, sentence]]: (typeof cases)[number], index: number) => {
    const folder = at(`wrong-${index}`);
    mkdirSync(folder);
    const { zkey = bytes('small.zkey'), witness = bytes('small.wtns') } = make();
    writeFileSync(join(folder, 'circuit_final.zkey'), zkey);
    writeFileSync(join(folder, 'witness.wtns'), witness);
    refused(await vouch(home, ['groth16', 'prove', '--threads', '1'], '', folder), code, sentence, name);
    assert.equal(readdirSync(folder), ['circuit_final.zkey', 'witness.wtns'], name);
  };
  const cases = Object.entries(WRONG);
  for (let index = 0; index < cases.length; index += 2) {
    await Promise.all(cases.slice(index, index + 2).map((each, offset) => refuses(each, index + offset)));
  }
});

test('vouch groth16 prove and verify: names, files and exit codes of snarkjs', async () => {
  const [ours, theirs] = [at('ours'), at('theirs')];
  for (const name of ['small', 'none']) {
    for (const folder of [ours, theirs]) {
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, 'circuit_final.zkey'), bytes(`${name}.zkey`));
      writeFileSync(join(folder, 'witness.wtns'), bytes(`${name}.wtns`));
      writeFileSync(join(folder, 'verification_key.json'), readFileSync(at(`${name}_vk.json`)));
    }
    await run(process.execPath, [SNARKJS, 'g16p'], { cwd: theirs });
    const proved = await vouch(home, ['groth16', 'prove', '--threads', '2'], '', ours);
    assert.equal([proved.code, proved.stdout], [0, ''], proved.stderr);
    assert.match(proved.stderr, /verifying/);
    const text = (folder: string, file: string) => readFileSync(join(folder, file), 'utf8');
    assert.is(text(ours, 'public.json'), text(theirs, 'public.json'));
    const layout = (proof: string) => proof.replace(/\d{9,}/g, 'N');
    assert.is(layout(text(ours, 'proof.json')), layout(text(theirs, 'proof.json')));

    const verified = await vouch(home, ['groth16', 'verify'], '', ours);
    assert.equal([verified.code, verified.stdout], [0, 'OK!\n'], verified.stderr);
    // Each accepts the other's.
    writeFileSync(join(ours, 'proof.json'), text(theirs, 'proof.json'));
    assert.is((await vouch(home, ['groth16', 'verify'], '', ours)).code, 0);
  }
  await run(process.execPath, [SNARKJS, 'g16v'], { cwd: ours });

  writeFileSync(at('wrong.json'), '["1","2","3"]');
  const wrong = await vouch(home, ['groth16', 'verify', at('small_vk.json'), at('wrong.json')], '', ours);
  assert.equal([wrong.code, wrong.stdout], [1, 'Invalid proof\n'], wrong.stderr);
  const verify = (key: string, signals = at('wrong.json'), proof = join(ours, 'proof.json')) =>
    vouch(home, ['groth16', 'verify', key, signals, proof]);
  refused(await verify(at('gone.json')), 2, /verification key .*gone\.json: there is no such file/);
  refused(await verify(at('small.zkey')), 2, /verification key .*small\.zkey: expected JSON/);
  refused(await verify(at('input.json')), 2, /verification key: expected IC/);
  refused(await verify(at('small_vk.json'), files), 2, /public signals /);
  refused(await vouch(home, ['groth16', 'prove', '--threads', '0']), 2, /from 1 to 64/);
  refused(await vouch(home, ['groth16', 'prove', at('gone.zkey')]), 2, /gone\.zkey: there is no such file/);
});

test('the short names of snarkjs, its exports byte for byte, and what only snarkjs has', async () => {
  const folder = at('short');
  mkdirSync(folder);
  for (const [from, to] of [
    ['products.zkey', 'circuit_final.zkey'],
    ['products.wasm', 'circuit.wasm'],
    ['products.r1cs', 'circuit.r1cs'],
    ['input.json', 'input.json'],
  ] as const)
    writeFileSync(join(folder, to), bytes(from));
  const ours = async (words: string[], expected = 0) => {
    const { code, stdout, stderr } = await vouch(home, words, '', folder);
    assert.is(code, expected, `${words}: ${stderr}`);
    return { stdout, stderr };
  };
  const theirs = async (words: string[]) =>
    (await run(process.execPath, [SNARKJS, ...words], { cwd: folder })).stdout;
  const text = (name: string) => readFileSync(join(folder, name), 'utf8');

  await ours(['zkev']);
  await theirs(['zkev', 'circuit_final.zkey', 'their_key.json']);
  assert.is(text('verification_key.json'), text('their_key.json'));
  await ours(['wc']);
  await theirs(['wc', 'circuit.wasm', 'input.json', 'their.wtns']);
  assert.equal(bytes('short/witness.wtns'), bytes('short/their.wtns'));
  assert.is((await ours(['wchk'])).stdout, 'WITNESS IS CORRECT\n');
  assert.match((await ours(['g16p', '-v'])).stderr, /threads compute with (fma|int) /);
  assert.is((await ours(['g16v', '-v'])).stdout, 'OK!\n');
  assert.is((await ours(['zkesc'])).stdout.trim(), (await theirs(['zkesc'])).trim());
  await ours(['zkesv']);
  await theirs(['zkesv', 'circuit_final.zkey', 'their.sol']);
  assert.is(text('verifier.sol'), text('their.sol'));
  const plain = (line: string) => line.replace(/^.*snarkJS.*?: /, '');
  const info = (await theirs(['ri']))
    .split('\n')
    .filter((line) => line.includes('snarkJS'))
    .map(plain);
  assert.equal((await ours(['ri'])).stdout.trim().split('\n'), info);

  // The constraint that is broken, and the reason why a proof does not hold.
  writeFileSync(join(folder, 'public.json'), JSON.stringify(['7', '37']));
  const wrong = await ours(['g16v'], 1);
  assert.is(wrong.stdout, 'Invalid proof\n');
  assert.match(wrong.stderr, /the equation does not hold/);
  const values = bytes('short/witness.wtns');
  values[values.length - 32]! ^= 1;
  writeFileSync(join(folder, 'witness.wtns'), values);
  assert.match((await ours(['wchk'], 1)).stdout, /WITNESS IS NOT CORRECT: constraint \d/);
  for (const words of [['plonk', 'prove'], ['pkp'], ['zkey', 'contribute', 'a'], ['wtns', 'debug'], ['ptn']])
    assert.match((await ours(words, 2)).stderr, `use npx snarkjs ${words.join(' ')}`);
});

test('vouch zkey verify: a key against its circuit and its powers, and against others', async () => {
  const verify = (...names: string[]) =>
    vouch(home, ['zkey', 'verify', ...names, '--threads', '1'], '', files);
  const right = await verify('small.r1cs', 'small.ptau', 'small.zkey');
  assert.equal([right.code, right.stdout], [0, 'OK!\n'], right.stderr);
  refused(
    await verify('small.r1cs', 'products.ptau', 'small.zkey'),
    1,
    /powers are for domains of up to 2\^/,
  );
  refused(await verify('none.r1cs', 'small.ptau', 'small.zkey'), 1, /nVars/);
  refused(await verify('gone.r1cs', 'small.ptau', 'small.zkey'), 2, /gone\.r1cs: there is no such file/);
  refused(await verify('small.r1cs', 'small.zkey', 'small.zkey'), 2, /\.ptau file/);
});

test('vouch groth16 fullprove, also into what is not a file', async () => {
  const words = ['input.json', 'products.wasm', 'products.zkey', 'p.json'];
  const { code, stdout, stderr } = await vouch(home, ['groth16', 'fullprove', ...words, NULL], '', files);
  assert.equal([code, stdout], [0, ''], stderr);
  assert.ok(await groth16.verify(json('products_vk.json'), ['7', '36'], json('p.json')));
  assert.not(statSync(NULL).isFile(), 'a device stays a device');
  const into = await vouch(home, ['groth16', 'fullprove', ...words, files], '', files);
  refused(into, 2, /files could not be written: /);
});

test('with fixed r and s the file is the one of snarkjs', async (t) => {
  const [r, s] = [2n ** 253n + 1n, 2n ** 252n + 7n];
  process.env.NODE_ENV = 'test';
  process.env.VOUCH_TEST_BLINDING = `${r},${s}`;
  t.defer(() => {
    delete process.env.VOUCH_TEST_BLINDING;
  });
  const proved = await vouch(home, ['groth16', 'prove', 'small.zkey', 'small.wtns', 'fixed.json'], '', files);
  assert.is(proved.code, 0, proved.stderr);
  const oracle = await openOracle();
  t.defer(() => oracle.close());
  oracle.fixRandom(r, s);
  const { proof } = await oracle.snarkjs.groth16.prove(at('small.zkey'), at('small.wtns'));
  assert.is(readFileSync(at('fixed.json'), 'utf8'), JSON.stringify(proof, null, 1));
});

test('Ctrl-C ends a proof at once and leaves nothing', async (t: TestContext) => {
  if (!hasProverData) t.skip('no ../shared/prover here, whose keys take long enough');
  const zkey = `${PROVER_DATA}pos.zkey`;
  const proving = start(home, [
    'groth16',
    'prove',
    zkey,
    `${PROVER_DATA}pos.wtns`,
    at('late.json'),
    at('late2.json'),
  ]);
  await proving.line(/loading/);
  proving.interrupt();
  const { code, stderr } = await proving.ended;
  assert.is(code, 130, stderr);
  assert.match(stderr, /vouch: stopped\n$/);
  assert.not(existsSync(at('late.json')));
  assert.equal(unfinished(home), []);
  await eventually('no process is left', () => processesOf(home).length === 0);
});

test('a process that has proved ends by itself, also with a prover that nobody closed', async () => {
  const script = `
    const { createProver, groth16 } = await import(${JSON.stringify(new URL('../../../runtime/prove/prover.ts', import.meta.url).href)});
    await groth16.prove(${JSON.stringify(at('small.zkey'))}, ${JSON.stringify(at('small.wtns'))});
    const key = await (await createProver()).load(${JSON.stringify(at('small.zkey'))});
    console.log((await key.prove(${JSON.stringify(at('small.wtns'))})).publicSignals.length);`;
  const { stdout, stderr } = await run(process.execPath, ['--input-type=module', '-e', script], {
    timeout: 100_000,
  });
  assert.equal([stdout, stderr], ['3\n', '']);
});

test.run();
