/** Verification with one sum for all public signals, beside the reference, which multiplies point by point. */
import { R } from '../../../circuits/groth16/field.ts';
import { G1, G2, g1Strings, g2Strings, multiplyG1, multiplyG2 } from '../../../circuits/groth16/point.ts';
import { verify as reference } from '../../../circuits/groth16/verify.ts';
import { groth16 } from '../../../runtime/prove/prover.ts';
import { generator, wide } from '../../circuits/groth16-circuit.ts';
import { assert, suite } from '../../harness.ts';

const test = suite('verification', { timeoutMs: 60_000 });
const random = generator(41);
const scalar = () => wide(random) % R;
const power = (base: bigint, exponent: bigint): bigint =>
  exponent === 0n ? 1n : (power((base * base) % R, exponent >> 1n) * (exponent & 1n ? base : 1n)) % R;

/** A key whose secrets are known, and a proof of these signals with A and B as wanted. */
function forged(signals: readonly bigint[], a = scalar(), b = scalar()) {
  const [alpha, beta, gamma, delta] = [scalar(), scalar(), scalar(), scalar()] as const;
  // Some points of a key are at infinity, where a signal takes no part.
  const ic = [0n, ...signals].map((_, index) => (index % 5 === 2 ? 0n : scalar()));
  const inputs = [1n, ...signals].reduce((sum, signal, index) => sum + signal * ic[index]!, 0n);
  const c = ((((a * b - alpha * beta - inputs * gamma) % R) + R) * power(delta, R - 2n)) % R;
  const g1 = (factor: bigint) => g1Strings(multiplyG1(G1.BASE, factor));
  const g2 = (factor: bigint) => g2Strings(multiplyG2(G2.BASE, factor));
  const named = { protocol: 'groth16', curve: 'bn128' } as const;
  return {
    key: {
      ...named,
      nPublic: signals.length,
      vk_alpha_1: g1(alpha),
      vk_beta_2: g2(beta),
      vk_gamma_2: g2(gamma),
      vk_delta_2: g2(delta),
      vk_alphabeta_12: [],
      IC: ic.map(g1),
    },
    proof: { ...named, pi_a: g1(a), pi_b: g2(b), pi_c: g1(c) },
  };
}

for (const { name, signals, a } of [
  { name: 'no signals', signals: [] },
  { name: 'one', signals: [scalar()] },
  { name: 'zeros, ones and the largest', signals: [0n, 1n, R - 1n, 0n, 1n, 1n, R - 1n] },
  { name: 'a proof whose A is infinity', signals: [5n, 7n], a: 0n },
]) {
  test(`as the reference: ${name}`, async () => {
    const { key, proof } = forged(signals, a);
    const texts = signals.map(String);
    assert.is(reference(key, texts, proof), true);
    assert.is(await groth16.verify(key, texts, proof), true);
    const others = [...texts.slice(1), String(scalar())];
    if (signals.length > 0) {
      assert.is(reference(key, others, proof), false);
      assert.is(await groth16.verify(key, others, proof), false);
    }
    const moved = { ...proof, pi_c: g1Strings(G1.BASE) };
    assert.is(reference(key, texts, moved), false);
    assert.is(await groth16.verify(key, texts, moved), false);
  });
}

test('2500 signals leave turns to others, and each of them counts', async () => {
  const signals = Array.from({ length: 2500 }, scalar);
  const { key, proof } = forged(signals);
  let turns = 0;
  const timer = setInterval(() => {
    turns += 1;
  });
  assert.is(await groth16.verify(key, signals.map(String), proof), true);
  clearInterval(timer);
  assert.ok(turns > 0);
  for (const place of [0, 1023, 1024, 2499]) {
    // Where a key's point is infinity, the signal takes no part.
    if ((place + 1) % 5 === 2) continue;
    const changed = signals.with(place, (signals[place]! + 1n) % R);
    assert.is(await groth16.verify(key, changed.map(String), proof), false, `signal ${place}`);
  }
});

test.run();
