/**
 * Attacker: a prover without a witness who has a proof of another, and knows that a verifier which only solves the pairing
 * equation takes points that are no points of the groups: it is defined for them, too, and says anything. Every point of a
 * proof and of its key is moved out of its group here; the proof has to be refused by our own verifier, whatever
 * snarkjs says.
 */
import { readFileSync } from 'node:fs';
import { bn254 } from '@noble/curves/bn254.js';
import { g2Strings, parseG2 } from '../../circuits/groth16/point.ts';
import { BUILT_IN } from '../../protocols/attestation/policy.ts';
import { parse } from '../../protocols/envelope.ts';
import { ProofRecord, type PublishedProof } from '../../protocols/proof.ts';
import { verifyProof } from '../../runtime/client/client.ts';
import { closeSnarkjs } from '../../runtime/prove/snarkjs.ts';
import { strayG2 } from '../circuits/stray-point.ts';
import { assert, suite } from '../harness.ts';

const test = suite('attack: pass a malformed proof', { timeoutMs: 60_000 });

const saved = parse(
  ProofRecord,
  JSON.parse(readFileSync(new URL('../vectors/proof.json', import.meta.url), 'utf8')),
  'proof',
);

/** The checks of the saved record with a change; nobody has signed it, so it never verifies as a whole. */
async function rowsOf(change: (record: ProofRecord) => void) {
  const record = structuredClone(saved);
  change(record);
  const unsigned = { record, signature: '', maker: {} as PublishedProof['maker'] };
  const { verified, checks } = await verifyProof(unsigned, { policy: BUILT_IN.strict });
  return { verified, row: (id: string) => checks.find((check) => check.id === id) };
}

test('an honest proof passes both verifiers, each with a row of its own', async (t) => {
  t.defer(closeSnarkjs);
  const { row } = await rowsOf(() => {});
  assert.is(row('proof.groth16')?.status, 'pass');
  assert.is(row('proof.groth16-snarkjs')?.status, 'pass');
});

test('pi_b on the curve and off the subgroup', async (t) => {
  t.defer(closeSnarkjs);
  // r times a stray point has an order that divides the cofactor: what a pairing may not notice.
  const cofactorPart = strayG2()
    .multiplyUnsafe(bn254.fields.Fr.ORDER - 1n)
    .add(strayG2());
  assert.not(cofactorPart.is0());
  const b = parseG2(saved.proof.pi_b, 'pi_b').add(cofactorPart);
  assert.not(b.isTorsionFree());
  const { verified, row } = await rowsOf(({ proof }) => {
    proof.pi_b = g2Strings(b);
  });
  assert.not(verified);
  assert.is(row('proof.groth16')?.status, 'fail');
  assert.match(row('proof.groth16')!.detail, /pi_b/);
});

test('points of the key off the subgroup, and points that are none', async (t) => {
  t.defer(closeSnarkjs);
  const stray = g2Strings(strayG2());
  for (const name of ['vk_beta_2', 'vk_gamma_2', 'vk_delta_2']) {
    const { verified, row } = await rowsOf(({ verificationKey }) => {
      (verificationKey as Record<string, unknown>)[name] = stray;
    });
    assert.not(verified, name);
    assert.is(row('proof.groth16')?.status, 'fail', name);
  }
  for (const name of ['pi_a', 'pi_c'] as const) {
    const { row } = await rowsOf(({ proof }) => {
      proof[name] = ['1', '3', '1'];
    });
    assert.is(row('proof.groth16')?.status, 'fail', name);
  }
});

test.run();
