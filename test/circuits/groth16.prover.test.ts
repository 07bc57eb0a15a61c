import { readFileSync } from 'node:fs';
import { prove } from '../../circuits/groth16/prove.ts';
import { verificationKey, verify } from '../../circuits/groth16/verify.ts';
import { readWitness, writeWitness } from '../../circuits/groth16/witness.ts';
import { readZkey, writeZkey } from '../../circuits/groth16/zkey.ts';
import { messageOf } from '../../protocols/errors.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { assert, suite } from '../harness.ts';
import { hasProverData, openOracle, PROVER_DATA } from './groth16-oracle.ts';

const test = suite('groth16 against snarkjs', { timeoutMs: 120_000 });
// Both above 2^253, so that a proof with a truncated or unreduced pair would differ.
const r = 0x2fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffn;
const s = 0x2000000000000000000000000000000000000000000000000000000000000001n;
const data = (name: string) => new Uint8Array(readFileSync(`${PROVER_DATA}${name}`));

for (const name of ['pos', 'sha']) {
  (name === 'sha' ? test : test.slow)(`${name}: with fixed r and s the proof is snarkjs's own`, async (t) => {
    if (!hasProverData) t.skip('no ../shared/prover here');
    const zkey = readZkey(data(`${name}.zkey`));
    const witness = readWitness(data(`${name}.wtns`));
    await using pool = await createPool();
    const phases: string[] = [];
    const ours = await prove(zkey, witness, pool, {
      r,
      s,
      onPhase: (phase) => phases.push(phase),
      signal: t.signal,
    });
    await pool.close();
    assert.equal(phases, ['transforming', 'dispatching', 'assembling', 'verifying']);

    const oracle = await openOracle();
    t.defer(() => oracle.close());
    oracle.fixRandom(r, s);
    const theirs = await oracle.snarkjs.groth16.prove(
      `${PROVER_DATA}${name}.zkey`,
      `${PROVER_DATA}${name}.wtns`,
    );
    assert.is(JSON.stringify(ours), JSON.stringify(theirs));

    const key = verificationKey(zkey);
    assert.is(
      JSON.stringify(key),
      JSON.stringify(JSON.parse(readFileSync(`${PROVER_DATA}${name}_vk.json`, 'utf8'))),
    );
    assert.ok(await oracle.snarkjs.groth16.verify(key, ours.publicSignals, ours.proof));

    const wrong = [String(BigInt(ours.publicSignals[0]!) ^ 1n), ...ours.publicSignals.slice(1)];
    assert.not(verify(key, wrong, ours.proof));
  });
}

test('fresh blinding gives a different proof of the same statement', async (t) => {
  if (!hasProverData) t.skip('no ../shared/prover here');
  const zkey = readZkey(data('sha.zkey'));
  const witness = readWitness(data('sha.wtns'));
  await using pool = await createPool();
  const first = await prove(zkey, witness, pool);
  const second = await prove(zkey, witness, pool);
  assert.is.not(first.proof.pi_a[0], second.proof.pi_a[0]);
  assert.equal(first.publicSignals, second.publicSignals);
});

test('a witness that breaks a constraint gives no proof', async (t) => {
  if (!hasProverData) t.skip('no ../shared/prover here');
  const zkey = readZkey(data('sha.zkey'));
  const witness = readWitness(data('sha.wtns')).slice();
  witness[witness.byteLength - 32]! ^= 1;
  await using pool = await createPool();
  const error = await prove(zkey, witness, pool).catch((caught) => caught);
  assert.is(error.code, 'proof-rejected', messageOf(error));
});

test('what was read is written back byte for byte', (t) => {
  if (!hasProverData) t.skip('no ../shared/prover here');
  for (const name of ['pos', 'sha']) {
    const wtns = data(`${name}.wtns`);
    assert.is(Buffer.compare(writeWitness(readWitness(wtns)), wtns), 0);
    const key = data(`${name}.zkey`);
    assert.is(Buffer.compare(writeZkey(readZkey(key)), key), 0);
  }
});

test.run();
