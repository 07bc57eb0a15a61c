import { R } from '../../circuits/groth16/field.ts';
import { poseidon, poseidonChain } from '../../circuits/model/poseidon.ts';
import { calculateWitness } from '../../runtime/prove/witness-calculator.ts';
import { assert, suite } from '../harness.ts';
import { compiled, rejects, templateCircuit, violations, wires } from './model-fixture.ts';

const test = suite('circuit templates', { timeoutMs: 60_000 });
const signed = (value: bigint): bigint => (value > R / 2n ? value - R : value);

test('requantisation: right for every input, unique for every assignment of bits, nothing outside the range', async (t) => {
  const [n, k] = [6, 2];
  const { wasm, r1cs } = await compiled(
    t,
    await templateCircuit('requantise.circom', `RequantiseRelu(1, ${n}, ${k})`, ['in']),
  );
  // Wires: 1, the output, the input, and the bits less the one that the linear sum makes superfluous.
  const free = r1cs.variables - 3;
  assert.is(free, n - 1);
  for (let x = -40; x <= 40; x++) {
    const expected = Math.max(0, Math.floor((x + 2 ** (k - 1)) / 2 ** k));
    const inside = x + 2 ** (k - 1) >= -(2 ** (n - 1)) && x + 2 ** (k - 1) < 2 ** (n - 1);
    const outputs = new Set<bigint>();
    for (let bits = 0; bits < 2 ** free; bits++) {
      const inner = Array.from({ length: free }, (_, i) => BigInt((bits >> i) & 1));
      for (let out = 0n; out < 2n ** BigInt(n - k); out++) {
        if (violations(r1cs, [1n, out, (BigInt(x) + R) % R, ...inner]) === 0) outputs.add(out);
      }
    }
    assert.equal([...outputs], inside ? [BigInt(expected)] : [], `x = ${x}`);
  }
  const witness = wires(await calculateWitness(wasm, { in: [13n] }));
  assert.is(witness[1], 3n);
  await rejects(calculateWitness(wasm, { in: [30n] }), 'an accumulator beyond its bound');
  await rejects(calculateWitness(wasm, { in: [-35n] }), 'an accumulator below its bound');
  await rejects(calculateWitness(wasm, { in: [1n << 200n] }), 'a huge accumulator');
});

test('a bit has to be a bit, also when two of them cancel', async (t) => {
  const { wasm, r1cs } = await compiled(t, await templateCircuit('bits.circom', 'Bits(5)', ['in']));
  const witness = wires(await calculateWitness(wasm, { in: 21n }));
  assert.is(violations(r1cs, witness), 0);
  assert.equal(witness.slice(1, 6), [1n, 0n, 1n, 0n, 1n]);
  for (let i = 0; i < 4; i++) {
    const cancelled = witness.slice();
    cancelled[1 + i]! = (cancelled[1 + i]! + 2n) % R;
    cancelled[2 + i]! = (cancelled[2 + i]! + R - 1n) % R;
    assert.ok(violations(r1cs, cancelled) > 0, `bits ${i} and ${i + 1}`);
  }
  await rejects(calculateWitness(wasm, { in: 32n }), 'a value of 6 bits');
  await rejects(calculateWitness(wasm, { in: -1n }), 'a negative value');
});

test('a row is right exactly when its label is the argmax, the lowest index on a tie', async (t) => {
  const values = [-2, 0, 1];
  for (let label = 0; label < 3; label++) {
    const { wasm } = await compiled(t, await templateCircuit('decision.circom', `Decided(3, ${label}, 4)`));
    for (const a of values) {
      for (const b of values) {
        for (const c of values) {
          const logits = [a, b, c];
          const margin = logits.flatMap((value, j) => (j === label ? [] : [BigInt(logits[label]! - value)]));
          const right = wires(await calculateWitness(wasm, { margin }))[1];
          const best = logits.indexOf(Math.max(...logits));
          assert.is(right, best === label ? 1n : 0n, `${logits} for ${label}`);
        }
      }
    }
    await rejects(calculateWitness(wasm, { margin: [8n + 1n, 0n] }), 'a margin beyond its bound');
  }
});

test('threshold: 0 <= t <= count, for every t', async (t) => {
  const { wasm } = await compiled(
    t,
    await templateCircuit('decision.circom', 'AtLeast(5, 3)', ['threshold']),
  );
  for (const right of [
    [0, 0, 0, 0, 0],
    [1, 0, 1, 1, 0],
    [1, 1, 1, 1, 1],
  ]) {
    const count = right.reduce((a, b) => a + b);
    const input = (threshold: bigint) => ({ right: right.map(BigInt), threshold });
    for (let threshold = 0n; threshold <= BigInt(count); threshold++)
      await calculateWitness(wasm, input(threshold));
    for (const threshold of [BigInt(count) + 1n, 6n, 7n, 8n, -1n, -8n, R / 2n]) {
      await rejects(calculateWitness(wasm, input(threshold)), `threshold ${threshold} of ${count}`);
    }
  }
});

test('the Poseidon chain is the one of poseidon.ts', async (t) => {
  for (const n of [2, 33]) {
    const elements = Array.from({ length: n }, (_, i) => (BigInt(i + 1) * 0x1234567890abcdefn ** 3n) % R);
    const { wasm } = await compiled(t, await templateCircuit('commitment.circom', `PoseidonChain(${n})`));
    assert.is(
      wires(await calculateWitness(wasm, { in: elements }))[1],
      poseidonChain(elements),
      `${n} elements`,
    );
  }
  // circomlib's own published value
  assert.is(
    poseidon([1n, 2n]),
    7853200120776062878684798364095072458815029376092732009249414926327459813530n,
  );
});

test('packing: every parameter in its range, the next element where one would pass bit 248', async (t) => {
  const { wasm, r1cs } = await compiled(
    t,
    await templateCircuit('commitment.circom', 'PackedParameters(2, [31, 1], [8, 12], 32, 2)', ['in']),
  );
  const values = Array.from({ length: 32 }, (_, i) => BigInt(i - 16));
  const witness = wires(await calculateWitness(wasm, { in: values }));
  const first = values.slice(0, 31).reduce((sum, value, i) => sum + ((value + 128n) << BigInt(8 * i)), 0n);
  assert.equal(witness.slice(1, 3), [first, 15n + 2048n]);
  assert.equal(witness.slice(3, 35).map(signed), values);
  // The same packed element from other weights: what a missing range check would allow.
  const collision = witness.slice();
  collision[3]! = (collision[3]! + 256n) % R;
  collision[4]! = (collision[4]! + R - 1n) % R;
  assert.ok(violations(r1cs, collision) > 0);
  for (const [i, value] of [
    [0, 128n],
    [0, -129n],
    [30, 200n],
    [31, 2048n],
    [31, -2049n],
    [5, 1n << 100n],
  ] as const) {
    await rejects(calculateWitness(wasm, { in: values.with(i, value) }), `parameter ${i} = ${value}`);
  }
});

test.run();
