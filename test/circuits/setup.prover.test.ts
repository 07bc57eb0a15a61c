import { createHash } from 'node:crypto';
import { readBinFile } from '../../circuits/groth16/binfile.ts';
import { prove } from '../../circuits/groth16/prove.ts';
import { type Secrets, setup } from '../../circuits/groth16/setup.ts';
import { writeWitness } from '../../circuits/groth16/witness.ts';
import { readZkey } from '../../circuits/groth16/zkey.ts';
import { createPool } from '../../runtime/msm/threads/pool.ts';
import { assert, suite } from '../harness.ts';
import { randomCircuit } from './groth16-circuit.ts';
import { type Oracle, openOracle } from './groth16-oracle.ts';

const test = suite('setup against snarkjs', { timeoutMs: 120_000 });
const BEACON = '0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20';
const ITERATIONS = 10;

interface Memory {
  type: 'mem';
  data?: Uint8Array;
}
const memory = (data?: Uint8Array): Memory => (data ? { type: 'mem', data } : { type: 'mem' });

/** A prepared ceremony whose only contribution is a beacon, and that beacon's secrets. */
async function ceremony(
  oracle: Oracle,
  bits: number,
): Promise<{ ptau: Memory; secrets: Omit<Secrets, 'delta'> }> {
  const { snarkjs, curve, ChaCha } = oracle;
  const [fresh, contributed, ptau] = [memory(), memory(), memory()];
  await snarkjs.powersOfTau.newAccumulator(curve, bits, fresh);
  await snarkjs.powersOfTau.beacon(fresh, contributed, 'beacon', BEACON, ITERATIONS);
  await snarkjs.powersOfTau.preparePhase2(contributed, ptau);

  // The beacon's secrets are the first three draws of ChaCha20 keyed with the iterated hash.
  let hash = Buffer.from(BEACON, 'hex');
  for (let round = 0; round < 2 ** ITERATIONS; round++) hash = createHash('sha256').update(hash).digest();
  const random = new ChaCha(Array.from({ length: 8 }, (_, index) => hash.readUInt32BE(4 * index)));
  const draw = () => curve.Fr.toObject(curve.Fr.fromRng(random));
  return { ptau, secrets: { tau: draw(), alpha: draw(), beta: draw() } };
}

test('at 2^8 the key is the one of `groth16 setup`, byte for byte', async (t) => {
  const oracle = await openOracle();
  t.defer(() => oracle.close());
  // One bit more than the circuits: a ceremony lacks tau's last power for twice its own size, and puts zero there.
  const { ptau, secrets } = await ceremony(oracle, 9);
  const pool = await createPool();
  t.defer(() => pool.close());
  const engines = { field: pool, points: pool };

  for (const shape of [
    { constraints: 250, outputs: 2, publicInputs: 3 },
    // Every row of the domain is taken.
    { constraints: 254, outputs: 1, publicInputs: 0 },
  ]) {
    const { r1cs, witness } = randomCircuit(shape);
    const theirs = memory();
    await oracle.snarkjs.zKey.newZKey(memory(r1cs), ptau, theirs);
    const initial = await setup(r1cs, engines, { secrets: { ...secrets, delta: 1n } });
    const [left, right] = [readBinFile(initial.zkey, 'zkey', 1), readBinFile(theirs.data!, 'zkey', 1)];
    for (let id = 2; id <= 10; id++) {
      assert.is(Buffer.compare(left.section(id), right.section(id)), 0, `section ${id} differs`);
    }
    assert.throws(() => readZkey(initial.zkey), /anyone can forge/);

    const delta = 0x1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdefn;
    const native = { ...engines, hash: () => createHash('blake2b512') };
    const contributed = await setup(r1cs, native, { secrets: { ...secrets, delta } });
    assert.ok(await oracle.snarkjs.zKey.verifyFromInit(theirs, ptau, memory(contributed.zkey)));
    assert.equal(
      contributed.verificationKey,
      await oracle.snarkjs.zKey.exportVerificationKey(memory(contributed.zkey)),
    );

    // A wrong delta in the record, in the points or in the circuit must be seen by the oracle we rely on.
    const damaged = contributed.zkey.slice();
    const range = readZkey(contributed.zkey).range('H');
    damaged.copyWithin(range.offset, range.offset + 64, range.offset + 128);
    assert.not(await oracle.snarkjs.zKey.verifyFromInit(theirs, ptau, memory(damaged)));

    const zkey = readZkey(contributed.zkey);
    assert.ok(await oracle.snarkjs.wtns.check(memory(r1cs), memory(writeWitness(witness))));
    const ours = await prove(zkey, witness, pool);
    const theirProof = await oracle.snarkjs.groth16.prove(
      memory(contributed.zkey),
      memory(writeWitness(witness)),
    );
    for (const { proof, publicSignals } of [ours, theirProof]) {
      assert.ok(await oracle.snarkjs.groth16.verify(contributed.verificationKey, publicSignals, proof));
    }
  }
});

test.run();
