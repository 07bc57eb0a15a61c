import type { Sums } from '../../circuits/groth16/engine.ts';
import { elementBytes, Q, R, readElement } from '../../circuits/groth16/field.ts';
import { assemble, type Phase, prove, transform } from '../../circuits/groth16/prove.ts';
import { checkCircuit } from '../../circuits/groth16/qap.ts';
import { readR1cs } from '../../circuits/groth16/r1cs.ts';
import { INSECURE_SINGLE_PARTY, type SetupProgress, setup } from '../../circuits/groth16/setup.ts';
import { verificationKey, verify } from '../../circuits/groth16/verify.ts';
import { readZkey, sectionCounts } from '../../circuits/groth16/zkey.ts';
import { VouchError } from '../../protocols/errors.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { assert, suite } from '../harness.ts';
import { randomCircuit } from './groth16-circuit.ts';

const test = suite('groth16');

/** Fails unless `run` throws `bad-file` (or `code`) with one sentence that matches. */
function refuses(run: () => unknown, pattern: RegExp, code = 'bad-file') {
  try {
    run();
  } catch (error) {
    assert.instance(error, VouchError, String(error));
    assert.is((error as VouchError).code, code);
    assert.match((error as VouchError).message, pattern);
    assert.not.match((error as VouchError).message, /\n/);
    return;
  }
  assert.unreachable(`expected an error that matches ${pattern}`);
}
const patched = (file: Uint8Array, offset: number, bytes: ArrayLike<number>) => {
  const copy = file.slice();
  copy.set(bytes, offset);
  return copy;
};
const circuit = randomCircuit({ constraints: 12, outputs: 1, publicInputs: 2, seed: 3 });
const pool = await createPool({ threads: 2 });
const progress: SetupProgress[] = [];
const made = await setup(
  circuit.r1cs,
  { field: pool, points: pool },
  { onProgress: (step) => progress.push(step) },
);
const key: Uint8Array = made.zkey;

test('a small circuit, from constraints to a verified proof', async () => {
  const zkey = readZkey(key);
  assert.is(made.insecure, INSECURE_SINGLE_PARTY);
  assert.is(zkey.contributions.list[0]?.name, INSECURE_SINGLE_PARTY, 'the mark is inside of the key');
  assert.equal(made.verificationKey, verificationKey(zkey));
  assert.equal(progress[0], { phase: 'evaluating', done: 0, total: 0 });
  const last = progress.at(-1)!;
  assert.is(last.done, last.total);
  assert.is(zkey.domainSize, 16);
  for (const [name, count] of Object.entries(sectionCounts(zkey))) {
    const range = zkey.range(name as 'A');
    assert.is(range.length, count * (name === 'B2' ? 128 : 64));
    assert.is(
      Buffer.compare(key.subarray(range.offset, range.offset + range.length), zkey.points[name as 'A']),
      0,
    );
  }
  await checkCircuit(zkey, readR1cs(circuit.r1cs), pool);

  const phases: Phase[] = [];
  const { proof, publicSignals } = await prove(zkey, circuit.witness, pool, {
    onPhase: (phase) => phases.push(phase),
  });
  assert.equal(phases, ['transforming', 'dispatching', 'assembling', 'verifying']);
  assert.equal(
    publicSignals,
    [1, 2, 3].map((wire) => String(readElement(circuit.witness, wire * 32))),
  );
  assert.ok(verify(made.verificationKey, publicSignals, proof));
});

test('a proof that was changed does not verify, a malformed one is refused', async () => {
  const zkey = readZkey(key);
  const vk = verificationKey(zkey);
  const { proof, publicSignals } = await prove(zkey, circuit.witness, pool);
  const negated = (point: string[]) => [point[0]!, String(Q - BigInt(point[1]!)), '1'];
  assert.not(verify(vk, publicSignals, { ...proof, pi_a: negated(proof.pi_a) }));
  assert.not(verify(vk, publicSignals, { ...proof, pi_c: negated(proof.pi_c) }));
  assert.not(verify(vk, publicSignals, { ...proof, pi_a: ['0', '1', '0'], pi_c: ['0', '1', '0'] }));
  assert.not(verify(vk, publicSignals.toReversed(), proof));
  refuses(() => verify(vk, publicSignals.slice(1), proof), /public signals/);
  refuses(() => verify(vk, [String(R), ...publicSignals.slice(1)], proof), /public signal 0/);
  refuses(() => verify(vk, [`0${publicSignals[0]}`, ...publicSignals.slice(1)], proof), /decimal string/);
  refuses(() => verify(vk, publicSignals, { ...proof, pi_a: ['1', '1', '1'] }), /pi_a: not a point/);
  refuses(() => verify(vk, publicSignals, { ...proof, pi_c: [String(Q + 1n), '2', '1'] }), /pi_c/);
  refuses(() => verify(vk, publicSignals, { ...proof, curve: 'bls12381' as 'bn128' }), /bn128/);
  refuses(() => verify(vk, publicSignals, { ...proof, pi_b: undefined as unknown as string[][] }), /pi_b/);
});

test('assembling with r and s of zero still verifies; sums are checked', async () => {
  const zkey = readZkey(key);
  const { scalars, publicSignals } = await transform(zkey, circuit.witness, await pool.ready(zkey));
  const engine = await pool.ready(zkey);
  const sums = {
    A: await engine.msm('A', scalars.A),
    B1: await engine.msm('B1', scalars.B1),
    B2: await engine.msm('B2', scalars.B2),
    C: await engine.msm('C', scalars.C),
    H: await engine.msm('H', scalars.H),
  };
  const vk = verificationKey(zkey);
  const signals = publicSignals.map(String);
  const proofOf = (of: Sums, r: bigint, s: bigint) => assemble(zkey, of, r, s, pool);
  assert.ok(verify(vk, signals, await proofOf(sums, 0n, 0n)));
  assert.ok(verify(vk, signals, await proofOf(sums, R - 1n, 1n)));
  // A worker's wrong point is on the curve, so only verification sees it.
  assert.not(verify(vk, signals, await proofOf({ ...sums, H: sums.C }, 2n, 3n)));
  const failure = (of: Sums, r = 1n) => proofOf(of, r, 1n).catch((error) => error);
  assert.instance(await failure(sums, R), RangeError);
  assert.match((await failure({ ...sums, C: new Uint8Array(63) })).message, /section C.*64 bytes/);
  assert.match((await failure({ ...sums, H: sums.H.map((byte) => byte ^ 1) })).message, /section H/);
});

test('a witness that is not this key’s, or breaks a constraint', async () => {
  const zkey = readZkey(key);
  const failure = (witness: Uint8Array) => prove(zkey, witness, pool).catch((error) => error);
  assert.match((await failure(circuit.witness.subarray(32))).message, /constant 1/);
  assert.match((await failure(circuit.witness.subarray(0, -32))).message, /the key is for/);
  assert.match((await failure(circuit.witness.subarray(0, -1))).message, /multiple of 32/);
  assert.match(
    (await failure(patched(circuit.witness, 32 * 4, elementBytes(R)))).message,
    /below the field's prime/,
  );
  const broken = await failure(patched(circuit.witness, 32 * 4, elementBytes(12345n)));
  assert.is(broken.code, 'proof-rejected');
});

test('a key for another circuit is seen in its coefficients', async () => {
  const other = randomCircuit({ constraints: 12, outputs: 1, publicInputs: 2, seed: 4 });
  const bigger = randomCircuit({ constraints: 30, outputs: 1, publicInputs: 2, seed: 3 });
  for (const [r1cs, pattern] of [
    [other.r1cs, /coefficients/],
    [bigger.r1cs, /nVars/],
  ] as const) {
    const error = await checkCircuit(readZkey(key), readR1cs(r1cs), pool).catch((caught) => caught);
    assert.is(error.code, 'key-rejected');
    assert.match(error.message, pattern);
  }
});

test('circuits at the edges: no inputs, no public signals, one constraint, all rows taken', async () => {
  for (const shape of [
    { constraints: 1, outputs: 1, publicInputs: 0, privateInputs: 1 },
    { constraints: 2, outputs: 0, publicInputs: 0, privateInputs: 1 },
    { constraints: 15, outputs: 1, publicInputs: 0 },
  ]) {
    const { r1cs, witness } = randomCircuit(shape);
    const { zkey: file, verificationKey: vk } = await setup(r1cs, { field: pool, points: pool });
    const zkey = readZkey(file);
    const rows = shape.constraints + shape.outputs + shape.publicInputs + 1;
    assert.ok(zkey.domainSize >= rows && zkey.domainSize < 2 * rows + 2);
    const { proof, publicSignals } = await prove(zkey, witness, pool);
    assert.is(publicSignals.length, shape.outputs + shape.publicInputs);
    assert.ok(verify(vk, publicSignals, proof));
  }
});

test('two setups share nothing but the circuit, and a cancelled one says so', async () => {
  const engines = { field: pool, points: pool };
  const again = readZkey((await setup(circuit.r1cs, engines)).zkey);
  const first = readZkey(key);
  for (const name of ['alpha1', 'beta1', 'beta2', 'delta1', 'delta2'] as const) {
    assert.is.not(Buffer.compare(first.header[name], again.header[name]), 0, name);
  }
  assert.is(Buffer.compare(first.entries, again.entries), 0);
  assert.is.not(Buffer.compare(first.points.H, again.points.H), 0);

  const abort = new AbortController();
  const stopped = await setup(circuit.r1cs, engines, {
    signal: abort.signal,
    onProgress: () => abort.abort(),
  }).catch((error) => error);
  assert.is(stopped.code, 'cancelled');
  const zero = { tau: 0n, alpha: 1n, beta: 1n, delta: 2n };
  assert.instance(await setup(circuit.r1cs, engines, { secrets: zero }).catch((error) => error), RangeError);
});

test.run();
